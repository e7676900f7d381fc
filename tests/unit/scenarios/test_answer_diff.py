"""diff: what moved between two answers adds up; answers that do not compare are refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import simcost
from simcost.errors import SpecError

ASKED: dict[str, Any] = {"batch": 64, "context": 4096}


@pytest.fixture(scope="module")
def two() -> tuple[Any, Any]:
    before = simcost.decode("deepseek-v3", "h200", set={"plan.tp": 8}, **ASKED)
    return before, simcost.decode("deepseek-v3", "b200", set={"plan.tp": 8, "plan.kv_dtype": "fp8"}, **ASKED)


def test_terms_add_up_to_what_the_step_moved(two: tuple[Any, Any]) -> None:
    before, after = two
    found = simcost.diff(before, after)
    moved = after.metrics["tpot_s"] - before.metrics["tpot_s"]
    rows = found.tables["terms"]
    assert found.metrics["moved_s"] == pytest.approx(moved)
    assert sum(row["moved_s"] for row in rows) == pytest.approx(moved)
    assert sum(row["share_of_change"] for row in rows) == pytest.approx(1.0)
    assert [abs(row["moved_s"]) for row in rows] == sorted((abs(row["moved_s"]) for row in rows), reverse=True)
    experts = next(row for row in rows if row["term"] == "moe / experts")
    assert experts["before_s"] == pytest.approx(next(r for r in before.terms if r["term"] == "moe / experts")["step_s"])


def test_inputs_and_metrics_that_differ_stand_once(two: tuple[Any, Any]) -> None:
    before, after = two
    found = simcost.diff(before, after)
    asked = {row["key"]: (row["before"], row["after"]) for row in found.tables["what was asked"]}
    assert asked["hw"] == ("h200", "b200")
    assert asked["plan.kv_dtype"] == ("bf16", "fp8")
    assert "batch" not in asked
    metrics = {row["metric"]: row for row in found.tables["metrics that moved"]}
    assert metrics["tpot_s"]["relative_change"] == pytest.approx(after.metrics["tpot_s"] / before.metrics["tpot_s"] - 1)
    assert metrics["tpot_s"]["before_value"] == before.metrics["tpot_s"]
    assert "gpus" not in metrics
    assert "tpot_low_s" not in metrics
    assert found.verdict.startswith("TPOT 35")


def test_a_term_of_one_side_alone_stands_with_nothing_on_the_other() -> None:
    moe, dense = (simcost.decode(name, "h200", set={"plan.tp": 8}) for name in ("mixtral-8x7b", "llama-3.1-70b"))
    rows = {row["term"]: row for row in simcost.diff(moe, dense).tables["terms"]}
    assert rows["moe / experts"]["after_s"] is None
    assert rows["ffn / gate_up_proj"]["before_s"] is None
    assert sum(row["moved_s"] for row in rows.values()) == pytest.approx(
        dense.metrics["tpot_s"] - moe.metrics["tpot_s"]
    )


def test_training_is_told_by_where_its_step_goes() -> None:
    plain, sharded = (
        simcost.train("llama-3.1-8b", "h200", set={"plan.gpus": 8, "plan.zero_stage": stage}, levers=False)
        for stage in (1, 3)
    )
    found = simcost.diff(plain, sharded)
    assert {row["term"] for row in found.tables["terms"]} >= {"matrix products", "data parallel"}
    assert sum(row["moved_s"] for row in found.tables["terms"]) == pytest.approx(found.metrics["moved_s"])


def test_the_same_answer_moves_nothing_and_files_do_as_well(two: tuple[Any, Any], tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps(two[0].to_dict()), encoding="utf-8")
    same = simcost.diff(path, two[0])
    assert same.verdict.startswith("no change: ")
    assert same.tables == {}
    assert simcost.diff(path, two[1]).tables == simcost.diff(*two).tables


@pytest.mark.parametrize(("change", "says"), [
    ({"command": "train"}, "diff compares two results of the same command"), ({"inputs": {"vary": {"batch": [1, 2]}}}, "holds a table of points"), ({"metrics": {"a": 1}}, "no metric in common"),
    ({"schema_version": 9}, "schema_version is 9"), ({"metrics": []}, "metrics is missing"), ({"inputs": {"set": []}}, r"inputs\.set is not a table"), ({"rows": [1]}, "a row is not a table"),
])  # fmt: skip
def test_what_does_not_compare_is_refused(two: tuple[Any, Any], change: dict[str, Any], says: str) -> None:
    with pytest.raises(SpecError, match=says):
        simcost.diff(two[0], {**two[0].to_dict(), **change})
