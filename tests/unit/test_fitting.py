"""Whether a design fits, in words, and what would make it fit: every change that is named does, and less would not."""

from __future__ import annotations

import re
from typing import Any

import pytest

import simcost
from simcost.cli.app import run
from simcost.errors import SpecError
from simcost.hardware import load
from simcost.hardware.load import names
from simcost.model.load import load_config
from simcost.scenarios import fitting


def advised(model: str, hw: str, sets: dict[str, Any], **phase: int) -> dict[str, str]:
    """path -> value of the changes that a verdict names."""
    found = simcost.decode(model, hw, set=sets, **phase)
    assert not found.metrics["fits"]
    said = found.verdict.split("fits with ")[1].split("; the smallest plan")[0]
    return dict(re.findall(r"([\w.]+)=([\w.]+)", said))


def fits(model: str, hw: str, sets: dict[str, Any], **phase: int) -> bool:
    return bool(simcost.show_memory(model, hw, set=sets, **phase).metrics["fits"])


@pytest.mark.parametrize(("model", "hw", "sets", "phase"), [
    ("llama-3.1-8b", "h100", {}, {"batch": 64, "context": 8192}), ("gpt-oss-120b", "h100", {}, {"batch": 4, "context": 16_384}),
    ("llama-3.1-8b", "h100", {"engine": "sglang"}, {"batch": 61, "context": 8192}), ("llama-3.1-8b", "h100", {"engine": "trtllm"}, {"batch": 64, "context": 8192}),
    ("llama-3.1-70b", "h200", {"plan.tp": 2}, {"batch": 300, "context": 4096}), ("gemma-3-27b", "l40s", {"plan.tp": 2}, {"batch": 8, "context": 32_768}),
])  # fmt: skip
def test_every_change_fits_and_less_does_not(model: str, hw: str, sets: dict[str, Any], phase: dict[str, int]) -> None:
    changes = advised(model, hw, sets, **phase)
    assert {"batch", "context"} <= set(changes)
    for path, text in changes.items():
        value: Any = float(text) if re.fullmatch(r"[\d.]+", text) else text
        if path in phase:
            assert fits(model, hw, sets, **{**phase, path: int(value)})
            assert not fits(model, hw, sets, **{**phase, path: int(value) + 1})
            continue
        assert fits(model, hw, {**sets, path: value}, **phase)
        if path == "plan.tp":
            assert value == 2 * sets.get("plan.tp", 1) or not fits(model, hw, {**sets, path: value / 2}, **phase)
        if "fraction" in path or "utilization" in path:
            assert not fits(model, hw, {**sets, path: value - 0.01}, **phase)
        elif path.startswith("engine."):
            now = simcost.decode(model, hw, set=sets, **phase).inputs["engine_settings"][path.removeprefix("engine.")]
            assert 2 * value > now or not fits(model, hw, {**sets, path: 2 * value}, **phase)


def test_what_was_answered_before_moves_no_verdict() -> None:
    """The smallest plan is kept for questions that differ in their split alone: all others are worked out anew, whatever came before."""
    base: dict[str, Any] = {"batch": 300, "context": 8192}
    asked: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
        (model, {**base, **phase}, sets)
        for model in ("llama-3.1-70b", "mixtral-8x22b")
        for phase in ({}, {"batch": 600}, {"context": 16_384})
        for sets in (
            {}, {"plan.tp": 2}, {"plan.pp": 2}, {"plan.cp": 2}, {"plan.kv_dtype": "fp8"}, {"plan.cuda_graph": "off"}, {"engine": "sglang"},
            {"engine": "vllm", "engine.gpu_memory_utilization": 0.5}, {"hw.memory.capacity": "x0.6"}, {"hw.measurements": "none"},
            {"model.num_hidden_layers": "x2"},
        )
    ]  # fmt: skip

    def verdict(model: str, phase: dict[str, Any], sets: dict[str, Any]) -> str:
        return simcost.show_memory(model, "h100", set=sets, **phase).verdict

    alone = []
    for question in asked:
        fitting._KNOWN.clear()
        alone.append(verdict(*question))
    assert len({said.split("; the smallest plan")[1] for said in alone if "; the smallest plan" in said}) > 5
    fitting._KNOWN.clear()
    assert [verdict(*question) for question in reversed(asked)] == alone[::-1]
    assert len(fitting._KNOWN) < len(asked)


def test_what_no_single_change_mends_is_said() -> None:
    said = simcost.decode("deepseek-v3", "rtx-4090", batch=1, context=4096).verdict
    assert said.startswith("DOES NOT FIT: short by")
    assert "no single change of batch, context, plan.tp, formats or the engine's settings fits" in said
    assert said.endswith("none of the plans tried, up to 1,024 GPUs, fits")
    assert "times are printed as if the memory sufficed" in said
    assert "times" not in simcost.show_memory("deepseek-v3", "rtx-4090").verdict


def test_formats_that_a_device_has_no_rate_for_have_memory_and_no_times() -> None:
    """NVFP4 on Hopper: parameters, bytes and cache need no rate."""
    config = {
        **load_config("llama-3.1-8b")[2],
        "quantization_config": {"quant_method": "modelopt", "quant_algo": "NVFP4"},
    }
    with pytest.raises(SpecError, match=r"h100 cannot compute in nvfp4 .*--set plan\.compute_dtype=bf16"):
        simcost.decode(config, "h100")
    held = simcost.show_memory(config, "h100")
    # 6,979,321,856 elements of linear layers in 4.5 bits; two tables of 128,256 x 4,096 and 65 norms in 16.
    assert held.tables["memory terms"][0]["bytes_per_gpu"] == 6_979_321_856 * 4.5 / 8 + 2 * (
        2 * 128_256 * 4096 + 65 * 4096
    )
    assert any(
        note.startswith("only memory is computed, not times: h100 cannot compute in nvfp4") for note in held.warnings
    )


def test_terms_stand_in_the_verdict_in_the_unit_of_logs() -> None:
    said = simcost.decode("llama-3.1-8b", "h100", batch=64, context=8192).verdict
    assert "weights 14.99 GiB" in said
    assert "activations" in said
    assert "CUDA graphs" in said


def test_a_share_that_leaves_too_little_is_said() -> None:
    notes = simcost.show_memory(
        "llama-3.1-8b", "h100", set={"engine.gpu_memory_utilization": 0.995}, engine="vllm"
    ).warnings
    assert any("expect to run out of memory" in note for note in notes)
    assert not any("expect to run out" in note for note in simcost.show_memory("llama-3.1-8b", "h100").warnings)


def test_what_does_not_fit_is_not_said_to_run_out() -> None:
    sets = {"engine.gpu_memory_utilization": 0.995}
    assert not any("run out" in note for note in simcost.show_memory("llama-3.1-70b", "h100", set=sets).warnings)


def test_fewer_sequences_or_no_graphs_are_named_where_they_are_enough() -> None:
    changes = advised("gpt-oss-120b", "h100", {}, batch=4, context=16_384)
    assert changes["engine.max_num_seqs"] == "128"
    most = int(simcost.show_memory("qwen3-30b-a3b", "h200", context=8192).metrics["max_batch"])
    assert advised("qwen3-30b-a3b", "h200", {}, batch=most + 1, context=8192)["plan.cuda_graph"] == "off"


def test_no_more_context_is_named_than_the_config_allows() -> None:
    found = simcost.show_memory("llama-3.1-8b", "h200", context=900_000)
    assert "context=131072" in found.verdict
    assert any("exceed max_position_embeddings" in note for note in found.warnings)
    assert any("the config allows" in note for note in found.warnings)


def test_terms_of_another_vendor_are_said() -> None:
    said = "start-up logs of other GPUs: NVIDIA GPUs"
    assert any(said in note for note in simcost.show_memory("llama-3.1-8b", "mi300x").warnings)
    assert not any("start-up logs" in note for note in simcost.show_memory("llama-3.1-8b", "h100").warnings)


def test_a_sweep_asks_every_point_by_itself() -> None:
    """A point that is settled at once must not move while others are searched."""
    ask = {"batch": 5000, "hw": "a100-40gb", "model": "llama-3.1-8b"}
    rows = simcost.decode(**ask, vary={"context": [1, 131_072]}).rows
    for row in rows:
        assert row["max_batch"] == simcost.decode(**ask, context=row["context"]).metrics["max_batch"]


def test_more_than_an_engine_runs_at_once_is_said() -> None:
    notes = simcost.decode("qwen2.5-0.5b", "h100", batch=3000, context=512).warnings
    assert any(
        "vLLM runs at most 1,024 sequences at once (engine.max_num_seqs); 3,000 on a replica are asked" in note
        for note in notes
    )


@pytest.mark.parametrize(("words", "said"), [
    (["decode", "--set", "hw.assumed.memory_reserve=0.2"], "'assumed.memory_reserve' no longer exists"),
    (["decode", "--set", "engine.gpu_memory_utilisation=0.9"], "did you mean 'gpu_memory_utilization'"),
    (["decode", "--engine", "sglang", "--set", "engine.gpu_memory_utilization=0.9"], "SGLang has no engine.gpu_memory_utilization (it has version, mem_fraction_static"),
    (["decode", "--set", "engine.gpu_memory_utilization=90"], "must be a number in (0, 1], not 90"),
])  # fmt: skip
def test_a_wrong_setting_is_one_line(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([words[0], "--model", "llama-3.1-8b", "--hw", "h100", *words[1:]]) == 2
    found = capsys.readouterr()
    assert said in found.err
    assert found.out == ""


def test_settings_are_inputs_and_axes() -> None:
    found = simcost.decode(
        "llama-3.1-8b", "h100", set={"engine.version": "0.19.0", "engine.max_num_seqs": 256}, engine="vllm"
    )
    assert found.inputs["engine_settings"] == {
        "version": "0.19.0", "gpu_memory_utilization": 0.9, "max_num_batched_tokens": 8192, "max_num_seqs": 256, "block_size": 16,
    }  # fmt: skip
    rows = simcost.decode("llama-3.1-8b", "h100", vary={"engine.gpu_memory_utilization": [0.8, 0.9]}).rows
    assert rows[0]["max_batch"] < rows[1]["max_batch"]
    engines = simcost.decode("llama-3.1-8b", "h100", vary={"engine": ["any", "vllm", "sglang", "trtllm"]}).rows
    assert len({row["kv_pool_bytes_per_gpu"] for row in engines}) == 4


# What torch or a driver prints, GiB: start-up logs and out-of-memory messages named in the profiles.
PRINTED = {
    "h100": (79.10, 79.22), "h200": (139.80, 139.81), "a100": (79.14, 79.33), "a100-40gb": (39.39, 39.59), "h100-nvl": (93.1, 93.1), "gh200": (94.5, 95.1),
    "l40s": (44.39, 44.42), "rtx-4090": (23.61, 23.65), "rtx-5090": (31.36, 31.51), "b200": (178.35, 178.36), "gb300": (276.5, 276.5), "mi300x": (191.45, 191.98),
    "mi355x": (287.98, 287.98), "h20": (95.0, 95.58),
}  # fmt: skip


@pytest.mark.parametrize("name", PRINTED)
def test_capacity_is_what_torch_prints(name: str) -> None:
    low, high = PRINTED[name]
    assert low - 0.005 <= float(load.load(name).capacity) / 2**30 <= high + 0.005
    assert load.load(name).capacity_assumed == "" or name in ("gh200",)


def test_a_capacity_without_a_log_is_said_to_be_assumed() -> None:
    assumed = [name for name in names() if load.load(name).capacity_assumed]
    assert {"h800", "b300", "gb200", "gaudi3"} <= set(assumed)
    notes = simcost.decode("llama-3.1-8b", "h800").warnings
    assert any(
        note.startswith("h800: the capacity of its memory is assumed: no log of this very part") for note in notes
    )
    assert not any(
        "capacity of its memory" in note
        for note in simcost.decode("llama-3.1-8b", "h800", set={"hw.memory.capacity": "79 GiB"}).warnings
    )
    row = next(row for row in simcost.show_hardware("h800").tables["facts"] if row["key"] == "hw.memory.capacity")
    assert row["basis"] == "assumed"


@pytest.mark.parametrize(("model", "swap"), [
    ("deepseek-v3", {"model.attention": "mha"}), ("deepseek-v3", {"model.ffn": "moe:64/6/2"}), ("llama-3.1-70b", {"model.ffn": "moe:64/6/2"}),
    ("mixtral-8x22b", {"model.ffn": "dense", "model.iso": "params"}),
])  # fmt: skip
def test_a_swapped_design_names_the_smallest_plan_that_fits(model: str, swap: dict[str, Any]) -> None:
    said = simcost.decode(model, "h200", set=swap).verdict
    count, sizes = re.search(r"the smallest plan that fits has (\d+) GPUs: (.*)$", said).groups()  # type: ignore[union-attr]
    plan = {f"plan.{name}": int(size) for name, size in (each.split("=") for each in sizes.split(", "))}
    found = simcost.decode(model, "h200", set={**swap, **plan})
    assert found.metrics["fits"]
    assert found.metrics["gpus"] == int(count)


def test_explain_names_what_would_fit_as_decode_does() -> None:
    asked: dict[str, Any] = {"set": {"plan.tp": 2}, "batch": 300, "context": 4096}
    explained, decoded = (
        simcost.explain("llama-3.1-70b", "h200", **asked),
        simcost.decode("llama-3.1-70b", "h200", **asked),
    )
    assert "the smallest plan that fits has " in explained.verdict
    assert explained.verdict == decoded.verdict
