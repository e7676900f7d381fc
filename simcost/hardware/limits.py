"""Speed of light: the least time that a Work can take on a Device, by its datasheet alone."""

from __future__ import annotations

from simcost.hardware.profile import Device
from simcost.num import Num
from simcost.ops.work import Work


def compute_seconds(work: Work, peak: str, device: Device) -> Num:
    """Arithmetic at the dense peak; 0 for elementwise work where the profile states no fp32 rate (it counts as memory-bound). [s]"""
    if peak == "vector":
        rate = device.peaks.get("fp32")
        return 0.0 * work.flops if rate is None else work.flops / rate
    return work.flops / device.peak(peak)


def memory_seconds(work: Work, device: Device) -> Num:
    """Bytes at the memory's bandwidth. [s]"""
    return work.bytes / device.bandwidth
