"""Cross entropy over a rank's part of the vocabulary: bytes of both ways to run it, and what stays for its gradient."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simcost.dtypes import dtype
from simcost.errors import SpecError
from simcost.ops.cross_entropy import CHUNKED, CUT, FUSED, PLAIN, CrossEntropy, chunk, named
from simcost.ops.gemm import Gemm

BF16 = dtype("bf16")
SIZES = st.integers(1, 10**6).map(float)
METHODS = st.sampled_from([FUSED, PLAIN])


@pytest.mark.parametrize(
    ("method", "forward", "backward", "saved"),
    [
        (FUSED, 2 * 2.0, 2 * 2.0, 2.0),  # 16-bit logits are read for the maximum and for the sum, then read and written over
        # widened to fp32 (2 read, 4 written), read twice and written as log-probabilities; these and the gradient read, it is written, and narrowed
        (PLAIN, 2.0 + 4.0 + 2 * 4.0 + 4.0, 2 * 4.0 + 4.0 + 2.0, 4.0),
    ],
)  # fmt: skip
def test_bytes_of_a_logit(method: str, forward: float, backward: float, saved: float) -> None:
    op = CrossEntropy(10.0, 100.0, BF16, method)
    (gradient,) = op.input_grad()
    assert op.work().bytes / 1000.0 == forward
    assert gradient.work().bytes / 1000.0 == backward
    assert op.saved_bytes() / 1000.0 == saved


@given(SIZES, SIZES, METHODS)
def test_it_is_proportional_to_tokens_and_to_the_part_of_the_vocabulary(
    tokens: float, vocabulary: float, method: str
) -> None:
    one = CrossEntropy(tokens, vocabulary, BF16, method)
    for other in (CrossEntropy(2.0 * tokens, vocabulary, BF16, method), CrossEntropy(tokens, 2.0 * vocabulary, BF16, method)):  # fmt: skip
        assert other.work().bytes == 2.0 * one.work().bytes
        assert other.work().flops == 2.0 * one.work().flops
        assert other.saved_bytes() == 2.0 * one.saved_bytes()


@given(SIZES, SIZES)
def test_fused_moves_and_keeps_less(tokens: float, vocabulary: float) -> None:
    fused, plain = (CrossEntropy(tokens, vocabulary, BF16, method) for method in (FUSED, PLAIN))
    assert fused.work().bytes < plain.work().bytes
    assert fused.input_grad()[0].work().bytes < plain.input_grad()[0].work().bytes
    assert fused.saved_bytes() < plain.saved_bytes()
    assert fused.workspace_bytes() < plain.workspace_bytes()


def test_it_has_no_weight_and_one_gradient() -> None:
    op = CrossEntropy(10.0, 100.0, BF16)
    assert op.weight_grad() == ()
    (gradient,) = op.input_grad()
    assert gradient.coords()["op"] == "fused cross entropy backward"
    assert op.coords()["op"] == "fused cross entropy"


def test_without_logits_a_table_or_a_number_a_token_stays() -> None:
    """Liger keeps the gradients that it has made, of the table V·h in 16 bits; the cut loss a sum of exponentials."""
    tokens, vocabulary, width = 8192.0, 128256.0, 4096.0
    at_once = chunk(tokens, vocabulary, width)
    chunked = CrossEntropy(tokens, vocabulary, BF16, CHUNKED, "", width, at_once)
    cut = CrossEntropy(tokens, vocabulary, BF16, CUT, "", width)
    fused = CrossEntropy(tokens, vocabulary, BF16, FUSED)
    assert chunked.saved_bytes() == 2.0 * vocabulary * width
    assert chunked.beside_bytes() == 2.0 * at_once * vocabulary
    assert (cut.saved_bytes(), cut.beside_bytes()) == (4.0 * tokens, 0.0)
    assert chunked.work() == fused.work()
    assert cut.work().bytes < fused.work().bytes / 1e4


def test_liger_cuts_tokens_such_that_logits_are_about_as_large_as_the_input() -> None:
    """ops/fused_linear_cross_entropy.py: the vocabulary over the width, rounded up, is into how many parts the tokens
    go, whose size is a power of 2."""
    assert chunk(8192.0, 128256.0, 4096.0) == 256.0  # 32 parts
    assert chunk(8192.0, 32000.0, 4096.0) == 1024.0  # 8
    assert chunk(6000.0, 32000.0, 4096.0) == 1024.0  # 750, up to the next power of 2
    assert chunk(8192.0, 2048.0, 4096.0) == 8192.0
    assert chunk(8192.0, 128256.0, 4096.0, 8) == 1024.0


def test_a_cut_loss_multiplies_once_more() -> None:
    """arXiv 2411.09009 §4.3: the backward pass computes the logits again."""
    product, gradient = CrossEntropy(10.0, 100.0, BF16, CUT, "", 8.0).input_grad()
    assert isinstance(product, Gemm)
    assert product.work().flops == 2.0 * 10 * 100 * 8
    assert (type(gradient), gradient.weight_grad()) == (CrossEntropy, ())


def test_methods_by_name() -> None:
    assert [named(text) for text in ("plain", "cut", "chunked", "chunked:8")] == [("plain", 0), ("cut", 0), ("chunked", 0), ("chunked", 8)]  # fmt: skip
    for text in ("chunkd", "fused:8", "chunked:0", "chunked:x", ""):
        with pytest.raises(SpecError, match=f"plan.loss={text}: must be one of plain, gathered, fused, chunked, cut"):
            named(text)
