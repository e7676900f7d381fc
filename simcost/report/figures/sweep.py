"""How a metric changes along an axis: a line a series with the band of its 90 % interval; points that do not fit in memory are hollow."""

from __future__ import annotations

from typing import Any

from simcost.report.cells import title
from simcost.report.figures.points import Value, numeric, rows, series, timed
from simcost.report.figures.scales import Scale, scale
from simcost.report.figures.style import (
    LINES,
    MARKERS,
    PAPER,
    SERIES,
    Style,
    beside,
    canvas,
    headed,
    key,
    number,
    settings,
    short,
    ticks,
    tip,
)
from simcost.result import Result

NAME = "sweep"
COMMANDS = ("decode", "prefill", "sweep", "serve")
NEEDS = "decode or prefill with --vary of numbers, sweep, serve at several loads"
_MOST = 6  # series of a figure
_DOTS = 40  # points of a line up to which each has its mark
_RATES = ("output_tokens_per_s_per_gpu", "input_tokens_per_s_per_gpu", "tokens_per_s_per_gpu")


def applies(result: Result) -> bool:
    """Whether a result has two points along an axis of numbers."""
    x = numeric(result)
    return x is not None and any(len({one.x for one in line}) > 1 for line in _lines(result, timed(result), x).values())


def panels(result: Result) -> dict[str, dict[str, list[Value]]]:
    """What is drawn: metric -> series -> values along the axis. SI."""
    x = numeric(result)
    assert x is not None
    first = rows(result)[0]
    metrics = [timed(result), *[name for name in _RATES if first.get(name) is not None][:1]]
    return {metric: _some(_lines(result, metric, x)) for metric in metrics}


def _some(lines: dict[str, list[Value]]) -> dict[str, list[Value]]:
    """As many as a figure holds, from the first to the last."""
    names = list(lines)
    if len(names) > _MOST:
        names = [names[at * (len(names) - 1) // (_MOST - 1)] for at in range(_MOST)]
    return {name: lines[name] for name in names}


def _lines(result: Result, metric: str, x: str) -> dict[str, list[Value]]:
    return series(result, metric, x) if metric else {}


def draw(result: Result, look: Style) -> Any:
    """A figure of matplotlib. Drawn values are those of `panels`."""
    found, x = panels(result), numeric(result)
    assert x is not None
    left_out = len(_lines(result, timed(result), x)) - _MOST
    xs = sorted({float(one.x) for lines in found.values() for line in lines.values() for one in line})
    with settings(look):
        wide = look.slide
        names = list(next(iter(found.values())))
        columns = min(len(names), beside(names, look))
        lines_of_key = 0 if names == [""] else -(-len(names) // columns)
        figure, grid, place = canvas(look, [3.6] if wide else [1.75] * len(found), len(found) if wide else 1, lines_of_key)  # fmt: skip
        for (metric, lines), axis in zip(found.items(), grid.flat, strict=True):
            unit = scale(metric, [one.high or one.y for line in lines.values() for one in line])
            for at, (name, line) in enumerate(lines.items()):
                _line(figure, axis, at, name, line, unit, (x, _hollow(result)))
            axis.set(xlabel=scale(x, xs).label, ylabel=unit.label if wide else unit.brief)
            _spread(axis, xs, [unit.of(one.y) for line in lines.values() for one in line], look)
            axis.grid(True, which="major")
        if place is not None:
            handles = grid.flat[0].get_legend_handles_labels()[0]
            key(place, handles, [short(name, look.letters(0.85 / columns)) for name in names], columns)
        note = f"bands: 90 % interval; hollow: {_hollow(result)}" + (f"; {left_out} more series are not drawn" if left_out > 0 else "")  # fmt: skip
        words = title(timed(result).removesuffix("_s"))
        along = scale(x, xs).label.partition(" [")[0]
        headed(figure, look, f"How does {words.upper() if len(words) == 4 else words} change with {along}?", result, note)  # fmt: skip
    return figure


def _hollow(result: Result) -> str:
    """What a hollow point means."""
    return "more load than can be served" if result.command == "serve" else "does not fit in memory"


def _line(figure: Any, axis: Any, at: int, name: str, line: list[Value], unit: Scale, words: tuple[str, str]) -> None:
    colour, marker = SERIES[at % len(SERIES)], MARKERS[at % len(MARKERS)]
    places, values = [float(one.x) for one in line], [unit.of(one.y) for one in line]
    axis.plot(places, values, LINES[at % len(LINES)], color=colour, label=name or "estimate")
    spans = [(one.low, one.high) for one in line if one.low is not None and one.high is not None]
    if len(spans) == len(line):
        low, high = ([unit.of(end) for end in each] for each in zip(*spans, strict=True))
        axis.fill_between(places, low, high, color=colour, alpha=0.18, linewidth=0.0)
    if len(line) > _DOTS:  # a line, and where it does not fit hollow marks, of which every n-th would do
        hollow = [(place, shown) for place, shown, one in zip(places, values, line, strict=True) if not one.fits]
        hollow = hollow[:: max(len(hollow) // 12, 1)]
        axis.plot(
            [x for x, _ in hollow], [y for _, y in hollow], marker, color=colour, markerfacecolor=PAPER, label="_"
        )
        return
    for place, shown, one in zip(places, values, line, strict=True):
        dot = axis.plot([place], [shown], marker, color=colour, markerfacecolor=colour if one.fits else PAPER, label="_")[0]  # fmt: skip
        within = "" if one.low is None or one.high is None else f" ({unit.shown(one.low)} to {unit.shown(one.high)})"
        tip(figure, dot, f"{name + ', ' if name else ''}{title(words[0])} {place:,g}: {unit.shown(one.y)}{within}{'' if one.fits else f'; {words[1]}'}")  # fmt: skip


def _spread(axis: Any, xs: list[float], values: list[float], look: Style) -> None:
    """Values far apart on an axis of logarithms, with the points that were asked as ticks."""
    ticks(axis, "x", xs[0], xs[-1], look)
    if min(values) > 0.0 and max(values) > 30.0 * min(values):
        ticks(axis, "y", min(values), max(values), look)
    else:
        axis.set_ylim(bottom=0.0)
        ticks(axis, "y", 0.0, 0.0, look)
    if len(xs) <= 8:
        axis.set_xticks(xs, [_tick(value) for value in xs])


def _tick(value: float) -> str:
    """Lengths in Ki where they are whole: 4k for 4,096."""
    if value >= 1024.0 and value % 1024.0 == 0.0:
        return f"{value / 1024.0:,g}k"
    return number(value)
