"""What training keeps on a rank from step to step: weights, gradients, states of the optimizer; what ZeRO and FSDP
gather for a while; and a moving average of the weights, beside the states or on the host.

    bytes = P·(kept + copies)/s_3 + P·gradient/s_2 + P·(master + states + main gradient)/s_1

with s_z = the ranks that share out (docs/theory/zero-and-fsdp.md) from stage z on, else 1; dense weights and experts
have shares of their own. Most likely to be wrong: padding of shards to equal buckets, which is not counted; how many
layers a framework has gathered at a time. Sources: ZeRO (arXiv 1910.02054 §3.1, §5); Megatron Core
`docs/user-guide/features/dist_optimizer.md`; DeepSpeed `stage_1_and_2.py`, `stage3.py`; DeepSeek-V3 (arXiv 2412.19437
§3.2.3, §3.3.3).
"""

from __future__ import annotations

from simcost.dtypes import Dtype
from simcost.frozen import frozen
from simcost.model.spec import ModelSpec
from simcost.num import Num, maximum, minimum
from simcost.pipeline import Stage
from simcost.plan import Plan
from simcost.training import zero
from simcost.training.optimizer import Average, Optimizer
from simcost.training.parameters import ALL, Parameter, Trained, Unit, units
from simcost.training.precision import Precision, stored_bytes
from simcost.training.zero import Sharding, Shares

DENSE, EXPERTS = "dense", "experts"


@frozen
class State:
    """Bytes of one rank. `parameters`: weights as they are kept, and copies that products read; `gradients`;
    `optimizer`: master weights, states, its copy of the gradients, and an average that stands beside them; `gathered`: whole weights and gradients of the
    layers that a rank has gathered at a time, under ZeRO-3; `host`: in the host's memory; `host_traffic`: over its link
    once a step. All [B]"""

    parameters: Num = 0.0
    gradients: Num = 0.0
    optimizer: Num = 0.0
    gathered: Num = 0.0
    host: Num = 0.0
    host_traffic: Num = 0.0

    @property
    def total(self) -> Num:
        """All that stands in the device's memory. [B]"""
        return self.parameters + self.gradients + self.optimizer + self.gathered

    def __add__(self, other: State) -> State:
        return State(
            self.parameters + other.parameters,
            self.gradients + other.gradients,
            self.optimizer + other.optimizer,
            self.gathered + other.gathered,
            self.host + other.host,
            self.host_traffic + other.host_traffic,
        )


def held(
    model: ModelSpec,
    stage: Stage,
    plan: Plan,
    precision: Precision,
    optimizer: Optimizer,
    zero_stage: int,
    *,
    reshard: bool = True,
    sharding: Sharding = zero.DEFAULT,
    trained: Trained = ALL,
    average: Average | None = None,
    shares_ends: bool = False,
) -> State:
    """The state of a rank of a stage: `by_part`, dense weights and experts together. Raises SpecError and Infeasible as
    `zero.shares`."""
    parts = by_part(
        model, stage, plan, precision, optimizer, zero_stage,
        reshard=reshard, sharding=sharding, trained=trained, average=average, shares_ends=shares_ends,
    )  # fmt: skip
    return parts[DENSE] + parts[EXPERTS]


def by_part(
    model: ModelSpec,
    stage: Stage,
    plan: Plan,
    precision: Precision,
    optimizer: Optimizer,
    zero_stage: int,
    *,
    reshard: bool = True,
    sharding: Sharding = zero.DEFAULT,
    trained: Trained = ALL,
    average: Average | None = None,
    shares_ends: bool = False,
) -> dict[str, State]:
    """The state of a rank by "dense" and "experts". `reshard`: weights that ZeRO-3 gathers are let go after the forward
    pass of their layer. `average`: a moving average of the weights; None: there is none.
    `shares_ends`: the rank holds the first stage too. Raises SpecError and Infeasible as `zero.shares`."""
    shares = zero.shares(plan, zero_stage, sharding)
    found = {DENSE: State(), EXPERTS: State()}
    every = units(model, stage, plan, trained, shares_ends)
    for unit in every:
        for each in unit.parameters:
            one = _of(each, precision.of(unit.key), optimizer, shares, sharding, average)
            key = EXPERTS if each.is_expert else DENSE
            found[key] = found[key] + _times(one, unit.count)
    if zero_stage == 3:
        for key in found:
            here = whole(every, key == EXPERTS, precision)
            more = gathered(here, *partings(shares, key == EXPERTS), reshard, sharding)
            found[key] = found[key] + State(gathered=more)
    return found


def _times(state: State, count: int) -> State:
    return State(
        count * state.parameters, count * state.gradients, count * state.optimizer, count * state.gathered,
        count * state.host, count * state.host_traffic,
    )  # fmt: skip


def _of(
    each: Parameter,
    precision: Precision,
    optimizer: Optimizer,
    shares: Shares,
    sharding: Sharding,
    average: Average | None,
) -> State:
    """What one weight adds to a rank."""
    index, count = int(each.is_expert), each.part.count
    of_weights, of_gradients, of_optimizer = (of[index] for of in (shares.weights, shares.gradients, shares.optimizer))
    if not each.learns:
        return State(kept_bytes(each, precision) / of_weights + _copies(each, precision, shares))
    master = _width(precision.master)
    own = sharding.fsdp and precision.master is not None  # the part that is kept is the master weight itself
    kept = count * master if own else kept_bytes(each, precision)
    states = optimizer.rule_of(each.part).state_bytes + _width(precision.main_gradient) + (0.0 if own else master)
    averaged = 0.0 if average is None else _width(average.kind)
    beside, away = (0.0, averaged) if average is not None and average.on_host else (averaged, 0.0)
    sent = (master or _width(precision.kept(each.part))) if away else 0.0
    return State(
        kept / of_weights + _copies(each, precision, shares),
        count * _adds_up_in(precision, sharding) / of_gradients,
        count * (states + beside) / of_optimizer,
        0.0,
        count * away / shares.copies[index],
        count * sent / shares.copies[index],
    )


def kept_bytes(each: Parameter, precision: Precision) -> Num:
    """All of a weight as it is kept. [B]"""
    if each.kept is not None:
        return stored_bytes(each.part, each.kept)
    return stored_bytes(each.part, precision.wide_weight) if each.adapter else precision.kept_bytes(each.part)


def copied_bytes(each: Parameter, precision: Precision) -> Num:
    """The copies that products read of a whole weight. [B]"""
    total: Num = 0.0
    for kind in () if each.adapter or each.kept is not None else precision.copied(each.part):
        total = total + stored_bytes(each.part, kind)
    return total


def _adds_up_in(precision: Precision, sharding: Sharding) -> float:
    """Bytes of a number of the gradients that a rank adds up. FSDP without sums in between adds in the format that
    gradients travel in (PyTorch FSDP2, `to_accumulated_grad_if_needed`)."""
    if sharding.fsdp and sharding.every_microbatch is False:
        return max(_width(precision.gradient), _width(precision.reduced))
    return _width(precision.gradient)


def _copies(each: Parameter, precision: Precision, shares: Shares) -> Num:
    """Copies that stand from step to step: none of weights that are shared out, which are made when these are gathered.
    [B]"""
    return copied_bytes(each, precision) * shares.whole(each.is_expert)


def _width(kind: Dtype | None) -> float:
    return 0.0 if kind is None else kind.bits / 8.0


@frozen
class Whole:
    """Of all ranks' parts together: weights of the `largest` module and of all, and gradients of the largest before they are
    summed. [B]"""

    largest: Num
    every: Num
    gradients: Num


def whole(every: tuple[Unit, ...], experts: bool, precision: Precision) -> Whole:
    """What there is to gather of the experts of some modules, or of all else."""
    largest: Num = 0.0
    all_: Num = 0.0
    gradients: Num = 0.0
    for unit in every:
        mine = [each for each in unit.parameters if each.is_expert == experts]
        own = precision.of(unit.key)
        weights = sum((kept_bytes(each, own) + copied_bytes(each, own) for each in mine), 0.0)
        fresh = sum((each.part.count * _width(precision.activation) for each in mine if each.learns), 0.0)
        largest, gradients = maximum(largest, weights), maximum(gradients, fresh)
        all_ = all_ + unit.count * weights
    return Whole(largest, all_, gradients)


def partings(shares: Shares, experts: bool) -> tuple[Num, Num]:
    """(1 where a rank has a part of such weights, of such gradients), else 0."""
    return shares.parted(experts), 1.0 * (shares.gradients[int(experts)] > 1.0)


def gathered(of: Whole, parted: Num, summed: Num, reshard: bool, sharding: Sharding) -> Num:
    """Whole weights of the layer that runs and of those gathered ahead, or of all where they stay until the backward
    pass; and the largest layer's gradients before they are summed. `parted`, `summed`: 1 where a rank has a part of weights, of
    gradients, and 0 where it has all of them anyway. [B]"""
    weights = minimum(of.largest * (1.0 + sharding.prefetch), of.every) if reshard else of.every
    return weights * parted + of.gradients * summed
