"""A trainer that does not fit: which term takes most, and the nearest change of its micro-batch or plan that fits.

Most likely to be wrong: changes that only fit together. Source: `training/memory.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from simcost import lower
from simcost.errors import SimcostError
from simcost.learning import memory
from simcost.scenarios.rl.passes import Trained
from simcost.scenarios.rl.question import Asked
from simcost.units import show

Priced = Callable[[Asked, Mapping[str, Any]], Trained]  # the trainer of a question by a plan
_WORDS = {"passing": "activations and buffers"}


def said(
    q: Asked,
    one: Trained,
    held: memory.Trainer,
    asleep: float,
    priced: Priced,
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
    near = next((option for option, asked, plan in changes(q, one) if _holds(asked, plan, priced, fits)), None)
    if near is None:
        return f"{text}; none of the single changes of its plan that were tried fits"
    return f"{text}; nearest change that fits: {near}"


def changes(q: Asked, one: Trained) -> Iterator[tuple[str, Asked, Mapping[str, Any]]]:
    """(the option, the question and the plan with it), the smallest change first."""
    plan = dict(q.train or {})
    smaller = 1 if q.micro_tokens is not None else (q.micro_batch or 1) // 2
    while smaller:
        instead = "" if q.micro_tokens is None else " in place of --micro-batch-tokens"
        yield f"--micro-batch {smaller}{instead}", replace(q, micro_batch=smaller, micro_tokens=None), plan
        smaller //= 2
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
        yield f"--train {words}", q, {**plan, **change}


def _holds(asked: Asked, plan: Mapping[str, Any], priced: Priced, fits: Callable[[Trained], bool]) -> bool:
    try:
        return fits(priced(asked, plan))
    except SimcostError:
        return False
