"""Pages of a report in Markdown: tables of its rows, a cell a function of the row."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from simcost.result import Result, Row

Cell = Callable[[Row], str]


_WHOLE = 1000.0  # from here numbers have no fraction


def percent(row: Row, *keys: str) -> str:
    """Fractions in per cent, parted by strokes; empty where one is missing."""
    if any(row.get(key) is None for key in keys):
        return ""
    return " / ".join(f"{row[key] * 100:.1f}" for key in keys)


def number(row: Row, key: str) -> str:
    """A number of three digits, a large one whole; empty where there is none."""
    if row.get(key) is None:
        return ""
    return f"{row[key]:,.0f}" if abs(row[key]) >= _WHOLE else f"{row[key]:.3g}"


def words(row: Row, key: str) -> str:
    """A text that fits a cell."""
    return str("" if row.get(key) is None else row[key]).replace("|", "/")


def of(key: str) -> Cell:
    """A cell of text."""
    return lambda row: words(row, key)


def rates(*keys: str) -> Cell:
    """A cell of fractions in per cent."""
    return lambda row: percent(row, *keys)


def counts(key: str) -> Cell:
    """A cell of a number."""
    return lambda row: number(row, key)


def passes(row: Row) -> str:
    """Whether a bar is reached."""
    return (
        "" if row.get("passes") is None else ("yes" if row["passes"] else "no, an aim" if row.get("aim") else "**no**")
    )


def part(result: Result, title: str, name: str, columns: Mapping[str, Cell]) -> str:
    """A section with a table of the report."""
    return "\n".join(
        [
            f"## {title}",
            "",
            *table(list(columns), [[cell(row) for cell in columns.values()] for row in result.tables[name]]),
            "",
        ]
    )


def table(heads: Sequence[str], lines: Sequence[Sequence[Any]]) -> list[str]:
    """Lines of a table."""
    return [f"| {' | '.join(each)} |" for each in (heads, ["---"] * len(heads), *lines)]
