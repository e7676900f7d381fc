"""Alpha-beta time of a collective on a profile's link tiers: the fastest of the algorithms that libraries choose from.

Inside a domain: ring; one shot (all ranks read all others: one hop, many bytes); where the switch reduces (NVLink SHARP),
through the switch. Over several domains collectives are NCCL's (`nccl.py`); All2All, messages, and the compiled collectives of
chips on a torus do inside a domain what they do there, while the network passes the rest: the slower tier sets the rate, the hops
add up. Most likely to be wrong: the sizes at which a library changes its mind. Sources: Thakur et al. 2005; NCCL 2.28
(`src/graph/tuning.cc`); vLLM `custom_all_reduce`.
"""

from __future__ import annotations

import numpy as np

from simcost.cost import nccl, tiers
from simcost.cost.cost import Cost
from simcost.cost.network import SPREAD, Network, between
from simcost.frozen import frozen
from simcost.hardware.profile import Device
from simcost.num import Num, every, maximum, minimum, where
from simcost.ops.collective import Collective

_SOURCE = "collective assumed"
_ROUNDS = {"all_reduce": 2.0, "all_gather": 1.0, "reduce_scatter": 1.0}


@frozen
class Bytes:
    """What one rank sends on each tier. [B]"""

    near: Num
    far: Num


def sent(op: Collective, device: Device) -> Bytes:
    """Bytes that one rank sends on each tier: by a ring, the least without a switch that reduces; All2All and messages send the
    payload once."""
    near, nodes = device.node(op.group, op.stride), device.nodes(op.group, op.stride)
    if op.kind in ("all_to_all", "p2p"):
        peers = maximum(op.group - 1.0, 1.0)
        return Bytes(op.payload * (near - 1.0) / peers, op.payload * (op.group - near) / peers)
    rounds = _ROUNDS[op.kind]
    far = rounds * (nodes - 1.0) / nodes * op.payload / near
    return Bytes(rounds * (near - 1.0) / near * op.payload, far)


def parts(op: Collective, device: Device) -> tuple[Collective, Network]:
    """(what the members of one domain do among them, what crosses the network). Elementwise; a group that needs a link which the
    profile does not state takes forever (see `link_checks`)."""
    near, nodes = device.node(op.group, op.stride), device.nodes(op.group, op.stride)
    moved = sent(op, device)
    # All2All and p2p send their peers what they send them; the others handle the whole tensor inside every domain.
    payload = moved.near if op.kind in ("all_to_all", "p2p") else op.payload
    inner = Collective(op.kind, payload, where(op.group > 1.0, near, 1.0))
    sent_far = where((nodes > 1.0) & (op.group > 1.0), moved.far, 0.0)
    more = nccl.MESSAGE if _messages(op, device) else 0.0
    return inner, between(device, sent_far, _far_hops(op, nodes), _SOURCE, more)


def _messages(op: Collective, device: Device) -> bool:
    """Whether NCCL sends what crosses the network as messages."""
    return op.kind in ("all_to_all", "p2p") and not (device.scaleup is not None and device.scaleup.topology == "torus")


def collective_cost(op: Collective, device: Device) -> Cost:
    """Time of a collective by the profile alone, inside a domain and beyond."""
    inner, _ = parts(op, device)
    return beyond(op, device, inside_cost(inner, device))


def beyond(op: Collective, device: Device, inside: Cost) -> Cost:
    """The cost of a group that may span several domains, from `inside`, the cost of its part in one of them; never less than
    that."""
    inner, net = parts(op, device)
    several = np.asarray(nccl.several(op, device))
    cost = net.beside(inside)
    if not several.any():
        return cost
    light = maximum(inside_light(inner, device), net.light_s)
    return inside.beside(nccl.collective_cost(op, device, light)).where(several, cost)


def inside_light(op: Collective, device: Device) -> Num:
    """Least time of a collective inside one domain, at the link's datasheet rate; 0 for a group of one. [s]"""
    return where(
        op.group > 1.0, _least(op, op.group, sent(op, device), device) * tiers.inside(device, op.group).byte, 0.0
    )


def inside_cost(op: Collective, device: Device) -> Cost:
    """Time of a collective inside one domain by the profile alone; 0 for a group of one."""
    if every(op.group <= 1.0):
        zero = 0.0 * op.payload * op.group
        return Cost(zero, zero, zero, zero, zero)
    wire, hops = _inside(op, op.group, sent(op, device), tiers.inside(device, op.group), device)
    moving = op.group > 1.0
    alpha = where(moving, device.assumption("collective_latency") + hops, 0.0)
    wire, light = where(moving, wire, 0.0), inside_light(op, device)
    return Cost(
        wire_s=wire, overhead_s=alpha, light_s=light, datasheet_s=light, spread={_SOURCE: SPREAD * (wire + alpha)}
    )


def _inside(op: Collective, near: Num, moved: Bytes, tier: tiers.Tier, device: Device) -> tuple[Num, Num]:
    """(seconds on the wire, seconds of hops) of the fastest algorithm inside a domain."""
    if op.kind in ("all_to_all", "p2p"):
        return moved.near * tier.byte * tier.slow, 1.0 * (near > 1.0) * tier.hop
    rounds = _ROUNDS[op.kind]
    best = moved.near * tier.byte * tier.slow, rounds * (near - 1.0) * tier.hop
    shot = (near - 1.0) * op.payload * (1.0 if op.kind == "all_reduce" else 1.0 / near)
    options = [(shot * tier.byte * tier.slow, 1.0 * (near > 1.0) * tier.hop)]
    if device.scaleup is not None and device.scaleup.reduces and op.kind == "all_reduce":
        options.append((_least(op, near, moved, device) * tier.byte * tier.slow, 2.0 * (near > 1.0) * tier.hop))
    for wire, hops in options:
        wins = wire + hops < best[0] + best[1]
        best = where(wins, wire, best[0]), where(wins, hops, best[1])
    return best


def _least(op: Collective, near: Num, moved: Bytes, device: Device) -> Num:
    """Fewest bytes of a rank inside its domain: a reducing switch takes the tensor once and gives the sum once."""
    if op.kind != "all_reduce" or device.scaleup is None or not device.scaleup.reduces:
        return moved.near
    return where(near > 1.0, minimum(moved.near, op.payload * (1.0 + 1.0 / near)), 0.0)


def _far_hops(op: Collective, nodes: Num) -> Num:
    """Hops over the network: of a ring; of all-reduce, up and down a tree where that has fewer."""
    if op.kind in ("all_to_all", "p2p"):
        return 1.0 + 0.0 * nodes
    ring = _ROUNDS[op.kind] * (nodes - 1.0)
    return minimum(ring, 2.0 * np.ceil(np.log2(maximum(nodes, 1.0)))) if op.kind == "all_reduce" else ring
