"""What more thinking buys: accuracy, price and latency against the budget of tokens or the level, with intervals, and the budget at which a solved query is cheapest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from simcost.report.cells import cell
from simcost.report.figures.points import ends
from simcost.report.figures.scales import Scale, scale
from simcost.report.figures.style import (
    BLUE,
    GREEN,
    LINES,
    MARKERS,
    ORANGE,
    PAPER,
    Style,
    canvas,
    headed,
    key,
    settings,
    short,
    ticks,
    tip,
)
from simcost.result import Result, Row

NAME = "budget"
COMMANDS = ("think",)
NEEDS = "think with several budgets or levels"
_TABLES = ("answers", "larger model")
_SOLVED, _QUERY, _LATENCY = "usd_per_solved_query", "usd_per_query", "latency_s"
_WORDS = {"accuracy": "solved", _SOLVED: "$ per solved query", _QUERY: "$ per query", _LATENCY: "latency"}


class Point(NamedTuple):
    """A metric of one budget. SI; `low`, `high`: the 90 % interval of a time, the range of prices of a cost."""

    at: str
    y: float
    low: float | None
    high: float | None


class Line(NamedTuple):
    """Points of one model in one metric, in the order of the budgets; `late`: P95 of a latency, in the same order."""

    model: str
    points: Sequence[Point]
    late: Sequence[float]


def applies(result: Result) -> bool:
    """Whether a result has two budgets to compare."""
    return result.command == "think" and any(len(line.points) > 1 for lines in panels(result).values() for line in lines)  # fmt: skip


def panels(result: Result) -> dict[str, list[Line]]:
    """What is drawn: metric -> a line a model. SI."""
    tables = {name: rows for name in _TABLES if (rows := result.tables.get(name))}
    first = next(iter(tables.get("answers", ())), {})
    price = _SOLVED if first.get(_SOLVED) is not None else _QUERY
    found: dict[str, list[Line]] = {}
    for metric in ("accuracy", price, _LATENCY):
        lines = [_line(result, name, rows, metric) for name, rows in tables.items()]
        if any(line.points for line in lines):
            found[metric] = [line for line in lines if line.points]
    return found


def _line(result: Result, table: str, rows: Sequence[Row], metric: str) -> Line:
    model = str(result.inputs["model" if table == _TABLES[0] else "versus"])
    told = [row for row in rows if row.get(metric) is not None]
    late = [float(row["latency_p95_s"]) for row in told if metric == _LATENCY and row.get("latency_p95_s")]
    return Line(model, [Point(_at(row), float(row[metric]), *_ends(row, metric)) for row in told], late)


def _at(row: Row) -> str:
    """The budget or the level of a row, as its table says it."""
    name = "budget" if row.get("budget") is not None else "level"
    return str(row[name]) if row.get(name) is not None else ""


def _ends(row: Row, metric: str) -> tuple[float | None, float | None]:
    low, high = row.get(f"{metric}_price_low"), row.get(f"{metric}_price_high")
    return ends(row, metric) if low is None or high is None else (float(low), float(high))


def draw(result: Result, look: Style) -> Any:
    """A figure of matplotlib. Drawn values are those of `panels`."""
    found = panels(result)
    models = list(dict.fromkeys(line.model for lines in found.values() for line in lines))
    places = list(dict.fromkeys(point.at for lines in found.values() for line in lines for point in line.points))
    best, late = str(result.metrics.get("cheapest_solved_at", "")), any(line.late for line in found.get(_LATENCY, ()))
    marks = len(models) + bool(best in places) + late
    marks = 0 if marks == 1 else marks  # one line needs no key: what it is of stands below
    columns = 4 if look.slide else 1
    with settings(look):
        wide = len(found) if look.slide else 1
        figure, axes, place = canvas(look, [2.9] if look.slide else [1.45] * len(found), wide, -(-marks // columns))
        handles: dict[str, Any] = {}
        for (metric, lines), axis in zip(found.items(), axes.flat, strict=True):
            handles |= _panel(figure, axis, metric, lines, models, places, look)
            if best in places:
                handles["cheapest solved query"] = axis.axvline(_x(best, places), color=GREEN, linestyle=":", linewidth=1.6, label="best")  # fmt: skip
        if place is not None:
            key(place, list(handles.values()), [short(name, look.letters(0.85 / columns)) for name in handles], columns)
        levels = any(not place.isdecimal() for place in places)
        notes = [
            "bands: 90 % interval of a time" if _LATENCY in found else "",
            "range of prices of a cost" if any(point.low is not None for metric in (_SOLVED, _QUERY) for line in found.get(metric, ()) for point in line.points) else "",
        ]  # fmt: skip
        headed(figure, look, _question(found, "level" if levels else "budget"), result, ", ".join(filter(None, notes)))
    return figure


def _question(found: dict[str, list[Line]], what: str) -> str:
    return f"Which thinking {what} gives the cheapest solved query?" if _SOLVED in found else f"What does a larger thinking {what} cost?"  # fmt: skip


def _x(at: str, places: Sequence[str]) -> float:
    """Where a budget stands: at its tokens, a level at its number."""
    return float(at) if all(place.isdecimal() for place in places) else float(places.index(at))


def _panel(figure: Any, axis: Any, metric: str, lines: Sequence[Line], models: Sequence[str], places: Sequence[str], look: Style) -> dict[str, Any]:  # fmt: skip
    every = [end for line in lines for point in line.points for end in (point.low, point.y, point.high) if end is not None]  # fmt: skip
    every += [value for line in lines for value in line.late]
    unit = Scale(0.01, "%", "") if metric == "accuracy" else scale(metric, every)
    handles: dict[str, Any] = {}
    for line in lines:
        at = models.index(line.model)
        colour, xs = (BLUE, ORANGE)[at], [_x(point.at, places) for point in line.points]
        ys = [unit.of(point.y) for point in line.points]
        handles[line.model] = axis.plot(xs, ys, f"{MARKERS[at]}{LINES[at]}", color=colour, label=line.model)[0]
        ranged = [(point.low, point.high) for point in line.points if point.low is not None and point.high is not None]
        if len(ranged) == len(xs):
            low, high = ([unit.of(end) for end in each] for each in zip(*ranged, strict=True))
            axis.fill_between(xs, low, high, color=colour, alpha=0.18, linewidth=0.0, label="band")
        if len(line.late) == len(xs):
            p95 = axis.plot(xs, [unit.of(value) for value in line.late], f"{MARKERS[at]}:", color=colour, markerfacecolor=PAPER, markersize=3.5, linewidth=1.0, label="P95")[0]  # fmt: skip
            handles.setdefault("P95 of queries", p95)
        for point, x, y in zip(line.points, xs, ys, strict=True):
            within = "" if point.low is None or point.high is None else f" ({_shown(unit, point.low)} to {_shown(unit, point.high)})"  # fmt: skip
            dot = axis.plot([x], [y], MARKERS[at], color=colour, label="_")[0]
            tip(figure, dot, f"{line.model}, {_named(point.at)}: {_WORDS[metric]} {_shown(unit, point.y)}{within}")
    _axes(axis, metric, unit, places, every, look)
    return handles


def _shown(unit: Scale, value: float) -> str:
    return unit.shown(value) if unit.unit else f"${value:,.3g}"


def _named(at: str) -> str:
    return f"{int(at):,} tokens" if at.isdecimal() else at


def _axes(axis: Any, metric: str, unit: Scale, places: Sequence[str], every: Sequence[float], look: Style) -> None:
    xs = [_x(place, places) for place in places]
    numbers = all(place.isdecimal() for place in places)
    if numbers:
        ticks(axis, "x", min(xs), max(xs), look)
    if len(places) <= 8:
        axis.set_xticks(xs, [_tick(place) for place in places])
    low, high = unit.of(min(every)), unit.of(max(every))
    if metric == "accuracy":
        axis.set_ylim(0.0, 100.0)
    elif high > 12.0 * low > 0.0:
        ticks(axis, "y", low, high, look)
    else:
        axis.set_ylim(bottom=0.0)
    axis.set(xlabel="budget [tokens]" if numbers else "level of thinking", ylabel=f"{_WORDS[metric]}{f' [{unit.unit}]' if unit.unit else ''}")  # fmt: skip
    axis.grid(True, which="major")


def _tick(place: str) -> str:
    if place.isdecimal() and int(place) >= 1024 and int(place) % 1024 == 0:
        return f"{int(place) // 1024}k"
    return cell("budget", int(place)) if place.isdecimal() else place
