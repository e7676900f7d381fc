"""What crosses the links: bytes that one rank sends, tier by tier, what they take, and how much of it nothing hides.

For one operating point. Under an overlap only what outlasts the other parts is exposed. Most likely to be wrong: the contention of
work that runs side by side. Source: the program and `cost/collective.py`, `cost/exchange.py`.
"""

from __future__ import annotations

import numpy as np

from simcost.cost import tiers
from simcost.cost.collective import Bytes, sent
from simcost.cost.exchange import forms, resolved
from simcost.estimate.step import Step
from simcost.hardware.profile import Device
from simcost.ops.collective import Collective
from simcost.ops.exchange import Exchange
from simcost.ops.work import Op
from simcost.program import exposed, shared
from simcost.result import Row, number

TIERS = ("inside the domain", "network")


def moved(op: Op, device: Device) -> Bytes | None:
    """Bytes that one rank sends inside its domain and out of it; None for what computes."""
    if isinstance(op, Exchange):
        ((_, form), *_) = [(here, form) for here, form in forms(op, device) if np.all(here)]
        found = resolved(form, device)
        return Bytes(found.near_bytes, found.far_bytes)
    return sent(op, device) if isinstance(op, Collective) else None


def rows(step: Step) -> list[Row]:
    """One row a transfer of every kind of layer, or from stage to stage, and tier, times of all its calls; then each tier's
    sum. Where both tiers carry a transfer the slower one sets its time, and the other passes beside it."""
    device, total = step.workload.device, float(step.cost.seconds)
    found: list[Row] = []
    for (path, call, cost, times), share in (*shared(step.priced, exposed), *shared(step.hops, exposed)):
        bytes_, weight, bare = moved(call.op, device), float(times), float(share)
        if bytes_ is None or weight == 0.0:
            continue
        whole = float(cost.seconds)
        alone = _alone(call.op, bytes_, device)
        for i, amount in enumerate((float(bytes_.near), float(bytes_.far))):
            if amount > 0.0:
                leads = alone[i] >= alone[1 - i]
                seconds = whole if leads else min(alone[i], whole)
                found.append(_row(path, TIERS[i], amount, weight, seconds * weight, bare * leads, total))
    return found + _sums(found)


def _alone(op: Op, bytes_: Bytes, device: Device) -> tuple[float, float]:
    """Seconds that the bytes of each tier take on its link, by the profile."""
    assert isinstance(op, Exchange | Collective)
    near, far = tiers.inside(device, device.node(op.group, op.stride)), tiers.outside(device)
    return (
        float(bytes_.near * near.byte * near.slow) if float(bytes_.near) > 0.0 else 0.0,
        float(bytes_.far * far.byte * far.slow) if float(bytes_.far) > 0.0 else 0.0,
    )


def _sums(found: list[Row]) -> list[Row]:
    """What each tier carries in a step."""
    sums: list[Row] = []
    for tier in TIERS:
        rows_ = [row for row in found if row["tier"] == tier]
        if not rows_:
            continue
        seconds = sum(row["time_s"] for row in rows_)
        bare = sum(row["time_s"] * row["exposed_share"] for row in rows_)
        sums.append(
            {
                "part": "all", "transfer": "sum", "tier": tier, "sent_bytes": None, "times": None,
                "sent_step_bytes": sum(row["sent_step_bytes"] for row in rows_), "time_s": seconds,
                "exposed_share": bare / seconds if seconds else 0.0, "step_share": sum(row["step_share"] for row in rows_),
            }
        )  # fmt: skip
    return sums


def _row(
    path: tuple[str, ...], tier: str, amount: float, weight: float, seconds: float, bare: float, total: float
) -> Row:
    return {
        "part": path[1] if len(path) > 2 else "", "transfer": " / ".join(path[2:] if len(path) > 3 else path[-1:]), "tier": tier,
        "sent_bytes": number(amount), "times": number(weight), "sent_step_bytes": number(amount * weight),
        "time_s": number(seconds), "exposed_share": number(bare), "step_share": number(seconds * bare / total),
    }  # fmt: skip
