"""What scaling laws count of a design: parameters in their conventions, experts, granularity, FLOPs of a token.

Papers count the same model differently; every convention here is computed from the exact weights. Most likely to be wrong: a model with some dense
layers, which no MoE law knows; its parameters are counted, its experts are those of the MoE layers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from simcost.errors import SpecError
from simcost.frozen import frozen
from simcost.model import count
from simcost.model.spec import ModelSpec
from simcost.num import Num
from simcost.plan import Plan
from simcost.scaling_laws.law import Law, Params
from simcost.sharding.shard import Block


@frozen
class Counts:
    """Numbers of parameters, MTP apart: all, those that a token uses, embeddings and head (a tied table once), routers. Of a MoE layer: routed experts,
    those of a token, shared experts in the width of a routed one; 1, 1 and 0 of a dense model. `width_granularity`: 2 · hidden_size / width of an expert.
    `model_flops`: non-embedding FLOPs of a token, forward and backward, attention over all pairs of the sequence [FLOP]."""

    total: Num
    active: Num
    vocabulary: Num = 0.0
    router: Num = 0.0
    experts: Num = 1.0
    active_experts: Num = 1.0
    shared_experts: Num = 0.0
    width_granularity: Num = 1.0
    model_flops: Num | None = None
    notes: tuple[str, ...] = ()

    @property
    def variables(self) -> dict[str, Num]:
        """What laws read beside their own size. Granularity: experts of a token, shared ones included (arXiv 2402.07871, where an FFN's width is that of G
        experts); expansion: all experts over those; sparsity: 1 - routed experts of a token / routed experts (arXiv 2501.12370); activation: expert
        width of a token over all (arXiv 2507.17702)."""
        used, held = self.active_experts + self.shared_experts, self.experts + self.shared_experts
        return {
            "total_params": self.total, "experts": self.experts, "active_experts": self.active_experts, "shared_experts": self.shared_experts, "granularity": used,
            "expansion": held / used, "sparsity": 1.0 - self.active_experts / self.experts, "activation": used / held,
            "width_granularity": self.width_granularity,
        }  # fmt: skip

    def scaled(self, factor: Num) -> Counts:
        """A design of as many times the parameters, without vocabulary: routers grow with the power 2/3, as width times depth does at a fixed ratio of
        both."""
        router = self.router * factor ** (2.0 / 3.0)
        total, active = ((each - self.vocabulary - self.router) * factor + router for each in (self.total, self.active))
        flops = None if self.model_flops is None else self.model_flops * factor
        return replace(self, total=total, active=active, vocabulary=0.0, router=router, model_flops=flops)


def dense(params: Num) -> Counts:
    """A dense design of so many parameters, of which none is vocabulary."""
    return Counts(params, params, model_flops=6.0 * params)


def of(model: ModelSpec, sequence: Num) -> Counts:
    """The counts of a model; `sequence` [tokens] is the length at which `model_flops` counts attention. Raises SpecError for MoE layers that differ."""
    found = count.parameters(model)
    active, plain = found["params_active_all"], found["params_active_no_embedding_no_head"]
    flops = 6.0 * plain + _cores(model, sequence)
    router: Num = 0.0
    for n, block in model.blocks():
        for weight in block.weights(Plan()):
            if weight.role == "router":
                router = router + n * weight.count
    shape, notes = _experts(model)
    return Counts(found["params_language"], active, active - plain, router, **shape, model_flops=flops, notes=notes)


def _cores(model: ModelSpec, sequence: Num) -> Num:
    """FLOPs of a token, forward and backward, of attention cores over all pairs of a sequence, as laws count compute,
    and of cores that are none over pairs. [FLOP]"""
    total: Num = 0.0
    for n, block in model.blocks():
        other = 3.0 * block.core_flops(sequence, 0.0) / sequence if block.mask is None else 0.0
        total = total + n * (6.0 * sequence * block.core_width + other)
    return total


def _experts(model: ModelSpec) -> tuple[Mapping[str, Any], tuple[str, ...]]:
    """Experts of the MoE layers, and what is to be said of the others."""
    ffns = [(n, block) for n, block in model.blocks() if block.kind == "ffn"]
    routed = [(n, block) for n, block in ffns if block.router is not None]
    if not routed:
        return {}, ()
    experts, top_k, width, shared = shape = _shape(routed[0][1])
    if not all(
        np.array_equal(one, other) for _, block in routed for one, other in zip(shape, _shape(block), strict=True)
    ):
        raise SpecError(f"{model.name}: its MoE layers differ in experts or widths, but scaling laws need all alike")
    some = sum(n for n, _ in ffns) - sum(n for n, _ in routed)
    notes = (
        (f"{model.name}: {some:,.0f} of its FFN layers are dense: no law is known for a mixture of both",)
        if some
        else ()
    )
    fine = 2.0 * model.hidden_size / width
    return {
        "experts": experts,
        "active_experts": top_k,
        "shared_experts": shared / width,
        "width_granularity": fine,
    }, notes


def _shape(block: Block) -> tuple[Num, Num, Num, Num]:
    """(experts, experts of a token, width of one, summed width of the shared ones)."""
    width, router = getattr(block, "moe_intermediate_size", None), block.router
    if width is None or router is None:
        raise SpecError(f"no scaling law is known for experts of the kind {type(block).__name__}")
    return router.experts, router.top_k, width, getattr(block, "shared_width", 0.0)


def size(params: Params, counts: Counts) -> Num:
    """The size of a design as a law counts it: parameters, or FLOPs of a token. Raises SpecError for a law of FLOPs where the design states none."""
    if params.count == "flops":
        if counts.model_flops is None:
            raise SpecError("this law needs FLOPs per token, and the design has no model_flops")
        return counts.model_flops
    every = counts.total if params.count == "total" else counts.active
    return every - (0.0 if params.vocabulary else counts.vocabulary) - (0.0 if params.router else counts.router)


def flops_per_token(law: Law, counts: Counts) -> Num:
    """Training FLOPs of a token by the law's own count. Raises SpecError for a law without compute. [FLOP]"""
    if law.compute is None:
        raise SpecError(f"{law.name}: {law.no_compute}")
    if law.params.count == "flops":
        return law.compute.flops_per_param * size(law.params, counts)
    used = size(replace(law.params, count="active"), counts)
    return law.compute.flops_per_param * used + law.compute.flops_per_router_param * counts.router
