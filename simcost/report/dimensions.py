"""What swaps chose, design by design, and the way back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from shlex import quote
from typing import NamedTuple

from simcost.model.equal import is_asked
from simcost.model.swaps import is_idle
from simcost.report.cells import changed
from simcost.result import Result, Row


class Told(NamedTuple):
    """Of one design: a heading, a row a choice, and lines on what was dropped and how to undo it."""

    heading: str
    rows: list[Row]
    lines: list[str]


def told(result: Result, details: bool) -> Iterator[Told]:
    """Every design that was swapped; of designs beside others, of which the first stands there undone, the way back only with `details`."""
    rows = result.dimensions
    for design in dict.fromkeys(row.get("design", "") for row in rows):
        mine = [row for row in rows if row.get("design", "") == design]
        dropped = [f"{row['key']}={changed(row)['before']}" for row in mine if is_idle(row["why"])]
        back = _undo(mine, result.command)
        lines = [f"dropped, no block of the new design reads them: {', '.join(dropped)}"] if dropped else []
        lines += [f"to undo {back}"] if back and (details or not design) else []
        heading = f"{design}: dimensions that swaps chose" if design else "dimensions that swaps chose"
        yield Told(
            heading,
            [changed({k: v for k, v in row.items() if k != "design"}) for row in mine if not is_idle(row["why"])],
            lines,
        )


def _undo(rows: Sequence[Row], command: str) -> str:
    """The way back of one design: what to add to the command, in a comparison to its variant, and whether to leave out `iso`."""
    values = [row["undo"] for row in rows if row["undo"]]
    if not values:
        return ""
    first = "leave out iso and " if any(is_asked(row["why"]) for row in rows) else ""
    if command == "compare":  # --set would be of all designs
        return f"{first}add to the variant {quote(','.join(value.removeprefix('model.') for value in values))}"
    return f"{first}add {' '.join(f'--set {quote(value)}' for value in values)}"
