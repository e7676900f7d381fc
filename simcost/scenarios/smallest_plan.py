"""The plan with the fewest GPUs whose memory holds what is asked.

All ways to split 1, 2, 3, ... GPUs by tp, pp, dp, cp and ep are tried as arrays, a range of counts at a time, and the first count at which one fits
ends the search; beyond 64 GPUs only multiples of 8 are tried, below the first power of two that will do. Sizes that follow from the others (dp_attention,
etp) are left to follow. Who names the plan asks the whole question under it.
Most likely to be wrong: which of several plans of one count a user would take; here the one inside a node with the fewest sizes to state.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from simcost import grammar, lower
from simcost.errors import SimcostError
from simcost.estimate import memory
from simcost.num import Array, Bools
from simcost.query import Query, engine_of, phase_of, reasons, settings_of
from simcost.workload import Workload, build

SIZES = ("tp", "pp", "dp", "cp", "ep")
_OTHERS = ("dp_attention", "etp", "gpus", "vpp")
_EACH, MOST, _STEP = 64, 1024, 8  # up to the first every count of GPUs is tried, up to the second those by steps
_STAGES = 16  # the longest pipeline that is tried


def found(query: Query, w: Workload) -> tuple[Query, dict[str, int]] | None:
    """(the question under that plan, its sizes that are not 1); None where no plan of up to 1,024 GPUs fits. `w`: the question's workload."""
    domain = w.device.scaleup.domain if w.device.scaleup is not None else None
    node = float(np.max(np.asarray(domain))) if domain is not None else 1.0
    experts, contexts = lower.has_experts(w.model), float(np.max(np.asarray(w.plan.cp))) > 1.0
    bare = replace(query.overrides, plan={k: v for k, v in query.overrides.plan.items() if k not in (*SIZES, *_OTHERS)})

    def best(counts: Iterable[int]) -> list[float]:
        table = np.array([row for n in counts for row in splits(n, experts, contexts)], np.float64)
        return min(table[_fit(query, w, bare, table)].tolist(), key=lambda row: _rank(row, node), default=[])

    row = best(range(1, 17)) or best(range(17, _EACH + 1)) or _beyond(best)
    if not row:
        return None
    sizes = {name: int(size) for name, size in zip(SIZES, row, strict=True) if size > 1.0}
    return replace(query, overrides=replace(bare, plan={**bare.plan, **sizes})), sizes


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
    for pp in _divisors(devices):
        if pp > _STAGES:
            return
        for dp in _divisors(devices // pp):
            stage = devices // (pp * dp)
            for ranks in _divisors(stage):  # that split the attention
                if ranks < stage and not experts:
                    continue
                for cp in _divisors(ranks) if contexts else [1]:
                    for ep in [stage] if ranks < stage else _divisors(stage) if experts else [1]:
                        yield ranks // cp, pp, dp, cp, ep


def _divisors(n: int) -> list[int]:
    return [d for d in range(1, n + 1) if n % d == 0]


def _fit(query: Query, w: Workload, bare: grammar.Overrides, table: Array) -> Bools:
    """Which plans of the table can run and fit."""
    fits = np.zeros(len(table), bool)
    try:
        with np.errstate(all="ignore"):
            good, _ = reasons(_built(query, w, bare, table), fits.shape)
            if good.any():  # memory takes longer than rules
                held = memory.kept(_built(query, w, bare, table[good])).memory
                fits[good] = np.asarray(held.short) <= 0.0
    except SimcostError:
        pass  # what stops every plan, such as a format: the question itself says it
    return fits


def _built(query: Query, w: Workload, bare: grammar.Overrides, table: Array) -> Workload:
    """The question under every plan of the table. [plans]"""
    sizes: dict[str, Any] = {name: table[:, j] for j, name in enumerate(SIZES)}
    plan = replace(grammar.plan_of(bare.plan), **sizes)
    return build(w.model, w.device, plan, phase_of(query, plan, bare.phase), engine_of(bare), settings_of(bare))


def _rank(row: list[float], node: float) -> tuple[float, ...]:
    """Fewest GPUs first; then groups inside a node, few sizes to state, few stages."""
    tp, pp, dp, cp, ep = row
    devices = max(tp * cp, ep) * pp * dp
    return devices, float(tp * cp > node), float(sum(size > 1.0 for size in row)), pp, dp, -tp
