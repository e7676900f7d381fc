"""Buffers of exchanges: DeepEP's own formulas for NVLink and the network, and rows in memory."""

from __future__ import annotations

import numpy as np
import pytest

from simcost.ops.exchange import Exchange
from simcost.routing.router import Router, Routing

ROUTER = Router(256.0, 8.0)


def exchange(group: float, mode: str = "normal", tokens: float = 4096.0) -> Exchange:
    width = 2.0 * 7168.0
    return Exchange(tokens, tokens * group, width, group, 1.0, ROUTER, Routing("balanced"), mode, "combine")


@pytest.mark.parametrize(
    ("ranks", "received", "sent_far"),
    [(8, 256, 6), (16, 288, 20), (32, 288, 32), (64, 288, 28), (128, 560, 32), (144, 720, 12), (160, 720, 12)],
)
def test_buffers_are_those_of_deepep(ranks: int, received: int, sent_far: int) -> None:
    """csrc/config.hpp with the numbers of deep_ep/buffer.py: integers, step by step, of rows of 7,168 in 16 bits."""
    channels, hidden, meta, top_k, scales = 10, 2 * 7168, 8, 128, 128
    nodes, near = max(ranks // 8, 1), min(ranks, 8)
    row = hidden + meta + top_k * 8 + top_k * 4 + scales * 4
    nvl = channels * near * (2 * nodes + 3) * 4 + channels * near * received * row
    rdma = 0
    if ranks > 8:
        far = -(-128 // sent_far) * sent_far
        rdma = channels * nodes * (8 * 2 + 2) * 2 * 4 + channels * nodes * far * (row + 16) * 2 + 2**20
    assert float(exchange(float(ranks)).buffer_bytes()) == nvl + rdma


def test_buffers_do_not_depend_on_tokens_and_only_deepep_has_them() -> None:
    assert exchange(64.0, tokens=128.0).buffer_bytes() == exchange(64.0).buffer_bytes()
    assert exchange(64.0, "nccl").buffer_bytes() == 0.0
    assert float(exchange(1.0).buffer_bytes()) == 0.0
    many = exchange(np.array([1.0, 8.0, 48.0, 64.0, 512.0])).buffer_bytes()  # type: ignore[arg-type]
    assert np.all(np.diff(many) > 0.0)
    assert many[3] == float(exchange(64.0).buffer_bytes())


def test_rows_are_sent_once_a_token_or_once_an_expert() -> None:
    once, each = exchange(64.0), exchange(64.0, "nccl")
    assert once.sent_bytes() == 4096.0 * 2 * 7168
    assert each.sent_bytes() == 8.0 * once.sent_bytes()
    assert exchange(1.0).sent_bytes() == 0.0
