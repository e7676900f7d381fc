"""Files and pipes: JSON, CSV and markdown of a Result."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from typing import Any

from simcost.report import identity, question
from simcost.report.cells import cell, changed, title, with_intervals
from simcost.result import Result, Row


def as_console(result: Result, width: int = 140, details: bool = False) -> str:
    """What the terminal shows at a width, without colours. `details`: as with --details."""
    from rich.console import Console

    from simcost.report.console import show

    buffer = io.StringIO()
    show(result, Console(file=buffer, width=width, highlight=False), details)
    return "\n".join(line.rstrip() for line in buffer.getvalue().splitlines()) + "\n"


def as_json(result: Result) -> str:
    """The whole result as indented JSON, in SI units. Raises ValueError for a number that JSON does not have."""
    return json.dumps(result.to_dict(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def as_csv(result: Result) -> str:
    """Rows in SI units, one header; metrics as one row where there are no rows. First what identifies them, so that files can be concatenated."""
    named = identity.of(result)
    rows = [{**named, **row} for row in (result.rows if result.tables and result.rows else [result.metrics])]
    names = list(dict.fromkeys(name for row in rows for name in row))
    out = io.StringIO()
    writer = csv.DictWriter(out, names, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows([{k: "" if v is None else v for k, v in row.items()} for row in rows])
    return out.getvalue()


def as_markdown(result: Result) -> str:
    """A report in markdown: headings, tables and lists."""
    parts = [f"# simcost {result.command}", ""]
    parts += [f"**{result.verdict}**", ""] if result.verdict else []
    if asked := question.asked(result):
        parts += [asked, ""]
    parts += (
        ["| metric | value |", "|---|---|"]
        + [f"| {title(k)} | {_safe(cell(k, v))} |" for k, v in with_intervals(result.metrics).items()]
        + [""]
    )
    for name, rows in result.tables.items():
        parts += [f"## {name}", "", *_table(rows), ""]
    if result.dimensions:
        parts += ["## dimensions that swaps chose", "", *_table([changed(row) for row in result.dimensions]), ""]
    for heading, lines in (("Notes", result.warnings), ("References", result.references)):
        if lines:
            parts += [f"## {heading}", "", *(f"- {line}" for line in lines), ""]
    return "\n".join(parts)


def _table(rows: Sequence[Row]) -> list[str]:
    rows = [with_intervals(row) for row in rows]
    names = list(dict.fromkeys(name for row in rows for name in row))
    lines = ["| " + " | ".join(title(n) for n in names) + " |", "|" + "---|" * len(names)]
    return lines + ["| " + " | ".join(_safe(cell(n, row.get(n))) for n in names) + " |" for row in rows]


def _safe(text: Any) -> str:
    return str(text).replace("|", "\\|").replace("\n", " ")
