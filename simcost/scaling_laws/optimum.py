"""The size and the tokens of least loss for a training compute, by a law; and how much compute a dense model of equal loss takes.

Laws of loss are minimised numerically over the size at a fixed compute, in which the law's own count of FLOPs says what a token costs; laws of allocation
state the answer. Most likely to be wrong: data that is not as much as the answer asks for, and models that are used long after (arXiv 2401.00448).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from simcost.errors import SpecError
from simcost.frozen import frozen
from simcost.num import Num, num, plain, where
from simcost.scaling_laws import ranges
from simcost.scaling_laws.counts import Counts, dense, flops_per_token, size
from simcost.scaling_laws.evaluate import Loss, check_extent, inputs, loss, speaks_for, value
from simcost.scaling_laws.forms import FORMS
from simcost.scaling_laws.law import FITTED, Law
from simcost.scaling_laws.whole import lowest, multiples, samples, where_it_holds

_NOTHING = float("nan")
_SOLVED = ("params", "total_params", "tokens")
_GOLDEN = (5.0**0.5 - 1.0) / 2.0
_SIZES = (2.0, 18.0)  # log10 of the parameters among which the least loss is looked for
_STEPS = 90  # the interval shrinks to 1e-18 of itself: what is left is rounding


@frozen
class Optimum:
    """Size as the law counts it, training tokens, and loss [nats per token]; NaN where the law does not speak (`reasons`), and the loss where it gives
    none."""

    params: Num
    tokens: Num
    loss: Num
    reasons: tuple[str, ...] = ()


def optimum(law: Law, training_flops: Num, like: Counts | None = None, extent: str = FITTED) -> Optimum:
    """The least loss that a compute [FLOP] buys, for designs that are as `like` (default: dense) at every size. Raises SpecError for a law that has no
    compute, or is no law of sizes."""
    check_extent(extent)
    shape = dense(1.0) if like is None else like
    law = speaks_for(law, shape)
    if law.compute is None:
        raise SpecError(f"{law.name}: {law.no_compute}")
    if law.form == "allocation":
        return _stated(law, num(training_flops), shape, extent)
    if not law.predicts_loss or "tokens" not in FORMS[law.form].inputs:
        raise SpecError(f"{law.name}: does not give compute-optimal sizes: {law.definitions['loss']}")
    best = _least(law, num(training_flops), shape)
    found = inputs(law, best, num(training_flops) / flops_per_token(law, best))
    inside, reasons = ranges.checked(law, found, extent, _SOLVED)
    params, tokens, least = (
        where(inside, each, _NOTHING) for each in (found["params"], found["tokens"], value(law, found))
    )
    return Optimum(params, tokens, least, tuple(reasons))


@frozen
class Width:
    """`width` of least loss, a multiple of what was asked for; None where the law does not speak (`reasons`), or the least lies at an end of the widths or
    of the range. `tokens` that the compute buys it; `loss`, `low`, `high` [nats per token; NaN: the source states no error]."""

    width: float | None
    tokens: float | None = None
    loss: float | None = None
    low: float | None = None
    high: float | None = None
    reasons: tuple[str, ...] = ()


def optimal_width(
    law: Law, to: Callable[[float], Counts], training_flops: float, widths: tuple[float, float], multiple: float = 1.0, extent: str = FITTED
) -> Width:  # fmt: skip
    """The width at which `to(width)` has the least loss that a compute buys [FLOP]. Parameters must grow with the width. Raises SpecError for a law that
    gives no loss, and for one without compute."""
    first, last = multiples(widths, multiple)
    known: dict[int, Loss] = {}

    def tokens(index: int) -> float:
        return float(training_flops / flops_per_token(law, to(index * multiple)))

    def at(index: int) -> Loss:
        if index not in known:
            known[index] = loss(law, to(index * multiple), tokens(index), extent)
        return known[index]

    picked = samples(first, last)
    speaking = where_it_holds(lambda index: not np.isnan(at(index).nats), picked)
    if not speaking:
        ends = ((each, text) for each in (first, last) for text in at(each).reasons)
        return Width(None, reasons=tuple(dict.fromkeys(f"at width {each * multiple:g}: {text}" for each, text in ends)))
    best = lowest(lambda index: float(at(index).nats), speaking)
    if best in (speaking[0], speaking[-1]):
        return Width(
            None,
            reasons=(f"the least loss lies at the end of the widths or of the range, at width {best * multiple:g}",),
        )
    found = at(best)
    return Width(best * multiple, tokens(best), float(found.nats), float(found.low), float(found.high))


def leverage(law: Law, training_flops: Num, counts: Counts, extent: str = FITTED) -> tuple[Num, tuple[str, ...]]:
    """(compute of a dense model over that of a MoE of equal loss, both compute-optimal; reasons where NaN). Raises SpecError for another kind of law."""
    check_extent(extent)
    if law.form != "leverage":
        raise SpecError(f"{law.name}: does not compare compute with a dense model")
    found = {**counts.variables, "training_flops": num(training_flops)}
    inside, reasons = ranges.checked(law, found, extent)
    return where(inside, value(law, found), _NOTHING), tuple(reasons)


def _stated(law: Law, flops: Num, shape: Counts, extent: str) -> Optimum:
    """Of a law of allocation: the size is its own, or what the compute leaves at those tokens."""
    assert law.compute is not None
    units, values = flops / law.compute.unit, law.values
    tokens = value(law, {"compute_units": units})
    if "params_at_unit" in values:
        params = plain(values["params_at_unit"] * units ** values["params_exponent"])
    else:
        params = flops / (law.compute.flops_per_param * tokens)
    found = {**shape.variables, "params": params, "tokens": tokens, "training_flops": flops}
    inside, reasons = ranges.checked(law, found, extent, _SOLVED)
    nothing = where(inside, _NOTHING, _NOTHING)
    return Optimum(where(inside, params, _NOTHING), where(inside, tokens, _NOTHING), nothing, tuple(reasons))


def _least(law: Law, flops: Num, shape: Counts) -> Counts:
    """`shape` at the size of least loss, by golden section over its logarithm: loss has one minimum at a fixed compute."""
    start = size(law.params, shape.scaled(1.0))

    def at(log: Num) -> Num:
        design = shape.scaled(plain(10.0**log) / start)
        return value(law, inputs(law, design, flops / flops_per_token(law, design)))

    best = _golden(at, num(np.full(np.shape(flops), _SIZES[0])), num(np.full(np.shape(flops), _SIZES[1])))
    return shape.scaled(plain(10.0**best) / start)


def _golden(at: Callable[[Num], Num], low: Num, high: Num) -> Num:
    """The place of the least value between two, elementwise."""
    for _ in range(_STEPS):
        left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
        falls = at(left) > at(right)
        low, high = where(falls, left, low), where(falls, high, right)
    return (low + high) / 2.0
