"""Lists of names and values at the terminal: one, or several under headings."""

from __future__ import annotations

from collections.abc import Sequence

from simcost.report import fleets
from simcost.report.answer import grouped, headline
from simcost.report.cells import cell, title, with_intervals
from simcost.report.screen import BARE, Part, Table, text
from simcost.result import Result, Row

_WITHOUT_METRICS = (
    "compare",
    "cite",
    "diff",
    "show hardware",
    "list models",
    "list hardware",
    "list engines",
    "list scaling-laws",
    "explain",
)  # tables say it


def metrics(result: Result, details: bool) -> list[Part]:
    """Metrics by group, where no table says them."""
    of_load = result.command == "serve"
    if result.command in _WITHOUT_METRICS or (of_load and fleets.LOADS in result.tables):
        return [text("")] if result.verdict and result.command != "explain" else []
    groups = fleets.groups(result.metrics, details) if of_load else grouped.of(result, details)
    if len(groups) == 1 and not groups[0][0]:
        return [pairs(with_intervals(groups[0][1]))]
    shown = [(heading, with_intervals(values)) for heading, values in groups]
    cells = [(title(name), cell(name, value)) for _, values in shown for name, value in values.items()]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    found: list[Part] = [] if headline.lines(result) else [text("")]
    for heading, values in shown:
        found += [text(heading, style="bold")] if heading else []
        found += [_lines(values, widths), text("")]
    return found


def pairs(values: Row, justify: str = "right") -> Table:
    """Names and their values, a line each."""
    table = Table(header=False)
    table.add_column(style="cyan")
    table.add_column(justify=justify)
    for name, value in values.items():
        table.add_row(title(name), cell(name, value))
    return table


def _lines(values: Row, widths: Sequence[int]) -> Table:
    """Names and their values of one of several groups, all in columns of the same widths."""
    table = Table(lines=BARE, header=False, padding=(1, 2), pad_edge=True)
    table.add_column(style="cyan", min_width=widths[0])
    table.add_column(justify="right", min_width=min(widths[1], 24))
    for name, value in values.items():
        table.add_row(title(name), cell(name, value))
    return table
