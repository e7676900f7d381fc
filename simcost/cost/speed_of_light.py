"""Speed of light of a kernel: the least time that a device's datasheet allows.

Arithmetic at the dense rate; bytes at the bandwidth. Weights and caches come from memory: between two uses other layers pass through
the L2. Activations come from it only as far as they exceed it, kernel by kernel. Most likely to be wrong: an L2 of two halves, of which
a kernel sees one.
"""

from __future__ import annotations

import numpy as np

from simcost.hardware.limits import compute_seconds
from simcost.hardware.profile import Device
from simcost.num import Num, maximum
from simcost.ops.fused import Fused, FusedGrad
from simcost.ops.work import Op


def light_seconds(op: Op, device: Device) -> Num:
    """Least time of one kernel, or of several that run as one (Fused), whose arithmetic and bytes overlap. [s]"""
    return maximum(*light_parts(op, device))


def light_parts(op: Op, device: Device) -> tuple[Num, Num]:
    """(least time of its arithmetic, of its bytes). [s]"""
    parts = op.parts if isinstance(op, (Fused, FusedGrad)) else (op,)
    compute: Num = 0.0
    moved: Num = 0.0
    cache = 0.0 if device.l2 is None else np.asarray(device.l2)
    for part in parts:
        work, activations = part.work(), part.workspace_bytes()
        # What the L2 cannot hold goes to memory; what is read and written but is no activation is weights and caches.
        moved = (
            moved + maximum(work.bytes - activations, 0.0) + maximum(np.minimum(work.bytes, activations) - cache, 0.0)
        )
        if part.peak != "vector":
            compute = compute + compute_seconds(work, part.peak, device)
    return compute, moved / device.bandwidth
