"""Which links a group uses: how many of its members share a node, and what a byte and a hop cost on each tier.

Two tiers: inside a scale-up domain (NVLink, xGMI, PCIe through the host) and between domains, every device over its own share of
the network. Most likely to be wrong: the spine of the network; it counts as free of congestion. Source: the profile.
"""

from __future__ import annotations

from simcost.frozen import frozen
from simcost.hardware.profile import Device
from simcost.num import Num
from simcost.plan import Check, Plan


@frozen
class Tier:
    """`byte`: seconds a byte at the datasheet's rate; `slow`: factor of the assumed efficiency; `hop`: seconds a hop."""

    byte: Num
    slow: Num
    hop: Num


def inside(device: Device, group: Num) -> Tier:
    """The tier between members of one domain; zero seconds where the profile states no link."""
    if device.scaleup is None:
        return Tier(0.0 * group, 1.0, 0.0)
    return Tier(
        1.0 / device.scaleup.reach(group), 1.0 / device.assumption("link_efficiency"), device.assumption("hop_latency")
    )


def outside(device: Device) -> Tier:
    """The tier between domains; infinite seconds a byte where the profile states no network."""
    if device.scaleout is None:  # no way out of the domain: `link_checks` says so before anybody reads this
        return Tier(float("inf"), 1.0, 0.0)
    return Tier(
        1.0 / device.scaleout,
        1.0 / device.assumption("scaleout_efficiency"),
        device.assumption("scaleout_hop_latency"),
    )


def exchange_checks(device: Device, plan: Plan) -> list[Check]:
    """Rules for all_to_all=nvlink: a switch joins all devices, and the experts' group stays inside one domain."""
    if plan.all_to_all != "nvlink":
        return []
    link = device.scaleup
    if link is None or link.topology != "switch":
        return [
            Check(
                plan.exchanges == 0.0,
                f"all_to_all=nvlink needs a switch that joins all devices; {device.name} has none",
            )
        ]
    reason = f"all_to_all=nvlink reaches one scale-up domain of {device.name}, and the group of the experts spans more"
    return [Check((plan.exchanges == 0.0) | (device.nodes(plan.ep, plan.expert_slices) <= 1.0), reason)]


def link_checks(device: Device, devices: Num) -> list[Check]:
    """The rule that a group of `devices` that spans several domains needs a network in the profile; [] where there is one."""
    if device.scaleout is not None:
        return []
    lacks = "no 'links.scaleup' and no" if device.scaleup is None else "no"
    reason = (
        f"{device.where}: {lacks} 'links.scaleout.bandwidth', and the plan spans more than one scale-up domain "
        "(to try one: --set hw.links.scaleout.bandwidth=..., hw.assumed.scaleout_efficiency=..., hw.assumed.scaleout_hop_latency=...)"
    )
    return [Check(device.nodes(devices) <= 1.0, reason)]
