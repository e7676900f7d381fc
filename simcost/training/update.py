"""The step of the optimizer on one rank: passes over its part of gradients, master weights and states, Muon's products,
and casts of new weights.

Most likely to be wrong: how a framework shares out matrices that cannot be cut (Muon): here each rank has as many as
any, whole ones, and gathers what it lacks of one. Sources: Megatron Core `distrib_optimizer.py`, `clip_grads.py`;
Jordan et al. 2024 (kellerjordan.github.io/posts/muon); Moonlight (arXiv 2502.16982 §2.3, Distributed Muon).
"""

from __future__ import annotations

from simcost.dtypes import Dtype, dtype
from simcost.frozen import frozen
from simcost.model.spec import ModelSpec
from simcost.num import Num, ceil, maximum, minimum, where
from simcost.ops.collective import Collective
from simcost.ops.gemm import Gemm
from simcost.ops.stream import Stream
from simcost.pipeline import Stage
from simcost.plan import Plan
from simcost.program import Call, Program, Serial
from simcost.sharding import copies
from simcost.sharding.shard import Weight
from simcost.training import zero
from simcost.training.casts import weight_casts
from simcost.training.optimizer import DUPLICATED, Average, Optimizer, Orthogonal, Rule
from simcost.training.parameters import ALL, Parameter, Trained, units
from simcost.training.precision import Precision
from simcost.training.zero import Sharding, Shares

_UNIT = dtype("fp32")  # bytes of tensors in several formats are stated in tensors of this one
_NORM = 2.0  # FLOPs of an element: its square, the sum
_AVERAGE = 3.0  # d·average + (1 - d)·weight
_UNSCALE = 2.0  # its product with the inverse of the scale, and whether it is finite


@frozen
class Stepped:
    """A weight that learns, of a module that stands `times` on the rank; `kept`: the format in which it is."""

    parameter: Parameter
    times: int
    kept: Dtype

    @property
    def elements(self) -> Num:
        """Parameters of all these modules."""
        return self.times * self.parameter.part.count


def optimizer_program(
    model: ModelSpec,
    stage: Stage,
    plan: Plan,
    precision: Precision,
    optimizer: Optimizer,
    zero_stage: int,
    *,
    sharding: Sharding = zero.DEFAULT,
    trained: Trained = ALL,
    average: Average | None = None,
    shares_ends: bool = False,
) -> Serial:
    """The step on one rank of a stage, once its gradients are summed: a copy of the gradients and their unscaling where
    the precision has one, their norm, the clip, the update of the rank's part, that of an average beside it, and casts to
    the copies that it keeps of weights. Raises as `zero.shares`."""
    shares = zero.shares(plan, zero_stage, sharding)
    held = units(model, stage, plan, trained, shares_ends)
    found = [
        Stepped(each, unit.count, precision.wide_weight if each.adapter else precision.of(unit.key).kept(each.part))
        for unit in held
        for each in unit.parameters
        if each.learns
    ]
    parts: list[Program] = [*_gradient_passes(found, plan, precision, optimizer, shares, zero_stage)]
    own = sharding.fsdp and precision.master is not None
    before, after = _updates(found, precision, optimizer, shares, own)
    parts += before
    if optimizer.matrices is not None:
        for experts in (False, True):
            mine = [one for one in found if _is_matrix(one, optimizer) and one.parameter.is_expert == experts]
            if mine:
                parts.append(_orthogonalised(mine, plan, optimizer.matrices, shares, sharding))
    if average is not None and not average.on_host:
        after.append(_averaged(found, precision, average, shares))
    return Serial((*parts, *after, *weight_casts(held, precision, shares)), "optimizer")


def _is_matrix(one: Stepped, optimizer: Optimizer) -> bool:
    return optimizer.is_matrix(one.parameter.part)


def _part(one: Stepped, shares: Shares) -> Num:
    """Parameters that a rank steps."""
    return one.elements / shares.optimizer[int(one.parameter.is_expert)]


def _gradient_passes(
    found: list[Stepped], plan: Plan, precision: Precision, optimizer: Optimizer, shares: Shares, zero_stage: int
) -> list[Program]:
    """Passes over the summed gradients before the update."""
    elements: Num = 0.0
    for one in found:
        elements = elements + _part(one, shares)
    kind = precision.main_gradient or precision.gradient
    parts: list[Program] = []
    if precision.main_gradient is not None:
        parts.append(Call(Stream("copy", elements, 1.0, 1.0, 0.0, precision.gradient, kind), "copy gradients"))
    if precision.loss_scaling:
        parts.append(Call(Stream("unscale", elements, 1.0, 1.0, _UNSCALE, kind, kind), "unscale gradients"))
    if optimizer.norm:
        parts.append(Call(Stream("gradient norm", elements, 1.0, 0.0, _NORM, kind, kind), "gradient norm"))
        # Each rank has a part of the sum; without ZeRO all copies have the same.
        ranks = plan.devices if zero_stage >= 1 else plan.stage * plan.pp
        parts.append(Call(Collective("all_reduce", 4.0, ranks), "sum of norms"))
    if optimizer.clip:
        parts.append(Call(Stream("gradient clip", elements, 1.0, 1.0, 1.0, kind, kind), "gradient clip"))
    return parts


def _updates(
    found: list[Stepped], precision: Precision, optimizer: Optimizer, shares: Shares, own: bool
) -> tuple[list[Program], list[Program]]:
    """(before matrices are made orthogonal, after): one kernel for all weights that are stepped by one rule and kept in
    one format, and one more for the momentum of matrices. `own`: the part that is kept is the master weight itself."""
    counts: dict[tuple[Rule, bool, Dtype], Num] = {}
    for one in found:
        each = one.parameter
        key = (optimizer.rule_of(each.part), optimizer.is_matrix(each.part), one.kept)
        counts[key] = counts.get(key, 0.0) + _part(one, shares)
    before: list[Program] = []
    after: list[Program] = []
    for (rule, orthogonal, kept), elements in counts.items():
        gradient, states = (precision.main_gradient or precision.gradient).bits / 8.0, rule.state_bytes
        master = (precision.master or kept).bits / 8.0
        written = master + (0.0 if own or precision.master is None else kept.bits / 8.0)
        if orthogonal and optimizer.matrices is not None:
            made = optimizer.matrices.product.bits / 8.0
            before.append(
                _pass(f"{rule.kernel} momentum", elements, gradient + states, states + made, rule.flops / 2.0)
            )
            after.append(_pass(f"{rule.kernel} update", elements, made + master, written, rule.flops / 2.0))
        else:
            after.append(_pass(rule.kernel, elements, gradient + states + master, states + written, rule.flops))
    return before, after


def _averaged(found: list[Stepped], precision: Precision, average: Average, shares: Shares) -> Call:
    """The average moves towards the new weights: both are read, the average is written."""
    elements: Num = 0.0
    for one in found:
        elements = elements + _part(one, shares)
    size = average.kind.bits / 8.0
    weight = (precision.master or precision.wide_weight).bits / 8.0
    return _pass("moving average", elements, weight + size, size, _AVERAGE)


def _pass(what: str, elements: Num, read: float, written: float, flops: float) -> Call:
    """A kernel that reads and writes so many bytes of each element."""
    size = _UNIT.bits / 8.0
    return Call(Stream(what, elements, read / size, written / size, flops, _UNIT, _UNIT), what)


def _orthogonalised(found: list[Stepped], plan: Plan, how: Orthogonal, shares: Shares, sharding: Sharding) -> Serial:
    """Newton-Schulz over the matrices of a rank, A = XXᵀ, B = bA + cA², X ← aX + BX, of which n is the shorter side:
    2n²m + 2n³ + 2n²m FLOP an iteration. A rank has as many whole matrices as any, and gathers of one what other ranks
    have."""
    experts = found[0].parameter.is_expert
    ranks = shares.optimizer[int(experts)]
    whole = how.tensor_parallel == DUPLICATED
    matrices: Num = 0.0
    elements: Num = 0.0
    for one in found:
        weight = one.parameter.whole if whole else one.parameter.part
        matrices = matrices + one.times * one.parameter.part.copies
        elements = elements + one.times * one.parameter.part.copies * _sides(weight)[0] * _sides(weight)[1]
    share = ceil(matrices / ranks) / matrices
    levels = copies.experts(plan, sharding.group) if experts else copies.dense(plan, sharding.group)
    level = levels[0]
    sharing = where(ranks > 1.0, minimum(maximum(ceil(ranks / matrices), 2.0), ranks), 1.0)
    stride = level.stride if experts else where(level.parts > 1.0, level.stride, plan.stage * plan.pp)
    each = how.product.bits / 8.0 * elements / matrices
    parts: list[Program] = [Call(Collective("all_gather", each, sharing, stride), "matrices cut between ranks")]
    if whole:
        slices = plan.expert_slices if experts else plan.tp
        size = how.product.bits / 8.0 * elements * share
        parts.append(Call(Collective("all_gather", size, slices), "matrices cut by tensor parallelism"))
    for one in found:
        weight = one.parameter.whole if whole else one.parameter.part
        out, inner = _sides(weight)
        n, m, batch = minimum(out, inner), maximum(out, inner), one.times * one.parameter.part.copies * share
        x = how.product
        for name, sides in (("A", (n, n, m)), ("B", (n, n, n)), ("X", (n, m, n))):
            parts.append(Call(Gemm(*sides, x, x, x, x, batch), f"{weight.name}: {name}", how.iterations))
    return Serial(tuple(parts), "Newton-Schulz")


def _sides(weight: Weight) -> tuple[Num, Num]:
    assert weight.inner is not None
    return weight.out, weight.inner
