"""Requests of models with states beside attention, page by page as vLLM's logs print them.

The logs: vllm-project/vllm issue 40691 (Qwen3.5-27B, 0.19.0), a blog that follows 0.17.0 through its source (Qwen3.5-35B-A3B, fp8 cache,
prefix caching), noonghunna/club-3090 issue 612 (Qwen3.6-35B-A3B of the same shapes, 0.24.0).
"""

from __future__ import annotations

from typing import Any

import pytest

from simcost import api

_35B, _27B = "qwen3.5-35b-a3b", "qwen3.5-27b"


def asked(model: str, version: str, context: int, **settings: Any) -> Any:
    sets = {"engine.version": version, **{f"engine.{name}": value for name, value in settings.items()}}
    cache = {"plan.kv_dtype": "fp8"} if model == _35B else {}
    return api.show_memory(model, "h100", context=context, engine="vllm", set={**sets, **cache}).metrics


def ceil(tokens: int, page: int) -> int:
    return -(-tokens // page)


# Tokens of a page by the logs: the state of a layer fits into it.
@pytest.mark.parametrize(
    ("model", "version", "context", "page", "layers", "token", "states", "caching"),
    [
        (_35B, "0.17", 65_536, 2096, 10, 1024, 3 * 2, True),
        (_35B, "0.17", 32_768, 2096, 10, 1024, 3 * 2, True),
        (_35B, "0.24", 131_072, 2096, 10, 1024, 3 * 2, True),
        (_27B, "0.19", 32_768, 784, 16, 4096, 3, False),
    ],
)
def test_a_request_takes_the_pages_of_the_log(
    model: str, version: str, context: int, page: int, layers: int, token: int, states: int, caching: bool
) -> None:
    found = asked(model, version, context, **({"enable_prefix_caching": True} if caching else {}))
    pages = ceil(context, page) + states
    assert found["kv_bytes_per_gpu"] == pages * page * layers * token
    # What the log prints as tokens: pages for each of the four groups, and from 0.21 on requests of the longest length.
    pool = found["kv_pool_bytes_per_gpu"] / (page * layers * token)
    tokens = pool / pages * context if version == "0.24" else pool / 4 * page
    assert found["kv_pool_tokens"] == pytest.approx(tokens, rel=1e-5)
    assert found["max_concurrency"] == pytest.approx(pool / pages)


def test_without_pages_a_state_takes_its_own_bytes() -> None:
    """SGLang keeps states in a pool of their own."""
    state = 30 * (32 * 128 * 128 * 4 + 8192 * 3 * 2)
    found = api.show_memory(_35B, "h100", context=4096, engine="sglang").metrics
    assert found["kv_bytes_per_gpu"] == 4096 * 10 * 2048 + state


def test_layers_that_fill_no_group_are_padded() -> None:
    """27 layers with a state in groups of four, as many as there are of attention."""
    found = api.show_memory("nemotron-nano-9b-v2", "h100", context=1000, engine="vllm").metrics
    assert found["kv_bytes_per_gpu"] == (7 + 1) * 4 * 1312 * 4096


@pytest.mark.parametrize(("context", "gigabytes"), [(32_768, 1.906), (65_536, 2.578), (131_072, 3.920)])
def test_windows_and_full_layers_as_a_log_of_gemma_4(context: int, gigabytes: float) -> None:
    sets = {"engine.max_num_batched_tokens": 2496}
    found = api.show_memory("gemma-4-26b-a4b", "h100", context=context, engine="vllm", set=sets).metrics
    assert found["kv_bytes_per_gpu"] == pytest.approx(gigabytes * 1e9, rel=3e-4)
    assert found["kv_pool_tokens"] == pytest.approx(found["max_concurrency"] * context, abs=1.0)
