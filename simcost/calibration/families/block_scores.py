"""Scores of an indexer that picks blocks: the best product of each of its heads with the keys of a block.

A head for each head of keys and values, against one key of every cached token. Most likely to be wrong: whose keys are few and lie in the L2.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from simcost.calibration.columns import Column, Word
from simcost.calibration.families import index_scores
from simcost.calibration.family import Labels, Numbers
from simcost.calibration.form import Terms
from simcost.dtypes import dtype
from simcost.hardware.profile import Device
from simcost.num import Mask, Num
from simcost.ops.index_scores import IndexScores
from simcost.ops.work import Op

COLUMNS = {**index_scores.COLUMNS, "block": Column("keys of a block", "tokens")}
WORDS = {"x": Word("format of queries and keys")}
NUMBERS = tuple(COLUMNS)
LABELS = tuple(WORDS)
LADDERS = index_scores.LADDERS
SIZES = index_scores.SIZES
ACROSS = 0  # sequences
LENGTHS = None
EFFICIENCY = index_scores.EFFICIENCY


def op(numbers: Numbers, labels: Labels) -> Op:
    """The scores of a row."""
    batch, q_len, past, heads, dim, block = (numbers[name] for name in NUMBERS)
    return IndexScores(batch, q_len, past, heads, dim, dtype(labels["x"], "x"), block=block)


def labels(op: Op) -> Labels | None:
    """The format; of blocks, forward only."""
    return {"x": op.x.name} if isinstance(op, IndexScores) and op.block is not None and not op.gradient else None


def covers(op: Op) -> Mask:
    """Scores of one query or of many."""
    return True


def relatives(labels: Labels) -> list[Labels]:
    """The narrow format for a wide one and back; fp16 for bf16."""
    return [{"x": name} for name in index_scores.OTHER.get(labels["x"], ())]


def numbers(op: Op) -> Mapping[str, Num]:
    """Sequences, queries, keys, heads and block."""
    assert isinstance(op, IndexScores)
    assert op.block is not None
    return {**index_scores.numbers(op), "block": op.block}


def terms(op: Op, device: Device) -> Terms:
    """As those of keys."""
    return index_scores.terms(op, device)


def features(op: Op) -> tuple[Num, ...]:
    """Sequences, queries, keys, heads and block."""
    assert isinstance(op, IndexScores)
    assert op.block is not None
    return (*index_scores.features(op), np.log(op.block))


def site(op: Op) -> tuple[Num, ...]:
    """Heads of a batch, its queries and the block; the keys run along it."""
    assert isinstance(op, IndexScores)
    assert op.block is not None
    *rest, keys = index_scores.site(op)
    return (*rest, op.block, keys)
