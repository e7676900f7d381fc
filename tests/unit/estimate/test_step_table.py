"""Tables of step times against steps that are priced whole."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from simcost.estimate import step as steps
from simcost.estimate import step_table
from simcost.plan import Phase, Tokens
from simcost.query import make, with_arrays, workload
from simcost.workload import Workload

DESIGNS: list[tuple[str, str, dict[str, Any]]] = [
    ("llama-3.1-70b", "h100", {"plan.tp": 4}),
    ("llama-3.1-70b", "h200", {"plan.tp": 2, "plan.pp": 2}),
    ("deepseek-v3", "h200", {"plan.dp_attention": 8, "plan.ep": 8}),
    ("qwen3-next-80b-a3b", "b200", {"plan.tp": 2}),
]


def of(model: str, hw: str, sets: dict[str, Any]) -> Workload:
    return workload(make(model, hw, True, {"context": 1024, "batch": 1}, sets, {}, None))


def priced(w: Workload, batch: float, context: float, tokens: float, past: float) -> float:
    ranks, pp = w.plan.replicas, w.plan.pp
    beside = (Tokens(ranks * pp, tokens, past),) if tokens else ()
    phase = Phase(batch * ranks, 1.0, context, microbatches=pp, decode=True, beside=beside)
    step = steps.run(replace(w, phase=phase, view=replace(w.view, phase=phase)))
    whole = float(step.cost.seconds - step.host.seconds)
    if not tokens or pp == 1.0:
        return whole
    alone = priced(w, batch, context, 0.0, 0.0)  # a chunk in each micro-batch was priced; a step has one
    return alone + (whole - alone) / float(pp)


@pytest.mark.parametrize(("model", "hw", "sets"), DESIGNS, ids=[f"{d[0]}-{d[2]}" for d in DESIGNS])
def test_steps_on_the_grid_are_as_priced_whole_and_between_its_points_close(
    model: str, hw: str, sets: dict[str, Any]
) -> None:
    w = of(model, hw, sets)
    table = step_table.table(w, 256, 16384, 8192, 16384)
    rng = np.random.default_rng(7)
    for _ in range(6):
        on = (rng.choice(table.batches), rng.choice(table.contexts), rng.choice(table.chunks), rng.choice(table.pasts))
        assert table(*on) == pytest.approx(priced(w, *on), rel=0.01), on
        assert table(on[0], on[1], 0.0, 0.0) == pytest.approx(priced(w, on[0], on[1], 0.0, 0.0), rel=1e-9), on
        off = (rng.integers(1, 256), rng.integers(300, 16000), rng.integers(64, 8000), rng.integers(0, 16000))
        assert table(*map(float, off)) == pytest.approx(priced(w, *map(float, off)), rel=0.12), off


def test_several_plans_are_answered_as_each_alone() -> None:
    plans = [(1, 1), (4, 1), (8, 1), (2, 2)]
    query = make("mixtral-8x7b", "h200", True, {"context": 1024, "batch": 1}, {}, {}, None)
    tp, pp = (np.asarray([plan[i] for plan in plans], np.float64)[:, None] for i in (0, 1))
    many = step_table.table(with_arrays(query, {"plan": {"tp": tp, "pp": pp}}), 64, 8192, 2048, 4096)
    asked = (np.array([3.0, 50.0]), 3000.0, np.array([0.0, 700.0]), 100.0)
    for k, plan in enumerate(plans):
        sets = {"plan.tp": plan[0], "plan.pp": plan[1]}
        alone = step_table.table(of("mixtral-8x7b", "h200", sets), 64, 8192, 2048, 4096)
        assert np.array_equal(many.of(k)(*asked), alone(*asked))
    assert many.of(np.arange(4)[:, None])(*asked).shape == (4, 2)


def test_more_work_never_takes_less_time_on_the_grid() -> None:
    table = step_table.table(of("llama-3.1-8b", "h100", {}), 256, 16384, 8192, 16384)
    assert np.all(np.diff(table.decode[0], axis=1) >= -1e-9)
    assert np.all(np.diff(table.chunk[0], axis=1) >= -1e-9)
    assert np.all(table(table.batches[:, None], 1024.0, table.chunks[None, :], 0.0) > 0.0)
