"""Torch sections of MLA: expanded, and absorbed over a latent cache.

Most likely to be wrong: torch has no absorbed kernel of its own (on CUDA our Triton kernel serves). Sources: the block's own (`simcost/blocks/attention/mla.py`); Hugging Face
`modeling_deepseek_v3.py` for the order of the products.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from simcost.blocks.attention.mla import MLA
from simcost.errors import SpecError
from simcost.measure import torch_ops as ops
from simcost.measure.machine.torch import optional
from simcost.measure.torch_layers.section import (
    LATENT_CPU,
    SINKS,
    Cache,
    Section,
    Site,
    Tensor,
    Tensors,
    Weights,
    by_gate,
    linear,
    norm_of,
    o_proj,
    whole,
)


def mla(block: MLA, at: Site) -> list[Section]:
    """Sections of MLA: queries, latent, the chosen form of the core, the output's gate, o_proj."""
    at.hides(block.mask)
    found = projections(block, at)
    found += _absorbed(block, at) if at.view.plan.mla_form == "absorbed" else _expanded(block, at)
    return [*found, *leave(block, at)]


def leave(block: MLA, at: Site) -> list[Section]:
    """The output's gate and its projection, where there is one, and o_proj."""
    k, found, core, gated = at.key, [], at.key("core"), at.key("core.gated")
    if block.output_gate != "none":
        heads = whole(block.num_attention_heads / at.view.plan.tp, "heads")

        def gate(w: Weights, s: Tensors) -> None:
            s[gated] = by_gate(s[core], s[k("gate")], heads)

        found.append(linear(at, "attention/output_gate", "output_gate", at.flow.normed, k("gate")))
        found.append(Section("attention/output gate", gate))
    return [*found, o_proj(at, gated if found else core, *bias_of(block, "o"))]


def _refuse(block: MLA, at: Site) -> None:
    """Raises SpecError for what no torch layer does."""
    for what, has in (
        ("a gate made of the queries' latent", block.output_gate == "latent"),
        ("a norm of the rotary key", block.rotary_key_norm),
    ):
        if has:
            raise SpecError(f"{at.spec.name}: no torch block for latent attention with {what} yet")


def bias_of(block: MLA, which: str) -> tuple[str, slice]:
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


def projections(block: MLA, at: Site) -> list[Section]:
    """Down to the latents of queries ("q_a.normed") and tokens ("kv_a.normed"), and up to the queries' heads ("query"). Raises SpecError for a gate of the latent and a norm of the rotary key."""
    _refuse(block, at)
    k, source = at.key, at.flow.normed
    rank, first = whole(block.kv_lora_rank, "kv_lora_rank"), _queries_first(block)
    latent = norm_of(at, "kv_a_norm", k("a"), slice(first, first + rank), k("kv_a.normed"))
    if block.q_lora_rank is None:
        query = linear(at, "attention/q_proj", "q_proj", source, k("query"))
        return [query, linear(at, "attention/kv_a_proj", "kv_a_proj", source, k("a"), *bias_of(block, "a")), latent]
    return [
        linear(at, "attention/qkv_a_proj", "qkv_a_proj", source, k("a"), *bias_of(block, "a")),
        norm_of(at, "q_a_norm", k("a"), slice(0, first), k("q_a.normed")),
        linear(at, "attention/q_b_proj", "q_b_proj", k("q_a.normed"), k("query")),
        latent,
    ]


def _plain(block: MLA, at: Site, s: Tensors) -> Tensor:
    """The queries' heads without their rotary part. [rows, heads, nope]"""
    nope = whole(block.qk_nope_head_dim, "nope")
    query = s[at.key("query")]
    return query.view(len(query), -1, nope + whole(block.qk_rope_head_dim, "rope"))[..., :nope]


def before_core(block: MLA, at: Site, tag: str = "attention") -> list[Section]:
    """Rope of the queries, and norm, rope and write of the tokens' latents; their names begin with `tag`."""
    k, rank, turned = at.key, whole(block.kv_lora_rank, "kv_lora_rank"), whole(block.qk_rope_head_dim, "rope")
    b, t, context, nope = at.batch, at.q_len, at.keys(block.mask), whole(block.qk_nope_head_dim, "nope")
    cos, sin = at.rope(turned)
    query, rotary, raw, normed, latent = k("query"), k("q.rope"), k("a"), k("kv_a.normed"), k("latent")
    start = _queries_first(block) + rank
    if not at.training:
        at.caches[latent] = Cache((b, context, rank + turned))

    def part(s: Tensors) -> Tensor:
        return s[query].view(len(s[query]), -1, nope + turned)[..., nope:]

    def rope(w: Weights, s: Tensors) -> None:
        s[rotary] = ops.rope(part(s), w[cos], w[sin])

    def write(w: Weights, s: Tensors) -> None:
        key = s[raw][:, None, start:]
        if not block.rotated:  # the same elements, as they are
            s[rotary] = part(s)
        shared = (ops.rope(key, w[cos], w[sin]) if block.rotated else key).reshape(b, t, turned)
        new = s[normed].view(b, t, rank)
        if latent in w:
            w[latent][:, context - t :, :rank].copy_(new)
            w[latent][:, context - t :, rank:].copy_(shared)
            s[latent] = w[latent]
        else:
            s[latent] = torch.cat((new, shared), -1)

    first = [Section(f"{tag}/q rope", rope)] if block.rotated else []
    return [*first, Section(f"{tag}/latent rope + write", write)]


def _expanded(block: MLA, at: Site) -> list[Section]:
    """K and V of all heads from the latent; K gets its rotary part, shared by the heads, inside the core."""
    k, kit, b, t, context = at.key, at.kit, at.batch, at.q_len, at.keys(block.mask)
    rank, nope = whole(block.kv_lora_rank, "kv_lora_rank"), whole(block.qk_nope_head_dim, "nope")
    dv, scale = whole(block.v_head_dim, "v_head_dim"), float(block.qk_head_dim) ** -0.5
    latent, fresh, weight, kv, core = k("latent"), k("kv_a.normed"), k("kv_b_proj"), k("kv"), k("core")
    rotary, name = k("q.rope"), "attention/kv_b_proj (expand)"
    mask, causal = at.masking
    past = context - t

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
        out = kit.attention(query, keys, values, w[mask] if mask else None, causal, scale, w.get(k("sinks")))
        s[core] = out.transpose(1, 2).reshape(b * t, -1)

    return [Section(name, expand, True), *before_core(block, at), Section("attention/core", attend)]


Core = Callable[[Tensor, Tensor, int, Tensor | None, bool, float, Tensor | None], Tensor]


def _latent_core(at: Site, rank: int, turned: int, sinks: bool) -> Core:
    """Our own kernel for one query a sequence, without sinks, where there is Triton and a device for it; else plain torch."""
    powers = rank & (rank - 1) == 0 and turned & (turned - 1) == 0
    narrow = at.spec.dtype in ("bf16", "fp16")
    if at.device.type != "cuda" or at.q_len != 1 or sinks or not (powers and narrow) or optional("triton") is None:
        on_cpu = SINKS if sinks and at.q_len == 1 else LATENT_CPU
        at.kit.core = "matmul" if at.device.type == "cuda" else on_cpu
        return ops.latent_attention
    at.kit.core = "triton split-KV (simcost)"
    from simcost.measure.triton_kernels import mla_decode

    def core(
        q: Tensor, latent: Tensor, width: int, mask: Tensor | None, causal: bool, scale: float, sinks: Tensor | None
    ) -> Tensor:
        return mla_decode.attend(q, latent, width, scale)

    return core


def _absorbed(block: MLA, at: Site) -> list[Section]:
    k, rank = at.key, whole(block.kv_lora_rank, "kv_lora_rank")
    scale, rotary, latent = float(block.qk_head_dim) ** -0.5, k("q.rope"), k("latent")
    mask, causal = at.masking
    core_of = _latent_core(at, rank, whole(block.qk_rope_head_dim, "rope"), block.sinks)

    def attend(w: Weights, s: Tensors) -> None:
        query = torch.cat((s[k("q.absorbed")], s[rotary]), -1)
        query = query.view(at.batch, at.q_len, -1, query.shape[-1]).transpose(1, 2)
        s[k("mixed")] = core_of(query, s[latent], rank, w[mask] if mask else None, causal, scale, w.get(k("sinks")))

    return absorbed(block, at, "attention", [Section("attention/core", attend)])


def absorbed(block: MLA, at: Site, tag: str, core: list[Section]) -> list[Section]:
    """The absorbed form around a core that reads queries "q.absorbed" and "q.rope" [rows, heads, ...] and writes "mixed" [B, heads, T, rank]; names begin with `tag`."""
    k, b, t = at.key, at.batch, at.q_len
    rank, nope = whole(block.kv_lora_rank, "kv_lora_rank"), whole(block.qk_nope_head_dim, "nope")
    dv, weight, wide, mixed, out = (
        whole(block.v_head_dim, "v_head_dim"),
        k("kv_b_proj"),
        k("q.absorbed"),
        k("mixed"),
        k("core"),
    )

    def absorb_keys(w: Weights, s: Tensors) -> None:
        matrix = w[weight].view(-1, nope + dv, rank)[:, :nope]
        s[wide] = torch.bmm(_plain(block, at, s).transpose(0, 1), matrix).transpose(0, 1)

    def absorb_values(w: Weights, s: Tensors) -> None:
        matrix = w[weight].view(-1, nope + dv, rank)[:, nope:].transpose(1, 2)
        heads = s[mixed].permute(1, 0, 2, 3).reshape(-1, b * t, rank)
        s[out] = torch.bmm(heads, matrix).transpose(0, 1).reshape(b * t, -1)

    return [
        Section(f"{tag}/absorb k into q", absorb_keys),
        *before_core(block, at, tag),
        *core,
        Section(f"{tag}/absorb v into o", absorb_values),
    ]
