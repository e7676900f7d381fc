"""A table with what a verdict needs: the light of every row, its class, and shapes that other tables share.

Rows are compared only with rows of the same shape, or with the next rungs of their own ladder (the same kernel with more
tokens, sequences or bytes). Most likely to be wrong: the footprint of a fused kernel, of which the L2 may hold parts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from simcost.calibration.distinct import hashed
from simcost.calibration.family import Labels, families, kind
from simcost.calibration.rows import Rows
from simcost.calibration.speed_of_light import on_wire
from simcost.calibration.store import row_terms
from simcost.calibration.tables import LARGE, UNSCALED
from simcost.frozen import frozen
from simcost.hardware.profile import Device
from simcost.num import Array, Bools, Index, Keys

TINY = UNSCALED
LEAST = 15  # equal shapes: a median of fewer says nothing
CLASSES = ("compute", "memory")
_DRAWN = (
    "touched",
    "load",
    "copies",
)  # of experts: they follow the tokens, top-k and the draw, which stay the same along a ladder


@frozen
class Evidence:
    """One table of one kind on one device. compute_s, memory_s, light_s [rows]: seconds at the datasheet's rates; bytes [rows];
    key [rows]: one number a shape. `dropped`: rows that a filter took out, by reason. `routed`: whether `variant` says how tokens were routed
    (rows on disk do not)."""

    device: Device
    family: str
    labels: Labels
    engine: str
    version: str
    rows: Rows
    variant: Array
    compute_s: Array
    memory_s: Array
    bytes: Array
    key: Keys
    dropped: Mapping[str, int]
    routed: bool = True

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def kind(self) -> str:
        """Its labels as one word."""
        return kind(self.labels)

    @property
    def name(self) -> str:
        """Engine and version, "vllm 0.24.0"."""
        return f"{self.engine} {self.version}"

    @property
    def light_s(self) -> Array:
        """The longer of compute and memory time at the datasheet's rates. [rows]"""
        return np.maximum(self.compute_s, self.memory_s)

    @property
    def ratio(self) -> Array:
        """Measured time over light. [rows]"""
        return np.asarray(self.rows.seconds / self.light_s)

    @property
    def beyond_l2(self) -> Bools:
        """Which rows move more than twice the bytes of the L2; all, where the profile states no L2. [rows]"""
        cache = 0.0 if self.device.l2 is None else float(np.max(np.asarray(self.device.l2)))
        return np.asarray(self.bytes > 2.0 * cache)

    def of(self, name: str) -> Bools:
        """Which rows are of a class, "compute" or "memory": bound by it half again as much as by the other, and for memory beyond
        the L2. [rows]"""
        if name == "compute":
            return np.asarray(self.compute_s > 1.5 * self.memory_s)
        return np.asarray((self.memory_s > 1.5 * self.compute_s) & self.beyond_l2)

    @property
    def large(self) -> Bools:
        """Which rows have a light of 20 us or more. [rows]"""
        return np.asarray(self.light_s >= LARGE)

    @property
    def tiny(self) -> Bools:
        """Which rows have a light below 5 us. [rows]"""
        return np.asarray(self.light_s < TINY)

    def take(self, keep: Index | Bools, why: str = "") -> Evidence:
        """Some rows, by index or mask; with `why` the others are counted in `dropped` under it."""
        index: Index = np.flatnonzero(keep) if np.asarray(keep).dtype == bool else np.asarray(keep, np.intp)
        lost = len(self) - len(index)
        dropped = {**self.dropped, why: self.dropped.get(why, 0) + lost} if why and lost else self.dropped
        each = {name: getattr(self, name)[index] for name in ("variant", "compute_s", "memory_s", "bytes", "key")}
        return replace(self, rows=self.rows.take(index), dropped=dropped, **each)

    def fixed(self, running: str) -> Keys:
        """[rows]: one number for all that stays the same along a ladder."""
        numbers = self.rows.numbers
        columns = [v for name, v in numbers.items() if name not in (running, *_DRAWN)]
        if "copies" in numbers:
            columns.append(np.round(numbers["copies"] / numbers["tokens"], 6))
        return hashed([*columns, self.variant])


def more(table: Evidence, low: Index, high: Index) -> Bools:
    """Whether the second of two rows of a ladder has more to do than the first. Where nobody says how tokens were routed, one whose busiest
    expert has less, or that touches fewer, may well be faster."""
    numbers = table.rows.numbers
    if table.routed or "load" not in numbers:
        return np.ones(len(low), bool)
    busiest, touched = numbers["load"] * numbers["copies"], numbers["touched"]
    return np.asarray((busiest[high] >= busiest[low]) & (touched[high] >= touched[low]))


def ladders(family: str) -> tuple[str, ...]:
    """Columns along which a kernel's work grows and its time does not fall."""
    return tuple(getattr(families()[family], "LADDERS", ()))


def evidence(
    device: Device, family: str, labels: Labels, rows: Rows, engine: str, version: str, variant: Array | None = None
) -> Evidence:
    """A table as it stands, nothing dropped. Rows whose work is no kernel's must be out already."""
    terms, _ = row_terms(families()[family], rows, labels, device)
    drawn = np.zeros(len(rows)) if variant is None else variant
    key = hashed([*rows.numbers.values(), drawn])
    compute, memory = np.asarray(terms.compute_s), np.asarray(terms.memory_s) + np.asarray(terms.serial_s)
    if on_wire(family):
        memory = np.asarray(terms.memory_s)  # hops are no light
    return Evidence(
        device, family, labels, engine, version, rows, drawn, compute, memory, np.asarray(terms.bytes), key, {},
        routed=variant is not None,
    )  # fmt: skip


def shared(one: Evidence, other: Evidence) -> tuple[Index, Index]:
    """(rows of one, rows of the other) that are of the same shape, in the same order."""
    _, mine, theirs = np.intersect1d(one.key, other.key, return_indices=True)
    return mine, theirs


def median_ratio(one: Evidence, other: Evidence, mask: Bools) -> float | None:
    """Median of one's time over the other's at equal shapes, among one's rows of `mask`; None with fewer than LEAST."""
    mine, theirs = shared(one, other)
    good = mask[mine]
    if int(good.sum()) < LEAST:
        return None
    return float(np.median(one.rows.seconds[mine[good]] / other.rows.seconds[theirs[good]]))
