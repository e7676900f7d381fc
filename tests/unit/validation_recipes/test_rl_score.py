"""Scores of published steps: order of phases, errors, terms that a family does not make, and the page."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from simcost.cost.cost import Cost, tied
from simcost.errors import SpecError
from simcost.learning import stack
from simcost.learning.phases import ALL, GENERATE, ROLLOUT, SYNC, TRAINER, UPDATE, Phase
from simcost.result import Result
from simcost.scenarios.rl.step import run
from simcost.validation.recipes import fit, page, report, rows, rules, score, write
from simcost.validation.recipes.ask import question
from simcost.validation.recipes.rows import Row
from simcost.validation.recipes.rules import HELD, NOTHING, ORDER, STEP
from simcost.validation.recipes.score import Scored
from simcost.validation.recipes.terms import DECODE, KERNEL, Bare

NO_TERMS = replace(stack.load("nemo-rl"), host_decode_s=0.0, host_kernel_s=0.0, step_spread=0.0)
_ABSENT = ("reward_s", "old_logprob_s", "reference_s")


def scored(
    rollout: float, update: float, sync: float, model: str = "m", at_once: bool = False, **numbers: float
) -> Scored:
    """A row whose step is what is stated, with a prediction of three phases: 1,000 steps of the engine for each of its
    seconds, as many kernels of the trainer."""
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
    made = tuple(Phase(name, pool, Cost(memory_s=seconds)) for name, pool, seconds in parts)
    counts = {GENERATE: (DECODE, 1000.0 * rollout), UPDATE: (KERNEL, 1000.0 * update)}
    columns = {"gen_s": (GENERATE,), "update_s": (UPDATE,), "sync_s": (SYNC,), **dict.fromkeys(_ABSENT, ())}
    one = Scored(Row(cells, numbers), STEP, (0.0, 0.0, 0.0), {}, Bare(made, counts, at_once), NO_TERMS, columns)
    return score.under(one, NO_TERMS)


def rights(one: Scored) -> list[bool]:
    return [pair.right for pair in score.pairs(one)]


def test_order_leaves_out_phases_that_are_printed_as_alike() -> None:
    assert rights(scored(30.0, 20.0, 1.0, gen_s=50.0, update_s=40.0, sync_s=2.0)) == [True, True, True]
    assert rights(scored(20.0, 30.0, 1.0, gen_s=50.0, update_s=40.0)) == [False]
    assert rights(scored(20.0, 30.0, 1.0, gen_s=50.0, update_s=46.0)) == []


def test_an_order_that_intervals_leave_open_is_neither_right_nor_wrong() -> None:
    """Two phases whose errors are their own: 20 s and 30 s, 30 % each, cannot be told apart; 20 s and 90 s can."""
    wide = replace(NO_TERMS, step_spread=0.3)
    near = score.under(scored(20.0, 30.0, 1.0, gen_s=50.0, update_s=40.0), wide)
    far = score.under(scored(20.0, 90.0, 1.0, gen_s=50.0, update_s=40.0), wide)
    sure = scored(20.0, 30.0, 1.0, gen_s=50.0, update_s=40.0)
    found = [(one, score.pairs(one)[0]) for one in (near, far, sure)]
    assert [(pair.right, pair.tied) for _, pair in found] == [(False, True), (False, False), (False, False)]
    for one, pair in found:
        assert pair.tied == tied(one.costs["update_s"], one.costs["gen_s"])
    assert pair.printed == pytest.approx(1.25)
    assert [(right, told) for _, right, told in score.ordered([near, far])] == [(False, None), (False, False)]
    lines = score.order_rows([near])
    assert lines[0]["wrong_pairs"].startswith("gen / update: printed 1.25, predicted 0.67 (")
    assert "open" in lines[0]["wrong_pairs"]


def test_rows_in_no_fit_make_no_terms_and_take_those_of_other_families() -> None:
    rows_ = made_with(1e-3, 2e-3)
    alone = [replace(rows_[0], judges=HELD), replace(scored(10.0, 3.0, 1.0, model="new", step_s=99.0), judges=HELD)]
    held, by = fit.held_out([*rows_, *alone], "NeMo-RL")
    assert by == fit.held_out(rows_, "NeMo-RL")[1]
    assert held[5].step == pytest.approx(held[0].step)  # of family a, by the terms of b and c
    assert held[6].step == alone[1].step  # a family of its own: by the terms of its file
    assert score.steps(held) == held[:5]
    assert score.held(held) == held[5:]


def test_errors_are_of_the_step_and_of_each_printed_phase() -> None:
    cold = scored(30.0, 20.0, 10.0, step_s=50.0, gen_s=60.0)
    one = score.under(cold, replace(NO_TERMS, host_decode_s=1e-3))  # 30,000 steps of the engine
    assert one.figure["error"] == pytest.approx(0.8)
    assert not one.figure["covered"]
    wide = score.under(one, replace(NO_TERMS, step_spread=0.2))  # 60 s, exp(1.645 x 0.2) to either side
    assert wide.step[1:] == pytest.approx((60.0 / math.exp(1.645 * 0.2), 60.0 * math.exp(1.645 * 0.2)), rel=1e-3)
    assert wide.figure["covered"]
    assert score.phase_errors([cold], [one]) == [
        {"phase": "gen", "cold_median_abs_error": 0.5, "n": 1, "median_abs_error": 0.0, "mean_abs_error": 0.0, "p90_abs_error": 0.0, "bias": 0.0}
    ]  # fmt: skip
    assert score.log_error(one) == pytest.approx(math.log(1.8))


@pytest.mark.parametrize(("at_once", "seconds"), [(False, 65.0), (True, 45.0)])
def test_terms_keep_pools_beside_each_other(at_once, seconds) -> None:
    """10 s and 10 s, to which 10,000 steps of 1 ms and 10,000 kernels of 3 ms come."""
    terms = replace(NO_TERMS, host_decode_s=1e-3, host_kernel_s=3e-3)
    assert score.under(scored(10.0, 10.0, 5.0, at_once=at_once), terms).step[0] == pytest.approx(seconds)


def made_with(decode: float, kernel: float) -> list[Scored]:
    """Steps of three families that are what two terms make of them, 1 s of a transfer beside."""
    sizes = (("a", 10.0, 3.0), ("a", 5.0, 9.0), ("b", 20.0, 8.0), ("b", 3.0, 7.0), ("c", 8.0, 8.0))
    rows = []
    for name, r, u in sizes:
        gen, update = r + 1000.0 * r * decode, u + 1000.0 * u * kernel
        rows.append(scored(r, u, 1.0, model=name, step_s=gen + update + 1.0, gen_s=gen, update_s=update))
    return rows


def test_a_family_is_judged_by_the_terms_of_the_others() -> None:
    """What makes the steps is found from other families alone, and the family's own rows change nothing of it."""
    rows = made_with(1e-3, 2e-3)
    held, by = fit.held_out(rows, "NeMo-RL")
    assert by["a"].decode == pytest.approx(1e-3, rel=0.06)  # terms lie on a grid of 5 %
    assert by["a"].kernel == pytest.approx(2e-3, rel=0.06)
    wrong = [scored(10.0, 3.0, 1.0, model="a", step_s=999.0), *rows[1:]]
    assert fit.held_out(wrong, "NeMo-RL")[1]["a"] == by["a"]
    lines = fit.table([fit.cold(one) for one in rows], held, by, "NeMo-RL")
    assert [line["left_out_family"] for line in lines] == ["a", "b", "c", "all, each left out"]
    assert lines[-1]["cold_median_abs_error"] > 0.5
    assert lines[-1]["error_left_out"] < 0.06
    assert fit.held_out(rows[:4], "NeMo-RL") == (rows[:4], {})  # two families leave one to fit


def test_what_steps_are_missed_by_holds_nine_tenths_of_them() -> None:
    rows = [scored(10.0, 10.0, 0.0, model=str(i), step_s=20.0 * math.exp(0.1 * i)) for i in range(1, 20)]
    # 18 of 19 are needed: the one but furthest is 1.8 off in the log.
    assert fit.spread(rows) == pytest.approx(1.8 / 1.645, abs=0.011)


def test_written_terms_are_read_again(tmp_path) -> None:
    """The rest of the file stays, and writing twice changes nothing."""
    for name in stack.names():
        (tmp_path / f"{name}.toml").write_text((stack.home() / f"{name}.toml").read_text(encoding="utf-8"), encoding="utf-8")  # fmt: skip
    rows = made_with(1e-3, 2e-3)
    path = write.write(rows, {"NeMo-RL": "nemo-rl"}, "simcost validate recipes --write", "1", tmp_path)[0]
    once = path.read_text(encoding="utf-8")
    found, shipped = stack.load(str(path)), stack.load("nemo-rl")
    terms = fit.terms(rows)
    assert (found.host_decode_s, found.host_kernel_s) == pytest.approx((terms.decode, terms.kernel), rel=0.005)
    assert found.fit is not None
    assert (found.fit.n, found.fit.families) == (5, 3)
    assert found.fit.unfitted > 0.5 > 0.06 > found.fit.error
    assert (found.host_phase_s, found.old_log_probs) == (shipped.host_phase_s, shipped.old_log_probs)
    write.write(rows, {"NeMo-RL": "nemo-rl"}, "simcost validate recipes --write", "1", tmp_path)
    assert path.read_text(encoding="utf-8") == once
    with pytest.raises(SpecError, match="no terms: no framework has steps of 3 families"):
        write.write(rows[:4], {"NeMo-RL": "nemo-rl"}, "c", "1", tmp_path)
    assert path.read_text(encoding="utf-8") == once


def test_a_row_beside_its_prediction() -> None:
    """A step of Llama-3.1-8B on 16 H100: every printed phase has a time, and they add up to less than the step."""
    one = score.answer(next(row for row in rows.every() if row.id.startswith("rl020")))
    assert (one.judges, one.reason) == (STEP, "")
    assert one.bare is not None
    assert not one.bare.at_once
    assert 0.5 < fit.cold(one).step[0] / 92.8 < 1.0
    assert fit.cold(one).step[0] < one.step[0]
    assert one.step[1] < one.step[0] < one.step[2]
    assert sum(one.phases.values()) < one.step[0]
    asked = question(one.row, rules.shipped()).asked
    whole = run(asked)  # the step as rl says it, with the terms in its events
    assert whole.seconds == pytest.approx(one.step[0], rel=0.01)
    assert one.bare.counts[GENERATE][1] == pytest.approx(3946, rel=0.1)  # the longest answer: the cap, less a prompt


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
    one = replace(scored(60.0, 30.0, 10.0), row=rows.every()[0])
    found = report.result([one, *unasked], recipes)
    bars = {(bar["rows_of"], bar["what"]): bar for bar in found.tables["bars"]}
    assert bars["NeMo-RL", "step, nothing fitted"]["aim"]
    assert bars["deepseek-v3", "pre-training"]["passes"]  # 6.2 %
    assert not bars["deepseek-r1", "reinforcement learning"]["passes"]
    zero = next(line for line in found.tables["recipes"] if line["recipe"] == "deepseek-r1-zero")
    assert zero["published_step_s"] == pytest.approx(68.5, abs=0.05)
    assert not found.fits
    assert found.tables["worst"][0]["story"].startswith("version 0.7 saves 41 of 134 s")
    text = page.text(found)
    assert all(
        f"## {title}" in text
        for title in ("Bars", "Steps, terms of other families", "Recipes, GPU hours", "Worst steps", "Rules")
    )


def test_rows_that_judge_nothing_are_not_asked() -> None:
    asked = {row.id for row in score.asked()}
    assert not any(row.id in asked for row in rows.every() if row.cells["kind"] == "sync-only")
    assert {score.files.shipped().of(row).judges for row in score.asked()} == {STEP, HELD, ORDER}
    assert score.unasked(rows.every()[0]).judges == NOTHING
