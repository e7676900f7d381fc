"""Rows of silicon_sample.csv of aiconfigurator-core 0.12.0 (Apache-2.0), chosen so that every rule decides one, and
ways to change them; predictors that are no model of anything.

Of `silicon_data_source` the folders of the machine that joined the files are cut.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

from simcost.validation.serving import rows, rules, score
from simcost.validation.serving.point import Predict, Prediction, ServingPoint
from simcost.validation.serving.rows import Row, Sample

JUDGED = 32  # of its measurements
PATH = Path(__file__).with_name("silicon_rows.csv")


@cache
def sample() -> Sample:
    return rows.read(PATH, rules.shipped())


@cache
def lines() -> tuple[dict[str, str], ...]:
    with PATH.open(encoding="utf-8", newline="") as file:
        return tuple(csv.DictReader(file))


def written(path: Path, changed: Sequence[dict[str, str]]) -> Path:
    """A file of these lines."""
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, changed[0].keys(), lineterminator="\n")
        table.writeheader()
        table.writerows(changed)
    return path


def line_of(rule: str, section: str) -> dict[str, str]:
    """The first line of a measurement that a rule decided."""
    found = next(row for row in sample().rows if rule in row.used.get(section, ()))
    return dict(next(line for line in lines() if line["id"] == found.ids[0]))


def read(path: Path, *changed: dict[str, str]) -> tuple[Row, ...]:
    """Measurements of changed lines."""
    return rows.read(written(path / "rows.csv", changed), rules.shipped()).rows


def truth(factor: Callable[[Row], float] = lambda row: 1.0, width: float = 0.1) -> Predict:
    """A predictor that knows every row's times, each multiplied by a factor."""
    known = {repr(row.point): row for row in sample().rows if row.point is not None}

    def predict(points: Sequence[ServingPoint]) -> list[Prediction]:
        found = []
        for point in points:
            row = known[repr(point)]
            tpot, ttft = factor(row) * row.tpot_s, factor(row) * row.ttft_s
            rate = score.loop_rate(point.concurrency, point.osl, ttft, tpot)
            low, high = 1.0 - width, 1.0 + width
            found.append(Prediction(ttft, tpot, tpot * low, tpot * high, rate, ttft * low, ttft * high))
        return found

    return predict
