"""How good predicted steps are, by source: the figures of `validation.score`, the mean, and how wide intervals are.

Most likely to be wrong: a source's rows are of one machine, so that its coverage says little of others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from simcost.result import Row as Cells
from simcost.training.question import Prediction
from simcost.validation import score

FIGURES = ("n", "median_abs_error", "mean_abs_error", "p90_abs_error", "bias", "coverage", "median_half_width")


def judged(predicted: Prediction, measured_s: float) -> Cells:
    """error: relative; covered: whether the interval holds the measured time; half_width: of the interval, over the
    predicted time."""
    return {
        "error": score.error(predicted.step_s, measured_s),
        "covered": predicted.low <= measured_s <= predicted.high,
        "half_width": (predicted.high - predicted.low) / 2.0 / predicted.step_s,
    }


def summary(rows: Sequence[Cells]) -> dict[str, Any]:
    """n, median, mean and 90 % quantile of |error|, median error, share covered, and the median half-width; rows are
    of `judged`."""
    found = score.summary(rows)
    mean = float(np.mean([abs(row["error"]) for row in rows])) if rows else None
    width = float(np.median([row["half_width"] for row in rows])) if rows else None
    return {name: {**found, "mean_abs_error": mean, "median_half_width": width}[name] for name in FIGURES}
