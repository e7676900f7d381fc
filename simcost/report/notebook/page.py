"""A Result in a notebook: what was asked, the answer with its interval, the metrics by group, the head of the main table, and folded away the rest.

The page has no script, no colours of its own and no link, so that it reads on light and dark themes; every word of a file in it is escaped. Its size is
bounded: rows, columns and notes beyond the first are counted, and `.frame(TABLE)` has them all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from itertools import islice
from typing import Any

from simcost import metrics
from simcost.errors import plain
from simcost.metrics import groups
from simcost.provenance import kind_of
from simcost.report import question
from simcost.report.answer import beside, headline
from simcost.report.cells import cell, title, with_intervals
from simcost.result import TERMS, Result, Row

MOST_ROWS, MOST_COLUMNS, MOST_TABLES, MOST_LINES = 10, 9, 8, 20
_LONG = 60  # characters of a cell: a formula or a source is longer and stands in the frame
_LEFT, _RIGHT = "text-align:left;padding:0 1em 0 0", "text-align:right;padding:0 1em 0 0"
_INTERVAL = f'<th style="{_RIGHT}">low–high (90 %)</th>'


def as_html(result: Result) -> str:
    """A fragment of HTML. Metrics that are not known (None) are left out."""
    verdict = f": {result.verdict}" if result.verdict else ""
    parts = [f"<div><strong>simcost {_words(result.command)}{_words(verdict)}</strong>"]
    if asked := question.asked(result):
        parts.append(f"<div>{_words(asked)}</div>")
    first = headline.lines(result)
    told = {*(headline.told(result.metrics) if first else ()), *(("fits",) if result.fits else ())}
    parts += [f"<div>{_words(title(name))}: {_words(words)}</div>" for name, words in first.items()]
    shown = list(islice(result.tables.items(), MOST_TABLES))
    parts += _metrics({name: value for name, value in result.metrics.items() if value is not None and name not in told})
    if result.terms and TERMS not in result.tables:
        parts += _folded(f"largest terms ({len(result.terms)} in all)", _table(TERMS, result.terms), opened=True)
    for place, (name, rows) in enumerate(shown):
        parts += _folded(f"{name} ({_rows(len(rows))})", _table(name, rows), opened=place == 0)
    if len(result.tables) > len(shown):
        parts.append(f"<div>{len(result.tables) - len(shown)} more tables: <code>.tables</code></div>")
    loud = [note for note in result.warnings if not kind_of(note).detail]
    quiet = [note for note in result.warnings if kind_of(note).detail]
    parts += _lines("notes", loud, opened=len(loud) <= 3)
    parts += _lines("notes that change no number", quiet)
    parts += _lines("references", result.references)
    return "\n".join([*parts, "</div>"])


def _metrics(values: Mapping[str, Any]) -> Iterator[str]:
    """A small table a group, side by side where the page is wide; the interval of a metric stands beside it."""
    tables: list[str] = []
    for heading, mine in groups.grouped(values, metrics.unit).items():
        whole = with_intervals(mine)
        ends = {end: low for low in whole if (end := _of_interval(low)) in whole}
        rows = [
            f'<tr><td style="{_LEFT}" title="{_words(name)}">{_words(title(name))}</td><td style="{_RIGHT}">{_words(cell(name, value))}</td>'
            + (f'<td style="{_RIGHT}">{_words(cell(name, whole[ends[name]]))}</td>' if name in ends else "")
            + "</tr>"
            for name, value in whole.items()
            if name not in ends.values()
        ]
        head = f'<tr><th style="{_LEFT}">{heading}</th><th></th>{_INTERVAL if ends else ""}</tr>'
        tables.append("".join(["<table>", head, *rows, "</table>"]) if rows else "")
    if tables:
        yield '<div style="display:flex;flex-wrap:wrap;gap:0 2em;align-items:flex-start">'
        yield from tables
        yield "</div>"


def _of_interval(name: str) -> str:
    """ "tpot_s" of "tpot_low_s"; "" of what is no lower end."""
    stem, low, end = name.rpartition("_low")
    return f"{stem}{end}" if low and end in ("", "_s") else ""


def _table(name: str, rows: Sequence[Row]) -> Iterator[str]:
    """The first rows and columns; columns of formulas and sources are left to the frame."""
    shown = [with_intervals(row) for row in rows[:MOST_ROWS]]
    if (sideways := beside.designs(name, shown, False)) is not None:
        yield from _beside(*sideways)
        if len(rows) > len(shown):
            yield f"<div>{_rows(len(rows) - len(shown))} more: <code>.frame({_words(repr(name))})</code></div>"
        return
    every = list(dict.fromkeys(key for row in shown for key in row))
    fit = [key for key in every if all(len(cell(key, row.get(key))) <= _LONG for row in shown)]
    kept = fit[:MOST_COLUMNS]
    sides = {key: _LEFT if any(isinstance(row.get(key), str) for row in shown) else _RIGHT for key in kept}
    yield "<table><tr>"
    yield "".join(f'<th style="{sides[key]}" title="{_words(key)}">{_words(title(key))}</th>' for key in kept)
    yield "</tr>"
    for row in shown:
        cells = (f'<td style="{sides[key]}">{_words(cell(key, row.get(key)))}</td>' for key in kept)
        yield f"<tr>{''.join(cells)}</tr>"
    yield "</table>"
    more = [_rows(len(rows) - len(shown))] if len(rows) > len(shown) else []
    more += [f"{len(every) - len(kept)} columns"] if len(every) > len(kept) else []
    if more:
        yield f"<div>{' and '.join(more)} more: <code>.frame({_words(repr(name))})</code></div>"


def _beside(heads: Sequence[str], numbers: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Designs beside each other, a number a line."""
    yield "<table><tr><th></th>" + "".join(f'<th style="{_RIGHT}">{_words(head)}</th>' for head in heads) + "</tr>"
    for n, cells in numbers.items():
        row = "".join(f'<td style="{_RIGHT}">{_words(each)}</td>' for each in cells)
        yield f'<tr><td style="{_LEFT}" title="{_words(n)}">{_words(title(n))}</td>{row}</tr>'
    yield "</table>"


def _folded(heading: str, inside: Iterator[str] | Sequence[str], opened: bool = False) -> Iterator[str]:
    yield f"<details{' open' if opened else ''}><summary>{_words(heading)}</summary>"
    yield from inside
    yield "</details>"


def _lines(heading: str, lines: Sequence[str], opened: bool = False) -> Iterator[str]:
    if lines:
        shown = [f"<li>{_words(line)}</li>" for line in lines[:MOST_LINES]]
        more = [f"<li>{len(lines) - MOST_LINES} more</li>"] if len(lines) > MOST_LINES else []
        yield from _folded(f"{heading} ({len(lines)})", ["<ul>", *shown, *more, "</ul>"], opened)


def _rows(count: int) -> str:
    return f"{count:,} row{'' if count == 1 else 's'}"


def _words(words: Any) -> str:
    """A text inside a page, as words alone, also between quotes."""
    shown = plain(str(words))
    return escape(shown if len(shown) <= 300 else f"{shown[:297]}...")
