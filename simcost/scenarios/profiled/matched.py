"""Which kernels are which op: by the sizes of a product, by the order of a layer's ops, or because a class has one op alone.

Nothing is forced: where sizes are not in the file and the number of kernels is not that of the ops, a class is compared as a whole. Most likely to be wrong: two products of the same sizes in a layer, which share their kernels
evenly.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from simcost.frozen import frozen
from simcost.scenarios.profiled.events import Floats, Trace, Whole
from simcost.scenarios.profiled.names import AFTER, BEFORE
from simcost.scenarios.profiled.predicted import Op
from simcost.scenarios.profiled.spans import Mask

SIZES, ORDER, ALONE = "sizes", "order", "one op of its class"


@frozen
class Match:
    """An op with its kernels: how they were found, how often they ran and what they took in a step [s], and the name of the one that took most."""

    op: Op
    how: str
    times: float
    seconds: float
    kernel: str


@frozen
class Calls:
    """Kernels of one class that are calls of their own, in the order of their start, with their time and that of what serves them [s]; `steps`: how many they are of."""

    trace: Trace
    at: Whole
    seconds: Floats
    steps: int

    def of(self, chosen: Mask) -> Calls:
        """Some of them."""
        return Calls(self.trace, self.at[chosen], self.seconds[chosen], self.steps)


def calls(trace: Trace, at: Whole, parts: Sequence[str], steps: int) -> Calls:
    """Of kernels `at` of a class in the order of their start; `parts`: BEFORE or AFTER of one that serves another, else ""."""
    main = np.array([not part for part in parts], np.bool_)
    of = at[main]
    seconds = trace.own[of].copy()
    for part, step in ((BEFORE, -1), (AFTER, 0)):
        mine = at[np.array([each == part for each in parts], np.bool_)] if len(of) else at[:0]
        served = np.clip(np.searchsorted(of, mine) + step, 0, max(len(of) - 1, 0))
        np.add.at(seconds, served, trace.own[mine])
    return Calls(trace, of, seconds, steps)


def matches(found: Calls, ops: Sequence[Op]) -> list[Match]:
    """Ops of one class with its kernels; [] where nothing says which is which."""
    if not len(found.at) or not ops:
        return []
    if len(ops) == 1:
        return [_match(found, ops[0], ALONE)]
    return _by_sizes(found, ops) or _by_order(found, ops)


def _by_sizes(found: Calls, ops: Sequence[Op]) -> list[Match]:
    """By (m, n, k). All kernels must have sizes, and each that of an op."""
    shapes = found.trace.shape[found.at]
    if any(op.sizes is None for op in ops) or (shapes < 0).any():
        return []
    of: dict[tuple[int, int, int], list[Op]] = {}
    for op in ops:
        if op.sizes is not None:
            of.setdefault(op.sizes, []).append(op)
    places = {shape: place for place, shape in enumerate(found.trace.shapes)}
    if not {found.trace.shapes[place] for place in np.unique(shapes).tolist()} <= of.keys():
        return []
    return [
        _shared(_match(found.of(shapes == places.get(sizes, -2)), op, SIZES), op, same)
        for sizes, same in of.items()
        for op in same
    ]


def _shared(match: Match, op: Op, same: Sequence[Op]) -> Match:
    """Kernels of ops of the same sizes, by how often each runs."""
    share = op.times / sum(each.times for each in same)
    return Match(op, match.how, match.times * share, match.seconds * share, match.kernel)


def _by_order(found: Calls, ops: Sequence[Op]) -> list[Match]:
    """By the order in which layers run their ops: as many kernels a step as ops on one stream, and one kind of layer alone, or the order of layers is not known."""
    blocks = list(dict.fromkeys(op.part for op in ops))
    several = [block for block in blocks if next(op.layers for op in ops if op.part == block) > 1]
    line: list[int] = []
    for block in blocks:
        mine = [(place, op) for place, op in enumerate(ops) if op.part == block]
        line += [place for place, op in mine for _ in range(round(op.times / op.layers))] * mine[0][1].layers
    one_stream = len(np.unique(found.trace.lane[found.at])) == 1
    if len(several) > 1 or not line or len(found.at) != len(line) * found.steps or not one_stream:
        return []
    which = np.tile(np.array(line), found.steps)
    return [_match(found.of(which == place), op, ORDER) for place, op in enumerate(ops)]


def _match(found: Calls, op: Op, how: str) -> Match:
    kernel = ""
    if len(found.at):
        per_name = np.bincount(found.trace.name[found.at], found.seconds, len(found.trace.names))
        kernel = found.trace.names[int(per_name.argmax())]
    return Match(op, how, len(found.at) / found.steps, float(found.seconds.sum()) / found.steps, kernel)
