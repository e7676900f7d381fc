"""Anyone's rows: one CSV with the columns of a family, its labels, and `seconds`.

`simcost calibrate import csv rows.csv --family gemm` reads batch,m,n,k,x,w,compute,seconds (in any order; `p20_s`, `p80_s`,
`samples`, `dirty` are kept out). Every cell must be there: no default is guessed.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from simcost.calibration.family import Family, families
from simcost.calibration.importers._tables import Candidate
from simcost.calibration.rows import EXTRA
from simcost.errors import SimcostError, SpecError, nearest


def candidates(path: Path, name: str) -> Iterator[Candidate]:
    """One candidate a kind. Raises SpecError naming file, line and column."""
    known = families()
    if name not in known:
        raise SpecError(f"unknown family '{name}' (one of {', '.join(known)}){nearest(name, known)}")
    family = known[name]
    kinds: dict[tuple[str, ...], list[list[float]]] = {}
    for number, row in _read(path, family):
        labels = tuple(row[label] for label in family.LABELS)
        values = [_number(row[column], column, f"{path}:{number}") for column in (*family.NUMBERS, "seconds")]
        kinds.setdefault(labels, []).append(values)
    for labels, rows in kinds.items():
        table = np.asarray(rows, np.float64)
        found = dict(zip(family.LABELS, labels, strict=True))
        numbers = {column: table[:, i] for i, column in enumerate(family.NUMBERS)}
        try:
            family.op(numbers, found)
        except (SimcostError, KeyError, AssertionError) as error:
            raise SpecError(f"{path}: labels {found} make no {name}: {error}") from None
        yield Candidate(name, found, numbers, table[:, -1], path.name, (), {})


def _read(path: Path, family: Family) -> Iterator[tuple[int, dict[str, str]]]:
    needed = [*family.NUMBERS, *family.LABELS, "seconds"]
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            header = list(reader.fieldnames or [])
            for column in needed:
                if column not in header:
                    raise SpecError(
                        f"{path}: no column '{column}' (needs {', '.join(needed)}){nearest(column, header)}"
                    )
            for column in header:
                if column not in needed and column not in EXTRA:
                    raise SpecError(f"{path}: unknown column '{column}'{nearest(column, [*needed, *EXTRA])}")
            for row in reader:
                if None in row or None in row.values():
                    raise SpecError(f"{path}:{reader.line_num}: not as many cells as the header")
                yield reader.line_num, row
    except OSError as error:
        raise SpecError(f"{path}: {error.strerror or error}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise SpecError(f"{path}: not a CSV text file: {error}") from None


def _number(text: str, column: str, where: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise SpecError(f"{where}: {column} = {text!r} is not a number") from None
    if not math.isfinite(value) or value < 0 or (column == "seconds" and value == 0):
        raise SpecError(f"{where}: {column} = {text!r} must be finite and above 0")
    return value
