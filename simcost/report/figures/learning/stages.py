"""Where the GPU hours of a recipe go, and its money: every stage with its 90 % interval, and how far each assumption moves its stage."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from simcost.report.figures.marks import Mark, beside, marked
from simcost.report.figures.marks import rows as named
from simcost.report.figures.points import ends
from simcost.report.figures.scales import Scale
from simcost.report.figures.style import BLUE, INK, ORANGE, Style, canvas, headed, key, settings, ticks, tip
from simcost.result import Result

NAME = "stages"
COMMANDS = ("recipe",)
NEEDS = "recipe"
_MOST = 10  # assumptions


class Stage(NamedTuple):
    """A stage. `hours`: GPU hours with their interval; `usd`: None without a price; `share`: of all GPU hours."""

    hours: Mark
    usd: float | None
    share: float


class Assumption(NamedTuple):
    """GPU hours of its stage at both ends of its range, as multiples of those at the assumed value. `said`: key and values."""

    said: str
    least: float
    most: float


def applies(result: Result) -> bool:
    """Whether a result has a stage with GPU hours."""
    return result.command == "recipe" and bool(stages(result))


def stages(result: Result) -> list[Stage]:
    """What is drawn above, in the order of the recipe."""
    return [
        Stage(Mark(str(row["recipe_stage"]), float(row["gpu_hours"]), *ends(row, "gpu_hours")), row.get("usd"), float(row.get("share_of_gpu_hours") or 0.0))
        for row in result.tables.get("stages", ()) if row.get("gpu_hours")
    ]  # fmt: skip


def assumptions(result: Result) -> list[Assumption]:
    """What is drawn below, those that move their stage most first."""
    hours = {one.hours.name: one.hours.y for one in stages(result)}
    found = []
    for row in result.tables.get("assumptions", ()):
        both = row.get("hours_at_least"), row.get("hours_at_most")
        whole = hours.get(str(row["recipe_stage"]))
        if whole and None not in both:
            said = f"{row['recipe_stage']}: {row['assumed_key']}\n{row['assumed_value']:,g} ({row['assumed_least']:,g} to {row['assumed_most']:,g})"
            found.append(Assumption(said, float(both[0]) / whole, float(both[1]) / whole))  # type: ignore[arg-type]
    return sorted(found, key=lambda one: -abs(one.most - one.least))[:_MOST]


def draw(result: Result, look: Style) -> Any:
    """A figure of matplotlib. Drawn values are those of `stages` and `assumptions`."""
    every, assumed = stages(result), assumptions(result)
    line = 0.34 if look.slide else 0.25
    with settings(look):
        heights = [0.7 + line * len(every), *([0.7 + 1.3 * line * len(assumed)] if assumed else [])]
        figure, axes, place = canvas(look, heights, key=bool(assumed))
        _stages(figure, axes[0, 0], every, look)
        if assumed:
            handles = _assumptions(figure, axes[1, 0], assumed, look)
            key(place, handles, ["at the least", "at the most of an assumption's range"], 2)
        note = "lines: 90 % interval; beside them the share of all GPU hours" + (", and $" if any(one.usd for one in every) else "")  # fmt: skip
        headed(figure, look, _question(result), result, note)
    return figure


def _question(result: Result) -> str:
    hours, usd = result.metrics.get("gpu_hours"), result.metrics.get("usd")
    money = f" and ${float(usd):,.0f}" if usd else ""
    return f"Where do {float(hours):,.0f} GPU hours{money} of {result.inputs['recipe']} go?" if hours else "Where do the GPU hours go?"  # fmt: skip


def _stages(figure: Any, axis: Any, every: Sequence[Stage], look: Style) -> None:
    unit = Scale(1.0, "GPU hours", "GPU hours")
    values = [end for one in every for end in (one.hours.low, one.hours.y, one.hours.high) if end is not None]
    low, high = min(values), max(values)
    ticks(axis, "x", low, high, look, few=not look.slide)
    axis.set_xlim(*((low / 1.6, high * 1.6) if high > 12.0 * low else (0.0, high * 1.06)))
    for at, one in enumerate(every):
        money = "" if one.usd is None else f"${one.usd:,.0f}"
        marked(figure, axis, at, one.hours, unit, more=f", {one.share:.1%} of all{', ' + money if money else ''}")
        share = f"{one.share:.1%}" if one.share >= 0.001 else "< 0.1%"
        beside(axis, at, f"{share}{', ' + money if money else ''}", look)
    named(axis, [one.hours.name for one in every], look.letters(0.3, look.font - 1.5))
    axis.set_xlabel("GPU hours")
    axis.grid(True, axis="x")


def _assumptions(figure: Any, axis: Any, assumed: Sequence[Assumption], look: Style) -> list[Any]:
    from matplotlib.patches import Patch

    every = [end for one in assumed for end in (one.least, one.most, 1.0) if end > 0.0]
    ticks(axis, "x", min(every), max(every), look)
    handles = [Patch(facecolor=colour) for colour in (BLUE, ORANGE)]
    for at, one in enumerate(assumed):
        for end, colour, word in ((one.least, BLUE, "least"), (one.most, ORANGE, "most")):
            bar = axis.barh([at], [end - 1.0], left=[1.0], height=0.6, color=colour, label="_")
            tip(figure, bar[0], f"{one.said.replace(chr(10), ' ')}: at the {word} {end:,.3g} times the GPU hours")
    axis.axvline(1.0, color=INK, linewidth=0.8)
    named(axis, [one.said for one in assumed], look.letters(0.45, look.font - 1.5))
    axis.set_xlabel("GPU hours of the stage, as a multiple")
    axis.grid(True, axis="x")
    return handles
