"""The core of a recurrent layer over prompts, in chunks: Gated DeltaNet, KDA, Mamba, lightning attention.

Chunks of a sequence follow each other, so few sequences of few heads leave multiprocessors idle however long they are. Most likely to be wrong: kernels
of two libraries for one rule differ by a factor of four (docs/theory/gated_deltanet.md).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from simcost.calibration.columns import Column, Word, X
from simcost.calibration.family import Labels, Numbers, kernel_terms
from simcost.calibration.form import Terms
from simcost.dtypes import dtype
from simcost.hardware.profile import Device
from simcost.num import Mask, Num
from simcost.ops.recurrent import RULES, RecurrentCore
from simcost.ops.work import Op

COLUMNS = {
    "batch": Column("sequences", "count"),
    "q_len": Column("new tokens of a sequence", "count"),
    "heads": Column("heads of values, each with a state", "count"),
    "key_heads": Column("heads of queries and keys", "count"),
    "d_k": Column("width of a key: rows of a state", "elements"),
    "d_v": Column("width of a value: columns of a state", "elements"),
    "chunk": Column("tokens of a chunk", "count"),
}
WORDS = {"rule": Word("how a state changes", tuple(RULES)), "x": X}
NUMBERS = tuple(COLUMNS)
LABELS = tuple(WORDS)
LADDERS = ("batch", "q_len")
SIZES = ("heads_of_batch",)
ACROSS = 0  # sequences
LENGTHS = None
STAND_IN = 0.70


def op(numbers: Numbers, labels: Labels) -> Op:
    """The core of a row, with fp32 states: they are read and written once a sequence, which hardly tells."""
    batch, q_len, heads, key_heads, d_k, d_v, chunk = (numbers[name] for name in NUMBERS)
    x = dtype(labels["x"], "x")
    return RecurrentCore(labels["rule"], batch, q_len, heads, key_heads, d_k, d_v, chunk, x, dtype("fp32"))


def labels(op: Op) -> Labels | None:
    """Rule and format of the inputs; forward only."""
    if not isinstance(op, RecurrentCore) or op.gradient:
        return None
    return {"rule": op.rule, "x": op.x.name}


def covers(op: Op) -> Mask:
    """More than one token a sequence."""
    assert isinstance(op, RecurrentCore)
    return op.q_len > 1.0


def relatives(labels: Labels) -> list[Labels]:
    """Another format of the inputs, then another rule of the same sort."""
    swap = {"bf16": "fp16", "fp16": "bf16"}
    found: list[Labels] = []
    if labels["x"] in swap:
        found.append({**labels, "x": swap[labels["x"]]})
    # Products in chunks of tokens are alike; an elementwise scan is like none of them.
    like = {"kda": "gated_delta", "ssd": "gated_delta", "lightning": "gated_delta"}
    if labels["rule"] in like:
        found.append({**labels, "rule": like[labels["rule"]]})
    return found


def numbers(op: Op) -> Mapping[str, Num]:
    """Heads of one rank and their widths."""
    assert isinstance(op, RecurrentCore)
    return {
        "batch": op.batch, "q_len": op.q_len, "heads": op.heads, "key_heads": op.key_heads, "d_k": op.d_k, "d_v": op.d_v,
        "chunk": op.chunk,
    }  # fmt: skip


def terms(op: Op, device: Device) -> Terms:
    """Products at the rate of the inputs' format; size: heads of all sequences, which run side by side."""
    assert isinstance(op, RecurrentCore)
    return kernel_terms(op, device, op.work(), 0.0, (op.batch * op.heads,))


def features(op: Op) -> tuple[Num, ...]:
    """Heads of all sequences, tokens of each, elements of a state, and heads of values that share a key."""
    assert isinstance(op, RecurrentCore)
    return (
        np.log(op.batch * op.heads), np.log(op.q_len), np.log(op.d_k * op.d_v), np.log(op.heads / op.key_heads),
    )  # fmt: skip


def site(op: Op) -> tuple[Num, ...]:
    """Heads and widths of a batch; the tokens run along it."""
    assert isinstance(op, RecurrentCore)
    return (op.batch, op.heads, op.key_heads, op.d_k, op.d_v, np.log(op.q_len))
