"""Scores, group limit, top-k and normalised weights from fp32 logits."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import torch

from simcost.measure import torch_ops as ops
from simcost.measure.kernels.kernel import Kernel
from simcost.measure.machine.target import Target
from simcost.measure.points.kernel_class import Numbers, Unit, Wanted
from simcost.measure.points.point import Kind
from simcost.measure.points.rounding import whole
from simcost.measure.points.sobol import log_between
from simcost.measure.timing.buffers import Bench, error, some, tolerance
from simcost.ops.router import Router
from simcost.ops.work import Op

LIGHT = True
STAGES = {"softmax": 3, "sigmoid": 4}


def build(op: Op, bench: Bench, copies: int) -> Kernel:
    """`torch_ops.route` from fp32 logits; sigmoid scores come with a bias on the choice."""
    assert isinstance(op, Router)
    tokens, experts, top_k, groups, opened = (
        int(float(v)) for v in (op.tokens, op.experts, op.top_k, op.groups, op.topk_groups)
    )
    bias = bench.uniform((experts,)) * 0.01 if op.scoring == "sigmoid" else None
    logits = [bench.take((tokens, experts), "fp32") for _ in range(copies)]
    calls = [partial(ops.route, x, top_k, op.scoring, groups, opened, bias) for x in logits]

    def wrong() -> float:
        """Weights of the chosen experts in fp64; how far the choice falls short of the best one; whether it keeps its limit.
        Experts whose scores are equal to the last bits may change places: what they score is judged, not which they are."""
        r = some(tokens, 64, bench.device)
        weights, chosen = (part[r] for part in calls[0]())
        scores = logits[0][r].double()
        scores = torch.softmax(scores, -1) if op.scoring == "softmax" else torch.sigmoid(scores)
        want = scores.gather(1, chosen)
        judged = scores if bias is None else scores + bias.double()
        used = torch.zeros(len(r), groups, device=bench.device).scatter(1, chosen // (experts // groups), 1.0)
        if bool((used.sum(1) > opened).any()):
            return float("inf")
        mine, best = judged.gather(1, chosen).sum(-1), judged.topk(top_k, -1).values.sum(-1)
        short = 0.0 if groups > 1 else error(mine, best)
        return max(error(weights, want / want.sum(-1, keepdim=True)), short)

    return Kernel(calls, wrong, tolerance("fp32"), "torch topk")


def kinds(format_: str, target: Target) -> list[Wanted]:
    """Once: scores are fp32 whatever the format of the model."""
    return [({"scoring": scoring}, 0.4) for scoring in ("softmax", "sigmoid")] if format_ == target.main else []


def draw(kind: Kind, u: Unit, large: bool) -> Mapping[str, float]:
    """Up to 512 experts, half of the large ones of sigmoid routers in groups."""
    experts, top_k = log_between(u[1], 8.0, 512.0), log_between(u[2], 1.0, 8.0)
    limited = kind.table["scoring"] == "sigmoid" and u[3] > 0.5 and experts > 64.0
    groups, opened = (8.0, 4.0) if limited else (1.0, 1.0)
    tokens = log_between(u[0], 1.0, 16384.0 if large else 4096.0)
    return {"tokens": tokens, "experts": experts, "top_k": top_k, "groups": groups, "topk_groups": opened}


def rounded(kind: Kind, x: Numbers) -> tuple[int, ...]:
    """Whole groups; no more experts for a token than its groups hold."""
    groups = whole(x["groups"])
    experts = whole(x["experts"], groups)
    open_groups = min(whole(x["topk_groups"]), groups)
    return whole(x["tokens"]), experts, min(whole(x["top_k"]), experts * open_groups // groups), groups, open_groups
