"""Torch sections of attention over keys and values of heads: GQA with its windows, norms and gates, and MFA.

Most likely to be wrong: a window in prefill is a mask over the whole square here, where engines skip tiles. Sources: the blocks' own (`simcost/blocks/attention`); Hugging Face `modeling_llama.py`,
`modeling_qwen3_next.py` for the order of the products.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from simcost.blocks.attention.gqa import GQA
from simcost.blocks.attention.mfa import MFA
from simcost.errors import SpecError
from simcost.measure import torch_ops as ops
from simcost.measure.torch_layers.section import (
    Cache,
    Run,
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

Attend = Callable[[Weights, Tensors, Tensor, float], Tensor]


class Inner(NamedTuple):
    """What a variant of GQA has of its own: sections after the norms of queries and keys, the first words of the names of the core's sections, sections before the write of keys, the core over queries
    [B, heads, T, d] with a scale, and sections that make "qkv" of the projection's output "qkv.shared"."""

    indexer: Sequence[Section] = ()
    tag: str = "attention"
    picks: Sequence[Section] = ()
    attend: Attend | None = None
    adapters: Sequence[Section] = ()


def gqa(block: GQA, at: Site, inner: Inner | None = None) -> list[Section]:
    """Sections of grouped-query attention: qkv_proj (of MFA with the latent's norm and wq), qk_norm, rope, kv write, core, the output's gate, o_proj."""
    inner = inner or Inner()
    h, kv = (whole(n, "heads") for n in block.heads(at.view.plan))
    d, dv = whole(block.head_dim, "head_dim"), whole(block.v_head_dim, "v_head_dim")
    turned, bare = int(float(block.head_dim * block.rotary)) // 2 * 2, block.qk_norm == "none"
    k = at.key
    product = k("qkv.shared" if inner.adapters else "qkv")
    project = linear(
        at, "attention/qkv_proj", "qkv_proj", at.flow.normed, product, "qkv_bias" if block.qkv_bias else ""
    )
    if isinstance(block, MFA):
        before = whole(block.share_q_dim, "share_q_dim")  # columns of the product before the keys
        found = [project, *_latent_queries(at, before, h, kv, d)]
    else:
        before = h * d
        *found, last = project, *inner.adapters
        found.append(Section(last.name, _split(at, last.run, h, kv, d), last.splits))
    if not bare:
        found.append(Section("attention/qk_norm", _qk_norm(block, at, h, d)))
    found += inner.indexer
    if turned:
        found.append(Section("attention/rope", _qk_rope(at, bare and not isinstance(block, MFA), h, turned)))
    found += [
        *inner.picks,
        Section(f"{inner.tag}/kv write", _kv_write(block, at, before + kv * d, kv, d, dv)),
        Section(f"{inner.tag}/core", core_of(block, at, h, d, dv, inner.attend)),
    ]
    if block.output_gate != "none":
        found.append(Section("attention/output gate", output_gate(block, at, before + kv * (d + dv), h)))
    return [*found, leave(block, at)]


def leave(block: GQA, at: Site) -> Section:
    """o_proj of the core's output, or of what its gate made of it."""
    source = at.key("core.gated" if block.output_gate != "none" else "core")
    return o_proj(at, source, "o_bias" if block.o_bias else "")


def output_gate(block: GQA, at: Site, start: int, heads: int) -> Run:
    """The sigmoid of the projection's columns from `start` on, one a head or one an element, times the core's output. Raises SpecError for a bias of the projection that the gate has no part of."""
    if block.qkv_bias and block.output_gate == "head":
        raise SpecError(f"{at.spec.name}: no torch block for a gate of heads beside biased queries yet")
    core, qkv, bias = at.key("core"), at.key("qkv"), at.key("gate_bias")

    def run(w: Weights, s: Tensors) -> None:
        gate = s[qkv][:, start:]
        if block.output_gate_bias:
            gate = gate + w[bias]
        s[f"{core}.gated"] = by_gate(s[core], gate, heads)

    return run


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

    return [norm_of(at, "inter_norm", qkv, slice(0, rank), normed), Section(expand.name, run, True)]


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
    """K and V of the new tokens, values from column `start` of the projection on, to the end of the cache."""
    qkv, key = at.key("qkv"), at.key("k")
    write = writes(block, at, kv, d, dv)

    def run(w: Weights, s: Tensors) -> None:
        write(w, s, _latest(s, key), s[qkv][:, start : start + kv * dv])

    return run


def writes(block: GQA, at: Site, kv: int, d: int, dv: int) -> Callable[[Weights, Tensors, Tensor, Tensor], None]:
    """A function that puts keys and values [rows, ...] of the new tokens at the end of the caches "K" and "V" [B, kv, keys, ...]; a training step lays them out heads first instead."""
    b, t, keys = at.batch, at.q_len, caches(block, at, kv, d, dv)
    cached = at.key("K"), at.key("V")

    def write(w: Weights, s: Tensors, key: Tensor, value: Tensor) -> None:
        for name, part in zip(cached, (key.reshape(b, t, kv, d), value.reshape(b, t, kv, dv)), strict=True):
            if name in w:
                w[name][:, :, keys - t :].copy_(part.transpose(1, 2))
                s[name] = w[name]
            else:
                s[name] = part.transpose(1, 2).contiguous()

    return write


def caches(block: GQA, at: Site, kv: int, d: int, dv: int, borrowed: bool = False) -> int:
    """Keys that the new tokens see, with themselves; their caches "K" and "V", and what hides some of them, stand in the site from here on. A training step has caches where they are `borrowed`, whose gradients the
    layer that wrote them adds up."""
    keys = at.keys(block.mask)
    if borrowed or not at.training:
        for name, width in (("K", d), ("V", dv)):
            at.caches[at.key(name)] = Cache((at.batch, kv, keys, width), learns=borrowed)
    at.hides(block.mask)
    return keys


def core_of(block: GQA, at: Site, h: int, d: int, dv: int, attend: Attend | None = None) -> Run:
    """Attention of the queries "q" over "K" and "V", and sinks where there are some, to "core" [rows, h x dv]."""
    b, t, scale, kit = at.batch, at.q_len, d**-0.5, at.kit
    q, k, v, core = (at.key(name) for name in ("q", "K", "V", "core"))
    (mask, causal), sinks = at.masking, at.key("sinks")

    def run(w: Weights, s: Tensors) -> None:
        heads = _latest(s, q).reshape(b, t, h, d).transpose(1, 2)
        if attend is None:
            out = kit.attention(heads, s[k], s[v], w[mask] if mask else None, causal, scale, w.get(sinks))
        else:
            out = attend(w, s, heads, scale)
        s[core] = out.transpose(1, 2).reshape(b * t, h * dv)

    return run
