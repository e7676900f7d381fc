"""How good predictions are: relative errors, the share of truths inside the interval, bias.

Most likely to be wrong: a median over few cases; `n` stands beside every figure. Source: definitions in docs/glossary.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from simcost.result import Row

COVERAGE = 0.9  # what the intervals promise


def error(predicted: float, measured: float) -> float:
    """Relative error: predicted / measured - 1."""
    return predicted / measured - 1.0


def summary(rows: Sequence[Row]) -> dict[str, Any]:
    """n, median and 90 % quantile of |error|, median error (bias), share covered; rows have `error` and `covered`."""
    if not rows:
        return {"n": 0, "median_abs_error": None, "p90_abs_error": None, "bias": None, "coverage": None}
    errors = np.array([row["error"] for row in rows])
    return {
        "n": len(rows),
        "median_abs_error": float(np.median(np.abs(errors))),
        "p90_abs_error": float(np.quantile(np.abs(errors), 0.9)),
        "bias": float(np.median(errors)),
        "coverage": float(np.mean([bool(row["covered"]) for row in rows])),
    }


def grouped(
    rows: Iterable[Row],
    key: Callable[[Row], tuple[str, ...]],
    names: tuple[str, ...],
    summed: Callable[[Sequence[Row]], dict[str, Any]] = summary,
) -> list[Row]:
    """A summary for every value of `key`, in the order of first appearance."""
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(key(row), []).append(row)
    return [{**dict(zip(names, found, strict=True)), **summed(members)} for found, members in groups.items()]


FULL = ("n", "median_abs_error", "mean_abs_error", "p90_abs_error", "bias", "coverage", "median_half_width")
NEAR = 0.20  # a prediction within this share of the measurement is near


def full(rows: Sequence[Row]) -> dict[str, Any]:
    """`summary` with the mean of |error| and the median half-width of the intervals; rows have `half_width` too."""
    found = summary(rows)
    mean = float(np.mean([abs(row["error"]) for row in rows])) if rows else None
    width = float(np.median([row["half_width"] for row in rows])) if rows else None
    return {name: {**found, "mean_abs_error": mean, "median_half_width": width}[name] for name in FULL}


def near(rows: Sequence[Row]) -> float | None:
    """Share of rows whose error is at most `NEAR`; None without rows."""
    return float(np.mean([abs(row["error"]) <= NEAR for row in rows])) if rows else None


def spearman(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Rank correlation of two lists, ties at their mean rank; None where one of them does not vary."""
    one, other = _ranks(np.asarray(first, float)), _ranks(np.asarray(second, float))
    if np.ptp(one) == 0.0 or np.ptp(other) == 0.0:
        return None
    return float(np.corrcoef(one, other)[0, 1])


def _ranks(values: np.ndarray[Any, np.dtype[np.float64]]) -> np.ndarray[Any, np.dtype[np.float64]]:
    _, where, times = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(times)
    return np.asarray((last - (times - 1) / 2.0)[where], float)
