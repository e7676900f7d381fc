"""Laws of what tables and their curves say, over a grid that a fixed seed thins: formats, parts of a line, growth, light, twins.

The whole grid takes minutes: `simcost.validation.laws.broken(hw, engine)` asks it of one device. Breaches that have a written reason stand
in `simcost/validation/laws/known.py`; what a fit may leave over stands here.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from simcost import query
from simcost.cost.cost import interval
from simcost.estimate import step
from simcost.validation import laws
from simcost.validation.laws import grid, questions
from simcost.validation.laws.known import KNOWN
from simcost.validation.laws.times import Asked, Broken, excess, times

SEED = 17
MEASURED = ("a100", "l40s", "h100", "h200", "b200", "b300", "gb200", "gb300")
BORROWS = ("h800", "h20", "mi300x", "rtx-4090")
ENGINES = ("vllm", "sglang", "trtllm")
CHANCE, LUCK = 0.005, 1.25  # of the points of a kind so many may lie beyond 90 % intervals, by so much
# What curves that are pulled towards rising times still fall by, on their worst rung: by law and kind.
LEFT = (("grows", "below 20 us", 1.45), ("grows with bytes", "", 1.25), ("grows", "-", 1.30))
QUESTION = 1.05  # and whole questions
GRIDS = [one.thinned(6, SEED) for one in grid.grids()]
MODELS = ("llama-3.1-70b", "opt-30b", "mixtral-8x7b", "deepseek-v3", "gemma-3-27b")


BREACH = Broken(
    "grows with batch",
    "h200",
    "any",
    "decode llama-3.1-8b bf16",
    4,
    4,
    "batch=2",
    (2.0, 1.8, 2.2),
    (1.0, 0.8, 1.2),
    1.4,
)


def unexplained(found: list[Broken]) -> list[str]:
    """Breaches without a reason, and beyond what a fit leaves over."""
    kept = [one for one in found if not one.why and one.beyond > _left(one)]
    rare = [one for one in kept if one.broken > CHANCE * one.points or one.beyond > LUCK]
    return [f"{one.law}: {one.what} on {one.device} by {one.engine} at {one.at}: x{one.beyond:.2f}" for one in rare]


def _left(one: Broken) -> float:
    if one.what.startswith(("decode ", "prefill ")):
        return QUESTION if one.law.startswith("grows") else 1.0
    return next((most for law, what, most in LEFT if one.law.startswith(law) and what in one.what), 1.0)


@pytest.mark.parametrize("engine", ["any", *ENGINES])
def test_kernels_of_measured_devices_keep_the_laws(engine: str) -> None:
    assert not unexplained(laws.of_kernels([Asked(hw, engine) for hw in MEASURED], GRIDS))


def test_kernels_of_devices_that_borrow_keep_the_laws() -> None:
    assert not unexplained(laws.of_kernels([Asked(hw, "any") for hw in BORROWS], GRIDS))


@pytest.mark.parametrize("engine", ["any", *ENGINES])
def test_whole_questions_keep_the_laws(engine: str) -> None:
    chosen = questions.questions(MODELS if engine == "any" else MODELS[:3])
    devices = (*MEASURED, *BORROWS) if engine == "any" else MEASURED
    assert not unexplained(laws.of_questions([Asked(hw, engine) for hw in devices], chosen))


@pytest.mark.parametrize("engine", ["any", *ENGINES])
def test_a_batch_of_a_few_takes_no_less_than_one(engine: str) -> None:
    """Start-ups of Blackwell's fp8 products once made 11.7, 9.0 and 8.0 ms of batches of 1, 2 and 4."""
    cost = _decode(
        "llama-3.1-70b", "gb200", {"plan.tp": 4, "plan.weight_dtype": "fp8", "engine": engine}, {"batch": [1, 2, 4, 8]}
    )
    seconds = np.asarray(cost.seconds)
    assert np.all(seconds[1:] >= 0.985 * seconds[:-1])


def test_experts_in_fp8_are_not_slower_than_in_bf16() -> None:
    thin, wide = (
        _decode("mixtral-8x7b", "h200", {"plan.tp": 4, "plan.weight_dtype": w}, {"batch": [64]}, context=2048)
        for w in ("fp8", "bf16")
    )
    assert np.all(np.asarray(thin.seconds) <= np.asarray(wide.seconds))


@pytest.mark.parametrize("batch", [1, 64, 256])
def test_no_estimate_and_no_low_end_is_faster_than_reading_the_weights(batch: int) -> None:
    made = query.make("opt-30b", "h100", True, {"batch": batch, "context": 1024}, {}, {}, None)
    found = step.run(query.workload(made))
    low, _ = interval(found.cost)
    read = float(found.kept.held.loaded.checkpoint) - 2.0 * 50272 * 7168  # the embedding is looked up
    assert low >= found.cost.light_s
    assert found.cost.light_s >= read / float(found.workload.device.bandwidth)


def test_every_known_breach_has_a_reason_that_a_reader_can_check() -> None:
    assert all(len(known.why.split()) >= 8 and known.most > 1.0 for known in KNOWN)


def test_what_two_times_share_cancels() -> None:
    one = _decode("llama-3.1-8b", "h200", {}, {"batch": [1, 2]})
    mine = times(one, (2,))
    assert np.all(np.abs(excess(mine, mine)) < 1e-12)
    assert np.all(excess(mine, mine, ("*",)) < 0.0)


def test_a_report_of_what_breaks_is_rows_of_a_table() -> None:
    one = BREACH.row
    assert {"law", "device", "engine", "what", "at", "less_s", "more_s", "beyond", "why"} <= set(one)
    assert (one["less_s"], one["more_high_s"], one["beyond"]) == (2.0, 1.2, 1.4)


def test_a_question_that_falls_by_more_than_a_fit_leaves_over_is_no_chance() -> None:
    assert unexplained([BREACH])
    assert not unexplained([replace(BREACH, beyond=QUESTION)])


def _decode(model: str, hw: str, sets: dict[str, Any], axes: dict[str, list[Any]], context: int = 4096) -> Any:
    _, (point,) = query.sweep(query.make(model, hw, True, {"context": context}, sets, axes, None))
    assert point.workload is not None
    return step.run(point.workload).cost
