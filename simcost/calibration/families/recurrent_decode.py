"""The core of a recurrent layer with one new token a sequence: every state is read, changed and written.

Most likely to be wrong: states that fit the L2 in a benchmark, and not in a step with other layers between.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from simcost.calibration.columns import Word
from simcost.calibration.families import recurrent_prefill as prefill
from simcost.calibration.family import Labels, Numbers, kernel_terms
from simcost.calibration.form import Terms
from simcost.dtypes import dtype
from simcost.hardware.profile import Device
from simcost.num import Mask, Num
from simcost.ops.recurrent import RULES, RecurrentCore
from simcost.ops.work import Op

COLUMNS = {name: column for name, column in prefill.COLUMNS.items() if name not in ("q_len", "chunk")}
WORDS = {**prefill.WORDS, "state": Word("format of the states")}
NUMBERS = tuple(COLUMNS)
LABELS = tuple(WORDS)
LADDERS = ("batch",)
LENGTHS = None
STAND_IN = 0.30


def op(numbers: Numbers, labels: Labels) -> Op:
    """One step of a row's states."""
    found = prefill.op({**numbers, "q_len": 1.0, "chunk": 1.0}, labels)
    assert isinstance(found, RecurrentCore)
    return replace(found, state=dtype(labels["state"], "state"))


def labels(op: Op) -> Labels | None:
    """Rule and formats; forward only."""
    found = prefill.labels(op)
    return found if found is None or not isinstance(op, RecurrentCore) else {**found, "state": op.state.name}


def covers(op: Op) -> Mask:
    """One token a sequence."""
    assert isinstance(op, RecurrentCore)
    return op.q_len <= 1.0


def relatives(labels: Labels) -> list[Labels]:
    """Another format of the states or the inputs, then another rule: all of them move their states."""
    swap = {"bf16": "fp16", "fp16": "bf16"}
    same: list[Labels] = [{**labels, "state": other} for other in ("fp32", "bf16") if other != labels["state"]]
    if labels["x"] in swap:
        same.append({**labels, "x": swap[labels["x"]]})
    return same + [{**labels, "rule": rule} for rule in RULES if rule != labels["rule"]]


def numbers(op: Op) -> Mapping[str, Num]:
    """Heads of one rank and their widths."""
    found = prefill.numbers(op)
    return {name: found[name] for name in NUMBERS}


def terms(op: Op, device: Device) -> Terms:
    """Bytes of the states before all; no pass is serial, and no size counts."""
    return kernel_terms(op, device, op.work(), 0.0, ())


def features(op: Op) -> tuple[Num, ...]:
    """Heads of all sequences, elements of a state, and heads of values that share a key."""
    assert isinstance(op, RecurrentCore)
    return (np.log(op.batch * op.heads), np.log(op.d_k * op.d_v), np.log(op.heads / op.key_heads))


def site(op: Op) -> tuple[Num, ...]:
    """Heads and widths of a layer; the sequences run along it."""
    assert isinstance(op, RecurrentCore)
    return (op.heads, op.key_heads, op.d_k, op.d_v, np.log(op.batch))
