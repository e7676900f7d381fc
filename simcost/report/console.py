"""The terminal: a verdict, the metrics, the tables, the notes. Wide tables of few rows are turned on their side."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from simcost.report.cells import cell, title
from simcost.result import Result, Row

_HIDDEN = {"ops": ("formula", "source", "light_s", "kernel"), "blocks": (), "facts": ("value",)}
_MOST = 60
_MOST_OF = {"terms": 16}  # the largest differences come first; files hold them all


def show(result: Result, console: Console) -> None:
    """Print everything that a person needs; files hold the rest."""
    parts: list[RenderableType] = []
    if result.verdict:
        style = "bold green" if result.fits else "bold red"
        parts.append(Text(f"simcost {result.command}: {result.verdict}", style=style))
    if result.metrics and result.command not in ("compare", "show hardware", "list models", "list hardware", "explain"):
        parts.append(_metrics(result))
    for name, rows in result.tables.items():
        parts += _by_part(rows) if name == "ops" else [_table(name, rows)]
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


def _by_part(rows: Sequence[Row]) -> list[RenderableType]:
    """explain: one table a kind of layer, in running order."""
    found: list[RenderableType] = []
    for part in dict.fromkeys(row["part"] for row in rows):
        mine = [{k: v for k, v in row.items() if k != "part"} for row in rows if row["part"] == part]
        share = sum(float(row["share"]) for row in mine)
        found.append(_table("ops", mine, f"{part}: {share:.1%} of the step"))
    return found


def _table(name: str, rows: Sequence[Row], heading: str = "") -> RenderableType:
    most = _MOST_OF.get(name, _MOST)
    shown = rows[:most]
    hidden = _HIDDEN.get(name, ())
    names = [n for n in dict.fromkeys(key for row in shown for key in row) if n not in hidden]
    if not heading and len(shown) <= 5 and len(names) > 8:
        table = _turned(name, shown, names)
    else:
        table = Table(
            title=heading or name, box=box.SIMPLE_HEAD, title_justify="left", title_style="bold", pad_edge=False
        )
        for n in names:
            text = any(isinstance(row.get(n), str) for row in shown)
            table.add_column(title(n), justify="left" if text else "right", overflow="fold", header_style="cyan")
        for row in shown:
            table.add_row(*(cell(n, row.get(n)) for n in names))
    if len(rows) > most:
        return Group(table, Text(f"... {len(rows) - most} more rows: --format csv shows them all", style="dim"))
    return table


def _turned(name: str, rows: Sequence[Row], names: list[str]) -> Table:
    """One column a row: designs side by side."""
    table = Table(title=name, box=box.SIMPLE_HEAD, title_justify="left", title_style="bold", pad_edge=False)
    table.add_column("", style="cyan")
    for row in rows:
        table.add_column(cell(names[0], row.get(names[0])), justify="right", header_style="bold")
    for n in names[1:]:
        table.add_row(title(n), *(cell(n, row.get(n)) for row in rows))
    return table


def _bars(rows: Sequence[Row]) -> RenderableType:
    lines = [Text("share of attention in attention + FFN FLOPs", style="bold")]
    for row in rows:
        filled = round(40 * float(row["attention_share"]))
        line = Text(f"{int(row['length']):>9,} ")
        line.append("█" * filled, style="magenta")
        line.append("░" * (40 - filled), style="blue")
        line.append(f" {float(row['attention_share']):.0%}")
        lines.append(line)
    return Group(*lines)
