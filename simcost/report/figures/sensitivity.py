"""Which numbers move a metric: per cent of it for one per cent less and for one per cent more of each, strongest on top."""

from __future__ import annotations

from typing import Any

from simcost.report.cells import title
from simcost.report.figures.style import BLUE, INK, ORANGE, Style, canvas, headed, key, settings, short, tip
from simcost.result import Result, Row

NAME = "sensitivity"
COMMANDS = ("sensitivity",)
NEEDS = "sensitivity"
_MOST = 16


def applies(result: Result) -> bool:
    """Whether a number acts."""
    return bool(result.tables.get("sensitivity"))


def side(row: Row, own: str, other: str) -> float:
    """The elasticity of one side; 0 where the number cannot go there."""
    value = row[own] if row[own] is not None else row["elasticity"]
    return 0.0 if row[own] is None and row[other] is not None else float(value)


def draw(result: Result, look: Style) -> Any:
    """A figure of matplotlib: a bar for each side of a number, with the 90 % interval of the elasticity."""
    rows = list(result.tables["sensitivity"])[:_MOST]
    y = range(len(rows))
    below = [-side(row, "elasticity_below", "elasticity_above") for row in rows]
    above = [side(row, "elasticity_above", "elasticity_below") for row in rows]
    name = title(str(result.inputs["elasticity_of"]))
    with settings(look):
        figure, axes, place = canvas(
            look, [0.7 + (0.3 if look.slide else 0.22) * len(rows)], key=1 if look.slide else 3
        )
        axis = axes[0, 0]
        less = axis.barh(y, below, height=0.7, color=BLUE, hatch="//", edgecolor="#fefefe", linewidth=0.4)
        more = axis.barh(y, above, height=0.7, color=ORANGE)
        for row, first, second in zip(rows, less, more, strict=True):
            said = f"{row['number']} = {row['now']}: {row['elasticity']:+.3f} % of {name} per cent, {row['interval']}; tried {row['tried']}"
            tip(figure, first, said)
            tip(figure, second, said)
        bars = max(abs(end) for end in (*below, *above))
        whiskers = max(abs(row[f"elasticity_{end}"]) for row in rows for end in ("low", "high"))
        widest = min(1.06 * max(bars, whiskers), 3.0 * bars)
        middle = [row["elasticity"] for row in rows]
        ends = [[abs(row["elasticity"] - row[f"elasticity_{end}"]) for row in rows] for end in ("low", "high")]
        line = axis.errorbar(middle, y, xerr=ends, fmt="none", ecolor=INK, elinewidth=0.9, capsize=2.5)
        room = look.letters(0.42, look.font - 1.5)
        axis.set(
            xlim=(-widest, widest), ylim=(len(rows) - 0.5, -0.5), yticks=y, xlabel=f"change of {name} [%]{' for 1 % of the number' if look.slide else ''}",
            yticklabels=[short(f"{row['number']} = {row['now']}{' (tied)' if row['tied'] else ''}", room) for row in rows],
        )  # fmt: skip
        axis.axvline(0.0, color=INK, linewidth=0.8)
        axis.grid(True, axis="x")
        key(
            place,
            [less, more, line],
            ["1 % less", "1 % more", "90 % interval of the elasticity"],
            3 if look.slide else 1,
        )
        cut = any(abs(row[f"elasticity_{end}"]) > widest for row in rows for end in ("low", "high"))
        headed(
            figure,
            look,
            f"Which numbers move {name}?",
            result,
            "lines that reach the edge go on beyond it" if cut else "",
        )
    return figure
