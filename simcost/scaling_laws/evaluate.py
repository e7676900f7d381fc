"""The loss of a design by a law, with the interval that the source's own errors give, and the difference of two designs.

Coefficients count as independent, because no source publishes their covariance: intervals of a loss are then too wide, those of a difference inside
one law much less so, for both designs share the coefficients. Most likely to be wrong: systematic error, of which no source says anything.
"""

from __future__ import annotations

import math

import numpy as np

from simcost.errors import SpecError, nearest
from simcost.frozen import frozen
from simcost.num import Z90, Num, every, maximum, num, plain, sqrt, where
from simcost.scaling_laws import ranges
from simcost.scaling_laws.counts import Counts, flops_per_token, size
from simcost.scaling_laws.forms import FORMS, Inputs
from simcost.scaling_laws.law import EXTENTS, FITTED, Law

_NOTHING = float("nan")
_LEAST = 1e-300


@frozen
class Loss:
    """Nats per token and their 90 % interval; NaN where the law does not speak (`reasons`), and of the interval where the source states no error."""

    nats: Num
    low: Num
    high: Num
    reasons: tuple[str, ...] = ()


@frozen
class Difference:
    """Loss of the second design less that of the first, its 90 % interval, and the probability that the second has the lower loss; NaN as in `Loss`. [nats]"""

    nats: Num
    low: Num
    high: Num
    probability: Num
    reasons: tuple[str, ...] = ()


def inputs(law: Law, counts: Counts, tokens: Num) -> dict[str, Num]:
    """Every variable that a law may read of a design trained on so many tokens."""
    found = {**counts.variables, "params": num(size(law.params, counts)), "tokens": num(tokens)}
    if law.compute is not None:
        found["training_flops"] = num(tokens) * flops_per_token(law, counts)
        found["compute_units"] = found["training_flops"] / law.compute.unit
    return found


def speaks_for(law: Law, counts: Counts) -> Law:
    """The law of dense models that the same source states, for a dense design; else the law. Raises SpecError for a mixture of both in one array."""
    if law.dense is None:
        return law
    alone = np.asarray(counts.experts) == 1.0
    if alone.any() and not alone.all():
        raise SpecError(f"{law.name}: dense and MoE designs cannot be in one array, because each has its own formula")
    return law.dense if alone.all() else law


def loss(law: Law, counts: Counts, tokens: Num, extent: str = FITTED) -> Loss:
    """What a law says of a design trained on `tokens`. Raises SpecError for a law that gives no loss."""
    point = _Point(law, counts, tokens, extent)
    nats = where(point.inside, point.nats, _NOTHING)
    half = Z90 * sqrt(_squares(point.slopes) + (point.law.residual or 0.0) ** 2)
    half = where(point.law.states_error, half, _NOTHING)
    return Loss(nats, nats - half, nats + half, point.reasons)


def difference(law: Law, first: tuple[Counts, Num], second: tuple[Counts, Num], extent: str = FITTED) -> Difference:
    """By how much two designs, each with its tokens, differ; what their coefficients share cancels. Raises SpecError for a law that gives no loss."""
    one, other = (_Point(law, counts, tokens, extent) for counts, tokens in (first, second))
    inside = one.inside & other.inside
    nats = where(inside, other.nats - one.nats, _NOTHING)
    if one.law is other.law:
        shared = _squares([b - a for a, b in zip(one.slopes, other.slopes, strict=True)])
    else:
        shared = _squares(one.slopes) + _squares(other.slopes)
    sigma = sqrt(shared + (one.law.residual or 0.0) ** 2 + (other.law.residual or 0.0) ** 2)
    sigma = where(one.law.states_error and other.law.states_error, sigma, _NOTHING)
    # Of a design and itself both are zero: a coin's toss.
    sigmas = nats / maximum(sigma, _LEAST)
    return Difference(nats, nats - Z90 * sigma, nats + Z90 * sigma, _below(sigmas), (*one.reasons, *other.reasons))


def check_extent(extent: str) -> None:
    """Raises SpecError for a range that is none."""
    if extent not in EXTENTS:
        raise SpecError(f"range must be {' or '.join(EXTENTS)}, not {extent!r}{nearest(extent, EXTENTS)}")


class _Point:
    """A formula's value at a design, and by how much it moves when each coefficient moves by its standard error."""

    def __init__(self, law: Law, counts: Counts, tokens: Num, extent: str) -> None:
        check_extent(extent)
        if not law.predicts_loss:
            raise SpecError(f"{law.name}: does not give a loss: {law.definitions['loss']}")
        self.law = speaks_for(law, counts)
        found = inputs(self.law, counts, tokens)
        inside, reasons = ranges.checked(self.law, found, extent)
        self.inside, self.reasons = np.asarray(inside), tuple(reasons)
        self.nats = value(self.law, found)
        self.slopes = [
            (self._at(found, name, each.error) - self._at(found, name, -each.error)) / 2.0
            for name, each in self.law.coefficients.items() if each.error
        ]  # fmt: skip

    def _at(self, found: Inputs, name: str, moved: float) -> Num:
        values = self.law.values
        return FORMS[self.law.form].gives({**values, name: values[name] + moved}, found)


def value(law: Law, found: Inputs) -> Num:
    """What the formula gives, whatever the range: for judging a formula, not for answers."""
    return FORMS[law.form].gives(law.values, found)


def _squares(slopes: list[Num]) -> Num:
    total: Num = 0.0
    for slope in slopes:
        total = total + slope**2
    return total


def _below(sigmas: Num) -> Num:
    """Probability that a normal deviate lies below -sigmas."""
    if every(np.isnan(sigmas)):
        return sigmas
    return plain(np.vectorize(lambda at: 0.5 * math.erfc(at / math.sqrt(2.0)), otypes=[np.float64])(sigmas))
