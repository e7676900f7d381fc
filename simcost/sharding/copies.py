"""Which ranks hold the same weights, and how many of them share out what belongs to these: ZeRO, FSDP, and HSDP, which
shards inside a group and copies across.

All weights but the experts' are copied by the replicas and the context-parallel ranks inside a stage and by whole
copies of the model; experts by whole copies alone. Most likely to be wrong: frameworks that lay the ranks out in
another order. Source: NVIDIA Megatron Core `docs/user-guide/features/dist_optimizer.md` (dense over dp·cp, experts over
expert-dp); PyTorch FSDP2 `fully_shard` (a 2-D mesh is HSDP).
"""

from __future__ import annotations

from simcost.frozen import frozen
from simcost.num import Num, maximum, minimum
from simcost.plan import Check, Plan


@frozen
class Level:
    """Ranks that hold the same: `parts` x `sets` of them, in the order parts first. Each of `parts` has a part of what
    is shared out, and there are `sets` of all parts. `stride`: ranks between neighbours."""

    parts: Num
    sets: Num
    stride: Num


def dense(plan: Plan, group: Num | None = None) -> tuple[Level, Level]:
    """(ranks of a stage, whole copies) that hold the weights outside the experts. `group`: ranks that share one set of
    parts; None: all."""
    inside, copies = plan.replicas * plan.cp, plan.copies
    near = inside if group is None else minimum(group, inside)
    return Level(near, inside / near, plan.tp), _across(plan, inside, copies, group)


def experts(plan: Plan, group: Num | None = None) -> tuple[Level]:
    """Whole copies, which hold the same experts."""
    return (_across(plan, plan.replicas * plan.cp, plan.copies, group),)


def _across(plan: Plan, inside: Num, copies: Num, group: Num | None) -> Level:
    far = copies if group is None else maximum(group / inside, 1.0)
    return Level(far, copies / far, plan.stage * plan.pp)


def parts(levels: tuple[Level, ...]) -> Num:
    """Ranks that share one set of parts."""
    found: Num = 1.0
    for level in levels:
        found = found * level.parts
    return found


def checks(plan: Plan, group: Num | None) -> list[Check]:
    """The rule that sharding groups are equal and whole: inside a stage, or of whole stages."""
    if group is None:
        return []
    inside, every, size = plan.replicas * plan.cp, plan.replicas * plan.cp * plan.copies, maximum(group, 1.0)
    whole = (group >= 1.0) & (every % size == 0.0) & ((inside % size == 0.0) | (size % inside == 0.0))
    reason = (
        "a sharding group must divide the ranks that hold the same weights (dp_attention·cp·dp), and either divide the ranks "
        "inside a stage (dp_attention·cp) or be a multiple of them"
    )
    return [Check(whole, reason)]
