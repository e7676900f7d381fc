"""Small layers of attention and FFNs, and what they compute in float64, with loops, without code of simcost."""

from __future__ import annotations

import math

import torch

from simcost.blocks.attention.gqa import GQA
from simcost.blocks.attention.mfa import MFA
from simcost.blocks.attention.mla import MLA
from simcost.blocks.ffn.dense import Dense
from simcost.blocks.ffn.moe import MoE
from simcost.blocks.norm.norm import Norm
from simcost.estimate.layer import BlockSpec
from simcost.measure.torch_layers import build
from simcost.plan import Phase

D = 32
NORMS = Norm("attention_norm", float(D)), Norm("ffn_norm", float(D))
SMALL_GQA = GQA(float(D), 4.0, 2.0, 8.0, 8.0)
SMALL_MLA = MLA(float(D), 4.0, 16.0, 8.0, 8.0, 12.0, 24.0)
SMALL_MFA = MFA(float(D), 4.0, 1.0, 8.0, 8.0, share_q_dim=12.0)
SMALL_FFN = Dense(float(D), 48.0)
SMALL_MOE = MoE(float(D), 4.0, 2.0, 24.0, 40.0)


def spec(attention, ffn=SMALL_FFN, batch=2.0, q=5.0, past=0.0, norms=NORMS, **more) -> BlockSpec:
    layer = (norms[0], attention, norms[1], ffn) if len(norms) == 2 else (*norms, attention, ffn)
    return BlockSpec("small", layer, Phase(batch, q, past), **{"dtype": "fp32", **more})


def ref_norm(x, w, mean=False, bias=None):
    x = x - x.mean(-1, keepdim=True) if mean else x
    out = x / torch.sqrt((x * x).mean(-1, keepdim=True) + 1e-5)
    out = out if w is None else out * w
    return out if bias is None else out + bias


def ref_rope(x, position, width):
    """x [heads, d] of one token; the first `width` turned."""
    half, out = width // 2, x.clone()
    for i in range(half):
        angle = position * 10000.0 ** (-2.0 * i / width)
        a, b = x[:, i], x[:, i + half]
        out[:, i] = a * math.cos(angle) - b * math.sin(angle)
        out[:, i + half] = b * math.cos(angle) + a * math.sin(angle)
    return out


def sees(row, column, window=None, chunk=None):
    if column > row or (window and column <= row - window):
        return False
    return not chunk or row // chunk == column // chunk


def ref_core(q, k, v, positions, first, scale, sinks=None, **mask):
    """q [t, h, d], k [s, h_kv, d], v [s, h_kv, dv]; key j stands at position first + j; a sink is a score without a value."""
    out = torch.zeros(q.shape[0], q.shape[1], v.shape[2], dtype=torch.float64)
    group = q.shape[1] // k.shape[1]
    for t, row in enumerate(positions):
        seen = [j for j in range(k.shape[0]) if sees(row, first + j, **mask)]
        for head in range(q.shape[1]):
            scores = torch.stack([q[t, head] @ k[j, head // group] for j in seen]) * scale
            if sinks is not None:
                scores = torch.cat((scores, sinks[head : head + 1]))
            out[t, head] = torch.softmax(scores, 0)[: len(seen)] @ v[seen, head // group]
    return out


def ref_gqa(block, w, x, caches, phase):
    b, t, past = int(phase.batch), int(phase.q_len), int(phase.past)
    h, kv, d, dv = (
        int(n) for n in (block.num_attention_heads, block.num_key_value_heads, block.head_dim, block.v_head_dim)
    )
    qkv = x @ w["qkv_proj"].T + w.get("qkv_bias", 0.0)
    if isinstance(block, MFA):  # the first columns are the queries' latent
        rank = int(block.share_q_dim)
        qkv = torch.cat((ref_norm(qkv[:, :rank], w["inter_norm"]) @ w["wq"].T, qkv[:, rank:]), 1)
    out = torch.zeros(b * t, h * dv, dtype=torch.float64)
    mask = {"window": block.mask.window, "chunk": block.mask.chunk}
    gate = qkv[:, h * d + kv * (d + dv) :] + w.get("gate_bias", 0.0)
    for seq in range(b):
        rows = qkv[seq * t : seq * t + t]
        q, k, v = (
            rows[:, : h * d].view(t, h, d),
            rows[:, h * d : (h + kv) * d].view(t, kv, d),
            rows[:, (h + kv) * d : h * d + kv * (d + dv)],
        )
        if block.qk_norm == "head":
            q, k = ref_norm(q, w["qk_norm"][:d]), ref_norm(k, w["qk_norm"][d:])
        if block.qk_norm == "full":
            q = ref_norm(q.reshape(t, -1), w["qk_norm"][: h * d]).view(t, h, d)
            k = ref_norm(k.reshape(t, -1), w["qk_norm"][h * d :]).view(t, kv, d)
        turn = int(block.head_dim * block.rotary)
        q = torch.stack([ref_rope(q[i], past + i, turn) for i in range(t)])
        k = torch.stack([ref_rope(k[i], past + i, turn) for i in range(t)])
        keys, values = k, v.reshape(t, kv, dv)
        first = past
        if caches:
            old = caches[0].shape[2] - t
            keys = torch.cat((caches[0][seq, :, :old].transpose(0, 1), keys))
            values = torch.cat((caches[1][seq, :, :old].transpose(0, 1), values))
            first = past - old
        found = ref_core(q, keys, values, range(past, past + t), first, d**-0.5, w.get("sinks"), **mask)
        out[seq * t : seq * t + t] = found.reshape(t, -1)
    if block.output_gate != "none":
        out = out * (1 / (1 + torch.exp(-gate))).repeat_interleave(h * dv // gate.shape[1], 1)
    return out @ w["o_proj"].T + w.get("o_bias", 0.0)


def ref_mla(block, w, x, caches, phase):
    """The expanded form, whatever the block ran: both give the same."""
    b, t, past = int(phase.batch), int(phase.q_len), int(phase.past)
    h, r, nope, turn = (
        int(n) for n in (block.num_attention_heads, block.kv_lora_rank, block.qk_nope_head_dim, block.qk_rope_head_dim)
    )
    dv, out, ref_turn = int(block.v_head_dim), [], ref_rope if block.rotated else lambda x, *_: x
    first = int(block.q_lora_rank or 0)
    cut = [first + int(block.latent), int(block.hidden_size)]
    biases = torch.split(w["bias"], cut) if block.bias else (0.0, 0.0)
    raw = x @ w["qkv_a_proj" if first else "kv_a_proj"].T + biases[0]
    query = ref_norm(raw[:, :first], w["q_a_norm"]) @ w["q_b_proj"].T if first else x @ w["q_proj"].T
    raw = raw[:, first:]
    for seq in range(b):
        rows = slice(seq * t, seq * t + t)
        q = query[rows].view(t, h, nope + turn)
        q = torch.cat((q[..., :nope], torch.stack([ref_turn(q[i, :, nope:], past + i, turn) for i in range(t)])), -1)
        latent = ref_norm(raw[rows, :r], w["kv_a_norm"])
        rotary = torch.cat([ref_turn(raw[rows][i : i + 1, r:], past + i, turn) for i in range(t)])
        both = torch.cat((latent, rotary), -1)
        if caches:
            both = torch.cat((caches[0][seq, : caches[0].shape[1] - t], both))
        kv = (both[:, :r] @ w["kv_b_proj"].T).view(len(both), h, nope + dv)
        k = torch.cat((kv[..., :nope], both[:, None, r:].expand(-1, h, -1)), -1)
        scale, first_key = (nope + turn) ** -0.5, past + t - len(both)
        seen = range(past, past + t), first_key, scale, w.get("sinks")
        found = ref_core(q, k, kv[..., nope:], *seen, window=block.mask.window)
        out.append(found.reshape(t, -1))
    core = torch.cat(out)
    if "output_gate" in w:
        gate = 1 / (1 + torch.exp(-x @ w["output_gate"].T))
        core = core * gate.repeat_interleave(h * dv // gate.shape[1], 1)
    return core @ w["o_proj"].T + biases[1]


def ref_glu(x, up, down, gated, up_bias=None, down_bias=None):
    y = x @ up.T if up_bias is None else x @ up.T + up_bias
    half = y.shape[-1] // 2
    silu = y[..., :half] if gated else y
    inner = silu / (1 + torch.exp(-silu)) * (y[..., half:] if gated else 1.0)
    return inner @ down.T if down_bias is None else inner @ down.T + down_bias


def ref_dense(block, w, x, caches, phase):
    up = w["gate_up_proj" if block.gated else "up_proj"]
    return ref_glu(x, up, w["down_proj"], block.gated, w.get("up_bias"), w.get("down_bias"))


def ref_moe(block, w, x, caches, phase):
    out, k, bias = torch.zeros_like(x), int(block.num_experts_per_tok), w.get("expert_bias")
    up = w["experts_up"].shape[1]
    routed = torch.zeros(len(x), w["experts_down"].shape[1], dtype=torch.float64)
    for i, token in enumerate(x):
        logits = w["router"] @ token + w.get("router_bias", 0.0)
        scores = torch.softmax(logits, 0) if block.scoring_func == "softmax" else 1 / (1 + torch.exp(-logits))
        choice = scores + w.get("correction_bias", 0.0)
        groups = int(block.n_group)
        if groups > 1:
            size = len(choice) // groups
            best = sorted(range(groups), key=lambda g: -float(sum(sorted(choice[g * size : g * size + size])[-2:])))
            for g in best[int(block.topk_group) :]:
                choice[g * size : g * size + size] = -math.inf
        chosen = sorted(range(len(choice)), key=lambda e: -float(choice[e]))[:k]
        whole = sum(scores[e] for e in chosen)
        for e in chosen:
            offsets = (None, None) if bias is None else (bias[e][:up], bias[e][up:])
            seen = w["latent_down"] @ token if "latent_down" in w else token
            y = ref_glu(seen, w["experts_up"][e], w["experts_down"][e], block.gated, *offsets)
            routed[i] += y * scores[e] / whole
        back = ref_norm(routed[i], w["latent_norm"]) if "latent_norm" in w else routed[i]
        out[i] = w["latent_up"] @ back if "latent_up" in w else back
        if block.has_shared:
            shared = ref_glu(token, w["shared_up"], w["shared_down"], block.gated)
            out[i] += shared * (1 / (1 + torch.exp(-(w["shared_gate"] @ token))) if block.shared_gate else 1.0)
    return out


def reference(block: build.TorchBlock):
    """The layer's output in float64, from the first copy's weights."""
    own = {key: value.detach().double() for key, value in block.copies[0].items()}
    residual, branches = block.start[0].double(), [block.start[1].double()]
    x = branches[0]
    for index, part in enumerate(block.spec.layer):
        w = {key.split(".", 1)[1]: value for key, value in own.items() if key.startswith(f"{index}.")}
        if isinstance(part, Norm):
            gain = w.get(part.name)
            width, mean = int(part.width), part.vectors != 1.0
            bias = gain[width:] if part.vectors == 2.0 else None
            gain = None if gain is None else gain[:width]
            if part.residual:
                residual, branches = residual + sum(branches), []
                x = ref_norm(residual, gain, mean, bias)
            else:
                branches[-1] = ref_norm(branches[-1], gain, mean, bias)
            continue
        kind = next(
            ref
            for type_, ref in ((GQA, ref_gqa), (MLA, ref_mla), (Dense, ref_dense), (MoE, ref_moe))
            if isinstance(part, type_)
        )
        caches = [w[key] for key in ("K", "V", "latent") if key in w]
        branches.append(kind(part, w, x, caches, block.spec.phase))
    return residual + sum(branches)
