"""A trainer that does not fit: which term takes most, and the nearest change of its plan that fits.

Most likely to be wrong: changes that only fit together. Source: `training/memory.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from simcost import lower
from simcost.errors import SimcostError
from simcost.learning import memory
from simcost.scenarios.rl.passes import Trained
from simcost.scenarios.rl.question import Asked
from simcost.units import show

_WORDS = {"passing": "activations and buffers"}


def said(
    q: Asked,
    one: Trained,
    held: memory.Trainer,
    asleep: float,
    priced: Callable[[Mapping[str, Any]], Trained],
    fits: Callable[[Trained], bool],
) -> str:
    """One line: what is short, what takes most, what would fit."""
    capacity = float(one.job.device.capacity)
    used = held.used + asleep
    name, size = max(
        ((name, getattr(held, name)) for name in ("parameters", "gradients", "optimizer", "passing")),
        key=lambda each: each[1],
    )
    beside = f", {show(asleep, 'memory')} of the engine beside it" if asleep else ""
    text = (
        f"trainer: {show(used - capacity, 'memory')} short per GPU "
        f"(needs {show(used, 'memory')} of {show(capacity, 'memory')}{beside}); "
        f"most of it {_WORDS.get(name, name)}, {show(size, 'memory')}"
    )
    near = next((change for change, plan in changes(q, one) if _holds(plan, priced, fits)), None)
    if near is None:
        return f"{text}; none of the single changes of its plan that were tried fits"
    return f"{text}; nearest change that fits: --train {near}"


def changes(q: Asked, one: Trained) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(what is changed, the plan with it), the smallest change first."""
    plan = dict(q.train or {})
    now = one.job.plan
    tried: list[dict[str, Any]] = []
    if one.job.recipe.recompute != "full":
        tried.append({"plan.recompute": "full"})
    again = {} if one.job.recipe.recompute == "full" else {"plan.recompute": "full"}
    for name in ("cp", "pp", *(("ep",) if lower.has_experts(one.job.model) else ()), "tp"):
        size = int(getattr(now, name))
        for factor in (2, 4, 8):
            tried += [{f"plan.{name}": size * factor}, {f"plan.{name}": size * factor, **again}]
    for change in tried:
        words = ",".join(f"{path.removeprefix('plan.')}={value}" for path, value in change.items())
        yield words, {**plan, **change}


def _holds(
    plan: Mapping[str, Any], priced: Callable[[Mapping[str, Any]], Trained], fits: Callable[[Trained], bool]
) -> bool:
    try:
        return fits(priced(plan))
    except SimcostError:
        return False
