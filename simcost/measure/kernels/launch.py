"""What it costs to start a kernel: a chain of tiny additions, eagerly and, on CUDA, as one graph."""

from __future__ import annotations

import torch

from simcost.measure.timing import cpu
from simcost.measure.timing.buffers import Bench

CHAIN = 200


def launch(bench: Bench, target_s: float) -> dict[str, float]:
    """Seconds of one of 200 chained additions: "eager_s" (bound by the host) and on CUDA "graph_s" (the gap between two nodes)."""
    x = bench.uniform((16,))

    def chain() -> torch.Tensor:
        y = x
        for _ in range(CHAIN):
            y = y + 1.0
        return y

    if not bench.cuda:
        return {"eager_s": cpu.timed([chain], target_s).seconds / CHAIN}
    from simcost.measure.timing import cuda

    found = {}
    for graph in (False, True):
        taken, how = cuda.timed([chain], target_s, bench.target.name, graph)
        found[f"{how.split()[0]}_s"] = taken.seconds / CHAIN
    return found
