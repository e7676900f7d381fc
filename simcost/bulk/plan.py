"""What all blocks of a sweep share, worked out once before the first: structures, columns, the front's metrics, which structures have no answer.

Most likely to be wrong: a metric that some points of a structure have and its first has not. Source: `simcost.scenarios.sweep`, whose rows these are.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from simcost.bulk import question
from simcost.errors import SimcostError, SpecError
from simcost.num import Array
from simcost.query import Point, Query, part, reason, structure, structures
from simcost.query import sweep as points_of
from simcost.scenarios import design_map, sweep

MOST = 1_000_000_000  # points, and chunks of prompts of all points: a quarter of an hour of 32 cores, 0.6 TB of CSV
_IN_BLOCK = 32_768  # points that are priced at once
_CHUNKS = 2_000_000  # chunks of prompts that are priced at once
RUNS, SHORT, CANNOT = "runs", "short", "cannot"  # of the first row: where the column of reasons stands follows from it
Rectangle = tuple[int, int, int]  # a structure, and its points from the first to before the last


class Plan:
    """A sweep in blocks. `failed`: structure -> why it has no answer; `names`: columns of metrics; `wanted`: metrics of the front with their
    better side; `first`: what the first row is; `probes`: structure -> digest of what its first point costs here."""

    def __init__(
        self, text: str, vector: list[str], failed: dict[int, str], names: list[str], wanted: list[tuple[str, str]], first: str, probes: dict[int, str]
    ) -> None:  # fmt: skip
        self.text, self.vector, self.failed, self.names = text, vector, failed, names
        self.wanted, self.first, self.probes = wanted, first, probes

    @cached_property
    def query(self) -> Query:
        """The question."""
        return question.read(self.text)

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """Points of the array axes. [axes]"""
        return tuple(len(self.query.axes[path]) for path in self.vector)

    @cached_property
    def fixed(self) -> list[dict[str, Any]]:
        """The values of the structural axes of each structure."""
        return structures(self.query, self.vector)

    @property
    def inner(self) -> int:
        """Points of a structure."""
        return math.prod(self.shape)

    @property
    def size(self) -> int:
        """Points of all."""
        return self.inner * len(self.fixed)

    @cached_property
    def labels(self) -> dict[str, Sequence[Any]]:
        """What a row says of each axis, by the number of the row."""
        return sweep.labels_of(self.query, self.vector, self.fixed)

    def packed(self) -> str:
        """The plan as JSON."""
        parts = [self.text, self.vector, self.failed, self.names, self.wanted, self.first, self.probes]
        return json.dumps(parts)

    def digest(self) -> str:
        """A digest of the question alone; equal where the same rows are asked for."""
        known = json.dumps([self.text, self.wanted, self.names, self.first])
        return hashlib.blake2b(known.encode(), digest_size=16).hexdigest()


@lru_cache(maxsize=4)
def read(text: str) -> Plan:
    """The plan of a text of `Plan.packed`."""
    said, vector, failed, names, wanted, first, probes = json.loads(text)
    by_number = {int(i): said for i, said in failed.items()}
    return Plan(
        said,
        vector,
        by_number,
        names,
        [(name, side) for name, side in wanted],
        first,
        {int(i): each for i, each in probes.items()},
    )


def made(query: Query, pareto: Sequence[str] | None, late: Mapping[int, str]) -> tuple[Plan, list[Point]]:
    """The plan of a question, with its structures; `late`: structures known to have no answer, with the reason. Raises SpecError as
    `design_map.result`."""
    if not query.axes:
        raise SpecError(design_map.NO_AXES)
    text = question.packed(query)
    vector, points = points_of(query, MOST)
    failed = {i: point.reason for i, point in enumerate(points) if point.workload is None} | dict(late)
    names, probes, first, uncounted = dict[str, None](), dict[int, str](), CANNOT, bool(failed)
    for i, point in enumerate(points):
        if i in failed:
            continue
        try:
            values = probe(query, vector, point)
        except SimcostError as error:
            failed[i], uncounted = str(error), True
            continue
        names |= dict.fromkeys(name for name in values if name not in ("feasible", "reason"))
        probes[i] = digest_of(values)
        uncounted |= not np.isfinite(np.ravel(values["params_total"])[0])
        if i == 0 and np.ravel(values["feasible"])[0]:
            first = RUNS if np.ravel(values["fits"])[0] else SHORT
    if not probes:
        at = {path: values[0] for path, values in query.axes.items()}
        raise SpecError(f"no point of the sweep can be run: {reason(query, at, True) or failed[0]}")
    size = "params_language" if uncounted else "params_total"
    wanted = design_map.wanted_of(pareto or design_map.default(query.decode, size), list(names), query.decode)
    order = [name for name in names if name != "fits"]
    return Plan(text, vector, failed, order, wanted, first, probes), points


def probe(query: Query, vector: list[str], point: Point) -> dict[str, Any]:
    """What the first point of a structure costs. Raises SimcostError."""
    cut = tuple(slice(0, 1) for _ in vector)
    return sweep.block(query, part(query, point, vector, cut), (1,) * len(vector), design_map.counts)


def first_failure(whole: Plan, i: int) -> str:
    """Why structure `i` has no answer: of the first of its points for which that shows, whatever the blocks were; "" where none does."""
    point = structure(whole.query, whole.vector, whole.fixed[i])
    for cut, _ in cuts(whole.shape, 0, whole.inner, _IN_BLOCK):
        shape = tuple(len(range(*each.indices(n))) for each, n in zip(cut, whole.shape, strict=True))
        try:
            sweep.block(whole.query, part(whole.query, point, whole.vector, cut), shape, design_map.counts)
        except SimcostError as error:
            return str(error)
    return ""


def digest_of(values: Mapping[str, Any]) -> str:
    """A digest of numbers to their last bit."""
    found = hashlib.blake2b(digest_size=8)
    for name, value in values.items():
        if name != "reason":
            found.update(name.encode() + np.ascontiguousarray(np.asarray(value, np.float64)).tobytes())
    return found.hexdigest()


@lru_cache(maxsize=64)
def _structure(text: str, i: int) -> Point:
    plan = read(text)
    return structure(plan.query, plan.vector, plan.fixed[i])


def point_of(text: str, i: int) -> Point:
    """Structure `i` of a plan's text. Raises SimcostError where it has no workload."""
    return _structure(text, i)


def most_of(chunks: int) -> int:
    """Points that may be priced at once where the prompt of a point passes in so many chunks."""
    return max(min(_IN_BLOCK, _CHUNKS // max(chunks, 1)), 1)


def cuts(shape: tuple[int, ...], start: int, stop: int, most: int) -> Iterator[tuple[tuple[slice, ...], int]]:
    """The points from `start` to before `stop` of a product of axes as blocks of at most `most`, in their order: the slices of a block, and its points."""
    while start < stop:
        index = np.unravel_index(start, shape) if shape else ()
        inner, axis = 1, len(shape) - 1
        # The outermost axis along which whole values of all axes inside still make a block.
        while axis > 0 and index[axis] == 0 and inner * shape[axis] <= min(most, stop - start):
            inner *= shape[axis]
            axis -= 1
        if not shape:
            yield (), 1
            return
        count = min(max(min(most, stop - start) // inner, 1), shape[axis] - int(index[axis]))
        before = tuple(slice(int(at), int(at) + 1) for at in index[:axis])
        here = slice(int(index[axis]), int(index[axis]) + count)
        yield (*before, here, *(slice(0, n) for n in shape[axis + 1 :])), count * inner
        start += count * inner


def oriented(plan: Plan, values: Mapping[str, Any], shape: tuple[int, ...]) -> list[Array]:
    """The two metrics of the front of a block's points, so that less is better. [points]"""
    found = []
    for name, side in plan.wanted:
        value = np.asarray(values.get(name, np.nan), np.float64)
        found.append(design_map.SIGNS[side] * np.broadcast_to(value, shape).ravel())
    return found
