"""A real trace: torch.profiler records a layer of simcost's own torch blocks on the CPU, and each product is found by its sizes."""

# ruff: noqa: E402 -- without torch the file is skipped before the rest is imported

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

import simcost
from simcost.blocks.attention.gqa import GQA
from simcost.blocks.ffn.dense import Dense
from simcost.blocks.norm.norm import Norm
from simcost.estimate.layer import BlockSpec
from simcost.measure.torch_layers import build
from simcost.plan import Phase

CPU = Path(__file__).resolve().parents[1] / "replay" / "cpu" / "profile.toml"
D, FFN, TOKENS = 256, 512, 64
CONFIG = {
    "model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": D, "intermediate_size": FFN, "num_hidden_layers": 1, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 1000,
    "hidden_act": "silu", "rms_norm_eps": 1e-5, "max_position_embeddings": 4096, "tie_word_embeddings": False, "torch_dtype": "float32",
}  # fmt: skip


def test_a_recorded_layer_beside_its_prediction(tmp_path: Path) -> None:
    layer = (
        Norm("attention_norm", float(D)),
        GQA(float(D), 4.0, 2.0, 64.0, 64.0),
        Norm("ffn_norm", float(D)),
        Dense(float(D), float(FFN)),
    )
    block = build.build(BlockSpec("small", layer, Phase(1.0, float(TOKENS), 0.0), dtype="fp32"), copies=1)
    given = block.inputs()
    block.forward(0, given)
    steps = torch.profiler.schedule(wait=1, warmup=1, active=3)
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], record_shapes=True, schedule=steps
    ) as found:
        for _ in range(5):
            block.forward(0, given)
            found.step()
    path = tmp_path / "layer.json"
    found.export_chrome_trace(str(path))
    packed = tmp_path / "layer.json.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    result = simcost.trace(packed, CONFIG, str(CPU), "prefill", batch=1, isl=TOKENS)
    m = result.metrics
    assert m["traced_steps"] == 3
    rows = {row["op"]: row for row in result.tables["ops and kernels"]}
    for op in ("attention / qkv_proj", "attention / o_proj", "ffn / gate_up_proj", "ffn / down_proj"):
        assert rows[op]["found_by"] == "sizes"
        assert rows[op]["kernels_per_step"] == rows[op]["predicted_times"] == 1
        assert rows[op]["measured_s"] > 0
    work = {row["work"]: row for row in result.tables["kinds of work"]}
    assert work["attention"]["measured_s"] > 0
    assert work["elementwise"]["measured_s"] > 0
    # Independent of our own times: operators that no other calls, as the file has them, are all the time of one thread.
    every = [one for one in json.loads(path.read_text(encoding="utf-8"))["traceEvents"] if one.get("cat") == "cpu_op"]
    outer = [
        a
        for a in every
        if not any(
            b is not a and b["tid"] == a["tid"] and b["ts"] <= a["ts"] and a["ts"] + a["dur"] <= b["ts"] + b["dur"]
            for b in every
        )
    ]
    assert m["kernel_s"] == pytest.approx(sum(one["dur"] for one in outer) * 1e-6 / 3, rel=1e-3)
    assert m["unmatched_share"] < 0.02, result.tables["without a rule"]  # operators of a later torch
