"""Backward passes and the reduction of gradients: order, what is kept of overlaps and choices, payloads by hand."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simcost.dtypes import dtype
from simcost.model import load
from simcost.ops.collective import Collective
from simcost.ops.gemm import Gemm
from simcost.ops.stream import Stream
from simcost.ops.work import INPUT, WEIGHT
from simcost.passes import backward
from simcost.passes.contention import HELD
from simcost.plan import Phase, Plan
from simcost.program import Call, Choice, Overlap, Program, Serial, calls
from simcost.routing.router import Routing
from simcost.sharding.shard import ROLES, View

BF16, FP8, FP32 = dtype("bf16"), dtype("fp8"), dtype("fp32")


def product(tag: str) -> Call:
    return Call(Gemm(16.0, 32.0, 64.0, BF16, BF16, BF16, BF16), tag)


def norm(tag: str) -> Call:
    return Call(Stream("norm", 64.0, 1.0, 1.0, 4.0, BF16, BF16), tag)


WRITE = Call(Stream("cache write", 64.0, 1.0, 1.0, 0.0, BF16, BF16), "write")


def tags(program: Program | None) -> list[str]:
    assert program is not None
    return [call.tag for call in calls(program)]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(st.sampled_from("pnw"), min_size=1, max_size=8))
def test_what_ran_first_comes_last(kinds: list[str]) -> None:
    """p: a product, with two gradients, the input's first; n: a norm, with one; w: a cache write, with none."""
    made = {"p": product, "n": norm}
    parts = tuple(made[k](f"{k}{i}") if k in made else WRITE for i, k in enumerate(kinds))
    wanted = []
    for i, k in reversed(list(enumerate(kinds))):
        wanted += [f"{k}{i}:input_grad"] * (k in "pn") + [f"{k}{i}:weight_grad"] * (k == "p")
    found = backward.backward(Serial(parts, "layer", 3.0))
    if not wanted:
        assert found is None
        return
    assert tags(found) == wanted
    assert isinstance(found, Serial)
    assert (found.tag, found.repeat) == ("layer", 3.0)


@pytest.mark.parametrize(("of", "wanted"), [
    ((INPUT,), ["b:input_grad", "a:input_grad"]), ((WEIGHT,), ["b:weight_grad"]), ((), None),
])  # fmt: skip
def test_schedules_ask_for_either_gradient(of: tuple[str, ...], wanted: list[str] | None) -> None:
    found = backward.backward(Serial((norm("a"), product("b"))), of=of)
    assert (None if found is None else tags(found)) == wanted


def test_a_call_s_repeats_are_its_gradients_too() -> None:
    inputs, weights = backward.adjoint(Call(product("a").op, "a", 5.0), FP32)
    assert [(call.tag, call.repeat) for call in (*inputs, *weights)] == [("a:input_grad", 5.0), ("a:weight_grad", 5.0)]
    (grad,) = (call.op for call in weights)
    assert isinstance(grad, Gemm)
    assert (grad.out, grad.adds) == (FP32, True)


def test_of_a_choice_options_without_gradients_go() -> None:
    choice = Choice((("write", WRITE), ("one", product("a")), ("two", product("b"))), "which")
    found = backward.backward(choice)
    assert isinstance(found, Choice)
    assert [name for name, _ in found.options] == ["one", "two"]
    assert backward.backward(Choice((("write", WRITE),), "which")) is None


def test_of_an_overlap_parts_keep_what_they_hold() -> None:
    found = backward.backward(Overlap((product("a"), WRITE, norm("b")), "side by side", (1.0, 20.0, 3.0), True))
    assert isinstance(found, Overlap)
    assert (found.holds, found.competes, found.tag) == ((1.0, 3.0), True, "side by side")
    assert tags(found) == ["a:input_grad", "a:weight_grad", "b:input_grad"]
    plain = backward.backward(Overlap((product("a"), norm("b"))))
    assert isinstance(plain, Overlap)
    assert plain.holds == ()
    assert backward.backward(Overlap((WRITE, WRITE))) is None


def linear(batch: float = 1.0) -> Serial:
    cast = Call(Stream("quantise", 16.0 * 64.0, 1.0, 1.0, 3.0, BF16, FP8), "cast")
    return Serial((cast, Call(Gemm(16.0, 32.0, 64.0, FP8, FP8, BF16, FP8, batch), "up")), "up", 2.0, "linear")


@pytest.mark.parametrize(("of", "wanted"), [
    ((INPUT, WEIGHT), ["quantise up gradient", "up:input_grad", "up:weight_grad"]),
    ((INPUT,), ["quantise up gradient", "up:input_grad"]), ((WEIGHT,), ["up:weight_grad"]),
])  # fmt: skip
def test_a_narrow_layer_quantises_its_output_s_gradient(of: tuple[str, ...], wanted: list[str]) -> None:
    """The output is 16 x 32: that many numbers are cast, in one kernel with the product that needs them."""
    found = backward.backward(linear(), of=of)
    assert isinstance(found, Serial)
    assert found.repeat == 2.0
    assert tags(found) == wanted
    casts = [call.op for call in calls(found) if isinstance(call.op, Stream)]
    assert [op.elements for op in casts] == ([16 * 32] if INPUT in of else [])
    assert [part.kernel for part in found.parts if isinstance(part, Serial)] == (["linear"] if INPUT in of else [])


def test_a_wide_linear_layer_is_two_products() -> None:
    assert tags(backward.backward(Serial((product("a"),), kernel="linear"))) == ["a:input_grad", "a:weight_grad"]


# ---- reduction -------------------------------------------------------------------------------------------------------------

MIXTRAL = load.load("mixtral-8x7b").stacks[0][1]
ATTENTION, ROUTER, NORMS, EXPERT = (4096 + 2 * 1024 + 4096) * 4096, 8 * 4096, 2 * 4096, 3 * 4096 * 14336


@pytest.mark.parametrize("each", [2.0, 4.0])
def test_gradients_of_a_layer_by_hand(each: float) -> None:
    """Mixtral over eight replicas: one expert a rank, all else whole."""
    experts, rest = backward.gradient_bytes(MIXTRAL, Plan(ep=8.0), each)
    assert experts == each * EXPERT
    assert rest == each * (ATTENTION + ROUTER + NORMS)


def test_experts_are_summed_over_copies_and_all_else_over_replicas_too() -> None:
    """Two copies of two stages of eight replicas: neighbours of a copy's ranks stand 16 apart."""
    found = {call.tag: call.op for call in calls(backward.reduction(MIXTRAL, Plan(ep=8.0, pp=2.0, dp=2.0)))}
    rest = 4 * (ATTENTION + ROUTER + NORMS)
    assert found == {
        "gradients inside a stage": Collective("reduce_scatter", rest, 8.0, 1.0),
        "gradients of copies": Collective("reduce_scatter", rest / 8, 2.0, 16.0),
        "gradients of experts": Collective("reduce_scatter", 4.0 * EXPERT, 2.0, 16.0),
    }


def test_context_parallel_ranks_reduce_too() -> None:
    found = {call.tag: call.op for call in calls(backward.reduction(MIXTRAL, Plan(tp=2.0, cp=4.0)))}
    inside = found["gradients inside a stage"]
    assert isinstance(inside, Collective)
    assert (inside.group, inside.stride) == (4.0, 2.0)
    assert inside.payload == pytest.approx(4 * (ATTENTION / 2 + ROUTER + NORMS))


@pytest.mark.parametrize(
    ("plan", "held"), [(Plan(), 0.0), (Plan(dp=2.0), HELD), (Plan(cp=2.0), HELD), (Plan(ep=8.0), HELD)]
)
def test_a_reduction_holds_multiprocessors_where_there_is_one(plan: Plan, held: float) -> None:
    every = dict.fromkeys(ROLES, BF16)
    view = View(plan, Phase(8.0, 16.0, 0.0, routing=Routing("balanced")), BF16, BF16, every, every)
    found = backward.overlapped(MIXTRAL, view)
    assert found.holds == (0.0, held)
    assert tags(found.parts[0])[-1] == "attention_norm:input_grad"
    assert found.parts[1] == backward.reduction(MIXTRAL, plan)
