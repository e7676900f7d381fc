"""What one metric costs in another: throughput per GPU against speed for a user, or the two metrics of a map of designs, with the front that nothing beats."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Any, NamedTuple

from simcost.report.cells import title
from simcost.report.figures.points import axes, better, named, numeric, plan, rows
from simcost.report.figures.scales import Scale, scale
from simcost.report.figures.style import (  # fmt: skip
    FAINT,
    GREY,
    LINES,
    MARKERS,
    PAPER,
    SERIES,
    Style,
    beside,
    canvas,
    headed,
    key,
    settings,
    ticks,
    tip,
)
from simcost.result import Result, Row
from simcost.units import show

NAME = "pareto"
COMMANDS = ("plans", "sweep", "serve", "decode")
NEEDS = "plans, sweep, serve at several loads, decode with --vary batch"
USER, GPU = "output_tokens_per_s_per_user", "output_tokens_per_s_per_gpu"
_MOST = 8  # series, or devices, told apart
_NAMED = 4  # lines whose plans stand beside them; those of more lines lie over each other
_POOLS = ", disaggregated"
_DRAWN = 5000  # points
_VECTORS = 2000  # points that a file holds each by itself; more are an image in it
_BRIEF = 14  # letters of a name that stands beside its point; a longer one would lie over others


class Point(NamedTuple):
    """A design or a plan. SI; `name` stands under the pointer."""

    x: float
    y: float
    name: str


class Fronts(NamedTuple):
    """Series of points, joined where each is a front of its own; `front`: of all together; `misfits`: what does not fit in memory."""

    x: str
    y: str
    series: dict[str, list[Point]]
    joined: bool
    front: list[Point]
    misfits: list[Point]


def applies(result: Result) -> bool:
    """Whether a result has two points with both metrics."""
    found = fronts(result)
    return found is not None and sum(map(len, found.series.values())) > 1


def fronts(result: Result) -> Fronts | None:
    """What is drawn. SI; None where a result has nothing of the kind."""
    if result.command == "sweep":
        return _map(result)
    if result.command == "plans" and result.inputs.get("phase") == "serve":
        table = result.tables.get("pareto", ())
        found: dict[str, list[Point]] = {}
        for row in table:
            found.setdefault(f"{row['hw']}, {row['mode']}", []).append(_point(row, USER, GPU, str(row["plan"])))  # fmt: skip
        return Fronts(USER, GPU, found, True, [], []) if found else None
    if result.command == "plans":
        table = [row for row in islice(result.tables.get("plans", ()), _DRAWN) if row.get(USER) and row.get(GPU)]
        grouped: dict[str, list[Point]] = {}
        for row in table:
            grouped.setdefault(str(row["hw"]), []).append(_point(row, USER, GPU, plan(row, False)))
        return Fronts(USER, GPU, grouped, False, _front([one for each in grouped.values() for one in each], USER, GPU), []) if table else None  # fmt: skip
    return _along(result)


def _along(result: Result) -> Fronts | None:
    """Points of one design along its batch, or the loads that it serves."""
    x = numeric(result)
    if result.command not in ("decode", "serve") or x not in ("batch", "concurrency", "rate_per_s"):
        return None
    others = [path for path in axes(result) if path != x]
    found: dict[str, list[Point]] = {}
    misfits = []
    for row in rows(result):
        if row.get(USER) and row.get(GPU):
            point = _point(row, USER, GPU, f"{title(x)} {row[x]:,g}")
            if row.get("fits", True):
                found.setdefault(named(row, others), []).append(point)
            else:
                misfits.append(point)
    return Fronts(USER, GPU, found, True, [], misfits)


def _map(result: Result) -> Fronts | None:
    if not result.inputs.get("pareto") or "sweep" not in result.tables:
        return None
    (x, _), (y, _) = (each.split(":") for each in result.inputs["pareto"])
    first = next(iter(result.inputs["vary"]))
    known = [row for row in rows(result) if row.get(x) is not None and row.get(y) is not None]
    misfits = [_point(row, x, y, "") for row in known if not row["fits"]]
    found: dict[str, list[Point]] = {}
    names: dict[Any, str] = {}
    for row in (row for row in known if row["fits"]):
        name = names.setdefault(str(row[first]), named(row, [first]))
        found.setdefault(name, []).append(_point(row, x, y, ""))
    front = sorted(_point(row, x, y, "") for row in known if row["pareto"])
    return Fronts(x, y, found, False, front, misfits)


def _point(row: Row, x: str, y: str, name: str) -> Point:
    return Point(float(row[x]), float(row[y]), name)


def _front(points: Sequence[Point], x: str, y: str) -> list[Point]:
    """Points that none beats in both. Of what is better less the sign is turned."""
    signs = [-1.0 if better(name) == "less" else 1.0 for name in (x, y)]
    kept: list[Point] = []
    for one in sorted(points, key=lambda one: (-signs[0] * one.x, -signs[1] * one.y)):
        if not kept or signs[1] * one.y > signs[1] * kept[-1].y:
            kept.append(one)
    return sorted(kept)


def draw(result: Result, look: Style) -> Any:
    """A figure of matplotlib. Drawn values are those of `fronts`."""
    found = fronts(result)
    assert found is not None
    every = [*found.misfits, *(one for line in found.series.values() for one in line)]
    x, y = scale(found.x, [one.x for one in every]), scale(found.y, [one.y for one in every])
    shown = list(found.series.items())
    columns = beside([*found.series, "does not fit in memory", *(words for words, _ in _limits(result))], look)
    hues = list(dict.fromkeys(map(_device, found.series))) if found.joined else list(found.series)
    marks = min(len(shown), 2 * _MOST + 1) + bool(found.front) + bool(found.misfits) + len(_limits(result))
    with settings(look):
        figure, grid, place = canvas(look, [3.9 if look.slide else 2.3], key=-(-marks // columns))
        axis = grid[0, 0]
        if found.misfits:
            axis.plot([x.of(one.x) for one in found.misfits], [y.of(one.y) for one in found.misfits], "x", color=GREY, markersize=4, label="does not fit in memory", rasterized=len(every) > _VECTORS)  # fmt: skip
        for name, line in shown:
            at = hues.index(_device(name) if found.joined else name)
            _series(figure, axis, at, name, line, found, (x, y), every, look.slide)
        if found.front:
            axis.plot([x.of(one.x) for one in found.front], [y.of(one.y) for one in found.front], "-", color="#1a1a1b", linewidth=1.2, label="front of all designs")  # fmt: skip
        for words, value in _limits(result):
            axis.axvline(x.of(value), color=GREY, linestyle=":", label=words)
        for which, unit, values in (("x", x, [one.x for one in every]), ("y", y, [one.y for one in every])):
            ticks(axis, which, unit.of(min(values)), unit.of(max(values)), look)
        axis.set(xlabel=_with_side(x, found.x), ylabel=_with_side(y, found.y) if look.slide else y.brief)
        axis.grid(True, which="major")
        handles, names = axis.get_legend_handles_labels()
        key(place, handles, names, columns)
        headed(figure, look, _question(found), result)
    return figure


def _series(figure: Any, axis: Any, at: int, name: str, line: Sequence[Point], found: Fronts, units: tuple[Scale, Scale], every: Sequence[Point], told: bool) -> None:  # fmt: skip
    colour = SERIES[at % len(SERIES)] if at < _MOST else FAINT
    x, y = units
    apart = name.endswith(_POOLS)
    shape = MARKERS[at % len(MARKERS)] + ((LINES[1] if apart else LINES[0]) if found.joined else "")
    marks = axis.plot(
        [x.of(one.x) for one in line], [y.of(one.y) for one in line], shape, color=colour, markersize=5 if found.joined else 4, alpha=1.0 if found.joined else 0.75, markerfacecolor=PAPER if apart else colour,
        label=(name or "estimate") if at < _MOST else "others" if at == _MOST else "_", rasterized=len(every) > _VECTORS,
    )[0]  # fmt: skip
    tip(figure, marks, name or "estimate")
    if found.joined and told and len(found.series) <= _NAMED:  # a column has no room for names between its lines
        changes = [i for i, one in enumerate(line) if i == 0 or one.name != line[i - 1].name]
        for i in changes[:: max(-(-len(changes) // 3), 1)]:
            one = line[i]
            if len(one.name) > _BRIEF:
                continue
            axis.annotate(
                one.name, (x.of(one.x), y.of(one.y)), xytext=(4, 4 + 7 * (at % 2)), textcoords="offset points", fontsize=7, color=colour,
            )  # fmt: skip


def _device(name: str) -> str:
    """What both lines of a device share: their colour and marker; pools are dashed and hollow."""
    return name.removesuffix(_POOLS).removesuffix(", aggregated")


def _limits(result: Result) -> list[tuple[str, float]]:
    """Where a limit on TPOT stands on an axis of tokens a second."""
    most = result.inputs.get("limits", {}).get("tpot_s") if result.command == "plans" else None
    return [] if most is None else [(f"TPOT at most {show(most, 'seconds')}", 1.0 / float(most))]


def _with_side(unit: Scale, name: str) -> str:
    side = better(name)
    return f"{unit.label} ({side} is better)" if side else unit.label


def _question(found: Fronts) -> str:
    if (found.x, found.y) == (USER, GPU):
        return "What does speed for each user cost in throughput per GPU?"
    return f"How do {title(found.x)} and {title(found.y)} trade off?"
