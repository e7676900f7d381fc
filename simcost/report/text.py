"""Files and pipes: JSON, CSV and markdown of a Result."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Sequence
from typing import Any

from simcost.errors import plain
from simcost.provenance import VERSION
from simcost.report import identity, question
from simcost.report.answer import beside, command, grouped, headline
from simcost.report.cells import cell, changed, title, with_intervals
from simcost.result import Result, Row
from simcost.texts import number


def as_console(result: Result, width: int = 140, details: bool = False) -> str:
    """What the terminal shows at a width, without colours. `details`: as with --details."""
    from simcost.report import screen
    from simcost.report.console import page

    return screen.written(page(result, width, details), width)


def as_json(result: Result) -> str:
    """The whole result as indented JSON, in SI units. Raises ValueError for a number that JSON does not have."""
    return _visible(json.dumps(result.to_dict(), indent=2, ensure_ascii=False, allow_nan=False)) + "\n"


def _visible(document: str) -> str:
    """A JSON document in which what drives a terminal is written as JSON's escapes: it reads back to the same."""
    if all(line.isprintable() for line in document.split("\n")):
        return document
    return "".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in document)


def as_csv(result: Result) -> str:
    """Rows in SI units, one header; metrics as one row where there are no rows. First what identifies them, so that files can be concatenated."""
    named = identity.of(result)
    rows = [{**named, **row} for row in (result.rows if result.tables and result.rows else [result.metrics])]
    names = list(dict.fromkeys(name for row in rows for name in row))
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(map(csv_cell, names))
    writer.writerows([csv_cell(row.get(name)) for name in names] for row in rows)
    return out.getvalue()


_FORMULA = tuple(
    "=+-@＝＋－＠"
)  # what a spreadsheet takes for the start of one; tabs and ends of lines are escapes by then


def csv_cell(value: Any) -> Any:
    """A cell of CSV: of a text that a spreadsheet would compute, an apostrophe makes a text. Source: OWASP, "CSV Injection"."""
    if value is None:
        return ""
    if isinstance(value, (dict, list, tuple)):
        value = str(value)
    if not isinstance(value, str):
        return value
    shown = plain(value)
    return f"'{shown}" if len(shown) > 1 and shown.startswith(_FORMULA) and not _is_number(shown) else shown


def _is_number(shown: str) -> bool:
    try:
        number(shown)
    except ValueError:
        return False
    return True


def as_markdown(result: Result) -> str:
    """A report in markdown: headings, tables and lists."""
    parts = [f"# simcost {result.command}", ""]
    parts += [f"**{_words(result.verdict)}**", ""] if result.verdict else []
    if asked := question.asked(result):
        parts += [_line(asked), ""]
    said = headline.lines(result)
    parts += [*(f"- {_words(title(name))}: {_words(words)}" for name, words in said.items()), ""] if said else []
    terms = headline.largest(result.terms, True)
    parts += [f"## {headline.TERMS}", "", *_table(terms), ""] if terms else []
    for heading, values in grouped.of(result, True) or [("", {})]:
        parts += [f"## {heading}", ""] if heading else []
        parts += ["| metric | value |", "|---|---|"]
        parts += [f"| {_words(title(k))} | {_words(cell(k, v))} |" for k, v in with_intervals(values).items()] + [""]
    for name, rows in result.tables.items():
        parts += [f"## {_words(name)}", "", *(_beside(name, rows) or _table(rows)), ""]
    if result.dimensions:
        parts += ["## dimensions that swaps chose", "", *_table([changed(row) for row in result.dimensions]), ""]
    for heading, lines in (("Notes", result.warnings), ("Sources", result.references)):
        if lines:
            parts += [f"## {heading}", "", *(f"- {_line(line)}" for line in lines), ""]
    if shell := command.lines(result):  # their indents and quotes cannot end the block
        parts += ["## Command", "", f"With simcost {VERSION}:", "", "```", *shell, "```", ""]
    return "\n".join(parts)


def _beside(name: str, rows: Sequence[Row]) -> list[str]:
    """Designs beside each other, a number a line; nothing for other tables."""
    found = beside.designs(name, [with_intervals(row) for row in rows], True)
    if found is None:
        return []
    heads, numbers = found
    lines = ["| | " + " | ".join(map(_words, heads)) + " |", "|---|" + "---:|" * len(heads)]
    return lines + [f"| {_words(title(n))} | {' | '.join(map(_words, cells))} |" for n, cells in numbers.items()]


def _table(rows: Sequence[Row]) -> list[str]:
    rows = [with_intervals(row) for row in rows]
    names = list(dict.fromkeys(name for row in rows for name in row))
    lines = ["| " + " | ".join(_words(title(n)) for n in names) + " |", "|" + "---|" * len(names)]
    return lines + ["| " + " | ".join(_words(cell(n, row.get(n))) for n in names) + " |" for row in rows]


# Of GitHub's markdown: escapes, code, emphasis (between letters an underline is none), HTML, entities, ends of cells, links, what is struck out.
_MARKS = re.compile(r"[\\`*<|]|&(?=[#\w]+;)|\](?=[(\[:])|(?<![^\W_])_|_(?![^\W_])|~~")


def _words(words: str) -> str:
    """A text inside a line of markdown, as words alone."""
    return _MARKS.sub(r"\\\g<0>", plain(words))


def _line(words: str) -> str:
    """A text that is a line of markdown."""
    shown = _words(words)
    digits = len(shown) - len(shown.lstrip("0123456789"))
    block = shown[:1] in tuple("#>+=-") or (digits > 0 and shown[digits : digits + 1] in (".", ")"))
    return f"{shown[:digits]}\\{shown[digits:]}" if block else shown
