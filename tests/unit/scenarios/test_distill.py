"""Distillation: against `serve` and `train` of the same question, published anchors, prices, refusals."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Any

import pytest

import simcost
from simcost import metrics
from simcost.errors import Infeasible, SpecError
from simcost.hardware.prices import Price
from simcost.num import Z90
from simcost.scenarios.distill import ties

ASK: dict[str, Any] = {
    "teacher": "qwen3-8b", "student": "qwen3-0.6b", "hw": "h100", "isl": 200, "osl": 800, "samples": 100_000, "gpus": 8, "set": {"plan.tp": 1}, "price": 2,
}  # fmt: skip


@pytest.fixture(scope="module")
def found() -> simcost.api.Result:
    return simcost.distill(**ASK)


def rows(found: simcost.api.Result) -> dict[str, dict[str, Any]]:
    return {row["variant"]: row for row in found.tables["variants"]}


def test_parts_are_those_of_train_and_serve(found: simcost.api.Result) -> None:
    data = rows(found)["data"]
    run = simcost.train("qwen3-0.6b", "h100", gpus=8, set={"plan.tp": 1}, tokens=1e8, levers=False, price=2).metrics
    assert data["training_gpu_hours"] == pytest.approx(run["run_gpu_hours"], rel=0.01)
    speed = max(
        simcost.serve("qwen3-8b", "h100", 200, 800, concurrency=2**power).metrics["output_tokens_per_s_per_gpu"]
        for power in (7, 8, 9, 10)
    )
    assert data["writing_gpu_hours"] == pytest.approx(8e7 / speed / 3600, rel=0.02)


def test_hours_and_money_add_up(found: simcost.api.Result) -> None:
    for row in rows(found).values():
        parts = sum(row[f"{part}_gpu_hours"] for part in ("writing", "rollout", "teacher", "training"))
        assert row["total_gpu_hours"] == pytest.approx(parts)
        assert row["total_usd"] == pytest.approx(2 * parts + row["storage_usd"] + row["network_usd"])
        assert row["total_gpu_hours_low"] < row["total_gpu_hours"] < row["total_gpu_hours_high"]
        assert row["duration_s"] == pytest.approx(parts / 8 * 3600)
    assert rows(found)["logits stored, all"]["storage_usd"] == pytest.approx(1e8 * (2 * 151_936 + 4) / 1e9 * 0.023)
    cheapest = min(rows(found).values(), key=lambda row: row["total_usd"])
    assert found.metrics["cheapest"] == cheapest["variant"]
    assert cheapest["times_cheapest"] == 1


def test_every_name_is_known_and_the_question_can_be_asked_again(found: simcost.api.Result) -> None:
    assert all(metrics.find(name) for table in found.tables.values() for row in table for name in row)
    assert all(metrics.find(name) for name in found.metrics)
    assert simcost.ask(found.command, found.inputs).metrics == found.metrics


def test_a_store_costs_by_month_and_a_network_by_byte() -> None:
    kept = rows(simcost.distill(**ASK, storage_price=0.1, storage_months=3, network_price=0.01))["logits stored, top-k"]
    assert kept["storage_usd"] == pytest.approx(1e8 * 1540 / 1e9 * 0.3)
    assert kept["network_usd"] == pytest.approx(2 * 1e8 * 1540 / 1e9 * 0.01)


def test_selection_and_epochs() -> None:
    once = rows(simcost.distill(**ASK))
    often = rows(simcost.distill(**{**ASK, "epochs": 2, "kept": 0.25, "tokens": 1e8, "samples": None}))
    assert often["data"]["writing_gpu_hours"] == pytest.approx(4 * once["data"]["writing_gpu_hours"])
    assert often["data"]["training_gpu_hours"] == pytest.approx(2 * once["data"]["training_gpu_hours"], rel=0.01)
    assert often["logits stored, top-k"]["teacher_gpu_hours"] == pytest.approx(
        once["logits online"]["teacher_gpu_hours"]
    )


def test_reinforcement_learning_stands_beside_it() -> None:
    said = "steps=10,prompts=32,samples=8"
    both = simcost.distill(**ASK, rl=said)
    alone = simcost.rl(
        "qwen3-0.6b", "h100", gpus=8, isl=200, osl=800, steps=10, prompts=32, samples=8, train={"plan.tp": 1}, price=2, levers=False
    ).metrics  # fmt: skip
    row = rows(both)["rl"]
    assert (row["total_gpu_hours"], row["total_usd"]) == (alone["gpu_hours"], alone["usd"])
    assert row["total_gpu_hours_low"] < row["total_gpu_hours"] < row["total_gpu_hours_high"]
    assert any("rl: 10 steps of 32 x 8 answers" in note for note in both.warnings)
    for wrong, words in (
        ("steps=10", "missing prompts, samples"),
        ("step=10,prompts=1,samples=1", "did you mean 'steps'"),
        ("steps=1,steps=2,prompts=1", "twice"),
    ):
        with pytest.raises(SpecError, match=words):
            simcost.distill(**ASK, rl=wrong)


def test_other_tokenizers_follow_texts_alone() -> None:
    ask = {**ASK, "teacher": "llama-3.1-8b"}
    apart = simcost.distill(**ask)
    assert [name for name, row in rows(apart).items() if row["feasible"]] == ["data"]
    assert "vocabularies differ (128,256 and 151,936)" in rows(apart)["on-policy"]["reason"]
    assert all(row["feasible"] for row in rows(simcost.distill(**ask, cross_tokenizer=True)).values())


def test_the_training_of_r1s_32b_student_is_near_its_arithmetic() -> None:
    """804,745 samples of 5,355.3 tokens, two epochs (arXiv 2501.12948 supplement): 6 N FLOPs a token are 1.18 K H800-hours at 400 TFLOP/s, recomputation and attention beside."""
    params = simcost.show_model("qwen2.5-32b").metrics["params_total"]
    arithmetic = 6 * params * 804_745 * 5355.3 * 2 / 400e12 / 3600
    assert arithmetic == pytest.approx(1180, rel=0.01)
    run = simcost.train("qwen2.5-32b", "h800", gpus=64, seq=8192, global_batch=256, tokens=804_745 * 5355.3 * 2, set={"plan.tp": 8, "plan.pp": 2}, levers=False).metrics  # fmt: skip
    assert run["run_gpu_hours_low"] < arithmetic < run["run_gpu_hours_high"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"samples": None}, "--samples"), ({"tokens": 1e9}, "with either --samples"), ({"gpus": None}, "--gpus or --nodes"), ({"texts": "techer"}, "did you mean 'teacher'"),
        ({"kept": 0}, "--kept"), ({"kept": 2}, "at most 1"), ({"epochs": -1}, "--epochs"), ({"top_k": 0}, "--top-k"), ({"layers": "x"}, "--layers"), ({"tokens": 10, "samples": None}, "less than one sample"),
        ({"storage_price": -1}, "--storage-price"), ({"teacher_plan": "tpp=8"}, "--teacher-plan tpp=8"), ({"teacher": "qwen3-8bb"}, "qwen3-8b"), ({"osl": "lognormal:3"}, "lognormal:MEAN:SIGMA"),
    ],
)  # fmt: skip
def test_what_cannot_be_asked_is_one_line(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(SpecError, match=words) as refused:
        simcost.distill(**{**ASK, **changes})
    assert "\n" not in str(refused.value)


def test_a_teacher_that_does_not_fit_its_plan() -> None:
    with pytest.raises(Infeasible, match="no memory"):
        simcost.distill(**{**ASK, "teacher": "qwen3-235b-a22b", "teacher_plan": "tp=1"})


def test_variants_are_tied_by_the_errors_of_the_parts_that_they_do_not_share(found: simcost.api.Result) -> None:
    """Of one price that is stated: logs of the rates' ends, each part by its share of the price."""
    table = rows(found)
    best, other = table["logits online"], table["data"]
    assert found.metrics["cheapest"] == best["variant"]
    sigma = {
        row["part_of_distillation"]: math.log(row["tokens_per_s_per_gpu_high"] / row["tokens_per_s_per_gpu_low"]) / (2 * Z90)
        for row in found.tables["rates"]
    }  # fmt: skip
    apart = [
        (other[f"{part}_gpu_hours"] / other["total_usd"] - best[f"{part}_gpu_hours"] / best["total_usd"]) * 2 * sigma[rate]
        for part, rate in (("writing", "teacher writes"), ("teacher", "teacher reads"), ("training", "student trains"))
    ]  # fmt: skip
    behind = NormalDist().cdf(math.log(other["total_usd"] / best["total_usd"]) / math.hypot(*apart))
    assert other["probability_behind"] == pytest.approx(behind, rel=1e-6)
    assert other["best_or_tied"] == (behind <= 0.95)
    assert (best["best_or_tied"], best["probability_behind"]) == (True, None)
    assert ("data 1.68 times (tied)" in found.verdict) == other["best_or_tied"]
    # The same parts and a little more of one: surely dearer, however wide the interval of the part.
    assert table["feature"]["times_cheapest"] < 1.01
    assert not table["feature"]["best_or_tied"]


def test_the_price_of_one_device_moves_both_alike_and_of_two_devices_not() -> None:
    price, exact = Price(2.0, 1.0, 4.0), (1.0, 1.0)
    hours = {"data": [("writing", 1.0), ("training", 2.0)], "on-policy": [("rollout", 1.5), ("training", 2.0)]}

    def behind(teacher: str) -> tuple[float, bool]:
        table: list[dict[str, Any]] = [{"variant": name} for name in hours]
        costs = {
            name: ties.cost(
                [ties.Part(part, each, exact, teacher if part == "writing" else "h100", price) for part, each in parts],
                2.0 * sum(each for _, each in parts),
            )
            for name, parts in hours.items()
        }
        ties.mark(table, costs, "data")
        return table[1]["probability_behind"], table[1]["best_or_tied"]

    assert behind("h100") == (1.0, False)
    sigma = math.log(4.0) / (2 * Z90)  # a third of the price of "data" is of the other device
    surely = NormalDist().cdf(math.log(3.5 / 3.0) / math.hypot(sigma / 3.0, sigma / 3.0))
    found, alike = behind("l40s")
    assert found == pytest.approx(surely)
    assert alike
