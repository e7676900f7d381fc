"""Points of rows do not hang on the processor: which of two equally far ones becomes a centre is decided by last digits."""

from __future__ import annotations

from decimal import Decimal, localcontext

import numpy as np

from simcost.calibration.family import families
from simcost.calibration.rows import Rows
from simcost.calibration.store import row_terms
from simcost.hardware import load


def log(value: int) -> float:
    """The natural logarithm, rounded from forty digits."""
    with localcontext() as context:
        context.prec = 40
        return float(Decimal(value).ln())


def test_features_of_rows_are_right_to_the_last_digit() -> None:
    elements = np.arange(1.0, 3000.0)
    family = families()["stream"]
    ones = np.ones(len(elements))
    numbers = {name: elements if name == "elements" else ones for name in family.NUMBERS}
    _, points = row_terms(family, Rows(numbers, ones), {"what": "copy", "x": "bf16", "out": "bf16"}, load.load("h100"))
    assert points.features.dtype == np.float64
    assert [float(value) for value in points.features[:, 0]] == [log(int(value)) for value in elements]
