"""Torch sections of layers that read the keys and values of another layer, or whose values are their keys: Gemma 4's, Hunyuan-Large's cross-layer attention.

The other layer's cache stands beside the layer, as long as its own would be. Most likely to be wrong: a norm of queries, keys and values is three kernels here. Sources: the blocks' own
(`simcost/blocks/attention/shared_kv.py`, `cross_layer.py`); Hugging Face `modeling_gemma4.py`, `modeling_hunyuan.py`.
"""

from __future__ import annotations

from simcost.blocks.attention.cross_layer import CrossLayer
from simcost.blocks.attention.shared_kv import SharedKV
from simcost.errors import SpecError
from simcost.measure import torch_ops as ops
from simcost.measure.torch_layers import attention
from simcost.measure.torch_layers.section import Run, Section, Site, Tensor, Tensors, Weights, linear, whole


def shared_kv(block: SharedKV | CrossLayer, at: Site) -> list[Section]:
    """Sections of the layer: projection, norms, rope, write of what is its own, core, the output's gate, o_proj. Raises SpecError for what no torch layer does."""
    _refuse(block, at)
    h, kv = (whole(n, "heads") for n in block.heads(at.view.plan))
    d, dv, k = whole(block.head_dim, "head_dim"), whole(block.v_head_dim, "v_head_dim"), at.key
    name = next(weight.name for weight in block.weights(at.view.plan))
    normed, turned = (
        isinstance(block, SharedKV) or block.qk_norm != "none",
        int(float(block.head_dim * block.rotary)) // 2 * 2,
    )
    found = [linear(at, f"attention/{name}", name, at.flow.normed, k("qkv"), "qkv_bias" if block.qkv_bias else "")]
    if normed:
        found.append(
            Section(
                "attention/qkv_norm" if isinstance(block, SharedKV) else "attention/qk_norm",
                _norms(block, at, h, kv, d, dv),
            )
        )
    if turned:
        found.append(Section("attention/rope", _rope(block, at, h, kv, d, turned)))
    if not block.reads_cache:
        found.append(Section("attention/kv write", _write(block, at, h, kv, d, dv)))
    else:
        attention.caches(block, at, kv, d, dv, True)
    core = attention.core_of(block, at, h, d, dv)

    def attend(w: Weights, s: Tensors) -> None:
        if block.reads_cache:
            s[k("K")], s[k("V")] = w[k("K")], w[k("V")]
        s.setdefault(k("q"), s[k("qkv")][:, : h * d].view(-1, h, d))
        core(w, s)

    found.append(Section("attention/core", attend))
    if block.output_gate != "none":
        found.append(Section("attention/output gate", attention.output_gate(block, at, h * d, h)))
    return [*found, attention.leave(block, at)]


def _refuse(block: SharedKV | CrossLayer, at: Site) -> None:
    if block.sinks:
        raise SpecError(f"{at.spec.name}: no torch block for sinks beside keys that layers share yet")
    if isinstance(block, CrossLayer) and (block.qk_norm == "full" or block.qk_norm_bias):
        raise SpecError(f"{at.spec.name}: no torch block for a norm over all heads beside another layer's keys yet")


def _norms(block: SharedKV | CrossLayer, at: Site, h: int, kv: int, d: int, dv: int) -> Run:
    """A norm of each head of queries and own keys; own values have one without weights (Gemma 4)."""
    k, weight = at.key, at.key("qk_norm")

    def run(w: Weights, s: Tensors) -> None:
        q, key, value = _parts(block, s[k("qkv")], h, kv, d, dv)
        gains = w.get(weight)
        s[k("q.normed")] = ops.norm(q, None if gains is None else gains[:d], None, False)
        if not block.reads_cache:
            s[k("k.normed")] = ops.norm(key, None if gains is None else gains[d:], None, False)
            s[k("v.normed")] = ops.norm(value, None, None, False)

    return run


def _parts(block: SharedKV | CrossLayer, x: Tensor, h: int, kv: int, d: int, dv: int) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values [rows, heads, ...]; values are the keys where there are none, and neither is used where both are another layer's."""
    start = h * d if getattr(block, "k_eq_v", False) else h * d + kv * d
    q, key, value = x[:, : h * d], x[:, h * d : h * d + kv * d], x[:, start : start + kv * dv]
    if block.reads_cache:
        return q.view(-1, h, d), q, q
    return q.view(-1, h, d), key.view(-1, kv, d), value.view(-1, kv, dv)


def _rope(block: SharedKV | CrossLayer, at: Site, h: int, kv: int, d: int, width: int) -> Run:
    k, (cos, sin) = at.key, at.rope(width)

    def run(w: Weights, s: Tensors) -> None:
        q = s[k("q.normed")] if k("q.normed") in s else s[k("qkv")][:, : h * d].view(-1, h, d)
        s[k("q.turned")] = ops.rope(q, w[cos], w[sin])
        if not block.reads_cache:
            s[k("k.turned")] = ops.rope(s[k("k.normed")], w[cos], w[sin])

    return run


def _write(block: SharedKV | CrossLayer, at: Site, h: int, kv: int, d: int, dv: int) -> Run:
    k, write = at.key, attention.writes(block, at, kv, d, dv)

    def run(w: Weights, s: Tensors) -> None:
        key = s[k("k.turned")] if k("k.turned") in s else s[k("k.normed")]
        write(w, s, key, s[k("v.normed")])

    return run
