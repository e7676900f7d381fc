"""How far predictions are from measurements: every row as a point, measured along, predicted up, with the interval of the prediction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

from simcost.report.cells import title
from simcost.report.figures.points import ends
from simcost.report.figures.scales import Scale, scale
from simcost.report.figures.style import (  # fmt: skip
    FAINT,
    GREY,
    INK,
    MARKERS,
    PAPER,
    SERIES,
    SKY,
    Style,
    beside,
    canvas,
    headed,
    key,
    settings,
    short,
    ticks,
    tip,
    wrapped,
)
from simcost.result import Result, Row

NAME = "against"
COMMANDS = ("validate kernels", "validate blocks", "validate serving", "calibrate memory", "recipe", "trace")
NEEDS = "validate kernels, validate blocks, validate serving of a benchmark of yours, calibrate memory, recipe, trace"
_WORDS = (("measured_", "predicted_"), ("printed_", "predicted_"), ("published_", ""))
_GROUPS = ("quantity", "op", "kind", "block", "family", "term", "part", "engine", "published_what")
_SERIES, _DRAWN, _PANELS = 7, 3000, 3
_ROWS = 12  # pairs of a panel that have a line each, with their names; more are points of a square
_NEAR = 0.25  # of the dotted lines


class Pair(NamedTuple):
    """A row. SI; `low`, `high`: ends of the interval of what is predicted, where there is one; `apart`: was looked at before, and judges nothing."""

    group: str
    measured: float
    predicted: float
    low: float | None
    high: float | None
    name: str
    apart: bool


class Panel(NamedTuple):
    """Pairs of one unit. `metric`: the name by which its unit is known."""

    metric: str
    pairs: Sequence[Pair]
    table: str


def applies(result: Result) -> bool:
    """Whether a result has rows beside measurements."""
    return bool(panels(result))


def panels(result: Result) -> list[Panel]:
    """What is drawn: tables of pairs, the first three. The worst rows alone would mislead."""
    tables = [(name, list(islice(rows, _DRAWN))) for name, rows in result.tables.items() if "worst" not in name]
    if result.command == "trace":  # its other tables are parts of these rows
        tables = tables[:1]
    found = [Panel(metric, pairs, name) for name, rows in tables for metric, pairs in _of_table(rows).items()]
    return found[:_PANELS]


def _of_table(rows: Sequence[Row]) -> dict[str, list[Pair]]:
    found: dict[str, list[Pair]] = {}
    for row in rows:
        for measured, predicted in _names(row):
            both = row.get(measured), row.get(predicted)
            if all(isinstance(one, (int, float)) and one > 0.0 for one in both):
                low, high = _interval(row, predicted)
                group = next((str(row[one]) for one in _GROUPS if row.get(one)), "")
                name = ", ".join(
                    str(row[one]) for one in ("id", "work", "source", "kernel", "model", "recipe") if row.get(one)
                )
                found.setdefault(measured, []).append(Pair(group, float(both[0] or 0.0), float(both[1] or 0.0), low, high, name, bool(row.get("looked_at"))))  # fmt: skip
    return found


def _names(row: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Columns of what was measured, each with that of what is predicted."""
    both = [(name, after + name.removeprefix(before)) for name in row for before, after in _WORDS if name.startswith(before)]  # fmt: skip
    return [(name, other) for name, other in both if other in row]


def _interval(row: Mapping[str, Any], predicted: str) -> tuple[float | None, float | None]:
    low, high = row.get("low_s"), row.get("high_s")
    if predicted == "predicted_s" and low is not None and high is not None:
        return float(low), float(high)
    return ends(row, predicted)


def draw(result: Result, look: Style) -> Any:
    """A figure of matplotlib. Drawn values are those of `panels`."""
    found = panels(result)
    if all(len(panel.pairs) <= _ROWS and all(pair.name for pair in panel.pairs) for panel in found):
        return _few(result, look, found)
    groups = list(dict.fromkeys(pair.group for panel in found for pair in panel.pairs))
    columns = beside(groups, look)
    apart = any(pair.apart for panel in found for pair in panel.pairs)
    lines = -(-(min(len(groups), _SERIES) + 1 + (len(groups) > _SERIES)) // columns)
    with settings(look):
        tall, several = (4.2 if look.slide else 2.6), len(found) if look.slide else 1
        figure, grid, place = canvas(look, [tall] if look.slide else [tall] * len(found), several, lines)
        handles: dict[str, Any] = {}
        for panel, axis in zip(found, grid.flat, strict=True):
            handles |= _panel(figure, axis, panel, groups, look, len(found) > 1 and look.slide)
        room = look.letters(0.85 / columns)
        key(place, list(handles.values()), [short(name, room) for name in handles], columns)
        pairs = sum(len(panel.pairs) for panel in found)
        note = f"{pairs:,} pairs of {', '.join(repr(panel.table) for panel in found)}; lines: 90 % interval{'; hollow: seen before a decision, not used to judge' if apart else ''}"  # fmt: skip
        headed(figure, look, "How far are predictions from measurements?", result, note)
    return figure


def _few(result: Result, look: Style, found: Sequence[Panel]) -> Any:
    """Each pair in a line of its own: how long the measurement is as a bar, the prediction as a point with its interval."""
    lines = any(pair.low is not None for panel in found for pair in panel.pairs)
    with settings(look):
        tall = [0.55 + (0.32 if look.slide else 0.22) * len(panel.pairs) for panel in found]
        figure, grid, place = canvas(look, tall, key=1)
        for panel, axis in zip(found, grid[:, 0], strict=True):
            unit = scale(
                panel.metric, [value for pair in panel.pairs for value in (pair.measured, pair.high or pair.predicted)]
            )
            for at, pair in enumerate(panel.pairs):
                bar = axis.barh(at, unit.of(pair.measured), height=0.6, color=SKY, label="measured")[0]
                if pair.low is not None and pair.high is not None:
                    axis.plot(
                        [unit.of(pair.low), unit.of(pair.high)],
                        [at, at],
                        "-",
                        color=INK,
                        linewidth=1.4,
                        label="interval",
                    )
                axis.plot(
                    [unit.of(pair.predicted)],
                    [at],
                    "o",
                    color=INK,
                    markerfacecolor=PAPER if pair.apart else INK,
                    label="predicted",
                )
                tip(figure, bar, f"{pair.name}: {unit.shown(pair.measured)}, predicted {unit.shown(pair.predicted)}")
            words = [wrapped(pair.name, look, look.font - 1.5, 2, 0.3) for pair in panel.pairs]
            axis.set(
                yticks=range(len(words)),
                yticklabels=words,
                ylim=(len(words) - 0.5, -0.5),
                xlabel=_of_panel(panel, unit),
            )
            axis.set_xlim(0.0)
            axis.grid(True, axis="x")
        handles, names = grid[0, 0].get_legend_handles_labels()
        first = {name: handle for name, handle in zip(names, handles, strict=True) if name in ("measured", "predicted")}
        key(place, list(first.values()), list(first), 2)
        headed(
            figure,
            look,
            "How far are predictions from measurements?",
            result,
            "lines: 90 % interval of the prediction" if lines else "",
        )
    return figure


def _of_panel(panel: Panel, unit: Scale) -> str:
    """What an axis of one panel says: "TTFT [ms]"."""
    words = unit.unit or panel.metric.partition("_")[2].replace("_per_s", "/s").replace("_", " ")
    quantity = {"ttft": "TTFT", "tpot": "TPOT", "kinds of work": "time of a step"}.get(panel.table, panel.table)
    return f"{quantity} [{words}]"


def _panel(figure: Any, axis: Any, panel: Panel, groups: Sequence[str], look: Style, several: bool) -> dict[str, Any]:
    every = [value for pair in panel.pairs for value in (pair.measured, pair.predicted)]
    unit = scale(panel.metric, every)
    low, high = unit.of(min(every)) / 1.4, unit.of(max(every)) * 1.4
    axis.plot([low, high], [low, high], "-", color=INK, linewidth=0.9, zorder=1, label="equal")
    near = [axis.plot([low, high], [factor * low, factor * high], ":", color=GREY, linewidth=0.9, zorder=1, label="near")[0] for factor in (1.0 + _NEAR, 1.0 - _NEAR)]  # fmt: skip
    handles: dict[str, Any] = {}
    many = len(panel.pairs) > 400
    for at, group in enumerate(groups):
        mine = [pair for pair in panel.pairs if pair.group == group]
        colour = SERIES[at % len(SERIES)] if at < _SERIES else FAINT
        for pair in mine:
            if pair.low is not None and pair.high is not None:
                axis.plot([unit.of(pair.measured)] * 2, [unit.of(pair.low), unit.of(pair.high)], "-", color=colour, linewidth=0.6, alpha=0.6, zorder=2, label="interval", rasterized=many)  # fmt: skip
        for apart in (False, True):
            some = [pair for pair in mine if pair.apart is apart]
            if some:
                marks = axis.plot(
                    [unit.of(pair.measured) for pair in some], [unit.of(pair.predicted) for pair in some], MARKERS[at % len(MARKERS)] if at < _SERIES else ".", color=colour,
                    markerfacecolor=PAPER if apart else colour, markersize=3.5 if len(panel.pairs) > 60 or not look.slide else 5.5, zorder=3, label="pairs", rasterized=many,
                )[0]  # fmt: skip
                handles.setdefault(group or "rows" if at < _SERIES else f"{len(groups) - _SERIES} others", marks)
                tip(figure, marks, _said(group, some, unit))
    for which in ("x", "y"):
        ticks(axis, which, low, high, look, few=several)
        getattr(axis, f"set_{which}lim")(low, high)
    words = unit.unit or title(panel.metric.partition("_")[2].removesuffix("_per_s")) + "/s" * panel.metric.endswith(
        "_per_s"
    )
    axis.set(xlabel=f"{panel.metric.partition('_')[0]} [{words}]", ylabel=f"predicted [{words}]")
    axis.set_title(panel.table, loc="left")
    axis.grid(True, which="major")
    return {**handles, f"±{_NEAR:.0%}": near[0]}


def _said(group: str, pairs: Sequence[Pair], unit: Scale) -> str:
    """What stands under the pointer: the largest errors of a group."""
    worst = sorted(pairs, key=lambda pair: -abs(pair.predicted / pair.measured - 1.0))[:3]
    told = [f"{pair.name}: {unit.shown(pair.measured)}, predicted {unit.shown(pair.predicted)}" for pair in worst]
    return f"{group}{': ' if group else ''}{len(pairs)} rows; furthest off: {'; '.join(told)}"
