"""How good predicted steps are, by source: the figures of `validation.score`, the mean, and how wide intervals are.

Most likely to be wrong: a source's rows are of one machine, so that its coverage says little of others.
"""

from __future__ import annotations

from simcost.result import Row as Cells
from simcost.training.question import Prediction
from simcost.validation import score

FIGURES = score.FULL


def judged(predicted: Prediction, measured_s: float) -> Cells:
    """error: relative; covered: whether the interval holds the measured time; half_width: of the interval, over the
    predicted time."""
    return {
        "error": score.error(predicted.step_s, measured_s),
        "covered": bool(predicted.low <= measured_s <= predicted.high),
        "half_width": (predicted.high - predicted.low) / 2.0 / predicted.step_s,
    }


summary = score.full
