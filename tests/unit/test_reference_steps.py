"""Whole steps that were once wrong, each with what is right: a measured time inside the interval, or bounds that its sisters give.

`tests/reference/steps.csv`: one row a step; `tokens`: context of a decode step, new tokens of a prefill.
"""

from __future__ import annotations

import csv
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

import simcost

ROWS = list(csv.DictReader((Path(__file__).parents[1] / "reference" / "steps.csv").open(encoding="utf-8")))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row['fault']}-{row['model']}-{row['hw']}-{row['batch']}")
def test_a_step_that_was_wrong_is_right(row: dict[str, str]) -> None:
    sets: dict[str, Any] = {"engine": row["engine"]}
    for pair in row["set"].split():
        key, value = pair.split("=")
        sets[key] = int(value) if value.isdigit() else value
    batch, tokens, past = (int(row[name]) for name in ("batch", "tokens", "past"))
    if row["command"] == "decode":
        found = simcost.decode(row["model"], row["hw"], batch=batch, context=tokens, set=sets).metrics
    else:
        found = simcost.prefill(row["model"], row["hw"], batch=batch, isl=tokens, past=past, set=sets).metrics
    name = "tpot" if row["command"] == "decode" else "ttft"
    time, low, high = (1e3 * found[f"{name}{end}"] for end in ("_s", "_low_s", "_high_s"))
    assert 1e3 * found["speed_of_light_s"] <= low <= time <= high
    if row["least_ms"]:
        assert time >= float(row["least_ms"])
    if row["most_ms"]:
        assert time <= float(row["most_ms"])
    if row["measured_ms"]:
        assert low <= float(row["measured_ms"]) <= high


def tpot(model: str, hw: str, batch: int, **sets: Any) -> float:
    return float(simcost.decode(model, hw, batch=batch, context=2048, set=sets).metrics["tpot_s"])


@pytest.mark.parametrize(("model", "hw", "sets"), [
    ("mixtral-8x7b", "h200", {"plan.tp": 4}), ("llama-4-scout", "h100", {"plan.tp": 4}), ("llama-3.1-70b", "b200", {"plan.tp": 4}),
])  # fmt: skip
def test_narrower_experts_and_products_are_not_slower(model: str, hw: str, sets: dict[str, Any]) -> None:
    for batch in (1, 16, 64):
        assert tpot(model, hw, batch, **sets, **{"plan.weight_dtype": "fp8"}) <= tpot(model, hw, batch, **sets)


def test_a_step_of_more_sequences_is_not_faster() -> None:
    for model, hw, sets in (
        ("llama-3.1-70b", "gb200", {"plan.tp": 4, "plan.weight_dtype": "fp8"}), ("deepseek-v3", "gb200", {"plan.ep": 64}),
    ):  # fmt: skip
        times = [tpot(model, hw, batch, **sets) for batch in (1, 2, 4, 32, 64, 128)]
        assert all(later >= 0.98 * earlier for earlier, later in pairwise(times)), times
