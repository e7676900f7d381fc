"""One device sends `bytes` to another (pipeline stages, KV transfer). Kinds: the library that moved them.

As an op it is what a rank sends to the other rank of a group of two; no op of a step asks for it yet."""

from __future__ import annotations

from collections.abc import Mapping

from simcost.calibration.columns import Column, Word
from simcost.calibration.families import collective
from simcost.calibration.family import Labels, Numbers
from simcost.num import Mask, Num
from simcost.ops.collective import Collective
from simcost.ops.work import Op

COLUMNS = {"bytes": Column("what one device sends", "B", whole=False)}
WORDS = {"backend": Word("library that moved it: nccl, gloo", ())}
NUMBERS = tuple(COLUMNS)
LABELS = tuple(WORDS)
LENGTHS = None
WIRE = True

terms = collective.terms
features = collective.features
site = collective.site


def op(numbers: Numbers, labels: Labels) -> Op:
    """An All2All of two ranks, each of which sends `bytes` to the other."""
    return Collective("all_to_all", numbers["bytes"], 2.0)


def labels(op: Op) -> Labels | None:
    """None: what ranks send each other in a step has labels in `collective`."""
    return None


def covers(op: Op) -> Mask:
    """No op: its rows tell what rate a link reaches, for a profile without one."""
    return False


def relatives(labels: Labels) -> list[Labels]:
    """None: no library stands in for another."""
    return []


def numbers(op: Op) -> Mapping[str, Num]:
    """What one device sends."""
    assert isinstance(op, Collective)
    return {"bytes": op.payload}
