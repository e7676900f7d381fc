"""The terminal: a verdict, the metrics, the tables, the notes. Wide tables of few rows are turned on their side."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import wrap

from rich import box
from rich.console import Console, Group, JustifyMethod, RenderableType
from rich.table import Table
from rich.text import Text

from simcost import metrics
from simcost.provenance import kind_of
from simcost.report import curves, plans, question, refusals, step
from simcost.report.cells import cell, title, with_intervals
from simcost.result import Result, Row
from simcost.settings import ROOTS

_HIDDEN = {
    "dimensions": ("design", "undo"),
    "ops": ("formula", "source", "light_s", "kernel", "order", "half_width"),
    "facts": ("value",),
    "coefficients": ("value",),
    "ranges": ("least", "most"),
    "coefficients of dense models": ("value",),
    "sensitivity": (
        "value",
        "less_value",
        "more_value",
        "metric_with_less",
        "metric_with_more",
        "elasticity_low",
        "elasticity_high",
    ),
    "without effect": ("value",),
}
_JUDGED = (
    "id",
    "block",
    "op",
    "measured_s",
    "predicted_s",
    "low_s",
    "error",
    "covered",
    "worst_op",
    "kernel",
    "hw",
    "source",
)
_FIRST = {
    "worst": _JUDGED,
    "rows": _JUDGED,
    "blocks": _JUDGED,
    "hardware": (
        "hardware", "title", "bf16_flops_per_s", "fp8_flops_per_s", "memory_bytes", "memory_bytes_per_s",
        "measured_rows", "like", "scaleup_bytes_per_s",
    ),
    "findings": ("table", "verdict", "of", "rows", "dropped", "best", "over_best"),
    "what to do": ("table", "do", "why"),
    **dict.fromkeys(ROOTS, ("key", "meaning", "takes", "default", "needs", "aliases")),
    "ops": ("op", "time_s", "low_s", "share", "bound", "times", "part", "basis", "one_run_s", "shape", "bytes", "intensity", "flops"),
    "memory": ("stage", "holds", "used_bytes_per_gpu", "room_bytes_per_gpu", "fullest"),
    "compute-optimal": (
        "scaling_law", "optimal_params", "optimal_tokens", "tokens_over_optimal", "loss_over_optimal", "optimal_loss", "training_flops",
    ),
    "links": ("part", "transfer", "tier", "time_s", "exposed_share", "step_share", "times", "sent_bytes", "sent_step_bytes"),
    "without effect": ("number", "why", "now"),
    "sweep": tuple(metrics.headlines()),
}  # fmt: skip
_WRAPPED = {
    "plan": 26, "source": 40, "weights": 40, "shape": 30, "op": 21, "basis": 14, "title": 24, "attention": 20, "verdict": 30, "table": 30, "at_import": 30, "do": 40, "why": 24, "before": 14, "after": 14, "may_come_from": 32,
    "dropped": 30, "worst": 40, "takes": 22, "default": 20, "meaning": 46, "needs": 30, "aliases": 24, "picked_by": 16, "answers": 16, "tried": 20, "metric_at_both": 22,
}  # fmt: skip
_IN_DETAILS = (("explain", "tables"),)  # whose rows answer: of worth to who doubts a number
_LEVEL = (
    "links",
    "memory",
    "routing",
    "findings",
    "against shipped tables",
    "what to do",
    "sensitivity",
    "loss",
    "compute-optimal",
    *plans.TABLES[1:],
)  # fmt: skip -- however few their rows
_NARROW = ("dp_attention", "versus_best", "probability_behind", "best_or_tied")  # titles wider than their cells
_WITHOUT_METRICS = (
    "compare",
    "show hardware",
    "list models",
    "list hardware",
    "list engines",
    "list scaling-laws",
    "explain",
)  # tables say it
_MOST = 60
_MOST_OF = {
    "plans": 20,
    "terms": 16,
    "rows": 8,
    "verdicts": 10_000,
    "findings": 200,
    "model": 1000,
    "dimensions": 200,
}  # the largest differences come first; files hold them all


def show(result: Result, console: Console, details: bool = False) -> None:
    """Print everything that a person needs; `details`, and files, hold the rest."""
    parts: list[RenderableType] = []
    if result.verdict:
        style = "bold green" if result.fits else "bold red"
        parts.append(Text(f"simcost {result.command}: {result.verdict}", style=style))
    if asked := question.asked(result):
        parts.append(Text(asked))
    if result.metrics and result.command not in _WITHOUT_METRICS:
        parts.append(_pairs(with_intervals(result.metrics)))
    if result.command == "explain":
        parts.append(_pairs(step.total(result.metrics), "left"))
    left = [name for name in result.tables if not details and (result.command, name) in _IN_DETAILS]
    for name, rows in result.tables.items():
        if name in left:
            continue
        if (result.command, name) == ("explain", "ops"):
            parts += _ops(rows, result, console.width, details)
        else:
            parts += _drawn(result.command, name, rows, console.width)
    parts += _dimensions(result, console.width)
    if result.command == "crossover":
        parts.append(_bars(result.tables["prefill FLOPs by length"]))
    parts += _notes(result.warnings, details, left)
    if result.references and result.command in ("decode", "prefill", "compare", "explain"):
        parts.append(Text("rests on: " + "; ".join(result.references), style="dim"))
    console.print(Group(*parts))


def _drawn(command: str, name: str, rows: Sequence[Row], width: int) -> list[RenderableType]:
    """A table, or those that one is shown as."""
    if command == "calibrate report" and name in ("curves", "parameters"):
        return curves.errors(rows, width) if name == "curves" else curves.parameters(rows, width)
    return [_table(name, rows, width), *refusals.said(name, rows[: _MOST_OF.get(name, _MOST)])]


def _dimensions(result: Result, width: int) -> list[RenderableType]:
    """Of every design what swaps chose as a table, and in lines what they dropped and the way back."""
    if not result.dimensions:
        return []
    from simcost.report.dimensions import told  # only a design that was swapped asks for it

    found: list[RenderableType] = []
    for one in told(result):
        found += [_table("dimensions", one.rows, width, one.heading)] if one.rows else []
        found += [*(Text(line, "dim") for line in one.lines), Text("")]
    return found


def _notes(lines: Sequence[str], details: bool, tables: Sequence[str]) -> list[RenderableType]:
    """Those without which a number would be another one; of the others, and of tables that are not shown, a line."""
    shown = [line for line in lines if details or not kind_of(line).detail]
    found: list[RenderableType] = [Text(f"note: {line}", style="dim") for line in shown]
    rest = len(lines) - len(shown)
    more = [f"{rest} {'note that moves' if rest == 1 else 'notes that move'} no number"] if rest else []
    more += [f"table '{name}'" for name in tables]
    return [*found, Text(f"--details shows more: {', '.join(more)}", style="dim")] if more else found


def _pairs(values: Row, justify: JustifyMethod = "right") -> Table:
    """Names and their values, a line each."""
    table = Table(box=box.SIMPLE_HEAD, show_header=False, pad_edge=False)
    table.add_column(style="cyan")
    table.add_column(justify=justify)
    for name, value in values.items():
        table.add_row(title(name), cell(name, value))
    return table


def _ops(rows: Sequence[Row], result: Result, width: int, details: bool) -> list[RenderableType]:
    """explain: the longest rows of the step in one table, or in running order one table a kind of layer."""
    if result.inputs.get("order") == "execution":
        return [_table("ops", mine, width, heading) for heading, mine in step.by_part(rows)]
    shown, rest = step.longest(rows, result.metrics, details)
    return [_table("ops", shown, width, "ops, the longest first", rest)]


def _table(name: str, rows: Sequence[Row], width: int, heading: str = "", rest: str = "") -> RenderableType:
    """`rest`: a line on rows that were left out before."""
    most = _MOST_OF.get(name, _MOST)
    same = plans.same(rows) if name == "plans" else _same(name, rows)
    shown = plans.shown(rows[:most]) if name in plans.TABLES else [with_intervals(row) for row in rows[:most]]
    if name == "sweep":
        shown = [refusals.with_shortage(row) for row in shown]
    names = [n for n in _ordered(name, shown) if n not in same]
    if not heading and name not in _LEVEL and (name == "designs" or (len(shown) <= 5 and len(names) > 8)):
        return Group(*_turned(name, shown, names, width))
    kept = _fitting(names, shown, width)
    table = Table(title=heading or name, box=box.SIMPLE_HEAD, title_justify="left", title_style="bold", pad_edge=False)
    widths = _widths(kept, shown, width)
    for n in kept:
        text = not n.endswith(("low_s", "_low")) and any(isinstance(row.get(n), str) for row in shown)
        table.add_column(
            _heading(n, shown),
            justify="left" if text else "right",
            min_width=widths[n],
            max_width=max(widths[n], _head_width(n, shown)),
            overflow="fold",
            header_style="cyan",
            vertical="top",
        )
    for row in shown:
        table.add_row(*(cell(n, row.get(n)) for n in kept))
    lines: list[RenderableType] = [table]
    if same:
        lines.append(Text(f"the same in every row: {', '.join(f'{n}={v}' for n, v in same.items())}", style="dim"))
    if len(kept) < len(names):
        hidden = ", ".join(title(n) for n in names if n not in kept)
        lines.append(Text(f"not shown at this width (--format csv has them): {hidden}", style="dim"))
    if len(rows) > most:
        lines.append(Text(f"... {len(rows) - most} more rows: --format csv shows them all", style="dim"))
    if rest:
        lines.append(Text(rest, style="dim"))
    return Group(*lines, *([Text("")] if len(lines) > 1 else []))


def _ordered(name: str, rows: Sequence[Row]) -> list[str]:
    """Columns in the order of their worth to a reader: what does not fit goes from the end."""
    hidden = _HIDDEN.get(name, ())
    names = [n for n in dict.fromkeys(key for row in rows for key in row) if n not in hidden and n != "reason"]
    first = [n for n in _FIRST.get(name, ()) if n in names]
    if name == "sweep":
        axes = names[: names.index("feasible")]
        first = [*axes, "feasible", "fits", *(n for n in first if n not in (*axes, "fits"))]
    if "feasible" in names and all(row["feasible"] for row in rows):
        names.remove("feasible")
    return [n for n in first if n in names] + [n for n in names if n not in first]


def _same(name: str, rows: Sequence[Row]) -> Row:
    """Where designs run, as far as they all run alike: a column each would say nothing."""
    if name != "designs":
        return {}
    named = [n for n in ("model", "hw", "engine", "plan") if n in rows[0]]
    return {n: rows[0][n] for n in named if len({row[n] for row in rows}) == 1}


def _body(n: str, rows: Sequence[Row]) -> int:
    """Width of the widest cell."""
    return max((len(cell(n, row.get(n))) for row in rows), default=0)


def _heading(n: str, rows: Sequence[Row]) -> str:
    """The column's title over as many lines as its cells are narrow."""
    body = _body(n, rows)
    words = title(n).replace(" %", "\u00a0%")
    narrow = 7 if n in _NARROW else 12
    return "\n".join(wrap(words, max(min(body, 24), narrow), break_long_words=False)).replace("\u00a0", " ")


def _fitting(names: Sequence[str], rows: Sequence[Row], width: int) -> list[str]:
    kept: list[str] = []
    used = 1
    for n in names:
        need = max(_head_width(n, rows), _least(n, rows)) + 3
        if used + need > width and len(kept) >= 2:
            break
        kept.append(n)
        used += need
    return kept


def _head_width(n: str, rows: Sequence[Row]) -> int:
    """Width of the heading's longest line."""
    return max(len(line) for line in _heading(n, rows).splitlines())


def _least(n: str, rows: Sequence[Row]) -> int:
    """Width below which no cell is wrapped."""
    body = _body(n, rows)
    return min(body, _WRAPPED.get(n, body))


def _widths(names: Sequence[str], rows: Sequence[Row], width: int) -> dict[str, int]:
    """Width of every column's cells: the least, and of what is left over a part where cells are longer."""
    least = {n: _least(n, rows) for n in names}
    room = max(width - 1 - sum(max(_head_width(n, rows), least[n]) + 3 for n in names), 0)
    short = {n: _body(n, rows) - least[n] for n in names}
    total = sum(short.values())
    return {n: least[n] + (min(short[n], room * short[n] // total) if total else 0) for n in names}


def _turned(name: str, rows: Sequence[Row], names: list[str], width: int) -> list[RenderableType]:
    """One column a row: designs side by side, as many as the width holds."""
    label = max(len(title(n)) for n in names) + 3
    heads = [_head(name, names[0], row) for row in rows]
    size = max(12, *map(len, heads), *(_body(n, rows) for n in names[1:])) + 3
    each = max((width - label) // size, 1)
    found: list[RenderableType] = []
    for start in range(0, len(rows), each):
        part = rows[start : start + each]
        heading = name if start == 0 else f"{name} (continued)"
        table = Table(title=heading, box=box.SIMPLE_HEAD, title_justify="left", title_style="bold", pad_edge=False)
        table.add_column("", style="cyan", no_wrap=True, min_width=label - 3)
        for head in heads[start : start + each]:
            table.add_column(head, justify="right", header_style="bold", no_wrap=True)
        for n in names[1:]:
            if any(row.get(n) is not None for row in part):  # points that cannot run have next to nothing
                table.add_row(title(n), *(cell(n, row.get(n)) for row in part))
        found.append(table)
    return found


def _head(name: str, first: str, row: Row) -> str:
    text = cell(first, row.get(first))
    return f"{first}={text}" if name == "sweep" else text


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
