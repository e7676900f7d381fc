"""Coefficients of a stack from measured steps: factors on the seconds of a class of work.

They minimise the squares of log(predicted / measured), of which what is beyond `EFFICIENT` standard deviations of these
rows counts linearly, so that a row that no factor explains does not bend the others; a weak pull to 1 keeps a factor
that the rows do not see. The standard deviation is that of most rows, by their median error, so that a precise source is
bent by no row that is 10 % off; in a rough one no more than 10 % counts in full. Gauss-Newton from 1, halving a step that does not help: no random start. Most likely to be
wrong: two classes that go up and down together in all rows, which share their correction. Source: Huber 1964, Robust
estimation of a location parameter (doi 10.1214/aoms/1177703732).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias, TypeVar

import numpy as np

from simcost.num import Array

EFFICIENT = 1.345  # standard deviations from which a row counts linearly: 95 % of least squares' precision where errors are normal
NORMAL = 0.6745  # median |error| of a normal distribution, in standard deviations
GREATEST_SPREAD = (
    0.10  # |log error| beyond which a row is of another software (`rows.DRIFT`) or lacks a mechanism, in any source
)
FINEST = 0.01  # |log error| that three printed digits and a run's own noise leave open
SCALES = 8  # rounds of fitting with the standard deviation of the round before
PULL = 0.1  # errors of a row over those of a factor: 5 % and a half
LEAST, GREATEST = 0.05, 20.0  # of a factor
ROUNDS, HALVINGS, STILL = 40, 12, 1e-7
NUDGE = 1e-4

R = TypeVar("R")
# Factors [k] -> (seconds of each row [n], seconds of each row and class with these factors [n, k]).
Steps: TypeAlias = Callable[[Array], tuple[Array, Array]]


def additive(rows: Sequence[R], terms: Callable[[R], Mapping[str, float]], names: Sequence[str]) -> Steps:
    """Steps that are sums of their terms [s], by class; terms of other names keep a factor of 1."""
    found = [terms(row) for row in rows]
    classes = np.array([[each.get(name, 0.0) for name in names] for each in found])
    rest = np.array([sum(each.values()) for each in found]) - classes.sum(axis=1)
    return lambda factors: (rest + classes @ factors, classes * factors)


def numeric(rows: Sequence[R], predict: Callable[[R, Mapping[str, float]], float], names: Sequence[str]) -> Steps:
    """Steps of a pipeline, where a class may leave the critical path: what a class takes is its slope."""

    def steps(factors: Array) -> tuple[Array, Array]:
        def at(these: Array) -> Array:
            named = dict(zip(names, map(float, these), strict=True))
            return np.array([predict(row, named) for row in rows])

        base = at(factors)
        moved = [at(np.where(np.arange(len(names)) == k, factors * (1.0 + NUDGE), factors)) for k in range(len(names))]
        return base, np.stack([(each - base) / NUDGE for each in moved], axis=1)

    return steps


def fitted(measured: Sequence[float], steps: Steps, count: int, start: Array | None = None) -> Array:
    """Factors [count] for measured steps [s], each at least `LEAST`."""
    truth = np.asarray(measured, dtype=float)
    factors = np.ones(count) if start is None else np.array(start, dtype=float)
    linear: float = np.inf
    for _ in range(SCALES):
        factors, errors = _solved(truth, steps, factors, linear)
        before, linear = linear, linear_from(errors, count)
        if abs(linear - before) < STILL:
            break
    return factors


def linear_from(errors: Array, count: int) -> float:
    """|log error| from which a row counts linearly, of rows with these errors after a fit of so many factors."""
    freedom = math.sqrt(errors.size / max(errors.size - count, 1))
    most = EFFICIENT / NORMAL * freedom * float(np.median(np.abs(errors)))
    return min(max(most, FINEST), GREATEST_SPREAD)


def _solved(truth: Array, steps: Steps, factors: Array, linear: float) -> tuple[Array, Array]:
    """(factors, log errors with them)."""
    seconds, classes = steps(factors)
    loss = _loss(truth, seconds, factors, linear)
    for _ in range(ROUNDS):
        error = np.log(seconds / truth)
        weight = np.minimum(1.0, linear / np.maximum(np.abs(error), 1e-12))
        slopes = classes / factors / seconds[:, None]
        normal = (slopes * weight[:, None]).T @ slopes + np.eye(factors.size) * PULL**2
        move = np.linalg.solve(normal, -(slopes * weight[:, None]).T @ error - PULL**2 * (factors - 1.0))
        for halved in range(HALVINGS):
            tried = np.clip(factors + move / 2.0**halved, LEAST, GREATEST)
            seconds_there, classes_there = steps(tried)
            there = _loss(truth, seconds_there, tried, linear)
            if there < loss:
                break
        else:
            break
        still = bool(np.max(np.abs(tried - factors)) < STILL)
        factors, seconds, classes, loss = tried, seconds_there, classes_there, there
        if still:
            break
    return factors, np.log(seconds / truth)


def _loss(truth: Array, seconds: Array, factors: Array, linear: float) -> float:
    size = np.abs(np.log(seconds / truth))
    beyond = np.maximum(size - linear, 0.0) if np.isfinite(linear) else 0.0 * size
    return float(np.sum(size**2 - beyond**2)) + PULL**2 * float(np.sum((factors - 1.0) ** 2))


def widest(terms: Sequence[Mapping[str, float]], names: Sequence[str], most: int) -> tuple[str, ...]:
    """The classes that take the greatest shares of the steps, at most so many, in the order of `names`; none that
    takes no time. A class that some rows have and others lack comes second, since no other can tell these rows apart, if
    it takes at least `PULL` of the rows that have it: a factor off by a half moves them by as much as rows are off. It
    asks no measured time, so that the choice fits nothing."""
    each = {name: [row.get(name, 0.0) / sum(row.values()) for row in terms if row] for name in names}
    ranked = sorted((name for name in names if sum(each[name]) > 0.0), key=lambda name: -sum(each[name]))
    apart = [name for name in ranked[1:] if _parts_rows(each[name])]
    ranked = [*ranked[:1], *apart, *(name for name in ranked[1:] if name not in apart)]
    return tuple(name for name in names if name in ranked[:most])


def _parts_rows(shares: Sequence[float]) -> bool:
    having = [share for share in shares if share > 0.0]
    return 2 <= len(shares) - len(having) <= len(shares) - 2 and float(np.mean(having)) >= PULL
