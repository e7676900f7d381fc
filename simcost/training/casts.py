"""Casts of weights to the formats that products read: of new weights once a step, of gathered ones every time.

Most likely to be wrong: kernels that fuse the cast with the optimizer's update, or with the transposition. Source:
Transformer Engine (a quantisation writes the copy along rows and the one along columns); PyTorch FSDP2
`MixedPrecisionPolicy`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from simcost.dtypes import Dtype
from simcost.num import Num, every
from simcost.ops.stream import Stream
from simcost.plan import Plan
from simcost.program import Call
from simcost.sharding import copies
from simcost.training.parameters import Parameter, Unit
from simcost.training.precision import Precision
from simcost.training.zero import Sharding, Shares

_SCALED = 3.0  # FLOPs of an element: the largest value, the scale, the product (`sharding/linear.py`)


def _all(expert: bool) -> Num:
    return 1.0


def weight_casts(units: Iterable[Unit], precision: Precision, shares: Shares) -> list[Call]:
    """Casts of new weights to all copies that a rank keeps of them, once a step; frozen ones are cast once and for
    all."""
    found: list[Call] = []
    for unit in units:
        learnt = tuple(each for each in unit.parameters if each.learns)
        for call in copied(learnt, precision.of(unit.key), (*precision.copies, *precision.transposed), shares.whole):
            found.append(Call(call.op, call.tag, float(unit.count)))
    return found


def narrowed(found: tuple[Parameter, ...], plan: Plan, precision: Precision, sharding: Sharding) -> list[Call]:
    """FSDP casts a rank's part of the master weights before it gathers them."""
    if not sharding.fsdp or precision.master is None:
        return []
    dense, experts = (copies.parts(of(plan, sharding.group)) for of in (copies.dense, copies.experts))
    counts: dict[Dtype, Num] = {}
    for each in found:
        if each.learns:
            kind = precision.wide_weight if each.adapter else precision.kept(each.part)
            counts[kind] = counts.get(kind, 0.0) + each.part.count / (experts if each.is_expert else dense)
    return [cast(count, precision.master, kind, 1.0, "weights") for kind, count in counts.items()]


def copied(
    found: tuple[Parameter, ...], precision: Precision, kinds: tuple[Dtype, ...], of: Callable[[bool], Num] = _all
) -> list[Call]:
    """One kernel that makes the copies of all narrow matrices. `of`: the share of experts (True), of all else (False),
    that it is for."""
    count: Num = 0.0
    for each in found:
        if precision.is_narrow(each.part) and not each.adapter:
            count = count + each.part.count * of(each.is_expert)
    if not kinds or every(count == 0.0):
        return []
    reads = 2.0 if precision.tensor_scale else 1.0
    return [cast(count, precision.weight, kinds[0], float(len(kinds)), "weights for products", reads)]


def cast(elements: Num, x: Dtype, out: Dtype, writes: float, of: str, reads: float = 1.0) -> Call:
    """A cast to a narrower format, which finds scales where that has any; a copy between equal ones, which lies
    otherwise."""
    narrower = out.bits < 16 and out.bits < x.bits
    what, flops = ("quantise", _SCALED) if narrower else ("copy", 0.0)
    return Call(Stream(what, elements, reads, writes, flops, x, out), f"cast {of}" if narrower else f"copy {of}")
