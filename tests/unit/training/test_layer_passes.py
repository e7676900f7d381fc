"""The passes of a layer: FLOPs of gradients, what hides beside what, kinds of work that add up."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from trainkit import FFN, SEQ, job, passes

from simcost.cost import calibrated
from simcost.cost.cost import Cost
from simcost.ops.collective import Collective
from simcost.ops.fused import FusedGrad
from simcost.ops.gemm import Gemm
from simcost.ops.grouped_gemm import GroupedGemm, GroupedWeightGrad
from simcost.ops.stream import Stream
from simcost.plan import Plan
from simcost.program import Call, Program, calls, price, runs
from simcost.training.passes import entry_bytes, parted
from simcost.training.split import Split, Stacked

MODELS = ["llama-3-8b", "deepseek-v3", "gpt3-175b", "qwen3-next-80b-a3b"]


def products(program: Program | None) -> float:
    """FLOPs of matrix products. [FLOP]"""
    assert program is not None
    kinds = (Gemm, GroupedGemm, GroupedWeightGrad)
    total = 0.0
    for call, times in runs(program):
        parts = call.op.parts if isinstance(call.op, FusedGrad) else (call.op,)
        total += sum(float(np.asarray(op.work().flops)) * float(times) for op in parts if isinstance(op, kinds))
    return total


@pytest.mark.parametrize("name", MODELS)
def test_gradients_are_twice_the_forward_products(name: str) -> None:
    found = passes(job(name))
    forward = products(found.forward)
    assert products(found.input) == pytest.approx(forward, rel=1e-6)
    assert products(found.weight) == pytest.approx(forward, rel=1e-6)
    assert products(found.both) == pytest.approx(2.0 * forward, rel=1e-6)


@pytest.mark.parametrize(("again", "more"), [("mlp", 1.0), ("layernorm", 0.0), ("none", 0.0)])
def test_a_recomputed_ffn_runs_once_more(again: str, more: float) -> None:
    plain, found = passes(job("llama-3-8b"), FFN), passes(job("llama-3-8b", recompute=again), FFN)
    assert products(found.input) - products(plain.input) == pytest.approx(more * products(plain.forward), abs=1.0)
    assert found.kept == plain.kept  # what is kept without recomputation: `kept_bytes` subtracts


@pytest.mark.parametrize("name", MODELS)
def test_an_embedding_and_a_head_never_run_again(name: str) -> None:
    from simcost.lower import modules
    from simcost.training.passes import of_layer

    one = job(name, recompute="layernorm+core_attn+activation+mlp+moe")
    for module in modules(one.model, True):
        if not module.layer:
            assert of_layer(module.blocks, one.view, one.how, module.layer).again is None


def test_the_input_of_a_layer_is_the_residual_stream() -> None:
    for plan, ranks in ((Plan(), 1.0), (Plan(tp=8.0), 1.0), (Plan(tp=8.0, sequence_parallel="on"), 8.0)):
        one = job("llama-3-70b", plan, micro_batch=2)
        assert entry_bytes(one.model.stacks[-1][1], one.view) == 2.0 * 8192.0 * 2 * SEQ / ranks


@pytest.mark.parametrize(("name", "reads"), [("mxfp8", 1.0), ("nvfp4", 2.0)])
def test_a_scale_of_the_whole_tensor_takes_a_pass_of_its_own(name: str, reads: float) -> None:
    """Casts of activations and of gradients: each element in bf16 as often as `reads`, two copies written."""
    found = passes(job("llama-3-8b", hw="b200", precision=name))
    d, qkv, f = 4096.0, 6144.0, 14336.0
    for program, elements in ((found.forward, 3 * d + f), (found.input, qkv + 2 * d + 2 * f)):
        casts = [(c.op, float(n)) for c, n in runs(program) if isinstance(c.op, Stream) and c.op.what == "quantise"]  # type: ignore[arg-type]
        assert sum(op.reads * float(op.elements) * n for op, n in casts) == reads * SEQ * elements
        assert sum(op.writes * float(op.elements) * n for op, n in casts) == 2.0 * SEQ * elements
        assert {op.out.name for op, _ in casts} == {name}


def test_sums_of_input_gradients_hide_beside_weight_gradients() -> None:
    """Together both gradients take no more than one after the other, and less where a sum stood alone."""
    one = job("llama-3-70b", Plan(tp=8.0))
    model, found = calibrated.model(one.device), passes(one)
    assert found.input is not None
    assert found.weight is not None
    assert found.both is not None
    apart = sum(float(price(each, model).cost.seconds) for each in (found.input, found.weight))
    assert float(price(found.both, model).cost.seconds) < apart


def test_parted_programs_hold_every_call_once() -> None:
    program = passes(job("deepseek-v3", Plan(tp=2.0))).forward

    def moves(call: Call) -> bool:
        return isinstance(call.op, Collective)

    mine, others = parted(program, moves)
    assert mine is not None
    assert others is not None
    whole = [call.tag for call in calls(program)]
    assert sorted([call.tag for call in calls(mine)] + [call.tag for call in calls(others)]) == sorted(whole)
    assert all(moves(call) for call in calls(mine))
    assert not any(moves(call) for call in calls(others))


SECONDS = st.floats(0.0, 10.0)


def split(**kinds: float) -> Split:
    return Split(Cost(compute_s=sum(kinds.values()), datasheet_s=0.0), kinds)


@given(SECONDS, SECONDS, SECONDS, SECONDS, st.floats(0.0, 5.0))
def test_kinds_add_up_after_every_operation(a: float, b: float, c: float, d: float, factor: float) -> None:
    one, other = split(products=a, wire=b), split(products=c, bubble=d)
    for found in (
        one + other, one * factor, one.slowed(1.0 + factor), one.beside(other), one.among(other), one.cheapest(other)[0], one.named("all"),
    ):  # fmt: skip
        assert sum(float(each) for each in found.kinds.values()) == pytest.approx(float(found.seconds), abs=1e-9)


@pytest.mark.parametrize("name", MODELS)
def test_kinds_of_a_priced_layer_add_up(name: str) -> None:
    one = job(name, Plan(tp=2.0, sequence_parallel="on"))
    model = Stacked(one.device, calibrated.model(one.device), {})
    for program in (passes(one).forward, passes(one).both):
        assert program is not None
        found = price(program, model).cost
        assert sum(map(float, found.kinds.values())) == pytest.approx(float(found.seconds), rel=1e-9)


def test_coefficients_multiply_their_kinds() -> None:
    one = job("llama-3-8b")
    program = passes(one).forward
    cold, fitted = (
        price(program, Stacked(one.device, calibrated.model(one.device), each)).cost
        for each in ({}, {"kernels": 1.5, "elementwise": 2.0})
    )
    for kind, factor in (("matrix products", 1.5), ("attention cores", 1.5), ("elementwise", 2.0)):
        assert float(fitted.kinds[kind]) == pytest.approx(factor * float(cold.kinds[kind]), rel=1e-9)


def listed(name: str, plan: Plan = Plan()) -> dict[str, float]:  # noqa: B008 -- frozen
    """What torchtitan's list keeps of a token of a layer. [B]"""
    found = passes(job(name, plan, recompute="op")).listed
    assert found is not None
    kept: dict[str, float] = {}
    for one in found:
        kept[one.what] = kept.get(one.what, 0.0) + float(one.bytes) / SEQ
    return kept


def test_every_other_product_stays_on_torchtitans_list() -> None:
    """Of Llama wq, wv, w1 and w2 (torchtitan, llama3: save_mm_modules), beside the core's output with a number a head
    and the layer's input; wk, wo and w3 run again."""
    assert listed("llama-3-8b") == {
        "input of the layer": 2.0 * 4096,
        "qkv_proj output": 2.0 * (4096 + 1024),
        "core output": 2.0 * 4096 + 4.0 * 32,
        "gate_up_proj output": 2.0 * 14336,
        "down_proj output": 2.0 * 4096,
    }
    again = passes(job("llama-3-8b", recompute="op")).again
    assert products(again) == 2.0 * SEQ * 4096 * (1024 + 4096 + 14336)


def test_scattered_sums_and_exchanges_stay_on_the_list_and_routers_do_not_count() -> None:
    cut = listed("llama-3-8b", Plan(tp=8.0, sequence_parallel="on"))
    assert cut["reduce-scatter output"] == 2 * 2.0 * 4096 / 8
    moe = listed("deepseek-v3", Plan(ep=64.0, gpus=64.0))
    # In order: q_a, kv_a, q_b, kv_b, o, and of the shared expert gate, up, down; the router's and grouped products apart.
    assert {
        name: moe[name] for name in ("qkv_a_proj output", "q_b_proj output", "o_proj output", "shared_up output")
    } == {
        "qkv_a_proj output": 2.0 * 1536,
        "q_b_proj output": 2.0 * 128 * 192,
        "o_proj output": 2.0 * 7168,
        "shared_up output": 2.0 * 2048,
    }
    assert moe["combine output"] == 2.0 * 8 * 7168
    assert "shared_down output" not in moe
    assert not {"router output", "experts_up output", "qkv_b_proj output"} & set(moe)
