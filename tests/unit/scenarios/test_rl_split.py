"""GPUs between rollout and trainer, and changes of a trainer that does not fit: balanced splits in closed form."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest

from simcost.learning.phases import CPU, ROLLOUT, TRAINER
from simcost.model import load
from simcost.plan import Plan
from simcost.scenarios.rl import shortage, split
from simcost.scenarios.rl.words import FULL, OFF, ONE_STEP, PARTIAL

GIB = 2.0**30


def step(
    rollout_s: float, trainer_s: float, gpus: int, mine: int, mode: str, unit: int = 1, other: int = 1, rounds: int = 1
) -> Any:
    """A cycle of `rounds` steps, in each of which both pools work so long; rewards on CPUs belong to the rollout."""
    phases = [(ROLLOUT, rollout_s - 1.0), (CPU, 1.0), (TRAINER, trainer_s)] * rounds
    placed = [SimpleNamespace(phase=SimpleNamespace(pool=pool, seconds=seconds)) for pool, seconds in phases]
    asked = SimpleNamespace(gpus=gpus, rollout_gpus=mine, trainer_gpus=gpus - mine, mode=mode)
    sides = SimpleNamespace(
        engine=SimpleNamespace(workload=SimpleNamespace(plan=Plan(tp=float(unit)))),
        trainer=SimpleNamespace(job=SimpleNamespace(plan=Plan(tp=float(other)))),
    )
    return SimpleNamespace(timeline=SimpleNamespace(placed=placed), rounds=rounds, asked=asked, sides=sides)


@pytest.mark.parametrize("rounds", [1, 3])
def test_a_pool_is_busy_with_its_own_phases_and_the_rollout_with_rewards_too(rounds: int) -> None:
    found = step(30.0, 20.0, 16, 8, FULL, rounds=rounds)
    assert (split.busy(found, ROLLOUT), split.busy(found, TRAINER)) == (pytest.approx(30.0), pytest.approx(20.0))


@pytest.mark.parametrize("mode", [FULL, ONE_STEP])
def test_sides_that_run_at_once_share_gpus_as_their_work(mode: str) -> None:
    """30 s on 8 GPUs and 10 s on 8: three quarters of 16 for the rollout, and those nearest to them."""
    assert split.candidates(step(30.0, 10.0, 16, 8, mode)) == [8, 10, 11, 12, 13, 14]


@pytest.mark.parametrize("mode", [OFF, PARTIAL])
def test_sides_that_take_turns_share_gpus_as_the_roots_of_their_work(mode: str) -> None:
    """a/x + b/(n - x) is least at x = n √a / (√a + √b): of work 90 and 10 (on one GPU each) three quarters of 16."""
    found = step(90.0 / 8.0, 10.0 / 8.0, 16, 8, mode)
    assert split.candidates(found) == [8, 10, 11, 12, 13, 14]
    time = {x: 90.0 / x + 10.0 / (16 - x) for x in range(1, 16)}
    assert min(time, key=time.__getitem__) == 12


def test_splits_hold_whole_copies_of_both_plans() -> None:
    """Of 24 GPUs engines of 4 and trainers of 8 leave 8 and 16 for the rollout; what was asked for stands beside them."""
    assert split.candidates(step(30.0, 10.0, 24, 12, FULL, unit=4, other=8)) == [8, 12, 16]
    assert split.candidates(step(30.0, 10.0, 24, 16, FULL, unit=4, other=8)) == [8, 16]


def test_the_best_split_is_the_fastest_that_can_run() -> None:
    rows: list[Any] = [
        {"rollout_gpus": 4, "feasible": True, "step_s": 9.0},
        {"rollout_gpus": 8, "feasible": True, "step_s": 7.0},
        {"rollout_gpus": 12, "feasible": False, "reason": "no memory"},
    ]
    assert split.best(rows) is rows[1]
    assert split.best(rows[2:]) is None


# ---- a trainer that is short of memory -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Question:
    """What a change of the trainer reads of a question."""

    micro_batch: int | None = 8
    micro_tokens: int | None = None
    train: Any = None


def options(question: Question, plan: Plan, recompute: str = "none", model: str = "llama-3.1-8b") -> list[str]:
    job = SimpleNamespace(plan=plan, recipe=SimpleNamespace(recompute=recompute), model=load.load(model))
    return [option for option, _, _ in shortage.changes(question, SimpleNamespace(job=job))]  # type: ignore[arg-type]


def test_smaller_micro_batches_come_first_then_recomputation_then_larger_groups() -> None:
    found = options(Question(), Plan(tp=2.0))
    assert found[:4] == ["--micro-batch 4", "--micro-batch 2", "--micro-batch 1", "--train recompute=full"]
    assert found[4:10] == [
        "--train cp=2", "--train cp=2,recompute=full", "--train cp=4", "--train cp=4,recompute=full", "--train cp=8", "--train cp=8,recompute=full",
    ]  # fmt: skip
    assert found[-2:] == ["--train tp=16", "--train tp=16,recompute=full"]
    assert not any("ep=" in option for option in found)  # no experts
    assert any("ep=" in option for option in options(Question(), Plan(), model="deepseek-v3"))


def test_what_is_there_already_is_not_tried() -> None:
    again = options(Question(micro_batch=1), Plan(), recompute="full")
    assert again[0] == "--train cp=2"
    assert not any("recompute" in option for option in again)
    first = options(Question(micro_batch=None, micro_tokens=4096), Plan())[0]
    assert first == "--micro-batch 1 in place of --micro-batch-tokens"


def test_a_refusal_names_what_takes_most_and_the_first_change_that_fits() -> None:
    """100 GiB of an 80 GiB device: 60 are activations. The engine beside it holds 4 more."""
    job = SimpleNamespace(
        plan=Plan(),
        recipe=SimpleNamespace(recompute="none"),
        model=load.load("llama-3.1-8b"),
        device=SimpleNamespace(capacity=80.0 * GIB),
    )
    held: Any = SimpleNamespace(
        used=100.0 * GIB, parameters=16.0 * GIB, gradients=8.0 * GIB, optimizer=16.0 * GIB, passing=60.0 * GIB
    )
    tried: list[Any] = []

    def priced(question: Any, plan: Any) -> Any:
        tried.append((question.micro_batch, dict(plan)))
        return question

    def told(fits: Any, asleep: float = 0.0) -> str:
        return shortage.said(Question(train={"plan.tp": 1}), SimpleNamespace(job=job), held, asleep, priced, fits)  # type: ignore[arg-type]

    text = told(lambda one: one.micro_batch <= 2, 4.0 * GIB)
    assert text == (
        "trainer: 24 GiB short per GPU (needs 104 GiB of 80 GiB, 4 GiB of the engine beside it); most of it activations and buffers, 60 GiB; "
        "nearest change that fits: --micro-batch 2"
    )
    assert tried == [(4, {"plan.tp": 1}), (2, {"plan.tp": 1})]
    none = told(lambda one: False)
    assert none.endswith("none of the single changes of its plan that were tried fits")
    assert "beside it" not in none
    assert tried[-1] == (8, {"plan.tp": 8, "plan.recompute": "full"})
