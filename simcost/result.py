"""Result: the one tidy shape that every report, file and API call reads. Versioned."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from typing import Any, overload

from simcost import metrics, units
from simcost.errors import SpecError, nearest, prose
from simcost.frozen import frozen
from simcost.provenance import Note, kind_of

SCHEMA_VERSION = 1
SHORT = "memory_short_bytes_per_gpu"
METRICS, TERMS = "metrics", "terms"  # what `frame` calls them, beside the names of tables
Row = dict[str, Any]
printers: list[Callable[[Result], str]] = []  # how a Result reads as text: the API, which knows the reports, adds one
headings: list[Callable[[Result], list[str]]] = []  # the first lines of that text: the number asked for, the verdict
pages: list[Callable[[Result], str]] = []  # the same as a page of a notebook


def number(value: Any) -> float | int | None:
    """A JSON number: whole counts as integers, NaN and infinity as null."""
    scalar = float(value)
    if scalar != scalar or scalar in (float("inf"), float("-inf")):
        return None
    return int(scalar) if scalar == int(scalar) and abs(scalar) < 2**53 else scalar


def _units(rows: Sequence[Row]) -> dict[str, str]:
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: symbol for name in names if (symbol := units.symbol(metrics.unit(name)))}


def _value(value: Any) -> Any:
    """A cell of a column of numbers, or of flags."""
    kind = getattr(getattr(value, "dtype", None), "kind", "")  # help, which prints no result, loads no numpy
    return bool(value) if isinstance(value, bool) or kind == "b" else number(value)


class Columns(Sequence[Row]):
    """Rows of a sweep, kept as columns until they are read, so that many points need no dictionaries. A row that cannot run, or
    does not fit, has a reason. `values` has "fits" and `SHORT`."""

    def __init__(
        self,
        labels: Mapping[str, Sequence[Any]],
        feasible: Sequence[bool],
        reasons: Sequence[str],
        values: Mapping[str, Any],
    ) -> None:
        self.labels, self.feasible, self.reasons, self.values = labels, feasible, reasons, values

    def __len__(self) -> int:
        return len(self.feasible)

    @overload
    def __getitem__(self, index: int) -> Row: ...

    @overload
    def __getitem__(self, index: slice) -> list[Row]: ...

    def __getitem__(self, index: int | slice) -> Row | list[Row]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        row: Row = {name: column[index] for name, column in self.labels.items()}
        if not self.feasible[index]:
            return {**row, "feasible": False, "reason": str(self.reasons[index])}
        fits = bool(self.values["fits"][index])
        row |= (
            {"feasible": True, "fits": fits}
            if fits
            else {"feasible": True, "fits": False, "reason": self._short(index)}
        )
        return row | {name: _value(column[index]) for name, column in self.values.items() if name != "fits"}

    def _short(self, index: int) -> str:
        """Why a point that can run does not fit: made when its row is read."""
        return f"short by {units.show(float(self.values[SHORT][index]), 'memory')} per GPU"


def _note(note: str) -> str:
    shown = prose(note)
    return note if shown == note else note.worded(shown) if isinstance(note, Note) else shown


@frozen
class Result:
    """`metrics`: name -> number (SI, unit in the name). `tables`: name -> rows; the first is the main one.
    `warnings`: notes, each a `Note` or a plain string. `verdict`: one sentence for people; `fits` False makes --strict fail; `dimensions`: config keys that swaps
    chose, with before, after and why; `terms`: terms of a step, the longest first."""

    command: str
    inputs: dict[str, Any]
    metrics: dict[str, Any]
    tables: Mapping[str, Sequence[Row]] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    references: tuple[str, ...] = ()
    verdict: str = ""
    fits: bool = True
    dimensions: tuple[Row, ...] = ()
    terms: tuple[Row, ...] = ()

    def __post_init__(self) -> None:
        """What is prose is one line of plain text each, wherever it is printed."""
        object.__setattr__(self, "verdict", prose(self.verdict))
        object.__setattr__(self, "warnings", tuple(map(_note, self.warnings)))
        object.__setattr__(self, "references", tuple(map(prose, self.references)))

    def __repr__(self) -> str:
        tables = ", ".join(f"{name} ({len(rows)} rows)" for name, rows in self.tables.items())
        said = headings[0](self) if headings else [self.verdict]
        parts = [*said, f"{len(self.metrics)} metrics", tables, f"{len(self.warnings)} notes"]
        return f"<simcost {self.command}: {'; '.join(part for part in parts if part)}>"

    def __str__(self) -> str:
        """What the terminal shows."""
        return printers[0](self) if printers else repr(self)

    def _repr_html_(self) -> str | None:
        """What a notebook shows; None: it shows the text."""
        return pages[0](self) if pages else None

    @property
    def rows(self) -> list[Row]:
        """All rows; each names its table when there are several."""
        if len(self.tables) <= 1:
            return [row for rows in self.tables.values() for row in rows]
        return [{"table": name, **row} for name, rows in self.tables.items() for row in rows]

    def to_dict(self) -> dict[str, Any]:
        """The JSON document; `units`: SI unit of every metric and column that has one."""
        rows = self.rows
        return {
            "schema_version": SCHEMA_VERSION,
            "command": self.command,
            "verdict": self.verdict,
            "fits": self.fits,
            "inputs": self.inputs,
            "metrics": self.metrics,
            "units": _units([self.metrics, *rows, *self.terms[:1]]),
            "rows": rows,
            "warnings": [str(note) for note in self.warnings],
            "notes": [{"kind": kind_of(note), "text": str(note)} for note in self.warnings],
            "references": list(self.references),
            **({"dimensions": list(self.dimensions)} if self.dimensions else {}),
            **({"terms": list(self.terms)} if self.terms else {}),
        }

    def to_frame(self) -> Any:
        """The rows as a pandas DataFrame, or the metrics as one row (extra `frame`)."""
        return _pandas("to_frame").DataFrame(self.rows or [self.metrics])

    def frame(self, table: str = "") -> Any:
        """One table as a pandas DataFrame whose columns are a MultiIndex (name, unit), in SI units; "" of what has none (extra `frame`).

        `table`: a name of `tables`, "metrics" for the metrics as one row, or "terms" for what a step is made of; default the first table, or the metrics where there is
        none. Raises SpecError for another name."""
        terms = {TERMS: self.terms} if self.terms else {}
        every: Mapping[str, Sequence[Row]] = {**terms, METRICS: [self.metrics], **self.tables}
        if table and table not in every:
            raise SpecError(f"frame(): no table '{table}' (one of {', '.join(every)}){nearest(table, every)}")
        rows = list(every[table or next(iter(self.tables), METRICS)])
        pandas = _pandas("frame")
        found = pandas.DataFrame(rows)
        symbols = _units(rows)
        pairs = [(column, symbols.get(column, "")) for column in found.columns]
        found.columns = pandas.MultiIndex.from_tuples(pairs, names=["name", "unit"])
        return found


def _pandas(what: str) -> Any:
    try:
        import pandas
    except ImportError:
        raise SpecError(f"{what}() needs pandas: pip install 'simcost[frame]'") from None
    return pandas
