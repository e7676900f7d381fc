"""Anyone's rows: one CSV with the columns of a family, its labels, and `seconds`.

`simcost calibrate import csv rows.csv --family gemm` reads batch,m,n,k,x,w,compute,seconds (in any order; `p20_s`, `p80_s`,
`samples`, `dirty` are kept out). Every cell must be there: no default is guessed.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from simcost.calibration.candidate import Candidate
from simcost.calibration.columns import SECONDS, first_bad
from simcost.calibration.family import Family, families, family_named
from simcost.calibration.rows import EXTRA, no_kernel, shown
from simcost.dtypes import dtype
from simcost.errors import SpecError, nearest
from simcost.num import Array
from simcost.texts import csv_dicts, number, text


def candidates(path: Path, name: str) -> Iterator[Candidate]:
    """One candidate a kind. Raises SpecError naming file, line and column."""
    family = family_named(name)
    kinds: dict[tuple[str, ...], list[tuple[int, list[float]]]] = {}
    for at, row in _read(path, family):
        labels = tuple(_label(family, label, row[label], f"{path}:{at}") for label in family.LABELS)
        values = [_number(row[column], column, f"{path}:{at}") for column in (*family.NUMBERS, "seconds")]
        kinds.setdefault(labels, []).append((at, values))
    if not kinds:
        raise SpecError(f"{path}: no rows")
    for labels, rows in kinds.items():
        found = dict(zip(family.LABELS, labels, strict=True))
        yield _candidate(path, name, found, [at for at, _ in rows], np.asarray([v for _, v in rows], np.float64))


def _candidate(path: Path, name: str, labels: dict[str, str], lines: list[int], table: Array) -> Candidate:
    """One kind, every row of it a kernel."""
    family = families()[name]
    columns = {**family.COLUMNS, "seconds": SECONDS}
    cells = {column: table[:, i] for i, column in enumerate(columns)}
    wrong = first_bad(columns, cells)
    if wrong is not None:
        at, column = wrong
        raise SpecError(f"{path}:{lines[at]}: {column} = '{cells[column][at]:g}' must be {columns[column].allowed}")
    numbers = {column: cells[column] for column in family.NUMBERS}
    none = no_kernel(family, numbers, labels)
    if none is not None:
        raise SpecError(f"{path}:{lines[none]}: {shown(numbers, none)} is not a kernel of {name}")
    return Candidate(name, labels, numbers, cells["seconds"], path.name, (), {})


def _read(path: Path, family: Family) -> list[tuple[int, dict[str, str]]]:
    needed = [*family.NUMBERS, *family.LABELS, "seconds"]
    header, rows = csv_dicts(_whole(path), str(path))
    for column in needed:
        if column not in header:
            raise SpecError(f"{path}: no column '{column}' (needs {', '.join(needed)}){nearest(column, header)}")
    for column in header:
        if column not in needed and column not in EXTRA:
            raise SpecError(f"{path}: unknown column '{column}'{nearest(column, [*needed, *EXTRA])}")
    return rows


def _whole(path: Path) -> str:
    """The file's text. A last line without its end may be half a line, and half a number is a number: 1.2 of 1.2e-05."""
    found = text(path)
    if found and not found.endswith(("\n", "\r")):
        raise SpecError(
            f"{path}:{len(found.splitlines())}: the last line does not end in a newline, so it may be cut off: delete it, or add "
            "a newline if it is complete"
        )
    return found


def _number(cell: str, column: str, where: str) -> float:
    try:
        return number(cell)
    except ValueError:
        raise SpecError(f"{where}: {column} = {cell!r} is not a number") from None


def _label(family: Family, name: str, cell: str, where: str) -> str:
    """A label as rows of ours write it: number formats by their own name, not by torch's."""
    word = family.WORDS[name]
    if word.values is None:
        return dtype(cell, f"{where}: {name}").name
    why = word.fault(cell)
    if why:
        raise SpecError(f"{where}: {name} = {cell!r} {why}")
    return cell
