"""Recurrent cores and causal convolutions, counted by hand, product by product."""

from __future__ import annotations

from dataclasses import replace

import pytest

from simcost.dtypes import dtype
from simcost.ops.recurrent import RULES, CausalConv, RecurrentCore
from simcost.ops.work import INPUT

BF16, FP32 = dtype("bf16"), dtype("fp32")
H, G, K, V, C = 6.0, 2.0, 16.0, 32.0, 64.0  # heads, key heads, d_k, d_v, tokens of a chunk
CONV = CausalConv(3.0, 5.0, 8.0, 4.0, BF16, FP32)


def core(rule: str, q_len: float = 10.0) -> RecurrentCore:
    return RecurrentCore(rule, 3.0, q_len, H, G, K, V, C, BF16, FP32)


# One token, over the H·K·V elements of its states. Decay, two products with the state (prediction and output), the outer product: 7; without the
# prediction 5; Mamba-2's step size beside it 6; Mamba's own decay of each element 9.
STEP = {"gated_delta": 7.0, "kda": 7.0, "ssd": 6.0, "selective_scan": 9.0, "lightning": 5.0}
GATES = {"gated_delta": 2 * H, "kda": H * (K + 1), "ssd": H, "selective_scan": 2 * H, "lightning": 0.0}


def product(m: float, n: float, k: float) -> float:
    return 2.0 * m * n * k


# A chunk of C tokens as products of matrices, per head unless said.
CHUNK = {
    # K·Kᵀ, the triangle's inverse, it by K and by V, Q·Kᵀ, scores by V; Q·S, K·S, Kᵀ·V.
    "gated_delta": H * (3 * product(C, C, K) + 2 * product(C, C, V) + 2.0 / 3.0 * C**3 + 3 * product(C, K, V)),
    # Scores of a group of heads, by V; Q·S, Kᵀ·V; a state to the next chunk.
    "ssd": G * product(C, C, K) + H * (product(C, C, V) + 2 * product(C, K, V) + 2.0 * K * V),
    # Half of both squares; Q·S and Kᵀ·V.
    "lightning": H * (0.5 * (product(C, C, K) + product(C, C, V)) + 2 * product(C, K, V)),
}
CHUNK["kda"] = CHUNK["gated_delta"]


def test_every_rule_is_counted_here() -> None:
    assert set(RULES) == set(STEP) == set(GATES) == {*CHUNK, "selective_scan"}


@pytest.mark.parametrize("rule", sorted(RULES))
def test_operations_of_a_step_and_of_chunks(rule: str) -> None:
    assert core(rule, 1.0).flops() == 3 * STEP[rule] * H * K * V
    tokens = 3.0 * 10.0
    each = CHUNK[rule] / C if rule in CHUNK else STEP[rule] * H * K * V
    assert core(rule).flops() == pytest.approx(tokens * each, rel=1e-12)


@pytest.mark.parametrize("rule", sorted(RULES))
def test_inputs_and_states_come_in_outputs_and_states_go_out(rule: str) -> None:
    """bf16 queries and keys of G heads, values of H and the gates; one fp32 state a sequence, whatever the tokens."""
    entering, leaving = 30 * (2 * G * K + H * V + GATES[rule]) * 2, 30 * H * V * 2
    state = 3 * H * K * V * 4
    op, work = core(rule), core(rule).work()
    assert (work.bytes_read, work.bytes_written) == (entering + state, leaving + state)
    assert (op.workspace_bytes(), op.saved_bytes()) == (entering + leaving, entering)
    (grad,) = op.input_grad()
    back = grad.work()
    assert grad.gradient == INPUT
    assert back.flops == 3.0 * work.flops
    assert (back.bytes_read, back.bytes_written) == (entering + leaving + state, entering + state)
    assert grad.workspace_bytes() == 2.0 * op.workspace_bytes()
    assert op.weight_grad() == ()


def test_chunks_of_all_rules_but_mamba_are_products() -> None:
    assert {name: core(name).peak for name in RULES} == {
        "gated_delta": "bf16", "kda": "bf16", "ssd": "bf16", "lightning": "bf16", "selective_scan": "vector",
    }  # fmt: skip


def test_a_convolution_of_four_tokens() -> None:
    """120 elements: four multiply-adds, and five operations of the activation; three columns of eight channels a sequence in fp32."""
    elements, state = 3 * 5 * 8, 3 * 8 * 3 * 4
    work = CONV.work()
    assert work.flops == elements * (2 * 4 + 5)
    assert (work.bytes_read, work.bytes_written) == (elements * 2 + state, elements * 2 + state)
    assert (CONV.workspace_bytes(), CONV.saved_bytes()) == (2 * elements * 2, elements * 2)
    (grad,) = CONV.input_grad()
    back = grad.work()
    assert (back.flops, back.bytes_read, back.bytes_written) == (2 * work.flops, 2 * elements * 2, elements * 2)
    assert CONV.weight_grad() == ()
    assert replace(CONV, width=1.0).work().bytes_read == elements * 2  # no column stays
    assert CONV.peak == "vector"
