"""What ranks that hold the same weights share out: ZeRO stages 0 to 3, FSDP and HSDP.

Stage 0 shares nothing, 1 the optimizer's states, 2 gradients too, 3 weights too. Most likely to be wrong: when
gradients are summed; frameworks let users put that off to the last micro-batch. Sources: ZeRO (arXiv 1910.02054 §5);
Megatron Core distributed optimizer (stage 1: once a step); DeepSpeed `stage_1_and_2.py` and PyTorch FSDP2 `fully_shard`
(stages 2 and 3: every micro-batch, unless `set_requires_gradient_sync(False)` keeps whole gradients), both of which
torchtitan follows.
"""

from __future__ import annotations

from simcost.errors import SpecError
from simcost.frozen import frozen
from simcost.num import Num
from simcost.plan import Plan, require
from simcost.sharding import copies

STAGES = (0, 1, 2, 3)


@frozen
class Sharding:
    """`fsdp`: the part of a rank is of the master weights, from which those that are gathered are cast (PyTorch FSDP),
    and no others are kept; else both are (DeepSpeed). `every_microbatch`: gradients are summed after each; None: in
    stages 2 and 3. `group`: ranks that share one set of parts, which other groups copy (HSDP); None: all that hold the
    same weights. `prefetch`: layers whose weights are gathered ahead of the one that runs (FSDP2: one)."""

    fsdp: bool = False
    every_microbatch: bool | None = None
    group: Num | None = None
    prefetch: Num = 1.0

    def sums_each(self, zero_stage: int) -> bool:
        """Whether gradients are summed over ranks after every micro-batch."""
        return zero_stage >= 2 if self.every_microbatch is None else self.every_microbatch


DEFAULT = Sharding()


@frozen
class Shares:
    """Ranks that share out weights, gradients and states of the optimizer of a dense weight, and of an expert; 1 where
    each has all of it. `copies`: all ranks that hold it."""

    weights: tuple[Num, Num]
    gradients: tuple[Num, Num]
    optimizer: tuple[Num, Num]
    copies: tuple[Num, Num]

    def whole(self, expert: bool) -> Num:
        """1 where each rank keeps all of such a weight, 0 where it has a part."""
        return 1.0 * (self.weights[int(expert)] == 1.0)

    def parted(self, expert: bool) -> Num:
        """1 where a rank has a part of such a weight, 0 where it keeps all of it."""
        return 1.0 - self.whole(expert)


def shares(plan: Plan, zero_stage: int, sharding: Sharding = DEFAULT) -> Shares:
    """Who shares what under a plan. Raises SpecError for an unknown stage, for what a stage cannot do, and Infeasible
    for groups that are not equal."""
    checked(plan, zero_stage, sharding)
    ranks = (copies.parts(copies.dense(plan, sharding.group)), copies.parts(copies.experts(plan, sharding.group)))
    holders = (copies.parts(copies.dense(plan)), copies.parts(copies.experts(plan)))
    whole: tuple[Num, Num] = (1.0, 1.0)
    gradients = ranks if zero_stage >= 2 and sharding.sums_each(zero_stage) else whole
    return Shares(ranks if zero_stage == 3 else whole, gradients, ranks if zero_stage >= 1 else whole, holders)


def checked(plan: Plan, zero_stage: int, sharding: Sharding = DEFAULT) -> None:
    """Raises SpecError for an unknown stage and for what a stage cannot do, Infeasible for groups that are not
    equal."""
    if zero_stage not in STAGES or isinstance(zero_stage, bool):
        raise SpecError(f"zero_stage = {zero_stage!r} is not one of {', '.join(map(str, STAGES))}")
    if sharding.fsdp and zero_stage != 3:
        raise SpecError(
            f"zero_stage = {zero_stage}: FSDP shards weights too: use 3, with reshard = False to gather them once"
        )
    if sharding.group is not None and zero_stage == 0:
        raise SpecError("zero_stage = 0 shards nothing, so it has no sharding group: use 1, 2 or 3")
    require(copies.checks(plan, sharding.group))


def group(zero_stage: int, sharding: Sharding = DEFAULT) -> Num | None:
    """Ranks that share one set of parts of the summed gradients: 1 in stage 0, where each needs all of them; None: all
    that hold the same."""
    return 1.0 if zero_stage == 0 else sharding.group
