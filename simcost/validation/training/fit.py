"""Coefficients of a stack from measured steps: factors on the seconds of a class of work.

They minimise the squares of log(predicted / measured), of which what is beyond `LINEAR` counts linearly, so that a
row that no factor explains does not bend the others; a weak pull to 1 keeps a factor that the rows do not see.
Gauss-Newton from 1, halving a step that does not help: no random start. Most likely to be wrong: two classes that go
up and down together in all rows, which share their correction.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias, TypeVar

import numpy as np

from simcost.num import Array

LINEAR = 0.10  # |log error| from which a row counts linearly
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
    seconds, classes = steps(factors)
    loss = _loss(truth, seconds, factors)
    for _ in range(ROUNDS):
        error = np.log(seconds / truth)
        weight = np.minimum(1.0, LINEAR / np.maximum(np.abs(error), 1e-12))
        slopes = classes / factors / seconds[:, None]
        normal = (slopes * weight[:, None]).T @ slopes + np.eye(count) * PULL**2
        move = np.linalg.solve(normal, -(slopes * weight[:, None]).T @ error - PULL**2 * (factors - 1.0))
        for halved in range(HALVINGS):
            tried = np.clip(factors + move / 2.0**halved, LEAST, GREATEST)
            seconds_there, classes_there = steps(tried)
            there = _loss(truth, seconds_there, tried)
            if there < loss:
                break
        else:
            return factors
        still = bool(np.max(np.abs(tried - factors)) < STILL)
        factors, seconds, classes, loss = tried, seconds_there, classes_there, there
        if still:
            return factors
    return factors


def _loss(truth: Array, seconds: Array, factors: Array) -> float:
    size = np.abs(np.log(seconds / truth))
    each = np.where(size <= LINEAR, size**2, LINEAR * (2.0 * size - LINEAR))
    return float(np.sum(each) + PULL**2 * np.sum((factors - 1.0) ** 2))


def widest(terms: Sequence[Mapping[str, float]], names: Sequence[str], most: int) -> tuple[str, ...]:
    """The classes that take the greatest shares of the steps, at most so many, in the order of `names`; none that
    takes no time. A class that some rows have and others lack comes second: no other can tell these rows apart. It asks
    no measured time, so that the choice fits nothing."""
    shares = {name: sum(each.get(name, 0.0) / sum(each.values()) for each in terms if each) for name in names}
    ranked = sorted((name for name in names if shares[name] > 0.0), key=lambda name: -shares[name])
    lacking = {name: sum(each.get(name, 0.0) == 0.0 for each in terms) for name in names}
    apart = [name for name in ranked[1:] if 2 <= lacking[name] <= len(terms) - 2]
    ranked = [*ranked[:1], *apart, *(name for name in ranked[1:] if name not in apart)]
    return tuple(name for name in names if name in ranked[:most])
