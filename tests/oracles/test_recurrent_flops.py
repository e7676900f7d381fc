"""Torch's counter of FLOPs over the plain chunk kernels, against the formulas of `ops/recurrent.py`."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from simcost.measure.torch_recurrent import Inputs, chunked
from simcost.ops.recurrent import RULES, Heads

BATCH, TOKENS, HEADS, D_K, D_V = 2, 256, 4, 16, 32


def inputs(rule: str, key_heads: int) -> Inputs:
    each = (BATCH, TOKENS)
    decay = (*each, HEADS, D_K) if rule == "kda" else (*each, HEADS)
    q, k = (torch.randn(*each, key_heads, D_K) / D_K for _ in range(2))
    return Inputs(q, k, torch.randn(*each, HEADS, D_V), -torch.rand(decay) / 8, torch.rand(*each, HEADS))


def counted(rule: str, key_heads: int, size: int) -> float:
    """FLOPs of matrix products for one token; a triangular solve is none."""
    state = torch.zeros(BATCH, HEADS, D_K, D_V)
    with FlopCounterMode(display=False) as counter:
        chunked(rule, inputs(rule, key_heads), state, size)
    return float(counter.get_total_flops()) / (BATCH * TOKENS)


@pytest.mark.parametrize("size", [16, 64, 128])
@pytest.mark.parametrize("key_heads", [1, 2, 4])
def test_chunks_of_mamba2_multiply_what_is_counted(key_heads: int, size: int) -> None:
    shape = Heads(HEADS, key_heads, D_K, D_V)
    passed_on = 2.0 * D_K * HEADS * D_V / size  # a kernel of its own carries the state; here the product does
    assert counted("ssd", key_heads, size) == pytest.approx(RULES["ssd"].chunked(shape, size) - passed_on)


@pytest.mark.parametrize("size", [16, 64, 128])
@pytest.mark.parametrize("rule", ["gated_delta", "kda"])
def test_chunks_of_delta_rules_multiply_what_is_counted(rule: str, size: int) -> None:
    shape = Heads(HEADS, HEADS, D_K, D_V)
    # Kernels invert the triangle and multiply keys and values by it, where torch solves for them.
    solved = HEADS * (2.0 * size * (D_K + D_V) + 2.0 / 3.0 * size**2)
    assert counted(rule, HEADS, size) == pytest.approx(RULES[rule].chunked(shape, size) - solved)


def test_lightning_is_the_causal_half_of_the_same_products() -> None:
    shape, size = Heads(HEADS, HEADS, D_K, D_V), 64
    whole = counted("ssd", HEADS, size)  # the plain kernel multiplies the masked half too
    half = HEADS * size * (D_K + D_V)
    assert RULES["lightning"].chunked(shape, size) == pytest.approx(whole - half)
