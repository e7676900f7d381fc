"""A table on its side, for few rows of many numbers: designs beside each other, as many as the width holds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from simcost.report.answer.beside import decides, head
from simcost.report.cells import cell, title
from simcost.report.columns import body, folded
from simcost.report.screen import Part, Table, text
from simcost.result import Row

_LEAST = 12  # characters of a column


def turned(name: str, rows: Sequence[Row], names: Sequence[str], width: int, details: bool) -> list[Part]:
    """One column a row of the table. Without `details` numbers that seldom decide are left out, with a word."""
    asked = [n for n in names[1:] if any(row.get(n) is not None for row in rows)]
    shown = asked if details else [n for n in asked if decides(name, n, rows)]
    label = max(len(title(n)) for n in (*shown, "")) + 3
    heads = _heads([head(name, names[0], row) for row in rows], shown, rows, width - label)
    found: list[Part] = []
    widest = max(width - label - 3, _LEAST)  # of a cell: words that are longer take several lines
    start = 0
    for count in _counts(_sizes(heads, shown, rows), width - label):
        part = rows[start : start + count]
        heading = name if start == 0 else f"{name} (continued)"
        table = Table(title=heading)
        table.add_column("", style="cyan", no_wrap=True, min_width=label - 3)
        for over in heads[start : start + count]:
            table.add_column(over, justify="right", header_style="bold", no_wrap=True)
        for n in shown:
            if any(row.get(n) is not None for row in part):  # points that cannot run have next to nothing
                table.add_row(title(n), *(folded(cell(n, row.get(n)), widest) for row in part))
        found.append(table)
        start += count
    if len(shown) < len(asked):
        found.append(text(f"{len(asked) - len(shown)} more numbers of each: --details", style="dim"))
    return [*found, text("")]


def _heads(heads: list[str], names: Sequence[str], rows: Sequence[Row], room: int) -> list[str]:
    """Heads of columns, over several lines where all would not stand beside each other."""
    if sum(_sizes(heads, names, rows)) <= room:
        return heads
    return [folded(head, max(_LEAST, _cells(row, names))) for head, row in zip(heads, rows, strict=True)]


def _sizes(heads: Sequence[str], names: Sequence[str], rows: Sequence[Row]) -> list[int]:
    """Width of each column with what parts it from the next. [characters]"""
    lines = [max(map(len, head.splitlines() or [""])) for head in heads]
    return [max(_LEAST, line, _cells(row, names)) + 3 for line, row in zip(lines, rows, strict=True)]


def _cells(row: Row, names: Sequence[str]) -> int:
    """Width of the widest cell of a column, in one line. [characters]"""
    return max((body(n, [row]) for n in names), default=0)


def _counts(sizes: Sequence[int], room: int) -> Iterator[int]:
    """How many columns each table takes, in turn: at least one."""
    count = used = 0
    for size in sizes:
        if count and used + size > room:
            yield count
            count = used = 0
        count, used = count + 1, used + size
    yield count
