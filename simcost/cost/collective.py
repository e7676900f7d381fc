"""Alpha-beta time of a collective on a profile's link tiers, first form.

Inside one scale-up domain: ring all-reduce 2(n-1) hops and 2(n-1)/n of the tensor, all-gather half of that, All2All one
message a peer. Across domains an all-reduce is reduce-scatter, all-reduce over NICs, all-gather; All2All sends the share
of peers outside over the NIC at the same time as the rest inside. Most likely to be wrong: NCCL's switch of algorithm by
size. Sources: Thakur et al. 2005; NCCL documentation. A group of one moves nothing.
"""

from __future__ import annotations

from simcost.cost.cost import Cost
from simcost.hardware.profile import Device
from simcost.num import Num, every, maximum, where
from simcost.ops.collective import Collective
from simcost.plan import Check

SPREAD = 0.45  # sigma of the log: see docs/theory/calibration.md, "What assumptions are worth"
_ROUNDS = {"all_reduce": 2.0, "all_gather": 1.0, "reduce_scatter": 1.0}


def collective_cost(op: Collective, device: Device) -> Cost:
    """Elementwise; a group that needs a link which the profile does not state takes forever (see `link_checks`)."""
    group = op.group
    if every(group <= 1.0):
        zero = 0.0 * op.payload * group
        return Cost(zero, zero, zero, zero, zero)
    inside, outside = device.node(group), device.nodes(group)
    alpha, wire, light = (
        _all_to_all(op, device, inside, group) if op.kind == "all_to_all" else _ring(op, device, inside, outside)
    )
    alpha = alpha + device.assumption("collective_latency")
    moving = group > 1.0
    wire, alpha, light = (where(moving, value, 0.0) for value in (wire, alpha, light))
    return Cost(
        wire_s=wire, overhead_s=alpha, light_s=light, datasheet_s=light,
        spread={"collective assumed": SPREAD * (wire + alpha)},
    )  # fmt: skip


def _ring(op: Collective, device: Device, inside: Num, outside: Num) -> tuple[Num, Num, Num]:
    rounds = _ROUNDS[op.kind]
    near, near_slow, near_hop = _scaleup(device, inside)
    light = rounds * (inside - 1.0) / inside * op.payload * near
    wire, alpha = light * near_slow, rounds * (inside - 1.0) * near_hop
    if not every(outside <= 1.0):
        far, far_slow, far_hop = _scaleout(device)
        part = where(outside > 1.0, rounds * (outside - 1.0) / outside * op.payload / inside * far, 0.0)
        light, wire, alpha = light + part, wire + part * far_slow, alpha + rounds * (outside - 1.0) * far_hop
    return alpha, wire, light


def _all_to_all(op: Collective, device: Device, inside: Num, group: Num) -> tuple[Num, Num, Num]:
    near, near_slow, near_hop = _scaleup(device, inside)
    peers = maximum(group - 1.0, 1.0)
    light = op.payload * (inside - 1.0) / peers * near
    wire, alpha = light * near_slow, 1.0 * (inside > 1.0) * near_hop
    if not every(inside >= group):
        far, far_slow, far_hop = _scaleout(device)
        part = where(inside < group, op.payload * (group - inside) / peers * far, 0.0)
        light, wire = maximum(light, part), maximum(wire, part * far_slow)
        alpha = alpha + 1.0 * (inside < group) * far_hop
    return alpha, wire, light


def _scaleup(device: Device, inside: Num) -> tuple[Num, Num, Num]:
    """(seconds a byte, slow-down by the assumed efficiency, seconds a hop); zeros where nothing moves inside."""
    if device.scaleup is None:
        return 0.0 * inside, 1.0, 0.0
    return (
        1.0 / device.scaleup.reach(inside),
        1.0 / device.assumption("link_efficiency"),
        device.assumption("hop_latency"),
    )


def _scaleout(device: Device) -> tuple[Num, Num, Num]:
    if device.scaleout is None:  # no way out of the domain: `link_checks` says so before anybody reads this
        return float("inf"), 1.0, 0.0
    return (
        1.0 / device.scaleout,
        1.0 / device.assumption("scaleout_efficiency"),
        device.assumption("scaleout_hop_latency"),
    )


def link_checks(device: Device, devices: Num) -> list[Check]:
    """Whether the profile states a link for so many devices."""
    if device.scaleout is not None:
        return []
    lacks = "no 'links.scaleup' and no" if device.scaleup is None else "no"
    reason = (
        f"{device.where}: {lacks} 'links.scaleout.bandwidth', and the plan spans more than one scale-up domain "
        "(to try one: --set hw.links.scaleout.bandwidth=..., hw.assumed.scaleout_efficiency=..., hw.assumed.scaleout_hop_latency=...)"
    )
    return [Check(device.nodes(devices) <= 1.0, reason)]
