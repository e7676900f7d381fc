"""How good predictions of published serving are: by source, kind of load and quantity.

Each printed figure that a row judges is one error; what cannot be answered counts against the coverage. Most likely
to be wrong: a source's rows are of one machine and stack, so that its median says little of others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache

from simcost.frozen import frozen
from simcost.hardware import load as hardware
from simcost.hardware.siblings import same_vendor
from simcost.result import Row as Cells
from simcost.texts import csv_table
from simcost.validation import bar_lines
from simcost.validation.serving import figures as parts
from simcost.validation.serving import published, static
from simcost.validation.serving.figures import Figure, Range
from simcost.validation.serving.point import Predict
from simcost.validation.serving.published import Row
from simcost.validation.serving.static import Static

AIMS = {"max": 0.15, "batch 1": 0.08}  # median |error| by kind of load
WORST, ALIKE = 20, 2  # lines of the list of the worst, and of one source and model among them
BY_SOURCE = "published"


@frozen
class Scored:
    """A figure of a row beside its prediction."""

    row: Row
    figure: Figure


def tables(scores: Sequence[Scored]) -> dict[str, list[Cells]]:
    """The report by title: errors by source and by kind, those of rows that are reported apart, the worst, why others
    have no figure, and what became of all rows."""
    rows = published.every()
    others = [group for group in published.GROUPS if group != "judged"]
    found = {
        BY_SOURCE: by_source(scores),
        "published, by load": by_kind(scores),
        "published, by rows": by_rows(scores),
        "published, apart": [{"group": group, **line} for group in others for line in by_source(scores, group)],
        "published, worst": worst(scores, WORST),
        "published, not answered": unanswered(scores),
        "published, not judged": published.reasons(rows),
        "published, rows": published.counts(rows),
    }
    return {title: lines for title, lines in found.items() if lines}


def bars(scores: Sequence[Scored]) -> list[Cells]:
    """A line for each source and kind of load that has an aim, over all quantities."""
    groups: dict[tuple[str, str], list[Figure]] = {}
    for one in scores:
        if one.row.group == "judged" and one.row.kind in AIMS:
            groups.setdefault((one.row.source.name, one.row.kind), []).append(one.figure)
    found = []
    for (source, kind), members in groups.items():
        value, aim = parts.figures(members)["median_abs_error"], AIMS[kind]
        if value is not None:
            said = f"at most {aim:.1%}"
            found.append(
                bar_lines.line(f"published {source}", kind, "median_abs_error", value, said, value <= aim, aim=True)
            )
    return found


def scored(rows: Sequence[Row], predict: Predict | None = None) -> list[Scored]:
    """Every figure that the rows judge, in their order. `predict` answers what a scheduler shapes (closed, open, max);
    without one, one user is answered as a batch of one."""
    asked = [row for row in rows if row.point is not None]
    plain = [row for row in asked if row.load in static.LOADS]
    shaped = [row for row in asked if row.load not in static.LOADS]
    fixed = static.answers([(row.load, row.point) for row in plain if row.point is not None])
    points = [row.point for row in shaped if row.point is not None]
    served = (predict or static.one_user)(points)
    ranges = {row.id: _static(one) for row, one in zip(plain, fixed, strict=True)}
    ranges |= {row.id: (parts.ranges(one), one.reason) for row, one in zip(shaped, served, strict=True)}
    return [
        Scored(row, parts.of(row.id, name, row.measured[name], *ranges.get(row.id, ({}, row.why))))
        for row in rows
        for name in row.judges
        if name in row.measured
    ]


def by_source(scores: Sequence[Scored], group: str = "judged") -> list[Cells]:
    """A line for each source, kind of load and quantity of a group, with the aim of its kind and whether the median
    holds it."""
    groups: dict[tuple[str, str, str], list[Figure]] = {}
    for one in scores:
        if one.row.group == group:
            groups.setdefault((one.row.source.name, one.row.kind, one.figure.quantity), []).append(one.figure)
    return [_line(*key, members, group == "judged") for key, members in groups.items()]


def by_kind(scores: Sequence[Scored]) -> list[Cells]:
    """A line for each kind of load and quantity, over all sources that judge it."""
    groups: dict[tuple[str, str], list[Figure]] = {}
    for one in scores:
        if one.row.group == "judged":
            groups.setdefault((one.row.kind, one.figure.quantity), []).append(one.figure)
    return [_line("all", *key, members, True) for key, members in groups.items()]


def by_rows(scores: Sequence[Scored]) -> list[Cells]:
    """A line for whose rows answer, those of the device, of another one that stands in or nobody's, and quantity, over all loads that judge it."""
    groups: dict[tuple[str, str], list[Figure]] = {}
    for one in scores:
        if one.row.group == "judged" and one.row.point is not None:
            groups.setdefault((_whose(one.row.point.hw), one.figure.quantity), []).append(one.figure)
    order = sorted(groups, key=lambda key: (_WHOSE.index(key[0]), key[1]))
    return [
        {"rows_from": whose, "quantity": quantity, **parts.figures(groups[whose, quantity])}
        for whose, quantity in order
    ]


_WHOSE = ("its own", "another device of its vendor", "a device of another vendor", "none")


def _whose(hw: str) -> str:
    """Whose rows answer for most kernels of a device, of `_WHOSE`."""
    device = hardware.load(hw)
    if device.tables or device.measurements:
        return _WHOSE[0]
    if device.sibling is None:
        return _WHOSE[3]
    return _WHOSE[1 if same_vendor(device.sibling, device) else 2]


def _line(source: str, kind: str, quantity: str, members: Sequence[Figure], judged: bool) -> Cells:
    found = parts.figures(members)
    line: Cells = {"source": source, "load": kind, "quantity": quantity, **found}
    aim, median = AIMS.get(kind), found["median_abs_error"]
    if not judged or aim is None or median is None:
        return line
    return {**line, "bar": f"at most {aim:.1%}", "passes": bool(median <= aim), "aim": True}


def worst(scores: Sequence[Scored], most: int) -> list[Cells]:
    """The judged figures that are missed most, at most `ALIKE` of a source and model, with their stories."""
    known = [one for one in scores if one.figure.answered and one.row.group == "judged"]
    seen: Counter[tuple[str, str]] = Counter()
    found: list[Cells] = []
    for one in sorted(known, key=lambda one: -one.figure.miss):
        about = one.row.source.name, one.row.model
        seen[about] += 1
        if seen[about] <= ALIKE and len(found) < most:
            found.append({
                "id": one.row.id, "model": one.row.model, "device": one.row.device, "stack": one.row.stack,
                "load": one.row.kind, **parts.cells(one.figure), "story": story(one.row),
            })  # fmt: skip
    return found


def story(row: Row) -> str:
    """Why predictions miss a row, where somebody found it out."""
    about = {
        "source": row.source.name, "model": row.model, "device": row.device, "load": row.kind,
        "weights": _weights(row), "stack": row.stack,
    }  # fmt: skip
    return next((s["why"] for s in stories() if all(s[key] in ("", value) for key, value in about.items())), "")


@cache
def stories() -> tuple[Mapping[str, str], ...]:
    """Rows of stories.csv: what a row's cells must be, "" for any, and why such rows are missed. The first that matches
    holds."""
    columns = ("source", "model", "device", "stack", "weights", "load", "why")
    return tuple(csv_table(published.home() / "stories.csv", columns))


def _weights(row: Row) -> str:
    return "" if row.point is None else str(row.point.sets.get("plan.weight_dtype", ""))


def unanswered(scores: Sequence[Scored]) -> list[Cells]:
    """Judged figures without a prediction: how many, by reason."""
    found = Counter(
        (one.row.source.name, one.figure.reason)
        for one in scores
        if not one.figure.answered and one.row.group == "judged"
    )
    return [{"source": name, "n": n, "why": reason} for (name, reason), n in found.items()]


def _static(one: Static) -> tuple[dict[str, Range], str]:
    found = {name: value for name in parts.QUANTITIES if (value := getattr(one, name)) is not None}
    return found, one.reason
