"""Pipeline stages of a small design: who holds which layers, the slowest stage by hand, hops that leave a domain, the fullest rank."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from toykit import LAYER, H, V, workload

from simcost import pipeline
from simcost.cost.cost import Cost
from simcost.cost.kernel import Roofline
from simcost.estimate import stages, step
from simcost.ops.collective import Collective
from simcost.program import calls, price

KINDS = ["sliding_attention"] * 3 + ["full_attention"]
HYBRID = {"model_type": "ministral", "layer_types": KINDS * 2, "num_hidden_layers": 8, "sliding_window": 256}


@pytest.mark.parametrize(
    ("pp", "layers"), [(1, [(6, 2)]), (2, [(3, 1), (3, 1)]), (3, [(3, 0), (2, 1), (1, 1)]), (8, None)]
)
def test_stages_cut_the_order_of_the_layers(tmp_path: Path, pp: int, layers: list[tuple[int, int]] | None) -> None:
    found = pipeline.stages(workload(tmp_path, config=HYBRID).model, pp)
    assert [stage.first for stage in found] == [True] + [False] * (pp - 1)
    assert [stage.last for stage in found] == [False] * (pp - 1) + [True]
    assert np.sum([stage.layers for stage in found], axis=0).tolist() == [6, 2]
    if layers is not None:
        assert [stage.layers for stage in found] == layers
    else:
        assert [stage.layers for stage in found] == [(1, 0) if kind == KINDS[0] else (0, 1) for kind in KINDS * 2]


def test_a_stage_is_named_by_what_stands_on_it(tmp_path: Path) -> None:
    found = pipeline.stages(workload(tmp_path).model, 4)
    assert [stage.name for stage in found] == ["embedding, 1 layers", "1 layers", "1 layers", "1 layers, head"]
    assert pipeline.stages(workload(tmp_path).model, 1)[0].name == "embedding, 4 layers, head"
    assert [(index, stage.name) for index, stage in pipeline.kinds(workload(tmp_path).model, 4)] == [
        (0, "embedding, 1 layers"), (1, "1 layers"), (3, "1 layers, head"),
    ]  # fmt: skip


@pytest.mark.parametrize("pp", [2, 4])
@pytest.mark.parametrize("decode", [True, False])
def test_decode_waits_for_the_slowest_stage_and_a_prefill_passes_them_all(
    tmp_path: Path, pp: int, decode: bool
) -> None:
    w = workload(tmp_path, decode, {"plan.pp": pp})
    one = step.run(w)
    embedding, stack, head = (float(part.cost.seconds) for part in one.priced.parts)
    size = 8 / pp if decode else 8 * 1024  # rows of a micro-batch, of 1,024 elements of two bytes
    hop = 4e-6 + 1e-6 + 2 * size * 2 * 1024 / 1e11 / 0.5  # hidden states and the residual
    layer = stack / 4
    held = [4 // pp * layer + hop + (embedding if i == 0 else 0.0) + (head if i == pp - 1 else 0.0) for i in range(pp)]
    slowest = max(held)
    whole = pp * slowest if decode else embedding + stack + head + (pp - 1) * hop
    assert one.cost.seconds - one.host.seconds == pytest.approx(whole)
    assert one.slowest.seconds - one.host.seconds == pytest.approx(slowest)


@pytest.mark.parametrize(("stage", "pp"), [(1, 8), (2, 4), (4, 2), (4, 4), (8, 2), (8, 3), (16, 2), (1, 2)])
def test_hops_that_leave_a_domain_are_counted_rank_by_rank(tmp_path: Path, stage: int, pp: int) -> None:
    w = workload(
        tmp_path, config={"num_hidden_layers": 8, "num_attention_heads": 16}, sets={"plan.tp": stage, "plan.pp": pp}
    )
    crossing = sum(stage * i // 8 != stage * (i + 1) // 8 for i in range(pp - 1))
    found = price(stages.passed(w), Roofline(w.device)).parts[0].parts
    near, far = (part.node.repeat for part in found)  # type: ignore[union-attr]
    assert (near, far) == (pp - 1 - crossing, crossing)


def test_a_hop_sends_the_residual_stream_cut_over_the_ranks_and_gathered(tmp_path: Path) -> None:
    w = workload(tmp_path, sets={"plan.tp": 4, "plan.pp": 2})
    ops = [call.op for call in calls(stages.between(w)) if isinstance(call.op, Collective)]
    rows = 2 * 8 / 2 * 1024 * 2  # hidden states and the residual
    assert [(op.kind, op.payload, op.group) for op in ops[:2]] == [("p2p", rows / 4, 2.0), ("all_gather", rows, 4.0)]
    assert [op.group for op in ops[2:]] == [1.0, 1.0]  # no hop leaves the domain: nothing is sent there


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(0, 9)), min_size=1, max_size=5))
def test_chunks_after_each_other_take_no_less_than_the_slowest_stage_and_no_more_than_turns(
    jobs: list[tuple[int, int]],
) -> None:
    costs = [(Cost(memory_s=float(slow + rest)), Cost(memory_s=float(slow))) for slow, rest in jobs]
    found = costs[0]
    for more in costs[1:]:
        found = stages.after(found, more)
    assert found[1].seconds == sum(slow for slow, _ in jobs)
    assert (
        found[1].seconds + max(rest for _, rest in jobs) <= found[0].seconds <= sum(slow + rest for slow, rest in jobs)
    )


@pytest.mark.parametrize("tied", [False, True])
def test_the_ends_stand_on_the_first_and_on_the_last_stage(tmp_path: Path, tied: bool) -> None:
    found = [
        rank.held
        for rank in stages.ranks(workload(tmp_path, sets={"plan.pp": 4}, config={"tie_word_embeddings": tied}))
    ]
    bytes_ = [held.loaded.checkpoint for held in found]
    table = 2 * V * H
    assert bytes_ == [2 * LAYER + table, 2 * LAYER, 2 * LAYER + table + 2 * H]
    assert [held.samples for held in found] == [0.0, 0.0, 1.0]
    assert [held.stage for held in found] == [0.0, 1.0, 3.0]


@pytest.mark.parametrize(("decode", "batches"), [(True, [1, 1, 1]), (False, [4, 3, 1])])
def test_a_stream_of_prompts_leaves_its_caches_on_the_first_stages(
    tmp_path: Path, decode: bool, batches: list[int]
) -> None:
    found = stages.ranks(workload(tmp_path, decode, {"plan.pp": 4}))
    assert [rank.held.batches for rank in found] == batches


def test_the_fullest_rank_is_the_one_that_is_short_of_most(tmp_path: Path) -> None:
    w = workload(tmp_path, sets={"plan.pp": 4})
    ranks = stages.ranks(w)
    assert stages.fullest(w, ranks, lambda held: held.loaded.total).stage == 3.0
    assert stages.fullest(w, ranks, lambda held: -held.loaded.total).stage == 1.0
    assert stages.least(w, ranks, lambda held: held.loaded.checkpoint) == 2 * LAYER


def test_every_plan_of_a_list_has_the_ranks_of_its_own_stages(tmp_path: Path) -> None:
    w = workload(tmp_path)
    sizes: Any = np.array([1.0, 2.0, 4.0, 3.5, 9.0])
    many = replace(w, plan=replace(w.plan, pp=sizes))
    assert stages.sizes(many) == [1, 2, 4]  # no half stages, and none without a layer
    whole = np.asarray(stages.least(many, stages.ranks(many), lambda held: sum(held.layers, 0.0)))
    assert whole[:3].tolist() == [4.0, 2.0, 1.0]
    assert stages.sizes(replace(w, plan=replace(w.plan, pp=9.0))) == [1]


@given(batch=st.integers(1, 100), replicas=st.integers(1, 4), dp=st.integers(1, 4))
def test_a_rank_keeps_the_caches_of_the_busiest_replica(batch: int, replicas: int, dp: int) -> None:
    plan, phase = SimpleNamespace(replicas=float(replicas), copies=float(dp)), SimpleNamespace(batch=float(batch))
    w: Any = SimpleNamespace(plan=plan, phase=phase)
    assert stages.sequences(w) == len(range(0, batch, replicas * dp))
    assert stages.sequences(w, 7.0) == len(range(0, 7, replicas * dp))


def test_a_stage_of_a_stream_computes_the_next_prompt_while_it_sends(tmp_path: Path) -> None:
    hidden, shown = (
        step.run(workload(tmp_path, False, {"plan.pp": 2, "plan.overlap_p2p_comm": v}, isl=4096)) for v in ("on", "off")
    )
    hop = 4e-6 + 1e-6 + 2 * 8 * 4096 * 2 * 1024 / 1e11 / 0.5  # hidden states and the residual
    alone = shown.slowest.seconds - shown.host.seconds - hop
    assert alone > hop
    # One of 132 multiprocessors sends: work is slower by 132/131 as long as that lasts.
    assert hidden.slowest.seconds - hidden.host.seconds == pytest.approx(alone + hop * (1 - 131 / 132))
    assert hidden.cost.seconds == pytest.approx(shown.cost.seconds)  # the first prompt waits for its own hop
