"""How large errors are, by family: median and P90 of every slice of a validation with its bias, the coverage of its intervals, and the bars that it must reach."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import islice
from typing import Any, NamedTuple

from simcost.report.cells import title
from simcost.report.figures.marks import beside
from simcost.report.figures.marks import rows as named
from simcost.report.figures.style import (
    BLUE,
    FAINT,
    GREEN,
    INK,
    ORANGE,
    PAPER,
    RED,
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

NAME = "errors"
COMMANDS = ("validate kernels", "validate blocks", "validate memory", "validate training", "validate serving", "validate recipes", "calibrate report", "calibrate transfer")  # fmt: skip
NEEDS = "validate kernels, blocks, memory, training, serving and recipes, calibrate report, calibrate transfer"
_MEDIAN, _P90 = ("median_abs_error", "median_error"), ("p90_abs_error", "p90_error")
_SKIPPED = ("worst", "rows", "bars", "curves", "apart", "terms, ")  # tables of single rows, or judged apart
_WORDS = ("answer", "rows_of", "source", "load", "quantity", "term", "family", "op", "basis", "half_width", "engine", "release", "phase", "hw", "by")  # fmt: skip
_MOST, _TABLES, _BARS = 12, 2, 12  # slices of a table, tables, bars
_COVERED = (0.85, 0.95)  # of intervals of 90 %
_SPREAD, _LEAST = (
    25.0,
    1e-4,
)  # of the largest error over the usual one, from which the axis is of logarithms, and where that begins
_BEYOND = 3.0  # times what a bar allows, of which no more is shown than that it is beyond
_FAR = 1.5  # an error of which no more is shown than that it is beyond


class Slice(NamedTuple):
    """A group of rows. Fractions; `bias` and `coverage` are None where the answer has none; `apart`: was looked at before, and judges nothing."""

    name: str
    n: int | None
    median: float
    p90: float
    bias: float | None
    coverage: float | None
    apart: bool


class Bar(NamedTuple):
    """A figure that must lie between two fractions. `used`: how much of what is allowed it takes, 1 at the bar; `said`: the figure and the bar in words; `aim`: it fails nothing."""

    name: str
    used: float
    said: str
    holds: bool
    aim: bool


def applies(result: Result) -> bool:
    """Whether a result has slices with errors, or bars."""
    return result.command in COMMANDS and bool(slices(result) or bars(result))


def slices(result: Result) -> dict[str, list[Slice]]:
    """What is drawn: table -> its first slices; what all of them share, and how many there are, stands in the name."""
    found: dict[str, list[Slice]] = {}
    for name, table in result.tables.items():
        if not name.startswith(_SKIPPED) and "worst" not in name and len(found) < _TABLES:
            every = [row for row in islice(table, 200) if _slice(row, ()) is not None]
            kept = every[:_MOST]
            told = [word for word in _WORDS if len({str(row.get(word)) for row in kept}) > 1]
            if len(kept) > 1:
                same = [_said(kept[0], word) for word in _WORDS if word not in told and len({str(row.get(word)) for row in every}) > 1]  # fmt: skip
                more = f", {len(kept)} of {len(every)} slices" if len(every) > len(kept) else ""
                found[", ".join([name, *same]) + more] = [one for row in kept if (one := _slice(row, told)) is not None]
    return found


def _said(row: Row, word: str) -> str:
    """What a row says of itself, without the owner of a repository."""
    said = str(row.get(word, ""))
    return (said.rpartition("/")[2] if word == "source" else said).replace("_", " ")


def _slice(row: Row, told: Sequence[str]) -> Slice | None:
    median, p90 = (next((row[name] for name in names if row.get(name) is not None), None) for names in (_MEDIAN, _P90))
    if median is None or p90 is None:
        return None
    words = ", ".join(dict.fromkeys(_said(row, name) for name in told if row.get(name) not in (None, "")))
    count = next((row[name] for name in ("n", "tested", "rows") if isinstance(row.get(name), int)), None)
    return Slice(words, count, float(median), float(p90), row.get("bias"), row.get("coverage"), bool(row.get("looked_at")))  # fmt: skip


def bars(result: Result) -> list[Bar]:
    """Bars whose text is a limit or a range of per cent, missed ones first."""
    found = []
    for row in result.tables.get("bars", ()):
        value = row.get("value")
        limits = (
            _limits(str(row.get("bar", "")), value, bool(row["passes"])) if isinstance(value, (int, float)) else None
        )
        if limits is not None and isinstance(value, (int, float)):
            words = ", ".join(dict.fromkeys(str(part).replace("_", " ") for part in (row["rows_of"], row["what"], title(str(row["measure"])))))  # fmt: skip
            found.append(Bar(words, _used(abs(float(value)), *limits), f"{abs(float(value)):.1%}, {row['bar']}", bool(row["passes"]), bool(row.get("aim"))))  # fmt: skip
    return sorted(found, key=lambda one: (one.holds, one.aim))


def _used(value: float, low: float, high: float) -> float:
    """Distance from the best that a figure can be, over the distance that is allowed."""
    best = 0.0 if low == 0.0 else 1.0 if high == 1.0 else (low + high) / 2.0
    return abs(value - best) / (abs(high - best) or abs(low - best))


def _limits(text: str, value: float, passes: bool) -> tuple[float, float] | None:
    """ "at most 4.0%" is (0, 0.04), "85% to 95%" both; "90%" alone is the most or the least that a figure may be, as its verdict says; None for what is no per cent."""
    numbers = [float(each) / 100.0 for each in re.findall(r"([\d.]+) ?%", text)]
    if len(numbers) == 2:
        return numbers[0], numbers[1]
    if len(numbers) != 1:
        return None
    return (0.0, numbers[0]) if passes == (abs(value) <= numbers[0]) else (numbers[0], 1.0)


def draw(result: Result, look: Style) -> Any:
    """A figure of matplotlib. Drawn values are those of `slices` and `bars`."""
    found, every = slices(result), bars(result)
    limits = every[:_BARS]
    line = 0.25 if look.slide else 0.19
    heights = [0.8 + line * len(rows) for rows in found.values()] + ([0.8 + line * len(limits)] if limits else [])
    covered = look.slide and any(one.coverage is not None for rows in found.values() for one in rows)
    biased = any(one.bias is not None for rows in found.values() for one in rows)
    apart = any(one.apart for rows in found.values() for one in rows)
    handles: dict[str, Any] = {}
    with settings(look):
        marks = 2 * bool(found) + biased + covered + 3 * bool(limits)
        columns = 3 if look.slide else 2
        figure, axes, place = canvas(look, heights, 2 if covered else 1, -(-marks // columns), [3.0, 1.0] if covered else None)  # fmt: skip
        for (name, rows), axis in zip(found.items(), axes[:, 0], strict=False):
            handles |= _errors(figure, axis, name, rows, look)
        if covered:
            for rows, axis in zip(found.values(), axes[:, 1], strict=False):
                if any(one.coverage is not None for one in rows):
                    handles |= _coverage(figure, axis, rows)
                else:
                    axis.axis("off")
        if limits:
            handles |= _bars(figure, axes[len(found), 0], limits, look)
            if covered:
                axes[len(found), 1].axis("off")
        key(place, list(handles.values()), list(handles), columns)
        missed = sum(not one.holds and not one.aim for one in every)
        note = (
            f"{len(limits)} of {len(result.tables['bars'])} bars, {missed} missed"
            if limits
            else "errors are |predicted / measured - 1|"
        )
        headed(figure, look, "How large are the errors, and do the bars hold?" if limits else "How large are the errors, family by family?", result, note + ("; hollow: looked at before, judges nothing" if apart else ""))  # fmt: skip
    return figure


def _errors(figure: Any, axis: Any, name: str, rows: Sequence[Slice], look: Style) -> dict[str, Any]:
    handles: dict[str, Any] = {}
    most = min(max(one.p90 for one in rows), _FAR)
    far = most > _SPREAD * sorted(one.median for one in rows)[len(rows) // 2]  # most would stand at 0
    least = max(min(one.median for one in rows), _LEAST) if far else 0.0  # what is less stands at the left edge

    def place(error: float) -> float:
        return 100.0 * min(max(error, least), most)

    for at, one in enumerate(rows):
        axis.plot([place(one.median), place(one.p90)], [at, at], "-", color=BLUE, linewidth=1.6, label="P90")
        handles["P90 of |error|"] = axis.plot([place(one.p90)], [at], "|" if one.p90 <= most else ">", color=BLUE, label="end")[0]  # fmt: skip
        dot = axis.plot([place(one.median)], [at], "o", color=BLUE, markerfacecolor=PAPER if one.apart else BLUE, label="median")[0]  # fmt: skip
        if not one.apart:
            handles["median |error|"] = dot
        said = f"{one.name}: median {one.median:.1%}, P90 {one.p90:.1%}"
        said += "" if one.bias is None else f", bias {one.bias:+.1%}"
        tip(figure, dot, said + ("" if one.coverage is None else f", {one.coverage:.0%} covered") + ("" if one.n is None else f", {one.n:,} rows"))  # fmt: skip
        if one.bias is not None and abs(one.bias) >= least:
            handles["size of the bias"] = axis.plot([place(abs(one.bias))], [at], "x", color=ORANGE, markersize=5 if look.slide else 4, label="bias")[0]  # fmt: skip
    room = look.letters(0.34 if look.slide else 0.42, look.font - 1.5)
    named(axis, [short(one.name, room - 6) + ("" if one.n is None else f" ({one.n:,})") for one in rows], room)
    axis.set_xlabel("|error| [%]")
    if far:
        ticks(axis, "x", 100.0 * least, 100.0 * most, look)
        axis.set_xlim(80.0 * least, 130.0 * most)
    else:
        axis.set_xlim(0.0, 104.0 * most)
    axis.set_title(name, loc="left")
    axis.grid(True, axis="x")
    return dict(sorted(handles.items()))


def _coverage(figure: Any, axis: Any, rows: Sequence[Slice]) -> dict[str, Any]:
    band = axis.axvspan(*(100.0 * end for end in _COVERED), color=GREEN, alpha=0.25, linewidth=0.0)
    for at, one in enumerate(rows):
        if one.coverage is not None:
            inside = _COVERED[0] <= one.coverage <= _COVERED[1]
            dot = axis.plot([100.0 * one.coverage], [at], "s" if inside else "D", color=INK if inside else RED, markerfacecolor=PAPER if one.apart else INK if inside else RED, markersize=4.5)[0]  # fmt: skip
            tip(figure, dot, f"{one.name}: {one.coverage:.1%} of the rows lie in their 90 % interval")
    axis.set(xlim=(0.0, 103.0), xlabel="covered [%]", yticks=range(len(rows)), yticklabels=[], ylim=(len(rows) - 0.5, -0.5))  # fmt: skip
    axis.grid(True, axis="x")
    return {"85 to 95 % covered": band}


def _bars(figure: Any, axis: Any, limits: Sequence[Bar], look: Style) -> dict[str, Any]:
    found: dict[str, Any] = {"allowed": axis.axvspan(0.0, 100.0, color=GREEN, alpha=0.2, linewidth=0.0)}
    most = min(max(*(one.used for one in limits), 1.0), _BEYOND)
    for at, one in enumerate(limits):
        colour = INK if one.holds else FAINT if one.aim else RED
        word = "holds" if one.holds else "aim missed" if one.aim else "bar missed"
        shape = "o" if one.holds else "X" if one.used <= most else ">"
        dot = axis.plot([100.0 * min(one.used, most)], [at], shape, color=colour, markersize=5 if look.slide else 4, label="_")[0]  # fmt: skip
        found.setdefault(word, dot)
        tip(figure, dot, f"{one.name}: {one.said}; {word}")
        beside(axis, at, one.said if look.slide else one.said.partition(",")[0], look)
    named(axis, [one.name for one in limits], look.letters(0.34 if look.slide else 0.42, look.font - 1.5))
    axis.set(xlim=(0.0, 104.0 * most), xlabel="share of what the bar allows [%]")
    axis.set_title("bars, missed ones first", loc="left")
    axis.grid(True, axis="x")
    return found
