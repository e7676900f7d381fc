"""Recurrent cores with one token a sequence, in plain torch operators over the states."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

from simcost.measure import torch_recurrent as torch_rec
from simcost.measure.kernels import recurrent_prefill as prefill
from simcost.measure.kernels.kernel import Kernel
from simcost.measure.machine.target import Target
from simcost.measure.points.kernel_class import Numbers, Unit, Wanted, of_a_step
from simcost.measure.points.point import Kind
from simcost.measure.points.rounding import whole
from simcost.measure.points.sobol import log_between, one_of
from simcost.measure.timing.buffers import Bench, error, tolerance
from simcost.ops.recurrent import RecurrentCore
from simcost.ops.work import Op

LIGHT = True
STAGES = {"": 6}
_RULES = ("gated_delta", "ssd", "selective_scan")


def build(op: Op, bench: Bench, copies: int) -> Kernel:
    """One step on states of its own for each copy; it changes them."""
    assert isinstance(op, RecurrentCore)
    one = replace(op, q_len=1.0)
    sets = [(prefill.inputs(one, bench), prefill.states(one, bench)) for _ in range(copies)]
    calls = [partial(torch_rec.step, op.rule, x, state) for x, state in sets]

    def wrong() -> float:
        x, state = sets[0]
        before = state.clone()
        got = torch_rec.step(op.rule, x, state)
        return error(got, torch_rec.step(op.rule, x.double(), before.double()))

    return Kernel(calls, wrong, tolerance(op.x.name), "torch operators")


def kinds(format_: str, target: Target) -> list[Wanted]:
    """The rules that differ in what moves, in the formats of a step, over fp32 states."""
    x = of_a_step(format_, target)
    return [] if x is None else [({"rule": rule, "x": x, "state": "fp32"}, 0.25) for rule in _RULES]


def draw(kind: Kind, u: Unit, large: bool) -> Mapping[str, float]:
    """Heads of a rank; a channel of Mamba-1 is a head of width 1."""
    rule = kind.table["rule"]
    batch = log_between(u[0], 1.0, 512.0 if large else 32.0)
    if rule == "selective_scan":
        return {"batch": batch, "heads": log_between(u[1], 512.0, 16384.0), "key_heads": 1.0, "d_k": 16.0, "d_v": 1.0}
    ssd = rule == "ssd"
    return {
        "batch": batch, "heads": log_between(u[1], 4.0, 128.0 if large else 64.0), "key_heads": 1.0 if ssd else one_of(u[2], (1.0, 2.0, 4.0)),
        "d_k": one_of(u[3], (128.0, 256.0)) if ssd else 128.0, "d_v": 64.0 if ssd else 128.0,
    }  # fmt: skip


def rounded(kind: Kind, x: Numbers) -> tuple[int, ...]:
    """Whole heads of values for each of keys."""
    key_heads = whole(x["key_heads"])
    return whole(x["batch"]), whole(x["heads"], key_heads), key_heads, whole(x["d_k"]), whole(x["d_v"])
