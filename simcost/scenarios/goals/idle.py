"""Why a number does not move a metric, where more is known than that it does not."""

from __future__ import annotations

from simcost.calibration import coverage
from simcost.scenarios import notes
from simcost.workload import Workload


def why(w: Workload, path: str) -> str:
    """The reason in words; "" where none is known."""
    key = path.removeprefix("hw.")
    if key in notes.SUPERSEDED and coverage.known(w.device):
        return "affects only kernels without measurements, and this step has none (hw.measurements=none uses the roofline for all)"
    if key.startswith("peak.") and key[5:] not in _computed(w):
        return f"nothing in this step computes in {key[5:]}"
    return ""


def _computed(w: Workload) -> set[str]:
    kinds = (*w.view.compute.values(), w.view.core)
    return {kind.peak for kind in kinds if kind.peak} | {"fp32"}
