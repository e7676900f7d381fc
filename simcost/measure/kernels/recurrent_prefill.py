"""Recurrent cores over prompts, in chunks of plain torch operators."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import torch

from simcost.measure import torch_recurrent as torch_rec
from simcost.measure.kernels.kernel import Kernel
from simcost.measure.machine.target import Target
from simcost.measure.points.kernel_class import Numbers, Unit, Wanted, of_a_step
from simcost.measure.points.point import Kind
from simcost.measure.points.rounding import whole
from simcost.measure.points.sobol import log_between, one_of
from simcost.measure.timing.buffers import TYPES, Bench, error, tolerance
from simcost.ops.recurrent import RULES, RecurrentCore
from simcost.ops.work import Op

LIGHT = True
STAGES = {"": 5}
_CHECKED = 128  # tokens that a check goes through one by one
_RULES = ("gated_delta", "ssd")  # what models of the day run, of those whose chunks are products


def inputs(op: RecurrentCore, bench: Bench) -> torch_rec.Inputs:
    """Random tokens of an op: keys of length one, decays that keep a state's size."""
    batch, tokens, heads, key_heads, d_k, d_v = (
        int(float(v)) for v in (op.batch, op.q_len, op.heads, op.key_heads, op.d_k, op.d_v)
    )
    x = op.x.name
    key_shape = (batch, tokens, key_heads, d_k)
    k = bench.take(key_shape, x)
    k = k / k.norm(dim=-1, keepdim=True)
    decay_shape = (batch, tokens, heads, d_k) if op.rule in ("kda", "selective_scan") else (batch, tokens, heads)
    decay = -0.05 * bench.uniform(decay_shape).to(TYPES[x])
    gate = bench.take((batch, tokens, heads, d_v), x) if op.rule == "selective_scan" else None
    weight = 0.5 * bench.uniform((batch, tokens, heads)).to(TYPES[x])
    return torch_rec.Inputs(
        bench.take(key_shape, x), k, bench.take((batch, tokens, heads, d_v), x), decay, weight, gate
    )


def states(op: RecurrentCore, bench: Bench) -> torch.Tensor:
    """Random states of an op."""
    size = tuple(int(float(v)) for v in (op.batch, op.heads, op.d_k, op.d_v))
    return bench.take(size, op.state.name)


def build(op: Op, bench: Bench, copies: int) -> Kernel:
    """Chunks of `op.chunk` tokens; a selective scan elementwise, over spans of tokens that double."""
    assert isinstance(op, RecurrentCore)
    size = int(float(op.chunk))
    sets = [(inputs(op, bench), states(op, bench)) for _ in range(copies)]
    calls = [partial(torch_rec.chunked, op.rule, x, state, size) for x, state in sets]

    def wrong() -> float:
        x, state = sets[0]
        few = x.at(0, _CHECKED)
        start = state.double()
        want = torch_rec.token_by_token(op.rule, few.double(), start.clone())
        return error(torch_rec.chunked(op.rule, few, start.float(), size), want)

    return Kernel(
        calls, wrong, tolerance(op.x.name), "torch products in chunks" if RULES[op.rule].products else "torch scan"
    )


def kinds(format_: str, target: Target) -> list[Wanted]:
    """The two common rules, in the formats of a step."""
    x = of_a_step(format_, target)
    return [] if x is None else [({"rule": rule, "x": x}, 0.25) for rule in _RULES]


def draw(kind: Kind, u: Unit, large: bool) -> Mapping[str, float]:
    """Heads of a rank, as wide as models have them: states of 128 x 128, Mamba-2's of 128 or 256 x 64."""
    most = 8192.0 if large else 512.0
    ssd = kind.table["rule"] == "ssd"
    return {
        "batch": log_between(u[0], 1.0, 8.0 if large else 2.0), "q_len": log_between(u[1], 16.0, most),
        "heads": log_between(u[2], 4.0, 128.0 if large else 16.0), "key_heads": 1.0 if ssd else one_of(u[3], (1.0, 2.0, 4.0)),
        "d_k": one_of(u[4], (128.0, 256.0)) if ssd else 128.0, "d_v": 64.0 if ssd else 128.0, "chunk": 64.0,
    }  # fmt: skip


def rounded(kind: Kind, x: Numbers) -> tuple[int, ...]:
    """Whole heads of values for each of keys, and more than one token."""
    key_heads = whole(x["key_heads"])
    heads = whole(x["heads"], key_heads)
    return (
        whole(x["batch"]), max(whole(x["q_len"]), 2), heads, key_heads, whole(x["d_k"]), whole(x["d_v"]), whole(x["chunk"]),
    )  # fmt: skip
