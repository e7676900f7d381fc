"""torchtitan's list of operators on programs by hand: what stays, what runs again, and that nothing is lost between."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from simcost.dtypes import dtype
from simcost.ops.attention_core import AttentionCore, Mask
from simcost.ops.collective import Collective
from simcost.ops.exchange import Exchange
from simcost.ops.gemm import Gemm
from simcost.ops.stream import Stream
from simcost.passes.operators import parted
from simcost.passes.saved import CORE
from simcost.plan import Plan
from simcost.program import Call, Choice, Overlap, Program, Serial, calls
from simcost.routing.router import Router, Routing
from simcost.sharding.shard import Weight

BF16 = dtype("bf16")
TOKENS = 512.0


def product(name: str, out: float, inner: float = 256.0, repeat: float = 1.0, module: str = "") -> Call:
    return Call(Gemm(TOKENS, out, inner, BF16, BF16, BF16, BF16), name, repeat, module=module)


NORM = Call(Stream("norm", TOKENS * 256.0, 1.0, 1.0, 4.0, BF16, BF16), "norm")


def split(program: Program, *weights: Weight) -> tuple[list[tuple[str, float]], Program | None]:
    """(what stays with its bytes, without the input of 7 B; what runs again)."""
    block: Any = SimpleNamespace(weights=lambda plan: weights)
    (first, *kept), again = parted([block], [("block", program)], Plan(), 7.0)
    assert (first.what, first.bytes) == ("input of the layer", 7.0)
    return [(one.what, float(one.bytes)) for one in kept], again


def tags(program: Program | None) -> list[str]:
    return [] if program is None else [call.tag for call in calls(program)]


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_every_other_product_stays_from_the_first_on(count: int) -> None:
    """A result of 512 tokens x 128 in 2 B each; elementwise kernels between them all run again."""
    names = [f"p{i}" for i in range(count)]
    parts: list[Program] = []
    for name in names:
        parts += [NORM, product(name, 128.0)]
    kept, again = split(Serial(tuple(parts)))
    assert kept == [(f"{name} output", 2.0 * TOKENS * 128.0) for name in names[::2]]
    assert [tag for tag in tags(again) if tag != "norm"] == names[1::2]
    assert tags(again).count("norm") == count


def test_the_count_goes_on_from_block_to_block() -> None:
    """Three products of the first block and two of the second: the first, third and fifth stay."""
    blocks: Any = [SimpleNamespace(weights=lambda plan: ())] * 2
    programs = [Serial(tuple(product(name, 128.0) for name in names)) for names in ("abc", "de")]
    kept, again = parted(blocks, [("x", programs[0]), ("y", programs[1])], Plan(), 0.0)
    assert [one.what for one in kept] == ["input of the layer", "a output", "c output", "e output"]
    assert tags(again) == ["b", "d"]


def test_a_fused_product_is_counted_matrix_by_matrix() -> None:
    """Queries of 192 columns, values and keys of 32 each, in one product: queries stay, values run again, keys stay."""
    fused = Weight("qkv", "attention", 256.0, 256.0, parts=(192.0, 32.0, 32.0))
    kept, again = split(Serial((product("qkv", 256.0),)), fused)
    assert kept == [("qkv output", 2.0 * TOKENS * 192.0), ("qkv output", 2.0 * TOKENS * 32.0)]
    (call,) = calls(again)  # type: ignore[arg-type]
    assert isinstance(call.op, Gemm)
    assert (call.op.n, call.op.k, call.op.m) == (32.0, 256.0, TOKENS)


def test_a_weight_with_the_sides_of_another_product_is_not_taken_for_it() -> None:
    """Same width, other inner side: it joins nothing, and is counted once."""
    other = Weight("qkv", "attention", 256.0, 512.0, parts=(128.0, 128.0))
    kept, again = split(Serial((product("o", 256.0),)), other)
    assert kept == [("o output", 2.0 * TOKENS * 256.0)]
    assert again is None


def test_a_router_does_not_count_and_runs_again() -> None:
    router = Weight("router", "router", 64.0, 256.0)
    kept, again = split(Serial((product("router", 64.0), product("up", 128.0), product("down", 192.0))), router)
    assert [name for name, _ in kept] == ["up output"]
    assert tags(again) == ["router", "down"]


def test_products_inside_an_attention_core_do_not_count() -> None:
    """Scores of an unfused core are no product with weights: they run again, and the count passes them by."""
    kept, again = split(Serial((product("scores", 512.0, module=CORE), product("o", 256.0))))
    assert [name for name, _ in kept] == ["o output"]
    assert tags(again) == ["scores"]


def test_repeats_multiply_what_stays() -> None:
    """A part that stands twice, in a program that runs three times, has six results."""
    inner = Serial((product("up", 128.0, repeat=2.0), product("down", 128.0)), repeat=3.0)
    kept, again = split(inner)
    assert kept == [("up output", 6.0 * 2.0 * TOKENS * 128.0)]
    assert isinstance(again, Serial)
    assert tags(again) == ["down"]
    (part,) = again.parts
    assert isinstance(part, Serial)
    assert part.repeat == 3.0  # what runs again, runs as often


def test_outputs_of_cores_exchanges_and_scattered_sums_stay_by_hand() -> None:
    """A core of 4 heads of 64 on 512 tokens: its output in 2 B and a sum of 4 B a head; a reduce-scatter over 8 ranks: its
    part; an exchange: rows of 512 B as they come, or as they go back, four a token. All twice."""
    core = Call(AttentionCore(1.0, TOKENS, 0.0, 4.0, 4.0, 64.0, 64.0, Mask(), BF16, BF16, BF16), "core", 2.0)
    scattered = Call(Collective("reduce_scatter", 8e6, 8.0), "scatter", 2.0)
    gathered = Call(Collective("all_gather", 8e6, 8.0), "gather", 2.0)
    router = Router(64.0, 4.0)
    away, back = (
        Call(Exchange(TOKENS, 8.0 * TOKENS, 512.0, 8.0, 1.0, router, Routing("balanced"), "nccl", way), way, 2.0)
        for way in ("dispatch", "combine")
    )
    kept, again = split(Serial((core, scattered, gathered, away, back)))
    rows = 4.0 * TOKENS * 512.0
    assert kept == [
        ("core output", 2.0 * (2.0 * TOKENS * 4.0 * 64.0 + 4.0 * TOKENS * 4.0)),
        ("scatter output", 2.0 * 1e6),
        ("dispatch output", 2.0 * rows),
        ("combine output", 2.0 * rows),
    ]
    assert tags(again) == ["gather"]


def test_of_alternatives_the_last_is_what_training_runs() -> None:
    first, last = product("first", 128.0), product("last", 192.0)
    kept, again = split(Serial((Choice((("one", first), ("other", last))), NORM)))
    assert kept == [("last output", 2.0 * TOKENS * 192.0)]
    assert tags(again) == ["norm"]


def test_a_cast_for_a_product_that_stays_stays_with_it() -> None:
    """A linear layer is its cast and its product, measured as one: where the product stays no cast runs again; where it
    runs again both do, as one kernel still."""
    cast = Call(Stream("quantise", TOKENS * 256.0, 1.0, 1.0, 1.0, BF16, dtype("fp8")), "cast")
    layers = [Serial((cast, product(name, 128.0)), name, kernel="linear") for name in ("stays", "again")]
    kept, again = split(Serial(tuple(layers)))
    assert [name for name, _ in kept] == ["stays output"]
    assert again == Serial((Serial((layers[1],)),))
    # With half of a fused product left it is no longer the kernel that was measured.
    fused = Weight("qkv", "attention", 256.0, 256.0, parts=(128.0, 128.0))
    _, left = split(Serial((Serial((cast, product("qkv", 256.0)), kernel="linear"),)), fused)
    (part,) = left.parts[0].parts  # type: ignore[union-attr]
    assert isinstance(part, Serial)
    assert (tags(part), part.kernel) == (["cast", "qkv"], "")


def test_side_by_side_stays_side_by_side_where_all_of_it_runs_again() -> None:
    gather = Call(Collective("all_gather", 8e6, 8.0), "gather")
    scatter = Call(Collective("reduce_scatter", 8e6, 8.0), "scatter")
    _, again = split(Serial((Overlap((NORM, gather)),)))
    assert again == Serial((Serial((Overlap((NORM, gather)),)),))
    kept, less = split(Serial((Overlap((NORM, scatter)),)))
    assert less == Serial((Serial((Serial((NORM,)),)),))  # nothing is left to stand beside it
    assert [name for name, _ in kept] == ["scatter output"]


def test_nothing_runs_again_where_all_stays() -> None:
    assert split(Serial((product("only", 128.0),)))[1] is None
