"""Dispatch and combine of tokens between experts' ranks, by mode, direction and reach (inside a node, or over nodes).

Multiprocessors copy (in the normal kernels, a chosen number of them), links carry: the two limits of the form. A
multiprocessor's copying is measured against its share of the memory bandwidth. Most likely to be wrong:
another network's congestion. Source: deepseek-ai/DeepEP.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from simcost.calibration.columns import Column, Word
from simcost.calibration.family import Labels, Numbers
from simcost.calibration.form import Terms
from simcost.hardware.profile import Device
from simcost.num import Mask, Num, maximum
from simcost.ops.traffic import Traffic
from simcost.ops.work import Op

COLUMNS = {
    "tokens": Column("tokens of one rank", "count"),
    "width": Column("bytes of a token with its scales", "B", whole=False),
    "near": Column("copies a token that leave the rank inside its node", "count", zero=True, whole=False),
    "far": Column("copies a token that cross the network", "count", zero=True, whole=False),
    "group": Column("ranks", "count"),
    "nodes": Column("nodes of the group", "count"),
    "sms": Column("multiprocessors that copy (1 in low_latency)", "count"),
}
WORDS = {
    "mode": Word("which kernels", ("normal", "low_latency", "nvlink")),
    "direction": Word("to the experts or back", ("dispatch", "combine")),
    "reach": Word("one node, or several", ("node", "nodes")),
}
NUMBERS = tuple(COLUMNS)
LABELS = tuple(WORDS)
LADDERS = ("tokens",)
LENGTHS = None
STAND_IN = 0.27
WIRE = True


def op(numbers: Numbers, labels: Labels) -> Op:
    """The exchange of a row, with its copies inside the node and over the network."""
    tokens, width, near, far, group, nodes, sms = (numbers[name] for name in NUMBERS)
    return Traffic(tokens, width, near, far, group, nodes, sms, labels["mode"], labels["direction"])


def labels(op: Op) -> Labels | None:
    """`cost/exchange.py` splits a grid by reach before it asks: all points of an op have one."""
    if not isinstance(op, Traffic):
        return None
    return {
        "mode": op.mode,
        "direction": op.direction,
        "reach": "node" if np.all(np.asarray(op.nodes) <= 1.0) else "nodes",
    }


def covers(op: Op) -> Mask:
    """Every exchange that a machine has resolved into copies (`Traffic`)."""
    return isinstance(op, Traffic)


def relatives(labels: Labels) -> list[Labels]:
    """The other way round; nothing inside a node speaks for the network."""
    other = {"dispatch": "combine", "combine": "dispatch"}[labels["direction"]]
    return [{**labels, "direction": other}]


def numbers(op: Op) -> Mapping[str, Num]:
    """Tokens of one rank, bytes of a token, copies per token; a fraction of a copy is a mean."""
    assert isinstance(op, Traffic)
    return {
        "tokens": op.tokens, "width": op.width_bytes, "near": op.near, "far": op.far, "group": op.group, "nodes": op.nodes,
        "sms": op.sms,
    }  # fmt: skip


def terms(op: Op, device: Device) -> Terms:
    """Node and network carry at the same time: the slower counts. In normal mode the multiprocessors that copy are the other limit."""
    assert isinstance(op, Traffic)
    moved = op.near_bytes + op.far_bytes
    near = 0.0 if device.scaleup is None else op.near_bytes / device.scaleup.reach(op.group / op.nodes)
    far = 0.0 if device.scaleout is None else op.far_bytes / device.scaleout
    wire = maximum(near, far)
    copying = 0.0 * moved
    if op.mode == "normal" and device.sm_count is not None:
        copying = moved * device.sm_count / (device.bandwidth * op.sms)
    return Terms(copying, wire + 0.0 * moved, 0.0 * moved, moved, ())


def features(op: Op) -> tuple[Num, ...]:
    """Tokens, width, copies, how much of them stays inside, ranks, multiprocessors."""
    assert isinstance(op, Traffic)
    copies = op.near + op.far
    return (
        np.log(op.tokens), np.log(op.width_bytes), np.log(copies), np.log1p(op.far / maximum(op.near, 1e-3)),
        np.log(op.group), np.log(op.sms),
    )  # fmt: skip


def site(op: Op) -> tuple[Num, ...]:
    """Width, copies, ranks and multiprocessors are one site; the tokens run along it."""
    assert isinstance(op, Traffic)
    return (op.width_bytes, op.near, op.far, op.group, op.sms, np.log(op.tokens))
