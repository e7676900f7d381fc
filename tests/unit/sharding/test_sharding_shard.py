"""What a rank sees and holds: rows of a step dealt out by hand, weights in whole blocks, and the calls of a linear layer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simcost.dtypes import dtype
from simcost.ops.collective import Collective
from simcost.ops.gemm import Gemm
from simcost.ops.stream import Stream
from simcost.plan import Phase, Plan, Tokens
from simcost.program import Call, Serial, calls
from simcost.sharding.linear import cast, enter, leave, linear
from simcost.sharding.shard import ROLES, Plain, View, Weight

BF16, FP8, BLOCK, INT4 = dtype("bf16"), dtype("fp8"), dtype("fp8_block"), dtype("int4")
SMALL = st.integers(1, 5)


def view(plan: Plan | None = None, phase: Phase | None = None, stored: str = "bf16", compute: str = "bf16") -> View:
    storage, computed = (dict.fromkeys(ROLES, dtype(name)) for name in (stored, compute))
    return View(plan or Plan(), phase or Phase(8.0, 1.0, 99.0), BF16, BF16, storage, computed)


@given(batch=st.integers(1, 100), q_len=st.integers(1, 9), replicas=SMALL, dp=SMALL, micro=SMALL, cp=SMALL, tp=SMALL)
def test_rows_of_the_busiest_rank_are_those_of_sequences_dealt_like_cards(
    batch: int, q_len: int, replicas: int, dp: int, micro: int, cp: int, tp: int
) -> None:
    plan = Plan(tp=float(tp), cp=float(cp), dp_attention=float(replicas), dp=float(dp), sequence_parallel="on")
    one = view(plan, Phase(float(batch), float(q_len), 0.0, logits=2.0, microbatches=float(micro)))
    mine = len(range(0, batch, replicas * dp * micro))
    copy = len(range(0, batch, dp * micro))
    rows = -(-mine * q_len // cp)
    assert (one.batch, one.tokens, one.all_tokens, one.head_rows) == (mine, rows, copy * q_len, 2 * mine)
    assert one.own_tokens == -(-rows // tp)
    assert view(Plan(tp=float(tp)), Phase(float(batch), 1.0, 0.0)).own_tokens == batch


def test_a_prompt_beside_a_decode_step_adds_its_rows() -> None:
    mixed = Phase(8.0, 1.0, 99.0, decode=True, beside=(Tokens(2.0, 64.0, 0.0, 1.0), Tokens(2.0, 3.0, 0.0, 0.0)))
    one = view(Plan(dp_attention=2.0, ep=2.0), mixed)
    assert (one.tokens, one.all_tokens, one.head_rows) == (4 + 64 + 3, 8 + 128 + 6, 4 + 1 + 0)
    assert [group.tokens for group in one.groups] == [4, 64, 3]
    assert [group.phase.decode for group in one.groups] == [True, False, False]
    assert one.batch == 4.0


@pytest.mark.parametrize(
    ("out", "inner", "copies", "count"), [(3.0, 5.0, 2.0, 30.0), (7.0, None, 1.0, 7.0), (7.0, None, 4.0, 28.0)]
)
def test_a_weight_counts_its_copies(out: float, inner: float | None, copies: float, count: float) -> None:
    assert Weight("w", "ffn", out, inner, copies).count == count
    assert Weight("w", "ffn", out, inner, copies).active == 1.0


def test_vectors_are_stored_as_norms_and_matrices_as_their_role() -> None:
    storage = {**dict.fromkeys(ROLES, BF16), "ffn": INT4}
    assert Weight("bias", "ffn", 100.0).stored_bytes(storage) == 200.0
    assert Weight("up", "ffn", 128.0, 128.0, 3.0).stored_bytes(storage) == 3 * 128 * (128 * 4 + 20) / 8


@pytest.mark.parametrize(("out", "inner", "padded", "held"), [
    (200.0, 256.0, 1.0, (256, 256)), (200.0, 256.0, 2.0, (256, 256)), (400.0, 256.0, 2.0, (512, 256)), (256.0, 200.0, -1.0, (256, 256)),
    (200.0, 200.0, 0.0, (200, 200)), (200.0, 200.0, 1.0, (256, 200)),
])  # fmt: skip
def test_parts_are_padded_to_whole_blocks_on_the_side_that_is_cut(
    out: float, inner: float, padded: float, held: tuple[int, int]
) -> None:
    found = Weight("w", "experts", out, inner, padded=padded).whole(BLOCK)
    assert (found.out, found.inner) == held
    assert Weight("w", "experts", out, inner, padded=padded).whole(dtype("mxfp4")).out == out  # scales along one row
    assert Weight("w", "experts", out, inner, padded=padded).whole(BF16).inner == inner


def test_padded_parts_store_what_they_hold() -> None:
    storage = {**dict.fromkeys(ROLES, BF16), "experts": BLOCK}
    part = Weight("w", "experts", 400.0, 256.0, 5.0, padded=2.0)
    assert part.stored_bytes(storage) == 5 * (
        512 * 256 + 4 * (4 * 2)
    )  # eight blocks of 128 x 128, a scale of 4 bytes each


def test_plans_of_a_list_are_padded_each_by_itself() -> None:
    found = Weight("w", "experts", np.array([128.0, 200.0, 64.0]), 256.0, padded=np.array([0.0, 1.0, 1.0])).whole(BLOCK)
    assert np.asarray(found.out).tolist() == [128.0, 256.0, 128.0]


@pytest.mark.parametrize(("stored", "compute", "dequantise", "names", "kernel", "unpacked"), [
    ("bf16", "bf16", "fused", ["up"], None, False), ("fp8", "fp8", "fused", ["quantise up input", "up"], "linear", False),
    ("int4", "bf16", "fused", ["up"], None, False), ("int4", "bf16", "separate", ["up"], None, True),
    ("fp8", "fp8", "separate", ["quantise up input", "up"], "linear", False),
    ("mxfp4", "mxfp8", "separate", ["quantise up input", "up"], "", True),
])  # fmt: skip
def test_a_linear_layer_casts_its_input_where_it_computes_narrower(
    stored: str, compute: str, dequantise: str, names: list[str], kernel: str | None, unpacked: bool
) -> None:
    one = view(Plan(dequantise=dequantise), stored=stored, compute=compute)
    program = linear(one, Weight("up", "ffn", 64.0, 32.0, 2.0), 8.0)
    found = list(calls(program))
    assert [call.tag for call in found] == names
    assert (program.kernel if isinstance(program, Serial) else None) == kernel
    product = found[-1].op
    assert isinstance(product, Gemm)
    assert (product.m, product.n, product.k, product.batch, product.unpacked) == (8.0, 64.0, 32.0, 2.0, unpacked)
    assert (product.w.name, product.compute.name) == (stored, compute)
    if len(found) > 1:
        assert isinstance(found[0].op, Stream)
        assert (found[0].op.elements, found[0].op.out.name) == (8 * 32, compute)


def test_an_input_that_is_narrow_already_is_not_cast_again() -> None:
    one = view(stored="fp8", compute="fp8")
    plain = linear(one, Weight("up", "ffn", 64.0, 32.0), 8.0, quantise=False)
    assert isinstance(plain, Call)
    assert isinstance(plain.op, Gemm)
    assert plain.op.x.name == "fp8"
    before = cast(one, "ffn", 100.0, "rows")
    assert before.tag == "quantise rows"
    assert (before.op.work().bytes_read, before.op.work().bytes_written) == (200.0, 100.0)


def test_a_vector_multiplies_nothing() -> None:
    with pytest.raises(ValueError, match="bias is a vector"):
        linear(view(), Weight("bias", "ffn", 64.0), 8.0)


def op(call: Call) -> Collective:
    assert isinstance(call.op, Collective)
    return call.op


@pytest.mark.parametrize(
    ("sequence_parallel", "before", "after"), [("off", [], "all_reduce"), ("on", ["all_gather"], "reduce_scatter")]
)
def test_partial_sums_are_joined_and_rows_gathered_before(
    sequence_parallel: Any, before: list[str], after: str
) -> None:
    one = view(Plan(tp=4.0, sequence_parallel=sequence_parallel))
    assert [op(call).kind for call in enter(one, 512.0)] == before
    for call in (*enter(one, 512.0), leave(one, 512.0)):
        assert (op(call).payload, op(call).group) == (8 * 512 * 2, 4.0)
    assert op(leave(one, 512.0)).kind == after


def test_a_block_that_keeps_nothing_answers_nothing() -> None:
    plain = Plain()
    assert (plain.mask, plain.router, plain.forms, plain.has_shared) == (None, None, (), False)
    assert plain.core_flops(8.0, 8.0) == 0.0
    assert plain.state_bytes(100.0, Plan(), BF16) == 0.0
    assert plain.expert_elements(Plan(), Phase(1.0, 1.0, 0.0).routing, 8.0) == (0.0, 0.0)
