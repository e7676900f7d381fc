"""How far a curve is from rows, and whether its intervals cover them."""

from __future__ import annotations

import numpy as np

from simcost.calibration.curves.curve import Curve
from simcost.calibration.family import Family, Labels
from simcost.calibration.rows import Rows
from simcost.calibration.store import row_terms
from simcost.frozen import frozen
from simcost.hardware.profile import Device
from simcost.num import Z90, Array


@frozen
class Score:
    """predicted, low, high [rows] s; errors [rows] = predicted / measured - 1."""

    predicted: Array
    low: Array
    high: Array
    measured: Array

    @property
    def errors(self) -> Array:
        """predicted / measured - 1. [rows]"""
        return self.predicted / self.measured - 1.0

    @property
    def median(self) -> float:
        """Median of |error|."""
        return float(np.median(np.abs(self.errors)))

    @property
    def p90(self) -> float:
        """90 % quantile of |error|."""
        return float(np.quantile(np.abs(self.errors), 0.9))

    @property
    def bias(self) -> float:
        """Median of the errors with their signs; above 0: predictions are too long."""
        return float(np.median(self.errors))

    @property
    def coverage(self) -> float:
        """Share of rows inside their 90 % interval."""
        return float(np.mean((self.low <= self.measured) & (self.measured <= self.high)))

    @property
    def width(self) -> float:
        """Median of log(high / predicted), about the half-width of the interval relative to the prediction."""
        return float(np.median(np.log(self.high / self.predicted)))


def scored(
    curve: Curve, family: Family, rows: Rows, labels: Labels, device: Device, reached: tuple[float, float] = (1.0, 1.0)
) -> Score:
    """The curve's predictions of every row beside the measured times. `reached`: (compute, memory) factors as in `store.reached`."""
    terms, points = row_terms(family, rows, labels, device)
    terms = terms.scaled(*reached)
    found = curve.predict(terms, points)
    seconds, factor = np.asarray(found.seconds, np.float64), np.exp(Z90 * np.asarray(found.sigma, np.float64))
    return Score(seconds, seconds / factor, seconds * factor, rows.seconds)


def joined(scores: list[Score]) -> Score:
    """The scores of several folds as one."""
    return Score(*(np.concatenate([getattr(s, n) for s in scores]) for n in ("predicted", "low", "high", "measured")))
