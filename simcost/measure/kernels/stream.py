"""Elementwise kernels as plain torch runs them: each operator by itself, or the few that make up the named step.

A row is as wide as the largest power of two up to 4096 that divides the elements: the op does not say. Most likely to be
wrong: rope and normalisation with a residual are several operators here and one kernel in an engine.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch

from simcost.measure import torch_ops as ops
from simcost.measure.kernels import optimizer
from simcost.measure.kernels.kernel import Kernel
from simcost.measure.kernels.quantise import GROUP, cast_groups, cast_tensor
from simcost.measure.machine.target import Target
from simcost.measure.points.kernel_class import Numbers, Unit, Wanted, by_blocks, of_a_step
from simcost.measure.points.point import Kind
from simcost.measure.points.rounding import row_width, whole
from simcost.measure.points.sobol import log_between, one_of
from simcost.measure.timing.buffers import Bench, error, tolerance
from simcost.measure.timing.cpu import Call
from simcost.ops.stream import Stream
from simcost.ops.work import Op

Tensor = torch.Tensor
Step = tuple[Call, Callable[[], Tensor], Callable[[], Tensor]]  # the call, its result, the result in fp64
_HEAD = 128  # width of a head for rope and the cache
_ROUNDING = 0.05  # three bits of mantissa leave 2 to 3 per cent
LIGHT = True
STAGES = {"norm": 1, "activation": 1, "rope": 2, "cache_write": 2, "residual": 2}
_OF_A_STEP = ("norm", "rope", "activation", "residual", "cache_write", "sample", "copy")


def build(op: Op, bench: Bench, copies: int) -> Kernel:
    """The named elementwise step on tensors of `op.elements`; AdamW is built by `optimizer.build`. Raises KeyError for a name
    without a step."""
    assert isinstance(op, Stream)
    elements, what = int(float(op.elements)), op.what.replace(" ", "_")
    if what.startswith("adamw"):
        return optimizer.build(op, bench, copies)
    make, backend = _STEPS[what]
    steps = [make(op, bench, elements) for _ in range(copies)]
    _, got, want = steps[0]
    allowed = _ROUNDING if what == "quantise" else tolerance(op.out.name)
    return Kernel([step[0] for step in steps], lambda: error(got(), want()), allowed, backend)


def _rows(bench: Bench, elements: int, name: str, width: int = 0) -> Tensor:
    width = width or row_width(elements)
    return bench.take((elements // width, width), name)


def _norm(op: Stream, bench: Bench, elements: int) -> Step:
    """Reads x, or x and the residual; writes the normed rows, or these and the sum."""
    x = _rows(bench, elements, op.x.name)
    weight = bench.take((x.shape[1],), op.x.name)
    other = _rows(bench, elements, op.x.name) if float(op.reads) > 1 else None

    def call() -> Tensor:
        return ops.norm(x if other is None else x + other, weight, None, False)

    def want() -> Tensor:
        y = x.double() if other is None else (x + other).double()
        return y * torch.rsqrt(y.square().mean(-1, keepdim=True) + 1e-5) * weight.double()

    return call, call, want


def _rope(op: Stream, bench: Bench, elements: int) -> Step:
    heads = math.gcd(elements // _HEAD, 32)
    tokens = elements // _HEAD // heads
    x = bench.take((tokens, heads, _HEAD), op.x.name)
    cos, sin = ops.rope_tables(min(tokens, 4096), _HEAD, bench.device, x.dtype)
    cos, sin = (table.repeat(-(-tokens // len(table)), 1, 1)[:tokens] for table in (cos, sin))
    call = partial(ops.rope, x, cos, sin)
    return call, call, lambda: ops.rope(x.double(), cos.double(), sin.double())


def _activation(op: Stream, bench: Bench, elements: int) -> Step:
    gated = float(op.reads) > 1
    width = row_width(elements)
    x = bench.take((elements // width, width * (2 if gated else 1)), op.x.name)
    return (
        partial(ops.activation, x, gated),
        partial(ops.activation, x, gated),
        lambda: ops.activation(x.double(), gated),
    )


def _residual(op: Stream, bench: Bench, elements: int) -> Step:
    x, y = _rows(bench, elements, op.x.name), _rows(bench, elements, op.x.name)
    call = partial(torch.add, x, y)
    return call, call, lambda: x.double() + y.double()


def _cache_write(op: Stream, bench: Bench, elements: int) -> Step:
    """Rows of this step into random slots of a cache four times as long."""
    x = _rows(bench, elements, op.x.name, _HEAD)
    cache = torch.zeros(4 * len(x), _HEAD, dtype=x.dtype, device=bench.device)
    slots = bench.shuffled(len(cache))[: len(x)]
    call = partial(cache.index_copy_, 0, slots, x)

    def result() -> Tensor:
        cache.index_copy_(0, slots, x)
        return cache[slots]

    return call, result, lambda: x.double()


def _sample(op: Stream, bench: Bench, elements: int) -> Step:
    """Softmax over a row of logits and the largest; rows as wide as a vocabulary, where there are so many."""
    width = next(w for w in (32768, 16384, 8192, 4096, 2048, 1024, 512, 256, 128) if elements >= w)
    x = bench.take((max(elements // width, 1), width), op.x.name)

    def call() -> Tensor:
        return torch.softmax(x, -1).max(-1).values

    return call, call, lambda: torch.softmax(x.double(), -1).max(-1).values


def _copy(op: Stream, bench: Bench, elements: int) -> Step:
    x = _rows(bench, elements, op.x.name)
    y = torch.zeros_like(x)
    call = partial(y.copy_, x)
    return call, call, lambda: x.double()


def _quantise(op: Stream, bench: Bench, elements: int) -> Step:
    x = _rows(bench, elements, op.x.name)
    by_group = op.out.name == "fp8_block"
    cast: Any = cast_groups if by_group else cast_tensor

    def result() -> Tensor:
        q, scale = cast(x)
        wide: Tensor = scale.repeat_interleave(GROUP, -1) if by_group else scale
        return torch.mul(q.double(), wide.double())

    return partial(cast, x), result, lambda: x.double()


_STEPS: dict[str, tuple[Callable[[Stream, Bench, int], Step], str]] = {
    "norm": (_norm, "rms_norm"),
    "rope": (_rope, "rope, four operators"),
    "activation": (_activation, "silu and product"),
    "residual": (_residual, "add"),
    "cache_write": (_cache_write, "index_copy_"),
    "sample": (_sample, "softmax and max"),
    "copy": (_copy, "copy_"),
    "quantise": (_quantise, "amax, divide, cast"),
}


def kinds(format_: str, target: Target) -> list[Wanted]:
    """All steps in the formats of a step; the casts that feed narrow products; AdamW, whose state is fp32, once."""
    found: list[Wanted] = []
    for name in ("fp8", "fp8_block"):
        if format_ == name or (name == "fp8_block" and by_blocks(format_, target)):
            found.append(({"what": "quantise", "x": "bf16", "out": name}, 0.5))
    x = of_a_step(format_, target)
    if x is None:
        return found
    found += [({"what": what, "x": x, "out": x}, 0.25) for what in _OF_A_STEP]
    if format_ in ("fp32", target.main):
        found += [({"what": f"adamw_{how}", "x": "fp32", "out": "fp32"}, 0.25) for how in ("fused", "foreach")]
    return found


# Tensors read and written and operations an element, as the ops of simcost/blocks have them; several where they differ.
_PASSES: Mapping[str, tuple[tuple[float, float, float], ...]] = {
    "norm": ((1.0, 1.0, 4.0), (2.0, 2.0, 5.0), (2.0, 1.0, 5.0)),
    "rope": ((1.0, 1.0, 3.0),),
    "activation": ((2.0, 1.0, 5.0), (1.0, 1.0, 5.0)),
    "residual": ((2.0, 1.0, 1.0),),
    "cache_write": ((1.0, 1.0, 0.0),),
    "sample": ((1.0, 0.0, 5.0),),
    "copy": ((1.0, 1.0, 0.0),),
    "quantise": ((1.0, 1.0, 3.0),),
    "adamw_fused": ((4.0, 3.0, 12.0),),
    "adamw_foreach": ((4.0, 3.0, 12.0),),
}


def draw(kind: Kind, u: Unit, large: bool) -> Mapping[str, float]:
    """Elements up to 32k tokens of width 8192."""
    what = kind.table["what"]
    options = _PASSES[what]
    reads, writes, flops = one_of(u[1], options)
    most = 268435456.0 if large else 16777216.0  # elements: a quarter of a billion is 32k tokens of width 8192
    least = 2048.0 if what == "sample" else 256.0
    return {"elements": log_between(u[0], least, most), "reads": reads, "writes": writes, "flops": flops}


def rounded(kind: Kind, x: Numbers) -> tuple[float, ...]:
    """Elements in multiples of 128."""
    return whole(x["elements"], 128), x["reads"], x["writes"], x["flops"]
