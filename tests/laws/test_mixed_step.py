"""A mixed step: decode, and a chunk of a prompt in the same forward. It takes as long as each part alone at least, and no longer than both one after
the other; memory holds both; linear layers run once on the sum of the tokens, attention cores group by group."""

from __future__ import annotations

import random
from typing import Any

import pytest

import simcost
from simcost.errors import SpecError

MODELS = (
    "deepseek-v3", "llama-3.1-8b", "llama-3.1-70b", "qwen3-235b-a22b", "qwen3-30b-a3b", "gpt-oss-120b", "mixtral-8x7b", "gemma-3-27b",
)  # fmt: skip
DEVICES = ("h100", "h200", "b200", "a100", "gb200", "h20")
TILE = 1.05  # one more row can open a further tile of every GEMM or expert: 513 rows of fp8 take 1.3 times what 512 take on an H20


def question(rng: random.Random) -> tuple[dict[str, Any], dict[str, Any], int]:
    """(model, device, plan), (a decode step and a prompt), attention replicas."""
    tp, ep = rng.choice([1, 2, 4, 8]), rng.choice([None, None, 8, 16])
    sets = {"plan.tp": tp, "plan.pp": rng.choice([1, 1, 1, 2])} | ({"plan.ep": ep} if ep else {})
    asked = {"model": rng.choice(MODELS), "hw": rng.choice(DEVICES), "set": sets}
    step = {
        "batch": rng.choice([1, 8, 64, 256, 1024]), "context": rng.choice([512, 4096, 32768]),
        "prefill_tokens": rng.choice([1, 64, 512, 2048, 8192]), "prefill_past": rng.choice([0, 0, 2048, 30000]),
    }  # fmt: skip
    return asked, step, max(1, (ep or 1) // tp)


@pytest.mark.parametrize("seed", range(8))
def test_between_the_longer_part_and_the_sum(seed: int) -> None:
    rng, asked_of = random.Random(seed), 0
    while asked_of < 12:
        asked, step, replicas = question(rng)
        try:
            mixed = simcost.decode(**asked, **step)
        except SpecError:  # a dense model takes no ep
            continue
        asked_of += 1
        alone = simcost.decode(**asked, batch=step["batch"], context=step["context"])
        lengths = {"isl": step["prefill_tokens"], "past": step["prefill_past"]}
        prompt = simcost.prefill(**asked, **lengths, batch=replicas)
        both, decode = mixed.metrics["tpot_s"], alone.metrics["tpot_s"]
        assert both >= decode, (asked, step)
        assert mixed.metrics["kv_bytes_per_gpu"] >= alone.metrics["kv_bytes_per_gpu"], (asked, step)
        assert mixed.metrics["activation_bytes_per_gpu"] >= alone.metrics["activation_bytes_per_gpu"], (asked, step)
        if asked["set"]["plan.pp"] == 1:
            assert prompt.metrics["ttft_s"] <= both <= TILE * (decode + prompt.metrics["ttft_s"]), (asked, step)


def kernels(of: simcost.Result) -> dict[str, dict[str, Any]]:
    """Kernels of the layers that come most often."""
    layers = max((table for table in of.tables.values() if table and "times" in table[0]), key=len)
    return {str(row["op"]): dict(row) for row in layers}


@pytest.mark.parametrize("model", ["deepseek-v3", "llama-3.1-8b"])
def test_linear_layers_run_on_the_sum_and_cores_by_group(model: str) -> None:
    asked: dict[str, Any] = {"model": model, "hw": "h200", "set": {"plan.tp": 8}}
    alone = kernels(simcost.explain(**asked, batch=64, context=4096))
    prompt = kernels(simcost.explain(**asked, phase="prefill", isl=512, past=1024))
    mixed = kernels(simcost.explain(**asked, batch=64, context=4096, prefill_tokens=512, prefill_past=1024))
    core = next(name for name in alone if name.endswith("core"))
    other = next(name for name in mixed if name.endswith("prompt core"))
    of_prompt = next(name for name in prompt if name.endswith("core"))
    assert mixed[core]["time_s"] == alone[core]["time_s"]
    assert mixed[other]["time_s"] == pytest.approx(prompt[of_prompt]["time_s"])
    o_proj = next(name for name in mixed if name.endswith("o_proj"))
    assert f"m={64 + 512} " in mixed[o_proj]["shape"]
    assert "m=64 " in alone[o_proj]["shape"]


def test_flops_of_a_mixed_step_are_the_sum_of_its_parts() -> None:
    asked: dict[str, Any] = {"model": "qwen3-235b-a22b", "hw": "h200", "set": {"plan.tp": 8}}

    def flops(metrics: Any, seconds: str) -> float:
        return float(metrics["mfu"] * metrics[seconds])

    mixed = simcost.decode(**asked, batch=32, context=8192, prefill_tokens=2048, prefill_past=4096).metrics
    alone = simcost.decode(**asked, batch=32, context=8192).metrics
    prompt = simcost.prefill(**asked, isl=2048, past=4096).metrics
    assert flops(mixed, "tpot_s") == pytest.approx(flops(alone, "tpot_s") + flops(prompt, "ttft_s"))
    assert mixed["input_tokens_per_s"] == pytest.approx(2048 / mixed["tpot_s"])
    assert mixed["output_tokens_per_s"] == pytest.approx(32 / mixed["tpot_s"])


def test_zero_tokens_are_no_prompt() -> None:
    asked: dict[str, Any] = {"model": "llama-3.1-8b", "hw": "h100", "batch": 8, "context": 1024}
    assert simcost.decode(**asked, prefill_tokens=0).metrics == simcost.decode(**asked).metrics


def test_a_sweep_of_prompts_equals_single_questions() -> None:
    asked: dict[str, Any] = {"model": "deepseek-v3", "hw": "h200", "batch": 64, "context": 4096, "set": {"plan.tp": 8}}
    rows = simcost.decode(**asked, vary={"prefill_tokens": [1, 700, 4096]}).tables["sweep"]
    for row in rows:
        single = simcost.decode(**asked, prefill_tokens=int(row["prefill_tokens"])).metrics
        assert row["tpot_s"] == pytest.approx(single["tpot_s"], rel=1e-12)


def test_what_means_nothing_is_refused() -> None:
    with pytest.raises(SpecError, match="prefill_past counts tokens before a chunk"):
        simcost.decode("llama-3.1-8b", "h100", prefill_past=100)
    with pytest.raises(SpecError, match="prefill_tokens"):
        simcost.decode("llama-3.1-8b", "h100", prefill_tokens=-1)
    with pytest.raises(SpecError, match="--prefill-tokens does not apply to prefill"):
        simcost.explain("llama-3.1-8b", "h100", phase="prefill", prefill_tokens=5)
