"""The backward pass of a layer, and the reduction of its gradients beside it: data-parallel overlap.

Copies of a layer reduce its gradients while the layer before it computes its own: a bucket a layer. Experts are copied as often as the
model; all other weights by every data-parallel and context-parallel rank as well, first inside a stage, then between copies, which
have a part of the sum each. Where the reduction outlasts the backward pass the rest is exposed. Most likely to be wrong: buckets of
other sizes than a layer; NCCL's kernels, which are taken to hold as many multiprocessors as DeepEP's (`passes/contention.py`). Sources: PyTorch
Distributed (arXiv 2006.15704 §3.2.3); NVIDIA Megatron Core, `overlap_grad_reduce` and `docs/user-guide/features/dist_optimizer.md`.
"""

from __future__ import annotations

from dataclasses import replace

from simcost.num import Num
from simcost.ops.collective import Collective
from simcost.passes.contention import HELD
from simcost.plan import Plan
from simcost.program import Call, Choice, Overlap, Program, Serial
from simcost.sharding.shard import Block, View

EXPERTS = "experts"


def backward(program: Program) -> Program | None:
    """The adjoints of every op, last op first, its input's gradient before its weight's; nothing of it fused or side by side.
    None where nothing has a gradient."""
    if isinstance(program, Call):
        ops = (*program.op.input_grad(), *program.op.weight_grad())
        parts: list[Program] = [Call(op, program.tag, program.repeat) for op in ops]
        return Serial(tuple(parts)) if parts else None
    if isinstance(program, Choice):
        options = [(name, found) for name, option in program.options if (found := backward(option)) is not None]
        return replace(program, options=tuple(options)) if options else None
    found_parts = [found for part in reversed(program.parts) if (found := backward(part)) is not None]
    if not found_parts:
        return None
    repeat = program.repeat if isinstance(program, Serial) else 1.0
    return Serial(tuple(found_parts), program.tag, repeat)


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


def reduction(layer: tuple[Block, ...], plan: Plan, each: float = 4.0) -> Serial:
    """Every copy ends with its share of the summed gradients (ZeRO-1; the gather of the new weights is the optimizer's)."""
    experts, rest = gradient_bytes(layer, plan, each)
    inside, copies = plan.replicas * plan.cp, plan.copies
    return Serial(
        (
            Call(Collective("reduce_scatter", rest, inside, plan.tp), "gradients inside a stage"),
            Call(Collective("reduce_scatter", rest / inside, copies, plan.stage * plan.pp), "gradients of copies"),
            Call(Collective("reduce_scatter", experts, copies, plan.stage * plan.pp), "gradients of experts"),
        ),
        "gradients",
    )


def overlapped(layer: tuple[Block, ...], view: View, each: float = 4.0) -> Overlap:
    """The backward pass of one layer beside the reduction of an equal layer's gradients."""
    passes = [found for block in reversed(layer) if (found := backward(block.program(view))) is not None]
    moves = reduction(layer, view.plan, each)
    held = HELD * (1.0 * (view.plan.replicas * view.plan.cp * view.plan.copies > 1.0))
    return Overlap((Serial(tuple(passes), "backward"), moves), "data-parallel overlap", (0.0, held))
