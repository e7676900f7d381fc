"""Metrics of an answer by group, each under its heading; few metrics stand in one list."""

from __future__ import annotations

from simcost import metrics as known
from simcost.metrics import groups
from simcost.report import training
from simcost.report.answer import headline
from simcost.result import Result, Row

_FEW = 8  # metrics that need no headings
_SOLVED = ("solved_value", "solved_value_low", "solved_value_high", "reached", "goal_value", "binds")  # by a verdict
RUN = "the run"


def of(result: Result, details: bool) -> list[tuple[str, Row]]:
    """(heading, its metrics); without `details` not what the page says elsewhere."""
    shown = {name: value for name, value in result.metrics.items() if details or name not in _said(result)}
    of_run = training.run(result.command, shown)
    rest = {name: value for name, value in shown.items() if name not in of_run}
    solved = {name: rest.pop(name) for name in ("solved", *_SOLVED) if name in rest}
    found = [("", solved)] if solved else []
    every = groups.grouped(rest, known.unit)
    found += [("", rest)] if len(rest) <= _FEW or len(every) == 1 else list(every.items())
    return [(heading, values) for heading, values in (*found, (RUN, of_run)) if values]


def _said(result: Result) -> set[str]:
    """Metrics that stand elsewhere on the page."""
    said = set(_SOLVED) if result.verdict else set()
    said |= {"fits"} if result.fits else set()
    if headline.lines(result):
        said |= headline.told(result.metrics)
    return said | (training.said(result.metrics) if result.command == "train" else set())
