"""The roofline of a model on a device: every op of a step as a point with the interval of its rate, the measured rows beneath, the device's rates above.

An op is never above the roof of its format unless its rows are; how far below says what is left. Source: Williams, Waterman and Patterson, Communications of the ACM 52(4), 2009.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from simcost import dtypes
from simcost.grammar import Overrides
from simcost.hardware import load as hardware
from simcost.metrics import groups
from simcost.report.figures import rows as measured_rows
from simcost.report.figures.style import (  # fmt: skip
    BLUE,
    FAINT,
    GREY,
    INK,
    ORANGE,
    Style,
    canvas,
    headed,
    key,
    readable,
    settings,
    short,
    tip,
)
from simcost.report.figures.style import number as tick
from simcost.result import Result, Row
from simcost.units import show

NAME = "roofline"
COMMANDS = ("explain",)
NEEDS = "explain"
_NAMED = 9  # ops that are told by a number
_LEAST = 0.002  # of the step: a smaller op is left out
_MARKS = {"memory": "o", "compute": "D"}
_COLOURS = {"memory": BLUE, "compute": ORANGE}


class Op(NamedTuple):
    """An op of a step. [FLOP/B], [FLOP/s]; `low`, `high`: ends of the interval of its rate; `share`: of the step."""

    name: str
    intensity: float
    rate: float
    low: float
    high: float
    share: float
    bound: str
    row: Row


def applies(result: Result) -> bool:
    """Whether ops of a result compute and move bytes."""
    return "hw" in result.inputs and bool(points(result))


def points(result: Result) -> list[Op]:
    """What is drawn: ops that compute, the longest first."""
    found = []
    for row in result.tables.get("ops", ()):
        if row.get("intensity") and row.get("flops") and row.get("time_s") and row["share"] >= _LEAST:
            flops, time = float(row["flops"]), float(row["time_s"])
            found.append(Op(str(row["op"]), float(row["intensity"]), flops / time, flops / float(row["high_s"]), flops / float(row["low_s"]), float(row["share"]), str(row["bound"]), row))  # fmt: skip
    return sorted(found, key=lambda op: -op.share)


def roofs(result: Result) -> tuple[float, dict[str, float]]:
    """(bytes/s of the memory, FLOP/s of every format that ops of a result compute in)."""
    given = result.inputs.get("set", {})
    device = hardware.load(result.inputs["hw"], Overrides().merged({k: v for k, v in given.items() if k.startswith("hw.")}).hw)  # fmt: skip
    known = set(dtypes.names())
    words = {word for op in points(result) for word in str(op.row["shape"]).split() if word in known}
    peaks = {dtypes.dtype(word).peak for word in words}
    return float(device.bandwidth), {name: float(device.peaks[name]) for name in device.peaks if name in peaks}


def draw(result: Result, look: Style) -> Any:
    """A figure of matplotlib. Drawn values are those of `points`, `roofs` and `rows.measured`."""
    every = points(result)
    bandwidth, peaks = roofs(result)
    beneath = measured_rows.measured(result.inputs["hw"], result.tables.get("tables", ()))
    named = every[:_NAMED]
    columns = 2 if look.slide else 1
    with settings(look):
        figure, axes, place = canvas(look, [4.4 if look.slide else 2.6], key=-(-len(named) // columns))
        axis = axes[0, 0]
        axis.plot(beneath.intensity, beneath.rate, ".", color=GREY, markersize=2.0, alpha=0.45, rasterized=True, zorder=1, label="measured rows of these kernels")  # fmt: skip
        _roofs(axis, bandwidth, peaks, every, look)
        for at, op in enumerate(reversed(every)):
            _point(figure, axis, op, len(every) - at if len(every) - at <= _NAMED else 0, look)
        lowest = min(op.low for op in every) / 3.0
        highest = 2.5 * max(*peaks.values(), *(op.high for op in every))
        axis.set(
            xscale="log",
            yscale="log",
            ylim=(lowest, highest),
            xlabel="arithmetic intensity [FLOP per byte]",
            ylabel="reached rate [FLOP/s]",
        )
        _plain(axis)
        axis.grid(True, which="major")
        _told(place, named, columns, look)
        said = "small dots: measured rows of these kernels" if len(beneath.rate) else "no measured rows of this device"
        flat = "" if look.slide else "".join(f"; {name} {show(peak, 'flops_per_s', 3)}" for name, peak in peaks.items())
        headed(figure, look, "What limits each op: memory or compute?", result, f"lines: 90 % interval; {said}{flat}")  # fmt: skip
    return figure


def _roofs(axis: Any, bandwidth: float, peaks: dict[str, float], every: Sequence[Op], look: Style) -> None:
    ridge = max(peaks.values(), default=0.0) / bandwidth
    low, high = min(op.intensity for op in every) / 3.0, max(*(op.intensity for op in every), ridge) * 3.0
    axis.set_xlim(low, high)
    small = max(look.font - 2.5, 7.0)
    for at, (name, peak) in enumerate(sorted(peaks.items(), key=lambda each: each[1])):
        corner = peak / bandwidth
        x, y = [low, corner, high], [low * bandwidth, peak, peak]
        axis.plot(x if at == len(peaks) - 1 else x[1:], y if at == len(peaks) - 1 else y[1:], "-", color=INK, linewidth=1.2, zorder=2, label=f"roof {name}")  # fmt: skip
        said = f"{name} {show(peak, 'flops_per_s', 3)}" if look.slide else name  # a column has room for the name alone
        axis.annotate(said, (high, peak), fontsize=small, ha="left", va="center", xytext=(4, 0), textcoords="offset points", annotation_clip=False)  # fmt: skip
    if not peaks:
        axis.plot([low, high], [low * bandwidth, high * bandwidth], "-", color=INK, linewidth=1.2, zorder=2, label="roof of the memory")  # fmt: skip
    middle = float(np.sqrt(low * (ridge or high)))
    axis.annotate(f"memory {show(bandwidth, 'bytes_per_s', 3)}", (middle, middle * bandwidth), fontsize=small, ha="right", va="bottom", xytext=(-4, 2), textcoords="offset points")  # fmt: skip


def _point(figure: Any, axis: Any, op: Op, place: int, look: Style) -> None:
    colour = _COLOURS.get(op.bound, FAINT)
    size = look.font * 1.1
    axis.plot(
        [op.intensity, op.intensity], [op.low, op.high], "-", color=colour, linewidth=1.0, zorder=3, label="interval"
    )
    dot = axis.plot([op.intensity], [op.rate], _MARKS.get(op.bound, "s"), color=colour, markersize=size if place else 4.0, markeredgecolor="white", markeredgewidth=0.6, zorder=4 + 0.1 * (20 - place), label="op")[0]  # fmt: skip
    row = op.row
    tip(
        figure, dot,
        f"{op.name} ({row['shape']}): {op.share:.1%} of the step, {show(op.rate, 'flops_per_s', 3)} ({show(op.low, 'flops_per_s', 3)} to {show(op.high, 'flops_per_s', 3)}), "
        f"{op.intensity:.3g} FLOP per byte, bound by {groups.BOUNDS.get(op.bound, op.bound)}, {row['basis']}",
    )  # fmt: skip
    if place:
        axis.text(op.intensity, op.rate, str(place), ha="center", va="center", fontsize=max(look.font - 3.0, 7.0), color=readable(colour), zorder=4.05 + 0.1 * (20 - place), clip_on=True)  # fmt: skip


def _plain(axis: Any) -> None:
    from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter

    axis.xaxis.set_major_formatter(lambda value, _: tick(value))
    axis.yaxis.set_major_locator(LogLocator(numticks=8))
    axis.yaxis.set_major_formatter(EngFormatter())
    for each in (axis.xaxis, axis.yaxis):
        each.set_minor_formatter(NullFormatter())


def _told(place: Any, named: Sequence[Op], columns: int, look: Style) -> None:
    """Which number is which op, with its share of the step and what bounds it."""
    from matplotlib.lines import Line2D

    room = look.letters(0.8 / columns) - 14
    handles = [Line2D([], [], marker=_MARKS.get(op.bound, "s"), color=_COLOURS.get(op.bound, FAINT), linestyle="") for op in named]  # fmt: skip
    words = [
        f"{at}  {short(op.name, room)}: {op.share:.1%}, {groups.BOUNDS.get(op.bound, op.bound)}"
        for at, op in enumerate(named, 1)
    ]
    key(place, handles, words, columns)
