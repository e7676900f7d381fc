"""Scores, group limit, top-k and normalised weights from fp32 logits."""

from __future__ import annotations

from functools import partial

import torch

from simcost.measure import torch_ops as ops
from simcost.measure.kernels.kernel import Kernel
from simcost.measure.timing.buffers import Bench, error, some, tolerance
from simcost.ops.router import Router
from simcost.ops.work import Op


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
