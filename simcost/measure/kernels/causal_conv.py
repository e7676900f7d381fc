"""The causal convolution before a recurrent core, with its activation: torch's depthwise conv1d, and a weighted sum for one token."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from simcost.measure.kernels.kernel import Kernel
from simcost.measure.machine.target import Target
from simcost.measure.points.kernel_class import Numbers, Unit, Wanted, of_a_step
from simcost.measure.points.point import Kind
from simcost.measure.points.rounding import whole
from simcost.measure.points.sobol import log_between
from simcost.measure.timing.buffers import Bench, error, tolerance
from simcost.measure.timing.cpu import Call
from simcost.measure.torch_recurrent import convolved
from simcost.ops.recurrent import CausalConv
from simcost.ops.work import Op

LIGHT = True
STAGES = {"": 5}
Tensor = torch.Tensor


def build(op: Op, bench: Bench, copies: int) -> Kernel:
    """Channels [B, channels, tokens] after their cached columns, which are replaced by the last ones."""
    assert isinstance(op, CausalConv)
    batch, tokens, channels, width = (int(float(v)) for v in (op.batch, op.q_len, op.channels, op.width))
    sets = [
        (bench.take((batch, channels, tokens), op.x.name), bench.take((batch, channels, width - 1), op.state.name),
         bench.take((channels, width), op.x.name))
        for _ in range(copies)
    ]  # fmt: skip

    def call(x: Tensor, columns: Tensor, weight: Tensor) -> Call:
        return lambda: _convolved(x, columns, weight)

    def wrong() -> float:
        x, columns, weight = sets[0]
        want = _convolved(x.double(), columns.double(), weight.double())
        return error(_convolved(x, columns.clone(), weight), want)

    return Kernel([call(*one) for one in sets], wrong, tolerance(op.x.name), "conv1d and silu")


def _convolved(x: Tensor, columns: Tensor, weight: Tensor) -> Tensor:
    out, last = convolved(x, columns, weight)
    columns.copy_(last)
    return torch.nn.functional.silu(out)


def kinds(format_: str, target: Target) -> list[Wanted]:
    """Once in the formats of a step."""
    x = of_a_step(format_, target)
    return [] if x is None else [({"x": x, "state": x}, 0.25)]


def draw(kind: Kind, u: Unit, large: bool) -> Mapping[str, float]:
    """Every third point is of one token a sequence."""
    tokens = 1.0 if u[3] < 1.0 / 3.0 else log_between(u[1], 2.0, 8192.0 if large else 512.0)
    return {
        "batch": log_between(u[0], 1.0, 256.0 if tokens == 1.0 else 8.0), "q_len": tokens,
        "channels": log_between(u[2], 512.0, 16384.0 if large else 4096.0), "width": 4.0,
    }  # fmt: skip


def rounded(kind: Kind, x: Numbers) -> tuple[int, ...]:
    """Channels in multiples of 8."""
    return whole(x["batch"]), whole(x["q_len"]), whole(x["channels"], 8), max(whole(x["width"]), 2)
