"""Energy from time: a device draws a share of its TDP that depends on what binds it.

Most likely to be wrong: the shares, which are assumed (`[assumed]` of each profile, with the published readings that they rest on); clocks
that an operator lowers, and the power of hosts, switches and cooling, which is left out.
"""

from __future__ import annotations

from simcost.cost.cost import Cost
from simcost.hardware.profile import POWER, Device
from simcost.num import Num


def shares(device: Device, end: int | None = None) -> dict[str, Num] | None:
    """The assumed share of the TDP by what binds; `end`: 0 for the lower ends, 1 for the upper ones. None where the profile lacks a share or a
    TDP."""
    if device.tdp is None or any(f"power_{name}" not in device.assumed for name in POWER):
        return None
    found = {name: device.assumed[f"power_{name}"] for name in POWER}
    if end is None:
        return found
    return {name: device.power_ends[name][end] if name in device.power_ends else value for name, value in found.items()}


def drawn(device: Device, cost: Cost, end: int | None = None) -> Num | None:
    """Power of a device in a step, by the time that arithmetic, memory, and links or nothing bind. [W] None where it is unknown."""
    share = shares(device, end)
    if share is None or device.tdp is None:
        return None
    rest = cost.wire_s + cost.overhead_s
    bound = cost.compute_s * share["compute"] + cost.memory_s * share["memory"] + rest * share["waiting"]
    return device.tdp * bound / cost.seconds
