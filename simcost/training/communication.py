"""What training sends beside the passes, and the step of the optimizer: programs of one rank, without any time in them.

Once a step gradients are summed over all ranks that hold the same weights and, where ZeRO shares out the optimizer, new
weights gathered; ZeRO-3 gathers each layer's weights before its passes and sums its gradients after, every micro-batch.
The optimizer reads and writes its part. Most likely to be wrong: buckets of other sizes than a layer; passes over the
gradients that a framework fuses or runs besides. Sources: ZeRO (arXiv 1910.02054 §7); Megatron Core
`distrib_optimizer.py`, `finalize_model_grads.py`, `clip_grads.py`; PyTorch FSDP2 `fully_shard`;
docs/theory/zero-and-fsdp.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from simcost import pipeline
from simcost.frozen import frozen
from simcost.model.spec import ModelSpec
from simcost.num import Num, every, where
from simcost.ops.collective import Collective
from simcost.passes.copies import gathered, summed
from simcost.pipeline import Stage
from simcost.plan import Plan
from simcost.program import Call, Program, Serial, calls
from simcost.sharding.shard import Block
from simcost.training import casts, zero
from simcost.training.parameters import ALL, Parameter, Trained, of_blocks, shared, units
from simcost.training.precision import Precision
from simcost.training.state import kept_bytes
from simcost.training.update import optimizer_program
from simcost.training.zero import Sharding

__all__ = ["StepPrograms", "layer_programs", "optimizer_program", "step_program"]


@frozen
class StepPrograms:
    """Once a step: sums of `gradients`, which may run beside the backward pass, from the last layer to the first;
    gathers of new `weights`, which may run beside the next forward pass, from the first to the last. None: nothing
    travels."""

    gradients: Serial | None
    weights: Serial | None


def step_program(
    model: ModelSpec,
    stage: Stage,
    plan: Plan,
    precision: Precision,
    zero_stage: int,
    *,
    sharding: Sharding = zero.DEFAULT,
    trained: Trained = ALL,
    shares_ends: bool = False,
) -> StepPrograms:
    """What a rank of a stage sends once a step. Gradients that are summed every micro-batch are in `layer_programs`;
    sums of weights that several stages have, and of weights that tensor-parallel ranks hold whole under
    sequence parallelism, are always here. Raises as `zero.shares`."""
    zero.checked(plan, zero_stage, sharding)
    sums: list[Program] = []
    gathers: list[Program] = []
    whole: Num = 0.0
    for unit in units(model, stage, plan, trained, shares_ends):
        learnt = [each for each in unit.parameters if each.learns]
        whole = whole + unit.count * sum((each.part.count for each in learnt if each.replicated), 0.0)
        if not learnt:
            continue
        if not sharding.sums_each(zero_stage):
            each_sum = summed(*_gradients(learnt, precision), plan, zero.group(zero_stage, sharding))
            sums.insert(0, Serial((each_sum,), repeat=float(unit.count)))
        if zero_stage in (1, 2):
            new = gathered(*_weights(learnt, precision.of(unit.key)), plan, sharding.group)
            gathers.append(Serial((new,), repeat=float(unit.count)))
    width = precision.reduced.bits / 8.0
    replicated = Collective("all_reduce", width * whole, where(plan.shards_sequence, plan.tp, 1.0))
    sums.append(Call(replicated, "gradients of weights that all tensor-parallel ranks hold"))
    for one in shared(stage, shares_ends):
        learnt = [each for each in of_blocks(one.blocks(model), plan, trained) if each.learns]
        if learnt:
            sums.append(pipeline.summed(one, plan, width * sum((each.part.count for each in learnt), 0.0)))
    return StepPrograms(
        Serial(tuple(sums), "gradients") if _moves(sums) else None,
        Serial(tuple(gathers), "weights") if _moves(gathers) else None,
    )


def layer_programs(
    layer: tuple[Block, ...],
    plan: Plan,
    precision: Precision,
    zero_stage: int,
    reshard: bool = True,
    *,
    sharding: Sharding = zero.DEFAULT,
    trained: Trained = ALL,
) -> tuple[Serial | None, Serial | None, Serial | None]:
    """(before the forward pass, before the backward pass, after it) of one layer and micro-batch; None: nothing.
    Before: gathers of weights that are shared out, the second only where they were let go (`reshard`), and casts to
    formats that products read and nobody keeps. After: sums of gradients that are summed every micro-batch. Raises as
    `zero.shares`."""
    shares = zero.shares(plan, zero_stage, sharding)
    found = of_blocks(layer, plan, trained)
    ahead: list[Program] = []
    behind: list[Program] = []
    if zero_stage == 3:
        gathers: list[Program] = [
            *casts.narrowed(found, plan, precision, sharding),
            gathered(*_weights(found, precision), plan, sharding.group),
        ]
        ahead += gathers
        behind += gathers if reshard else []
        ahead += casts.copied(found, precision, precision.copies, shares.parted)
        (behind if reshard else ahead).extend(casts.copied(found, precision, precision.transposed, shares.parted))
    if precision.casts_weights:
        ahead += casts.copied(found, precision, (precision.forward,))
        behind += casts.copied(found, precision, (precision.input_gradient,))
    learnt = [each for each in found if each.learns]
    sums = learnt and sharding.sums_each(zero_stage)
    after: list[Program] = (
        [summed(*_gradients(learnt, precision), plan, zero.group(zero_stage, sharding))] if sums else []
    )
    names = ("weights ahead", "weights again", "gradients")
    parts = [
        Serial(tuple(each), name) if each else None for each, name in zip((ahead, behind, after), names, strict=True)
    ]
    return parts[0], parts[1], parts[2]


def _weights(found: Iterable[Parameter], precision: Precision) -> tuple[Num, Num]:
    """(of experts, of all else) as they are kept. [B]"""
    return _by_part(found, lambda each: kept_bytes(each, precision))


def _gradients(found: Iterable[Parameter], precision: Precision) -> tuple[Num, Num]:
    """(of experts, of all else) as they travel. [B]"""
    return _by_part(found, lambda each: each.part.count * precision.reduced.bits / 8.0)


def _by_part(found: Iterable[Parameter], of: Callable[[Parameter], Num]) -> tuple[Num, Num]:
    experts: Num = 0.0
    rest: Num = 0.0
    for each in found:
        if each.is_expert:
            experts = experts + of(each)
        else:
            rest = rest + of(each)
    return experts, rest


def _moves(programs: list[Program]) -> bool:
    """Whether a group of more than one rank is in any of it, at any point."""
    found = (call.op for each in programs for call in calls(each))
    return any(isinstance(op, Collective) and not every(op.group <= 1.0) for op in found)
