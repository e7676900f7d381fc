"""Texts and tables that all pages at the terminal are made of: words are words, never markup of rich's, and never what drives a terminal.

A page is data. In colours rich writes it; without, as for a pipe or a file, it is written here to the same bytes, because rich takes an
eighth of a question's time to load. What is rare (a table that is wider than the page, characters of another width) is rich's in both cases. Most likely to be
wrong: a line end inside a value of a file, which `cell` makes visible before a table is laid out; in a table line ends are the layout's.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from simcost.errors import plain

if TYPE_CHECKING:
    from rich.console import Console

# Whatever is not one column wide for certain: all else is left to rich.
_ODD = re.compile(
    r"[^\n\x20-\x7e\xa1-\xac\xae-\u02af\u0391-\u03a1\u03a3-\u03c9\u2010-\u2027\u2030-\u2043\u2070-\u2079\u2080-\u2089\u2190-\u21ff\u2200-\u22ff\u2500-\u25a0]"
)
_WORD = re.compile(r"\s*\S+\s*")
_BLANKS_AT_END = re.compile(r"\s+$")
RULED, BARE = "ruled", "bare"  # a table with a line below its heading, and one without lines


class Words:
    """A text of a page in pieces, each with a style; `indent`: columns that it stands further in."""

    def __init__(self, words: str, style: str = "", indent: int = 0) -> None:
        self.pieces, self.indent = [(plain(words), style)], indent

    def append(self, words: str, style: str = "") -> None:
        """Adds a piece at the end."""
        self.pieces.append((plain(words), style))

    def __str__(self) -> str:
        return "".join(words for words, _ in self.pieces)


class Table:
    """A table of words. `padding`: blanks before and behind a cell; `pad_edge`: also at the edges of the table; words of columns are rich's."""

    def __init__(self, title: str = "", lines: str = RULED, header: bool = True, padding: tuple[int, int] = (1, 1), pad_edge: bool = False) -> None:  # fmt: skip
        self.title, self.lines, self.header, self.padding, self.pad_edge = (
            plain(title),
            lines,
            header,
            padding,
            pad_edge,
        )
        self.columns: list[tuple[str, dict[str, Any]]] = []
        self.rows: list[tuple[str, ...]] = []

    def add_column(self, header: str = "", **how: Any) -> None:
        """Adds a column; `how`: justify, width, min_width, max_width, no_wrap, overflow, style, header_style, vertical."""
        self.columns.append((_lines(header), how))

    def add_row(self, *cells: str) -> None:
        """Adds a row with a cell for each column."""
        self.rows.append(tuple(map(_lines, cells)))


Part = Words | Table


def text(words: str, style: str = "") -> Words:
    """A line of a page."""
    return Words(words, style)


def _lines(words: str) -> str:
    return "\n".join(map(plain, words.split("\n"))) if not words.isprintable() else words


def written(parts: Sequence[Part], width: int) -> str:
    """A page without colours, at most `width` columns wide, no line with blanks at its end."""
    lines: list[str] = []
    for part in parts:
        found = _words(part, width) if isinstance(part, Words) else _table(part, width)
        if found is None:
            return _of_rich(parts, width)
        lines += found
    return "\n".join([*map(str.rstrip, lines), ""])


def _words(part: Words, width: int) -> list[str] | None:
    words = str(part)
    if _ODD.search(words):
        return None
    return [" " * part.indent + line for line in _wrapped(words, width - part.indent)]


def _wrapped(words: str, width: int) -> list[str]:
    """Lines of at most `width` characters, cut between words, and in one that is longer."""
    found: list[str] = []
    for line in words.split("\n"):
        cuts = [0, *_cuts(line, width), len(line)] if len(line) > width else [0, len(line)]
        for start, end in itertools.pairwise(cuts):
            piece = line[start:end]
            if len(piece) > width and (blanks := _BLANKS_AT_END.search(piece)):
                piece = piece[: len(piece) - min(len(blanks[0]), len(piece) - width)]
            found.append(piece)
    return found


def _cuts(line: str, width: int) -> Iterator[int]:
    """Where rich cuts a line (`rich._wrap.divide_line`)."""
    used = 0
    for word in _WORD.finditer(line):
        start, whole = word.start(), word[0]
        length = len(whole.rstrip())
        if width - used >= length:
            used += len(whole)
        elif length > width:
            pieces = [whole[at : at + width] for at in range(0, len(whole), width)]
            for piece in pieces:
                if start:
                    yield start
                start += len(piece)
            used = len(pieces[-1])
        elif used and start:
            yield start
            used = len(whole)


def _table(table: Table, width: int) -> list[str] | None:
    """Lines of a table; None for one that does not fit as it is."""
    ruled, columns = table.lines == RULED, table.columns
    extra = len(columns) + 1 if ruled else 0
    heads = [header for header, _ in columns]
    rows = [tuple(heads), *table.rows] if table.header else table.rows
    if not columns or any(_ODD.search(cell) for row in rows for cell in row) or any(len(row) != len(columns) for row in rows) or _ODD.search(table.title):  # fmt: skip
        return None
    before, behind = table.padding
    edges = [
        (
            0 if at == 0 and not table.pad_edge else before,
            0 if at == len(columns) - 1 and not table.pad_edge else behind,
        )
        for at in range(len(columns))
    ]
    cut = [[cell.split("\n") for cell in row] for row in rows]
    widths = [
        _width([len(line) for row in cut for line in row[at]], sum(edges[at]), how)
        for at, (_, how) in enumerate(columns)
    ]
    if sum(widths) + extra > width:
        return None
    found = (
        [line.ljust(sum(widths) + extra) for line in _wrapped(table.title, sum(widths) + extra)] if table.title else []
    )
    found += [""] if ruled else []
    for number, row in enumerate(cut):
        head = table.header and number == 0
        cells = []
        for at, (_, how) in enumerate(columns):
            room = widths[at] - sum(edges[at])
            lines = row[at]
            if max(map(len, lines)) > room:
                if how.get("overflow") != "fold" or how.get("no_wrap"):
                    return None
                lines = _wrapped(rows[number][at], room)
            right = how.get("justify") == "right"
            blank = (" " * edges[at][0], " " * edges[at][1])
            cells.append(
                [f"{blank[0]}{line.rstrip().rjust(room) if right else line.ljust(room)}{blank[1]}" for line in lines]
            )
        high = max(map(len, cells))
        for at, lines in enumerate(cells):
            missing = [" " * widths[at]] * (high - len(lines))
            cells[at] = [*missing, *lines] if head else [*lines, *missing]
        edge, between = (" ", " ") if ruled else ("", "")
        found += [f"{edge}{between.join(line)}{edge}" for line in zip(*cells, strict=True)]
        if head and ruled:
            found.append(f" {'─'.join('─' * width for width in widths)} ")
    return [*found, *([""] if ruled else [])]


def _width(lengths: Sequence[int], edges: int, how: dict[str, Any]) -> int:
    """Of a column with its padding: as wide as its longest line, within what is stated. [characters]"""
    if "width" in how:
        return int(how["width"]) + edges
    found = max(lengths, default=0) + edges
    found = max(found, how["min_width"] + edges) if "min_width" in how else found
    return (min(found, how["max_width"] + edges) if "max_width" in how else found) or 1


def _of_rich(parts: Sequence[Part], width: int) -> str:
    from io import StringIO

    from rich.console import Console

    buffer = StringIO()
    drawn(parts, Console(file=buffer, width=width, highlight=False))
    return "\n".join(line.rstrip() for line in buffer.getvalue().splitlines()) + "\n"


def drawn(parts: Sequence[Part], console: Console) -> None:
    """Prints a page by rich, in the colours that its console has."""
    from rich.console import Group

    console.print(Group(*map(_rich, parts)))


def _rich(part: Part) -> Any:
    """A part as rich has it."""
    from rich import box
    from rich.padding import Padding
    from rich.table import Table as Drawn
    from rich.text import Text

    if isinstance(part, Words):
        found = Text(part.pieces[0][0], style=part.pieces[0][1])
        for words, style in part.pieces[1:]:
            found.append(words, style=style)
        return Padding(found, (0, 0, 0, part.indent)) if part.indent else found
    before, behind = part.padding
    table = Drawn(
        title=Text(part.title) if part.title else None, box=box.SIMPLE_HEAD if part.lines == RULED else None, title_justify="left", title_style="bold",
        pad_edge=part.pad_edge, show_header=part.header, padding=(0, behind, 0, before),
    )  # fmt: skip
    for header, how in part.columns:
        table.add_column(Text(header), **how)
    for row in part.rows:
        table.add_row(*map(Text, row))
    return table
