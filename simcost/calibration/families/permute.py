"""Token copies to their experts ("permute") and back, weighted and summed ("combine"). Most likely to be wrong: rows
that lie together are cheaper to gather than measured ones, which are random."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from simcost.calibration.columns import Column, Word, X
from simcost.calibration.family import Labels, Numbers, kernel_terms
from simcost.calibration.form import Terms
from simcost.dtypes import dtype
from simcost.hardware.profile import Device
from simcost.num import Mask, Num
from simcost.ops.permute import Permute
from simcost.ops.work import Op

COLUMNS = {
    "tokens": Column("tokens", "count"),
    "copies": Column("(token, expert) pairs", "count"),
    "width": Column("width of a token", "elements"),
}
WORDS = {"what": Word("to the experts or back", ("permute", "combine")), "x": X}
NUMBERS = tuple(COLUMNS)
LABELS = tuple(WORDS)
LENGTHS = None


def op(numbers: Numbers, labels: Labels) -> Op:
    """The permute or the combine of a row."""
    tokens, copies, width = (numbers[name] for name in NUMBERS)
    return Permute(tokens, copies, width, dtype(labels["x"], "x"), labels["what"] == "combine")


def labels(op: Op) -> Labels | None:
    """Direction and format; forward only."""
    if not isinstance(op, Permute) or op.gradient:
        return None
    return {"what": "combine" if op.combine else "permute", "x": op.x.name}


def covers(op: Op) -> Mask:
    """Every forward permute and combine."""
    return True


def relatives(labels: Labels) -> list[Labels]:
    """A format of the same width; else the nearest wider one."""
    stand_in = {"fp16": "bf16", "bf16": "fp16", "fp8_block": "fp8", "fp8": "bf16"}
    return [{**labels, "x": stand_in[labels["x"]]}] if labels["x"] in stand_in else []


def numbers(op: Op) -> Mapping[str, Num]:
    """Tokens, the copies of all of them together, and the width."""
    assert isinstance(op, Permute)
    return {"tokens": op.tokens, "copies": op.copies, "width": op.width}


def terms(op: Op, device: Device) -> Terms:
    """No pass is serial, and no size counts."""
    return kernel_terms(op, device, op.work(), 0.0, ())


def features(op: Op) -> tuple[Num, ...]:
    """Logs of the elements of all copies, of copies per token, and of the width."""
    assert isinstance(op, Permute)
    return (np.log(op.copies * op.width), np.log(op.copies / op.tokens), np.log(op.width))


def site(op: Op) -> tuple[Num, ...]:
    """A layer's top-k and width, and its tokens."""
    assert isinstance(op, Permute)
    return (op.copies / op.tokens, op.width, np.log(op.tokens))
