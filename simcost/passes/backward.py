"""The backward pass of a layer, and the reduction of its gradients beside it: data-parallel overlap.

Copies of a layer reduce its gradients while the layer before it computes its own: a bucket a layer. Experts are copied as often as the
model; all other weights by every data-parallel and context-parallel rank as well, first inside a stage, then between copies, which
have a part of the sum each. Where the reduction outlasts the backward pass the rest is exposed. Most likely to be wrong: buckets of
other sizes than a layer; NCCL's kernels, which are taken to hold as many multiprocessors as DeepEP's (`passes/contention.py`). Sources: PyTorch
Distributed (arXiv 2006.15704 §3.2.3); NVIDIA Megatron Core, `overlap_grad_reduce` and `docs/user-guide/features/dist_optimizer.md`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from simcost.dtypes import Dtype
from simcost.num import Num
from simcost.ops.fused import Fused, FusedGrad
from simcost.ops.gemm import Gemm
from simcost.ops.stream import Stream
from simcost.ops.work import INPUT, WEIGHT
from simcost.passes.contention import HELD
from simcost.passes.copies import summed
from simcost.passes.saved import CORE
from simcost.plan import Plan
from simcost.program import Call, Choice, Overlap, Program, Serial, calls
from simcost.sharding.shard import Block, View

EXPERTS = "experts"


def adjoint(call: Call, sums: Dtype | None = None) -> tuple[tuple[Call, ...], tuple[Call, ...]]:
    """(kernels of the gradient of a call's input, of its weight's), with its tag and what they are of. `sums`: see `backward`."""
    op = call.op
    found = ((INPUT, op.input_grad()), (WEIGHT, op.weight_grad(sums)))
    if (
        call.module == CORE
    ):  # a product of two activations, of an attention without a kernel of its own: both gradients are of inputs
        found = ((INPUT, (*op.input_grad(), *op.weight_grad())), (WEIGHT, ()))
    inputs, weights = (
        tuple(Call(op, f"{call.tag}:{what}_grad" if call.tag else "", call.repeat) for op in ops) for what, ops in found
    )
    return inputs, weights


def backward(
    program: Program, sums: Dtype | None = None, of: tuple[str, ...] = (INPUT, WEIGHT), whole: bool = True
) -> Program | None:
    """The backward pass: last op first, its input's gradient before its weight's. What runs as one kernel, side by side or instead of
    something else does so here. `sums`: the format in which gradients of weights are added up over micro-batches, each read and written; None:
    one pass, written in the activations' format. `of`: which gradients, so that schedules may run those of weights later. `whole`: gradients of the experts of a MoE are one kernel each, as their forward pass is timed; else those of its parts. None where nothing
    has such a gradient."""

    def each(part: Program) -> Program | None:
        return backward(part, sums, of, whole)

    if isinstance(program, Call):
        inputs, weights = adjoint(program, sums)
        parts = (inputs if INPUT in of else ()) + (weights if WEIGHT in of else ())
        return Serial(parts) if parts else None
    if isinstance(program, Choice):
        options = tuple((name, found) for name, option in program.options if (found := each(option)) is not None)
        return replace(program, options=options) if options else None
    if isinstance(program, Serial) and program.kernel == "linear":
        return _linear(program, sums, of)
    if whole and isinstance(program, Serial) and program.kernel == EXPERTS:
        return _experts(program, sums, of)
    if isinstance(program, Overlap):
        return _overlap(program, each)
    found_parts = tuple(found for part in reversed(program.parts) if (found := each(part)) is not None)
    return replace(program, parts=found_parts) if found_parts else None


def _overlap(program: Overlap, each: Callable[[Program], Program | None]) -> Program | None:
    """Parts that ran side by side do so on the way back, with the multiprocessors that each holds."""
    holds = program.holds or (0.0,) * len(program.parts)
    kept = [(found, held) for part, held in zip(program.parts, holds, strict=True) if (found := each(part)) is not None]
    if not kept:
        return None
    parts, held = zip(*kept, strict=True)
    return replace(program, parts=parts, holds=held if program.holds else ())


def _linear(program: Serial, sums: Dtype | None, of: tuple[str, ...]) -> Program | None:
    """A linear layer that quantised its input: the output's gradient is quantised once, in one kernel with the product that makes the input's
    gradient. The weight's takes it, and the input, as they are."""
    *casts, product = (call for call in calls(program))
    inputs, weights = adjoint(product, sums)
    gemm = product.op
    if not casts or not isinstance(gemm, Gemm):
        return backward(Serial(program.parts, program.tag, program.repeat), sums, of)
    cast = casts[0].op
    assert isinstance(cast, Stream)
    quantise = Call(replace(cast, elements=gemm.batch * gemm.m * gemm.n), f"quantise {product.tag} gradient")
    parts: tuple[Program, ...] = ()
    if INPUT in of:
        parts += (Serial((quantise, *inputs), program.tag, kernel="linear"),)
    if WEIGHT in of:
        parts += weights
    return Serial(parts, "", program.repeat) if parts else None


def _experts(program: Serial, sums: Dtype | None, of: tuple[str, ...]) -> Program | None:
    """The experts of a MoE, which are timed as a whole: gradients of inputs as one kernel, those of weights as another."""
    whole = list(calls(program))
    forward = Fused(program.kernel, tuple(call.op for call in whole))
    found: list[Program] = []
    for at, name in enumerate((INPUT, WEIGHT)):
        parts = tuple(call.op for each in reversed(whole) for call in adjoint(each, sums)[at])
        if name in of and parts:
            found.append(Call(FusedGrad(forward, parts, name), f"{program.tag or EXPERTS}:{name}_grad"))
    return Serial(tuple(found), "", program.repeat) if found else None


def gradient_bytes(layer: tuple[Block, ...], plan: Plan, each: float = 4.0) -> tuple[Num, Num]:
    """Gradients of one rank: (of experts, of all else), `each` bytes a parameter (Megatron: fp32). [B]"""
    experts: Num = 0.0
    rest: Num = 0.0
    for block in layer:
        for weight in block.weights(plan):
            if weight.role == EXPERTS:
                experts = experts + weight.count * each
            else:
                rest = rest + weight.count * each
    return experts, rest


def reduction(layer: tuple[Block, ...], plan: Plan, each: float = 4.0, group: Num | None = None) -> Serial:
    """Every copy ends with its share of the summed gradients (ZeRO-1 to 3; the gather of the new weights is not in it). `group`: ranks that share one
    set of parts (1: nothing is shared, ZeRO-0; more: HSDP); None: all copies."""
    return summed(*gradient_bytes(layer, plan, each), plan, group)


def overlapped(layer: tuple[Block, ...], view: View, each: float = 4.0, sums: Dtype | None = None) -> Overlap:
    """The backward pass of one layer beside the reduction of an equal layer's gradients."""
    passes = [found for block in reversed(layer) if (found := backward(block.program(view), sums)) is not None]
    moves = reduction(layer, view.plan, each)
    held = HELD * (1.0 * (view.plan.replicas * view.plan.cp * view.plan.copies > 1.0))
    return Overlap((Serial(tuple(passes), "backward"), moves), "data-parallel overlap", (0.0, held))
