"""Laws of data-parallel overlap: one copy reduces nothing, the longer side sets the time, and copies reduce what they share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from lawkit import SOME, model, view

from simcost.calibration.family import families
from simcost.cost import calibrated
from simcost.cost.cost import interval
from simcost.cost.kernel import Roofline
from simcost.dtypes import dtype
from simcost.hardware import load as hardware
from simcost.model import count
from simcost.ops.attention_core import AttentionCore, Mask
from simcost.ops.exchange import Exchange
from simcost.ops.fused import FusedGrad
from simcost.ops.gather import Gather
from simcost.ops.gemm import Gemm
from simcost.ops.grouped_gemm import GroupedGemm, GroupedWeightGrad
from simcost.ops.recurrent import CausalConv
from simcost.ops.stream import Stream
from simcost.passes import backward
from simcost.passes.contention import HELD
from simcost.plan import Plan
from simcost.program import Call, Choice, Overlap, Program, Serial, calls, price, without
from simcost.sharding.linear import linear
from simcost.sharding.shard import ROLES, View, Weight

H800 = hardware.load("h800")


def layers(name: str) -> list[tuple[float, tuple]]:  # type: ignore[type-arg]
    return [(float(repeat), layer) for repeat, layer in model(name).stacks]


@pytest.mark.parametrize("name", SOME)
def test_one_copy_reduces_nothing(name: str) -> None:
    plan = Plan(mla_form="expanded", dp_attention=1.0)
    for _, layer in layers(name):
        moves = price(backward.reduction(layer, plan), Roofline(H800))
        assert moves.cost.seconds == 0.0
        found = price(backward.overlapped(layer, view(1.0, 512.0, 0.0, plan)), Roofline(H800))
        assert found.cost.seconds == found.parts[0].cost.seconds > 0.0


@pytest.mark.parametrize("name", SOME)
@pytest.mark.parametrize("dp", [2.0, 8.0, 64.0])
def test_the_longer_side_sets_the_time_and_what_copies_slows_the_other(name: str, dp: float) -> None:
    plan = Plan(mla_form="expanded", dp=dp, dp_attention=1.0)
    cost_of = Roofline(H800)
    for _, layer in layers(name):
        seen = view(1.0, 2048.0, 0.0, plan)
        both = backward.overlapped(layer, seen)
        back, wire = (float(price(part, cost_of).cost.seconds) for part in both.parts)
        whole = float(price(both, cost_of).cost.seconds)
        slow = without(HELD, H800.multiprocessors)
        assert max(back, wire) * (1 - 1e-12) <= whole <= max(back * slow, wire) * (1 + 1e-12)
        exposed = whole - back
        assert exposed >= max(0.0, wire - back) * (1 - 1e-9)


@pytest.mark.parametrize("name", SOME)
def test_a_backward_pass_costs_twice_its_products(name: str) -> None:
    """Two gradients a product, each of its FLOPs; the core's backward recomputes its scores."""
    seen = view(1.0, 1024.0, 0.0, Plan(mla_form="expanded"))
    for _, layer in layers(name):
        for block in layer:
            forward = block.program(seen)
            back = backward.backward(forward)
            assert back is not None
            products = [
                sum(
                    float(np.asarray(call.op.work().flops)) * float(call.repeat)
                    for call in calls(p)
                    if isinstance(call.op, Gemm)
                )
                for p in (forward, back)
            ]
            assert products[1] == pytest.approx(2.0 * products[0], rel=1e-9)
            cores = [sum(isinstance(call.op, AttentionCore) for call in calls(p)) for p in (forward, back)]
            assert cores[0] == cores[1]


def test_copies_reduce_the_gradients_of_every_parameter_once() -> None:
    for name in ("deepseek-v3", "llama-3.1-70b"):
        spec, plan = model(name), Plan()
        total = sum(repeat * float(sum(backward.gradient_bytes(layer, plan, 1.0))) for repeat, layer in layers(name))
        ends = sum(float(w.count) for block in (spec.embedding, spec.head) for w in block.weights(plan))
        assert total + ends == pytest.approx(float(count.parameters(spec)["params_language"]), rel=1e-3)


def test_experts_are_reduced_over_whole_copies_alone() -> None:
    """DeepSeek-V3 on 128 devices, two copies of EP64: 64 attention replicas share a stage, experts have two copies."""
    plan = Plan(ep=64.0, dp=2.0)
    layer = model("deepseek-v3").stacks[-1][1]
    ops = {call.tag: call.op for call in calls(backward.reduction(layer, plan))}
    experts, rest = backward.gradient_bytes(layer, plan)
    assert (ops["gradients inside a stage"].group, ops["gradients of copies"].group) == (64.0, 2.0)
    assert (ops["gradients of experts"].group, ops["gradients of experts"].payload) == (2.0, experts)
    assert ops["gradients of copies"].payload == rest / 64.0
    alone = replace(plan, dp=1.0)
    assert price(backward.reduction(layer, alone), Roofline(H800)).parts[2].cost.seconds == 0.0


# ---- what a backward pass is made of -------------------------------------------------------------------------------------

GRADIENT_FAMILIES = {"gemm_variant", "attention_backward", "grouped_weight_grad"}
TRAINED = Plan(mla_form="expanded")


def formed(compute: str, plan: Plan = TRAINED, tokens: float = 1024.0) -> View:
    """A view whose linear layers and experts multiply in a format."""
    seen = view(1.0, tokens, 0.0, plan)
    kind, bf16 = dtype(compute), dtype("bf16")
    every = {role: kind if role in ("attention", "ffn", "experts", "shared_experts") else bf16 for role in ROLES}
    return replace(seen, storage=every, compute=every)


def backwards(name: str, seen: View, **more: Any) -> list[Program]:
    """The backward pass of every block of a model."""
    blocks = [block for _, layer in layers(name) for block in layer]
    return [found for block in blocks if (found := backward.backward(block.program(seen), **more)) is not None]


def total(programs: Iterable[Program], of: str) -> float:
    return sum(float(getattr(call.op.work(), of)) * float(call.repeat) for one in programs for call in calls(one))


@pytest.mark.parametrize("compute", ["bf16", "fp8", "fp8_block"])
@pytest.mark.parametrize("name", SOME)
def test_no_forward_row_claims_a_gradient(name: str, compute: str) -> None:
    for one in backwards(name, formed(compute)):
        for call in calls(one):
            claimed = {n for n, family in families().items() if (labels := family.labels(call.op)) is not None}
            if isinstance(call.op, Stream):  # its kind says what it is the gradient of
                labels = families()["stream"].labels(call.op)
                assert labels is not None
                assert labels["what"].endswith("_backward") or call.op.what == "quantise"
            elif call.op.peak != "wire":
                assert call.op.gradient in ("input", "weight"), call
                assert claimed <= GRADIENT_FAMILIES, (call, claimed)


def test_forward_rows_lend_their_time_and_say_so() -> None:
    """A device with tables of forward kernels alone: a gradient takes as long as the same product, is transferred, and is less sure."""
    cost_of = calibrated.model(hardware.load("h200"))
    bf16 = dtype("bf16")
    product = Gemm(4096.0, 8192.0, 4096.0, bf16, bf16, bf16, bf16)
    (grad,) = product.input_grad()
    plain, mine = cost_of(replace(grad, gradient="")), cost_of(grad)
    assert plain.fitted_s == pytest.approx(plain.seconds)
    assert mine.seconds == plain.seconds
    assert mine.transferred_s == pytest.approx(mine.seconds)
    low, high = interval(mine)
    assert high / low > np.divide(*reversed(interval(plain)))
    core = AttentionCore(1.0, 4096.0, 0.0, 32.0, 8.0, 128.0, 128.0, Mask(), bf16, bf16, bf16)
    (back,) = core.input_grad()
    assert cost_of(back).seconds == pytest.approx(2.5 * cost_of(core).seconds)


@pytest.mark.parametrize("name", SOME)
def test_gradients_of_inputs_and_of_weights_are_the_pass(name: str) -> None:
    seen = formed("bf16")
    whole = total(backwards(name, seen), "flops")
    apart = [total(backwards(name, seen, of=(what,)), "flops") for what in ("input", "weight")]
    assert sum(apart) == pytest.approx(whole)
    assert min(apart) > 0.0


@pytest.mark.parametrize("name", SOME)
def test_sums_in_fp32_are_read_and_written(name: str) -> None:
    """Every parameter of a matrix is written in 2 B, or read and written in 4 B."""
    seen, fp32 = formed("bf16"), dtype("fp32")
    plain = total(backwards(name, seen, of=("weight",)), "bytes")
    summed = total(backwards(name, seen, of=("weight",), sums=fp32), "bytes")
    ops = [call.op for one in backwards(name, seen, of=("weight",)) for call in calls(one)]
    each = [part for op in ops for part in (op.parts if isinstance(op, FusedGrad) else (op,))]
    grads = [op for op in each if isinstance(op, Gemm | GroupedWeightGrad)]
    sizes = [op.m * op.n * op.batch if isinstance(op, Gemm) else op.experts * op.n * op.k for op in grads]
    assert summed - plain == pytest.approx(6.0 * float(sum(sizes)))


@pytest.mark.parametrize("name", SOME)
def test_a_cache_write_has_no_gradient(name: str) -> None:
    tags = [
        call.op.what for one in backwards(name, formed("fp8")) for call in calls(one) if isinstance(call.op, Stream)
    ]
    assert not [what for what in tags if "cache write" in what]
    assert "quantise backward" not in tags


def test_a_quantised_layer_quantises_its_gradient_in_one_kernel() -> None:
    seen = formed("fp8")
    weight = Weight("w", "ffn", 512.0, 256.0)
    forward = linear(seen, weight, 128.0)
    back = backward.backward(forward)
    assert isinstance(forward, Serial)
    assert isinstance(back, Serial)
    fused, weights = back.parts
    assert isinstance(fused, Serial)
    assert fused.kernel == "linear"
    cast, product = (call.op for call in calls(fused))
    assert isinstance(cast, Stream)
    assert isinstance(product, Gemm)
    assert (cast.what, cast.elements) == ("quantise", 128.0 * 512.0)
    assert (product.x.name, product.w.name, product.out.name, product.k) == ("fp8", "fp8", "bf16", 512.0)
    assert isinstance(weights, Call)
    assert isinstance(weights.op, Gemm)
    assert (weights.op.x.name, weights.op.w.name, weights.op.out.name) == ("fp8", "fp8", "bf16")


def test_what_ran_side_by_side_does_so_on_the_way_back() -> None:
    plan = Plan(mla_form="expanded", ep=8.0, overlap="shared_experts", all_to_all="normal")
    layer = model("deepseek-v3").stacks[-1][1]
    seen = formed("bf16", plan)
    forward, back = (
        [one for block in layer if (one := make(block.program(seen))) is not None]
        for make in (lambda program: program, backward.backward)
    )
    ahead, behind = ([o for one in programs for o in overlaps(one)] for programs in (forward, back))
    assert len(ahead) == len(behind) > 0
    for one, other in zip(ahead, behind, strict=True):
        assert one.holds == other.holds
        assert len(one.parts) == len(other.parts)


def overlaps(program: Program) -> Iterator[Overlap]:
    if isinstance(program, Overlap):
        yield program
    inner = [p for _, p in program.options] if isinstance(program, Choice) else getattr(program, "parts", ())
    for part in inner:
        yield from overlaps(part)


def test_equal_weight_gradients_count_alike_whoever_makes_them() -> None:
    """One expert's rows are a dense layer's: the same work, and the same activations while it runs."""
    bf16 = dtype("bf16")
    (dense,) = Gemm(512.0, 7168.0, 2048.0, bf16, bf16, bf16, bf16).weight_grad()
    (one,) = GroupedGemm(512.0, 1.0, 7168.0, 2048.0, bf16, bf16, bf16, bf16).weight_grad()
    assert dense.work() == one.work()
    assert dense.workspace_bytes() == one.workspace_bytes()


def test_an_embedding_s_gradient_is_a_weight_s_and_is_summed() -> None:
    bf16, fp32 = dtype("bf16"), dtype("fp32")
    look_up = Gather(10.0, 4.0, bf16, bf16)
    (plain,), (summed,) = look_up.weight_grad(), look_up.weight_grad(fp32)
    assert plain.gradient == summed.gradient == "weight"
    assert (plain.work().bytes, summed.work().bytes) == (3 * 2 * 40.0, (2 + 4 + 4) * 40.0)


def test_a_gradient_travels_back_in_the_other_way_s_format() -> None:
    """Dispatch in fp8 and combine in bf16: the gradient of the combine is dispatched in fp8, that of the dispatch combined in bf16."""
    layer = model("deepseek-v3").stacks[-1][1]
    seen = formed("fp8_block", Plan(mla_form="expanded", ep=8.0))
    ahead = {
        call.op.direction: call.op.width_bytes
        for b in layer
        for call in calls(b.program(seen))
        if isinstance(call.op, Exchange)
    }
    behind = {
        call.op.direction: call.op.width_bytes
        for block in layer
        for call in calls(backward.backward(block.program(seen)) or Serial(()))
        if isinstance(call.op, Exchange)
    }
    assert ahead == behind
    assert ahead["dispatch"] < ahead["combine"]


def test_a_gradient_that_a_cache_holds_less_of_takes_no_more_than_its_work() -> None:
    """A convolution whose tensors an L2 holds in the forward pass and not in the backward pass: three tensors move in place of two."""
    device, bf16 = hardware.load("h200"), dtype("bf16")
    forward = CausalConv(1.0, 4096.0, 1280.0, 4.0, bf16, bf16)
    (backwards,) = forward.input_grad()
    price_of = calibrated.model(device)
    found = float(price_of(backwards).seconds) / float(price_of(forward).seconds)
    assert found == pytest.approx(1.5, rel=1e-2)
