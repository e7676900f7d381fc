"""Ladders: one kernel with ever more rows, sequences or bytes, whose time does not fall.

A curve is fitted to rows of many layers at few points each; between them it may fall where no kernel does. Its fit therefore looks along
ladders of the layers that its rows hold (`LADDERS` of a family) and is pulled towards times that only rise. Most likely to be wrong: a
kernel that is faster with more rows because somebody tuned it for them; nothing keeps an engine from padding.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from simcost.calibration.family import At, Family
from simcost.calibration.form import Terms
from simcost.calibration.rows import Rows
from simcost.frozen import frozen
from simcost.num import Array

LAYERS = 48  # of a table: more find no other falls
RUNGS = 32
_SEED = 5
_DRAWN = "copies"  # experts: what a token count makes of the other columns depends on the routing


@frozen
class Ladder:
    """Kernels [layers x rungs] in the order of their ladders, as a curve is asked for them."""

    terms: Terms
    at: At
    rungs: int


def ladders(family: Family, rows: Rows) -> Iterator[tuple[Rows, int]]:
    """(kernels of all ladders along a column, rungs of each) for every ladder column of the family; none for families whose
    copies are drawn. The rows' seconds are placeholders."""
    if _DRAWN in rows.numbers:
        return
    for running in getattr(family, "LADDERS", ()):
        along = _thinned(np.unique(rows.numbers[running]))
        names = [name for name in family.NUMBERS if name != running]
        layers = np.unique(np.stack([rows.numbers[name] for name in names], axis=1), axis=0)
        if len(layers) > LAYERS:
            layers = layers[np.random.default_rng(_SEED).choice(len(layers), LAYERS, replace=False)]
        if len(along) > 1:
            numbers = {name: np.repeat(layers[:, i], len(along)) for i, name in enumerate(names)}
            numbers[running] = np.tile(along, len(layers))
            yield Rows({name: numbers[name] for name in family.NUMBERS}, np.ones(len(layers) * len(along))), len(along)


def _thinned(values: Array) -> Array:
    """At most RUNGS of them, as even as can be in their logs, the ends among them."""
    if len(values) <= RUNGS:
        return values
    logs = np.log(np.maximum(values, 1.0))
    wanted = np.linspace(logs[0], logs[-1], RUNGS)
    return np.asarray(values[np.unique(np.abs(logs[:, None] - wanted).argmin(axis=0))])


def risen(values: Array) -> Array:
    """[ladders, rungs] -> the nearest values (least squares) that do not fall along a ladder: max over starts of the min over ends of
    means (Barlow, Bartholomew, Bremner, Brunk 1972)."""
    n = values.shape[1]
    sums = np.concatenate([np.zeros((len(values), 1)), np.cumsum(values, axis=1)], axis=1)
    start, end = np.arange(n)[:, None], np.arange(n)[None, :]
    means = (sums[:, None, 1:] - sums[:, :-1, None]) / np.maximum(end - start + 1, 1)
    means = np.where(end >= start, means, np.inf)
    least = np.minimum.accumulate(means[:, :, ::-1], axis=2)[
        :, :, ::-1
    ]  # [ladders, start, point]: over ends from the point on
    return np.asarray(np.where(end >= start, least, -np.inf).max(axis=1))
