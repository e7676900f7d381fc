"""The Gantt picture of a pipeline: a row a rank, a colour a kind of pass; below it, of a training step, memory over time.

The area of a colour is time: what communication takes of a pass and nothing hides is a strip along the pass, as high as its share. Colours: Okabe and Ito, Color Universal Design (2008), and one of Tol's for what theirs
have none left; tests hold them apart for protanopes, deuteranopes and tritanopes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from simcost import units
from simcost.report.bars import GATHERS, GRADIENTS, OPTIMIZER, Bar, Chart, Levels
from simcost.report.figures.style import tip
from simcost.training import split
from simcost.units import show

IDLE = "idle"
COLOURS = {
    "F": "#56B4E9", "BW": "#E69F00", "W": "#009E73", split.EXPERT: "#CC79A7", split.TENSOR: "#D55E00", split.CONTEXT: "#882255",
    split.PIPELINE: "#F0E442", split.DATA: "#0072B2", split.OPTIMIZER: "#000000", IDLE: "#E6E6E6",
}  # fmt: skip
WORDS = {
    "F": "forward", "BW": "gradients (of inputs, or both in one)", "W": "weight gradients", split.EXPERT: "exposed exchange of tokens",
    split.TENSOR: "exposed tensor parallel", split.CONTEXT: "exposed context parallel", split.PIPELINE: "exposed hops",
    split.DATA: "exposed data parallel", split.OPTIMIZER: "optimizer", IDLE: "bubble",
}  # fmt: skip
_KINDS = {"B": "BW", GRADIENTS: split.DATA, GATHERS: split.DATA, OPTIMIZER: split.OPTIMIZER}
_GIB = units.parse("1 GiB", "bytes")
_SINGLE = 400  # bars up to which each says under the pointer what it is
_LABELLED = 60  # passes of a rank up to which each shows its micro-batch
_VECTORS = (
    6000  # rectangles, or steps, that a file holds each by itself; more are an image in it, which bounds the file
)
_TALLEST = 7.0  # inches of all rows
_PARTED = (
    400  # passes of a rank up to which a line parts each from the next: of more the lines would be most of the picture
)
_TEXT = 2.9  # order of drawing: what stands below may be an image
_INK = "#1a1a1a"
_HEIGHT = 0.9  # of a row, of 1
Rectangle = tuple[float, float, float, float]  # left, right, top, bottom


def kind_of(bar: str) -> str:
    """The colour's name of a kind of bar."""
    return _KINDS.get(bar, bar)


def kinds_of(charts: Sequence[Chart]) -> dict[str, tuple[str, str]]:
    """Colour and words of every kind of bar: the charts' own, or those of a pipeline."""
    own = {name: one for chart in charts for name, one in chart.kinds.items()}
    idle = {IDLE: (COLOURS[IDLE], "waits")}
    return {**own, **idle} if own else {name: (colour, WORDS[name]) for name, colour in COLOURS.items()}


def kinds_drawn(charts: Sequence[Chart]) -> list[tuple[str, str]]:
    """Colour and words of what a picture of charts holds."""
    drawn = {IDLE, *(kind_of(bar.kind) for chart in charts for bar in chart.bars)}
    drawn |= {name for chart in charts for bar in chart.bars for name, _ in bar.wires}
    return [one for name, one in kinds_of(charts).items() if name in drawn]


def heights(chart: Chart) -> list[float]:
    """Of its axes. [inch]"""
    return [max(1.1 + min(0.26 * chart.ranks, _TALLEST), 1.8), *([2.6] if chart.memory else [])]


def passes(figure: Any, axis: Any, chart: Chart, last: float, wide: float) -> None:
    """The bars of one chart on an axis that is so wide. [inch] Of few bars each says under the pointer what it is, of many each colour."""
    most = max(Counter(bar.rank for bar in chart.bars).values())
    labelled, edge = most <= _LABELLED, 0.5 if most <= _LABELLED else 0.15 if most <= _PARTED else 0.0
    half = _HEIGHT / 2.0
    coloured: dict[str, list[Rectangle]] = {IDLE: [(0.0, last, rank - half, rank + half) for rank in range(chart.ranks)]}  # fmt: skip
    for bar in (one for one in chart.bars if one.end > one.start):
        top, bottom = _rows(bar)
        coloured.setdefault(kind_of(bar.kind), []).append((bar.start, bar.end, top, bottom))
        for name, seconds in bar.wires:
            above = bottom - (_rows(bar)[1] - top) * min(seconds / (bar.end - bar.start), 1.0)
            coloured.setdefault(name, []).append((bar.start, bar.end, above, bottom))
            bottom = above
    many = sum(map(len, coloured.values())) > _VECTORS
    known = kinds_of([chart])
    for name in (IDLE, *known):
        if name in coloured:
            each = coloured.pop(name)
            area = _area(axis, each, known[name][0], edge)
            if len(chart.bars) > _SINGLE and name != IDLE:
                tip(figure, area, f"{known[name][1]}: {len(each):,} times, {show(sum(end - start for start, end, _, _ in each), 'seconds')} on all {'ranks' if not chart.rows else 'rows'}")  # fmt: skip
    _image(axis, many)
    _told_each(figure, axis, chart, known)
    for bar in chart.bars if labelled else ():
        if bar.end - bar.start > last * 0.09 / wide and bar.microbatch >= 0 and kind_of(bar.kind) in ("F", "BW", "W"):
            middle = sum(_rows(bar)) / 2.0
            axis.text((bar.start + bar.end) / 2.0, middle, str(bar.microbatch), ha="center", va="center", fontsize=6 if bar.half else 7, color=_INK)  # fmt: skip
    axis.set(xlim=(0.0, last), ylim=(chart.ranks - 0.5, -0.5), yticks=range(0, chart.ranks, max(chart.ranks // 8, 1)), ylabel="rank")  # fmt: skip
    if chart.rows:
        axis.set(yticks=range(chart.ranks), yticklabels=list(chart.rows), ylabel="")


def _told_each(figure: Any, axis: Any, chart: Chart, known: Mapping[str, tuple[str, str]]) -> None:
    """What each of few bars is, under the pointer: on a rectangle that cannot be seen, for the bars of a colour are one path."""
    from matplotlib.patches import Rectangle as Patch

    for bar in chart.bars if len(chart.bars) <= _SINGLE else ():
        top, bottom = _rows(bar)
        words = known[kind_of(bar.kind)][1] + (f" of micro-batch {bar.microbatch}" if bar.microbatch >= 0 and not chart.rows else "")  # fmt: skip
        exposed = "".join(f"; {known[name][1]} {show(seconds, 'seconds')} of it" for name, seconds in bar.wires)
        where = chart.rows[bar.rank] if chart.rows else f"rank {bar.rank}"
        over = Patch((bar.start, top), bar.end - bar.start, bottom - top, facecolor="white", alpha=0.004, linewidth=0.0, label="tip")  # fmt: skip
        tip(figure, axis.add_patch(over), f"{where}: {words}, {show(bar.end - bar.start, 'seconds')}, from {show(bar.start, 'seconds') if bar.start else '0 s'} to {show(bar.end, 'seconds')}{exposed}{'; ' + bar.said if bar.said else ''}")  # fmt: skip


def _rows(bar: Bar) -> tuple[float, float]:
    """Top and bottom of a bar: of the row, or of its upper or lower half."""
    top = bar.rank - _HEIGHT / 2.0 + (_HEIGHT / 2.0 if bar.half == 2 else 0.0)
    return top, top + (_HEIGHT if bar.half == 0 else _HEIGHT / 2.0)


def _area(axis: Any, rectangles: Sequence[Rectangle], colour: str, edge: float) -> Any:
    """Rectangles of one colour as one path: a file holds four corners of each, and no style."""
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    left, right, top, bottom = np.array(rectangles).T
    corners = np.stack([np.stack(pair, -1) for pair in ((left, top), (right, top), (right, bottom), (left, bottom), (left, top))], 1)  # fmt: skip
    codes = np.tile([Path.MOVETO, Path.LINETO, Path.LINETO, Path.LINETO, Path.CLOSEPOLY], len(rectangles))
    return axis.add_patch(PathPatch(Path(corners.reshape(-1, 2), codes), facecolor=colour, edgecolor="white", linewidth=edge))  # fmt: skip


def _image(axis: Any, many: bool) -> None:
    """Draws what is filled and plotted as one image in a file of vectors, where it is `many`; text and axes stay."""
    if many:
        axis.set_rasterization_zorder(_TEXT)


def memory(axis: Any, chart: Chart, last: float) -> None:
    """The fullest rank as what it is made of, all others as lines, and the capacity."""
    fullest = max(range(chart.ranks), key=lambda rank: chart.memory[rank].peak)
    many = sum(len(one.activations) for one in chart.memory) > _VECTORS
    shades = _shades(chart.ranks)
    for rank, levels in enumerate(chart.memory):
        if rank != fullest:
            times, totals = _steps(levels, last)
            axis.plot(times, totals, color=shades[rank], linewidth=0.8, drawstyle="steps-post", zorder=2.5,
                      label=f"rank {rank}" if rank in _told(chart.ranks, fullest) else None)  # fmt: skip
    one = chart.memory[fullest]
    times, totals = _steps(one, last)
    state, floor = one.state / _GIB, (one.state + one.other) / _GIB
    axis.fill_between(times, 0.0, state, color="#b8b8b8", linewidth=0.0, label=f"rank {fullest} (fullest): model states")  # fmt: skip
    axis.fill_between(times, state, floor, color="#dcdcdc", linewidth=0.0, label="buffers, temporaries, slack, runtime")
    axis.fill_between(times, floor, totals, step="post", color=COLOURS["F"], alpha=0.45, linewidth=0.0, label="activations")  # fmt: skip
    axis.plot(times, totals, color=_INK, linewidth=1.2, drawstyle="steps-post", zorder=2.6)
    axis.axhline(chart.capacity / _GIB, color=COLOURS[split.TENSOR], linewidth=1.4, linestyle="--", label="capacity")
    top = 1.08 * max(chart.capacity, *(each.peak for each in chart.memory)) / _GIB
    _image(axis, many)
    axis.set(ylim=(0.0, top), ylabel="memory per GPU [GiB]")


def _steps(levels: Levels, last: float) -> tuple[list[float], list[float]]:
    """Times, and all memory from each on, to the end of the step. [s], [GiB]"""
    floor = levels.state + levels.other
    points = [(0.0, 0.0), *levels.activations]
    times = [time for time, _ in points]
    totals = [(floor + level) / _GIB for _, level in points]
    return [*times, last], [*totals, totals[-1]]


def _shades(ranks: int) -> list[Any]:
    """A colour a rank, from dark to light, that the colour-blind see as such."""
    import matplotlib

    return [matplotlib.colormaps["cividis"](0.9 * rank / max(ranks - 1, 1)) for rank in range(ranks)]


def _told(ranks: int, fullest: int) -> set[int]:
    """Ranks that the legend names: all of few, of many the first, the last and some between."""
    others = [rank for rank in range(ranks) if rank != fullest]
    step = max(len(others) // 4, 1)
    return {*others[::step], *others[-1:]} if len(others) > 5 else set(others)
