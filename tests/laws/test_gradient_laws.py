"""Laws of data-parallel overlap: one copy reduces nothing, the longer side sets the time, and copies reduce what they share."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from lawkit import SOME, model, view

from simcost.cost.kernel import Roofline
from simcost.hardware import load as hardware
from simcost.model import count
from simcost.ops.attention_core import AttentionCore
from simcost.ops.gemm import Gemm
from simcost.passes import backward
from simcost.passes.contention import HELD
from simcost.plan import Plan
from simcost.program import calls, price, without

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
        assert total + ends == pytest.approx(float(count.parameters(spec)["params_total"]), rel=1e-3)


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
