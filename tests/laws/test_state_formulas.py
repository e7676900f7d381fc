"""The formula that `show model` prints of each block that keeps something is the count, of every model that ships."""

from __future__ import annotations

import re

import numpy as np
import pytest

from simcost import api
from simcost.model import load as models
from simcost.plan import Plan


@pytest.mark.parametrize("name", models.names())
def test_a_formula_says_what_is_counted(name: str) -> None:
    rows = api.show_model(name).tables["cache of a sequence"]
    for row in rows:
        sums = re.sub(r"[^0-9+*/(). ]", "", str(row["formula"]).replace(" x ", " * "))
        assert eval(sums) == pytest.approx(row["kept_elements"]), row
    kept = {
        type(block).__name__ for _, block in models.load(name).blocks() if np.any(block.state_elements(1.0, Plan()))
    }
    assert {row["block"] for row in rows} == kept
