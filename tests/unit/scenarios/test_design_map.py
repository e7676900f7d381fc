"""The map of designs: the front by brute force, each row as its single question, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import simcost
from simcost import grammar
from simcost.cli.app import run
from simcost.errors import SpecError
from simcost.scenarios.design_map import front

AXES = {
    "model.num_attention_heads": [64, 128],
    "model.kv_lora_rank": [256, 512, 1024],
    "model.moe_intermediate_size": [1024, 2048],
}


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6), st.booleans()), min_size=1, max_size=40))
def test_the_front_is_what_nothing_beats(points: list[tuple[int, int, bool]]) -> None:
    x, y, usable = (np.array(column, float) for column in zip(*points, strict=True))
    found = front(x, y, usable > 0)

    def beaten(i: int) -> bool:
        return any(
            usable[j] and x[j] <= x[i] and y[j] <= y[i] and (x[j] < x[i] or y[j] < y[i]) for j in range(len(points))
        )

    assert found.tolist() == [bool(usable[i]) and not beaten(i) for i in range(len(points))]


def test_every_row_is_its_single_question() -> None:
    found = simcost.sweep("deepseek-v3", "h200", vary=AXES, batch=64, set={"plan.tp": 8})
    rows = found.tables["sweep"]
    assert len(rows) == 12
    for row in rows:
        sets = {"plan.tp": 8, **{path: row[path] for path in AXES}}
        alone = simcost.decode("deepseek-v3", "h200", batch=64, set=sets).metrics
        model = simcost.show_model("deepseek-v3", set={path: row[path] for path in AXES}).metrics
        assert row["tpot_s"] == pytest.approx(alone["tpot_s"], rel=1e-12)
        assert (row["params_total"], row["params_active_all"]) == (model["params_total"], model["params_active_all"])
        assert row["kv_bytes_per_token"] == model["kv_bytes_per_token"]


def test_by_default_the_front_is_of_time_against_parameters() -> None:
    found = simcost.sweep("deepseek-v3", "h200", vary=AXES, batch=64, set={"plan.tp": 8})
    assert found.inputs["pareto"] == ["tpot_s:less", "params_total:more"]
    on = [row for row in found.tables["sweep"] if row.get("pareto")]
    assert found.metrics["points_on_front"] == len(on)
    on.sort(key=lambda row: row["tpot_s"])
    assert [row["params_total"] for row in on] == sorted(row["params_total"] for row in on)
    assert simcost.ask("sweep", found.inputs).metrics == found.metrics


@pytest.mark.parametrize(("pareto", "says"), [
    (["tpot"], "takes two metrics"), (["tpot", "params_total"], "state which side is better, params_total:less or params_total:more"),
    (["tpot", "tpot_s"], "names tpot_s twice"), (["tpot", "colour:less"], "not a metric of decode"), (["tpot:low", "usd"], "state which side is better"),
])  # fmt: skip
def test_what_is_no_pair_of_metrics_is_refused(pareto: list[str], says: str) -> None:
    with pytest.raises(SpecError) as error:
        simcost.sweep("llama-3.1-8b", "h200", vary={"batch": [1, 2]}, pareto=pareto)
    assert says in str(error.value)


def test_a_map_needs_axes() -> None:
    with pytest.raises(SpecError, match="sweep needs axes"):
        simcost.sweep("llama-3.1-8b", "h200")


@pytest.mark.parametrize(("text", "values"), [
    ("model.kv_lora_rank=256..512:64", [256, 320, 384, 448, 512]), ("batch=1..9:x2", [1, 2, 4, 8]), ("batch=1..3", [1, 2, 3]),
    ("batch=1..3,8", [1, 2, 3, 8]), ("context=1k..4k:x2", [1024, 2048, 4096]), ("plan.tp=4..4", [4]),
])  # fmt: skip
def test_ranges_of_counts(text: str, values: list[int]) -> None:
    assert list(grammar.axes([text]).values()) == [values]


@pytest.mark.parametrize(("text", "says"), [
    ("batch=8..1", "from the smaller number to the larger"), ("batch=1..8:0", "steps of at least 1"), ("batch=1..8:x1", "steps of at least 1"),
    ("batch=1..b", "a range needs whole numbers"), ("batch=1..900000000", "more than 1,000,000 values"),
])  # fmt: skip
def test_what_is_no_range_is_refused(text: str, says: str) -> None:
    with pytest.raises(SpecError) as error:
        grammar.axes([text])
    assert says in str(error.value)


def test_too_many_points_are_refused() -> None:
    with pytest.raises(SpecError, match="the axes have 16,000,000 points together; at most 2,000,000"):
        simcost.sweep("llama-3.1-8b", "h200", vary={"batch": list(range(1, 4001)), "context": list(range(1, 4001))})


def test_the_command_prints_the_front_and_draws_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture: Any = tmp_path / "map.png"
    words = [
        "sweep",
        "--model",
        "deepseek-v3",
        "--hw",
        "h200",
        "--tp",
        "8",
        "--vary",
        "model.kv_lora_rank=256..512:128",
    ]
    assert run([*words, "--plot", str(picture)]) == 0
    out = capsys.readouterr().out
    assert "Pareto front: TPOT (less) against params total (more)" in out
    assert picture.read_bytes()[:4] == b"\x89PNG"
    assert run([*words, "--pareto", "tpot,kv_bytes_per_token", "--format", "csv"]) == 0
    assert "pareto" in capsys.readouterr().out.splitlines()[0]


MODELS = ["llama-3.1-8b", "qwen3-8b", "mistral-7b-v0.3", "qwen2.5-7b", "gemma-2-9b", "qwen3-14b"]
USD = ["usd", "params_total:less"]


def test_places_are_those_that_compare_tells() -> None:
    asked: dict[str, Any] = {"hw": "h200", "batch": 64, "context": 4096}
    rows = simcost.sweep(**asked, vary={"model": MODELS}, pareto=["tpot", "weight_bytes:less"]).tables["sweep"]
    told = {row["design"]: row for row in simcost.compare(MODELS, **asked).tables["designs"]}
    for row in rows:
        same = told[row["model"]]
        assert row["probability_behind"] == pytest.approx(same["tpot_probability_slower"]), row["model"]
        assert row["best_or_tied"] == same["tpot_best_or_tied"], row["model"]
    assert {row["best_or_tied"] for row in rows} == {True, False}


def test_a_point_that_nothing_on_the_front_beats_for_sure_is_tied_with_it() -> None:
    """Where the second metric is the same for all points, the front is the best one, and ties are those with it."""
    found = simcost.sweep("qwen3-8b", vary={"hw": ["h100", "h200", "l40s", "b200"], "plan.tp": [1, 2, 4]}, pareto=["tpot", "params_total:less"])  # fmt: skip
    rows = found.tables["sweep"]
    assert sum(row["pareto"] for row in rows) == 1
    assert [row["pareto_or_tied"] for row in rows] == [row["best_or_tied"] for row in rows]
    assert 0 < found.metrics["points_tied_with_front"] < len(rows) - 1


def test_money_is_tied_by_the_range_of_prices_too() -> None:
    asked: dict[str, Any] = {"model": "qwen3-8b", "batch": 64, "vary": {"hw": ["h100", "h200", "a100"]}, "pareto": USD}
    ranges, stated = simcost.sweep(**asked), simcost.sweep(**asked, price=2.0)
    assert ranges.inputs["pareto"][0] == "usd_per_million_output_tokens:less"  # not an end of its range
    sure = [
        max(row["probability_behind"] or 0.0 for row in found.tables["sweep"]) for found in (ranges, stated)
    ]  # of the device that is furthest behind
    assert sure[0] < 0.95 < sure[1]


def test_of_exact_metrics_only_equal_ones_are_alike() -> None:
    found = simcost.sweep("qwen3-8b", "h200", vary={"batch": [1, 2, 64]}, pareto=["weight_bytes:less", "kv_bytes_per_gpu:less"])  # fmt: skip
    rows = found.tables["sweep"]
    assert [row["pareto_or_tied"] for row in rows] == [True, False, False]
    assert [row["best_or_tied"] for row in rows] == [True, True, True]


def test_maps_of_many_points_mark_no_ties(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("simcost.scenarios.goals.map_ties.MOST", 2)
    found = simcost.sweep("qwen3-8b", "h200", vary={"batch": [1, 2, 4]})
    assert "points_tied_with_front" not in found.metrics
    assert not {"pareto_or_tied", "best_or_tied"} & set(found.tables["sweep"][0])
