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
