"""The best keys of each query by their scores. Most likely to be wrong: real scores are neither flat nor sorted, as benchmarks have them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from simcost.calibration.columns import Column, Word
from simcost.calibration.family import Labels, Numbers, kernel_terms
from simcost.calibration.form import Terms
from simcost.hardware.profile import Device
from simcost.num import Mask, Num
from simcost.ops.index_scores import IndexTopK
from simcost.ops.work import Op

COLUMNS = {
    "batch": Column("sequences", "count"),
    "q_len": Column("queries per sequence", "tokens"),
    "past": Column("keys of a sequence before the queries", "tokens", zero=True),
    "top_k": Column("keys that a query picks", "count"),
}
WORDS = {"x": Word("format of the scores", ("fp32",))}
NUMBERS = tuple(COLUMNS)
LABELS = tuple(WORDS)
LADDERS = ("batch", "past")
ACROSS = 0  # sequences
LENGTHS = None


def op(numbers: Numbers, labels: Labels) -> Op:
    """The choice of a row."""
    batch, q_len, past, top_k = (numbers[name] for name in NUMBERS)
    return IndexTopK(batch, q_len, past, top_k)


def labels(op: Op) -> Labels | None:
    """Scores of keys are fp32."""
    return {"x": "fp32"} if isinstance(op, IndexTopK) and op.block is None else None


def covers(op: Op) -> Mask:
    """Every choice."""
    return True


def relatives(labels: Labels) -> list[Labels]:
    """None."""
    return []


def numbers(op: Op) -> Mapping[str, Num]:
    """Sequences, queries, keys and picks."""
    assert isinstance(op, IndexTopK)
    return {"batch": op.batch, "q_len": op.q_len, "past": op.past, "top_k": op.top_k}


def terms(op: Op, device: Device) -> Terms:
    """Bytes of the scores before all."""
    return kernel_terms(op, device, op.work(), 0.0, ())


def features(op: Op) -> tuple[Num, ...]:
    """Queries of all sequences, and keys that each chooses from on average."""
    assert isinstance(op, IndexTopK)
    queries = op.batch * op.q_len
    return (np.log(queries), np.log(op.pairs / queries), np.log(op.top_k))


def site(op: Op) -> tuple[Num, ...]:
    """Queries and picks; the keys run along them."""
    assert isinstance(op, IndexTopK)
    return (op.batch * op.q_len, op.top_k, np.log(op.past + op.q_len))
