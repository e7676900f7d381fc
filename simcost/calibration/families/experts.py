"""The experts of a MoE layer as engines run and time them: permute, gate and up, activation, down, combine, with the
quantisation in between; without router, exchange and shared experts.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from simcost.calibration.columns import COMPUTE, Column, W, Word, X
from simcost.calibration.families.gemm import beside_bucket, bucket, padding
from simcost.calibration.family import Labels, Numbers, kernel_terms
from simcost.calibration.form import Terms
from simcost.dtypes import dtype
from simcost.hardware.profile import Device
from simcost.num import Array, Mask, Num
from simcost.ops.fused import Fused
from simcost.ops.grouped_gemm import GroupedGemm
from simcost.ops.permute import Permute
from simcost.ops.stream import Stream
from simcost.ops.work import Op

COLUMNS = {
    "tokens": Column("tokens that enter", "count"),
    "copies": Column("(token, expert) pairs that the rank computes", "count"),
    "touched": Column("experts that get a token", "count", whole=False),
    "experts": Column("experts that the rank holds", "count"),
    "hidden": Column("width of a token", "elements"),
    "width": Column("width of an expert", "elements"),
    "load": Column("tokens of the busiest expert over the mean", "ratio", whole=False),
}
WORDS = {"x": X, "w": W, "compute": COMPUTE, "gated": Word("whether there is a gate", ("gated", "plain"))}
NUMBERS = tuple(COLUMNS)
LABELS = tuple(WORDS)
LADDERS = ("tokens",)
SIZES = ("rows_per_expert", "hidden", "width")
LENGTHS = None
STAND_IN = 0.40
EFFICIENCY = "gemm_efficiency"  # of the profile, by which another device's rows are carried over
EXACT = False  # rows of one layer and token count differ in their routing

edge, beside = bucket, beside_bucket
BESIDE = (0, 5)


def op(numbers: Numbers, labels: Labels) -> Op:
    """All passes and products of a row, in running order; it quantises before each product where `compute` is narrower than `x`."""
    x, w, compute = (dtype(labels[name], name) for name in LABELS[:3])
    gated = labels["gated"] == "gated"
    tokens, copies, touched, experts, hidden, width, load = (numbers[name] for name in NUMBERS)
    narrow = compute if compute.bits < x.bits else x
    parts: list[Op] = [Permute(tokens, copies, hidden, narrow)]
    if narrow is not x:
        parts.insert(0, Stream("quantise", tokens * hidden, 1.0, 1.0, 3.0, x, narrow))
    up = width * (2.0 if gated else 1.0)
    parts.append(GroupedGemm(copies, touched, up, hidden, narrow, w, x, compute, held=experts, load=load))
    parts.append(Stream("activation", copies * width, 2.0 if gated else 1.0, 1.0, 5.0, x, x))
    if narrow is not x:
        parts.append(Stream("quantise", copies * width, 1.0, 1.0, 3.0, x, narrow))
    parts.append(GroupedGemm(copies, touched, hidden, width, narrow, w, x, compute, held=experts, load=load))
    parts.append(Permute(tokens, copies, hidden, x, combine=True))
    return Fused("experts", tuple(parts))


def _gemms(op: Op) -> tuple[GroupedGemm, GroupedGemm]:
    assert isinstance(op, Fused)
    up, down = (part for part in op.parts if isinstance(part, GroupedGemm))
    return up, down


def _permute(op: Op) -> Permute:
    assert isinstance(op, Fused)
    return next(part for part in op.parts if isinstance(part, Permute))


def labels(op: Op) -> Labels | None:
    """`x` is the output format of the first product. Forward only, and not where a pass of its own unpacks the weights."""
    if not isinstance(op, Fused) or op.kernel != "experts" or op.gradient:
        return None
    up, down = _gemms(op)
    if up.unpacked:
        return None
    gated = "gated" if np.all(np.asarray(up.n) > np.asarray(down.k)) else "plain"
    return {"x": up.out.name, "w": up.w.name, "compute": up.compute.name, "gated": gated}


def covers(op: Op) -> Mask:
    """Every whole expert layer."""
    return True


def relatives(labels: Labels) -> list[Labels]:
    """The gated kernel for the plain one; the arithmetic format's own weights; fp8 for its block form."""
    found: list[Labels] = []
    if labels["gated"] == "plain":
        found.append({**labels, "gated": "gated"})
    if labels["w"] != labels["compute"]:
        found.append({**labels, "w": labels["compute"], "gated": "gated"})
    if labels["compute"] in ("fp8", "fp8_block"):
        other = "fp8" if labels["compute"] == "fp8_block" else "fp8_block"
        found.append({**labels, "w": other, "compute": other, "gated": "gated"})
    return found


def numbers(op: Op) -> Mapping[str, Num]:
    """Tokens of the permute; copies, experts, load and widths of the products."""
    up, down = _gemms(op)
    return {
        "tokens": _permute(op).tokens, "copies": up.rows, "touched": up.experts, "experts": up.held,
        "hidden": up.k, "width": down.k,
        "load": up.load,
    }  # fmt: skip


def terms(op: Op, device: Device) -> Terms:
    """The passes between the products hide nothing."""
    up, down = _gemms(op)
    work = up.work() + down.work()
    return kernel_terms(op, device, work, op.work().bytes - work.bytes, (up.rows / up.experts, up.k, down.k))


def features(op: Op) -> tuple[Num, ...]:
    """Rows an expert, experts, the two widths, skew, padding of the rows per expert."""
    up, down = _gemms(op)
    rows = up.rows / up.experts
    return (np.log(rows), np.log(up.experts), np.log(up.k), np.log(down.k), np.log(up.load), padding(rows))


def padded(op: Op) -> Num:
    """Rows an expert, which fill buckets."""
    up, _ = _gemms(op)
    return up.rows / up.experts


def site(op: Op) -> tuple[Num, ...]:
    """A layer's experts and top-k, and the tokens that reach it."""
    up, down = _gemms(op)
    tokens = _permute(op).tokens
    return (up.rows / tokens, up.held, up.k, down.k, np.log(tokens))


def part(numbers: Mapping[str, Array]) -> Array:
    """The model of a row: its widths, experts and top-k, as one number."""
    top_k = np.round(numbers["copies"] / numbers["tokens"], 6)
    # Irrational weights: no two models of whole numbers meet.
    return np.asarray(numbers["hidden"] * np.sqrt(2.0) + numbers["experts"] * np.sqrt(3.0) + top_k * np.sqrt(5.0))
