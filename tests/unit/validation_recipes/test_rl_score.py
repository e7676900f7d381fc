"""Scores of published steps: order of phases, errors, factors that a family does not make, and the page."""

from __future__ import annotations

import math

import pytest

from simcost.learning.phases import ALL, GENERATE, ROLLOUT, SYNC, TRAINER, UPDATE
from simcost.result import Result
from simcost.validation.recipes import fit, page, report, rows, score
from simcost.validation.recipes.rows import Row
from simcost.validation.recipes.rules import NOTHING, ORDER, STEP
from simcost.validation.recipes.score import Scored


def scored(
    rollout: float, update: float, sync: float, model: str = "m", at_once: bool = False, **numbers: float
) -> Scored:
    """A row whose step is what is stated, with a prediction of three phases."""
    cells = {
        **dict.fromkeys(rows.COLUMNS, ""),
        "id": f"{model}-{rollout}",
        "framework": "NeMo-RL",
        "model": model,
        "hw": "h100",
        "gpus": "8",
    }
    pools = (ROLLOUT, TRAINER) if at_once else (ALL, ALL)
    parts = ((GENERATE, pools[0], rollout), (UPDATE, pools[1], update), (SYNC, ALL, sync))
    whole = (max(rollout, update) if at_once else rollout + update) + sync
    phases = {
        "gen_s": rollout,
        "update_s": update,
        "sync_s": sync,
        "reward_s": 0.0,
        "old_logprob_s": 0.0,
        "reference_s": 0.0,
    }
    return Scored(Row(cells, numbers), STEP, (whole, whole / 1.2, whole * 1.2), phases, parts, at_once)


def test_order_leaves_out_phases_that_are_printed_as_alike() -> None:
    assert score.pairs(scored(30.0, 20.0, 1.0, gen_s=50.0, update_s=40.0, sync_s=2.0)) == [True, True, True]
    assert score.pairs(scored(20.0, 30.0, 1.0, gen_s=50.0, update_s=40.0)) == [False]
    assert score.pairs(scored(20.0, 30.0, 1.0, gen_s=50.0, update_s=46.0)) == []


def test_errors_are_of_the_step_and_of_each_printed_phase() -> None:
    one = scored(30.0, 20.0, 10.0, step_s=50.0, gen_s=60.0)
    assert one.figure["error"] == pytest.approx(0.2)
    assert one.figure["covered"]  # from 50 to 72
    assert score.phase_errors([one]) == [
        {"phase": "gen", "n": 1, "median_abs_error": 0.5, "mean_abs_error": 0.5, "p90_abs_error": 0.5, "bias": -0.5}
    ]
    assert score.log_error(one) == pytest.approx(math.log(1.2))


def test_factors_keep_pools_beside_each_other() -> None:
    factors = {"rollout": 2.0, "trainer": 3.0}
    assert fit.seconds(scored(10.0, 10.0, 5.0), factors) == 55.0
    assert fit.seconds(scored(10.0, 10.0, 5.0, at_once=True), factors) == 35.0


def test_a_family_is_judged_by_the_factors_of_the_others() -> None:
    """Steps of twice the rollout and thrice the update: what makes them is found from other families alone."""
    all_ = [
        scored(r, u, 1.0, model=name, step_s=2.0 * r + 3.0 * u + 1.0, gen_s=2.0 * r, update_s=3.0 * u)
        for name, r, u in (("a", 10.0, 3.0), ("a", 5.0, 9.0), ("b", 20.0, 8.0), ("b", 3.0, 7.0), ("c", 8.0, 8.0))
    ]
    lines = fit.table(all_, "NeMo-RL")
    assert [line["left_out_family"] for line in lines] == ["a", "b", "c", "all, each left out"]
    assert lines[-1]["cold_median_abs_error"] > 0.5
    assert lines[-1]["error_left_out"] < 0.06  # factors lie on a grid of 5 %
    assert fit.table(all_[:4], "NeMo-RL") == []  # two families leave one to fit


def test_a_row_beside_its_prediction() -> None:
    """A step of Llama-3.1-8B on 16 H100: every printed phase has a time, and they add up to less than the step."""
    one = score.answer(next(row for row in rows.every() if row.id.startswith("rl020")))
    assert (one.judges, one.reason, one.at_once) == (STEP, "", False)
    assert 0.5 < one.step[0] / 92.8 < 1.0
    assert one.step[1] < one.step[0] < one.step[2]
    assert sum(time for _, _, time in one.parts) == pytest.approx(one.step[0])
    assert sum(one.phases.values()) < one.step[0]


def test_the_report_has_bars_and_the_page_its_tables() -> None:
    lines = {
        "deepseek-v3": ("pre-training", 2_664_000.0, 2_500_000.0),
        "deepseek-r1-zero": ("R1-Zero", 101_376.0, 110_000.0),
        "deepseek-r1": ("reinforcement learning", 40_960.0, 60_000.0),
    }
    recipes = {
        name: Result("recipe", {}, {}, {"beside what is published": [
            {"published_what": what, "published_gpu_hours": hours, "gpu_hours": found, "error": found / hours - 1.0, "covered": name != "deepseek-r1", "source": "s"}
        ]}, (), (), "", True)
        for name, (what, hours, found) in lines.items()
    }  # fmt: skip
    unasked = [score.unasked(row) for row in rows.every()[1:]]
    one = score.Scored(rows.every()[0], STEP, (100.0, 80.0, 140.0), dict.fromkeys(rows.PHASES, 1.0))
    found = report.result([one, *unasked], recipes)
    bars = {(bar["rows_of"], bar["what"]): bar for bar in found.tables["bars"]}
    assert bars["NeMo-RL", "step"]["aim"]
    assert bars["deepseek-v3", "pre-training"]["passes"]  # 6.2 %
    assert not bars["deepseek-r1", "reinforcement learning"]["passes"]
    zero = next(line for line in found.tables["recipes"] if line["recipe"] == "deepseek-r1-zero")
    assert zero["published_step_s"] == pytest.approx(68.5, abs=0.05)
    assert not found.fits
    assert found.tables["worst"][0]["story"].startswith("believed: a decode step of tp 32")
    text = page.text(found)
    assert all(
        f"## {title}" in text
        for title in ("Bars", "Steps, nothing fitted", "Recipes, GPU hours", "Worst steps", "Rules")
    )


def test_rows_that_judge_nothing_are_not_asked() -> None:
    asked = {row.id for row in score.asked()}
    assert not any(row.id in asked for row in rows.every() if row.cells["kind"] == "sync-only")
    assert {score.files.shipped().of(row).judges for row in score.asked()} == {STEP, ORDER}
    assert score.unasked(rows.every()[0]).judges == NOTHING
