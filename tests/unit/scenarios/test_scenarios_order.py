"""explain: the order of its rows, where each stands in the step, and that its rows make up the total."""

from __future__ import annotations

from typing import Any

import pytest

import simcost
from simcost.errors import SpecError

ASK: dict[str, Any] = {"model": "deepseek-v3", "hw": "h200", "batch": 64, "set": {"plan.tp": 8}}


def test_rows_come_by_the_time_of_all_their_runs() -> None:
    rows = simcost.explain(**ASK).tables["ops"]
    times = [row["step_s"] for row in rows]
    assert times == sorted(times, reverse=True)
    assert (rows[0]["op"], rows[0]["times"]) == ("moe / experts", 58)
    assert any(row["time_s"] > rows[2]["time_s"] for row in rows[3:])  # one run is not what they are sorted by


def test_running_order_stays_available_and_each_row_knows_its_place() -> None:
    by_time, run = simcost.explain(**ASK), simcost.explain(**ASK, order="execution")
    assert [row["order"] for row in run.tables["ops"]] == list(range(1, len(run.tables["ops"]) + 1))
    assert sorted(by_time.tables["ops"], key=lambda row: row["order"]) == list(run.tables["ops"])
    assert run.tables["ops"][0]["op"] == "embed_tokens"
    assert run.tables["ops"][-1]["op"] == "step overhead"
    assert by_time.metrics == run.metrics
    assert {name: rows for name, rows in by_time.tables.items() if name != "ops"} == {
        name: rows for name, rows in run.tables.items() if name != "ops"
    }


@pytest.mark.parametrize("phase", ["decode", "prefill"])
def test_one_after_the_other_the_rows_make_up_the_step(phase: str) -> None:
    found = simcost.explain(**ASK, phase=phase)
    whole = found.metrics["tpot_s" if phase == "decode" else "ttft_s"]
    assert sum(row["step_s"] for row in found.tables["ops"]) == pytest.approx(whole)
    for row in found.tables["ops"]:
        assert row["step_s"] == pytest.approx(row["times"] * row["time_s"])
        assert row["step_low_s"] == pytest.approx(row["times"] * row["low_s"])
        assert row["step_high_s"] == pytest.approx(row["times"] * row["high_s"])


@pytest.mark.parametrize("order", ["tiem", "", "bytes"])
def test_another_order_is_one_line(order: str) -> None:
    with pytest.raises(SpecError, match="--order must be one of time, execution, not"):
        simcost.explain(**ASK, order=order)
