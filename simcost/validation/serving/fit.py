"""Two coefficients of an engine for its time to the first token, fitted with the judged family left out.

TTFT = FIRST + FACTOR × predicted. FIRST [s] stands for what a request costs before its prompt (client, HTTP, chat template, tokens), FACTOR for prompts of a real run. TPOT stays as predicted: fitted
coefficients did not help families that were held out. Most likely to be wrong: a run whose client is another one than those fitted. Source: least mean of |log(predicted / measured)|.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from simcost.frozen import frozen
from simcost.num import Array, Bools
from simcost.validation.serving.point import Predict, Prediction
from simcost.validation.serving.rows import Row

_FIRST = np.concatenate([[0.0], np.geomspace(1e-3, 1.0, 61)])  # [s]
_FACTOR = np.geomspace(0.4, 4.0, 60)


@frozen
class Coefficients:
    """Of an engine, from `rows` rows: first [s], factor."""

    first: float
    factor: float
    rows: int


def coefficients(predicted: Array, measured: Array) -> Coefficients:
    """Those with the least mean of |log(predicted / measured)|, of a grid. [s]"""
    best, found = np.inf, Coefficients(0.0, 1.0, len(predicted))
    target = np.log(measured)[None, :]
    for factor in _FACTOR:
        errors = np.abs(np.log(_FIRST[:, None] + factor * predicted[None, :]) - target).mean(axis=1)
        at = int(np.argmin(errors))
        if errors[at] < best:
            best, found = float(errors[at]), Coefficients(float(_FIRST[at]), float(factor), len(predicted))
    return found


def held_out(predict: Predict) -> Callable[[Sequence[Row]], list[Prediction]]:
    """A predictor of rows whose TTFT has the coefficients of the same engine's other families. Rows of an engine with one family stay as predicted."""

    def answer(rows: Sequence[Row]) -> list[Prediction]:
        base = predict([row.point for row in rows if row.point is not None])
        ttft, measured = (np.asarray([each.ttft_s for each in every]) for every in (base, rows))
        fitted: Bools = np.asarray([row.judged and not row.ttft_apart for row in rows])
        fitted &= np.isfinite(ttft) & (measured > 0.0)
        engines, families = np.asarray([row.engine for row in rows]), np.asarray([row.family for row in rows])
        found = ttft.copy()
        for engine, family in sorted({(row.engine, row.family) for row in rows}):
            others = fitted & (engines == engine) & (families != family)
            mine = (engines == engine) & (families == family)
            if others.any():
                of = coefficients(ttft[others], measured[others])
                found[mine] = of.first + of.factor * ttft[mine]
        return [replace(one, ttft_s=float(value)) for one, value in zip(base, found, strict=True)]

    return answer
