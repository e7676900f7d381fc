"""Names of the device kernels that a call runs, by torch's profiler: what the fast path is called, and whether it ran."""

from __future__ import annotations

import torch
from torch.profiler import ProfilerActivity, profile

from simcost.measure.timing.cpu import Call


def kernel_names(call: Call) -> list[str]:
    """Names of the device kernels of one call, the one with most time first; on a CPU names of operators."""
    cuda = torch.cuda.is_available()
    with profile(activities=[ProfilerActivity.CUDA if cuda else ProfilerActivity.CPU]) as seen:
        call()
        if cuda:
            torch.cuda.synchronize()
    rows = [e for e in seen.key_averages() if not cuda or str(e.device_type).endswith("CUDA")]
    rows.sort(key=lambda e: -(e.self_device_time_total if cuda else e.self_cpu_time_total))
    return [str(e.key) for e in rows]
