"""Parts put together as the output: rows in their order, each with whether it stands on the front of all.

Most likely to be wrong: metrics of which millions of points are equal, all of them on the front: their part is edited line by line. Source: `simcost.scenarios.design_map`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from simcost import files
from simcost.bulk import block, cells, plan
from simcost.bulk.parts import Part
from simcost.bulk.plan import Plan
from simcost.num import Array
from simcost.query import Point
from simcost.report.text import csv_cell
from simcost.result import Row
from simcost.scenarios import design_map, sweep


class Totals:
    """What is known of all parts that are done: counts, the front, the first rows that cannot run."""

    def __init__(self) -> None:
        self.points = self.feasible = self.fit = 0
        self.reasons = False
        self.pairs: Array = np.zeros((0, 2))
        self.first: dict[int, str] = {}
        self.longest: dict[int, float] = {}

    def add(self, part: Part) -> None:
        """One more part, in any order."""
        self.points += part.stop - part.start
        self.feasible += part.feasible
        self.fit += part.fit
        self.reasons |= part.reasons
        x, y = np.concatenate([self.pairs, part.pairs]).T
        keep = design_map.front(x, y, np.ones(len(x), bool))
        self.pairs = np.unique(np.stack([x[keep], y[keep]], axis=1), axis=0)
        self.first = dict(sorted((self.first | part.first).items())[: sweep.NAMED])
        for i, reached in part.longest.items():
            self.longest[i] = max(self.longest.get(i, 0.0), reached)


def named_reasons(whole: Plan, totals: Totals) -> dict[int, str]:
    """The reasons of the first rows that cannot run, with their numbers."""
    found = dict(totals.first)
    packed = whole.packed()

    def structure(i: int) -> Point:
        return Point(whole.fixed[i], None) if i in whole.failed else plan.point_of(packed, i)

    sweep.name_numbers(whole.query, whole.vector, whole.labels, list(found), found, structure)
    return found


def written(whole: Plan, totals: Totals, every: Iterable[Part], out: Path, style: str, named: Row) -> int:
    """Writes the output; `named`: what identifies all rows. Returns how many rows stand on the front. Raises SpecError."""
    reasons, front = named_reasons(whole, totals), {(x, y) for x, y in totals.pairs.tolist()}
    on_front = 0
    with files.stream(out, f"-o {out}") as file:
        writer = _writer(whole, totals, file, style, named)
        for part in every:
            mine = [i - part.start for i, x, y in zip(*part.front, strict=True) if (x, y) in front]
            said = {i - part.start: reasons[i] for i in part.first if i in reasons}
            writer.add(part, mine, said)
            on_front += len(mine)
        writer.close()
    return on_front


def _writer(whole: Plan, totals: Totals, file: BinaryIO, style: str, named: Row) -> Any:
    return _Parquet(file, named) if style == block.PARQUET else _Csv(whole, totals, file, named)


class _Parquet:
    def __init__(self, file: BinaryIO, named: Row) -> None:
        from simcost.bulk import arrow

        self._writer = arrow.Writer(file, named)

    def add(self, part: Part, on_front: list[int], reasons: Mapping[int, str]) -> None:
        self._writer.add(part.rows, on_front, reasons)

    def close(self) -> None:
        self._writer.close()


class _Csv:
    """Text is copied; lines that change are read and written again."""

    def __init__(self, whole: Plan, totals: Totals, file: BinaryIO, named: Row) -> None:
        self._names = block.columns(whole, totals.reasons)
        # Of a table without a row that can run no reader sees columns of metrics.
        self._cut = 0 if totals.feasible else len(self._names) - self._names.index("reason") - 1
        self._names = self._names[: len(self._names) - self._cut]
        self._file = file
        self._added = whole.first == plan.RUNS and totals.reasons
        self._prefix = b"".join(
            cells.text_of(value).encode("utf-8", "backslashreplace") + b"," for value in named.values()
        )
        file.write(cells.line_of([str(csv_cell(name)) for name in (*named, *self._names)]) + b"\n")

    def add(self, part: Part, on_front: list[int], reasons: Mapping[int, str]) -> None:
        lines = block.text_of(part.rows).split(b"\n")[:-1]
        if self._added and not part.reasons:
            lines = [line + b"," for line in lines]
        if self._cut:
            lines = [line[: -self._cut] for line in lines]
        for i in on_front:
            lines[i] = self._edited(lines[i], "pareto", "True")
        for i, reason in reasons.items():
            lines[i] = self._edited(lines[i], "reason", str(csv_cell(reason)))
        self._file.write(self._prefix + (b"\n" + self._prefix).join(lines) + b"\n")

    def _edited(self, line: bytes, name: str, cell: str) -> bytes:
        found = cells.cells_of(line)
        found[self._names.index(name)] = cell
        return cells.line_of(found)

    def close(self) -> None:
        pass
