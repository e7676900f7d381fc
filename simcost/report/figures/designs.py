"""Designs, plans or devices side by side: each metric with its 90 % interval, best on top; what cannot be told from the best is filled."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from simcost.report.cells import title
from simcost.report.figures.marks import Mark, marked
from simcost.report.figures.marks import rows as named
from simcost.report.figures.points import axes, better, ends, labels, numeric, plan, rows, timed
from simcost.report.figures.scales import scale
from simcost.report.figures.style import Style, canvas, headed, settings, wrapped
from simcost.result import Result, Row

NAME = "designs"
COMMANDS = ("compare", "plans", "decode", "prefill", "sweep")
NEEDS = "compare, plans, decode, prefill or sweep with --vary of names"
_MOST = 12  # rows of a figure
_COMPARED = ("ttft_s", "tpot_s", "step_s", "usd_per_million_output_tokens", "usd_per_billion_tokens")


# The time that a price follows from: its interval is that of the price too.
_PAID_FOR = {
    "usd_per_million_output_tokens": "tpot_s",
    "usd_per_million_input_tokens": "ttft_s",
    "usd_per_billion_tokens": "step_s",
}


def applies(result: Result) -> bool:
    """Whether a result has two designs with a number to compare."""
    return any(len(found) > 1 for found in panels(result).values())


def panels(result: Result) -> dict[str, list[Mark]]:
    """What is drawn: metric -> designs, best first; filled are the best and what cannot be told from it. SI."""
    found: dict[str, list[Mark]] = {}
    for metric, names, table in _asked(result):
        both = [(name, row) for name, row in zip(names, table, strict=True) if row.get(metric) is not None]
        judged = [Mark(name, float(row[metric]), *_ends(row, metric), _tied(result, name, row, metric), bool(row.get("fits", True)), _prices(row, metric)) for name, row in both]  # fmt: skip
        if result.command != "plans":  # whose order is that of the metric which ranks them, in every panel
            judged.sort(key=lambda one: -one.y if better(metric) == "more" else one.y)
        if judged:
            found[metric] = _marked(judged)[:_MOST]
    return found


def _asked(result: Result) -> list[tuple[str, Sequence[str], Sequence[Row]]]:
    """(metric, names, rows) of what a result compares."""
    if result.command == "compare":
        table = [row for row in result.tables.get("designs", ()) if row.get("feasible", True) and "design" in row]
        names = [str(row["design"]) for row in table]
        return [(metric, names, table) for metric in _COMPARED if any(row.get(metric) is not None for row in table)]
    if result.command == "plans":
        every = _per_device(result) or islice(result.tables.get("plans", ()), 5000)
        table = [row for row in every if row.get("feasible", True)][:_MOST]
        several = len({(row["hw"], row["gpus"]) for row in table}) > 1
        names = [plan(row, several) for row in table]
        wanted = dict.fromkeys([str(result.inputs.get("metric", "")), "ttft_s", "tpot_s", "step_s"])
        return [(metric, names, table) for metric in wanted if any(row.get(metric) is not None for row in table)]
    if result.command in ("decode", "prefill", "sweep") and axes(result) and numeric(result) is None:
        table = rows(result)[:_MOST]
        names = labels(result, table)[1]
        metrics = [timed(result), "usd_per_million_output_tokens", "usd_per_million_input_tokens"]
        return [(metric, names, table) for metric in metrics if any(row.get(metric) is not None for row in table)]
    return []


def _per_device(result: Result) -> Sequence[Row]:
    """The best plans of each device, where an answer has several: which GPU is the question then, and a dozen plans of the first are no answer."""
    found = result.tables.get("best per device", ())
    return found if len({row["hw"] for row in found}) > 1 else ()


def _ends(row: Row, metric: str) -> tuple[float | None, float | None]:
    """Both ends of the interval; of a price those of the time that it follows from."""
    low, high = ends(row, metric)
    time = _PAID_FOR.get(metric, "")
    if low is not None or row.get(time) is None:
        return low, high
    least, most = ends(row, time)
    usd, seconds = float(row[metric]), float(row[time])
    return (None, None) if least is None or most is None else (usd * least / seconds, usd * most / seconds)


def _prices(row: Row, metric: str) -> tuple[float, float] | None:
    low, high = row.get(f"{metric}_price_low"), row.get(f"{metric}_price_high")
    return None if low is None or high is None else (float(low), float(high))


def _tied(result: Result, name: str, row: Row, metric: str) -> bool:
    """What the answer itself says of ties: of this metric, else of the one that it ranks by."""
    best = result.metrics.get(f"best_{metric}")
    if best is not None:
        return name in (best, *str(result.metrics.get(f"tied_{metric}", "")).split(", "))
    ranked = {"step_s": "speed"}.get(metric, metric.removesuffix("_s"))
    return bool(row.get(f"{ranked}_best_or_tied", row.get("best_or_tied", False)))


def _marked(judged: list[Mark]) -> list[Mark]:
    """Where the answer says nothing of ties the best alone is marked."""
    return judged if any(one.filled for one in judged) else [judged[0]._replace(filled=True), *judged[1:]]


def draw(result: Result, look: Style) -> Any:
    """A figure of matplotlib. Drawn values are those of `panels`."""
    found = panels(result)
    most = max(len(judged) for judged in found.values())
    two = any(len(one.name) > look.letters(0.42, look.font - 1.5) for each in found.values() for one in each)
    tall = 0.9 + (0.3 if look.slide else 0.2) * most * (1.4 if two else 1.0)
    with settings(look):
        wide = (
            look.slide
            and len(found) <= 3
            and most * max(len(one.name) for each in found.values() for one in each) < 400
        )
        wide = wide and max(len(one.name) for each in found.values() for one in each) <= 22
        figure, grid, _ = canvas(look, [tall] if wide else [tall] * len(found), len(found) if wide else 1)
        for (metric, judged), axis in zip(found.items(), grid.flat, strict=True):
            _panel(figure, axis, metric, judged, look, len(found) if wide else 1)
        headed(figure, look, _question(result), result, "; ".join(_read(result, found)))
    return figure


def _read(result: Result, found: Mapping[str, Sequence[Mark]]) -> Iterator[str]:
    """What the marks mean, of those that are drawn."""
    every = [one for judged in found.values() for one in judged]
    if any(one.high is not None for one in every):
        yield "lines: 90 % interval"
    if any(one.prices for one in every):
        yield "thin lines: range of the price of a GPU"
    yield f"filled: {_filled(result)}"
    if not all(one.fits for one in every):
        yield "x: does not fit in memory"


def _filled(result: Result) -> str:
    """What a filled point means: answers that compare say which designs cannot be told apart, a sweep does not."""
    if result.command == "compare":
        return "the best, and what is tied with it"
    if result.command == "plans":
        return f"the best by {title(str(result.inputs.get('metric', '')))}, and what is tied with it"
    return "the best estimate (simcost compare shows ties)"


def _question(result: Result) -> str:
    what = "design" if result.command != "plans" else "GPU" if _per_device(result) else "plan"
    return f"Which {what} is best, and is the difference certain?"


def _panel(figure: Any, axis: Any, metric: str, judged: Sequence[Mark], look: Style, columns: int) -> None:
    unit = scale(metric, [one.most for one in judged])
    for at, one in enumerate(judged):
        marked(figure, axis, at, one, unit, more="" if one.fits else "; does not fit in memory")
    share, size = 0.42 / columns, look.font - 1.5
    named(axis, [wrapped(one.name, look, size, 2, share) for one in judged], look.letters(share, size))
    axis.set_xlabel(unit.label if look.slide and columns == 1 else unit.brief)
    axis.set_xlim(0.0, 1.06 * max(unit.of(one.most) for one in judged))
    axis.grid(True, axis="x")
