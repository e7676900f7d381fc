"""Measured rows on disk: `<profile>/measurements/<run>/<family>/<kind>.csv`, with `run.toml` saying who measured what, how.

A file has the family's number columns, `seconds`, and whatever a run adds (`p20_s`, `p80_s`, `samples`). One kind of
kernel, one file; rows are appended whole. Most likely to be wrong: nothing here; a row that cannot be read is an error
naming file and line, never skipped.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from simcost.calibration.family import Family
from simcost.errors import SpecError
from simcost.num import Array, Index

EXTRA = ("p20_s", "p80_s", "samples", "dirty")
KINDS = ("measured", "imported")


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of one kind. numbers: column -> [rows]; seconds [rows]."""

    numbers: Mapping[str, Array]
    seconds: Array

    def __len__(self) -> int:
        return len(self.seconds)

    def take(self, index: Index) -> Rows:
        return Rows({name: column[index] for name, column in self.numbers.items()}, self.seconds[index])


def read(path: Path, family: Family) -> Rows:
    """Raises SpecError naming file, line and column."""
    return parsed(_text(path), family, str(path))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise SpecError(f"{path}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise SpecError(f"{path}: not a UTF-8 text file") from None


def parsed(text: str, family: Family, where: str) -> Rows:
    """Rows of a file's text."""
    lines = text.split("\n")
    if lines[-1] != "":
        raise SpecError(f"{where}:{len(lines)}: the last row is cut off; delete it, or measure again with --resume")
    header = lines[0].split(",")
    needed = [*family.NUMBERS, "seconds"]
    if header[: len(needed)] != needed or any(name not in EXTRA for name in header[len(needed) :]):
        raise SpecError(f"{where}: columns must be {','.join(needed)}[,{','.join(EXTRA)}], not {lines[0]!r}")
    body = lines[1:-1]
    cells = ",".join(body).split(",") if body else []
    try:
        table = np.array(cells, dtype=np.float64).reshape(len(body), len(header))
    except ValueError:
        raise _located(body, header, where) from None
    good = np.isfinite(table).all(axis=1) & (table[:, len(needed) - 1] > 0)
    if not good.all():
        line = int(np.argmin(good))
        raise SpecError(f"{where}:{line + 2}: numbers must be finite and seconds above 0, not {body[line]!r}")
    return Rows({name: table[:, i] for i, name in enumerate(family.NUMBERS)}, table[:, len(needed) - 1])


def _located(body: list[str], header: list[str], where: str) -> SpecError:
    for number, line in enumerate(body, start=2):
        cells = line.split(",")
        if len(cells) != len(header):
            return SpecError(f"{where}:{number}: {len(cells)} cells, the header has {len(header)}")
        for name, cell in zip(header, cells, strict=True):
            try:
                float(cell)
            except ValueError:
                return SpecError(f"{where}:{number}: {name} = {cell!r} is not a number")
    return SpecError(f"{where}: not a table of numbers")


def line(values: Sequence[float]) -> str:
    """One row: whole numbers as they are, others in four digits."""
    return ",".join(f"{v:.0f}" if v == math.floor(v) and abs(v) < 2**53 else f"{v:.4g}" for v in values) + "\n"


def written(family: Family, rows: Rows) -> str:
    """A file's text, in the order of its numbers, so that a new import shows what changed."""
    columns = [rows.numbers[name] for name in family.NUMBERS]
    order = np.lexsort(columns[::-1])
    head = ",".join([*family.NUMBERS, "seconds"]) + "\n"
    return head + "".join(line([*(c[i] for c in columns), rows.seconds[i]]) for i in order)


def row_file(home: Path, family: str, kind: str) -> Path:
    """Where a run keeps the rows of a kind."""
    return home / family / f"{kind}.csv"


@dataclass(frozen=True, slots=True)
class Run:
    """One folder of rows and its record."""

    name: str
    home: Path
    record: Mapping[str, Any]

    @property
    def title(self) -> str:
        return str(self.record.get("title", self.name))

    def file(self, family: str, kind: str) -> Path:
        return row_file(self.home, family, kind)

    def kinds(self, family: str) -> list[str]:
        return sorted(path.stem for path in (self.home / family).glob("*.csv"))


def load_run(home: Path) -> Run:
    """Raises SpecError for a missing or malformed run.toml."""
    path = home / "run.toml"
    try:
        record = tomllib.loads(_text(path))
    except tomllib.TOMLDecodeError as error:
        raise SpecError(f"{path}: not valid TOML: {error}") from None
    if record.get("schema") != 1:
        raise SpecError(f"{path}: schema must be 1, not {record.get('schema')!r}")
    if record.get("kind") not in KINDS:
        raise SpecError(f"{path}: kind must be one of {', '.join(KINDS)}, not {record.get('kind')!r}")
    return Run(home.name, home, record)
