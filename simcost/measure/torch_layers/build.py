"""Real decoder layers in torch, built from any design that simcost models: one named section for each call of its program.

Several copies of the layer, each with weights and cache of its own, take turns, so that weights are as cold as in a stack
of layers. All data is random, never zero. Most likely to be wrong: plain torch operators stand for the kernels of an
engine. Source: simcost's own program of the layer (`simcost.estimate.layer.listed`), which the tests hold section by section.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from simcost.blocks.attention.block_sparse import BlockSparse
from simcost.blocks.attention.compressed import CSA, HCA, WindowMQA
from simcost.blocks.attention.cross_layer import CrossLayer
from simcost.blocks.attention.dsa import DSA
from simcost.blocks.attention.gated_deltanet import GatedDeltaNet
from simcost.blocks.attention.gqa import GQA
from simcost.blocks.attention.kda import KDA
from simcost.blocks.attention.lightning import Lightning
from simcost.blocks.attention.mamba import Mamba
from simcost.blocks.attention.mamba2 import Mamba2
from simcost.blocks.attention.mfa import MFA
from simcost.blocks.attention.mla import MLA
from simcost.blocks.attention.shared_kv import SharedKV
from simcost.blocks.attention.shared_transformer import Joint, SharedAttention, SharedFFN, SharedNorm
from simcost.blocks.attention.short_conv import ShortConv
from simcost.blocks.attention.sliding_window import SlidingWindow
from simcost.blocks.attention.window_mla import WindowMLA
from simcost.blocks.embed.per_layer import PerLayerInput
from simcost.blocks.ffn.dense import Dense
from simcost.blocks.ffn.dense_beside_experts import ScaledMoE
from simcost.blocks.ffn.gaussian_topk import GaussianTopK
from simcost.blocks.ffn.moe import MoE
from simcost.blocks.ffn.zero_experts import ZeroExperts
from simcost.blocks.norm.altup import AltUp, Laurel
from simcost.blocks.norm.attention_residual import AttentionResidual
from simcost.blocks.norm.hyper_connection import HyperConnection
from simcost.blocks.norm.norm import Norm
from simcost.errors import SpecError
from simcost.estimate.layer import BlockSpec, listed
from simcost.measure import torch_ops as ops
from simcost.measure.torch_layers import compressed, recurrent, shared_block, sparse, streams
from simcost.measure.torch_layers.attention import gqa
from simcost.measure.torch_layers.ffn import dense, moe, norm, zero_experts
from simcost.measure.torch_layers.latent import mla
from simcost.measure.torch_layers.section import Flow, Kit, Section, Site, Tables, Tensor, Tensors, shape
from simcost.measure.torch_layers.shared_kv import shared_kv
from simcost.units import parse, show

ROTATED = parse("192 MiB", "bytes")  # weights and cache of all copies: several times a last-level cache
MOST_COPIES = 24
_SHARE = 0.6  # of the free memory, when no limit is stated
_POOL = 1 << 22  # random numbers that are drawn once and copied
# (sigma, mean) of vectors by a word of their name; models begin with time steps, softplus(dt_bias), between 0.001 and 0.1.
_NEAR = (("norm", (0.1, 1.0)), ("scale", (0.1, 1.0)), ("conv1d", (0.5, 0.0)), ("dt_bias", (0.1, -3.0)))
# By the very class: a variant that only inherits computes something else.
_BUILDERS: Mapping[type, Callable[[Any, Site], list[Section]]] = {
    GQA: gqa, SlidingWindow: gqa, MFA: gqa, BlockSparse: sparse.block_sparse, MLA: mla, WindowMLA: mla, DSA: sparse.dsa, SharedKV: shared_kv, CrossLayer: shared_kv,
    GatedDeltaNet: recurrent.gated_deltanet, KDA: recurrent.kda, Mamba2: recurrent.mamba2, Mamba: recurrent.mamba, Lightning: recurrent.lightning,
    ShortConv: recurrent.short_conv, Dense: dense, GaussianTopK: dense, MoE: moe, ScaledMoE: moe, ZeroExperts: zero_experts, Norm: norm,
    AttentionResidual: streams.attention_residual, HyperConnection: streams.hyper_connection, AltUp: streams.altup, Laurel: streams.laurel, PerLayerInput: streams.per_layer_input,
    SharedNorm: shared_block.shared_norm, SharedAttention: shared_block.shared_attention, SharedFFN: shared_block.shared_ffn, Joint: shared_block.joint,
    WindowMQA: compressed.compressed, HCA: compressed.compressed, CSA: compressed.compressed,
}  # fmt: skip


@dataclass(slots=True)
class TorchBlock:
    """A layer that runs. `copies`: weights, cache and shared tables of each copy; `start`: the two inputs of the first."""

    spec: BlockSpec
    device: torch.device
    sections: tuple[Section, ...]
    copies: list[Tensors]
    start: tuple[Tensor, Tensor]
    flow: Flow
    kit: Kit

    def inputs(self, after: Tensors | None = None) -> Tensors:
        """Values that a copy starts from: the first inputs, or what the copy before it left."""
        residual, branch = self.start
        if after is not None:
            residual = after[self.flow.residual].detach()
            branch = after[self.flow.pending[0]].detach() if self.flow.pending else branch
        if self.spec.backward:
            residual, branch = (x.detach().requires_grad_() for x in (residual, branch))
        return {"in.residual": residual, "in.branch": branch}

    def forward(self, copy: int, s: Tensors) -> Tensors:
        """Runs all sections with the weights of one copy; `s` holds the inputs and gets every value. Returns `s`."""
        w = self.copies[copy]
        for section in self.sections:
            section.run(w, s)
        return s

    def outputs(self, s: Tensors) -> list[Tensor]:
        """The residual stream and the branch outputs that the next layer will add to it."""
        return [s[self.flow.residual], *(s[name] for name in self.flow.pending)]

    def output(self, s: Tensors) -> Tensor:
        """The layer's output as a stack of layers sees it: all of them added up."""
        return torch.stack([x.double() for x in self.outputs(s)]).sum(0)

    def backward(self, s: Tensors) -> None:
        """Gradients of all weights and of both inputs; the gradient of every output is the first start tensor."""
        outputs = self.outputs(s)
        torch.autograd.backward(outputs, [self.start[0]] * len(outputs))

    def forget(self, copy: int) -> None:
        """Drop the gradients of a copy's weights."""
        for tensor in self.copies[copy].values():
            tensor.grad = None


def build(
    spec: BlockSpec, device: str = "cpu", copies: int | None = None, limit: float | None = None, seed: int = 0
) -> TorchBlock:
    """Weights, caches and sections of a layer. `limit` [B]: 0.6 of the free memory when not stated.

    Raises SpecError, before anything large is allocated, for what does not fit or cannot be built."""
    place = _device(device)
    sections, sites, flow, kit, shared = _sections(spec, place)
    count = _copies(spec, sites, place, copies, limit)
    fill = _Fill(place, ops.TYPES[spec.dtype], seed)
    tokens = sites[0].rows
    hidden = next(int(float(block.hidden_size)) for block in spec.layer if hasattr(block, "hidden_size"))
    tables = {name: make() for name, (_, make) in shared.items()}
    rotated = [{**tables, **_weights(spec, sites, fill)} for _ in range(count)]
    streams = (flow.streams,) if flow.streams > 1 else ()
    start = fill.normal((tokens, *streams, hidden), 1.0), fill.normal((tokens, hidden), 1.0)
    return TorchBlock(spec, place, sections, rotated, start, flow, kit)


def _device(name: str) -> torch.device:
    try:
        place = torch.device(name)
    except RuntimeError:
        raise SpecError(f"--device must be cpu or cuda[:index], not {name!r}") from None
    if place.type not in ("cpu", "cuda"):
        raise SpecError(f"--device must be cpu or cuda[:index], not {name!r}")
    if place.type == "cuda" and (place.index or 0) >= torch.cuda.device_count():
        raise SpecError(f"--device {name}: torch sees {torch.cuda.device_count()} CUDA devices")
    return place


def _sections(spec: BlockSpec, place: torch.device) -> tuple[tuple[Section, ...], list[Site], Flow, Kit, Tables]:
    flow, kit = Flow(), Kit()
    shared: Tables = {}
    found: list[Section] = []
    sites: list[Site] = []
    for index, block in enumerate(spec.layer):
        site = Site(spec, str(index), kit, flow, place, ops.TYPES[spec.dtype], shared)
        builder = _BUILDERS.get(type(block))
        if builder is None:
            raise SpecError(f"{spec.name}: no torch block for {type(block).__name__} layers yet")
        found += builder(block, site)
        sites.append(site)
    names, wanted = [section.name for section in found], [item.name for item in listed(spec)]
    if names != wanted:
        odd = sorted({*names} ^ {*wanted})
        raise SpecError(f"{spec.name}: no torch block for this layer yet: {', '.join(odd)} of its program")
    return tuple(found), sites, flow, kit, shared


def needed_bytes(spec: BlockSpec, sites: Sequence[Site]) -> tuple[float, float]:
    """(weights and cache of one copy, activations and shared tables that live at once). [B]"""
    size = ops.TYPES[spec.dtype].itemsize
    held = 0.0
    for block, site in zip(spec.layer, sites, strict=True):
        held += size * sum(float(weight.count) for weight in block.weights(spec.view.plan))
        held += sum(math.prod(one.size) * (one.dtype or site.dtype).itemsize for one in site.caches.values())
    alive = sum(float(item.op.workspace_bytes()) for item in listed(spec))
    alive += size * sum(elements for elements, _ in sites[0].shared.values())
    if spec.backward:
        alive = 2.0 * alive + held
    return held, alive


def _copies(
    spec: BlockSpec, sites: Sequence[Site], place: torch.device, wanted: int | None, limit: float | None
) -> int:
    """As many as make weights cold, at most as many as fit."""
    each, alive = needed_bytes(spec, sites)
    room = _free(place) * _SHARE if limit is None else limit
    least = alive + each * (wanted or 1)
    if least > room:
        raise SpecError(
            f"{spec.name}: needs {show(least, 'bytes')} and may take {show(room, 'bytes')}: "
            "choose a smaller batch, context or layer"
        )
    cold = min(max(math.ceil(ROTATED / each), 1), MOST_COPIES)
    return wanted or max(min(cold, int((room - alive) / each)), 1)


def _free(place: torch.device) -> float:
    """Memory that can still be taken. [B]"""
    if place.type == "cuda":
        return float(torch.cuda.mem_get_info(place)[0])
    return float(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))


class _Fill:
    """Random tensors from one pool of numbers: drawing every weight anew would take longer than timing it."""

    def __init__(self, place: torch.device, dtype: torch.dtype, seed: int) -> None:
        self.place, self.dtype, self.turn = place, dtype, 0
        generator = torch.Generator().manual_seed(seed)
        self.pool = torch.randn(_POOL, generator=generator).to(place, dtype)

    def normal(self, size: tuple[int, ...], sigma: float, mean: float = 0.0) -> Tensor:
        out = torch.empty(math.prod(size), device=self.place, dtype=self.dtype)
        self.turn = (self.turn + 7919) % (_POOL // 2)
        start, at = self.turn, 0
        while at < len(out):
            part = self.pool[start : start + len(out) - at]
            out[at : at + len(part)].copy_(part)
            start, at = 0, at + len(part)
        return out.mul_(sigma).add_(mean).view(size)


def _weights(spec: BlockSpec, sites: Sequence[Site], fill: _Fill) -> Tensors:
    """Matrices and convolutions keep the size of what they multiply, gains are near one, time steps near a twentieth, biases small, caches like projected values."""
    found: Tensors = {}
    for block, site in zip(spec.layer, sites, strict=True):
        for weight in block.weights(spec.view.plan):
            dimensions = shape(weight, weight.name)
            if weight.inner is not None:
                tensor = fill.normal(dimensions, float(weight.inner) ** -0.5)
            else:
                sigma, mean = next((near for word, near in _NEAR if word in weight.name), (0.02, 0.0))
                tensor = fill.normal(dimensions, sigma, mean)
            found[site.key(weight.name)] = tensor.requires_grad_(spec.backward)
        for name, one in site.caches.items():
            held = fill.normal(one.size, one.sigma, one.mean).to(one.dtype or fill.dtype)
            found[name] = held.requires_grad_(spec.backward and one.learns)
    return found
