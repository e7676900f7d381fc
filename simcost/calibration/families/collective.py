"""Collectives inside one scale-up domain, by kind. `bytes`: the tensor of a rank, as `ops/collective.py` counts it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import numpy as np

from simcost.calibration.family import Labels, Numbers
from simcost.calibration.form import Terms
from simcost.hardware.profile import Device
from simcost.num import Mask, Num
from simcost.ops.collective import Collective, Kind
from simcost.ops.work import Op

NUMBERS = ("bytes", "group")
LABELS = ("what", "backend")
LENGTHS = None
_ROUNDS = {"all_reduce": 2.0, "all_gather": 1.0, "reduce_scatter": 1.0, "all_to_all": 1.0}


def op(numbers: Numbers, labels: Labels) -> Op:
    return Collective(cast(Kind, labels["what"]), numbers["bytes"], numbers["group"])


def labels(op: Op) -> Labels | None:
    """Engines reduce with kernels of their own ("custom"), exchange tokens of experts with DeepEP and call NCCL for the
    rest. DeepEP's low-latency kernels ("deepep_ll") have rows; which of the two a phase takes is not decided here."""
    if not isinstance(op, Collective):
        return None
    return {"what": op.kind, "backend": {"all_reduce": "custom", "all_to_all": "deepep"}.get(op.kind, "nccl")}


def covers(op: Op) -> Mask:
    return True


def relatives(labels: Labels) -> list[Labels]:
    return [{**labels, "backend": other} for other in ("nccl", "gloo") if other != labels["backend"]]


def numbers(op: Op) -> Mapping[str, Num]:
    assert isinstance(op, Collective)
    return {"bytes": op.payload, "group": op.group}


def terms(op: Op, device: Device) -> Terms:
    """Bytes that a rank sends on a ring, at the link's rate; nothing computes."""
    assert isinstance(op, Collective)
    rate = device.bandwidth if device.scaleup is None else device.scaleup.reach(op.group)
    share = 1.0 if op.kind == "all_to_all" else (op.group - 1.0) / op.group
    sent = _ROUNDS[op.kind] * op.payload * share
    return Terms(0.0 * sent, sent / rate, 0.0 * sent, sent, ())


def features(op: Op) -> tuple[Num, ...]:
    assert isinstance(op, Collective)
    return (np.log(op.payload), np.log(op.group))


def site(op: Op) -> tuple[Num, ...]:
    assert isinstance(op, Collective)
    return (op.group, np.log(op.payload))
