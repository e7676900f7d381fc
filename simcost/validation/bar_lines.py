"""A line of a table of bars: what a figure must reach, and whether it does."""

from __future__ import annotations

from collections.abc import Sequence

from simcost.result import Row
from simcost.validation.score import COVERAGE

AROUND = 0.05  # of the coverage that intervals promise


def line(
    name: str, what: str, measure: str, value: float, bar: str, passes: bool, peers: str = "", aim: bool = False
) -> Row:
    """name: of the rows; what: of them is judged; measure: a figure of `score`; bar: in words; peers: what others
    reach; aim: no bar, but shown beside one."""
    return {
        "rows_of": name,
        "what": what,
        "measure": measure,
        "value": value,
        "bar": bar,
        "passes": bool(passes),
        "aim": aim,
        "peers": peers,
    }


def covers(name: str, what: str, value: float) -> Row:
    """Whether intervals cover as many truths as they promise."""
    low, high = COVERAGE - AROUND, COVERAGE + AROUND
    return line(name, what, "coverage", value, f"{low:.0%} to {high:.0%}", low <= value <= high)


def missed(lines: Sequence[Row]) -> list[str]:
    """The bars that are not reached, in words; aims fail nothing."""
    return [
        f"{row['rows_of']} ({row['what']}, {row['measure']})" for row in lines if not row["passes"] and not row["aim"]
    ]


def said(lines: Sequence[Row]) -> str:
    """How many bars there are, how many are missed, and which."""
    out = missed(lines)
    return f"{len(lines)} bars, {len(out)} missed" + (f": {', '.join(out)}" if out else "")
