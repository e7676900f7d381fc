"""Three coefficients of an engine for its front end, fitted with the judged family left out.

A request passes the front end (HTTP, chat template, tokens) in turn with the others: seconds per request, and seconds a token of its prompt. With C users who start together and W requests
each, the wait is (C - 1) / 2 requests in one of W. Besides, each waits a delay that others do not lengthen. TPOT stays as predicted. Most likely to be wrong: a client of another kind than those fitted. Source: least mean of |log(predicted /
measured)| of the time to the first token.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from simcost.frozen import frozen
from simcost.num import Array, Bools
from simcost.scenarios.serve.simulated import WAVES
from simcost.validation.serving.point import Predict, Prediction
from simcost.validation.serving.predict import FrontEnd
from simcost.validation.serving.rows import Row

# What stands where nothing is fitted: the order of an HTTP request with two hops between processes, and of a fast tokeniser.
PRIORS, NONE = FrontEnd(3e-3, 1e-6, 0.0), FrontEnd(0.0, 0.0, 0.0)
_REQUEST = np.concatenate([[0.0], np.geomspace(1e-4, 0.5, 40)])  # [s]
_TOKEN = np.concatenate([[0.0], np.geomspace(1e-7, 1e-4, 40)])  # [s]
_DELAY = np.concatenate([[0.0], np.geomspace(1e-3, 0.5, 25)])  # [s]


@frozen
class Coefficients:
    """Of an engine, from `rows` rows: seconds per request and a token of its prompt, in turn, and seconds that each request waits besides; `error`: median of |predicted / measured - 1| on those rows."""

    request_s: float
    token_s: float
    delay_s: float
    rows: int
    error: float

    def added(self, isl: Array, turns: Array) -> Array:
        """What a request's first token is later. [s]"""
        return self.delay_s + (self.request_s + self.token_s * isl) * turns


def coefficients(predicted: Array, measured: Array, isl: Array, turns: Array) -> Coefficients:
    """Those with the least mean of |log(predicted / measured)|, of a grid. predicted: without a front end [s]; turns: requests that one waits for on average, itself included."""
    best, found = np.inf, (0.0, 0.0, 0.0)
    target = np.log(measured)
    waited = predicted + _DELAY[:, None, None]  # [delays, requests, rows]
    for token in _TOKEN:
        errors = np.abs(np.log(waited + (_REQUEST[:, None] + token * isl) * turns) - target).mean(axis=-1)
        at, each = np.unravel_index(np.argmin(errors), errors.shape)
        if errors[at, each] < best:
            best, found = float(errors[at, each]), (float(_REQUEST[each]), float(token), float(_DELAY[at]))
    made = Coefficients(*found, len(predicted), 0.0)
    error = float(np.median(np.abs((predicted + made.added(isl, turns)) / measured - 1.0)))
    return replace(made, error=error)


@frozen
class _Numbers:
    """Columns of rows, and which of them coefficients are fitted to."""

    ttft: Array
    measured: Array
    isl: Array
    turns: Array
    use: Bools

    def fitted(self, which: Bools) -> Coefficients:
        at = which & self.use
        return coefficients(self.ttft[at], self.measured[at], self.isl[at], self.turns[at])


def _numbers(rows: Sequence[Row], base: Sequence[Prediction]) -> _Numbers:
    points = [row.point for row in rows if row.point is not None]
    ttft, measured = np.asarray([one.ttft_s for one in base]), np.asarray([row.ttft_s for row in rows])
    users = np.maximum(np.nan_to_num([p.concurrency for p in points], nan=1.0), 1.0)
    waves = np.asarray([p.requests / u if p.requests else float(WAVES) for p, u in zip(points, users, strict=True)])
    use = np.asarray([row.judged and not row.ttft_apart for row in rows]) & np.isfinite(ttft) & (measured > 0.0)
    turns = 1.0 + (users - 1.0) / (2.0 * np.maximum(waves, 1.0))
    return _Numbers(ttft, measured, np.asarray([p.isl for p in points]), turns, use)


def held_out(predict: Predict) -> Callable[[Sequence[Row]], list[Prediction]]:
    """A predictor of rows whose front end has the coefficients of the same engine's other families. `predict`: without one."""

    def answer(rows: Sequence[Row]) -> list[Prediction]:
        base = predict([row.point for row in rows if row.point is not None])
        n = _numbers(rows, base)
        engines, families = np.asarray([row.engine for row in rows]), np.asarray([row.family for row in rows])
        found = n.ttft.copy()
        for engine, family in sorted({(row.engine, row.family) for row in rows}):
            others, mine = (engines == engine) & (families != family), (engines == engine) & (families == family)
            if (others & n.use).any():
                found[mine] += n.fitted(others).added(n.isl[mine], n.turns[mine])
        return [_later(one, float(value)) for one, value in zip(base, found, strict=True)]

    return answer


def _later(one: Prediction, ttft_s: float) -> Prediction:
    """With another time to the first token, whose interval is as wide in parts of it."""
    low, high = (end * (ttft_s / one.ttft_s) for end in (one.ttft_low_s, one.ttft_high_s))
    return replace(one, ttft_s=ttft_s, ttft_low_s=low, ttft_high_s=high)


def of_engines(rows: Sequence[Row], predict: Predict) -> dict[str, Coefficients]:
    """The coefficients of every engine, from all its rows: what the engines' profiles hold."""
    n = _numbers(rows, predict([row.point for row in rows if row.point is not None]))
    engines = np.asarray([row.engine for row in rows])
    return {name: n.fitted(engines == name) for name in sorted(set(engines.tolist()))}
