"""Marks that several figures share: a value with its interval in a row, and bars whose parts add up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from simcost.report.figures.scales import Scale
from simcost.report.figures.style import (
    BLUE,
    FAINT,
    GREY,
    HATCHES,
    INK,
    PAPER,
    SERIES,
    SMALL,
    Style,
    readable,
    short,
    tip,
)


class Mark(NamedTuple):
    """A value in a row. SI; `low`, `high`: the ends of its interval, where it has one; `filled`: it is the best, or holds; `prices`: it at both ends of the price of a GPU."""

    name: str
    y: float
    low: float | None = None
    high: float | None = None
    filled: bool = True
    fits: bool = True
    prices: tuple[float, float] | None = None

    @property
    def most(self) -> float:
        """The largest value that is drawn."""
        return max(self.y, self.high or self.y, *(self.prices or ()))


def said(one: Mark, unit: Scale) -> str:
    """ "TPOT: 8.65 ms (6.96 ms to 10.8 ms)"."""
    within = "" if one.low is None or one.high is None else f" ({unit.shown(one.low)} to {unit.shown(one.high)})"
    return f"{one.name}: {unit.shown(one.y)}{within}"


def marked(figure: Any, axis: Any, at: float, one: Mark, unit: Scale, colour: str = "", more: str = "") -> None:
    """A point in row `at`, hollow where it is not filled, a cross where it does not fit, and a line along its interval. `more`: stands under the pointer too."""
    colour = colour or (BLUE if one.filled else FAINT)
    if one.prices:
        ends = [unit.of(usd) for usd in one.prices]
        axis.plot(ends, [at, at], "-|", color=colour, linewidth=0.6, markersize=4.0, label="price")
    if one.low is not None and one.high is not None:
        axis.plot([unit.of(one.low), unit.of(one.high)], [at, at], "-", color=colour, linewidth=1.6, label="interval")
    shape = "o" if one.fits else "X"
    drawn = axis.plot([unit.of(one.y)], [at], shape, color=colour, markerfacecolor=colour if one.filled else PAPER, label="estimate")[0]  # fmt: skip
    tip(figure, drawn, said(one, unit) + more)


def rows(axis: Any, names: Sequence[str], room: int) -> None:
    """Names of rows beside an axis, the first on top."""
    axis.set(
        yticks=range(len(names)),
        yticklabels=["\n".join(short(line, room) for line in name.split("\n")) for name in names],
        ylim=(len(names) - 0.5, -0.5),
    )


def stacked(
    figure: Any, axis: Any, bars: Sequence[Sequence[float]], parts: Sequence[str], unit: Scale, names: Sequence[str], look: Style, shares: bool = True, widest: float = 0.0
) -> list[Any]:  # fmt: skip
    """Bars below each other, each of the same parts. [SI] `shares`: each part that is large beside the `widest` bar says which share of its own it is; "7 others" is grey. Returns a handle of each part for a key."""
    left = [0.0] * len(bars)
    widest = widest or max((sum(bar) for bar in bars), default=0.0) or 1.0
    handles = []
    for i, part in enumerate(parts):
        values = [bar[i] for bar in bars]
        colour, hatch = (GREY, "") if part.endswith(" others") else (SERIES[i % len(SERIES)], HATCHES[i % len(HATCHES)])
        drawn = axis.barh(range(len(bars)), [unit.of(value) for value in values], left=[unit.of(start) for start in left], height=0.62, color=colour, hatch=hatch, edgecolor=PAPER, linewidth=0.6)  # fmt: skip
        handles.append(drawn)
        for at, (patch, value) in enumerate(zip(drawn, values, strict=True)):
            total = sum(bars[at])
            share = value / total if total else 0.0
            size = f" {share:.1%}" if unit.unit == "%" else f": {unit.shown(value)}, {share:.1%} of {unit.shown(total)}"
            tip(figure, patch, f"{names[at]}{': ' if names[at] else ''}{part}{size}")
            if shares and value > (0.07 if look.slide else 0.12) * widest:
                axis.text(
                    unit.of(left[at] + value / 2.0), at, f"{share:.0%}", ha="center", va="center", color=readable(colour), fontsize=max(look.font - 2.0, SMALL),
                    bbox={"facecolor": colour, "edgecolor": "none", "pad": 1.0},
                )  # fmt: skip
        left = [start + value for start, value in zip(left, values, strict=True)]
    return handles


def whisker(axis: Any, at: float, ends: tuple[float, float], unit: Scale) -> None:
    """A black line along the interval of a sum, above its bar."""
    low, high = (unit.of(end) for end in ends)
    axis.errorbar([(low + high) / 2.0], [at - 0.44], xerr=[[(high - low) / 2.0]] * 2, fmt="none", ecolor=INK, capsize=3, elinewidth=1.2)  # fmt: skip


def beside(axis: Any, at: float, words: str, look: Style) -> None:
    """Words to the right of row `at`, outside of the axes: they cover no mark."""
    axis.annotate(
        words, (1.0, at), xycoords=axis.get_yaxis_transform(), xytext=(5, 0), textcoords="offset points", va="center", fontsize=max(look.font - 2.5, SMALL), color=FAINT,
        annotation_clip=False,
    )  # fmt: skip
