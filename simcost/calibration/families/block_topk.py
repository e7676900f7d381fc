"""The best blocks of keys of each query and head by their scores. Most likely to be wrong: kernels that pick while they score have no such pass."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from simcost.calibration.columns import Column
from simcost.calibration.families import index_topk
from simcost.calibration.family import Labels, Numbers
from simcost.calibration.form import Terms
from simcost.hardware.profile import Device
from simcost.num import Mask, Num
from simcost.ops.index_scores import IndexTopK
from simcost.ops.work import Op

COLUMNS = {
    **index_topk.COLUMNS,
    "top_k": Column("blocks that a query picks for a head", "count"),
    "heads": Column("heads that pick", "count"),
    "block": Column("keys of a block", "tokens"),
}
WORDS = index_topk.WORDS
NUMBERS = tuple(COLUMNS)
LABELS = tuple(WORDS)
LADDERS = index_topk.LADDERS
ACROSS = 0  # sequences
LENGTHS = None


def op(numbers: Numbers, labels: Labels) -> Op:
    """The choice of a row."""
    return IndexTopK(*(numbers[name] for name in NUMBERS))


def labels(op: Op) -> Labels | None:
    """Scores of blocks are fp32."""
    return {"x": "fp32"} if isinstance(op, IndexTopK) and op.block is not None else None


def covers(op: Op) -> Mask:
    """Every choice."""
    return True


def relatives(labels: Labels) -> list[Labels]:
    """None."""
    return []


def numbers(op: Op) -> Mapping[str, Num]:
    """Sequences, queries, keys, picks, heads and block."""
    assert isinstance(op, IndexTopK)
    assert op.block is not None
    return {**index_topk.numbers(op), "heads": op.heads, "block": op.block}


def terms(op: Op, device: Device) -> Terms:
    """As those of keys."""
    return index_topk.terms(op, device)


def features(op: Op) -> tuple[Num, ...]:
    """Queries of all heads, blocks that each chooses from on average, and picks."""
    assert isinstance(op, IndexTopK)
    choices = op.batch * op.q_len * op.heads
    return (np.log(choices), np.log(op.scores / choices), np.log(op.top_k))


def site(op: Op) -> tuple[Num, ...]:
    """Queries of all heads, picks and block; the keys run along them."""
    assert isinstance(op, IndexTopK)
    assert op.block is not None
    return (op.batch * op.q_len * op.heads, op.top_k, op.block, np.log(op.past + op.q_len))
