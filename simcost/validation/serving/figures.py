"""A printed figure beside its prediction, and how good many of them are.

Most likely to be wrong: figures of one source are of one machine and stack, so that their median says little of others.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from simcost.frozen import frozen
from simcost.result import Row as Cells
from simcost.validation import score
from simcost.validation.serving.point import Prediction

QUANTITIES = ("ttft", "tpot", "output", "input")  # [s], [s], output tokens/s, input tokens/s of all GPUs
Range = tuple[float, float, float]  # estimate, and the ends of its 90 % interval


@frozen
class Figure:
    """A figure of a row. quantity: of QUANTITIES; low, high: ends of the 90 % interval, nan where none is given;
    predicted: nan where there is none, for `reason`."""

    row: str
    quantity: str
    measured: float
    predicted: float
    low: float
    high: float
    reason: str = ""

    @property
    def error(self) -> float:
        """Relative error: predicted / measured - 1."""
        return score.error(self.predicted, self.measured)

    @property
    def answered(self) -> bool:
        """Whether there is a prediction."""
        return math.isfinite(self.predicted)

    @property
    def miss(self) -> float:
        """How far off it is, too slow and too fast alike: |log(predicted / measured)|."""
        return abs(math.log(self.predicted / self.measured))


def of(row: str, quantity: str, measured: float, ranges: Mapping[str, Range], reason: str) -> Figure:
    """The figure of a row that `ranges` answer, or do not, for a reason."""
    known = quantity in ranges
    return Figure(row, quantity, measured, *ranges.get(quantity, (math.nan,) * 3), "" if known else reason)


def ranges(one: Prediction) -> dict[str, Range]:
    """What a prediction says by quantity. Tokens/s have the interval of TPOT, which they hang on."""
    low, high = one.tpot_low_s / one.tpot_s, one.tpot_high_s / one.tpot_s
    values = {
        "ttft": (one.ttft_s, one.ttft_low_s, one.ttft_high_s),
        "tpot": (one.tpot_s, one.tpot_low_s, one.tpot_high_s),
        "output": (one.output_tokens_per_s, one.output_tokens_per_s / high, one.output_tokens_per_s / low),
    }
    return {name: value for name, value in values.items() if math.isfinite(value[0])}


def figures(found: Sequence[Figure]) -> Cells:
    """Rows, figures and the share answered; median, mean and 90 % quantile of |error|, median error (bias), share
    within 20 %, share inside the interval and its median half-width, of those that have one."""
    known = [one for one in found if one.answered]
    answered = len(known) / len(found) if found else None
    cells: Cells = {"rows": len({one.row for one in found}), "n": len(found), "answered": answered}
    names = (
        "median_abs_error", "mean_abs_error", "p90_abs_error", "bias", "within_fifth", "coverage", "median_half_width",
    )  # fmt: skip
    if not known:
        return {**cells, **dict.fromkeys(names)}
    errors = np.array([one.error for one in known])
    bounded = [one for one in known if math.isfinite(one.low)]
    values = (
        np.median(np.abs(errors)), np.mean(np.abs(errors)), np.quantile(np.abs(errors), 0.9), np.median(errors),
        np.mean(np.abs(errors) <= score.NEAR),
        np.mean([one.low <= one.measured <= one.high for one in bounded]) if bounded else None,
        np.median([(one.high - one.low) / 2.0 / one.predicted for one in bounded]) if bounded else None,
    )  # fmt: skip
    return {**cells, **{name: None if x is None else float(x) for name, x in zip(names, values, strict=True)}}


def cells(one: Figure) -> Cells:
    """A figure as cells: times in seconds, rates in tokens/s."""
    unit = "s" if one.quantity in ("ttft", "tpot") else "tokens_per_s"
    found: Cells = {"quantity": one.quantity, f"measured_{unit}": one.measured}
    if not one.answered:
        return {**found, "why": one.reason}
    found |= {f"predicted_{unit}": one.predicted, "error": one.error}
    return found if math.isnan(one.low) else {**found, "covered": bool(one.low <= one.measured <= one.high)}
