"""Roofline of one kernel: work over datasheet rates, each derated by the profile's assumed efficiency, plus an overhead.

The speed-of-light part rests on the datasheet, the rest on assumptions. Most likely to be wrong: one efficiency for all
shapes; small and skinny kernels fall short of it. Source: Williams et al. 2009 (roofline).
"""

from __future__ import annotations

from simcost.cost.collective import collective_cost
from simcost.cost.cost import Cost
from simcost.cost.exchange import notify, priced, resolved, traffic_cost
from simcost.cost.speed_of_light import light_seconds
from simcost.hardware.limits import compute_seconds, memory_seconds
from simcost.hardware.profile import Device
from simcost.num import where
from simcost.ops.collective import Collective
from simcost.ops.exchange import Exchange
from simcost.ops.fused import FusedGrad
from simcost.ops.traffic import Traffic
from simcost.ops.work import Op

# Sigma of the log of this roofline's error, from the rows of the eight devices that ship measured (docs/theory/calibration.md,
# "What assumptions are worth"); families without rows stand in the middle.
SPREAD = {"gemm": 0.40, "grouped_gemm": 0.54, "attention": 0.98}
OTHER = 0.5
_EFFICIENCY = {
    "gemm": "gemm_efficiency",
    "grouped_gemm": "gemm_efficiency",
    "attention": "attention_efficiency",
    "index": "attention_efficiency",
}


class Roofline:
    """A cost model: `op -> Cost` on one device."""

    def __init__(self, device: Device) -> None:
        self.device = device
        self.multiprocessors = device.multiprocessors
        self._overhead = device.assumption("kernel_overhead")
        self._memory = device.assumption("memory_efficiency")
        self.known: dict[Op, Cost] = {}  # what was asked before (`estimate/memo.py`)

    def __call__(self, op: Op) -> Cost:
        if isinstance(op, Collective):
            return collective_cost(op, self.device)
        if isinstance(op, Exchange):
            return priced(op, self.device, self._exchange)
        if isinstance(op, Traffic):
            return traffic_cost(op, self.device)
        if isinstance(op, FusedGrad):
            return sum((self(part) for part in op.parts[1:]), self(op.parts[0]))
        work = op.work()
        compute, memory = compute_seconds(work, op.peak, self.device), memory_seconds(work, self.device)
        key = _EFFICIENCY.get(op.family)
        # Elementwise kernels get the memory efficiency on both sides: they are never near the vector peak.
        slow_compute = compute / (self._memory if key is None else self.device.assumption(key))
        slow_memory = memory / self._memory
        computing = slow_compute >= slow_memory
        light = light_seconds(op, self.device)
        present = 1.0 * (work.bytes > 0)
        overhead = self._overhead * present
        total = where(computing, slow_compute, slow_memory) + overhead
        return Cost(
            where(computing, slow_compute, 0.0), where(computing, 0.0, slow_memory), 0.0, overhead, light,
            datasheet_s=light, spread={f"{op.family} assumed": SPREAD.get(op.family, OTHER) * total},
        )  # fmt: skip

    def _exchange(self, op: Exchange) -> Cost:
        found = resolved(op, self.device)
        return traffic_cost(found, self.device) + notify(found)
