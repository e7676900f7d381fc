"""Why rows of a table cannot run: below it, a line a reason, so that numbers keep their columns."""

from __future__ import annotations

from collections.abc import Sequence

from simcost.report import fleets, plans, training
from simcost.report.cells import cell
from simcost.report.screen import Part, Words, text
from simcost.result import SHORT, Row

_REASONS = 12  # files hold them all
_ROWS = 3  # named of those that share one


def said(name: str, rows: Sequence[Row]) -> list[Part]:
    """One line a reason with the rows that have it; nothing where all rows can run."""
    asked = [_asked(row) for row in rows]
    if name in plans.TABLES:  # what every row has is said above
        same = {key for key in ("hw", "gpus") if len({row.get(key) for row in asked}) == 1}
        asked = [{key: value for key, value in row.items() if key not in same} for row in asked]
    if fleets.are(rows):
        asked = [fleets.named(row) for row in rows]
    groups: dict[str, list[Row]] = {}
    for row, labels in zip(rows, asked, strict=True):
        if row.get("reason") and not row.get("feasible"):
            groups.setdefault(str(row["reason"]), []).append(labels)
    if not groups:
        return []
    found: list[Part] = [text("cannot run:", style="bold")]
    for reason, group in list(groups.items())[:_REASONS]:
        found.append(Words(f"{_named(name, group, asked)}: {reason}", indent=2))
    if len(groups) > _REASONS:
        found.append(text(f"... {len(groups) - _REASONS} more reasons: --format csv has them", style="dim"))
    return [*found, text("")]


def with_shortage(row: Row) -> Row:
    """A row of a sweep for people: in its cell one that does not fit says by how much, and one that cannot run that it cannot."""
    if row.get("feasible") is False:
        return {**row, "fits": "cannot run"}
    short = row.get(SHORT)
    return {**row, "fits": f"no, {cell(SHORT, short)} short"} if row.get("fits") is False and short else row


def _asked(row: Row) -> Row:
    """What tells a row from the others: all that stands before `feasible`."""
    names = list(row)
    return {key: row[key] for key in names[: names.index("feasible")]} if "feasible" in row else {}


def _named(name: str, group: Sequence[Row], all_: Sequence[Row]) -> str:
    """The rows of a group: by what they share where no other row does, else one by one."""
    shared = {key: value for key, value in group[0].items() if all(row[key] == value for row in group)}
    if len(group) > 1 and shared and sum(shared.items() <= row.items() for row in all_) == len(group):
        return _label(name, shared)
    more = f" and {len(group) - _ROWS} more" if len(group) > _ROWS else ""
    return "; ".join(_label(name, row) for row in group[:_ROWS]) + more


def _label(name: str, asked: Row) -> str:
    if name == "designs":
        return cell("design", asked["design"])
    if name == training.LEVERS:
        return str(asked["change"])
    if "plan" in asked and name in plans.TABLES:
        return ", ".join(str(value) for value in asked.values())
    if name in plans.TABLES:  # a size of 1 goes without saying
        asked = {key: value for key, value in asked.items() if value != 1} or asked
    return " ".join(f"{key}={cell(key, value)}" for key, value in asked.items())
