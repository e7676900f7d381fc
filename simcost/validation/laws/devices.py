"""Devices that laws compare: which part follows which, and their rates as plain numbers."""

from __future__ import annotations

import numpy as np

from simcost.hardware.profile import Device

# A part and the ones before it. GB200 follows nobody: other clocks, another host.
LINES = (("a100", "h100", "h200", "b200", "b300"), ("gb200", "gb300"))


def before(hw: str) -> str | None:
    """The part that came before a device in its line; None where it follows nobody."""
    for line in LINES:
        if hw in line[1:]:
            return line[line.index(hw) - 1]
    return None


def peak_rate(device: Device, peak: str) -> float:
    """Dense rate of a format, the largest where a sweep varies it. [FLOP/s] Raises SpecError when the profile does not state it."""
    return float(np.max(np.asarray(device.peak(peak))))


def bandwidth(device: Device) -> float:
    """Bandwidth of the memory. [B/s]"""
    return float(np.max(np.asarray(device.bandwidth)))


def link_bandwidth(device: Device) -> float:
    """Bandwidth of the links inside a node; 0 where there are none. [B/s]"""
    return 0.0 if device.scaleup is None else float(np.max(np.asarray(device.scaleup.bandwidth)))


def largest_group(device: Device) -> float:
    """GPUs of the largest group that the profile's links join: inf with a network or where a scale-up domain has no stated size, else those of
    the domain; 1 without links."""
    if device.scaleout is not None:
        return np.inf
    if device.scaleup is None:
        return 1.0
    return np.inf if device.scaleup.domain is None else float(np.max(np.asarray(device.scaleup.domain)))
