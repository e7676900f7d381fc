"""Small layers of the newer mixers, and what they compute in float64, token by token, without code of simcost."""

from __future__ import annotations

import math

import torch

from simcost.blocks._recurrent import States
from simcost.blocks.attention.block_sparse import BlockSparse
from simcost.blocks.attention.cross_layer import CrossLayer
from simcost.blocks.attention.dsa import DSA
from simcost.blocks.attention.gated_deltanet import GatedDeltaNet
from simcost.blocks.attention.kda import KDA
from simcost.blocks.attention.lightning import Lightning
from simcost.blocks.attention.mamba import Mamba
from simcost.blocks.attention.mamba2 import Mamba2
from simcost.blocks.attention.shared_kv import SharedKV
from simcost.blocks.attention.short_conv import ShortConv
from simcost.blocks.ffn.dense import Dense
from simcost.blocks.norm.norm import Norm
from simcost.dtypes import dtype
from simcost.estimate.layer import BlockSpec
from simcost.plan import Phase

D = 32
FP32 = States(dtype("fp32"), dtype("fp32"))
SMALL = {
    "gated_deltanet": GatedDeltaNet(float(D), 2.0, 4.0, 8.0, 6.0, 4.0, FP32, 4.0),
    "kda": KDA(float(D), 4.0, 8.0, 4.0, FP32, (), 4.0),
    "kda full gates": KDA(float(D), 4.0, 8.0, 4.0, FP32, ("forget", "output"), 4.0),
    "mamba2": Mamba2(float(D), 4.0, 6.0, 2.0, 8.0, 4.0, 4.0, FP32, in_bias=True, out_bias=True),
    "mamba2 plain": Mamba2(float(D), 4.0, 6.0, 2.0, 8.0, 4.0, 4.0, FP32, conv_bias=False, gated_norm=False),
    "mamba": Mamba(float(D), 2.0, 4.0, 8.0, 4.0, FP32, proj_bias=True, inner_norms=True),
    "mamba plain": Mamba(float(D), 2.0, 4.0, 8.0, 4.0, FP32, conv_bias=False),
    "mamba of two heads": Mamba(float(D), 2.0, 4.0, 8.0, 4.0, FP32, heads=2.0),
    "lightning": Lightning(float(D), 4.0, 8.0, FP32, 4.0),
    "lightning normed": Lightning(float(D), 4.0, 8.0, FP32, 4.0, qk_norm=True),
    "short_conv": ShortConv(float(D), 3.0, dtype("fp32"), bias=True),
    "dsa": DSA(
        float(D), 4.0, 16.0, 8.0, 8.0, 12.0, 24.0, index_n_heads=3.0, index_head_dim=16.0, index_topk=4.0
    ),
    "block_sparse": BlockSparse(
        float(D), 4.0, 2.0, 8.0, 8.0, qk_norm="head", index_head_dim=8.0, index_block_size=3.0, index_topk_blocks=2.0
    ),
}  # fmt: skip
SHARED = {
    "own": SharedKV(float(D), 4.0, 2.0, 8.0, 8.0, window=4.0),
    "values are keys": SharedKV(float(D), 4.0, 2.0, 8.0, 8.0, k_eq_v=True, rotary=0.5),
    "another's": SharedKV(float(D), 4.0, 2.0, 8.0, 8.0, own=False),
    "cross-layer": CrossLayer(float(D), 4.0, 2.0, 8.0, 8.0, qk_norm="head", qkv_bias=True, output_gate="full"),
    "cross-layer, bare": CrossLayer(float(D), 4.0, 2.0, 8.0, 8.0),
}  # fmt: skip
PHASES = {"prompt": (2.0, 7.0, 0.0), "chunk": (2.0, 6.0, 9.0), "decode": (3.0, 1.0, 11.0)}


def spec(attention, batch=2.0, q=5.0, past=0.0, **more) -> BlockSpec:
    layer = Norm("attention_norm", float(D)), attention, Norm("ffn_norm", float(D)), Dense(float(D), 48.0)
    return BlockSpec("small", layer, Phase(batch, q, past), **{"dtype": "fp32", **more})


def silu(x):
    return x / (1.0 + torch.exp(-x))


def sigmoid(x):
    return 1.0 / (1.0 + torch.exp(-x))


def softplus(x):
    return torch.log1p(torch.exp(x))


def rms(x, gain=1.0):
    return x / torch.sqrt((x * x).mean(-1, keepdim=True) + 1e-5) * gain


def unit(x):
    return x / x.norm(dim=-1, keepdim=True)


def conv(x, columns, flat, width, active=True):
    """x [t, channels] after columns [channels, width - 1]; `flat`: kernels, then biases."""
    channels = x.shape[1]
    kernel, bias = flat[: channels * width].view(channels, width), flat[channels * width :]
    rows = torch.cat((columns.T, x))
    out = torch.stack([(rows[i : i + width].T * kernel).sum(1) for i in range(len(x))])
    out = out if not len(bias) else out + bias
    return silu(out) if active else out


def delta(q, k, v, log_decay, beta, state):
    """Rule of Gated DeltaNet and KDA: [t, heads, ...]; the state of head h is d_k x d_v."""
    out = torch.zeros(*v.shape, dtype=torch.float64)
    for t in range(len(v)):
        for h in range(v.shape[1]):
            kept = torch.exp(log_decay[t, h])
            s = state[h] * (kept.unsqueeze(1) if kept.dim() else kept)
            state[h] = s + torch.outer(k[t, h], beta[t, h] * (v[t, h] - k[t, h] @ s))
            out[t, h] = q[t, h] @ state[h]
    return out


def plain(q, k, v, log_decay, weight, state):
    """Rule of Mamba-2 and lightning attention."""
    out = torch.zeros(*v.shape, dtype=torch.float64)
    for t in range(len(v)):
        for h in range(v.shape[1]):
            state[h] = state[h] * torch.exp(log_decay[t, h]) + torch.outer(k[t, h], weight[t, h] * v[t, h])
            out[t, h] = q[t, h] @ state[h]
    return out


def of_heads(x, heads):
    return x.view(len(x), heads, -1)


def gated_deltanet(block, w, x, state, columns):
    n_k, n, d_k, d_v = (int(v) for v in (block.linear_num_key_heads, block.linear_num_value_heads,
                                         block.linear_key_head_dim, block.linear_value_head_dim))  # fmt: skip
    keys, values = n_k * d_k, n * d_v
    entered, (b, a) = x @ w["in_proj_qkvz"].T, (x @ w["in_proj_ba"].T).split(n, 1)
    mixed = conv(entered[:, : 2 * keys + values], columns, w["conv1d"], 4)
    q, k, v = mixed.split((keys, keys, values), 1)
    q, k = (unit(of_heads(part, n_k)).repeat_interleave(n // n_k, 1) for part in (q, k))
    decay = -torch.exp(w["A_log"]) * softplus(a + w["dt_bias"])
    out = delta(q, k, of_heads(v, n), decay, sigmoid(b), state)
    gate = entered[:, 2 * keys + values :]
    return (rms(out, w["gated_norm"]).reshape(len(x), -1) * silu(gate)) @ w["o_proj"].T


def kda(block, w, x, state, columns):
    n, d = int(block.linear_num_heads), int(block.linear_head_dim)
    q, k, v = conv(x @ w["qkv_proj"].T, columns, w["conv1d"], 4).split(n * d, 1)
    gates = [x @ w[f"{g}_gate"].T if f"{g}_gate" in w else x @ w[f"{g}_gate_down"].T @ w[f"{g}_gate_up"].T
             for g in ("forget", "output")]  # fmt: skip
    decay = -torch.exp(w["A_log"]).view(1, n, 1) * softplus(of_heads(gates[0] + w["dt_bias"], n))
    q, k = unit(of_heads(q, n)), unit(of_heads(k, n))
    out = delta(q, k, of_heads(v, n), decay, sigmoid(x @ w["b_proj"].T), state)
    return (rms(out, w["gated_norm"]).reshape(len(x), -1) * sigmoid(gates[1])) @ w["o_proj"].T


def mamba2(block, w, x, state, columns):
    n, groups, size = int(block.mamba_num_heads), int(block.mamba_n_groups), int(block.ssm_state_size)
    width = n * int(block.mamba_head_dim)
    entered = x @ w["in_proj"].T + w.get("in_bias", 0.0)
    z, mixed, dt = entered.split((width, width + 2 * groups * size, n), 1)
    v, k, q = conv(mixed, columns, w["conv1d"], 4).split((width, groups * size, groups * size), 1)
    dt, v = softplus(dt + w["dt_bias"]), of_heads(v, n)
    q, k = (of_heads(part, groups).repeat_interleave(n // groups, 1) for part in (q, k))
    out = plain(q, k, v, -torch.exp(w["A_log"]) * dt, dt, state) + w["D"].view(1, n, 1) * v
    out = out.reshape(len(x), -1) * silu(z)
    if "mixer_norm" in w:
        out = rms(of_heads(out, groups)).reshape(len(x), -1) * w["mixer_norm"]
    return out @ w["o_proj"].T + w.get("o_bias", 0.0)


def mamba(block, w, x, state, columns):
    rank, size = int(block.dt_rank), int(block.ssm_state_size)
    c = int(block.mamba_expand) * D
    entered = x @ w["in_proj"].T + w.get("in_bias", 0.0)
    u, heads = conv(entered[:, :c], columns, w["conv1d"], 4), int(block.heads)
    out, a = torch.zeros(len(x), c, dtype=torch.float64), -torch.exp(w["A_log"]).view(c, size)
    for h in range(heads):  # each with time steps, B and C of its own
        part, own = slice(h * c // heads, (h + 1) * c // heads), [w["x_proj"], w["dt_proj"]]
        own = [matrix[h] for matrix in own] if heads > 1 else own
        low, b, q = (u[:, part] @ own[0].T).split((rank, size, size), 1)
        if "inner_norms" in w:
            gains = w["inner_norms"].split((rank, size, size))
            low, b, q = (rms(one, gain) for one, gain in zip((low, b, q), gains, strict=True))
        dt, held = softplus(low @ own[1].T + w["dt_bias"][part]), state[part, :, 0]
        for t in range(len(x)):
            held = held * torch.exp(dt[t].unsqueeze(1) * a[part]) + torch.outer(dt[t] * u[t, part], b[t])
            out[t, part] = held @ q[t] + w["D"][part] * u[t, part]
    return (out * silu(entered[:, c:])) @ w["o_proj"].T + w.get("o_bias", 0.0)


def lightning(block, w, x, state, columns):
    n, d = int(block.num_attention_heads), int(block.head_dim)
    q, k, v = (of_heads(part, n) for part in (x @ w["qkv_proj"].T).split(n * d, 1))
    if "qk_norm" in w:
        q, k = rms(q, w["qk_norm"][:d]), rms(k, w["qk_norm"][d:])
    slopes = torch.tensor([2.0 ** (-8.0 * (h + 1) / n) for h in range(n)], dtype=torch.float64)
    ones = torch.ones(len(x), n, dtype=torch.float64)
    out = plain(silu(q), silu(k), silu(v), -slopes.expand(len(x), n), ones, state)
    return (rms(out.reshape(len(x), -1), w["output_norm"]) * sigmoid(x @ w["output_gate"].T)) @ w["o_proj"].T


def short_conv(block, w, x, state, columns):
    before, after, inner = (x @ w["in_proj"].T + w["in_bias"]).split(D, 1)
    return (after * conv(before * inner, columns, w["conv1d"], 3, False)) @ w["o_proj"].T + w["o_bias"]


RECURRENT = {
    GatedDeltaNet: gated_deltanet, KDA: kda, Mamba2: mamba2, Mamba: mamba, Lightning: lightning, ShortConv: short_conv,
}  # fmt: skip


def turned(x, position, width):
    """x [heads, d] of one token, its first `width` elements rotated in halves."""
    out, half = x.clone(), width // 2
    for i in range(half):
        angle = position * 10000.0 ** (-2.0 * i / width)
        a, b = x[:, i], x[:, i + half]
        out[:, i], out[:, i + half] = (
            a * math.cos(angle) - b * math.sin(angle),
            b * math.cos(angle) + a * math.sin(angle),
        )
    return out


def attended(q, keys, values, seen, scale):
    """q [heads, d] of one token over those of keys [s, d] and values [s, d_v] that are in `seen`."""
    return torch.softmax(q @ keys[seen].T * scale, 1) @ values[seen]


def dsa(w, x, latents, picks, past):
    """One sequence of DSA in its expanded form, over latents [context, r + rope] of which the last are the new ones."""
    h, r, nope, turn, dv, rank = 4, 16, 8, 8, 12, 24
    raw = x @ w["qkv_a_proj"].T
    low, latent = rms(raw[:, :rank], w["q_a_norm"]), rms(raw[:, rank : rank + r], w["kv_a_norm"])
    rotary = torch.cat([turned(raw[i : i + 1, rank + r :], past + i, turn) for i in range(len(x))])
    stored = torch.cat((latents[:past], torch.cat((latent, rotary), 1)))
    kv = (stored[:, :r] @ w["kv_b_proj"].T).view(len(stored), h, nope + dv)
    keys, out = torch.cat((kv[..., :nope], stored[:, None, r:].expand(-1, h, -1)), -1), []
    for i in range(len(x)):
        q = (low[i] @ w["q_b_proj"].T).view(h, nope + turn)
        q = torch.cat((q[:, :nope], turned(q[:, nope:], past + i, turn)), 1)
        seen = [int(key) for key in picks[i] if key <= past + i]
        heads = [attended(q[n : n + 1], keys[:, n], kv[:, n, nope:], seen, (nope + turn) ** -0.5) for n in range(h)]
        out.append(torch.cat(heads).reshape(-1))
    return torch.stack(out) @ w["o_proj"].T


def block_sparse(w, x, caches, blocks, past):
    """One sequence of block-sparse attention over K and V [2 heads, context, 8] whose last rows are the new ones; `blocks` [2 heads, t, n] of three keys."""
    h, kv, d, size = 4, 2, 8, 3
    out, gains = [], w["qk_norm"].split(d)
    rows = (x @ w["qkv_proj"].T).split((h * d, kv * d, kv * d), 1)
    k = torch.stack([turned(rms(row.view(kv, d), gains[1]), past + i, d) for i, row in enumerate(rows[1])], 1)
    keys = torch.cat((caches[0][:, :past], k), 1)
    values = torch.cat((caches[1][:, :past], rows[2].view(-1, kv, d).transpose(0, 1)), 1)
    for i, row in enumerate(rows[0]):
        q = turned(rms(row.view(h, d), gains[0]), past + i, d)
        heads = []
        for head in range(h):
            own = head // (h // kv)
            seen = [int(b) * size + j for b in blocks[own, i] for j in range(size) if int(b) * size + j <= past + i]
            heads.append(attended(q[head : head + 1], keys[own], values[own], seen, d**-0.5))
        out.append(torch.cat(heads).reshape(-1))
    return torch.stack(out) @ w["o_proj"].T


def shared_kv(block, w, x, caches, past):
    """One sequence over K and V [2 heads, keys, 8]; of a layer with its own the last of them are replaced by the new tokens'."""
    h, kv, d = 4, 2, 8
    gains, qkv = w.get("qk_norm"), x @ w[next(name for name in w if name in ("q_proj", "qk_proj", "qkv_proj"))].T
    qkv, width = qkv + w.get("qkv_bias", 0.0), int(d * float(block.rotary))
    q = qkv[:, : h * d].view(-1, h, d)
    q = q if gains is None else rms(q, gains[:d])
    keys, values = caches
    if not block.reads_cache:
        k = rms(qkv[:, h * d : h * d + kv * d].view(-1, kv, d), gains[d:])
        start = h * d if block.k_eq_v else h * d + kv * d
        v = rms(qkv[:, start : start + kv * d].view(-1, kv, d))
        k = torch.stack([turned(row, past + i, width) for i, row in enumerate(k)])
        keep = keys.shape[1] - len(x)
        keys, values = (torch.cat((old[:, :keep], new.transpose(0, 1)), 1) for old, new in ((keys, k), (values, v)))
    first, out = past + len(x) - keys.shape[1], []
    for i in range(len(x)):
        row, window = turned(q[i], past + i, width), block.mask.window or 1e9
        seen = [j for j in range(keys.shape[1]) if past + i - window < first + j <= past + i]
        found = [attended(row[n : n + 1], keys[n // 2], values[n // 2], seen, d**-0.5) for n in range(h)]
        out.append(torch.cat(found).reshape(-1))
    core = torch.stack(out)
    return (core * sigmoid(qkv[:, h * d :]) if block.output_gate != "none" else core) @ w["o_proj"].T
