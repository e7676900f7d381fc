"""Measured blocks -> rows of the calibration families and lines of `blocks.csv`.

Which family an op belongs to is for the families to say (`labels`, `covers`): a new one is picked up by itself. Rows are
appended whole, a cut-off last line of an interrupted run is dropped first. Most likely to be wrong: nothing that is timed.
Source: `simcost/calibration/rows.py` for the format.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np

from simcost.calibration.family import Family, Labels, families, kind
from simcost.calibration.rows import line
from simcost.errors import SpecError
from simcost.frozen import frozen
from simcost.measure.points.folder import append, fault, header, replace
from simcost.measure.timing.cpu import Timing
from simcost.measure.torch_layers.times import BlockTime, OpTime
from simcost.ops.work import Op

COLUMNS = (
    "block", "kind", "stage", "direction", "dtype", "batch", "q_len", "past", "seconds", "p20_s", "p80_s", "samples",
    "dirty", "in_situ_s", "isolated_s", "graph_s", "backend",
)  # fmt: skip


@frozen
class FamilyRow:
    """One row: the family, the kind that names its file, its numbers and its time."""

    family: str
    labels: Labels
    numbers: Mapping[str, float]
    time: Timing

    def path(self, out: Path) -> Path:
        """The row file below the folder `out`."""
        return out / self.family / f"{kind(self.labels)}.csv"

    def text(self) -> str:
        """The line of the row file."""
        columns = [self.numbers[name] for name in families()[self.family].NUMBERS]
        return line([*columns, self.time.seconds, *self.time.extra()])


def home_of(op: Op) -> tuple[str, Labels] | None:
    """(family, labels) that a row of this op is filed under; None when no family measures it."""
    for name, family in families().items():
        labels = family.labels(op)
        if labels is not None and bool(np.all(family.covers(op))):
            return name, labels
    return None


def family_rows(block: BlockTime) -> Iterator[FamilyRow]:
    """A row for every section, and for every class that is timed as a whole, that some family knows."""
    for op in (*block.ops, *block.fused):
        home = None if op.variant == "both" else home_of(op.op)
        if home is not None:
            name, labels = home
            yield FamilyRow(name, labels, _numbers(families()[name], op), op.time)


def _numbers(family: Family, op: OpTime) -> dict[str, float]:
    return {name: float(np.asarray(value)) for name, value in family.numbers(op.op).items()}


def block_line(block: BlockTime) -> str:
    """A line of blocks.csv; times that were not taken stay empty."""
    spec, t = block.spec, block.whole
    times = [t.seconds, *t.extra(), block.in_situ_s, block.isolated_s, block.graph_s]
    shape = [float(value) for value in (spec.phase.batch, spec.phase.q_len, spec.phase.past)]
    words = [spec.name, spec.kind, spec.stage, block.direction, spec.dtype]
    cells = ["" if value is None else line([float(value)]).strip() for value in (*shape, *times)]
    return ",".join([*words, *cells, block.backend.replace(",", ";")]) + "\n"


def add(path: Path, header: str, text: str) -> None:
    """Whole lines at the end of a table, which is started with its header. Raises SpecError for a foreign or full file."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        body = path.read_bytes() if path.is_file() else b""
        whole = body.rfind(b"\n") + 1
        if whole < len(body):  # the last line of an interrupted run
            os.truncate(path, whole)
        first = body[: body.find(b"\n") + 1].decode("utf-8", "replace")
        if first and first != header:
            raise SpecError(f"{path}: columns must be {header.strip()}, not {first.strip()!r}")
        append(path, text if first else header + text)
    except OSError as error:
        raise fault(path, error) from None


def write(out: Path, blocks: Iterable[BlockTime]) -> int:
    """Rows of the families first, then the blocks' own lines, which mark them as done. Returns how many rows."""
    every = list(blocks)
    count = 0
    for block in every:
        for row in family_rows(block):
            add(row.path(out), header(row.family), row.text())
            count += 1
    _widened(out / "blocks.csv")
    for block in every:
        add(out / "blocks.csv", ",".join(COLUMNS) + "\n", block_line(block))
    return count


def _widened(path: Path) -> None:
    """A table of before blocks named their backend gets the column, empty."""
    old = ",".join(COLUMNS[:-1])
    if not path.is_file():
        return
    text = path.read_text(encoding="utf-8", errors="replace")
    if text.startswith(old + "\n"):
        whole = text[: text.rfind("\n") + 1].splitlines()[1:]
        replace(path, "".join(row + "\n" for row in (",".join(COLUMNS), *(row + "," for row in whole))))


def read_blocks(out: Path) -> list[dict[str, str]]:
    """Lines of blocks.csv, without a last one that was cut off; [] when there is none. Raises SpecError for other columns."""
    path = out / "blocks.csv"
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"{path}: {getattr(error, 'strerror', None) or error}") from None
    lines = text[: text.rfind("\n") + 1].splitlines()
    if lines and lines[0] not in (",".join(COLUMNS), ",".join(COLUMNS[:-1])):  # older ones name no backend
        raise SpecError(f"{path}: columns must be {','.join(COLUMNS)}, not {lines[0]!r}")
    return list(csv.DictReader(lines))
