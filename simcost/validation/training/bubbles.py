"""Pipeline bubbles from steps at several counts of micro-batches: a line through them has what a micro-batch takes as
slope, and what the schedule loses as intercept.

Slopes and intercepts are compared apart, since an error of the kernels would hide one of the schedule. Samples a second
are printed with two or three digits, so that intercepts are known no better than `printed` says: to 0.2 micro-batches
at 8 ranks, 3 at 32. Most likely to be wrong: a micro-batch's time that changes with their count. Source: Zero Bubble Pipeline Parallelism (arXiv 2401.10241), section 4.3, which defines the bubble
of a step so.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np

from simcost.result import Row as Cells
from simcost.validation.training.rows import Row

_DIGITS = 6  # after the point, at most
_STATED = 2e-4  # by how much a time of four digits misses the one that it follows from
LEAST = 3  # counts of micro-batches that make a line
# Pipeline ranks -> (most, unit): micro-batches that the intercept may be off, or its relative error.
BARS = {8: (1.0, "micro-batches"), 16: (2.5, "micro-batches"), 32: (0.15, "relative")}


def line(micro_batches: Sequence[float], seconds: Sequence[float]) -> tuple[float, float]:
    """(slope [s a micro-batch], intercept [s]) of least squares."""
    slope, intercept = np.polyfit(np.asarray(micro_batches, dtype=float), np.asarray(seconds, dtype=float), 1)
    return float(slope), float(intercept)


def printed(rows: Sequence[Row]) -> tuple[float, float] | None:
    """The least and the greatest bubble [micro-batches] of steps that print as these do; None where their times are not
    from printed samples a second. Digits: the fewest that give every time back."""
    if any(row.taken != "samples" or row.step_s is None for row in rows):
        return None
    each = [row.question.global_batch / (row.question.gpus * (row.step_s or 1.0)) for row in rows]
    digits = next((n for n in range(_DIGITS) if all(abs(round(x, n) / x - 1.0) < _STATED for x in each)), _DIGITS)
    counts = [row.question.micro_batches for row in rows]
    found = []
    for sides in itertools.product((-0.5, 0.5), repeat=len(rows)):
        shown = [round(x, digits) + side * 10.0**-digits for x, side in zip(each, sides, strict=True)]
        times = [row.question.global_batch / (row.question.gpus * x) for row, x in zip(rows, shown, strict=True)]
        slope, bubble = line(counts, times)
        found.append(bubble / slope)
    return min(found), max(found)


def table(rows: Sequence[Row], predicted: Mapping[str, float]) -> list[Cells]:
    """A line of figures for each model and schedule whose rows differ only in micro-batches; predicted: seconds by
    id, of which rows may be missing."""
    groups: dict[tuple[str, str, int], list[Row]] = {}
    for row in rows:
        if row.step_s is not None and row.id in predicted and row.question.pp > 1:
            groups.setdefault((row.model, row.question.schedule, row.question.pp), []).append(row)
    return [
        _compared(key, each, predicted)
        for key, each in groups.items()
        if len({row.question.micro_batches for row in each}) >= LEAST
    ]


def _compared(key: tuple[str, str, int], rows: Sequence[Row], predicted: Mapping[str, float]) -> Cells:
    counts = [row.question.micro_batches for row in rows]
    slope, bubble = line(counts, [row.step_s or 0.0 for row in rows])
    slope_said, bubble_said = line(counts, [predicted[row.id] for row in rows])
    off = (bubble_said - bubble) / slope
    model, schedule, pp = key
    found: Cells = {
        "model": model,
        "schedule": schedule,
        "pp": pp,
        "micro_batch_s": slope,
        "micro_batch_error": slope_said / slope - 1.0,
        "bubble_micro_batches": bubble / slope,
        "predicted_bubble_micro_batches": bubble_said / slope_said,
        **({"printed_low": ends[0], "printed_high": ends[1]} if (ends := printed(rows)) else {}),
        "off_micro_batches": off,
    }
    if pp in BARS:
        most, unit = BARS[pp]
        found["passes"] = bool(abs(off) <= most if unit == "micro-batches" else abs(bubble_said / bubble - 1.0) <= most)
    return found
