"""Cross entropy over a rank's part of the vocabulary: bytes of both ways to run it, and what stays for its gradient."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simcost.dtypes import dtype
from simcost.ops.cross_entropy import FUSED, PLAIN, CrossEntropy

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
