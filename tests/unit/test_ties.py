"""Ties: the 90 % interval of a ratio of two times, shared errors cancelled."""

from __future__ import annotations

import math

import numpy as np
import pytest

import simcost
from simcost.cost.cost import ALIKE, ALIKE_ASSUMED, Cost, interval, ratio_deviation, tied
from simcost.estimate import ties
from simcost.estimate.step import run
from simcost.num import Z90
from simcost.query import make, workload


def cost(seconds, **spread) -> Cost:
    return Cost(memory_s=seconds, spread=spread)


def test_shared_errors_cancel_and_others_join_in_quadrature() -> None:
    common = {"machine": "the machine's state", "tables": "what no table knows"}
    a, b = (Cost(memory_s=t, spread=dict.fromkeys(common.values(), 0.2 * t)) for t in (2.0, 1.0))
    assert ratio_deviation(a, b) == pytest.approx(0.0)
    assert ratio_deviation(cost(2.0, gemm=0.4), cost(1.0, experts=0.15)) == pytest.approx(math.hypot(0.2, 0.15))
    one, other = cost(1.0, gemm=0.10, experts=0.05), cost(4.0, gemm=0.10, experts=0.20, attention=0.12)
    own = math.sqrt(2 * (1 - ALIKE) * (0.10 * 0.025 + 0.05 * 0.05))
    assert ratio_deviation(one, other) == pytest.approx(math.hypot(0.10 - 0.025, 0.05 - 0.05, 0.03, own))
    assert ratio_deviation(one, other) == pytest.approx(ratio_deviation(other, one))


@pytest.mark.parametrize(("source", "alike"), [("gemm fitted", ALIKE), ("gemm assumed", ALIKE_ASSUMED)])
def test_kernels_of_one_family_are_wrong_together_in_part(source: str, alike: float) -> None:
    a, b = (Cost(memory_s=t, spread={source: 0.2 * t}) for t in (2.0, 1.0))
    assert ratio_deviation(a, b) == pytest.approx(0.2 * math.sqrt(2 * (1 - alike)))
    assert ratio_deviation(cost(2.0, gemm=0.4), cost(1.0, experts=0.15)) == pytest.approx(math.hypot(0.2, 0.15))


def test_kernels_that_stay_are_wrong_by_the_same() -> None:
    """Only the part of a family whose shapes differ is wrong in its own way."""
    a, b = cost(2.0, gemm=0.4), cost(1.0, gemm=0.15)
    assert ratio_deviation(a, b, {}) == pytest.approx(0.05)
    assert ratio_deviation(a, b, {"gemm": 1.0}) == pytest.approx(ratio_deviation(a, b))
    quarter = math.sqrt(0.05**2 + 2 * (1 - ALIKE) * 0.25 * 0.2 * 0.15)
    assert ratio_deviation(a, b, {"gemm": 0.25}) == pytest.approx(quarter)


def test_overlapping_intervals_are_no_tie_where_the_error_is_shared() -> None:
    a, b = (Cost(memory_s=t, spread={"what no table knows": 0.1 * t}) for t in (1.0, 1.1))
    assert interval(a)[1] > interval(b)[0]
    assert not tied(a, b)
    assert tied(a, cost(1.1, attention=0.11))


def test_a_tie_ends_where_the_interval_of_the_ratio_leaves_one() -> None:
    sigma = 0.1
    edge = math.exp(Z90 * sigma)
    for factor, expected in ((edge * 0.999, True), (edge * 1.001, False)):
        assert tied(cost(factor, gemm=factor * sigma), cost(1.0)) is expected
        assert tied(cost(1.0), cost(factor, gemm=factor * sigma)) is expected
    assert tied(cost(1.0), cost(1.0))
    assert not tied(cost(1.0), cost(1.0 + 1e-6))


def test_arrays_are_compared_point_by_point() -> None:
    seconds = np.array([1.0, 1.1, 1.5])
    found = tied(cost(seconds, gemm=0.1 * seconds), cost(1.0, attention=0.1))
    assert found.tolist() == [bool(tied(cost(s, gemm=0.1 * s), cost(1.0, attention=0.1))) for s in seconds]
    assert found.tolist() == [True, True, False]


def test_exact_metrics_tie_only_where_they_are_equal() -> None:
    assert ties.with_first(cost(np.ones(3)), "max_batch", np.array([4.0, 4.0, 5.0])).tolist() == [True, True, False]


def test_compare_says_which_designs_cannot_be_told_apart() -> None:
    same = simcost.compare(["llama-3.1-8b", "deepseek-r1-distill-llama-8b"], "h200")
    assert same.metrics["tied_tpot_s"] == "deepseek-r1-distill-llama-8b"
    assert "TPOT: llama-3.1-8b is tied with deepseek-r1-distill-llama-8b" in same.verdict
    assert all(row["tpot_best_or_tied"] and row["ttft_best_or_tied"] for row in same.tables["designs"])
    apart = simcost.compare(["llama-3.1-8b", "llama-3.1-70b"], "h200")
    assert "tied" not in apart.verdict
    assert "tied_tpot_s" not in apart.metrics
    assert [row["tpot_best_or_tied"] for row in apart.tables["designs"]] == [True, False]


def test_plans_mark_what_is_tied_with_the_best() -> None:
    result = simcost.plans("qwen3-30b-a3b", "mi300x", gpus=4, batch=[16, 64])
    rows = [row for row in result.tables["plans"] if row["feasible"]]
    assert rows[0]["best_or_tied"]
    marked = [row for row in rows if row["best_or_tied"]]
    assert result.metrics["plans_tied"] == len(marked) - 1
    assert ("tied with the best" in result.verdict) == (len(marked) > 1)
    best = _cost(rows[0])
    for row in rows:
        ratio = row["output_tokens_per_s_per_gpu"] / rows[0]["output_tokens_per_s_per_gpu"]
        assert row["best_or_tied"] == tied(_cost(row), best, ratio)


def _cost(row: dict) -> Cost:
    sets = {
        f"plan.{name}": row[name]
        for name in ("tp", "dp_attention", "pp", "dp", "ep", "etp", "overlap", "sequence_parallel")
    }
    phase = {"batch": row["batch"], "context": 4096}
    return run(workload(make("qwen3-30b-a3b", "mi300x", True, phase, sets, {}, None))).cost
