"""Tokens to experts and back: copies a link tier, and their time where nothing measured answers.

Normal kernels send one copy a token and node over the network, to the rank of the same index, and forward it inside that node
to every rank that needs it; low-latency kernels and plain All2All send one copy a token and expert straight to its rank. On
each tier the busier of two sets the pace: the rank with most tokens to send, or the one that most is sent to. NVLink kernels
send one copy a rank of their domain. Most likely to be wrong: congestion of many-to-one traffic, and the wait for slow ranks
before counts are exchanged (0.8 to 3.8 ms in DeepSeek's trace). Source: deepseek-ai/DeepEP README; docs/theory/expert-parallel.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from simcost.cost import tiers
from simcost.cost.cost import Cost
from simcost.cost.network import SPREAD, Network, between
from simcost.hardware.profile import Device
from simcost.num import Mask, Num, maximum, minimum, where
from simcost.ops.collective import Collective
from simcost.ops.exchange import Exchange
from simcost.ops.traffic import Traffic

_SOURCE = "exchange assumed"
SMS = 20.0  # multiprocessors of the normal kernels: DeepEP's default, and DeepSeek-V3's (arXiv 2412.19437 §3.2.2)
# Ranks exchange counts before the normal kernels send: median of the dispatch notify column over 2 and 4 nodes (n = 276: 35 and 56 us).
NOTIFY = 52e-6


def resolved(op: Exchange, device: Device) -> Traffic:
    """What the busiest rank sends or receives on each tier, as copies of so many tokens that a token has as many as on the
    mean; none where the group is one rank."""
    nodes = device.nodes(op.group, op.stride)
    each = _once_a_node if op.mode in ("normal", "nvlink") else _one_by_one
    near, far, inside, outside = each(op, device.node(op.group, op.stride), nodes)
    fixed = op.padded * op.tokens  # of a capacity factor: whoever picks, as many rows go
    inside, outside = where(fixed > 0.0, fixed * near, inside), where(fixed > 0.0, fixed * far, outside)
    moves = op.group > 1.0
    tokens = where(moves, (inside + outside) / where(moves, near + far, 1.0), op.tokens)
    return Traffic(
        tokens, op.width_bytes, where(moves, inside / tokens, 0.0), where(moves, outside / tokens, 0.0), op.group, nodes,
        SMS, op.mode, op.direction,
    )  # fmt: skip


def forms(op: Exchange, device: Device) -> list[tuple[Mask, Exchange]]:
    """By which kernels an exchange runs, and where: on a rack an engine's own choice is the kernels that use NVLink alone
    (TensorRT-LLM on NVL72), as far as its domain reaches."""
    as_asked = replace(op, auto=False)
    if not op.auto or device.scaleup is None:
        return [(True, as_asked)]
    here = np.asarray(device.scaleup.rack & (device.nodes(op.group, op.stride) <= 1.0))
    found: list[tuple[Mask, Exchange]] = []
    if not here.all():
        found.append((~here, as_asked))
    if here.any():
        found.append((here, replace(as_asked, mode="nvlink")))
    return found


def priced(op: Exchange, device: Device, price: Callable[[Exchange], Cost]) -> Cost:
    """The cost of an exchange, every point by the kernels that run it; `price` prices one kind of kernels."""
    (_, first), *others = forms(op, device)
    cost = price(first)
    for here, form in others:
        cost = price(form).where(here, cost)
    return cost


def all_to_all(op: Exchange, device: Device) -> Collective:
    """NCCL's All2All of the same bytes as the exchange."""
    found = resolved(op, device)
    return Collective("all_to_all", found.near_bytes + found.far_bytes, op.group, op.stride)


def _once_a_node(op: Exchange, inside: Num, nodes: Num) -> tuple[Num, Num, Num, Num]:
    """(copies that a token has inside nodes, over the network; those of the busiest rank). A node's ranks share what comes to it
    over the network, by the index of the sender; who forwards has the tokens of its index from every node."""
    there, ranks = op.copies(nodes), op.copies(op.group)
    stay, leave = (inside - 1.0) / inside, (nodes - 1.0) / nodes
    forwarded = op.tokens * ranks / there * stay  # one node's, of the senders of one index
    return (
        ranks * stay, there * leave,
        maximum(forwarded, op.distinct(op.group) * stay),
        maximum(op.tokens * there * leave, op.distinct(nodes) * leave * nodes / op.group),
    )  # fmt: skip


def _one_by_one(op: Exchange, inside: Num, nodes: Num) -> tuple[Num, Num, Num, Num]:
    """The same where every pick is a copy."""
    near, far = (inside - 1.0) / op.group, (op.group - inside) / op.group
    most = maximum(op.tokens * op.router.top_k, op.rows())
    return op.router.top_k * near, op.router.top_k * far, most * near, most * far


def traffic_cost(op: Traffic, device: Device) -> Cost:
    """Time of an exchange by the profile alone: alpha-beta on either tier."""
    inner, net = parts(op, device)
    tier = tiers.inside(device, inner.group)
    light = inner.near_bytes * tier.byte
    moving = 1.0 * (inner.near_bytes > 0.0)
    wire, alpha = light * tier.slow, moving * (tier.hop + device.assumption("collective_latency"))
    return net.beside(
        Cost(wire_s=wire, overhead_s=alpha, light_s=light, datasheet_s=light, spread={_SOURCE: SPREAD * (wire + alpha)})
    )


def parts(op: Traffic, device: Device) -> tuple[Traffic, Network]:
    """(the exchange inside one domain, what crosses the network)."""
    inner = replace(op, far=0.0 * op.far, group=op.group / op.nodes, nodes=0.0 * op.nodes + 1.0)
    return inner, between(device, op.far_bytes, 1.0, _SOURCE)


def notify(op: Traffic) -> Cost:
    """The exchange of counts before a normal dispatch that leaves the node, and before any of NCCL's (taken to be as long)."""
    if op.mode not in ("normal", "nccl") or op.direction != "dispatch":
        return Cost()
    waits = NOTIFY * (1.0 * ((op.far_bytes if op.mode == "normal" else op.near_bytes + op.far_bytes) > 0.0))
    return Cost(overhead_s=waits, spread={_SOURCE: SPREAD * waits})


def safe(op: Traffic, over: bool) -> Traffic:
    """The exchange with every point inside its node, or (`over`) leaving it, so that logarithms of its numbers exist; the caller
    masks the rest."""
    nodes = maximum(op.nodes, 2.0) if over else minimum(op.nodes, 1.0)
    far = maximum(op.far, 1e-3) if over else 0.0 * op.far
    return replace(op, tokens=maximum(op.tokens, 1e-3), near=maximum(op.near, 1e-3), far=far, nodes=nodes)
