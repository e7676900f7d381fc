"""The plan with the fewest GPUs whose memory holds what is asked.

All ways to split 1, 2, 3, ... GPUs by tp, pp, dp, cp and ep are tried as arrays, a range of counts at a time, and the first count at which one fits
ends the search; beyond 64 GPUs only multiples of 8 are tried, below the first power of two that will do. Sizes that follow from the others (dp_attention,
etp) are left to follow. Who names the plan asks the whole question under it.
Most likely to be wrong: which of several plans of one count a user would take; here the one inside a node with the fewest sizes to state.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from simcost import lower
from simcost.errors import SimcostError
from simcost.estimate import feasible, memory
from simcost.num import Array, Bools, divisors
from simcost.workload import Workload

SIZES = ("tp", "pp", "dp", "cp", "ep")
OTHERS = ("dp_attention", "etp", "gpus", "vpp")  # that a plan of these sizes leaves open
MOST = 1024  # GPUs
_EACH, _STEP = 64, 8  # up to so many GPUs every count is tried, beyond it every eighth
_STAGES = 16  # the longest pipeline that is tried

Built = Callable[[dict[str, Any]], Workload]


def found(built: Built, w: Workload) -> dict[str, int] | None:
    """The sizes that are not 1, by the plan's keys; None where no plan of up to `MOST` GPUs fits. `built`: the question under a plan of sizes, which
    may be arrays; `w`: under any plan, for its model and device."""
    domain = w.device.scaleup.domain if w.device.scaleup is not None else None
    node = float(np.max(np.asarray(domain))) if domain is not None else 1.0
    experts, contexts = lower.has_experts(w.model), over_contexts(w)

    def best(counts: Iterable[int]) -> list[float]:
        table = np.array([row for n in counts for row in splits(n, experts, contexts)], np.float64)
        return min(table[_fit(built, table)].tolist(), key=lambda row: _rank(row, node), default=[])

    row = best(range(1, 17)) or best(range(17, _EACH + 1)) or _beyond(best)
    return {name: int(size) for name, size in zip(SIZES, row, strict=True) if size > 1.0} if row else None


def over_contexts(w: Workload) -> bool:
    """Whether plans that split contexts are tried: where the question's own does."""
    return float(np.max(np.asarray(w.plan.cp))) > 1.0


def _beyond(best: Callable[[Iterable[int]], list[float]]) -> list[float]:
    """The best plan of many GPUs: a power of two first, then what is below it."""
    count = 2 * _EACH
    while count <= MOST:
        if row := best([count]):
            return best(range(count // 2 + _STEP, count, _STEP)) or row
        count *= 2
    return []


def splits(devices: int, experts: bool, contexts: bool) -> Iterator[tuple[int, ...]]:
    """(tp, pp, dp, cp, ep) that use all of `devices`. The ranks of a stage are tp·cp or ep, whichever is more, and one divides the other."""
    for pp in divisors(devices):
        if pp > _STAGES:
            return
        for dp in divisors(devices // pp):
            stage = devices // (pp * dp)
            for ranks in divisors(stage):  # that split the attention
                if ranks < stage and not experts:
                    continue
                for cp in divisors(ranks) if contexts else [1]:
                    for ep in [stage] if ranks < stage else divisors(stage) if experts else [1]:
                        yield ranks // cp, pp, dp, cp, ep


def _fit(built: Built, table: Array) -> Bools:
    """Which plans of the table can run and fit."""
    fits = np.ones(len(table), bool)
    try:
        with np.errstate(all="ignore"):
            for check in feasible.of(built(_sizes(table))):
                fits &= np.asarray(check.ok, bool)
            if fits.any():  # memory takes longer than rules
                fits[fits] = np.asarray(memory.kept(built(_sizes(table[fits]))).memory.short) <= 0.0
    except SimcostError:
        fits[:] = False  # what stops every plan, such as a format: the question itself says it
    return fits


def _sizes(table: Array) -> dict[str, Any]:
    return {name: table[:, j] for j, name in enumerate(SIZES)}


def _rank(row: list[float], node: float) -> tuple[float, ...]:
    """Fewest GPUs first; then groups inside a node, few sizes to state, few stages."""
    tp, pp, dp, cp, ep = row
    devices = max(tp * cp, ep) * pp * dp
    return devices, float(tp * cp > node), float(sum(size > 1.0 for size in row)), pp, dp, -tp
