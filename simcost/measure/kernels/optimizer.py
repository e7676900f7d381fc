"""One AdamW step over one flat fp32 parameter, by torch's fused or its foreach form."""

from __future__ import annotations

from typing import Any

import torch

from simcost.measure.kernels.kernel import Kernel
from simcost.measure.timing.buffers import Bench, error, tolerance
from simcost.ops.stream import Stream
from simcost.ops.work import Op

_RATE, _BETAS, _EPSILON, _DECAY = 1e-4, (0.9, 0.999), 1e-8, 0.01


def build(op: Op, bench: Bench, copies: int) -> Kernel:
    """The `step` of AdamW on fp32 tensors of its own, fused or foreach as the op's name ends; its state exists before the first
    call."""
    assert isinstance(op, Stream)
    how, count = op.what.split()[-1], int(float(op.elements))  # "adamw fused"
    steps = [_adamw(how, count, bench) for _ in range(copies)]
    for one in steps:
        one.step()  # makes its state: a graph must not hold that
    return Kernel(
        [step.step for step in steps], lambda: _wrong(how, min(count, 4096), bench), tolerance("fp32"), f"AdamW {how}"
    )  # fmt: skip


def _adamw(how: str, count: int, bench: Bench) -> torch.optim.AdamW:
    """Its own copies: the step writes them."""
    parameter = bench.take((count,), "fp32").clone().requires_grad_()
    parameter.grad = bench.take((count,), "fp32").clone()
    form: dict[str, Any] = {"fused": True} if how == "fused" else {"foreach": True}
    return torch.optim.AdamW(
        [parameter], lr=_RATE, betas=_BETAS, eps=_EPSILON, weight_decay=_DECAY, capturable=bench.cuda, **form
    )


def _wrong(how: str, count: int, bench: Bench) -> float:
    """The first step's change against its closed form: decay, then the rate times the sign-like ratio."""
    step = _adamw(how, count, bench)
    parameter = step.param_groups[0]["params"][0]
    before, grad = parameter.detach().double(), parameter.grad.double()
    step.step()
    change = -_RATE * _DECAY * before - _RATE * grad / (grad.abs() + _EPSILON)
    return error(before + (parameter.detach().double() - before) / _RATE, before + change / _RATE)
