"""Time of NCCL's collectives over several nodes, by the model that NCCL itself chooses by.

No engine's own all-reduce leaves a node: beyond one the whole collective is NCCL's (or RCCL's, its fork). It runs the cheapest of
algorithms (ring, tree, tree with a switch that reduces) and protocols (LL: flags beside every word; LL128: beside every line;
Simple: whole chunks behind a barrier), each with a time to begin, a time a hop inside the node and between nodes, and a rate.
Their constants are NCCL's own; the network's hop comes on top, as measured (`assumed.scaleout_hop_latency`). Most likely to be
wrong: the fabric. Small all-reduces over two nodes of eight took 25 to 62 us on six InfiniBand and RoCE clusters, and 123 and
219 us on two others (docs/theory/sharding.md). Source: NVIDIA/nccl 2.28, `src/graph/tuning.cc`.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from simcost.cost import tiers
from simcost.cost.cost import Cost
from simcost.cost.network import SPREAD
from simcost.frozen import frozen
from simcost.hardware.profile import Device
from simcost.num import Mask, Num, ceil, maximum, minimum, where
from simcost.ops.collective import Collective

SOURCE = "network collective assumed"
KINDS = ("all_reduce", "all_gather", "reduce_scatter")
# A message of All2All or to the next stage: what Simple takes a hop between nodes.
MESSAGE = 14e-6


@frozen
class Way:
    """One algorithm with one protocol. `begin`; `near`, `far`: a hop inside a node and between two [s]; `wide`: bytes on the wire
    a byte of data; `most`: of the link's rate, where the protocol caps it; `grows`: how much of its rate it reaches, by the log2
    of bytes over 64."""

    begin: float
    near: float
    far: float
    wide: float
    most: float = 1.0
    grows: tuple[float, ...] = (1.0,)


# NCCL's corrections of trees at middle sizes, from 64 B by factors of two.
_LL = (1, 1, 1, 1, 0.9, 0.8, 0.7, 0.7, 0.7, 0.7, 0.6, 0.5, 0.4, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1)
_LL128 = (1, 1, 1, 1, 1, 0.9, 0.8, 0.8, 0.8, 0.7, 0.6, 0.6, 0.6, 0.5, 0.6, 0.6, 0.7, 0.7, 0.8, 0.9, 0.9, 1)
_SIMPLE = (
    0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.8, 0.7, 0.6, 0.6, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.6, 0.6, 0.7, 0.8, 0.9, 1,
)  # fmt: skip
# LL's cap on the bus: 35 to 45 GB/s on Hopper's NVLink of 450, twice that on Blackwell's, 19 to 22.5 on Ampere's of 300.
_CAP = 0.08
TREE = (
    Way(6.8e-6, 0.6e-6, 5.0e-6, 2.0, _CAP, _LL),
    Way(14e-6, 1.25e-6, 8.5e-6, 128 / 120, 1.0, _LL128),
    Way(8.4e-6, 4.0e-6, 14e-6, 1.0, 1.0, _SIMPLE),
)
RING = (
    Way(6.6e-6, 0.6e-6, 2.7e-6, 2.0, _CAP),
    Way(14e-6, 1.9e-6, 4.0e-6, 128 / 120),
    Way(8.4e-6, 3.4e-6, 14e-6, 1.0),
)
# Through the switch and a tree between nodes: its 25 us are for all hops inside.
SWITCH = Way(25e-6, 0.0, 20.9e-6, 1.0, 1.0, _SIMPLE)


@frozen
class Shape:
    """Where a group stands: members of one node, nodes; `inside`, `outside`: seconds a byte of one rank's link and network; `hop`: of
    the network [s]."""

    op: Collective
    near: Num
    nodes: Num
    inside: Num
    outside: Num
    hop: Num

    def seconds(self, way: Way, hops: tuple[Num, Num], sent: tuple[Num, Num]) -> tuple[Num, Num]:
        """(hops, wire) of one way: the slower tier sets the rate."""
        wire = maximum(sent[0] * self.inside, sent[1] * self.outside) * way.wide
        # The cap is on the bus: on what a ring's member sends on its one link; alone in a node a rank has the network for a link.
        link = where(self.inside > 0.0, self.inside, self.outside)
        wire = maximum(wire, sent[0] * link / way.most if way.most < 1.0 else 0.0) / reached(way, self.op.payload)
        return way.begin + hops[0] * way.near + hops[1] * (way.far + self.hop), wire


def several(op: Collective, device: Device) -> Mask:
    """Where NCCL carries a collective over nodes. Chips on a torus run compiled collectives of their own."""
    torus = device.scaleup is not None and device.scaleup.topology == "torus"
    if op.kind not in KINDS or torus:
        return False
    return np.asarray((device.nodes(op.group, op.stride) > 1.0) & (op.group > 1.0), bool)


def collective_cost(op: Collective, device: Device, light: Num) -> Cost:
    """The cheapest way's time; `light`: its speed of light. The caller keeps it where `several` holds."""
    near = device.node(op.group, op.stride)
    inside, outside = tiers.inside(device, near), tiers.outside(device)
    shape = Shape(
        op, near, maximum(device.nodes(op.group, op.stride), 2.0),
        where(near > 1.0, inside.byte * inside.slow, 0.0), outside.byte * outside.slow, outside.hop,
    )  # fmt: skip
    reduces = device.scaleup is not None and device.scaleup.reduces
    (hops, wire), *others = [shape.seconds(*way) for way in ways(shape, reduces)]
    for more_hops, more_wire in others:
        wins = more_hops + more_wire < hops + wire
        hops, wire = where(wins, more_hops, hops), where(wins, more_wire, wire)
    wire = maximum(wire, light)
    return Cost(wire_s=wire, overhead_s=hops, light_s=light, datasheet_s=light, spread={SOURCE: SPREAD * (wire + hops)})


def ways(shape: Shape, reduces: bool) -> Iterator[tuple[Way, tuple[Num, Num], tuple[Num, Num]]]:
    """Every way of a collective: (constants, (hops inside nodes, between them), (bytes of a rank on its link, on its NIC))."""
    op, near, nodes = shape.op, shape.near, shape.nodes
    rounds = 2.0 if op.kind == "all_reduce" else 1.0
    sent = rounds * (op.group - 1.0) / op.group * op.payload
    far = rounds * (nodes - 1.0)
    for way in RING:
        yield way, (rounds * (op.group - 1.0) - far, far), (sent, sent / near)
    if op.kind != "all_reduce":
        return
    # Two trees, each with half the data: of more than two nodes every one is inside one of them and passes on what two others send.
    crossing = where(nodes > 2.0, 2.0, 1.0) * op.payload / near
    levels = 2.0 * ceil(np.log2(nodes))
    for way in TREE:
        yield way, (2.0 * (near - 1.0), levels), (2.0 * (near - 1.0) / near * op.payload, crossing)
    if reduces:
        yield SWITCH, (0.0 * near, levels), (minimum(1.0 + 1.0 / near, near) * op.payload, crossing)


def reached(way: Way, payload: Num) -> Num:
    """Share of its rate that a way reaches at `payload` bytes."""
    if len(way.grows) == 1:
        return way.grows[0]
    at = np.log2(np.maximum(payload, 64.0) / 64.0)
    found = np.interp(at, np.arange(len(way.grows)), way.grows)
    return float(found) if np.ndim(found) == 0 else found
