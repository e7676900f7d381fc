"""Closed forms of many plans against the executor, plan by plan: memory is the same, time within a stated error."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from simcost import makespan
from simcost.hardware import load as hardware
from simcost.model import load
from simcost.model.spec import ModelSpec
from simcost.plan import Plan
from simcost.schedules._order import Durations, orders_of, searched
from simcost.training import memory, precision, step
from simcost.training.closed_form import in_flight
from simcost.training.closed_form.grid import COLUMNS, Asked, Grid
from simcost.training.closed_form.steps import steps
from simcost.training.job import Recipe, known_schedules
from simcost.training.parameters import Trained

RECOMPUTES = ("none", "layernorm+activation", "full")
SCHEDULES = tuple(known_schedules())
# Largest error of the time of a step that random plans showed, by schedule, and what tests allow:
# docs/theory/training-plans.md.
ALLOWED = {
    "1f1b": 0.03,
    "gpipe": 0.03,
    "interleaved": 0.09,
    "zb-h1": 0.06,
    "zb-h2": 0.07,
    "zb-1p": 0.09,
    "zb-2p": 0.07,
    "zb-v": 0.07,
    "v-half": 0.2,
    "dualpipe": 0.15,
    "dualpipev": 0.15,
}


def rows(gpus: int, batch: int, layers: int, sizes: Sequence[tuple[int, int, int, int]]) -> Iterator[tuple[int, ...]]:
    """Plans of sizes (tp, cp, ep, pp) under every schedule that takes them."""
    for (tp, cp, ep, pp), micro in itertools.product(sizes, (1, 2)):
        m, left = divmod(batch, micro * gpus // (tp * cp * pp))
        for at, name in enumerate(SCHEDULES):
            module = known_schedules()[name]
            vpp = module.PER_RANK or 2
            if left or (pp == 1) != (name == "1f1b" and pp == 1) or pp * vpp > layers:
                continue
            if all(rule.holds for rule in module.rules(pp, m, vpp)):
                for again, zero in itertools.product(range(len(RECOMPUTES)), (1, 3)):
                    yield tp, cp, ep, pp, 1 if module.PER_RANK else vpp, at, micro, again, zero


CASES: dict[str, tuple[str, str, int, int, dict[str, Any], list[tuple[int, int, int, int]]]] = {
    "dense": (
        "llama-3.1-8b",
        "h100",
        16,
        64,
        {},
        [(1, 1, 1, 1), (2, 1, 1, 4), (4, 1, 1, 2), (2, 2, 1, 2), (1, 1, 1, 8)],
    ),
    "experts": (
        "deepseek-v3",
        "h800",
        128,
        512,
        {"precision": "fp8-block"},
        [(1, 1, 8, 8), (2, 1, 16, 4), (1, 1, 32, 4), (1, 2, 8, 8)],
    ),
    "wide layers": (
        "llama-3-8b",
        "b200",
        8,
        32,
        {"precision": "nvfp4-last-bf16"},
        [(2, 1, 1, 4), (1, 1, 1, 8), (2, 1, 1, 2)],
    ),
}


@pytest.fixture(scope="module", params=sorted(CASES))
def case(request: pytest.FixtureRequest) -> tuple[Asked, Grid]:
    """What is asked, and all plans of it."""
    name, hw, gpus, batch, recipe, sizes = CASES[request.param]
    model, _ = precision.parted(load.load(name), precision.load(recipe.get("precision", "bf16")))
    table = np.array(list(rows(gpus, batch, len(model.order), sizes)), np.float64)
    asked = Asked(
        model, hardware.load(hw), Plan(sequence_parallel="on"), Recipe(global_batch=batch, **recipe), float(gpus)
    )
    return asked, Grid(dict(zip(COLUMNS, table.T, strict=True)), SCHEDULES, RECOMPUTES)


def test_plans_at_once_are_as_the_executor_runs_each(case: tuple[Asked, Grid]) -> None:
    asked, grid = case
    found = steps(asked, grid)
    rng = np.random.default_rng(7)
    mine = [rng.choice(np.flatnonzero(grid["schedule"] == at), 2, replace=False) for at in set(grid["schedule"])]
    errors = []
    for i in np.concatenate(mine):
        row = grid.row(int(i))
        one = step.run(asked.job(row))
        exact = not searched(known_schedules()[row["schedule"]])  # else the order follows the times
        assert found.memory[i] == pytest.approx(memory.worst(memory.of_ranks(one)).used, rel=1e-9 if exact else 0.15), (
            row
        )
        assert found.seconds[i] == pytest.approx(one.seconds, rel=ALLOWED[row["schedule"]]), row
        errors.append(abs(found.seconds[i] / one.seconds - 1.0))
    assert np.median(errors) < 0.025


def test_plans_do_not_depend_on_what_stands_beside_them(case: tuple[Asked, Grid]) -> None:
    asked, grid = case
    some = np.arange(3, len(grid), 41)
    few, all_ = steps(asked, grid.taken(some)), steps(asked, grid)
    assert few.seconds == pytest.approx(all_.seconds[some], rel=1e-9)
    assert few.memory == pytest.approx(all_.memory[some], rel=1e-9)


CHANGED: tuple[dict[str, Any], ...] = (
    {"seq": 8192}, {"micro_batch": 2}, {"global_batch": 128}, {"precision": "fp16"}, {"optimizer": "sgd"}, {"ema": "device"}, {"trained": Trained(roles=(), lora_rank=16.0)},
    {"flags": {"attention": "unfused"}}, {"flags": {"grad_overlap": "off"}}, {"factors": {"kernels": 1.2}}, {"zero_stage": 3}, {"zero_stage": 3, "reshard": False}, {"recompute": "full"}, {"loss": "plain"}, {"group": 2},
)  # fmt: skip


def test_what_a_plan_takes_is_counted_anew_where_anything_in_it_changes() -> None:
    """A plan that is asked again is not counted again: no other question may get its answer."""
    device, kept = hardware.load("h100"), load.load("llama-3.1-8b")
    columns = dict.fromkeys(COLUMNS, 1.0) | {"tp": 2.0, "pp": 2.0, "vpp": 2.0, "schedule": SCHEDULES.index("interleaved"), "recompute": 0.0}  # fmt: skip

    def asked(model: ModelSpec, changed: dict[str, Any]) -> tuple[float, float]:
        changed = dict(changed)
        own = {name: changed.pop(name) for name in ("micro_batch", "zero_stage") if name in changed}
        again = (changed.pop("recompute", "none"),)
        table = {name: np.array([float(value)]) for name, value in {**columns, **own}.items()}
        recipe = Recipe(**{"global_batch": 64, **changed})
        found = steps(Asked(model, device, Plan(sequence_parallel="on"), recipe, 16.0), Grid(table, SCHEDULES, again))
        return float(found.seconds[0]), float(found.memory[0])

    first = asked(kept, {})
    for changed in CHANGED:
        alone, beside = asked(replace(kept), changed), asked(kept, changed)
        assert beside == alone, changed
        assert beside != first, changed
    assert asked(kept, {}) == first


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize(("pp", "microbatches"), [(2, 16), (4, 32), (4, 8), (6, 36)])
def test_what_is_in_flight_follows_from_the_order_alone(name: str, pp: int, microbatches: int) -> None:
    module = known_schedules()[name]
    vpp = int(module.PER_RANK or 2)
    orders = orders_of(module, pp, microbatches, vpp)
    placed = module.placement(pp, microbatches, vpp)
    one = [1.0] * placed.stages
    run = makespan.run(orders, placed, makespan.Times(one, one, one))
    for held, peak in zip(in_flight.states(name, pp, microbatches, vpp), run.peaks(), strict=True):
        assert held.states[:, : len(held.stages)].sum(axis=1).max() == peak


@pytest.mark.parametrize("name", SCHEDULES)
def test_closed_forms_are_lines_in_micro_batches(name: str) -> None:
    """So that the steady state may be the busiest rank's, and the ends those of all."""
    t = Durations(1.0, 1.1, 0.9, 2.5, 0.05)
    at = [float(known_schedules()[name].closed_form(8.0, m, 2.0, t)) for m in (16.0, 24.0, 32.0)]
    assert at[2] - at[1] == pytest.approx(at[1] - at[0], rel=1e-12)
