"""Torch sections of attention layers: GQA with its windows and norms, MFA, MLA expanded and absorbed over a latent cache.

Most likely to be wrong: a window in prefill is a mask over the whole square here, where engines skip tiles; and torch has
no absorbed kernel of its own (on CUDA our Triton kernel serves). Sources: the blocks' own (`simcost/blocks/attention`); Hugging Face `modeling_llama.py`,
`modeling_deepseek_v3.py` for the order of the products.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from simcost.blocks.attention.gqa import GQA
from simcost.blocks.attention.mfa import MFA
from simcost.blocks.attention.mla import MLA
from simcost.errors import SpecError
from simcost.measure import torch_ops as ops
from simcost.measure.machine.torch import optional
from simcost.measure.torch_layers.section import LATENT_CPU, Run, Section, Site, Tensor, Tensors, Weights, linear, whole


def gqa(block: GQA, at: Site) -> list[Section]:
    """Sections of grouped-query attention: qkv_proj (of MFA with the latent's norm and wq), qk_norm, rope, kv write, core, o_proj."""
    if block.sinks:
        raise SpecError(f"{at.spec.name}: torch's attention has no sinks, so this layer cannot be built")
    h, kv = (whole(n, "heads") for n in block.heads(at.view.plan))
    d, dv = whole(block.head_dim, "head_dim"), whole(block.v_head_dim, "v_head_dim")
    turned, bare = int(float(block.head_dim * block.rotary)) // 2 * 2, block.qk_norm == "none"
    k = at.key
    project = linear(
        at, "attention/qkv_proj", "qkv_proj", at.flow.normed, k("qkv"), "qkv_bias" if block.qkv_bias else ""
    )
    if isinstance(block, MFA):
        before = whole(block.share_q_dim, "share_q_dim")  # columns of the product before the keys
        found = [project, *_latent_queries(at, before, h, kv, d)]
    else:
        before = h * d
        found = [Section(project.name, _split(at, project.run, h, kv, d), True)]
    if not bare:
        found.append(Section("attention/qk_norm", _qk_norm(block, at, h, d)))
    if turned:
        found.append(Section("attention/rope", _qk_rope(at, bare and not isinstance(block, MFA), h, turned)))
    found += [
        Section("attention/kv write", _kv_write(block, at, before + kv * d, kv, d, dv)),
        Section("attention/core", _core(at, h, d, dv)),
        linear(at, "attention/o_proj", "o_proj", k("core"), k("out"), "o_bias" if block.o_bias else ""),
    ]
    at.flow.pending.append(k("out"))
    return found


def _split(at: Site, project: Run, h: int, kv: int, d: int) -> Run:
    """Queries and keys as views of the projection's output: together, for one rope, and apart."""
    qkv, qk, q, k = (at.key(name) for name in ("qkv", "qk", "q", "k"))

    def run(w: Weights, s: Tensors) -> None:
        project(w, s)
        s[qk] = s[qkv][:, : (h + kv) * d].view(-1, h + kv, d)
        s[q], s[k] = s[qk][:, :h], s[qk][:, h:]

    return run


def _latent_queries(at: Site, rank: int, h: int, kv: int, d: int) -> list[Section]:
    """MFA: norm of the queries' latent and its expansion; queries and keys as views."""
    qkv, normed, wide, q, k = (at.key(name) for name in ("qkv", "q latent", "wide", "q", "k"))
    expand = linear(at, "attention/wq", "wq", normed, wide)

    def run(w: Weights, s: Tensors) -> None:
        expand.run(w, s)
        s[q] = s[wide].view(-1, h, d)
        s[k] = s[qkv][:, rank : rank + kv * d].view(-1, kv, d)

    return [_norm(at, "inter_norm", qkv, slice(0, rank), normed), Section(expand.name, run, True)]


def _qk_norm(block: GQA, at: Site, h: int, d: int) -> Run:
    """A norm a head ("head", "weightless") or over all heads of a token ("full")."""
    q, k, weight = at.key("q"), at.key("k"), at.key("qk_norm")
    normed = {q: at.key("q.normed"), k: at.key("k.normed")}
    full, bias = block.qk_norm == "full", block.qk_norm_bias

    def run(w: Weights, s: Tensors) -> None:
        start = 0
        for name, out in normed.items():
            x = s[name].flatten(1) if full else s[name]
            size = x.shape[-1]
            gain = w[weight][start : start + size] if weight in w else None
            offset = w[weight][start + size : start + 2 * size] if bias else None
            start += 2 * size if bias else size
            s[out] = ops.norm(x, gain, offset, bias).view(s[name].shape)

    return run


def _qk_rope(at: Site, joint: bool, h: int, width: int) -> Run:
    cos, sin = at.rope(width)
    qk, q, k = at.key("qk"), at.key("q"), at.key("k")

    def together(w: Weights, s: Tensors) -> None:
        turned = ops.rope(s[qk], w[cos], w[sin])
        s[f"{q}.turned"], s[f"{k}.turned"] = turned[:, :h], turned[:, h:]

    def apart(w: Weights, s: Tensors) -> None:
        for name in (q, k):
            s[f"{name}.turned"] = ops.rope(_latest(s, name), w[cos], w[sin])

    return together if joint else apart


def _latest(s: Tensors, name: str) -> Tensor:
    """Turned, else normed, else as projected."""
    return s[next(key for key in (f"{name}.turned", f"{name}.normed", name) if key in s)]


def _kv_write(block: GQA, at: Site, start: int, kv: int, d: int, dv: int) -> Run:
    """K and V of the new tokens, values from column `start` of the projection on, to the end of the cache; a training step lays them out heads first instead."""
    b, t = at.batch, at.q_len
    keys = whole(block.mask.keys(float(t), at.view.phase.past), "keys")
    qkv, key, cached = at.key("qkv"), at.key("k"), (at.key("K"), at.key("V"))
    if not at.training:
        at.caches |= {cached[0]: (b, kv, keys, d), cached[1]: (b, kv, keys, dv)}
    limits = [0 if n is None else whole(n, "window") for n in (block.mask.window, block.mask.chunk)]
    at.shared_mask(keys, *limits)

    def run(w: Weights, s: Tensors) -> None:
        new = _latest(s, key).reshape(b, t, kv, d), s[qkv][:, start:].view(b, t, kv, dv)
        for name, part in zip(cached, new, strict=True):
            if name in w:
                w[name][:, :, keys - t :].copy_(part.transpose(1, 2))
                s[name] = w[name]
            else:
                s[name] = part.transpose(1, 2).contiguous()

    return run


def _core(at: Site, h: int, d: int, dv: int) -> Run:
    b, t, scale, kit = at.batch, at.q_len, d**-0.5, at.kit
    q, k, v, core = (at.key(name) for name in ("q", "K", "V", "core"))
    mask, causal = at.masking

    def run(w: Weights, s: Tensors) -> None:
        heads = _latest(s, q).reshape(b, t, h, d).transpose(1, 2)
        out = kit.attention(heads, s[k], s[v], w[mask] if mask else None, causal, scale)
        s[core] = out.transpose(1, 2).reshape(b * t, h * dv)

    return run


def mla(block: MLA, at: Site) -> list[Section]:
    """Sections of MLA: queries, latent, the chosen form of the core, o_proj."""
    form, k = at.view.plan.mla_form, at.key
    at.shared_mask(at.past + at.q_len, 0, 0)
    found = _projections(block, at)
    found += _absorbed(block, at) if form == "absorbed" else _expanded(block, at)
    found.append(linear(at, "attention/o_proj", "o_proj", k("core"), k("out"), *_bias(block, "o")))
    at.flow.pending.append(k("out"))
    return found


def _bias(block: MLA, which: str) -> tuple[str, slice]:
    """(name, part) of the one vector that holds the biases of the down-projections and of o."""
    if not block.bias:
        return "", slice(None)
    sizes = {
        "a": _queries_first(block) + whole(block.latent, "latent"),
        "o": whole(block.hidden_size, "hidden_size"),
    }
    start = sum(size for name, size in list(sizes.items())[: list(sizes).index(which)])
    return "bias", slice(start, start + sizes[which])


def _queries_first(block: MLA) -> int:
    """Columns of the down-projection before the tokens' latent."""
    return 0 if block.q_lora_rank is None else whole(block.q_lora_rank, "q_lora_rank")


def _projections(block: MLA, at: Site) -> list[Section]:
    k, source = at.key, at.flow.normed
    rank, first = whole(block.kv_lora_rank, "kv_lora_rank"), _queries_first(block)
    latent = _norm(at, "kv_a_norm", k("a"), slice(first, first + rank), k("kv_a.normed"))
    if block.q_lora_rank is None:
        query = linear(at, "attention/q_proj", "q_proj", source, k("query"))
        return [query, linear(at, "attention/kv_a_proj", "kv_a_proj", source, k("a"), *_bias(block, "a")), latent]
    return [
        linear(at, "attention/qkv_a_proj", "qkv_a_proj", source, k("a"), *_bias(block, "a")),
        _norm(at, "q_a_norm", k("a"), slice(0, first), k("q_a.normed")),
        linear(at, "attention/q_b_proj", "q_b_proj", k("q_a.normed"), k("query")),
        latent,
    ]


def _norm(at: Site, weight: str, source: str, part: slice, out: str) -> Section:
    """RMSNorm of some columns."""
    gain = at.key(weight)

    def run(w: Weights, s: Tensors) -> None:
        s[out] = ops.norm(s[source][:, part], w[gain], None, False)

    return Section(f"attention/{weight}", run)


def _plain(block: MLA, at: Site, s: Tensors) -> Tensor:
    """The queries' heads without their rotary part. [rows, heads, nope]"""
    nope = whole(block.qk_nope_head_dim, "nope")
    query = s[at.key("query")]
    return query.view(len(query), -1, nope + whole(block.qk_rope_head_dim, "rope"))[..., :nope]


def _before_core(block: MLA, at: Site) -> list[Section]:
    k, rank, turned = at.key, whole(block.kv_lora_rank, "kv_lora_rank"), whole(block.qk_rope_head_dim, "rope")
    b, t, context, nope = at.batch, at.q_len, at.past + at.q_len, whole(block.qk_nope_head_dim, "nope")
    cos, sin = at.rope(turned)
    query, rotary, raw, normed, latent = k("query"), k("q.rope"), k("a"), k("kv_a.normed"), k("latent")
    start = _queries_first(block) + rank
    if not at.training:
        at.caches[latent] = (b, context, rank + turned)

    def rope(w: Weights, s: Tensors) -> None:
        heads = s[query].view(len(s[query]), -1, nope + turned)
        s[rotary] = ops.rope(heads[..., nope:], w[cos], w[sin])

    def write(w: Weights, s: Tensors) -> None:
        shared = ops.rope(s[raw][:, None, start:], w[cos], w[sin]).view(b, t, turned)
        new = s[normed].view(b, t, rank)
        if latent in w:
            w[latent][:, context - t :, :rank].copy_(new)
            w[latent][:, context - t :, rank:].copy_(shared)
            s[latent] = w[latent]
        else:
            s[latent] = torch.cat((new, shared), -1)

    return [Section("attention/q rope", rope), Section("attention/latent rope + write", write)]


def _expanded(block: MLA, at: Site) -> list[Section]:
    """K and V of all heads from the latent; K gets its rotary part, shared by the heads, inside the core."""
    k, kit, b, t, context = at.key, at.kit, at.batch, at.q_len, at.past + at.q_len
    rank, nope = whole(block.kv_lora_rank, "kv_lora_rank"), whole(block.qk_nope_head_dim, "nope")
    dv, scale = whole(block.v_head_dim, "v_head_dim"), float(block.qk_head_dim) ** -0.5
    latent, fresh, weight, kv, core = k("latent"), k("kv_a.normed"), k("kv_b_proj"), k("kv"), k("core")
    rotary, name = k("q.rope"), "attention/kv_b_proj (expand)"
    mask, causal = at.masking
    past = at.past

    def expand(w: Weights, s: Tensors) -> None:
        rows = s[fresh]
        if past:  # gathered from the cache into one buffer, as engines do for a chunk
            rows = torch.cat((w[latent][:, :past, :rank], rows.view(b, t, rank)), 1).view(b * context, rank)
        s[kv] = kit.linear(name, rows, w[weight])

    def attend(w: Weights, s: Tensors) -> None:
        both = s[kv].view(b, context, -1, nope + dv)
        turned = s[latent][:, :, None, rank:].expand(-1, -1, both.shape[2], -1)
        keys = torch.cat((both[..., :nope], turned), -1).transpose(1, 2)
        query = torch.cat((_plain(block, at, s), s[rotary]), -1).view(b, t, -1, keys.shape[-1]).transpose(1, 2)
        values = both[..., nope:].transpose(1, 2)
        out = kit.attention(query, keys, values, w[mask] if mask else None, causal, scale)
        s[core] = out.transpose(1, 2).reshape(b * t, -1)

    return [Section(name, expand, True), *_before_core(block, at), Section("attention/core", attend)]


Core = Callable[[Tensor, Tensor, int, Tensor | None, bool, float], Tensor]


def _latent_core(at: Site, rank: int, turned: int) -> Core:
    """Our own kernel for one query a sequence where there is Triton and a device for it; else plain torch."""
    powers = rank & (rank - 1) == 0 and turned & (turned - 1) == 0
    narrow = at.spec.dtype in ("bf16", "fp16")
    if at.device.type != "cuda" or at.q_len != 1 or not (powers and narrow) or optional("triton") is None:
        at.kit.core = "matmul" if at.device.type == "cuda" else LATENT_CPU
        return ops.latent_attention
    at.kit.core = "triton split-KV (simcost)"
    from simcost.measure.triton_kernels import mla_decode

    def core(q: Tensor, latent: Tensor, width: int, mask: Tensor | None, causal: bool, scale: float) -> Tensor:
        return mla_decode.attend(q, latent, width, scale)

    return core


def _absorbed(block: MLA, at: Site) -> list[Section]:
    k, b, t = at.key, at.batch, at.q_len
    rank, nope = whole(block.kv_lora_rank, "kv_lora_rank"), whole(block.qk_nope_head_dim, "nope")
    dv, scale = whole(block.v_head_dim, "v_head_dim"), float(block.qk_head_dim) ** -0.5
    weight, rotary, latent = k("kv_b_proj"), k("q.rope"), k("latent")
    wide, mixed, core = k("q.absorbed"), k("mixed"), k("core")
    mask, causal = at.masking
    core_of = _latent_core(at, rank, whole(block.qk_rope_head_dim, "rope"))

    def absorb_keys(w: Weights, s: Tensors) -> None:
        matrix = w[weight].view(-1, nope + dv, rank)[:, :nope]
        s[wide] = torch.bmm(_plain(block, at, s).transpose(0, 1), matrix).transpose(0, 1)

    def attend(w: Weights, s: Tensors) -> None:
        query = torch.cat((s[wide], s[rotary]), -1)
        query = query.view(b, t, -1, query.shape[-1]).transpose(1, 2)
        s[mixed] = core_of(query, s[latent], rank, w[mask] if mask else None, causal, scale)

    def absorb_values(w: Weights, s: Tensors) -> None:
        matrix = w[weight].view(-1, nope + dv, rank)[:, nope:].transpose(1, 2)
        heads = s[mixed].permute(1, 0, 2, 3).reshape(-1, b * t, rank)
        s[core] = torch.bmm(heads, matrix).transpose(0, 1).reshape(b * t, -1)

    return [
        Section("attention/absorb k into q", absorb_keys),
        *_before_core(block, at),
        Section("attention/core", attend),
        Section("attention/absorb v into o", absorb_values),
    ]
