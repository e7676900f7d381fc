"""Rows copied into expert order, and the experts' outputs brought back, weighted and summed."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import torch

from simcost.measure import torch_ops as ops
from simcost.measure.kernels.kernel import Kernel
from simcost.measure.machine.target import Target
from simcost.measure.points.kernel_class import Numbers, Unit, Wanted, of_a_step
from simcost.measure.points.point import Kind
from simcost.measure.points.rounding import step_of, whole
from simcost.measure.points.sobol import log_between
from simcost.measure.timing.buffers import TYPES, Bench, error, some, tolerance
from simcost.ops.permute import Permute
from simcost.ops.work import Op

Tensor = torch.Tensor
LIGHT = True
STAGES = {"": 3}


def build(op: Op, bench: Bench, copies: int) -> Kernel:
    """index_select of rows into expert order, or with `op.combine` the way back: select, weight, sum. fp8 rows are moved as
    bytes."""
    assert isinstance(op, Permute)
    tokens, rows, width = (int(float(v)) for v in (op.tokens, op.copies, op.width))
    name = op.x.name
    if op.combine:
        return _combine(tokens, rows, width, name, bench, copies)
    plain = torch.uint8 if TYPES[name].itemsize == 1 else TYPES[name]  # fp8 rows are moved as bytes
    sets = [(bench.take((tokens, width), name).view(plain), bench.shuffled(rows) % tokens) for _ in range(copies)]
    calls = [partial(torch.index_select, x, 0, index) for x, index in sets]

    def wrong() -> float:
        x, index = sets[0]
        r = some(rows, 64, bench.device)
        return error(calls[0]()[r], torch.stack([x[i] for i in index[r].tolist()]))

    return Kernel(calls, wrong, tolerance(name), "index_select")


def _combine(tokens: int, rows: int, width: int, name: str, bench: Bench, copies: int) -> Kernel:
    def one() -> tuple[Tensor, Tensor, Tensor]:
        gates = bench.uniform((tokens, rows // tokens))
        return bench.take((rows, width), name), bench.shuffled(rows), gates

    sets = [one() for _ in range(copies)]
    calls = [partial(ops.unpermute, *given) for given in sets]

    def wrong() -> float:
        y, back, gates = sets[0]
        t = some(tokens, 32, bench.device)
        mine = y[back.view(tokens, -1)[t]].double()
        return error(calls[0]()[t], (mine * gates[t].unsqueeze(-1).double()).sum(1))

    return Kernel(calls, wrong, tolerance(name), "index_select + weighted sum")


def kinds(format_: str, target: Target) -> list[Wanted]:
    """Both ways in the formats of a step; to the experts in fp8 too."""
    if format_ in ("fp8", "fp8_block"):
        return [({"what": "permute", "x": format_}, 0.5)]
    x = of_a_step(format_, target)
    return [] if x is None else [({"what": what, "x": x}, 0.25) for what in ("permute", "combine")]


def draw(kind: Kind, u: Unit, large: bool) -> Mapping[str, float]:
    """Tokens, one to eight copies of each, and their width."""
    tokens = round(log_between(u[0], 1.0, 8192.0 if large else 2048.0))
    return {
        "tokens": tokens,
        "copies": tokens * round(log_between(u[1], 1.0, 8.0)),
        "width": log_between(u[2], 512.0, 8192.0),
    }


def rounded(kind: Kind, x: Numbers) -> tuple[int, ...]:
    """Whole copies of every token; widths in the multiples that the format wants."""
    tokens = whole(x["tokens"])
    return tokens, tokens * whole(x["copies"] / tokens), whole(x["width"], step_of(kind))
