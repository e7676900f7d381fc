"""explain --op: one kernel in full, against explain's own rows and against the row files; explain --top."""

from __future__ import annotations

import csv
import math
from typing import Any

import pytest

import simcost
from simcost.errors import SpecError
from simcost.files import folder

ASKED: dict[str, Any] = {"batch": 64, "context": 4096, "set": {"plan.tp": 8}}


@pytest.fixture(scope="module")
def whole() -> Any:
    return simcost.explain("deepseek-v3", "h200", **ASKED)


@pytest.fixture(scope="module")
def core() -> Any:
    return simcost.explain("deepseek-v3", "h200", op="absorb k into q", **ASKED)


def row_of(result: Any, op: str) -> dict[str, Any]:
    return next(row for row in result.tables["ops"] if row["op"] == op)


def test_the_kernel_is_the_row_of_explain(whole: Any, core: Any) -> None:
    (kernel, first) = core.tables["kernels"][0], row_of(whole, "attention / absorbed / absorb k into q")
    assert all(kernel[name] == first[name] for name in kernel)
    assert core.verdict.startswith("attention / absorbed / absorb k into q: ")
    assert core.metrics == whole.metrics
    assert "ops" not in core.tables


def test_curves_name_table_engine_and_parameters(core: Any) -> None:
    rows = core.tables["curves"]
    assert [row["engines"] for row in rows] == ["sglang", "trtllm", "vllm"]
    assert all(row["table"].startswith("h200/") and row["kernel"] == "batched_gemm bf16-bf16-bf16" for row in rows)
    for row in rows:
        assert 0.0 < row["t0_s"] < 1e-4
        assert 0.05 < row["memory_efficiency"] <= 1.08
        assert row["rows"] > 100


def test_the_nearest_rows_are_those_of_the_file(core: Any) -> None:
    table = core.tables["curves"][0]["table"].split("/")
    path = folder("hwprofiles") / table[0] / "tables" / table[1] / table[2] / "batched_gemm" / "bf16-bf16-bf16.csv"
    asked = {"batch": 16.0, "m": 64.0, "n": 512.0, "k": 128.0}
    with path.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    same = [row for row in rows if all(float(row[name]) == value for name, value in asked.items())]
    first = core.tables["nearest measured rows"][0]
    assert first["largest_ratio"] == pytest.approx(1.0)
    assert first["measured_s"] in [float(row["seconds"]) for row in same]
    assert first["measured_shape"] == "batch=16 m=64 n=512 k=128"
    ratios = [row["largest_ratio"] for row in core.tables["nearest measured rows"] if row["table"] == first["table"]]
    assert len(ratios) == 3
    assert ratios[1] > 1.0


def test_the_parts_of_the_interval_make_it(core: Any) -> None:
    together, *parts = core.tables["interval"]
    kernel = core.tables["kernels"][0]
    assert together["error_source"] == "all together"
    assert together["half_width"] == pytest.approx(kernel["high_s"] / kernel["time_s"] - 1.0)
    assert sum(row["share_of_variance"] for row in parts) == pytest.approx(1.0)
    logs = [math.log1p(row["half_width"]) for row in parts]
    assert math.hypot(*logs) == pytest.approx(math.log1p(together["half_width"]))


def test_a_class_of_kernels_names_its_parts_and_several_kernels_are_told_apart() -> None:
    experts = simcost.explain("deepseek-v3", "h200", op="moe/EXPERTS", **ASKED)
    parts = experts.tables["parts"]
    assert [row["kernel"] for row in parts].count("grouped_gemm") == 2
    assert sum(row["flops"] for row in parts) == pytest.approx(experts.tables["kernels"][0]["flops"])
    norms = simcost.explain("deepseek-v3", "h200", op="norm", **ASKED)
    assert len(norms.tables["kernels"]) == 5
    assert any("no measurements for this kernel" in note for note in norms.warnings)
    assert {row["op"] for row in norms.tables["interval"]} == {row["op"] for row in norms.tables["kernels"]}


def test_top_lists_the_longest_and_says_what_is_left(whole: Any) -> None:
    top = simcost.explain("deepseek-v3", "h200", top=3, **ASKED)
    assert top.tables["ops"] == whole.tables["ops"][:3]
    left = whole.tables["ops"][3:]
    assert f"{len(left)} more rows, {sum(row['share'] for row in left):.1%} of the step together" in top.warnings
    assert simcost.ask(top.command, top.inputs).tables == top.tables


@pytest.mark.parametrize(("asked", "says"), [
    ({"op": "exprts"}, "no kernel of this step has this name"), ({"op": "exprts"}, "did you mean"), ({"op": ""}, "no kernel"), ({"op": "core", "top": 3}, "use --op or --top, not both"), ({"top": 0}, "outside 1 to"),
])  # fmt: skip
def test_what_cannot_be_asked_is_one_line(asked: dict[str, Any], says: str) -> None:
    with pytest.raises(SpecError, match=says):
        simcost.explain("deepseek-v3", "h200", **ASKED, **asked)


def test_a_device_without_rows_answers_by_the_roofline() -> None:
    bare = simcost.explain("llama-3.1-8b", "h200", op="o_proj", set={"hw.measurements": "none"})
    assert set(bare.tables) == {"kernels", "interval"}
    assert any("follows from the roofline" in note for note in bare.warnings)
