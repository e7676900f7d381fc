"""Roles whose modules differ in format: each part is timed in its own, stack by stack."""

from __future__ import annotations

from typing import Any

import pytest

from simcost.errors import SpecError
from simcost.estimate import answer
from simcost.estimate import step as steps
from simcost.hardware import load as hardware
from simcost.model import count
from simcost.model.spec import ModelSpec, from_config
from simcost.plan import Phase, Plan
from simcost.workload import build, mixed_formats

LLAMA: dict[str, Any] = {
    "model_type": "llama", "hidden_size": 4096, "intermediate_size": 14336, "num_attention_heads": 32, "num_hidden_layers": 8, "num_key_value_heads": 8,
    "vocab_size": 128256, "tie_word_embeddings": False, "torch_dtype": "bfloat16",
}  # fmt: skip
H100 = hardware.load("h100")
PREFILL, DECODE = Phase(2.0, 4096.0, 0.0), Phase(64.0, 1.0, 4096.0)


def model(names: dict[str, str], **more: Any) -> ModelSpec:
    layers = {name: {"quant_algo": kind, "group_size": 16} for name, kind in names.items()}
    table = {"quant_method": "modelopt", "quant_algo": "MIXED_PRECISION", "quantized_layers": layers}
    return from_config({**LLAMA, **more, **({"quantization_config": table} if names else {})}, "test", "test")


def seconds(spec: ModelSpec, phase: Phase, plan: Plan | None = None) -> float:
    w = build(spec, H100, plan or Plan(), phase)
    found = answer.metrics(steps.run(w), phase is DECODE, 1.0)
    return float(found["tpot_s" if phase is DECODE else "ttft_s"])


@pytest.mark.parametrize("phase", [PREFILL, DECODE])
@pytest.mark.parametrize("pp", [1, 2])
def test_half_of_the_layers_takes_the_mean_of_none_and_all(phase: Phase, pp: int) -> None:
    none, half, whole = (model({f"model.layers.{i}.mlp": "FP8" for i in range(n)}) for n in (0, 4, 8))
    plan = Plan(pp=float(pp))
    alone = seconds(none, phase, plan), seconds(whole, phase, plan)
    assert seconds(half, phase, plan) == pytest.approx(sum(alone) / 2, rel=1e-6)
    assert alone[0] > 1.02 * alone[1]
    assert count.weight_bytes(half) == pytest.approx((count.weight_bytes(none) + count.weight_bytes(whole)) / 2)


def test_a_stack_whose_layers_are_alike_has_its_own_format_alone() -> None:
    """Layers with a window, which the swap of kinds makes a stack of their own, in fp8; the others in bf16."""
    kinds = ["sliding_attention", "full_attention"] * 4
    window = {"model_type": "mistral", "sliding_window": 512, "layer_types": kinds}
    spec = model({f"model.layers.{i}.self_attn": "FP8" for i in range(0, 8, 2)}, **window)
    found = [{role: [(end, kind.name) for end, kind, _ in parts] for role, parts in mixed_formats(spec, i).items()} for i in range(2)]  # fmt: skip
    assert found == [{"attention": [(1.0, "fp8")]}, {"attention": [(1.0, "bf16")]}]


def test_one_format_of_a_role_has_no_parts() -> None:
    spec = model({f"model.layers.{i}.mlp": "FP8" for i in range(8)})
    assert mixed_formats(spec, 0) == {}


def test_a_part_that_the_device_cannot_compute_in_is_refused_with_the_way_out() -> None:
    spec = model({f"model.layers.{i}.mlp": "NVFP4" for i in range(2)})
    with pytest.raises(SpecError, match=r"cannot compute in nvfp4 \(ffn; .*plan\.compute_dtype=bf16"):
        build(spec, H100, Plan(), PREFILL)
    assert seconds(spec, PREFILL, Plan(compute_dtype="bf16")) == pytest.approx(seconds(model({}), PREFILL), rel=0.05)


def test_one_format_that_the_plan_chooses_is_of_all() -> None:
    spec = model({f"model.layers.{i}.mlp": "FP8" for i in range(4)})
    assert build(spec, H100, Plan(weight_dtype="fp8"), PREFILL).view.shares == {}
