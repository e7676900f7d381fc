"""Masks and the attention core: pairs, keys, FLOPs and bytes, counted token by token."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simcost.dtypes import dtype
from simcost.ops.attention_core import AttentionCore, Mask
from simcost.ops.work import INPUT

BF16, FP8, FP32 = dtype("bf16"), dtype("fp8"), dtype("fp32")
EXAMPLES = settings(max_examples=60, deadline=None, derandomize=True)
LENGTHS = {"q": st.integers(1, 24), "past": st.integers(0, 40)}


@st.composite
def masks(draw: st.DrawFn) -> Mask:
    """Any mask: full, causal, a window, chunks."""
    kind, size = draw(st.sampled_from(["full", "causal", "window", "chunk"])), float(draw(st.integers(1, 30)))
    if kind == "window":
        return Mask(window=size)
    return Mask(chunk=size) if kind == "chunk" else Mask(causal=kind == "causal")


def sees(mask: Mask, query: int, key: int) -> bool:
    """The definition: whether the token at `query` attends to the token at `key`."""
    if not mask.causal:
        return True
    if key > query:
        return False
    if mask.window is not None:
        return query - key < mask.window
    if mask.chunk is not None:
        return query // mask.chunk == key // mask.chunk
    return True


def board(mask: Mask, q: int, past: int) -> np.ndarray:
    """[queries, keys] of what is seen."""
    return np.array([[sees(mask, i, j) for j in range(past + q)] for i in range(past, past + q)])


@EXAMPLES
@given(mask=masks(), **LENGTHS)
def test_pairs_and_keys_are_those_of_the_board(mask: Mask, q: int, past: int) -> None:
    seen = board(mask, q, past)
    assert mask.pairs(float(q), float(past)) == seen.sum()
    assert mask.keys(float(q), float(past)) == seen.any(axis=0).sum()


@EXAMPLES
@given(masks(), st.lists(st.integers(1, 9), min_size=1, max_size=6), st.integers(0, 20))
def test_pairs_of_uneven_chunks_add_up(mask: Mask, pieces: list[int], past: int) -> None:
    if not mask.causal:
        return  # a token in a chunk does not see the chunks after it
    whole, start = mask.pairs(float(sum(pieces)), float(past)), past
    total = 0.0
    for piece in pieces:
        total += float(mask.pairs(float(piece), float(start)))
        start += piece
    assert total == whole


@EXAMPLES
@given(masks(), st.integers(1, 90))
def test_the_cache_holds_the_most_that_a_token_up_to_here_has_seen(mask: Mask, context: int) -> None:
    most = max(int(board(replace(mask, causal=True), 1, at).sum()) for at in range(context))
    assert mask.state_tokens(float(context)) == most


@EXAMPLES
@given(masks(), st.lists(st.tuples(st.integers(1, 20), st.integers(0, 40)), min_size=1, max_size=8))
def test_arrays_are_counted_point_by_point(mask: Mask, points: list[tuple[int, int]]) -> None:
    q, past = (np.array(column, float) for column in zip(*points, strict=True))
    for count in (mask.pairs, mask.keys):
        found = np.asarray(count(q, past))
        assert found.tolist() == [count(float(a), float(b)) for a, b in points]


@pytest.mark.parametrize(
    ("mask", "said", "bounded"),
    [
        (Mask(), "causal", False),
        (Mask(causal=False), "full", False),
        (Mask(window=128.0), "window 128", True),
        (Mask(chunk=8192.0), "chunk 8192", True),
        (Mask(window=np.array([64.0, 128.0])), "window *", True),
        (Mask(chunk=np.array([64.0, 128.0])), "chunk *", True),
    ],
)
def test_a_mask_says_what_it_is(mask: Mask, said: str, bounded: bool) -> None:
    assert mask.label() == said
    assert mask.bounded is bounded


def core(q: int, past: int, mask: Mask, **more: object) -> AttentionCore:
    """Three sequences, six heads on two of K and V, widths 16 and 8, queries in bf16 and a cache in fp8."""
    made = AttentionCore(3.0, float(q), float(past), 6.0, 2.0, 16.0, 8.0, mask, BF16, FP8, BF16)
    return replace(made, **more)  # type: ignore[arg-type]


@EXAMPLES
@given(mask=masks(), **LENGTHS)
def test_flops_and_bytes_are_those_of_every_head_query_and_key(mask: Mask, q: int, past: int) -> None:
    flops = read = written = 0
    seen = board(mask, q, past)
    for _sequence in range(3):
        for _head in range(6):
            flops += int(seen.sum()) * (2 * 16 + 2 * 8)
            read += q * 16 * 2
            written += q * 8 * 2
        for _group in range(2):
            read += int(seen.any(axis=0).sum()) * (16 + 8)
    found = core(q, past, mask).work()
    assert (found.flops, found.bytes_read, found.bytes_written) == (flops, read, written)


@EXAMPLES
@given(mask=masks(), **LENGTHS)
def test_the_gradient_is_five_products_and_writes_what_came_in(mask: Mask, q: int, past: int) -> None:
    forward = core(q, past, mask)
    (back,) = forward.input_grad()
    assert forward.weight_grad() == back.weight_grad() == ()
    assert back == replace(forward, gradient=INPUT)
    pairs, keys = int(board(mask, q, past).sum()), int(board(mask, q, past).any(axis=0).sum())
    scores, weights_grad, value_grad, query_grad, key_grad = 16, 8, 8, 16, 16
    each = 2 * (scores + weights_grad + value_grad + query_grad + key_grad)
    assert back.work().flops == 3 * 6 * pairs * each
    queries, outputs, cache = 3 * 6 * q * 16 * 2, 3 * 6 * q * 8 * 2, 3 * 2 * keys * 24
    sums = 3 * 6 * q * 4  # an fp32 log-sum-exp a query and head
    own = 3 * 2 * q * 24  # keys and values of the new tokens: others stay where they were made
    assert forward.saved_bytes() == queries + own + outputs + sums
    assert back.work().bytes_read == queries + cache + outputs + sums + outputs
    assert back.work().bytes_written == queries + cache
    assert forward.workspace_bytes() == queries + outputs
    assert back.workspace_bytes() == 2 * (queries + cache + outputs)


@pytest.mark.parametrize("context", [1, 5, 4096])
def test_a_latent_is_read_once_for_keys_and_values(context: int) -> None:
    """Absorbed MLA of DeepSeek-V3: 128 heads attend to one latent of 576 elements, whose first 512 are the values."""
    op = AttentionCore(
        2.0, 1.0, context - 1.0, 128.0, 1.0, 576.0, 512.0, Mask(), BF16, BF16, BF16, shared_kv=True
    )  # fmt: skip
    found = op.work()
    assert found.flops == 2 * 128 * context * 2 * (576 + 512)
    assert found.bytes_read == 2 * (2 * 128 * 576 + 2 * context * 576)
    assert found.bytes_written == 2 * 2 * 128 * 512
    apart = replace(op, shared_kv=False).work()
    assert apart.bytes_read - found.bytes_read == 2 * 2 * context * 512
    assert apart.flops == found.flops


def test_a_window_longer_than_the_context_changes_nothing() -> None:
    wide, none = core(7, 20, Mask(window=27.0)), core(7, 20, Mask())
    assert wide.work() == none.work()
    assert (
        core(7, 20, Mask(window=26.0)).work().flops == none.work().flops - 3 * 6 * 48
    )  # the last token misses the first


@pytest.mark.parametrize(("kv", "said"), [(BF16, "bf16"), (FP8, "bf16 (kv fp8)")])
def test_coords_name_the_shape(kv: object, said: str) -> None:
    found = core(5, 7, Mask(window=4.0), kv=kv).coords()
    assert found == {
        "b": 3.0, "q": 5.0, "kv": 12.0, "h": 6.0, "h_kv": 2.0, "d_qk": 16.0, "d_v": 8.0, "mask": "window 4", "dtype": said
    }  # fmt: skip


@pytest.mark.parametrize("compute", [BF16, FP8, FP32])
def test_the_core_runs_at_the_rate_of_its_arithmetic(compute: object) -> None:
    assert core(4, 0, Mask(), compute=compute).peak == compute.peak  # type: ignore[attr-defined]
