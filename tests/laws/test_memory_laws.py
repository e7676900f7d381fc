"""Laws of memory over the zoo: monotone in context and batch, windows bound it, what fits fits."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from lawkit import SOME, ZOO, blocks, metrics, model

from simcost.blocks.attention.block_sparse import BlockSparse
from simcost.blocks.attention.mamba2 import Mamba2
from simcost.blocks.embed.ngram import NGramInput
from simcost.estimate.memory import kept
from simcost.model.count import state_elements, weight_bytes
from simcost.plan import Plan
from simcost.query import make, sweep

HW = "b200"
CONTEXTS = np.asarray([1.0, 2.0, 127.0, 128.0, 129.0, 1000.0, 4096.0, 4097.0, 8192.0, 1e5, 1e6])


def memory(name: str, decode: bool, phase: dict[str, Any], axes: dict[str, list[Any]], sets: Any = None) -> Any:
    _, points = sweep(make(name, HW, decode, phase, sets or {}, axes, None))
    assert points[0].workload is not None
    return kept(points[0].workload).memory


@pytest.mark.parametrize("name", ZOO)
def test_cache_is_monotone_in_context_and_grows_for_unbounded_layers(name: str) -> None:
    cache = np.asarray(state_elements(model(name), CONTEXTS))
    assert np.all(np.diff(cache) >= 0)
    assert cache[0] > 0


@pytest.mark.parametrize("name", ZOO)
def test_memory_is_monotone_in_batch_and_context(name: str) -> None:
    held = memory(name, True, {"context": 4096}, {"batch": [1, 2, 8, 64, 65, 1000]})
    assert np.all(np.diff(np.asarray(held.used)) >= 0)
    held = memory(name, True, {"batch": 4}, {"context": [1, 128, 129, 5000, 100000]})
    assert np.all(np.diff(np.asarray(held.cache)) >= 0)
    assert np.all(np.diff(np.asarray(held.used)) >= 0)
    held = memory(name, False, {"batch": 4}, {"isl": [1, 128, 129, 5000, 100000]})
    assert np.all(np.diff(np.asarray(held.used)) >= 0)


@pytest.mark.parametrize(
    "name", [n for n in ZOO if any(type(b).__name__ == "SlidingWindow" for _, b in model(n).blocks())]
)
def test_a_bounded_layer_never_holds_more_than_a_full_one(name: str) -> None:
    for _, block in model(name).blocks():
        if type(block).__name__ != "SlidingWindow":
            continue
        limit = float(np.asarray(block.window if block.window is not None else block.chunk))  # type: ignore[attr-defined]
        each = float(np.asarray(block.state_elements(1.0, Plan())))
        held = np.asarray(block.state_elements(CONTEXTS, Plan()))
        assert np.all(held <= each * CONTEXTS)
        assert np.all(held == each * np.minimum(CONTEXTS, limit))


@pytest.mark.parametrize("name", ZOO)
def test_cache_of_all_ranks_is_the_whole_when_heads_divide_and_a_copy_a_rank_for_mla(name: str) -> None:
    for _, block in model(name).blocks():
        if block.kind != "attention":
            continue
        whole = float(np.asarray(block.state_elements(777.0, Plan())))
        for tp in (2.0, 4.0, 8.0):
            part = float(np.asarray(block.state_elements(777.0, Plan(tp))))
            if block.mask is None:  # a recurrent state is cut by its heads, of which tp takes whole ones
                if all(np.all(check.ok) for check in block.checks(Plan(tp))):
                    copied = (
                        isinstance(block, Mamba2) and tp > block.mamba_n_groups
                    )  # a group's columns stand on several ranks
                    assert part * tp >= whole if copied else math.isclose(part * tp, whole, rel_tol=1e-12)
                continue
            kv = getattr(block, "num_key_value_heads", None)
            copies = tp if kv is None else max(tp / float(kv), 1.0)
            if kv is None or max(tp, float(kv)) % min(tp, float(kv)) == 0:
                index = (
                    777.0 * block.index_head_dim if isinstance(block, BlockSparse) else 0.0
                )  # a key whole on every rank
                assert math.isclose((part - index) * tp, (whole - index) * copies, rel_tol=1e-12)


@pytest.mark.parametrize("name", ZOO)
def test_weight_bytes_of_a_shard_lie_between_an_even_share_and_the_whole(name: str) -> None:
    whole = float(np.asarray(weight_bytes(model(name))))
    for tp in (2.0, 4.0, 8.0):
        part = float(np.asarray(weight_bytes(model(name), Plan(tp))))
        assert whole / tp * (1 - 1e-12) <= part < whole


@pytest.mark.parametrize("name", ZOO)
def test_weight_bytes_are_never_fewer_than_the_bits_of_the_elements(name: str) -> None:
    spec = model(name)
    for n, block in spec.blocks():
        for weight in block.weights(Plan()):
            stored = spec.storage[weight.role if weight.inner is not None else "norm"]
            size = float(np.asarray(weight.stored_bytes(spec.storage)))
            plain = float(np.asarray(weight.count)) * stored.bits / 8
            assert plain <= size <= plain * 1.3
            assert n >= 1


@pytest.mark.parametrize("name", ["llama-3.1-8b", "deepseek-v2-lite", "gpt-oss-20b", "gemma-3-27b", "qwen3-30b-a3b"])
@pytest.mark.parametrize("decode", [True, False])
@pytest.mark.parametrize("plan", [{}, {"plan.tp": 2}])
def test_the_largest_batch_fits_and_the_next_does_not(name: str, decode: bool, plan: dict[str, Any]) -> None:
    phase: dict[str, Any] = {"context": 4096} if decode else {"isl": 4096}
    most = metrics(name, HW, decode, {**phase, "batch": 1}, plan)["max_batch"]
    assert most >= 1
    assert metrics(name, HW, decode, {**phase, "batch": int(most)}, plan)["memory_short_bytes_per_gpu"] == 0
    assert metrics(name, HW, decode, {**phase, "batch": int(most * 1.001) + 2}, plan)["memory_short_bytes_per_gpu"] > 0


@pytest.mark.parametrize("name", ["qwen3-30b-a3b", "deepseek-v2-lite", "mixtral-8x7b"])
def test_the_largest_batch_over_attention_replicas_fits_and_the_next_does_not(name: str) -> None:
    plan, phase = {"plan.tp": 2, "plan.ep": 8}, {"context": 4096}
    most = metrics(name, HW, True, {**phase, "batch": 64}, plan)["max_batch"]
    assert metrics(name, HW, True, {**phase, "batch": int(most)}, plan)["memory_short_bytes_per_gpu"] == 0
    assert metrics(name, HW, True, {**phase, "batch": int(most * 1.001) + 8}, plan)["memory_short_bytes_per_gpu"] > 0


@pytest.mark.parametrize("name", ["llama-3.1-8b", "deepseek-v2-lite", "gpt-oss-20b", "gemma-3-27b", "qwen3-30b-a3b"])
@pytest.mark.parametrize("batch", [1, 64])
def test_the_longest_context_fits_and_the_next_does_not(name: str, batch: int) -> None:
    most = metrics(name, HW, True, {"batch": batch, "context": 4096})["max_context"]
    assert most >= 1
    at = metrics(name, HW, True, {"batch": batch, "context": int(most)})
    assert at["memory_short_bytes_per_gpu"] == 0
    past = metrics(name, HW, True, {"batch": batch, "context": int(most) + 1})
    assert past["memory_short_bytes_per_gpu"] > 0


def test_a_model_of_windows_alone_has_no_longest_context() -> None:
    found = metrics("mistral-7b-v0.1", HW, True, {"batch": 1, "context": 4096})
    assert found["max_context"] == math.inf


@pytest.mark.parametrize("name", SOME)
def test_memory_metrics_add_up(name: str) -> None:
    found = metrics(name, HW, True, {"batch": 8, "context": 4096})
    parts = sum(
        found[f"{k}_bytes_per_gpu"] for k in ("weight", "kv", "activation", "non_torch", "cuda_graph", "reserve")
    )
    assert math.isclose(parts, found["memory_used_bytes_per_gpu"], rel_tol=1e-12)
    short = max(found["memory_used_bytes_per_gpu"] - found["memory_capacity_bytes_per_gpu"], 0.0)
    assert math.isclose(found["memory_short_bytes_per_gpu"], short, rel_tol=1e-9, abs_tol=1.0)
    spare = found["memory_capacity_bytes_per_gpu"] - found["memory_used_bytes_per_gpu"]
    assert math.isclose(found["kv_pool_bytes_per_gpu"], found["kv_bytes_per_gpu"] + spare, rel_tol=1e-9)


def test_every_block_without_a_cache_says_so() -> None:
    for name, block in blocks():
        state = float(np.asarray(block.state_elements(1000.0, Plan())))
        own = getattr(block, "own", True) and not block.reads_cache  # else it reads another layer's
        # Keys by which others are picked, and columns of a convolution, stand beside it or without it.
        beside = getattr(block, "indexer", False) is True or isinstance(block, NGramInput)
        keeps = (block.kind in ("attention", "mtp") and own) or beside
        assert (state > 0) == keeps, name
