"""Ways to teach a small model by a large one: GPU hours of each by part with their 90 % interval, and what each costs beside the cheapest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from simcost.report.figures.marks import Mark, beside, marked, stacked, whisker
from simcost.report.figures.marks import rows as named
from simcost.report.figures.points import ends
from simcost.report.figures.scales import Scale
from simcost.report.figures.style import RED, Style, canvas, headed, key, settings, ticks
from simcost.result import Result
from simcost.units import show

NAME = "variants"
COMMANDS = ("distill",)
NEEDS = "distill"
_PARTS = {
    "writing_gpu_hours": "teacher writes", "rollout_gpu_hours": "student writes", "teacher_gpu_hours": "teacher reads", "training_gpu_hours": "student trains",
}  # fmt: skip
_WHOLE = "reinforcement learning, whole"  # of a row without parts
_RL = "rl"
_FACTOR = 12.0  # between the cheapest and the dearest, from which an axis is of logarithms


class Way(NamedTuple):
    """A variant. `parts`: GPU hours in the order of `_PARTS` and of `_WHOLE`; `hours`: ends of the interval of their sum; `usd`: with the ends of its range of prices, storage and network included; `times`: as dear as the cheapest; `breaks_even`: tokens that it may train on for the price of the reinforcement learning beside it."""

    name: str
    parts: Sequence[float]
    hours: tuple[float, float] | None
    usd: Mark | None
    times: float
    breaks_even: float | None


def applies(result: Result) -> bool:
    """Whether a result has a way that can be gone."""
    return result.command == "distill" and bool(ways(result))


def ways(result: Result) -> list[Way]:
    """What is drawn, cheapest first; ways that cannot be gone are left out. [h], [USD]"""
    able = [row for row in result.tables.get("variants", ()) if row.get("feasible") and row.get("total_gpu_hours")]
    learnt = next((float(row["total_usd"]) for row in able if row["variant"] == _RL and row.get("total_usd")), None)
    tokens = float(result.metrics.get("trained_tokens") or 0.0)
    found = []
    for row in able:
        parts = [float(row.get(name) or 0.0) for name in _PARTS]
        parts.append(max(float(row["total_gpu_hours"]) - sum(parts), 0.0) if not any(parts) else 0.0)
        low, high = ends(row, "total_gpu_hours")
        usd = row.get("total_usd")
        price = None if usd is None else Mark(str(row["variant"]), float(usd), row.get("total_usd_price_low"), row.get("total_usd_price_high"), row["variant"] == result.metrics.get("cheapest"))  # fmt: skip
        even = tokens * learnt / float(usd) if learnt and usd and row["variant"] != _RL and tokens else None
        found.append(Way(str(row["variant"]), parts, None if low is None or high is None else (low, high), price, float(row.get("times_cheapest") or 1.0), even))  # fmt: skip
    return sorted(found, key=lambda way: way.times)


def draw(result: Result, look: Style) -> Any:
    """A figure of matplotlib. Drawn values are those of `ways`."""
    found = ways(result)
    names = [way.name for way in found]
    parts = [*_PARTS.values(), _WHOLE]
    used = [i for i in range(len(parts)) if any(way.parts[i] for way in found)]
    priced = [way.usd for way in found if way.usd is not None]
    columns = 4 if look.slide else 2
    with settings(look):
        tall = 0.75 + (0.36 if look.slide else 0.27) * len(found)
        wide = 2 if look.slide and priced else 1
        figure, axes, place = canvas(look, [tall] * (1 if wide == 2 or not priced else 2), wide, -(-len(used) // columns))  # fmt: skip
        left, right = axes.flat[0], axes.flat[-1]
        hours = Scale(1.0, "GPU hours", "GPU hours")
        handles = stacked(figure, left, [[way.parts[i] for i in used] for way in found], [parts[i] for i in used], hours, names, look, False)  # fmt: skip
        for at, way in enumerate(found):
            if way.hours is not None:
                whisker(left, at, way.hours, hours)
        named(left, names, look.letters(0.22 if wide == 2 else 0.4, look.font - 1.5))
        left.set(xlabel="GPU hours", ylim=(len(found) - 0.5, -0.7))
        if priced:
            _costs(figure, right, found, look)
            named(right, names if wide == 1 else [""] * len(found), look.letters(0.4, look.font - 1.5))
            right.set_ylim(len(found) - 0.5, -0.7)
        key(place, handles, [parts[i] for i in used], columns)
        headed(figure, look, _question(names), result, _note(result, found))
    return figure


def _question(names: Sequence[str]) -> str:
    return "Distil or train: which way is cheapest?" if _RL in names else "Which way to distil is cheapest?"


def _note(result: Result, found: Sequence[Way]) -> str:
    tokens = result.metrics.get("trained_tokens")
    said = f"all ways at {show(float(tokens), 'tokens')} trained tokens; " if tokens else ""
    even = "; dotted: price of rl, and the tokens that each way trains on for it" if any(way.breaks_even for way in found) else ""  # fmt: skip
    return f"{said}lines: 90 % interval of GPU hours, range of prices of ${even}"


def _costs(figure: Any, axis: Any, found: Sequence[Way], look: Style) -> None:
    unit = Scale(1.0, "", "$")
    every = [float(end) for way in found if way.usd for end in (way.usd.low, way.usd.y, way.usd.high) if end is not None]  # fmt: skip
    low, high = min(every), max(every)
    ticks(axis, "x", low, high, look, few=True)
    axis.set_xlim(*((low / 1.5, high * 1.5) if high > _FACTOR * low else (0.0, 1.06 * high)))
    for at, way in enumerate(found):
        if way.usd is None:
            continue
        even = "" if way.breaks_even is None else f"; {show(way.breaks_even, 'tokens')} tokens for the price of rl"
        marked(figure, axis, at, way.usd, unit, more=f" USD, {way.times:.3g} times the cheapest{even}")
        told = "cheapest" if way.times == 1.0 else f"×{way.times:.3g}"
        told += "" if way.breaks_even is None else f"\n{show(way.breaks_even, 'tokens')} tokens"
        beside(axis, at, told, look)
        if way.name == _RL:
            axis.axvline(way.usd.y, color=RED, linestyle=":", linewidth=1.4, label="break-even")
    axis.set_xlabel("$ in all, storage and network included" if look.slide else "$ in all")
    axis.grid(True, axis="x")
