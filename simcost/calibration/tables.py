"""Engines' tables beside a profile: which one speaks for a kernel of which engine, and the rows that it holds.

`hwprofiles/<gpu>/tables/<engine>/<version>/<family>/<kind>.csv` are rows, each table once, with a `run.toml` that says where they come
from. `tables/picks.csv` says which of them answer, by which rule of `simcost.calibration.soundness`. `hwprofiles/spread.csv` says how far
engines and sibling parts lie apart. All three are written by `calibrate import` and reviewed like code. Most likely to be wrong: a
table of a sibling, whose rows are scaled by the ratio of the two lights.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cache, lru_cache
from pathlib import Path

import numpy as np

from simcost.calibration import rows as files
from simcost.calibration.family import Labels, families
from simcost.calibration.parts import part_of
from simcost.calibration.rows import Rows, Run, load_run, row_file
from simcost.calibration.speed_of_light import row_light
from simcost.errors import SpecError
from simcost.files import folder, state
from simcost.frozen import frozen
from simcost.hardware.engines import ANY, TORCH
from simcost.hardware.profile import Device
from simcost.texts import csv_table

PICKS = ("family", "kind", "engine", "tables", "how")
VERDICTS = (
    "family",
    "kind",
    "engine",
    "version",
    "rows_in_table",
    "rows_left",
    "dropped",
    "verdict",
    "remark",
    "picked_by",
)
SPREAD = ("family", "kind", "engine_small", "engine_large", "sibling_small", "sibling_large", "rows")
LARGE = 20e-6  # s of light: from here on a kernel's start no longer matters, and spreads are those of large kernels
UNSCALED = 5e-6  # s of light below which a sibling's row is a start-up, and is taken as it is
OTHER = 0.25  # sigma between engines where no two tables tell: the middle of those that do


@frozen
class PickedTables:
    """A line of picks.csv: tables that answer for a kind of one engine, the first before the others. `tables`: "vllm/0.24.0", or
    "gb300:vllm/0.27.0" of a sibling. `how`: which rule chose them; `engines`: all that pick the same."""

    engine: str
    tables: tuple[str, ...]
    how: str
    engines: tuple[str, ...] = ()

    @property
    def own(self) -> bool:
        """Whether the first table is of the device itself."""
        return ":" not in self.tables[0]

    @property
    def lent(self) -> tuple[bool, ...]:
        """Of every table, whether it is a sibling's."""
        return tuple(":" in table for table in self.tables)

    @property
    def others(self) -> tuple[bool, ...]:
        """Of every table, whether it is another engine's."""
        whose = (table.rpartition(":")[2].partition("/")[0] for table in self.tables)
        return tuple(self.engine not in (ANY, name) for name in whose)

    @property
    def substitute(self) -> bool:
        """Whether another engine's table stands in for this one's."""
        return self.others[0]


@frozen
class Apart:
    """Sigma of the log between engines and between siblings, of kernels below and above LARGE of light."""

    engine: tuple[float, float]
    sibling: tuple[float, float]


def picks(home: Path) -> Mapping[tuple[str, str], tuple[PickedTables, ...]]:
    """(family, kind) -> picks of the table folder `home`. Raises SpecError for a file with other columns, and for a line without
    a table."""
    path = home / "picks.csv"
    return _picks(path, state(path))


@lru_cache(maxsize=64)
def _picks(path: Path, content: tuple[int, ...]) -> Mapping[tuple[str, str], tuple[PickedTables, ...]]:
    """`content`: what tells it from what the file was before."""
    found: dict[tuple[str, str], list[PickedTables]] = {}
    for number, row in enumerate(csv_table(path, PICKS), start=2):
        pick = PickedTables(row["engine"], tuple(row["tables"].split()), row["how"])
        if not pick.tables:
            raise SpecError(f"{path}:{number}: needs a table")
        found.setdefault((row["family"], row["kind"]), []).append(pick)
    return {key: tuple(each) for key, each in found.items()}


def verdicts(home: str) -> Mapping[tuple[str, str, str, str], str]:
    """(family, kind, engine, version) -> what the import said of the whole table; {} for no folder. Raises SpecError for a file
    with other columns."""
    rows = csv_table(Path(home) / "verdicts.csv", VERDICTS) if home else []
    return {(row["family"], row["kind"], row["engine"], row["version"]): row["verdict"] for row in rows}


@cache
def spreads() -> Mapping[tuple[str, str], Apart]:
    """(family, kind) -> how far tables lie apart; the family's median under the kind "". Raises SpecError for a file with other
    columns or no numbers."""
    path = folder("hwprofiles") / "spread.csv"
    found: dict[tuple[str, str], Apart] = {}
    numbers: dict[str, list[list[float]]] = {}
    for number, row in enumerate(csv_table(path, SPREAD), start=2):
        values = [_number(row[name] or "nan", f"{path}:{number}: {name}") for name in SPREAD[2:6]]
        numbers.setdefault(row["family"], []).append(values)
        found[row["family"], row["kind"]] = Apart((values[0], values[1]), (values[2], values[3]))
    for family, each in numbers.items():
        middle = [_middle(column) for column in zip(*each, strict=True)]
        found[family, ""] = Apart((middle[0], middle[1]), (middle[2], middle[3]))
    return found


def apart(family: str, kind: str) -> Apart:
    """How far engines and siblings lie apart for a kind; where no two tables tell, the family's median, then OTHER."""
    known = [found for which in (kind, "") if (found := spreads().get((family, which))) is not None]
    ours = [_first(found.engine[i] for found in known) for i in (0, 1)]
    theirs = [_first(found.sibling[i] for found in known) for i in (0, 1)]
    return Apart((ours[0], ours[1]), (theirs[0], theirs[1]))


def _number(text: str, where: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise SpecError(f"{where} = {text!r} is not a number") from None


def _first(values: Iterable[float]) -> float:
    return next((value for value in values if math.isfinite(value)), OTHER)


def _middle(values: Iterable[float]) -> float:
    good = sorted(value for value in values if math.isfinite(value))
    # By hand: numpy's `median` loads its masked arrays, a tenth of numpy's own start.
    return (good[(len(good) - 1) // 2] + good[len(good) // 2]) / 2.0 if good else math.nan


def chosen(home: str, family: str, kind: str, engine: str) -> tuple[PickedTables, ...]:
    """Picks that answer for an engine; for "any" those of all engines that differ; () where there are none."""
    if not home or engine == TORCH:
        return ()
    every = picks(Path(home)).get((family, kind), ())
    mine = [pick for pick in every if pick.engine in ((engine, ANY) if engine != ANY else (pick.engine,))]
    found = []
    for tables in dict.fromkeys(pick.tables for pick in mine):
        same = [pick for pick in mine if pick.tables == tables]
        first = min(same, key=lambda pick: pick.substitute)  # whose own table it is
        found.append(replace(first, engines=tuple(pick.engine for pick in same)))
    return tuple(found)


def answering(home: str, family: str, kind: str, table: str) -> list[str]:
    """Engines for which a table ("vllm/0.24.0", or "gb300:vllm/0.27.0") answers, alone or for parts that another lacks; "any": it is a
    library's, whatever engine calls it."""
    return [pick.engine for pick in (picks(Path(home)).get((family, kind), ()) if home else ()) if table in pick.tables]


def named(home: str, engine: str) -> list[str]:
    """Tables that the picks of an engine name, each once, in order of name; of "any" those of all engines."""
    path = Path(home) / "picks.csv"
    return list(_named(path, state(path), engine)) if home and engine != TORCH else []


@lru_cache(maxsize=64)
def _named(path: Path, content: tuple[int, ...], engine: str) -> tuple[str, ...]:
    every = [pick for each in _picks(path, content).values() for pick in each]
    mine = [pick for pick in every if engine == ANY or pick.engine in (engine, ANY)]
    return tuple(sorted({table for pick in mine for table in pick.tables}))


def versions(home: str) -> list[Run]:
    """The tables of a device: a run for each engine and version, named "vllm/0.24.0". Raises SpecError for a bad record."""
    found = sorted(Path(home).glob("*/*/run.toml")) if home else []
    runs = [load_run(path.parent) for path in found]
    return [replace(run, name=f"{run.home.parent.name}/{run.name}") for run in runs]


def paths(home: str, family: str, kind: str, pick: PickedTables) -> list[tuple[str, Path]]:
    """(device, or "" for the one asked; row file) of every table of a pick."""
    found = []
    for table in pick.tables:
        device, _, run = table.rpartition(":")
        root = folder("hwprofiles") / device / "tables" if device else Path(home)
        found.append((device, row_file(root / run, family, kind)))
    return found


def joined(
    name: str, labels: Labels, device: Device, tables: list[tuple[Device | None, Path]]
) -> tuple[Rows, np.ndarray, np.ndarray]:
    """(rows of a pick, its parts in order, which table each is of): the rows of the first table, and of the others the parts that it
    lacks. A sibling's rows are scaled by the ratio of the two lights where a kernel is more than its start. `tables`: (None for `device`
    itself, file)."""
    family = families()[name]
    parts: list[Rows] = []
    known, whose = np.zeros(0), np.zeros(0)
    for number, (theirs, path) in enumerate(tables):
        _, rows = files.kernels(path, family)
        if theirs is not None:
            rows = scaled(name, labels, rows, theirs, device)
        part = part_of(name, rows.numbers)
        if parts:
            rows, part = _only(rows, part, ~np.isin(part, known))
        known = np.concatenate([known, new := np.unique(part)])
        whose = np.concatenate([whose, np.full(len(new), number)])
        parts.append(rows)
    numbers = {column: np.concatenate([rows.numbers[column] for rows in parts]) for column in family.NUMBERS}
    order = np.argsort(known)
    return Rows(numbers, np.concatenate([rows.seconds for rows in parts])), known[order], whose[order]


def _only(rows: Rows, part: np.ndarray, keep: np.ndarray) -> tuple[Rows, np.ndarray]:
    index = np.flatnonzero(keep)
    return rows.take(index), part[index]


def scaled(name: str, labels: Labels, rows: Rows, theirs: Device, mine: Device) -> Rows:
    """A sibling's rows as this device would take them: times by the ratio of the two lights, where the sibling's light is 5 us or
    more."""
    there, here = light(name, labels, rows, theirs), light(name, labels, rows, mine)
    ratio = np.where(there >= UNSCALED, here / np.maximum(there, 1e-30), 1.0)
    return Rows(rows.numbers, rows.seconds * ratio)


def light(name: str, labels: Labels, rows: Rows, device: Device) -> np.ndarray:
    """Times of rows at a device's datasheet rates. [s], [rows]"""
    family = families()[name]
    terms = family.terms(family.op(rows.numbers, labels), device)
    return np.broadcast_to(row_light(name, terms), (len(rows),))
