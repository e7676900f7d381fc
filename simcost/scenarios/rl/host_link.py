"""The link between a GPU and the memory of its host."""

from __future__ import annotations

import numpy as np

from simcost.errors import SpecError
from simcost.hardware.profile import Device


def host_rate(device: Device) -> float:
    """What copies of pinned memory reach of the link, one direction. Raises SpecError for a profile that states none. [B/s]"""
    if device.host is None:
        raise SpecError(
            f"{device.where}: no link to the host's memory (links.host), so nothing can be moved off the GPUs: set the link with "
            "--set hw.links.host.bandwidth=64GB/s --set hw.assumed.host_efficiency=0.8"
        )
    return float(np.max(np.asarray(device.host))) * float(np.max(np.asarray(device.assumption("host_efficiency"))))
