"""Measured rows on disk: `<profile>/measurements/<run>/<family>/<kind>.csv`, with `run.toml` saying who measured what, how.

A file has the family's number columns, `seconds`, and whatever a run adds (`p20_s`, `p80_s`, `samples`). One kind of
kernel, one file; rows are appended whole. Most likely to be wrong: nothing here; a row that cannot be read is an error
naming file and line, never skipped.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from simcost.calibration.columns import SECONDS, Column, first_bad, label_fault
from simcost.calibration.family import Family, Labels
from simcost.errors import SpecError
from simcost.frozen import frozen
from simcost.hardware import runs
from simcost.num import Array, Index
from simcost.texts import number, text

EXTRA = ("p20_s", "p80_s", "samples", "dirty")
_EXTRA = Column("what a run adds", "", zero=True, whole=False)


@frozen
class Rows:
    """Rows of one kind. numbers: column -> [rows]; seconds [rows]."""

    numbers: Mapping[str, Array]
    seconds: Array

    def __len__(self) -> int:
        return len(self.seconds)

    def take(self, index: Index) -> Rows:
        """Some rows, by index."""
        return Rows({name: column[index] for name, column in self.numbers.items()}, self.seconds[index])


def read(path: Path, family: Family) -> Rows:
    """The rows of a file. Raises SpecError naming file, line and column."""
    return parsed(text(path), family, str(path))


def parsed(whole: str, family: Family, where: str) -> Rows:
    """The rows of a file's text. Raises SpecError naming `where`, line and column."""
    lines = whole.split("\n")
    if lines[-1] != "":
        raise SpecError(f"{where}:{len(lines)}: the last row is cut off; delete it, or measure again with --resume")
    header = lines[0].split(",")
    needed = [*family.NUMBERS, "seconds"]
    if header[: len(needed)] != needed or any(name not in EXTRA for name in header[len(needed) :]):
        raise SpecError(f"{where}: columns must be {','.join(needed)}[,{','.join(EXTRA)}], not {lines[0]!r}")
    body = lines[1:-1]
    cells = ",".join(body).split(",") if body else []
    if "_" in "".join(cells) or any(line.count(",") != len(header) - 1 for line in body):
        raise _located(body, header, where)
    try:
        table = np.array(cells, dtype=np.float64).reshape(len(body), len(header))
    except ValueError:
        raise _located(body, header, where) from None
    columns = {**family.COLUMNS, "seconds": SECONDS, **dict.fromkeys(header[len(needed) :], _EXTRA)}
    found = {name: table[:, i] for i, name in enumerate(header)}
    wrong = first_bad(columns, found)
    if wrong is not None:
        at, name = wrong
        cell = body[at].split(",")[header.index(name)]
        raise SpecError(f"{where}:{at + 2}: {name} = {cell!r} must be {columns[name].allowed}")
    return Rows({name: found[name] for name in family.NUMBERS}, found["seconds"])


def labels_of(path: Path, family: Family) -> Labels:
    """The labels that a row file is named by. Raises SpecError when they are none of the family's."""
    words = path.stem.split("-")
    if len(words) != len(family.LABELS):
        raise SpecError(f"{path}: a file of {path.parent.name} is named {'-'.join(family.LABELS)}.csv, not {path.name}")
    labels = dict(zip(family.LABELS, words, strict=True))
    why = label_fault(family.WORDS, labels)
    if why:
        raise SpecError(f"{path}: {why}")
    return labels


def kernels(path: Path, family: Family) -> tuple[Labels, Rows]:
    """(labels, rows) of a row file, every row a kernel. Raises SpecError naming file, and line or label."""
    labels, rows = labels_of(path, family), read(path, family)
    at = no_kernel(family, rows.numbers, labels)
    if at is not None:
        raise SpecError(f"{path}:{at + 2}: {shown(rows.numbers, at)} is not a kernel of {path.parent.name}")
    return labels, rows


def no_kernel(family: Family, numbers: Mapping[str, Array], labels: Labels) -> int | None:
    """Index of the first row whose numbers, each in range, make no kernel together, as its features are not finite; None when all
    do."""
    with np.errstate(all="ignore"):
        op = family.op(numbers, labels)
        values = [np.asarray(v, np.float64) for v in (*family.features(op), *family.site(op))]
    size = len(next(iter(numbers.values())))
    good = np.all([np.broadcast_to(np.isfinite(v), (size,)) for v in values], axis=0)
    return None if good.all() else int(np.argmin(good))


def shown(numbers: Mapping[str, Array], at: int) -> str:
    """One row in words, for an error."""
    return " ".join(f"{name}={column[at]:g}" for name, column in numbers.items())


def _located(body: list[str], header: list[str], where: str) -> SpecError:
    for at, line in enumerate(body, start=2):
        cells = line.split(",")
        if len(cells) != len(header):
            return SpecError(f"{where}:{at}: {len(cells)} cells, the header has {len(header)}")
        for name, cell in zip(header, cells, strict=True):
            try:
                number(cell)
            except ValueError:
                return SpecError(f"{where}:{at}: {name} = {cell!r} is not a number")
    return SpecError(f"{where}: not a table of numbers")


def line(values: Sequence[float]) -> str:
    """The text of one row: whole numbers as they are, others in four digits."""
    return ",".join(f"{v:.0f}" if v == math.floor(v) and abs(v) < 2**53 else f"{v:.4g}" for v in values) + "\n"


def enough(path: Path, family: Family, least: int) -> bool:
    """Whether a row file has `least` rows, by its header and lines alone. Raises SpecError for a file that is none, or whose
    last row is cut off."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise SpecError(f"{path}: {error.strerror or error}") from None
    header = ",".join([*family.NUMBERS, "seconds"]).encode()
    if not (data.startswith((header + b"\n", header + b",")) and data.endswith(b"\n")):
        read(path, family)  # says what is wrong
    return data.count(b"\n") - 1 >= least


def written(family: Family, rows: Rows) -> str:
    """The text of a row file, sorted by its numbers, so that a new import shows what changed."""
    columns = [rows.numbers[name] for name in family.NUMBERS]
    order = np.lexsort(columns[::-1])
    head = ",".join([*family.NUMBERS, "seconds"]) + "\n"
    return head + "".join(line([*(c[i] for c in columns), rows.seconds[i]]) for i in order)


def row_file(home: Path, family: str, kind: str) -> Path:
    """Path of the rows of a kind below a run's folder."""
    return home / family / f"{kind}.csv"


@frozen
class Run:
    """One folder of rows and its record."""

    name: str
    home: Path
    record: Mapping[str, Any]

    @property
    def title(self) -> str:
        """Title in its record, else its name."""
        return str(self.record.get("title", self.name))

    def file(self, family: str, kind: str) -> Path:
        """Path of the rows of a kind, whether there are any or not."""
        return row_file(self.home, family, kind)

    def kinds(self, family: str) -> list[str]:
        """Kinds of a family that the run has a file of, by name."""
        return sorted(path.stem for path in (self.home / family).glob("*.csv"))


def load_run(home: Path) -> Run:
    """The run of a folder. Raises SpecError for a missing or malformed run.toml."""
    return Run(home.name, home, runs.record(home))
