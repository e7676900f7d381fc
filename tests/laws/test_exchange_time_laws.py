"""Laws of exchanges by the best model: more tokens are not cheaper, and links and multiprocessors both bound what is borrowed."""

from __future__ import annotations

import numpy as np
import pytest
from lawkit import run

from simcost.cost import calibrated
from simcost.cost.cost import Cost, interval
from simcost.hardware import load as hardware
from simcost.num import Array
from simcost.ops.traffic import Traffic
from simcost.program import leaves

TOKENS = 2.0 ** np.arange(13)
WIDTH = {"dispatch": 7392.0, "combine": 14336.0}


def seconds(hw: str, mode: str, direction: str, group: float) -> Array:
    return np.asarray(cost(hw, mode, direction, group, TOKENS).seconds, np.float64)


def cost(hw: str, mode: str, direction: str, group: float, tokens: Array) -> Cost:
    """Eight experts a token, evenly over the ranks; nodes of eight but on a rack."""
    device = hardware.load(hw)
    nodes = float(device.nodes(group))
    near, far = (8.0 * (group - 1.0) / group, 0.0) if nodes == 1.0 else (7.0 / nodes, 8.0 * (nodes - 1.0) / nodes)
    sms = 20.0 if mode == "normal" else 1.0
    op = Traffic(tokens, WIDTH[direction], near, far, group, nodes, sms, mode, direction)
    return calibrated.model(device)(op)


@pytest.mark.parametrize("direction", ["dispatch", "combine"])
@pytest.mark.parametrize(("hw", "mode"), [
    ("h100", "low_latency"), ("h100", "normal"), ("h200", "low_latency"), ("h20", "low_latency"), ("h800", "normal"),
    ("b200", "low_latency"), ("b200", "normal"), ("b300", "low_latency"), ("gb200", "nvlink"), ("gb300", "nvlink"),
    ("mi300x", "low_latency"),
])  # fmt: skip
def test_more_tokens_are_not_cheaper(hw: str, mode: str, direction: str) -> None:
    for group in (2.0, 4.0, 8.0, 16.0, 32.0, 64.0):
        times = seconds(hw, mode, direction, group)
        # Normal kernels start alike, whatever they carry: their rows scatter by a few per cent there.
        assert np.all(times[1:] >= times[:-1] * 0.95), (group, np.round(times * 1e6, 1))


@pytest.mark.parametrize(("hw", "ep"), [("gb200", 64), ("h200", 8), ("h200", 64), ("b200", 8), ("h800", 64)])
def test_exchanges_of_a_larger_batch_take_no_less(hw: str, ep: int) -> None:
    def wire(batch: int) -> float:
        found = run("deepseek-v3", hw, True, {"batch": batch, "context": 4096}, {"plan.ep": ep})
        return sum(float(c.seconds) * n for _, call, c, n in leaves(found.priced) if call.op.family == "exchange")

    times = np.asarray([wire(ep * 2**k // 2) for k in range(9)])
    assert np.all(times[1:] >= times[:-1] * 0.95), np.round(times * 1e3, 2)


def test_low_latency_kernels_are_bound_by_multiprocessors_and_by_the_link() -> None:
    """H20 has H200's link and 78 of its 132 multiprocessors: published (deepseek-ai/DeepEP issue 303) 222 us a pair, by events
    around both kernels. H800 has all of them and 200 of 450 GB/s: 77 and 114."""
    tokens = np.asarray([128.0])
    costs = {hw: [cost(hw, "low_latency", d, 8.0, tokens) for d in WIDTH] for hw in ("h200", "h20", "h800")}
    pair = {hw: float(sum(one.seconds for one in both)[0]) for hw, both in costs.items()}
    assert pair["h20"] > 1.4 * pair["h200"]
    assert interval(costs["h20"][0] + costs["h20"][1])[1] > 222e-6
    assert pair["h800"] == pytest.approx(191e-6, rel=0.15)
