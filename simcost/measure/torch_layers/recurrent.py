"""Torch sections of mixers with a recurrent state: Gated DeltaNet, KDA, Mamba-2, Mamba, lightning attention, and the short convolution.

Prompts run in chunks, one token a sequence as a step; states and columns of the convolution are caches of their own format. What kernels fuse with the core (norms of keys, time steps, decays, skips) is
part of its section. Most likely to be wrong: plain torch inverts a chunk's triangle by a solve, and writes what a kernel keeps in registers. Sources: the blocks' own
(`simcost/blocks/attention`); Hugging Face `modeling_qwen3_next.py`, `modeling_kimi_linear.py`, `modeling_nemotron_h.py`, `modeling_jamba.py`, `modeling_minimax.py`, `modeling_lfm2.py` for the order.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn import functional as F

from simcost.blocks._recurrent import Recurrent
from simcost.blocks.attention.gated_deltanet import GatedDeltaNet
from simcost.blocks.attention.kda import GATES, KDA
from simcost.blocks.attention.lightning import Lightning
from simcost.blocks.attention.mamba import Mamba
from simcost.blocks.attention.mamba2 import Mamba2
from simcost.blocks.attention.short_conv import ShortConv
from simcost.dtypes import Dtype
from simcost.errors import SpecError
from simcost.measure import torch_ops as ops
from simcost.measure import torch_recurrent as rec
from simcost.measure.torch_layers.section import Cache, Section, Site, Tensor, Tensors, Weights, linear, whole
from simcost.num import Num

Read = Callable[[Weights, Tensors], rec.Inputs]
Part = Callable[[Tensors], Tensor]


def gated_deltanet(block: GatedDeltaNet, at: Site) -> list[Section]:
    """Sections of Gated DeltaNet: both projections, convolution, core, norm and gate of a head, o_proj."""
    k, heads = at.key, block.shape(at.view.plan)
    n, key_heads, d_k, d_v = (whole(value, "heads") for value in heads)
    keys, values = key_heads * d_k, n * d_v

    def read(w: Weights, s: Tensors) -> rec.Inputs:
        q, key, v = _heads(at, s[k("mixed")], (keys, keys, values), (key_heads, key_heads, n))
        weight, step = torch.split(_tokens(at, s[k("ba")]), n, -1)
        return rec.Inputs(_unit(q), _unit(key), v, _decay(w[k("A_log")], step, w[k("dt_bias")]), torch.sigmoid(weight))

    return [
        linear(at, "attention/in_proj_qkvz", "in_proj_qkvz", at.flow.normed, k("qkvz")),
        linear(at, "attention/in_proj_ba", "in_proj_ba", at.flow.normed, k("ba")),
        _conv(block, at, "attention", lambda s: s[k("qkvz")][:, : 2 * keys + values]),
        _core(block, at, "attention", read),
        _gated_norm(at, "attention", "gated_norm", n, lambda s: F.silu(s[k("qkvz")][:, 2 * keys + values :])),
        *_leave(at, "attention"),
    ]


def kda(block: KDA, at: Site) -> list[Section]:
    """Sections of KDA: projections, both gates, learning rates, convolution, core, norm and gate of a head, o_proj."""
    k, source = at.key, at.flow.normed
    n, width = (whole(value, "heads") for value in block.shape(at.view.plan)[::3])
    found = [linear(at, "attention/qkv_proj", "qkv_proj", source, k("qkv"))]
    for gate in (f"{name}_gate" for name in GATES):
        if gate.removesuffix("_gate") in block.full_rank:
            found.append(linear(at, f"attention/{gate}", gate, source, k(gate)))
        else:
            found.append(linear(at, f"attention/{gate}_down", f"{gate}_down", source, k(f"{gate}_down")))
            found.append(linear(at, f"attention/{gate}_up", f"{gate}_up", k(f"{gate}_down"), k(gate)))
    found.append(linear(at, "attention/b_proj", "b_proj", source, k("b")))

    def read(w: Weights, s: Tensors) -> rec.Inputs:
        q, key, v = _heads(at, s[k("mixed")], (n * width,) * 3, (n,) * 3)
        step = torch.unflatten(_tokens(at, s[k("forget_gate")] + w[k("dt_bias")]), -1, (n, width))
        decay = _decay(w[k("A_log")].unsqueeze(-1), step)
        return rec.Inputs(_unit(q), _unit(key), v, decay, torch.sigmoid(_tokens(at, s[k("b")])))

    return [
        *found,
        _conv(block, at, "attention", lambda s: s[k("qkv")]),
        _core(block, at, "attention", read),
        _gated_norm(at, "attention", "gated_norm", n, lambda s: torch.sigmoid(s[k("output_gate")])),
        *_leave(at, "attention"),
    ]


def mamba2(block: Mamba2, at: Site) -> list[Section]:
    """Sections of Mamba-2: projection, convolution, core, gate with its norm, o_proj."""
    k, plan = at.key, at.view.plan
    n, groups, d_k, d_v = (whole(value, "heads") for value in block.shape(plan))
    width, channels = n * d_v, whole(block.channels(plan), "channels")

    def read(w: Weights, s: Tensors) -> rec.Inputs:
        v, key, q = _heads(at, s[k("mixed")], (width, groups * d_k, groups * d_k), (n, groups, groups))
        step = F.softplus(_tokens(at, s[k("entered")][:, width + channels :]) + w[k("dt_bias")])
        return rec.Inputs(q, key, v, -w[k("A_log")].exp() * step, step)

    def skip(w: Weights, x: rec.Inputs) -> Tensor:
        return w[k("D")].unsqueeze(-1) * x.v

    def gate(w: Weights, s: Tensors) -> None:
        out = s[k("core")] * F.silu(s[k("entered")][:, :width])
        if block.gated_norm:
            out = ops.norm(torch.unflatten(out, -1, (groups, -1)), None, None, False).flatten(1) * w[k("mixer_norm")]
        s[k("gated")] = out

    return [
        linear(at, "mamba/in_proj", "in_proj", at.flow.normed, k("entered"), "in_bias" if block.in_bias else ""),
        _conv(block, at, "mamba", lambda s: s[k("entered")][:, width : width + channels]),
        _core(block, at, "mamba", read, skip),
        Section("mamba/gated norm" if block.gated_norm else "mamba/output gate", gate),
        *_leave(at, "mamba", "o_bias" if block.out_bias else ""),
    ]


def mamba(block: Mamba, at: Site) -> list[Section]:
    """Sections of Mamba: projection, convolution, time steps with B and C, their norms, the scan with its gate, o_proj. Heads with time steps of their own are a batch of small products."""
    k, plan, b, t = at.key, at.view.plan, at.batch, at.q_len
    width, state, rank = (whole(n, "width") for n in (block.channels(plan), block.ssm_state_size, block.dt_rank))
    own = whole(block.shape(plan).key_heads, "heads")
    cut, steps = (rank, state, state), k("steps.normed") if block.inner_norms else k("steps")

    def by_head(name: str, x: Tensor, weight: Tensor) -> Tensor:
        """x [rows, heads, inner] by the matrix of each head: [rows, heads, out]."""
        if own == 1:
            return at.kit.linear(name, x[:, 0], weight).unsqueeze(1)
        return torch.bmm(x.transpose(0, 1), weight.transpose(1, 2)).transpose(0, 1)

    def project(w: Weights, s: Tensors) -> None:
        s[k("steps")] = by_head("mamba/x_proj", s[k("mixed")].view(at.rows, own, -1), w[k("x_proj")])

    def norms(w: Weights, s: Tensors) -> None:
        gains = torch.split(w[k("inner_norms")], list(cut)) if block.norm_weights else (None, None, None)
        parts = zip(torch.split(s[k("steps")], list(cut), -1), gains, strict=True)
        s[steps] = torch.cat([ops.norm(part, gain, None, False) for part, gain in parts], -1)

    def widen(w: Weights, s: Tensors) -> None:
        s[k("dt")] = by_head("mamba/dt_proj", s[steps][..., :rank], w[k("dt_proj")]).flatten(1)

    def read(w: Weights, s: Tensors) -> rec.Inputs:
        step = F.softplus(_tokens(at, s[k("dt")]) + w[k("dt_bias")])
        keys, queries = torch.split(_tokens(at, s[steps][..., rank:]), state, -1)
        decay = -w[k("A_log")].view(width, state).exp() * step.unsqueeze(-1)
        return rec.Inputs(queries, keys, s[k("mixed")].view(b, t, width, 1), decay, step)

    def skip(w: Weights, x: rec.Inputs) -> Tensor:
        return w[k("D")].unsqueeze(-1) * x.v

    bias = ("in_bias", "o_bias") if block.proj_bias else ("", "")
    return [
        linear(at, "mamba/in_proj", "in_proj", at.flow.normed, k("entered"), bias[0]),
        _conv(block, at, "mamba", lambda s: s[k("entered")][:, :width]),
        Section("mamba/x_proj", project, own == 1),
        *([Section("mamba/inner norms", norms)] if block.inner_norms else []),
        Section("mamba/dt_proj", widen, own == 1),
        _core(block, at, "mamba", read, skip, lambda s: F.silu(s[k("entered")][:, width:]), k("gated")),
        *_leave(at, "mamba", bias[1]),
    ]


def lightning(block: Lightning, at: Site) -> list[Section]:
    """Sections of lightning attention: projections, norms of queries and keys, core, norm and gate of the output, o_proj."""
    k, n = at.key, whole(block.shape(at.view.plan).heads, "heads")
    d, b, t = whole(block.head_dim, "head_dim"), at.batch, at.q_len

    def slopes() -> Tensor:
        return -(2.0 ** (torch.arange(1, n + 1) * -8.0 / n)).to(at.device, at.dtype)

    at.shared.setdefault(f"slopes.{n}", (n, slopes))

    def norms(w: Weights, s: Tensors) -> None:
        both = s[k("qkv")][:, : 2 * n * d].view(-1, 2, n, d)
        pairs = zip(both.unbind(1), torch.split(w[k("qk_norm")], d), strict=True)
        s[k("qk")] = torch.stack([ops.norm(x, gain, None, False) for x, gain in pairs], 1)

    def read(w: Weights, s: Tensors) -> rec.Inputs:
        q, key, v = F.silu(s[k("qkv")]).view(b, t, 3, n, d).unbind(2)
        if block.qk_norm:
            q, key = F.silu(s[k("qk")]).view(b, t, 2, n, d).unbind(2)
        decay = w[f"slopes.{n}"].expand(b, t, n)
        return rec.Inputs(q, key, v, decay, torch.ones_like(decay))

    return [
        linear(at, "attention/qkv_proj", "qkv_proj", at.flow.normed, k("qkv")),
        linear(at, "attention/output_gate", "output_gate", at.flow.normed, k("gate")),
        *([Section("attention/qk_norm", norms)] if block.qk_norm else []),
        _core(block, at, "attention", read),
        _gated_norm(at, "attention", "output_norm", 1, lambda s: torch.sigmoid(s[k("gate")])),
        *_leave(at, "attention"),
    ]


def short_conv(block: ShortConv, at: Site) -> list[Section]:
    """Sections of the short convolution: projection, gate, convolution, gate, o_proj."""
    k, c = at.key, whole(block.channels(at.view.plan), "channels")
    bias = ("in_bias", "o_bias") if block.bias else ("", "")

    def times(name: str, which: int, source: Part, out: str) -> Section:
        def run(w: Weights, s: Tensors) -> None:
            s[out] = s[k("entered")][:, which * c : which * c + c] * source(s)

        return Section(name, run)

    return [
        linear(at, "short_conv/in_proj", "in_proj", at.flow.normed, k("entered"), bias[0]),
        times("short_conv/input gate", 0, lambda s: s[k("entered")][:, 2 * c :], k("entering")),
        _convolution(at, "short_conv", (c, block.conv_kernel, block.columns), lambda s: s[k("entering")], False),
        times("short_conv/output gate", 1, lambda s: s[k("mixed")], k("gated")),
        *_leave(at, "short_conv", bias[1]),
    ]


def _tokens(at: Site, x: Tensor) -> Tensor:
    """Rows [B x T, ...] as [B, T, ...]."""
    return torch.unflatten(x, 0, (at.batch, at.q_len))


def _heads(at: Site, x: Tensor, widths: tuple[int, ...], heads: tuple[int, ...]) -> list[Tensor]:
    """Columns cut into parts, and each part into heads: [B, T, heads, width of a head]."""
    parts = zip(torch.split(_tokens(at, x), list(widths), -1), heads, strict=True)
    return [torch.unflatten(part, -1, (count, -1)) for part, count in parts]


def _unit(x: Tensor) -> Tensor:
    return F.normalize(x, dim=-1)


def _decay(a_log: Tensor, step: Tensor, bias: Tensor | None = None) -> Tensor:
    """Log of what a state keeps."""
    return -a_log.exp() * F.softplus(step if bias is None else step + bias)


def _conv(block: Recurrent, at: Site, tag: str, source: Part) -> Section:
    channels = whole(block.channels(at.view.plan), "channels")
    return _convolution(at, tag, (channels, block.conv_kernel, block.states.columns), source, True)


def _convolution(at: Site, tag: str, shape: tuple[int, Num, Dtype], source: Part, active: bool) -> Section:
    """`shape`: channels, tokens of the kernel, format of its columns. The vector of weights ends in the biases, where it has any."""
    k, (channels, tokens, format_) = at.key, shape
    kernel, columns, weight = whole(tokens, "conv_kernel"), k("columns"), k("conv1d")
    size = at.batch, channels, kernel - 1
    if not at.training:
        at.caches[columns] = Cache(size, _type(format_, at))

    def run(w: Weights, s: Tensors) -> None:
        x = _tokens(at, source(s)).transpose(1, 2)
        before = w[columns] if columns in w else x.new_zeros(size)
        matrix, bias = w[weight][: channels * kernel].view(channels, kernel), w[weight][channels * kernel :]
        out, last = rec.convolved(x, before, matrix, bias if len(bias) else None)
        if columns in w:
            w[columns].copy_(last)
        s[k("mixed")] = (F.silu(out) if active else out).transpose(1, 2).flatten(0, 1)

    return Section(f"{tag}/causal conv", run)


def _type(format_: Dtype, at: Site) -> torch.dtype:
    """Torch's type of a state's format. Raises SpecError for one that torch does not compute in."""
    if format_.name not in ops.TYPES:
        raise SpecError(f"{at.spec.name}: no torch block for states in {format_.name}")
    return ops.TYPES[format_.name]


def _core(
    block: Recurrent,
    at: Site,
    tag: str,
    read: Read,
    skip: Callable[[Weights, rec.Inputs], Tensor] | None = None,
    gate: Part | None = None,
    out: str = "",
) -> Section:
    """The recurrence over states of its own format, plus what skips it, times a gate."""
    size, rule, state = tuple(whole(n, "heads") for n in block.shape(at.view.plan)), block.rule, at.key("state")
    kept, format_ = (at.batch, size[0], *size[2:]), block.states.of(at.view.plan)
    chunk = whole(block.chunk_size, "chunk_size")
    name, one = out or at.key("core"), at.q_len == 1 and not at.training
    if not at.training:
        at.caches[state] = Cache(kept, _type(format_, at))
    at.kit.recurrent = "torch recurrence" if one else "torch scan" if rule == rec.SCAN else "torch chunks"

    def run(w: Weights, s: Tensors) -> None:
        x = read(w, s)
        if one:
            y = rec.step(rule, x, w[state]).unsqueeze(1).to(x.v.dtype)
        else:
            y, last = rec.chunks(rule, x, w[state] if state in w else x.v.new_zeros(kept), chunk)
            if state in w:
                w[state].copy_(last)
        y = (y if skip is None else y + skip(w, x)).flatten(2).flatten(0, 1)
        s[name] = y if gate is None else y * gate(s)

    return Section(f"{tag}/core", run)


def _gated_norm(at: Site, tag: str, gain: str, heads: int, gate: Part) -> Section:
    """The norm of each of `heads` parts of the core's output, times the gate."""
    k = at.key

    def run(w: Weights, s: Tensors) -> None:
        x = torch.unflatten(s[k("core")], -1, (heads, -1))
        s[k("gated")] = ops.norm(x, w[k(gain)], None, False).flatten(1) * gate(s)

    return Section(f"{tag}/gated norm", run)


def _leave(at: Site, tag: str, bias: str = "") -> list[Section]:
    """o_proj, whose output waits to be added to the residual stream."""
    at.flow.pending.append(at.key("out"))
    return [linear(at, f"{tag}/o_proj", "o_proj", at.key("gated"), at.key("out"), bias)]
