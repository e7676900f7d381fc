"""The best keys of each query, by torch's top-k."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import torch

from simcost.measure.kernels.kernel import Kernel
from simcost.measure.machine.target import Target
from simcost.measure.points.kernel_class import Numbers, Unit, Wanted
from simcost.measure.points.point import Kind
from simcost.measure.points.rounding import whole
from simcost.measure.points.sobol import log_between
from simcost.measure.timing.buffers import Bench, error, tolerance
from simcost.ops.index_scores import IndexTopK
from simcost.ops.work import Op

LIGHT = True
STAGES = {"": 7}


def build(op: Op, bench: Bench, copies: int) -> Kernel:
    """Scores of all keys of a row; of fewer than `top_k` all are picked."""
    assert isinstance(op, IndexTopK)
    batch, queries, past, top_k = (int(float(v)) for v in (op.batch, op.q_len, op.past, op.top_k))
    keys = past + queries
    scores = [bench.take((batch * queries, keys), "fp32") for _ in range(copies)]
    picked = min(top_k, keys)
    calls = [partial(torch.topk, x, picked, dim=-1, sorted=False) for x in scores]

    def wrong() -> float:
        got = calls[0]().values.sort(-1).values
        return error(got, scores[0].double().sort(-1).values[:, keys - picked :])

    return Kernel(calls, wrong, tolerance("fp32"), "torch topk")


def kinds(format_: str, target: Target) -> list[Wanted]:
    """Once: scores are fp32 whatever the format of the model."""
    return [({"x": "fp32"}, 0.4)] if format_ == target.main else []


def draw(kind: Kind, u: Unit, large: bool) -> Mapping[str, float]:
    """Every second point of one query a sequence; 2,048 picks, as DeepSeek-V3.2's."""
    one = u[3] < 0.5
    return {
        "batch": log_between(u[0], 1.0, 64.0 if one else 2.0), "q_len": 1.0 if one else log_between(u[1], 2.0, 1024.0 if large else 64.0),
        "past": log_between(u[2], 2048.0, 65536.0 if large else 8192.0), "top_k": 2048.0,
    }  # fmt: skip


def rounded(kind: Kind, x: Numbers) -> tuple[int, ...]:
    """Whole numbers."""
    return whole(x["batch"]), whole(x["q_len"]), max(round(x["past"]), 0), whole(x["top_k"])
