"""The terminal: a verdict, the metrics, the tables, the notes. Wide tables of few rows are turned on their side."""

from __future__ import annotations

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from simcost.report.cells import cell, title
from simcost.result import Result, Row

_HIDDEN = {"ops": ("formula", "source", "light_s", "kernel"), "blocks": (), "facts": ("value",)}
_MOST = 60


def show(result: Result, console: Console) -> None:
    """Print everything that a person needs; files hold the rest."""
    parts: list[RenderableType] = []
    if result.verdict:
        style = "bold green" if result.fits else "bold red"
        parts.append(Text(f"simcost {result.command}: {result.verdict}", style=style))
    if result.metrics and result.command not in ("compare", "show hardware", "list models", "list hardware", "explain"):
        parts.append(_metrics(result))
    for name, rows in result.tables.items():
        parts.append(_table(name, rows, console.width))
    if result.command == "crossover":
        parts.append(_bars(result.tables["prefill FLOPs by length"]))
    parts += [Text(f"note: {line}", style="dim") for line in result.warnings]
    if result.references and result.command in ("decode", "prefill", "compare", "explain"):
        parts.append(Text("rests on: " + "; ".join(result.references), style="dim"))
    console.print(Group(*parts))


def _metrics(result: Result) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_header=False, pad_edge=False)
    table.add_column(style="cyan")
    table.add_column(justify="right")
    for name, value in result.metrics.items():
        table.add_row(title(name), cell(name, value))
    return table


def _table(name: str, rows: list[Row], width: int) -> RenderableType:
    shown = rows[:_MOST]
    hidden = _HIDDEN.get(name, ())
    names = [n for n in dict.fromkeys(key for row in shown for key in row) if n not in hidden]
    if len(shown) <= 5 and len(names) > 8:
        table = _turned(name, shown, names)
    else:
        table = Table(title=name, box=box.SIMPLE_HEAD, title_justify="left", title_style="bold", pad_edge=False)
        for n in names:
            text = any(isinstance(row.get(n), str) for row in shown)
            table.add_column(title(n), justify="left" if text else "right", overflow="fold", header_style="cyan")
        for row in shown:
            table.add_row(*(cell(n, row.get(n)) for n in names))
    if len(rows) > _MOST:
        return Group(table, Text(f"... {len(rows) - _MOST} more rows: --format csv shows them all", style="dim"))
    return table


def _turned(name: str, rows: list[Row], names: list[str]) -> Table:
    """One column a row: designs side by side."""
    table = Table(title=name, box=box.SIMPLE_HEAD, title_justify="left", title_style="bold", pad_edge=False)
    table.add_column("", style="cyan")
    for row in rows:
        table.add_column(cell(names[0], row.get(names[0])), justify="right", header_style="bold")
    for n in names[1:]:
        table.add_row(title(n), *(cell(n, row.get(n)) for row in rows))
    return table


def _bars(rows: list[Row]) -> RenderableType:
    lines = [Text("share of attention in attention + FFN FLOPs", style="bold")]
    for row in rows:
        filled = round(40 * float(row["attention_share"]))
        line = Text(f"{int(row['length']):>9,} ")
        line.append("█" * filled, style="magenta")
        line.append("░" * (40 - filled), style="blue")
        line.append(f" {float(row['attention_share']):.0%}")
        lines.append(line)
    return Group(*lines)
