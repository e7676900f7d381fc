"""A stage of reinforcement learning, of so many steps, as the run that `rl` prices."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from simcost.errors import SpecError
from simcost.result import Result
from simcost.scenarios.recipe.cost import StageCost
from simcost.scenarios.recipe.lengths import lengths

ASKS = "rl"
RUNS = True
AMOUNTS: dict[str, float | None] = {"steps": None}


def amount(values: Mapping[str, Any]) -> float:
    """Steps of the stage. Raises SpecError where their number is not said."""
    if "steps" not in values:
        raise SpecError("missing 'steps': how many steps there are")
    return float(values["steps"])


def arguments(values: Mapping[str, Any]) -> dict[str, Any]:
    """A step: the stage multiplies it."""
    return {"levers": False, **lengths(values)}


def cost(result: Result, values: Mapping[str, Any]) -> StageCost:
    """The run of equal steps, with checkpoints, failures and restarts."""
    m = result.metrics
    share = float(m["steps"]) / float(m["goodput"])
    seconds, low_s, high_s = (share * float(m[f"step{end}_s"]) for end in ("", "_low", "_high"))
    said = f"a step {float(m['step_s']):,.3g} s, rollout {float(m['rollout_s']) / float(m['step_s']):.0%} of it"
    return StageCost(float(m["gpus"]), seconds, low_s, high_s, bool(m["fits"]), said)
