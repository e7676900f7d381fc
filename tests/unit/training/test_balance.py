"""plan.stages=time: layers by what they take, not by their number."""

from __future__ import annotations

import pytest
from trainkit import job

from simcost.errors import Infeasible
from simcost.plan import Plan
from simcost.training import balance, step
from simcost.training.chunks import BOTH, FORWARD, chunks, priced_parts

PLAN = Plan(tp=2.0, pp=4.0, gpus=8.0, sequence_parallel="on")


def longest(one: object) -> float:
    return max(float(c.costs[FORWARD].seconds) + float(c.costs[BOTH].seconds) for c in chunks(one, priced_parts(one)))  # type: ignore[arg-type]


@pytest.mark.parametrize("recompute", ["none", "full"])
def test_no_single_layer_moved_makes_the_longest_stage_shorter(recompute: str) -> None:
    even = job("llama-3-8b", PLAN, seq=2048, recompute=recompute, global_batch=16)
    timed = balance.balanced(job("llama-3-8b", PLAN, seq=2048, recompute=recompute, global_batch=16, stages="time"))
    assert timed.layers is not None
    assert sum(timed.layers) == 32
    assert timed.layers[-1] < 8  # the head with its loss takes as long as some layers
    best = longest(timed)
    assert best < longest(even)
    for i in range(4):
        for j in range(4):
            if i != j and timed.layers[i] > 1:
                moved = list(timed.layers)
                moved[i], moved[j] = moved[i] - 1, moved[j] + 1
                other = job("llama-3-8b", PLAN, seq=2048, recompute=recompute, global_batch=16, stages=",".join(map(str, moved)))  # fmt: skip
                assert longest(other) >= best * (1.0 - 1e-12)


def test_times_are_those_of_the_stages() -> None:
    """Of DeepSeek-V3 the dense layers come first, and the times of all layers and both ends add up to the pipeline."""
    one = job("deepseek-v3", Plan(pp=16.0, ep=64.0, gpus=1024.0), hw="h800", schedule="1f1b", micro_batch=1)
    found = balance.times(one)
    assert len(found.layers) == 61
    assert len(set(found.layers[:3])) == 1
    assert found.layers[0] != found.layers[3]
    whole = sum(float(c.costs[FORWARD].seconds) + float(c.costs[BOTH].seconds) for c in chunks(one, priced_parts(one)))
    assert sum(found.layers) + found.first + found.last == pytest.approx(whole)


def test_a_balanced_step_is_shorter_and_says_where_layers_stand() -> None:
    even = step.run(job("llama-3-8b", PLAN, seq=2048, global_batch=64))
    timed = balance.balanced(job("llama-3-8b", PLAN, seq=2048, global_batch=64, stages="time"))
    assert step.run(timed).seconds < even.seconds
    assert f"layers of the virtual stages are {','.join(map(str, timed.layers or ()))}" in " ".join(timed.notes)


def test_more_stages_than_layers_and_ends_are_refused() -> None:
    with pytest.raises(Infeasible, match="virtual stages must not exceed the 32 layers"):
        job("llama-3-8b", Plan(pp=16.0, vpp=4.0), stages="time")


def test_layers_and_two_ends_fill_as_many_stages() -> None:
    one = balance.balanced(job("llama-3-8b", Plan(pp=17.0, vpp=2.0, gpus=17.0), stages="time", global_batch=68))
    assert one.layers == (0, *(1,) * 32, 0)
