"""Pipeline stages and modules: who has which layers, what a stage is called, holds, keeps and runs, by hand."""

from __future__ import annotations

from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simcost import lower, pipeline
from simcost.dtypes import dtype
from simcost.model import load
from simcost.model.spec import ModelSpec
from simcost.ops.collective import Collective
from simcost.ops.exchange import Exchange
from simcost.plan import Phase, Plan, stage_layers
from simcost.program import Choice, Overlap, Program, Serial, calls
from simcost.routing.router import Routing
from simcost.sharding.shard import ROLES, View

BF16 = dtype("bf16")


@cache
def model(name: str) -> ModelSpec:
    return load.load(name)


def view(plan: Plan, batch: float = 8.0, q_len: float = 16.0) -> View:
    every = dict.fromkeys(ROLES, BF16)
    return View(plan, Phase(batch, q_len, 0.0, routing=Routing("balanced")), BF16, BF16, every, every)


def shared_out(layers: int, pp: int) -> list[int]:
    """vLLM's get_pp_indices, written anew: what is left over goes to the stages before the last, from the back."""
    found = [layers // pp] * pp
    for i in range(layers % pp):
        found[-2 - i] += 1
    return found


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.integers(1, 200), st.data())
def test_layers_are_shared_out_as_vllm_does(layers: int, data: st.DataObject) -> None:
    pp = data.draw(st.integers(1, layers))
    found = [stage_layers(layers, pp, index) for index in range(pp)]
    assert found == shared_out(layers, pp)
    assert sum(found) == layers


@pytest.mark.parametrize("pp", [1, 2, 4, 7, 61])
def test_stacks_of_a_stage_are_those_of_its_layers(pp: int) -> None:
    """DeepSeek-V3: layers 0 to 2 are dense, 3 to 60 have experts."""
    start = 0
    for stage, count in zip(pipeline.stages(model("deepseek-v3"), pp), shared_out(61, pp), strict=True):
        here = range(start, start + count)
        assert stage.layers == (sum(i < 3 for i in here), sum(i >= 3 for i in here))
        start += count
    assert start == 61


@pytest.mark.parametrize(("training", "names"), [
    (False, ["embedding, 15 layers", "15 layers", "16 layers", "15 layers, head"]),
    (True, ["embedding, 15 layers", "15 layers", "16 layers", "15 layers, 1 MTP, head"]),
])  # fmt: skip
def test_a_stage_says_what_stands_on_it(training: bool, names: list[str]) -> None:
    assert [stage.name for stage in pipeline.stages(model("deepseek-v3"), 4, training)] == names


def test_stages_that_are_alike_are_one_kind() -> None:
    """32 layers on eight: the first has the embedding, the last the head, the six between are alike."""
    assert [index for index, _ in pipeline.kinds(model("llama-3.1-8b"), 8)] == [0, 1, 7]
    assert [index for index, _ in pipeline.kinds(model("llama-3.1-8b"), 1)] == [0]
    assert [index for index, _ in pipeline.kinds(model("deepseek-v3"), 4)] == [0, 1, 2, 3]


def test_weights_of_a_stage_by_hand() -> None:
    """Llama-3.1-8B on two stages of two ranks: sixteen layers each of 32 heads on 8, 14,336 wide."""
    first, last = pipeline.stages(model("llama-3.1-8b"), 2)
    plan = Plan(tp=2.0, pp=2.0)
    attention, ffn, norms = (4096 + 2 * 1024 + 4096) * 4096 // 2, 3 * 4096 * 14336 // 2, 2 * 4096
    layers = {"attention": 16 * attention, "ffn": 16 * ffn}
    table = 128256 * 4096 // 2
    assert pipeline.weights(model("llama-3.1-8b"), first, plan) == {**layers, "norm": 16 * norms, "embedding": table}
    assert pipeline.weights(model("llama-3.1-8b"), last, plan) == {**layers, "norm": 16 * norms + 4096, "head": table}


def test_mtp_is_held_in_training_alone() -> None:
    *_, serving = pipeline.stages(model("deepseek-v3"), 4)
    *_, training = pipeline.stages(model("deepseek-v3"), 4, True)
    held = [sum(pipeline.weights(model("deepseek-v3"), one, Plan(), flag).values())
            for one, flag in ((serving, False), (training, True))]  # fmt: skip
    layer = 187_107_328 + 257 * 3 * 7168 * 2048 + 256 * 7168 + 256 + 2 * 7168
    table = 129280 * 7168  # which the module shares with the first stage
    assert held[1] - held[0] == 2 * 7168 * 7168 + 3 * 7168 + layer + table


@pytest.mark.parametrize(("context", "local"), [(500, 500), (1024, 1024), (5000, 1024)])
def test_windows_bound_what_a_stage_keeps(context: int, local: int) -> None:
    """Gemma-3-27B on two stages of 31 layers, of which every sixth sees all: 16 heads of K and V, 128 wide."""
    for stage, layers in zip(pipeline.stages(model("gemma-3-27b"), 2), (range(31), range(31, 62)), strict=True):
        tokens = sum(context if (layer + 1) % 6 == 0 else local for layer in layers)
        kept = pipeline.state_bytes(model("gemma-3-27b"), stage, Plan(tp=4.0), float(context), BF16)
        assert kept == tokens * (16 // 4) * 2 * 128 * 2


def runs(program: Program, tag: str) -> float:
    """How often calls of a tag run."""
    if isinstance(program, Choice):
        return runs(program.options[-1][1], tag)
    own = float(getattr(program, "repeat", 1.0))
    if not hasattr(program, "parts"):
        return own * (program.tag == tag)
    return own * sum(runs(part, tag) for part in program.parts)


def test_a_stage_runs_its_layers_and_no_more() -> None:
    spec, plan = model("deepseek-v3"), Plan(mla_form="expanded")
    for stage in pipeline.stages(spec, 4):
        forward = pipeline.programs(spec, stage, view(plan)).forward
        assert runs(forward, "o_proj") == pytest.approx(sum(stage.layers))
        assert runs(forward, "experts_up") == pytest.approx(stage.layers[1])
        assert runs(forward, "embed_tokens") == stage.first
        assert runs(forward, "lm_head") == stage.last


# ---- what a step is made of ------------------------------------------------------------------------------------------------


def test_modules_stand_in_running_order() -> None:
    found = lower.modules(model("deepseek-v3"), training=True)
    assert [(module.key, module.name, module.count, module.layer) for module in found] == [
        ("embedding", "embedding", 1, False), ("stack 0", "MLA + Dense x3", 3, True), ("stack 1", "MLA + MoE x58", 58, True),
        ("mtp 0", "MTP", 1, False), ("head", "head", 1, False),
    ]  # fmt: skip
    assert [module.key for module in lower.modules(model("deepseek-v3"))] == ["embedding", "stack 0", "stack 1", "head"]


def test_a_step_runs_every_layer_once() -> None:
    program = lower.step(model("gemma-3-27b"), view(Plan()))
    assert runs(program, "core") == 62
    assert runs(program, "embed_tokens") == runs(program, "lm_head") == 1
    assert [part.tag for part in program.parts] == ["embedding", "SlidingWindow + Dense x52", "GQA + Dense x10", "head"]


@pytest.mark.parametrize(("name", "wanted"), [("llama-3.1-8b", False), ("mixtral-8x7b", True), ("deepseek-v3", True)])
def test_a_model_has_experts_where_some_layer_routes(name: str, wanted: bool) -> None:
    assert lower.has_experts(model(name)) is wanted


def layer(plan: Plan, name: str = "mixtral-8x7b", batch: float = 64.0) -> Serial:
    return lower.layer_program(model(name).stacks[-1][1], view(plan, batch, 1.0), "layer", 7.0)


def test_a_layer_may_be_cut_into_two_batches_or_not() -> None:
    program = layer(Plan(ep=8.0, overlap="two_batch", all_to_all="normal"))
    assert (program.tag, program.repeat) == ("layer", 7.0)
    (choice,) = program.parts
    assert isinstance(choice, Choice)
    (halves, cut), (whole, as_one) = choice.options
    assert (halves, whole) == ("two batches", "one batch")
    assert isinstance(cut, Overlap)
    tokens = [[call.op.tokens for call in calls(one) if isinstance(call.op, Exchange)] for one in (cut, as_one)]
    assert tokens == [[4, 4], [8, 8]]
    assert sum(runs(part, "qkv_proj") for part in cut.parts) == 2


def test_a_layer_whose_tokens_stay_has_nothing_to_cut() -> None:
    assert layer(Plan(tp=2.0, overlap="two_batch")) == layer(Plan(tp=2.0))


def test_rows_around_the_ring_come_with_the_plan_s_overlap() -> None:
    plan = Plan(tp=4.0, sequence_parallel="on", overlap="tensor_parallel")
    program = layer(plan, "llama-3.1-8b")
    found: list[Choice] = []

    def search(part: Program) -> None:
        if isinstance(part, Choice):
            found.append(part)
        elif hasattr(part, "parts"):
            for inner in part.parts:
                search(inner)

    search(program)
    assert [choice.tag for choice in found] == ["ring exchange"] * 4  # in and out of attention and of the FFN
    kinds = [call.op.kind for call in calls(program) if isinstance(call.op, Collective)]
    assert kinds == ["all_gather", "all_gather", "reduce_scatter", "reduce_scatter"] * 2  # a choice has each twice
