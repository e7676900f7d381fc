"""The terminal: the answer and a verdict, its largest terms, the metrics by group, the tables, the notes. Wide tables of few rows are turned on their side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from simcost.provenance import kind_of
from simcost.report import again, columns, curves, fleets, fronts, plans, question, refusals, step, training, turned
from simcost.report.answer import headline
from simcost.report.answer.beside import HEADLINES
from simcost.report.answer.page import metrics, pairs
from simcost.report.cells import cell, with_intervals
from simcost.report.screen import Part, Table, text
from simcost.result import Result, Row
from simcost.settings import ROOTS

_HIDDEN = {
    "dimensions": ("design", "undo"),
    "ops": ("formula", "source", "light_s", "kernel", "order", "half_width"),
    "facts": ("value",),
    "sources": ("arxiv", "title", "authors", "licence", "copyright", "package", "bibtex_key"),
    "metrics that moved": ("before_value", "after_value"),
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
    **dict.fromkeys(("ttft", "tpot", "output"), ("id", "load", "measured_s", "measured_tokens_per_s", "predicted_s", "predicted_tokens_per_s", "error", "covered", "isl", "osl", "hw", "engine", "why")),
    "sources": ("source_kind", "source", "cited_for"),
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
    "cache of a sequence": ("block", "kept_bytes", "keeps", "of_tokens", "kept_elements", "formula"),
    "memory": ("stage", "holds", "used_bytes_per_gpu", "room_bytes_per_gpu", "fullest"),
    "compute-optimal": (
        "scaling_law", "optimal_params", "optimal_tokens", "tokens_over_optimal", "loss_over_optimal", "optimal_loss", "training_flops",
    ),
    "links": ("part", "transfer", "tier", "time_s", "exposed_share", "step_share", "times", "sent_bytes", "sent_step_bytes"),
    "without effect": ("number", "why", "now"),
    "sweep": HEADLINES,
    training.TABLE: (
        "rank", "virtual_stages", "memory_peak_bytes", "activation_bytes", "parameter_bytes", "gradient_bytes", "optimizer_bytes", "other_bytes", "fits",
    ),
    training.LEVERS: ("change", "step_s", "change_of_step", "fits", "memory_peak_bytes"),
    "scaling": (
        "gpus", "fits", "micro_batches", "step_s", "step_low_s", "tokens_per_s_per_gpu", "efficiency", "run_s", "run_gpu_hours", "run_usd", "memory_peak_bytes",
    ),
    "terms": ("term", "spread_s"),
    "variants": (
        "variant", "total_usd", "total_gpu_hours", "times_cheapest", "probability_behind", "total_gpu_hours_low", "writing_gpu_hours", "rollout_gpu_hours", "teacher_gpu_hours",
        "training_gpu_hours", "handed_bytes_per_token", "stored_bytes", "storage_usd", "network_bytes",
    ),
    **dict.fromkeys(fleets.BUDGETS, fleets.OF_BUDGETS),
}  # fmt: skip
_RUNS = ("ttft", "tpot", "output")  # of a benchmark
_IN_DETAILS = (
    ("explain", "tables"),
    ("cite", "assumptions"),
    ("compare", "what measurements moved"),
    ("sensitivity", "without effect"),
)  # of worth to who doubts a number
_LEVEL = (
    "kinds of work",
    "ops and kernels",
    *_RUNS,
    "sources",
    "what was asked",
    "metrics that moved",
    "terms",
    "links",
    "memory",
    "routing",
    "findings",
    "against shipped tables",
    "what to do",
    "sensitivity",
    "loss",
    "compute-optimal",
    training.TABLE,
    training.LEVERS,
    "batch ramp",
    "scaling",
    fleets.LOADS,
    *fleets.BUDGETS,
    "a thousand tokens more",
    "train or think",
    "variants",
    *plans.TABLES[1:],
    fleets.FRONT,
)  # fmt: skip -- however few their rows
_LEADING = {"train": "where the step goes", "rl": "phases"}  # tables of the largest terms: before the metrics
_MOST = 60
_MOST_OF = {
    "plans": 20,
    "terms": 10,
    "rows": 8,
    "verdicts": 10_000,
    "findings": 200,
    "model": 1000,
    "dimensions": 200,
}  # the largest differences come first; files hold them all


def page(result: Result, width: int, details: bool = False) -> list[Part]:
    """Everything that a person needs, for a screen of a width; `details`, and files, hold the rest."""
    lines = headline.lines(result)
    parts: list[Part] = [*_heading(result, lines)]
    if asked := question.asked(result):
        parts.append(text(asked))
    parts += _answer(result, lines, width, details)
    first = _LEADING.get(result.command, "")
    left = [name for name in result.tables if not details and (result.command, name) in _IN_DETAILS]
    if first in result.tables:
        parts += _drawn(result.command, first, result.tables[first], width, details)
    parts += metrics(result, details)
    for name, rows in result.tables.items():
        if name in left or name == first:
            continue
        if (result.command, name) == ("explain", "ops"):
            parts += _ops(rows, result, width, details)
        elif result.command == "sweep":
            parts += _front(result, width)
        else:
            parts += _drawn(result.command, name, rows, width, details)
    parts += _dimensions(result, width, details)
    if result.command == "crossover":
        parts += _bars(result.tables["prefill FLOPs by length"])
    if result.command == "plans":
        parts += [text(line) for line in again.lines(result, width)]
    more = [*(f"table '{name}'" for name in left), *_undone(result.dimensions, details)]
    more += ["sources"] if result.references and not details else []
    parts += _notes(result.warnings, details, more)
    if result.references and details:
        parts.append(text("sources: " + "; ".join(result.references), style="dim"))
    return parts


def _heading(result: Result, lines: Row) -> Iterator[Part]:
    """The first lines, which begin with the command."""
    style = "bold green" if result.fits else "bold red"
    for at, words in enumerate(headline.heading(result, lines)):
        yield text(words if at else f"simcost {result.command}: {words}", style=style)


def _answer(result: Result, lines: Row, width: int, details: bool) -> list[Part]:
    """What the number rests on, what limits it, the largest terms."""
    found: list[Part] = [pairs(lines, "left")] if lines else []
    terms = headline.largest(result.terms, details)
    return [*found, *(_table("terms of the step", terms, width, heading=headline.TERMS) if terms else [])]


def _drawn(command: str, name: str, rows: Sequence[Row], width: int, details: bool) -> list[Part]:
    """A table, or those that one is shown as."""
    if command == "calibrate report" and name in ("curves", "parameters"):
        return curves.errors(rows, width) if name == "curves" else curves.parameters(rows, width)
    if name == fleets.FRONT:
        heading = "output tokens/s per GPU by tokens/s per user"
        word = text(
            "within the limit on TTFT; pools: disaggregated; --format csv names the plans of the front", style="dim"
        )
        return [*_table(name, fleets.front(rows), width, details, heading=heading), word]
    if name in plans.TABLES and fleets.are(rows) and not any(row.get("feasible") for row in rows):
        return refusals.said(name, rows[: _MOST_OF.get(name, _MOST)])
    return [*_table(name, rows, width, details), *refusals.said(name, rows[: _MOST_OF.get(name, _MOST)])]


def _front(result: Result, width: int) -> list[Part]:
    """sweep: the points that no other beats, and those tied with them; files hold all."""
    points = fronts.rows(result)
    found = _table("front", points, width, heading=fronts.heading(result)) if points else []
    return [
        *found,
        *(text(line, style="dim") for line in (*fronts.left_out(result), *fronts.refused(result))),
        text("all points: --format csv", style="dim"),
    ]


def _dimensions(result: Result, width: int, details: bool) -> list[Part]:
    """What swaps chose, a table per design, and in lines what they dropped and the way back."""
    if not result.dimensions:
        return []
    from simcost.report.dimensions import told  # only a swapped design asks for it

    found: list[Part] = []
    for one in told(result, details):
        found += _table("dimensions", one.rows, width, heading=one.heading) if one.rows else [text(one.heading, "bold")]
        found += [text(line, "dim") for line in (*one.lines, *([""] if one.lines else []))]
    return found


def _undone(rows: Sequence[Row], details: bool) -> list[str]:
    """What is left to say of undoing swaps."""
    return ["how to undo each swap"] if not details and any(row.get("design") and row["undo"] for row in rows) else []


def _notes(lines: Sequence[str], details: bool, left: Sequence[str]) -> list[Part]:
    """Those without which a number would be another one; of the others, and of all else that is `left` out, a line."""
    shown = [line for line in lines if details or not kind_of(line).detail]
    found: list[Part] = [text(f"note: {line}", style="dim") for line in shown]
    rest = len(lines) - len(shown)
    more = [f"{rest} {'note that changes' if rest == 1 else 'notes that change'} no number"] if rest else []
    more += left
    return [*found, text(f"--details shows more: {', '.join(more)}", style="dim")] if more else found


def _ops(rows: Sequence[Row], result: Result, width: int, details: bool) -> list[Part]:
    """explain: the longest rows of the step in one table, or in running order one table a kind of layer."""
    if result.inputs.get("order") == "execution":
        return [part for heading, mine in step.by_part(rows) for part in _table("ops", mine, width, heading=heading)]
    shown, rest = step.longest(rows, result.metrics, details)
    return _table("ops", shown, width, heading="ops, the longest first", rest=rest)


def _table(
    name: str, rows: Sequence[Row], width: int, details: bool = False, heading: str = "", rest: str = ""
) -> list[Part]:
    """`rest`: a line on rows that were left out before."""
    most = _MOST_OF.get(name, _MOST)
    same = plans.same(rows) if name == "plans" else _same(name, rows)
    rows = training.ranks(rows) if name == training.TABLE else fleets.loads(rows) if name == fleets.LOADS else rows
    rows = fleets.running(rows) if name in plans.TABLES else rows
    shown = (
        plans.shown(rows[:most]) if name in plans.TABLES else [with_intervals(plans.marked(row)) for row in rows[:most]]
    )
    if name == "sweep":
        shown = [refusals.with_shortage(row) for row in shown]
    names = [n for n in _ordered(name, shown) if n not in same]
    level = (name in _LEVEL or fleets.are(rows)) and not (name == training.TABLE and len(shown) == 1)
    if not heading and not level and (name == "designs" or (len(shown) <= 5 and len(names) > 8)):
        return turned.turned(name, shown, names, width, details)
    kept = columns.fitting(names, shown, width)
    table = Table(title=heading or name)
    widths = columns.widths(kept, shown, width)
    for n in kept:
        of_words = not n.endswith(("low_s", "_low")) and any(isinstance(row.get(n), str) for row in shown)
        table.add_column(
            columns.heading(n, shown),
            justify="left" if of_words else "right",
            min_width=widths[n],
            max_width=max(widths[n], columns.head_width(n, shown)),
            overflow="fold",
            header_style="cyan",
            vertical="top",
        )
    for row in shown:
        table.add_row(*(cell(n, row.get(n)) for n in kept))
    lines: list[Part] = [table]
    if same:
        lines.append(text(f"the same in every row: {', '.join(f'{n}={v}' for n, v in same.items())}", style="dim"))
    if len(kept) < len(names):
        lines.append(text(columns.left_out([n for n in names if n not in kept]), style="dim"))
    if len(rows) > most:
        lines.append(text(f"... {len(rows) - most} more rows: --format csv shows them all", style="dim"))
    if rest:
        lines.append(text(rest, style="dim"))
    return [*lines, *([text("")] if len(lines) > 1 else [])]


def _ordered(name: str, rows: Sequence[Row]) -> list[str]:
    """Columns in the order of their worth to a reader: what does not fit goes from the end."""
    hidden = _HIDDEN.get(name, ())
    names = [n for n in dict.fromkeys(key for row in rows for key in row) if n not in hidden and n != "reason"]
    leading = fleets.of_loads(rows) if name == fleets.LOADS else _FIRST.get(name, ())
    first = [n for n in leading if n in names]
    if name == "sweep":
        axes = names[: names.index("feasible")]
        first = [*axes, "feasible", "fits", *(n for n in first if n not in (*axes, "fits"))]
    # A sweep, levers and scaling say it in `fits`.
    if "feasible" in names and (name in ("sweep", "scaling", training.LEVERS) or all(row["feasible"] for row in rows)):
        names.remove("feasible")
    return [n for n in first if n in names] + [n for n in names if n not in first]


def _same(name: str, rows: Sequence[Row]) -> Row:
    """Where designs run, as far as they all run alike: a column each would say nothing."""
    if name != "designs":
        return {}
    if all(row.get("model") == row["design"] for row in rows):  # the heading says it
        rows = [{**row, "model": ""} for row in rows]
    return {
        n: rows[0][n] for n in ("model", "hw", "engine", "plan") if n in rows[0] and len({row[n] for row in rows}) == 1
    }


def _bars(rows: Sequence[Row]) -> list[Part]:
    lines: list[Part] = [text("share of attention in attention + FFN FLOPs", style="bold")]
    for row in rows:
        filled = round(40 * float(row["attention_share"]))
        line = text(f"{int(row['length']):>9,} ")
        line.append("█" * filled, style="magenta")
        line.append("░" * (40 - filled), style="blue")
        line.append(f" {float(row['attention_share']):.0%}")
        lines.append(line)
    return lines
