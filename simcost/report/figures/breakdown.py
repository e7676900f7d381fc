"""Where the time of a step goes: stacked bars by op, by what bounds it, and by what its time rests on; of several designs one bar each, term by term."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from simcost.metrics.groups import BASES
from simcost.provenance import Basis
from simcost.report.figures.marks import rows as named
from simcost.report.figures.marks import stacked, whisker
from simcost.report.figures.scales import Scale, scale
from simcost.report.figures.style import Style, canvas, headed, settings, short
from simcost.result import Result, Row

NAME = "breakdown"
COMMANDS = ("explain", "decode", "prefill", "train", "rl", "compare")
NEEDS = "explain, decode, prefill (one point), train, rl, compare"
BOUNDS = ("memory", "compute", "wire", "overhead")  # in the order in which they are drawn
_TIMES = {"decode": "tpot_s", "prefill": "ttft_s", "train": "step_s", "rl": "step_s"}
_STEP = {"decode": "a decode step", "prefill": "a prefill step", "train": "a training step", "rl": "a step of reinforcement learning"}  # fmt: skip
_PARTS = {"explain": ("ops", "op", "op"), "train": ("where the step goes", "part", "part"), "rl": ("phases", "phase", "phase")}  # fmt: skip
_BY = {"bound": "by what bounds it", "basis": "by what it rests on", "op": "by op", "part": "by part", "phase": "by phase"}  # fmt: skip
_MOST = 7  # parts that a bar tells apart; the rest is one
_LEAST = 5e-4  # of a bar: a part that is less cannot be seen
_AXIS, _LINE = 0.85, 0.155  # inches: of an axis beside its bars, of a line of a legend


class Stack(NamedTuple):
    """One bar. `parts`: (name, SI value) in order; `spread`: the ends of the interval of their sum, where there is one."""

    name: str
    parts: Sequence[tuple[str, float]]
    spread: tuple[float, float] | None = None


def applies(result: Result) -> bool:
    """Whether a result is of one step, or of designs with terms."""
    if result.command == "compare":
        return bool(result.tables.get("terms")) and any(name.endswith("_s") for name in result.tables["terms"][0])
    time = _TIMES.get(_phase(result), "")
    return result.command in ("explain", *_TIMES) and result.metrics.get(time) is not None and "sweep" not in result.tables  # fmt: skip


def draw(result: Result, look: Style) -> Any:
    """A figure of matplotlib. Drawn values are those of `stacks`."""
    groups = stacks(result)
    bars = [each for group in groups.values() for each in group]
    longest = max(max(_total(each), each.spread[1] if each.spread else 0.0) for each in bars)
    several = result.command == "compare"  # phases are of other lengths
    with settings(look):
        heights = [_AXIS + 0.42 * len(group) for group in groups.values()]
        if not look.slide:
            heights = [each for height, group in zip(heights, groups.values(), strict=True) for each in (height, _LINE * _shown(group))]  # fmt: skip
        figure, axes, _ = canvas(look, heights)
        places = list(axes[:, 0])
        for at, (by, group) in enumerate(groups.items()):
            axis = places[at] if look.slide else places[2 * at]
            _bars(
                figure, axis, by, group, look, None if several else longest, None if look.slide else places[2 * at + 1]
            )
        note = "black line: 90 % interval" if any(each.spread for each in bars) else ""
        note += _money(result)
        headed(figure, look, _question(result), result, note)
    return figure


def _money(result: Result) -> str:
    """What a step costs, with the range of prices, where the answer says so."""
    ends = [result.metrics.get(f"usd_per_step{end}") for end in ("", "_price_low", "_price_high")]
    if ends[0] is None:
        return ""
    said = [f"${float(end):,.3g}" for end in ends if end is not None]
    return f"; the step costs {said[0]}" + (f" ({said[1]} to {said[2]})" if len(said) == 3 else "")


def _phase(result: Result) -> str:
    return str(result.inputs.get("phase", "decode")) if result.command == "explain" else result.command


def _question(result: Result) -> str:
    if result.command == "compare":
        return "Which terms make the designs differ?"
    phase = _phase(result)
    total = float(result.metrics[_TIMES[phase]])
    return f"Where do the {scale('step_s', [total]).shown(total)} of {_STEP[phase]} go?"


def stacks(result: Result) -> dict[str, list[Stack]]:
    """What is drawn: by what the bars are parted -> the bars. [s]"""
    if result.command == "compare":
        return _of_designs(result)
    name = _TIMES[_phase(result)]
    total, stem = float(result.metrics[name]), name.removesuffix("_s")
    ends = (result.metrics.get(f"{stem}_low_s"), result.metrics.get(f"{stem}_high_s"))
    spread = None if None in ends else (float(ends[0]), float(ends[1]))  # type: ignore[arg-type]
    found: dict[str, list[Stack]] = {}
    if result.command in _PARTS and (rows := result.tables.get(_PARTS[result.command][0])):
        _, column, by = _PARTS[result.command]
        found[by] = [Stack("", _largest(_summed(rows, column, total)), spread)]
    for by, shares in (
        ("bound", [(each, each) for each in BOUNDS]),
        ("basis", [(BASES[each], each.value) for each in Basis]),
    ):
        parts = [(word, float(result.metrics.get(f"share_{key}") or 0.0) * total) for word, key in shares]
        if any(value for _, value in parts):
            found[by] = [Stack("", parts, None if found else spread)]
    return found


def _summed(rows: Sequence[Row], column: str, total: float) -> dict[str, float]:
    """Part -> its share of the total, which all parts together are. [s]"""
    found: dict[str, float] = {}
    for row in rows:
        value = row["share"] * total if row.get("share") is not None else row.get("time_s") or 0.0
        found[str(row[column])] = found.get(str(row[column]), 0.0) + float(value)
    return found


def _largest(parts: Mapping[str, float], keep: Sequence[str] = ()) -> list[tuple[str, float]]:
    """The largest parts, and what is left of all as one."""
    kept = list(keep) or sorted(parts, key=lambda name: -parts[name])[:_MOST]
    rest = [value for name, value in parts.items() if name not in kept]
    found = [(name, parts.get(name, 0.0)) for name in kept]
    return [*found, *([(f"{len(rest)} others", sum(rest))] if rest else [])]


def _of_designs(result: Result) -> dict[str, list[Stack]]:
    rows = result.tables["terms"]
    names = [str(row["design"]) for row in result.tables["designs"] if f"{row['design']}_s" in rows[0]]
    phases = list(dict.fromkeys(str(row["term"]).partition(": ")[0] for row in rows if ": " in str(row["term"]))) or [""]  # fmt: skip
    found: dict[str, list[Stack]] = {}
    for phase in phases:
        mine = [row for row in rows if not phase or str(row["term"]).startswith(f"{phase}: ")]
        sizes = {name: {str(row["term"]).partition(": ")[2] or str(row["term"]): float(row.get(f"{name}_s") or 0.0) for row in mine} for name in names}  # fmt: skip
        most = {term: max(sizes[name][term] for name in names) for term in sizes[names[0]]}
        keep = sorted(most, key=lambda term: -most[term])[:_MOST]
        found[phase or "step"] = [Stack(name, _largest(sizes[name], keep)) for name in names]
    return found


def _shown(bars: Sequence[Stack]) -> int:
    totals = [_total(bar) for bar in bars]
    return sum(_seen([bar.parts[i][1] for bar in bars], totals) for i in range(len(bars[0].parts)))


def _seen(values: Sequence[float], totals: Sequence[float]) -> bool:
    """Whether a part is as wide as a line in any bar."""
    return any(value > _LEAST * total for value, total in zip(values, totals, strict=True))


def _total(bar: Stack) -> float:
    return sum(value for _, value in bar.parts)


def _bars(figure: Any, axis: Any, by: str, bars: Sequence[Stack], look: Style, longest: float | None, beside: Any) -> None:  # fmt: skip
    """`beside`: a place of its own for the legend; None: it stands to the right of the bars."""
    totals = [_total(bar) for bar in bars]
    widest = longest or max(totals)
    unit = scale("step_s", [widest])
    seen = [i for i in range(len(bars[0].parts)) if _seen([bar.parts[i][1] for bar in bars], totals)]
    parts = [bars[0].parts[i][0] for i in seen]
    values = [[bar.parts[i][1] for i in seen] for bar in bars]
    handles = stacked(figure, axis, values, parts, unit, [bar.name for bar in bars], look, widest=widest)
    for at, bar in enumerate(bars):
        if bar.spread:
            whisker(axis, at, bar.spread, unit)
    named(axis, [bar.name for bar in bars], 28 if look.slide else 16)
    axis.set(xlim=(0.0, unit.of(widest) * 1.02), ylim=(len(bars) - 0.5, -0.62), xlabel=f"time [{unit.unit}]")
    if not any(bar.name for bar in bars):
        axis.set_yticks([])
    axis.set_title(_BY.get(by, by), loc="left")
    labels = [_label(part, [bar[i] for bar in values], totals, unit) for i, part in enumerate(parts)]
    if beside is None:
        axis.legend(handles, labels, loc="center left", bbox_to_anchor=(1.01, 0.5), handlelength=1.4, borderaxespad=0.0, labelspacing=0.3)  # fmt: skip
        return
    beside.axis("off")
    beside.legend(handles, labels, loc="upper left", bbox_to_anchor=(0.0, 1.0), handlelength=1.4, borderaxespad=0.0, labelspacing=0.25)  # fmt: skip


def _label(name: str, values: Sequence[float], totals: Sequence[float], unit: Scale) -> str:
    words = short(name, 30)
    return f"{words}: {unit.shown(values[0])}, {values[0] / totals[0]:.1%}" if len(values) == 1 and totals[0] else words
