"""The attention core with one query a sequence: GQA, windows, and absorbed MLA over the latent."""

from __future__ import annotations

import numpy as np

from simcost.calibration.families import attention_prefill as prefill
from simcost.calibration.family import kernel_terms
from simcost.calibration.form import Terms
from simcost.hardware.profile import Device
from simcost.num import Mask, Num
from simcost.ops.attention_core import AttentionCore
from simcost.ops.work import Op

NUMBERS = prefill.NUMBERS
LABELS = prefill.LABELS
LENGTHS = None

op = prefill.op
numbers = prefill.numbers
relatives = prefill.relatives
labels = prefill.labels


def covers(op: Op) -> Mask:
    return isinstance(op, AttentionCore) and op.q_len == 1.0


def terms(op: Op, device: Device) -> Terms:
    assert isinstance(op, AttentionCore)
    sizes = (op.batch * op.kv_heads, op.mask.keys(op.q_len, op.past))
    return kernel_terms(op, device, op.work(), 0.0, sizes)


def features(op: Op) -> tuple[Num, ...]:
    """K/V heads of all sequences, keys, grouping, width, how much a window hides."""
    assert isinstance(op, AttentionCore)
    keys = op.mask.keys(op.q_len, op.past)
    return (
        np.log(op.batch * op.kv_heads), np.log(keys), np.log(op.heads / op.kv_heads), np.log(op.d_qk),
        np.log1p(np.log((op.past + op.q_len) / keys)),
    )  # fmt: skip


def site(op: Op) -> tuple[Num, ...]:
    """Heads, mask and width of a batch, and its context."""
    assert isinstance(op, AttentionCore)
    window = 0.0 if op.mask.window is None else op.mask.window
    return (op.batch, op.heads, op.kv_heads, op.d_qk, window, np.log(op.past + op.q_len))
