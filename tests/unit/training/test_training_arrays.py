"""Plans in an array send and step what they do one by one."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from simcost import pipeline
from simcost.cost.kernel import Roofline
from simcost.hardware import load as hardware
from simcost.model import load
from simcost.num import Num
from simcost.plan import Plan
from simcost.program import Program, price
from simcost.training import communication, optimizer, precision
from simcost.training.zero import Sharding

DEEPSEEK = load.load("deepseek-v3")
SIZES = [(1.0, 8.0, 1.0, 8.0), (2.0, 8.0, 4.0, 4.0), (1.0, 64.0, 2.0, 64.0)]  # tp, ep, dp, ranks of a sharding group
H800 = Roofline(hardware.load("h800"))
LAST = pipeline.stages(DEEPSEEK, 4, True)[3]


def plan(tp: Num, ep: Num, dp: Num) -> Plan:
    return Plan(tp=tp, ep=ep, pp=4.0, dp=dp, sequence_parallel="on")


def seconds(programs: tuple[Program | None, ...]) -> Num:
    total: Num = 0.0
    for program in programs:
        total = total + (0.0 if program is None else price(program, H800).cost.seconds)
    return total


def step(at: Plan, zero_stage: int, sharding: Sharding) -> tuple[Program | None, ...]:
    found = communication.step_program(DEEPSEEK, LAST, at, precision.load("fp8-block"), zero_stage, sharding=sharding)
    return found.gradients, found.weights


def layer(at: Plan, zero_stage: int, sharding: Sharding) -> tuple[Program | None, ...]:
    blocks = DEEPSEEK.stacks[-1][1]
    return communication.layer_programs(blocks, at, precision.load("fp8-block"), zero_stage, sharding=sharding)


def update(at: Plan, zero_stage: int, sharding: Sharding) -> tuple[Program | None, ...]:
    kinds = precision.load("fp8-block"), optimizer.load("muon")
    return (communication.optimizer_program(DEEPSEEK, LAST, at, *kinds, zero_stage, sharding=sharding),)


@pytest.mark.parametrize("of", [step, layer, update])
@pytest.mark.parametrize("zero_stage", [0, 1, 2, 3])
@pytest.mark.parametrize("grouped", [False, True])
def test_plans_in_an_array_cost_what_they_do_one_by_one(
    of: Callable[[Plan, int, Sharding], tuple[Program | None, ...]], zero_stage: int, grouped: bool
) -> None:
    if grouped and zero_stage == 0:
        return
    tp, ep, dp, group = (np.array(column) for column in zip(*SIZES, strict=True))
    many = seconds(of(plan(tp, ep, dp), zero_stage, Sharding(group=group if grouped else None)))
    for at, (t, e, d, g) in enumerate(SIZES):
        one = seconds(of(plan(t, e, d), zero_stage, Sharding(group=g if grouped else None)))
        assert np.broadcast_to(many, 3)[at] == pytest.approx(one, rel=1e-12)
