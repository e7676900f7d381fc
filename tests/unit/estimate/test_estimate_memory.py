"""The memory of a rank on a small device: the cache by hand, and the largest batch and context by trying the next."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from toykit import PARAMETERS, engine, workload

from simcost.estimate import memory, step
from simcost.workload import Workload

TOKEN = 4 * 2 * 2 * 128 * 2  # bytes of a token: four layers, K and V of two heads of 128


def small(home: Path, gigabytes: float = 1.0, sets: dict[str, Any] | None = None, **phase: Any) -> Workload:
    """An engine that adds nothing to weights and cache, and shares out all of a small device."""
    capacity = {"memory.capacity": f"{{ value = '{gigabytes} GB', source = 'book' }}"}
    found = workload(home, phase.pop("decode", True), sets, profile=capacity, **phase)
    return replace(
        found, memory=engine(share=1.0, non_torch=0.0, context=0.0, tokens=1.0, vocabulary_multiple=1.0, block=1.0)
    )


def batch_of(w: Workload, batch: float) -> memory.Kept:
    phase = replace(w.phase, batch=batch)
    return memory.kept(replace(w, phase=phase, view=replace(w.view, phase=phase)))


@pytest.mark.parametrize(("sets", "sequences", "token"), [
    ({}, 8, TOKEN), ({"plan.tp": 2}, 8, TOKEN / 2), ({"plan.tp": 8}, 8, TOKEN / 2), ({"plan.dp": 4}, 2, TOKEN), ({"plan.pp": 2}, 8, TOKEN / 2),
    ({"plan.kv_dtype": "fp8"}, 8, TOKEN / 2), ({"plan.cp": 2}, 8, TOKEN / 2), ({"plan.dp": 3}, 3, TOKEN),
])  # fmt: skip
def test_a_rank_keeps_the_tokens_of_its_sequences_layers_and_heads(
    tmp_path: Path, sets: dict[str, Any], sequences: int, token: float
) -> None:
    found = memory.kept(small(tmp_path, sets=sets, context=1000))
    assert found.memory.cache == sequences * 1000 * token


def test_a_prompt_beside_a_decode_step_keeps_its_cache_too(tmp_path: Path) -> None:
    alone, mixed = (
        memory.kept(small(tmp_path, context=1000, **more)).memory
        for more in ({}, {"prefill_tokens": 64, "prefill_past": 100})
    )
    assert mixed.cache - alone.cache == 164 * TOKEN


def test_what_is_held_is_the_checkpoint_and_a_table_of_positions(tmp_path: Path) -> None:
    found = memory.kept(small(tmp_path))
    assert found.held.loaded.checkpoint == 2 * PARAMETERS
    assert found.held.loaded.rotary == 2 * 8192 * 128
    assert found.memory.weights == found.held.loaded.total
    assert found.memory.pool == pytest.approx(
        1e9 - found.memory.weights - found.memory.activations - found.memory.graphs
    )


@pytest.mark.parametrize(("gigabytes", "context", "sets"), [
    (1.0, 1000, {}), (1.0, 8192, {}), (0.5, 100, {"plan.tp": 2}), (0.5, 1000, {"plan.dp": 3}), (1.0, 1000, {"plan.pp": 2}), (0.2, 64, {}),
])  # fmt: skip
def test_the_largest_batch_is_the_last_that_fits(
    tmp_path: Path, gigabytes: float, context: int, sets: dict[str, Any]
) -> None:
    w = small(tmp_path, gigabytes, sets, context=context)
    most = float(memory.max_batch(memory.kept(w)))
    copies = float(w.plan.copies)
    assert most % copies == 0
    if most:
        assert batch_of(w, most).memory.short <= 0.0
    assert batch_of(w, most + copies).memory.short > 0.0


@pytest.mark.parametrize("batch", [1, 8, 50])
def test_the_longest_context_is_the_last_that_fits(tmp_path: Path, batch: int) -> None:
    most = float(memory.max_context(memory.kept(small(tmp_path, batch=batch))))
    for context, fits in ((most, True), (most + 1, False)):
        found = memory.kept(small(tmp_path, batch=batch, context=int(context))).memory
        assert (found.short <= 0.0) is fits


def test_pages_of_many_tokens_hold_fewer_requests(tmp_path: Path) -> None:
    w = small(tmp_path, context=1000)
    coarse = replace(w, memory=replace(w.memory, block=1024.0))
    fine, wide = memory.kept(w), memory.kept(coarse)
    assert wide.memory.cache == 8 * 1024 * TOKEN
    assert memory.max_batch(wide) < memory.max_batch(fine)


def test_metrics_say_what_the_memory_holds(tmp_path: Path) -> None:
    kept = memory.kept(small(tmp_path, batch=1, context=1000))
    found, held = memory.metrics(kept), kept.memory
    assert found["kv_bytes_per_gpu"] == 1000 * TOKEN
    assert found["memory_used_bytes_per_gpu"] == pytest.approx(1e9 - held.pool + held.cache)
    assert found["memory_short_bytes_per_gpu"] == 0.0
    assert found["kv_pool_tokens"] == held.pool // TOKEN
    assert found["max_concurrency"] == pytest.approx(held.pool / (1000 * TOKEN))
    tight = memory.metrics(memory.kept(small(tmp_path, 0.2)))
    assert tight["memory_short_bytes_per_gpu"] > 0.0
    assert tight["max_batch"] == 0.0


def test_a_stream_of_prompts_keeps_more_than_one_batch_on_the_first_stage(tmp_path: Path) -> None:
    one, two = (memory.kept(small(tmp_path, sets={"plan.pp": pp}, decode=False, isl=1000)) for pp in (1, 2))
    assert one.memory.cache == 8 * 1000 * TOKEN
    assert two.memory.cache == 2 * 8 * 1000 * TOKEN / 2
    assert two.held.stage == 0.0


def test_no_kernel_is_priced_for_a_question_of_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    w = small(tmp_path)
    monkeypatch.setattr(step.calibrated, "model", lambda *_: 1 / 0)
    assert memory.kept(w).memory.cache > 0.0


MOE = {"model_type": "mixtral", "num_local_experts": 8, "num_experts_per_tok": 2}
SLOTS = 4 * 8 * 128 * (2 * 1024 + 16)  # every token of a step and expert, twice to send and twice to receive


@pytest.mark.parametrize(("decode", "sets", "more", "size"), [
    (True, {}, {}, SLOTS + 5), (False, {}, {}, 5), (True, {"plan.all_to_all": "nccl"}, {}, 0), (False, {"plan.all_to_all": "low_latency"}, {}, SLOTS + 5),
    (True, {"plan.all_to_all": "normal"}, {}, 5), (True, {}, {"prefill_tokens": 64}, 5), (True, {"plan.ep": 1}, {}, 0), (True, {"plan.all_to_all": "nvlink"}, {}, 0),
])  # fmt: skip
def test_buffers_of_the_exchange_are_those_of_its_kernels(
    tmp_path: Path, decode: bool, sets: dict[str, Any], more: dict[str, Any], size: int
) -> None:
    w = workload(tmp_path, decode, {"plan.ep": 8, **sets}, config=MOE, **more)
    w = replace(w, memory=engine(dispatch_tokens=128.0, exchange_bytes=5.0, non_torch=0.0))
    assert memory.kept(w).memory.non_torch == pytest.approx(size)


def test_requests_of_all_copies_count_and_graphs_only_where_they_are_captured(tmp_path: Path) -> None:
    one, four = (memory.kept(small(tmp_path, sets={"plan.dp": dp}, context=1000)) for dp in (1, 4))
    assert memory.concurrency(four) == pytest.approx(4 * memory.concurrency(one), rel=0.01)
    for switch, size in (("on", 7.0), ("off", 0.0)):
        w = small(tmp_path, sets={"plan.cuda_graph": switch})
        terms = replace(w.memory, graph_bytes=7.0, graph_sequences=512.0, sequences=256.0)
        assert memory.kept(replace(w, memory=terms)).memory.graphs == pytest.approx(size)
