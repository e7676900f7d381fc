"""Plans of both sides where nobody states them: the smallest that hold what runs.

The engine: the fewest GPUs whose memory the weights fill to a half at most, so that a cache has room. The trainer: the
fewest GPUs of a copy whose worst moment fits, without recomputation where that fits, else with it; sequences are cut
where the longest would not fit whole. Most likely to be
wrong: which of several plans of one size a user takes. Source: docs/theory/rl-step.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import numpy as np

from simcost import lower
from simcost.errors import Infeasible, SimcostError
from simcost.hardware import load as hardware
from simcost.model import count
from simcost.query import model_of
from simcost.scenarios.rl.engine import Served, query_of, served
from simcost.scenarios.rl.question import Asked

Plan = dict[str, Any]
FULL = 0.5  # of the memory, that weights may take
_LEAST = 6.0  # bytes that a copy holds of every parameter: a weight in 16 bits and a gradient in 32
_STAGES = 32  # the longest pipeline that is tried
T = TypeVar("T")


def node_of(q: Asked) -> int:
    """GPUs inside one scale-up domain."""
    scaleup = hardware.load(q.hw, query_of(q, {}, q.gpus).overrides.hw).scaleup
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


def shapes(q: Asked, gpus: int) -> Iterator[Plan]:
    """Copies of 1, 2, 4, ... GPUs that fill a pool and could hold their weights and gradients: experts spread over
    a node
    or more and stages of them, or tensor-parallel and stages."""
    query = query_of(q, {}, gpus)
    model, node = model_of(query), node_of(q)
    capacity = float(np.max(np.asarray(hardware.load(q.hw, query.overrides.hw).capacity)))
    whole = _LEAST * float(np.asarray(count.parameters(model)["params_language"]))
    experts = lower.has_experts(model)
    size = 1
    while size <= gpus:
        if gpus % size == 0 and whole / size < capacity:
            inside = min(size, node)
            for wide in (1, 2, 4, 8) if experts else (1,):
                ranks = inside * wide
                if size % ranks == 0 and size // ranks <= _STAGES and (wide == 1 or inside == node):
                    split = {"plan.ep" if experts else "plan.tp": ranks, "plan.pp": size // ranks}
                    yield {key: value for key, value in split.items() if value > 1}
        size *= 2


def trainer(q: Asked, gpus: int, priced: Callable[[Plan], T], fits: Callable[[T], bool]) -> tuple[Plan, T]:
    """The smallest copy that fits; of its context-parallel sizes the smallest, without recomputation where that fits.
    Raises Infeasible where none does."""
    why = "memory does not suffice"

    def tried(plan: Plan) -> T | None:
        nonlocal why
        try:
            found = priced(plan)
        except SimcostError as refused:
            why = str(refused)
            return None
        return found if fits(found) else None

    for shape in shapes(q, gpus):
        rows = {"plan.sequence_parallel": "on"} if "plan.tp" in shape else {}
        most = min(int(shape.get("plan.ep", 1)), node_of(q))
        able: tuple[Plan, T] | None = None
        cp = most
        while cp >= 1:  # what does not fit on the most ranks of a sequence does not fit on fewer
            plan = {**shape, **({"plan.cp": cp} if cp > 1 else {}), **rows, "plan.recompute": "full"}
            one = tried(plan)
            if one is None:
                break
            able = plan, one
            cp //= 2
        if able is not None:
            bare = {key: value for key, value in able[0].items() if key != "plan.recompute"}
            without = tried(bare)
            return able if without is None else (bare, without)
    raise Infeasible(f"trainer: none of the plans tried fits {gpus:,} GPUs ({why}); set one with --train")


def smallest_engine(q: Asked, gpus: int, longest: int, side: str) -> tuple[Plan, Served]:
    """The first plan of an engine that can run and fits; its step times alone are priced. Raises Infeasible where none
    does, with the last reason."""
    why = "none was tried"
    for plan in engines(q, gpus):
        try:
            if engine_fits(served(q, plan, gpus, longest, timed=False)):
                return plan, served(q, plan, gpus, longest)
        except SimcostError as refused:
            why = str(refused)
            continue
        why = "memory does not suffice"
    raise Infeasible(f"{side}: none of the plans tried fits ({why}); set one with --rollout")


def engine_fits(one: Served) -> bool:
    """Whether weights leave room for caches."""
    capacity = float(np.asarray(one.workload.device.capacity))
    return one.held.weights <= FULL * capacity and one.held.pool > one.context * one.token_bytes
