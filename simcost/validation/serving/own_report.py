"""The report on a user's own benchmark: what was measured beside what is predicted, and how good the predictions are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from simcost.result import Result
from simcost.result import Row as Cells
from simcost.validation.serving import figures as parts
from simcost.validation.serving import own
from simcost.validation.serving.figures import Figure
from simcost.validation.serving.own import Given, OwnRow
from simcost.validation.serving.point import Predict
from simcost.validation.serving.predict_events import predict_events


def result(path: Path, given: Given, predict: Predict = predict_events) -> Result:
    """The report on a file. It passes where a run has an answer. Raises SpecError as `own.read`."""
    rows = own.read(path, given)
    scores = scored(rows, predict)
    every = [one for _, figures in scores for one in figures]
    answered = sum(any(one.answered for one in figures) for _, figures in scores)
    tables = {"errors": errors(every)} | {
        name: [
            {**_about(row), **parts.cells(one)} for row, figures in scores for one in figures if one.quantity == name
        ]
        for name in parts.QUANTITIES
    }
    return Result(
        "validate serving",
        {"rows": path.name},
        {"rows": len(rows), "refused": len(rows) - answered},
        {name: table for name, table in tables.items() if table},
        (),
        (),
        f"{answered} of {len(rows)} runs answered",
        answered > 0,
    )


def scored(rows: Sequence[OwnRow], predict: Predict) -> list[tuple[OwnRow, list[Figure]]]:
    """Each row with its measured figures beside what is predicted."""
    points = [row.point for row in rows if row.point is not None]
    said = iter(predict(points))
    found = []
    for row in rows:
        if row.point is None:
            ranges, why = {}, row.reason
        else:
            one = next(said)
            ranges, why = parts.ranges(one), one.reason or "an answer of one token has no time between tokens"
        found.append((row, [parts.of(row.id, name, value, ranges, why) for name, value in row.measured.items()]))
    return found


def errors(every: Sequence[Figure]) -> list[Cells]:
    """A line for each quantity."""
    quantities = dict.fromkeys(one.quantity for one in every)
    return [{"quantity": name, **parts.figures([one for one in every if one.quantity == name])} for name in quantities]


def _about(row: OwnRow) -> Cells:
    point = row.point
    if point is None:
        return {"id": row.id}
    model = point.model if isinstance(point.model, str) else ""
    return {
        "id": row.id, "model": model, "hw": point.hw, "engine": f"{point.engine} {point.version}".strip(),
        "load": row.load, "isl": point.isl, "osl": point.osl,
    }  # fmt: skip
