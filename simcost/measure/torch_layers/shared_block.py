"""Torch sections of the transformer block that layers of Zamba and Zamba2 share: norm of input and embedding, attention, norm, FFN with its adapter, and the layer's own product.

A layer that uses another's weights has them beside it, as cold as its own. Most likely to be wrong: the norm of the layer stands before the block, as simcost's program lists it, and the block's output is added to what it
made. Sources: the block's own (`simcost/blocks/attention/shared_transformer.py`); Hugging Face `modeling_zamba2.py`.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from simcost.blocks.attention.shared_transformer import Joint, SharedAttention, SharedFFN, SharedNorm
from simcost.measure import torch_ops as ops
from simcost.measure.torch_layers import attention
from simcost.measure.torch_layers.ffn import activation
from simcost.measure.torch_layers.section import Cache, Section, Site, Tensors, Weights, linear, shape
from simcost.sharding.shard import Block

_INPUT = "input of the layer"


def shared_norm(block: SharedNorm, at: Site) -> list[Section]:
    """The first of a block: of the stream and the embedding side by side; the second: of the attention's output."""
    _borrow(block, replace(block, held=True), at)
    flow, gain, out = at.flow, at.key(block.name), at.key("normed")
    if _INPUT in flow.halves:
        source, rows = flow.pending.pop(), ""
    else:
        flow.halves[_INPUT] = flow.normed
        source, rows = flow.residual, at.left("embedding rows", at.rows, int(float(block.width)) // 2)
    flow.normed = out

    def run(w: Weights, s: Tensors) -> None:
        x = torch.cat((s[source], w[rows]), -1) if rows else s[source]
        s[out] = ops.norm(x, w[gain], None, False)

    return [Section(block.name, run)]


def shared_attention(block: SharedAttention, at: Site) -> list[Section]:
    """As GQA, with the adapters of queries, keys and values beside the projection."""
    _borrow(block, replace(block, uses=1.0), at)
    return attention.gqa(block, at, attention.Inner(adapters=_adapters(at) if block.adapted else ()))


def _adapters(at: Site) -> list[Section]:
    """Both products of all three adapters, and the sum with what the shared matrices gave."""
    k, source = at.key, at.flow.normed

    def down(w: Weights, s: Tensors) -> None:
        matrices = w[k("qkv_adapter_down")].transpose(1, 2)
        s[k("low")] = torch.bmm(s[source].expand(len(matrices), -1, -1), matrices)

    def up(w: Weights, s: Tensors) -> None:
        s[k("more")] = torch.bmm(s[k("low")], w[k("qkv_adapter_up")].transpose(1, 2))

    def add(w: Weights, s: Tensors) -> None:
        s[k("qkv")] = (torch.unflatten(s[k("qkv.shared")], -1, (3, -1)) + s[k("more")].transpose(0, 1)).flatten(1)

    return [
        Section("attention/qkv_adapter_down", down),
        Section("attention/qkv_adapter_up", up),
        Section("attention/add adapters", add),
    ]


def shared_ffn(block: SharedFFN, at: Site) -> list[Section]:
    """As a dense layer, with the adapter of gate and up beside them."""
    _borrow(block, replace(block, uses=1.0), at)
    k, source, up, adapted = at.key, at.flow.normed, "gate_up_proj", block.adapted
    first, more, both = k("up.shared" if adapted else "up"), k("more"), k("up")

    def add(w: Weights, s: Tensors) -> None:
        s[both] = s[first] + s[more]

    found = [linear(at, f"ffn/{up}", up, source, first, "up_bias" if block.bias else "")]
    if adapted:
        found += [
            linear(at, "ffn/gate_up_adapter_down", "gate_up_adapter_down", source, k("low")),
            linear(at, "ffn/gate_up_adapter_up", "gate_up_adapter_up", k("low"), more),
            Section("ffn/add adapter", add),
        ]
    at.flow.pending.append(k("out"))
    return [
        *found,
        activation("ffn/activation", both, k("inner"), True),
        linear(at, "ffn/down_proj", "down_proj", k("inner"), k("out"), "down_bias" if block.bias else ""),
    ]


def joint(block: Joint, at: Site) -> list[Section]:
    """The layer's own product of the block's output, and the sum with the layer's input."""
    k, flow = at.key, at.flow
    own, source = flow.halves[_INPUT], flow.pending.pop()
    flow.normed = k("sum")

    def add(w: Weights, s: Tensors) -> None:
        s[k("sum")] = s[own] + s[k("product")]

    return [linear(at, "joint/linear", "linear", source, k("product")), Section("joint/add block", add)]


def _borrow(block: Block, whole: Block, at: Site) -> None:
    """Weights of `whole` that the layer uses and another holds stand beside it, and get their gradient here as there."""
    held = {weight.name for weight in block.weights(at.view.plan)}
    for weight in whole.weights(at.view.plan):
        if weight.name not in held:
            sigma, mean = (0.1, 1.0) if weight.inner is None else (float(weight.inner) ** -0.5, 0.0)
            at.caches[at.key(weight.name)] = Cache(shape(weight, weight.name), None, sigma, mean, learns=True)
