"""Plans of both sides where nobody states them: the smallest that hold what runs.

The engine: the fewest GPUs whose memory the weights fill to a half at most, so that a cache has room. The trainer: the
fewest GPUs of a copy whose worst moment fits, without recomputation where that fits, else with it. Most likely to be
wrong: which of several plans of one size a user takes. Source: docs/theory/rl-step.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import numpy as np

from simcost import lower
from simcost.errors import Infeasible, SimcostError
from simcost.hardware import load as hardware
from simcost.query import model_of
from simcost.scenarios.rl.engine import Served, query_of
from simcost.scenarios.rl.question import Asked

Plan = dict[str, Any]
FULL = 0.5  # of the memory, that weights may take
T = TypeVar("T")


def node_of(q: Asked) -> int:
    """GPUs inside one scale-up domain."""
    scaleup = hardware.load(q.hw).scaleup
    return q.gpus if scaleup is None or scaleup.domain is None else int(np.max(np.asarray(scaleup.domain)))


def engines(q: Asked, gpus: int) -> Iterator[Plan]:
    """Instances of 1, 2, 4, ... GPUs that fill a pool: tensor-parallel within a node, beyond it experts spread out, or
    stages."""
    node = node_of(q)
    experts = lower.has_experts(model_of(query_of(q, {}, gpus)))
    size = 1
    while size <= gpus:
        if gpus % size == 0:
            if size <= node:
                yield {"plan.tp": size}
                if experts and size > 1:
                    yield {"plan.ep": size}
            elif experts:
                yield {"plan.ep": size}
                yield {"plan.tp": node, "plan.ep": size}
            else:
                yield {"plan.tp": node, "plan.pp": size // node}
        size *= 2


def trainers(q: Asked, gpus: int) -> Iterator[Plan]:
    """Copies of 1, 2, 4, ... GPUs that fill a pool: experts spread over a node and stages of them, or tensor-parallel
    and stages; each without recomputation and with it."""
    node = node_of(q)
    experts = lower.has_experts(model_of(query_of(q, {}, gpus)))
    size = 1
    while size <= gpus:
        if gpus % size == 0:
            inside = min(size, node)
            over = size // inside
            shapes = [{"plan.ep": inside, "plan.pp": over}] if experts else [{"plan.tp": inside, "plan.pp": over}]
            if experts and over > 1:
                shapes += [{"plan.ep": 2 * inside, "plan.pp": over // 2}]
            for shape in shapes:
                for again in ("none", "full"):
                    yield {
                        **{key: value for key, value in shape.items() if value > 1},
                        **({"plan.sequence_parallel": "on"} if shape.get("plan.tp", 1) > 1 else {}),
                        **({"plan.recompute": again} if again != "none" else {}),
                    }
        size *= 2


def smallest(
    plans: Iterator[Plan], priced: Callable[[Plan], T], fits: Callable[[T], bool], side: str
) -> tuple[Plan, T]:
    """The first plan that can run and fits. Raises Infeasible where none does, with the last reason."""
    why = "none was tried"
    for plan in plans:
        try:
            found = priced(plan)
        except SimcostError as refused:
            why = str(refused)
            continue
        if fits(found):
            return plan, found
        why = "memory does not suffice"
    raise Infeasible(
        f"{side}: no plan that was tried fits ({why}); state one with --{'train' if side == 'trainer' else side}"
    )


def engine_fits(one: Served) -> bool:
    """Whether weights leave room for caches."""
    capacity = float(np.asarray(one.workload.device.capacity))
    return one.held.weights <= FULL * capacity and one.held.pool > one.context * one.token_bytes
