"""Scores of an indexer: a few small heads against one key of every cached token.

Kernels of a decode step read keys in pages, those of a prompt a copy of them. Most likely to be wrong: whose keys are few and lie in the L2.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from simcost.calibration.columns import Column, Word
from simcost.calibration.family import Labels, Numbers, kernel_terms
from simcost.calibration.form import Terms
from simcost.dtypes import dtype
from simcost.hardware.profile import Device
from simcost.num import Mask, Num
from simcost.ops.index_scores import IndexScores
from simcost.ops.work import Op

COLUMNS = {
    "batch": Column("sequences", "count"),
    "q_len": Column("queries per sequence", "tokens"),
    "past": Column("keys of a sequence before the queries", "tokens", zero=True),
    "heads": Column("heads of the indexer", "count"),
    "dim": Column("width of a head", "elements"),
}
WORDS = {
    "x": Word("format of queries and keys"),
    "keys": Word("how keys lie: in pages, or one after the other", ("paged", "plain")),
}
NUMBERS = tuple(COLUMNS)
LABELS = tuple(WORDS)
LADDERS = ("batch", "past")
SIZES = ("keys", "query_rows")
ACROSS = 0  # sequences
LENGTHS = None
EFFICIENCY = "attention_efficiency"
OTHER = {"fp8": ("bf16",), "bf16": ("fp8", "fp16"), "fp16": ("bf16",)}  # formats whose rows answer for one's own


def op(numbers: Numbers, labels: Labels) -> Op:
    """The scores of a row."""
    batch, q_len, past, heads, dim = (numbers[name] for name in NUMBERS)
    return IndexScores(batch, q_len, past, heads, dim, dtype(labels["x"], "x"), labels["keys"] == "paged")


def labels(op: Op) -> Labels | None:
    """Format and pages; of keys, forward only."""
    if not isinstance(op, IndexScores) or op.gradient or op.block is not None:
        return None
    return {"x": op.x.name, "keys": "paged" if op.paged else "plain"}


def covers(op: Op) -> Mask:
    """Scores of one query or of many."""
    return True


def relatives(labels: Labels) -> list[Labels]:
    """Keys that lie otherwise; the narrow format for a wide one and back; fp16 for bf16."""
    turned = {"paged": "plain", "plain": "paged"}[labels["keys"]]
    return [{**labels, "keys": turned}, *({**labels, "x": name} for name in OTHER.get(labels["x"], ()))]


def numbers(op: Op) -> Mapping[str, Num]:
    """Sequences, queries, keys and heads."""
    assert isinstance(op, IndexScores)
    return {"batch": op.batch, "q_len": op.q_len, "past": op.past, "heads": op.heads, "dim": op.dim}


def terms(op: Op, device: Device) -> Terms:
    """Sizes: keys that a query sees on average, and rows of all queries and heads."""
    assert isinstance(op, IndexScores)
    return kernel_terms(op, device, op.work(), 0.0, (op.pairs / (op.batch * op.q_len), op.batch * op.q_len * op.heads))


def features(op: Op) -> tuple[Num, ...]:
    """Sequences, queries, keys and heads."""
    assert isinstance(op, IndexScores)
    return (np.log(op.batch), np.log(op.q_len), np.log(op.past + op.q_len), np.log(op.heads))


def site(op: Op) -> tuple[Num, ...]:
    """Heads of a batch and its queries; the keys run along it."""
    assert isinstance(op, IndexScores)
    return (op.batch, op.q_len, op.heads, op.dim, np.log(op.past + op.q_len))
