"""Collectives inside one scale-up domain, by kind. `bytes`: the tensor of a rank, as `ops/collective.py` counts it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import numpy as np

from simcost.calibration.columns import Column, Word
from simcost.calibration.family import Labels, Numbers
from simcost.calibration.form import Terms
from simcost.hardware.profile import Device
from simcost.num import Array, Mask, Num
from simcost.ops.collective import Collective, Kind
from simcost.ops.work import Op

COLUMNS = {
    "bytes": Column("tensor of a rank; of All2All, what it sends to others", "B", whole=False),
    "group": Column("ranks", "count"),
}
WORDS = {
    "what": Word("which collective", ("all_reduce", "all_gather", "reduce_scatter", "all_to_all", "p2p")),
    "backend": Word("library: nccl, custom (an engine's own kernel), gloo", ()),
}
NUMBERS = tuple(COLUMNS)
LABELS = tuple(WORDS)
LADDERS = ("bytes",)
LENGTHS = None
STAND_IN = 0.69
WIRE = True
_ROUNDS = {"all_reduce": 2.0, "all_gather": 1.0, "reduce_scatter": 1.0, "all_to_all": 1.0, "p2p": 1.0}


def op(numbers: Numbers, labels: Labels) -> Op:
    """The collective of a row, between neighbours (stride 1)."""
    return Collective(cast(Kind, labels["what"]), numbers["bytes"], numbers["group"])


def labels(op: Op) -> Labels | None:
    """Engines reduce with kernels of their own ("custom") and call NCCL for the rest."""
    if not isinstance(op, Collective):
        return None
    return {"what": op.kind, "backend": "custom" if op.kind == "all_reduce" else "nccl"}


def covers(op: Op) -> Mask:
    """Every kind, and every size of group."""
    return True


def relatives(labels: Labels) -> list[Labels]:
    """The same collective by another library; for p2p an All2All instead."""
    found: list[Labels] = [{**labels, "backend": other} for other in ("nccl", "gloo") if other != labels["backend"]]
    if labels["what"] == "p2p":  # as an All2All of two
        found = [{"what": "all_to_all", "backend": other} for other in ("nccl", "gloo")]
    return found


def numbers(op: Op) -> Mapping[str, Num]:
    """Payload and ranks, without the stride."""
    assert isinstance(op, Collective)
    return {"bytes": op.payload, "group": op.group}


def terms(op: Op, device: Device) -> Terms:
    """Bytes that a rank sends on a ring, at the link's rate; nothing computes. NCCL's rings pay a hop a member: fitted to
    groups of up to four, groups of eight (of eight devices) are missed by 8 to 10 % in the median with it, by 22 to 25 % without.
    Not so the engines' own all-reduce, in which all ranks read all others, nor All2All."""
    assert isinstance(op, Collective)
    rate = device.bandwidth if device.scaleup is None else device.scaleup.reach(op.group)
    share = 1.0 if op.kind in ("all_to_all", "p2p") else (op.group - 1.0) / op.group
    sent = _ROUNDS[op.kind] * op.payload * share
    hops = (op.group - 1.0) * (_HOP if op.kind in ("all_gather", "reduce_scatter") else 0.0)
    return Terms(0.0 * sent, sent / rate, hops + 0.0 * sent, sent, ())


_HOP = 1e-6  # any time will do: the curve's serial efficiency says what a hop takes


def features(op: Op) -> tuple[Num, ...]:
    """Logs of the payload and of the ranks."""
    assert isinstance(op, Collective)
    return (np.log(op.payload), np.log(op.group))


GROUP = 1  # which feature is the log of the group


def site(op: Op) -> tuple[Num, ...]:
    """The ranks are one site; the payload runs along it."""
    assert isinstance(op, Collective)
    return (op.group, np.log(op.payload))


def part(numbers: Mapping[str, Array]) -> Array:
    """The size of the group."""
    return numbers["group"]
