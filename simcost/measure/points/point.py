"""Points to measure: a kind of kernel and its numbers; how several kinds interleave so that any prefix is a design."""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from simcost.calibration.family import Labels, families, kind
from simcost.calibration.rows import line
from simcost.ops.work import Op


@dataclass(frozen=True)
class Kind:
    """One kind of kernel: a family and its labels; its rows share a file and a curve."""

    family: str
    labels: tuple[tuple[str, str], ...]

    @property
    def table(self) -> Labels:
        """The labels as a mapping."""
        return dict(self.labels)

    @cached_property
    def name(self) -> str:
        """The labels as one word: stem of the row file and key of the curve."""
        return kind(self.table)

    def __str__(self) -> str:
        return f"{self.family}/{self.name}"


def kind_of(family: str, **labels: str) -> Kind:
    """A kind with its labels in the family's order. Raises KeyError for a label that is missing."""
    return Kind(family, tuple((name, labels[name]) for name in families()[family].LABELS))


@dataclass(frozen=True)
class Point:
    """`numbers` in the order of the family's columns, as the row will say them; `origin`: "space" or a model's name."""

    kind: Kind
    numbers: tuple[float, ...]
    origin: str = "space"

    @cached_property
    def key(self) -> str:
        """What the row starts with: two points with one key are one point."""
        return line(self.numbers).rstrip("\n")

    @cached_property
    def op(self) -> Op:
        """The op of these numbers and labels."""
        family = families()[self.kind.family]
        return family.op(dict(zip(family.NUMBERS, self.numbers, strict=True)), self.kind.table)

    def __str__(self) -> str:
        names = families()[self.kind.family].NUMBERS
        return f"{self.kind} " + " ".join(f"{n}={v:g}" for n, v in zip(names, self.numbers, strict=True))


def unique(points: Iterable[Point]) -> list[Point]:
    """The first of every (kind, numbers)."""
    found: dict[tuple[Kind, str], Point] = {}
    for point in points:
        found.setdefault((point.kind, point.key), point)
    return list(found.values())


def alternated(spaces: Sequence[Point], anchors: Sequence[Point]) -> list[Point]:
    """Off-grid points and anchors of one kind in turn: half of any prefix each, as long as both last."""
    both = [point for pair in zip(spaces, anchors, strict=False) for point in pair]
    short = min(len(spaces), len(anchors))
    return [*both, *spaces[short:], *anchors[short:]]


def interleaved(queues: Sequence[Sequence[Point]], rng: random.Random) -> list[Point]:
    """All queues spread evenly over the whole run, so that a stop at any time leaves each with the same share done."""
    placed = [((i + rng.random()) / len(queue), point) for queue in queues for i, point in enumerate(queue)]
    return [point for _, point in sorted(placed, key=lambda one: one[0])]


def in_turn(
    queues: Mapping[Kind, Sequence[Point]], stages: Iterable[Collection[Kind]], rng: random.Random
) -> list[Point]:
    """The kinds of one stage, interleaved, before those of the next: a stop leaves whole kinds, not a little of each."""
    stopped = [[queues[kind] for kind in stage if kind in queues] for stage in stages]
    return [point for stage in stopped for point in interleaved(stage, rng)]
