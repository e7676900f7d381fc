"""Tokens to experts and back: copies a link tier, and their time where nothing measured answers.

Normal kernels send one copy a token and node over the network, to the rank of the same index, and forward it inside that node
to every rank that needs it; low-latency kernels and plain All2All send one copy a token and expert straight to its rank. The
rank that receives most sets the pace. In an NVLink domain of a rack engines send one copy a rank, whatever the phase. Most likely to be wrong: congestion of many-to-one traffic, and the wait for slow ranks
before counts are exchanged (0.8 to 3.8 ms in DeepSeek's trace). Source: deepseek-ai/DeepEP README; docs/theory/expert-parallel.md.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from simcost.cost import tiers
from simcost.cost.cost import Cost
from simcost.cost.network import SPREAD, Network
from simcost.hardware.profile import Device
from simcost.num import maximum, minimum, where
from simcost.ops.exchange import Exchange
from simcost.ops.traffic import Traffic
from simcost.routing import visited

_SOURCE = "exchange assumed"
SMS = 20.0  # multiprocessors of the normal kernels: DeepEP's default, and DeepSeek-V3's (arXiv 2412.19437 §3.2.2)
# Ranks exchange counts before the normal kernels send: median of the dispatch notify column over 2 and 4 nodes (n = 276: 35 and 56 us).
NOTIFY = 52e-6


def resolved(op: Exchange, device: Device) -> Traffic:
    """Copies on each tier; none where the group is one rank."""
    inside, nodes = device.node(op.group, op.stride), device.nodes(op.group, op.stride)
    stay = (inside - 1.0) / inside
    mode = "nvlink" if _one_machine(device) else op.mode
    if mode in ("normal", "nvlink"):
        there = visited(op.routing, op.router, nodes)
        far = there * (nodes - 1.0) / nodes
        near = visited(op.routing, op.router, op.group) * stay
    else:
        far = op.router.top_k * (op.group - inside) / op.group
        near = op.router.top_k * (inside - 1.0) / op.group
    moves = op.group > 1.0
    return Traffic(
        op.tokens * op.incast, op.width_bytes, where(moves, near, 0.0), where(moves, far, 0.0), op.group, nodes, SMS,
        mode, op.direction,
    )  # fmt: skip


def _one_machine(device: Device) -> bool:
    """Whether a domain is so large that engines exchange tokens over its links alone (NVL72): kernels that send a copy a rank."""
    link = device.scaleup
    return (
        link is not None
        and link.topology == "switch"
        and link.domain is not None
        and float(np.min(link.domain)) >= _RACK
    )


_RACK = 32.0  # devices


def traffic_cost(op: Traffic, device: Device) -> Cost:
    """By the profile alone: alpha-beta on either tier."""
    inner, net = parts(op, device)
    tier = tiers.inside(device, inner.group)
    light = inner.near_bytes * tier.byte
    moving = 1.0 * (inner.near_bytes > 0.0)
    wire, alpha = light * tier.slow, moving * (tier.hop + device.assumption("collective_latency"))
    return net.beside(
        Cost(wire_s=wire, overhead_s=alpha, light_s=light, datasheet_s=light, spread={_SOURCE: SPREAD * (wire + alpha)})
    )


def parts(op: Traffic, device: Device) -> tuple[Traffic, Network]:
    """(what stays inside one domain, what crosses the network)."""
    inner = replace(op, far=0.0 * op.far, group=op.group / op.nodes, nodes=0.0 * op.nodes + 1.0)
    start = device.assumption("collective_latency") + 0.0 * op.far_bytes
    far = op.far_bytes > 0.0
    if not np.any(far):
        zero = 0.0 * op.far_bytes
        return inner, Network(zero, zero, zero, start, _SOURCE)
    net = tiers.outside(device)
    light = where(far, op.far_bytes * net.byte, 0.0)
    return inner, Network(light * net.slow, light, where(far, net.hop, 0.0), start, _SOURCE)


def notify(op: Traffic) -> Cost:
    """The exchange of counts before a normal dispatch that leaves the node."""
    if op.mode != "normal" or op.direction != "dispatch":
        return Cost()
    waits = NOTIFY * (1.0 * (op.far_bytes > 0.0))
    return Cost(overhead_s=waits, spread={_SOURCE: SPREAD * waits})


def safe(op: Traffic, over: bool) -> Traffic:
    """As if every point stayed inside its node, or left it: numbers whose logarithm exists; the caller masks the rest."""
    nodes = maximum(op.nodes, 2.0) if over else minimum(op.nodes, 1.0)
    far = maximum(op.far, 1e-3) if over else 0.0 * op.far
    return replace(op, tokens=maximum(op.tokens, 1e-3), near=maximum(op.near, 1e-3), far=far, nodes=nodes)
