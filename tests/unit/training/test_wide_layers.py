"""Layers that a recipe leaves wide: stacks of their own, with the programs, weights and casts of a wide precision."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from test_layer_passes import products
from trainkit import job

from simcost import pipeline
from simcost.errors import SpecError
from simcost.files import folder
from simcost.model import load
from simcost.passes.saved import kept_bytes
from simcost.plan import Plan
from simcost.training import balance, optimizer, precision, state, step
from simcost.training.chunks import priced_parts
from simcost.training.communication import optimizer_program
from simcost.training.job import Job

PLAN = Plan(tp=2.0, pp=4.0, gpus=8.0, sequence_parallel="on")
WIDE = 5  # 16 % of 32 layers


def of(name: str, **more: object) -> Job:
    return job("llama-3-8b", PLAN, hw="b200", precision=name, seq=2048, global_batch=16, **more)


def test_the_last_layers_are_a_stack_of_their_own() -> None:
    one = of("nvfp4-last-bf16")
    assert [count for count, _ in one.model.stacks] == [32 - WIDE, WIDE]
    assert one.model.order == (0,) * (32 - WIDE) + (1,) * WIDE
    assert one.precision.wide_keys == {"stack 1"}
    again = precision.parted(one.model, one.precision)
    assert (again[0].stacks, again[1].wide_keys) == (one.model.stacks, one.precision.wide_keys)
    assert of("nvfp4").model.stacks == load.load("llama-3-8b").stacks
    mixed = precision.parted(load.load("deepseek-v3"), precision.load("nvfp4-last-bf16"))[0]
    assert [count for count, _ in mixed.stacks] == [3, 58 - 10, 10]
    assert mixed.blocks()[0] == load.load("deepseek-v3").blocks()[0]


def test_the_first_and_the_last_layer_are_wide_where_a_recipe_says_so() -> None:
    """Megatron counts layers of the whole model: the wide first one stands on the first stage, the last on the last."""
    name = "fp8-tensor-ends-bf16"
    one = job("llama-3-8b", PLAN, hw="h100", precision=name, seq=2048, global_batch=16)
    assert [count for count, _ in one.model.stacks] == [30, 2]
    assert one.model.order == (1, *(0,) * 30, 1)
    assert one.precision.wide_keys == {"stack 1"}
    assert [stage.layers for stage in pipeline.stages(one.model, 4)] == [(7, 1), (8, 0), (8, 0), (7, 1)]
    mixed, formats = precision.parted(load.load("deepseek-v3"), precision.load(name))
    assert [count for count, _ in mixed.stacks] == [2, 57, 1, 1]  # its dense layers come first
    assert mixed.order == (2, 0, 0, *(1,) * 57, 3)
    assert formats.wide_keys == {"stack 2", "stack 3"}
    all_wide = precision.parted(load.load("llama-3-8b"), replace(formats, wide_first_layers=40))
    assert (all_wide[0].order, all_wide[1].wide_keys) == ((0,) * 32, {"stack 0"})


def test_wide_ends_lie_between_all_narrow_and_all_wide() -> None:
    """A step of 32 layers loses 2/32 of what bf16 takes longer, but for what stages wait."""
    plan = Plan(tp=8.0, gpus=8.0, sequence_parallel="on")
    times = {
        name: float(step.run(job("llama-3-8b", plan, hw="h100", precision=name, seq=4096, global_batch=16)).seconds)
        for name in ("fp8-tensor", "fp8-tensor-ends-bf16", "bf16")
    }
    assert times["fp8-tensor"] < times["fp8-tensor-ends-bf16"] < times["bf16"]
    lost = (times["fp8-tensor-ends-bf16"] - times["fp8-tensor"]) / (times["bf16"] - times["fp8-tensor"])
    assert lost == pytest.approx(2 / 32, rel=0.25)


@pytest.mark.parametrize("value", ["0", "1.5", "true"])
def test_a_number_of_wide_layers_is_whole(tmp_path: Path, value: str) -> None:
    text = (folder("workloads") / "precisions" / "fp8-tensor-ends-bf16.toml").read_text(encoding="utf-8")
    path = tmp_path / "mine.toml"
    text = text.replace('name = "fp8-tensor-ends-bf16"', 'name = "mine"')
    path.write_text(text.replace("wide_first_layers = { value = 1,", f"wide_first_layers = {{ value = {value},"))
    with pytest.raises(SpecError, match=r"wide_first_layers.* must be a whole number above 0"):
        precision.load(str(path))


def test_a_wide_layer_is_one_of_bf16_and_the_others_are_narrow() -> None:
    mixed, narrow, wide = (priced_parts(of(name)) for name in ("nvfp4-last-bf16", "nvfp4", "bf16"))
    for mine, other in (("stack 0", narrow), ("stack 1", wide)):
        found, like = mixed[mine], other["stack 0"]
        assert found.programs == like.programs
        assert {name: float(cost.seconds) for name, cost in found.costs.items()} == {
            name: float(cost.seconds) for name, cost in like.costs.items()
        }
        assert kept_bytes(found.programs.kept) == kept_bytes(like.programs.kept)
    assert products(mixed["stack 1"].programs.forward) == products(mixed["stack 0"].programs.forward)


@pytest.mark.parametrize("zero_stage", [1, 3])
def test_wide_layers_have_no_copies_and_no_casts(zero_stage: int) -> None:
    """Weights of a rank are those of its layers in each format."""
    held = {}
    for name in ("nvfp4-last-bf16", "nvfp4", "bf16"):
        formats, model = precision.load(name), load.load("llama-3-8b")
        model, formats = precision.parted(model, formats)
        (stage,) = pipeline.stages(model, 1, True)
        adamw = optimizer.load("adamw")
        found = state.held(model, stage, Plan(dp=8.0), formats, adamw, zero_stage)
        casts = optimizer_program(model, stage, Plan(dp=8.0), formats, adamw, zero_stage)
        cast = sum(
            float(c.op.elements) * float(c.repeat) for c in casts.parts if "for products" in getattr(c, "tag", "")
        )  # type: ignore[union-attr]
        held[name] = float(found.parameters), float(found.gathered), cast
    share = WIDE / 32.0
    for figure in (0, 2):
        mixed, narrow, wide = (held[name][figure] for name in ("nvfp4-last-bf16", "nvfp4", "bf16"))
        assert mixed == pytest.approx((1.0 - share) * narrow + share * wide)
    assert held["nvfp4"][1] >= held["nvfp4-last-bf16"][1]


def test_stages_by_time_make_up_for_wide_layers() -> None:
    even, timed = of("nvfp4-last-bf16"), balance.balanced(of("nvfp4-last-bf16", stages="time"))
    assert timed.layers is not None
    assert timed.layers[-1] < 8 < timed.layers[0]
    assert step.run(timed).seconds < step.run(even).seconds
