"""The causal convolution before a recurrent core, with its activation and its cached columns.

Most likely to be wrong: kernels for one token and for many differ, and stand on one curve.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from simcost.calibration.columns import Column, Word, X
from simcost.calibration.family import Labels, Numbers, kernel_terms
from simcost.calibration.form import Terms
from simcost.dtypes import dtype
from simcost.hardware.profile import Device
from simcost.num import Mask, Num, where
from simcost.ops.recurrent import CausalConv
from simcost.ops.work import Op

COLUMNS = {
    "batch": Column("sequences", "count"),
    "q_len": Column("new tokens of a sequence", "count"),
    "channels": Column("channels", "count"),
    "width": Column("tokens that a convolution sees", "count"),
}
WORDS = {"x": X, "state": Word("format of the cached columns")}
NUMBERS = tuple(COLUMNS)
LABELS = tuple(WORDS)
LADDERS = ("batch", "q_len")
ACROSS = 0  # sequences
LENGTHS = None


def op(numbers: Numbers, labels: Labels) -> Op:
    """The convolution of a row."""
    batch, q_len, channels, width = (numbers[name] for name in NUMBERS)
    return CausalConv(batch, q_len, channels, width, dtype(labels["x"], "x"), dtype(labels["state"], "state"))


def labels(op: Op) -> Labels | None:
    """Formats; forward only."""
    if not isinstance(op, CausalConv) or op.gradient:
        return None
    return {"x": op.x.name, "state": op.state.name}


def covers(op: Op) -> Mask:
    """Every convolution, of one token or of many."""
    return True


def relatives(labels: Labels) -> list[Labels]:
    """Other formats of the columns and of the channels."""
    swap = {"bf16": "fp16", "fp16": "bf16"}
    found: list[Labels] = [{**labels, "state": other} for other in ("bf16", "fp32") if other != labels["state"]]
    if labels["x"] in swap:
        found.append({name: swap.get(value, value) for name, value in labels.items()})
    return found


def numbers(op: Op) -> Mapping[str, Num]:
    """Channels of one rank."""
    assert isinstance(op, CausalConv)
    return {"batch": op.batch, "q_len": op.q_len, "channels": op.channels, "width": op.width}


def terms(op: Op, device: Device) -> Terms:
    """Arithmetic at the fp32 rate; no pass is serial, and no size counts."""
    return kernel_terms(op, device, op.work(), 0.0, ())


def features(op: Op) -> tuple[Num, ...]:
    """Elements of all tokens, and whether they are of one token a sequence."""
    assert isinstance(op, CausalConv)
    return (np.log(op.batch * op.q_len * op.channels), where(op.q_len <= 1.0, 1.0, 0.0) + 0.0 * op.batch)


def site(op: Op) -> tuple[Num, ...]:
    """Channels of a batch; the tokens run along it."""
    assert isinstance(op, CausalConv)
    return (op.batch, op.channels, op.width, np.log(op.q_len))
