"""A training step: sums, bounds, laws of micro-batches, and the executor that simcost schedule runs."""

from __future__ import annotations

from functools import cache

import pytest
from trainkit import job, small

import simcost
from simcost.plan import Plan
from simcost.scenarios.train.answer import goes
from simcost.training import step
from simcost.training.chunks import BOTH, FORWARD, INPUT, WEIGHT
from simcost.training.job import known_schedules
from simcost.training.step import TrainStep

SCHEDULES = sorted(known_schedules())
# Those whose ranks run gradients in one way alone, which bare durations can say.
PLAIN = [name for name in SCHEDULES if name not in ("dualpipe", "dualpipev")]


@cache
def moe() -> TrainStep:
    """DeepSeek-V2-Lite on 32 GPUs: two copies of 2 pipeline stages of EP8."""
    plan = Plan(pp=2.0, ep=8.0, gpus=32.0)
    return step.run(job("deepseek-v2-lite", plan, schedule="dualpipe", global_batch=128, seq=2048))


@cache
def alone() -> TrainStep:
    """Llama-3-8B on 8 GPUs without a pipeline: FSDP."""
    return step.run(job("llama-3-8b", Plan(gpus=8.0), zero_stage=3, global_batch=16, stack="torchtitan"))


def every() -> list[TrainStep]:
    return [*(small(name) for name in SCHEDULES), moe(), alone()]


@pytest.mark.parametrize("index", range(len(SCHEDULES) + 2))
def test_a_step_is_the_sum_of_its_kinds(index: int) -> None:
    one = every()[index]
    assert sum(map(float, one.cost.kinds.values())) == pytest.approx(one.seconds, rel=1e-9)
    assert sum(float(row["time_s"]) for row in goes(one)) == pytest.approx(one.seconds, rel=1e-6)
    assert sum(float(row["share"]) for row in goes(one)) == pytest.approx(1.0, rel=1e-6)


@pytest.mark.parametrize("index", range(len(SCHEDULES) + 2))
def test_a_step_takes_no_less_than_its_busiest_rank(index: int) -> None:
    one = every()[index]
    assert one.seconds >= max(one.timeline.busy_s()) * (1 - 1e-9)
    low, high = one.interval
    assert low < one.seconds < high
    assert float(one.path.seconds) == pytest.approx(one.timeline.end_s, rel=1e-6)
    assert 0.0 <= one.bubble < 1.0


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_another_micro_batch_never_makes_it_faster(schedule: str) -> None:
    rules = known_schedules()[schedule].rules
    batches = [batch for batch in range(16, 29) if all(rule.holds for rule in rules(4, batch, 2))]
    assert len(batches) > 1
    seconds = [small(schedule, batch=batch).seconds for batch in batches]
    assert seconds == sorted(seconds)


@pytest.mark.parametrize("schedule", PLAIN)
def test_the_pipeline_takes_as_long_as_simcost_schedule_says(schedule: str) -> None:
    """The same durations of virtual stages through `simcost schedule`: one executor, two doors."""
    one = small(schedule)
    split, blocking = one.job.schedule.SPLITS, 0.0
    if not (one.job.stack.flags["p2p_overlap"] or split):
        blocking = float(one.hop.seconds)
    rows = []
    for each in one.chunks:
        weight = float(each.costs[WEIGHT].seconds)
        backward = float(each.costs[INPUT].seconds) if split else float(each.costs[BOTH].seconds) - weight + blocking
        rows.append((float(each.costs[FORWARD].seconds) + blocking, backward, weight))
    vpp = one.job.vpp if one.job.schedule.PER_RANK is None else None
    hop = 0.0 if blocking else float(one.hop.seconds)
    told = simcost.schedule(schedule, one.job.pp, one.job.microbatches, hop=hop, vpp=vpp, stage_times=rows)
    assert told.metrics["makespan_s"] == pytest.approx(one.timeline.end_s, rel=1e-9)
    assert told.metrics["bubble_fraction"] == pytest.approx(one.bubble, rel=1e-9)


def test_a_pair_hides_exchanges_and_never_takes_longer_than_both() -> None:
    found = moe().chunks
    from simcost.training.chunks import pair

    for one in found:
        for other in found:
            both = float(pair(one, other, 132.0).seconds)
            apart = float(one.costs[FORWARD].seconds + other.costs[BOTH].seconds)
            assert max(float(one.rest[FORWARD].seconds), float(other.rest[BOTH].seconds)) <= both <= apart * (1 + 1e-9)


def test_recomputation_takes_longer() -> None:
    plain = small()
    for again in ("layernorm", "layernorm+activation", "mlp", "block:1", "full:2", "full"):
        assert small(recompute=again).seconds > plain.seconds
    assert small(recompute="full").seconds > small(recompute="block:1").seconds


def test_coefficients_make_a_step_longer() -> None:
    cold, fitted = (
        step.run(job("llama-3-8b", Plan(gpus=1.0), seq=2048, factors={"kernels": each})) for each in (1.0, 1.2)
    )
    for kind in ("matrix products", "attention cores"):
        assert fitted.cost.kinds[kind] == pytest.approx(1.2 * float(cold.cost.kinds[kind]), rel=1e-9)
    assert fitted.cost.kinds["elementwise"] == pytest.approx(float(cold.cost.kinds["elementwise"]), rel=1e-9)


def test_more_copies_take_no_longer_for_their_part_and_sum_more() -> None:
    """Two copies with twice the batch: the same micro-batches, and a sum of gradients more."""
    one, two = (
        step.run(job("llama-3-8b", Plan(tp=2.0, gpus=gpus), global_batch=batch, seq=2048))
        for gpus, batch in ((2.0, 8), (16.0, 64))
    )
    assert two.timeline.end_s == pytest.approx(one.timeline.end_s, rel=1e-9)
    assert float(one.exposed_gradients.seconds) == 0.0
    assert float(two.exposed_gradients.seconds) > 0.0
    assert float(two.update.seconds) < float(one.update.seconds)  # ZeRO-1 shares the optimizer's step out


@pytest.mark.parametrize("method", ["all_gather", "ulysses"])
def test_what_ranks_of_a_sequence_exchange_is_context_parallel_without_tensor_parallelism(method):
    sets = {"plan.cp": 8, "plan.tp": 1, "plan.cp_method": method}
    found = simcost.train("llama-3.1-8b", "h100", gpus=16, seq=65536, set=sets, levers=False)
    parts = {row["part"] for row in found.tables["where the step goes"]}
    assert "context parallel" in parts
    assert "tensor parallel" not in parts
