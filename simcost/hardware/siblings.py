"""Parts of one architecture, which run the same kernels at other clocks, with other memory and links.

Most likely to be wrong: a kernel that was tuned for one of them alone.
"""

from __future__ import annotations

from simcost.hardware.profile import Device

HOPPER = ("h100", "h200")
BLACKWELL = ("b200", "gb200", "b300", "gb300")
LINES = (HOPPER, BLACKWELL)


def siblings(device: str) -> tuple[str, ...]:
    """The other parts of its architecture; () for one that has none."""
    line = next((line for line in LINES if device in line), ())
    return tuple(one for one in line if one != device)


def same_vendor(one: Device, other: Device) -> bool:
    """Whether two devices are of one vendor, by the first word of their titles."""
    return one.title.split()[:1] == other.title.split()[:1]


def architecture(device: Device) -> tuple[str, ...]:
    """Those of `LINES` that a device of NVIDIA belongs to, by its name or by that of the device whose rows stand in for its own; () for one of none of them."""
    one: Device | None = device if device.title.startswith("NVIDIA") else None
    while one is not None:
        for line in LINES:
            if one.name in line:
                return line
        one = one.sibling
    return ()
