"""A stage that trains: pre-training, longer contexts, supervised fine-tuning, on so many tokens.

`tokens`, or `samples` of `mean_tokens` each over `epochs`. Samples are packed into sequences of `seq` without padding.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from simcost.errors import SpecError
from simcost.result import Result
from simcost.scenarios.recipe.cost import StageCost

ASKS = "train"
RUNS = True
AMOUNTS: dict[str, float | None] = {"tokens": None, "samples": None, "mean_tokens": None, "epochs": 1.0}


def amount(values: Mapping[str, Any]) -> float:
    """Tokens of the stage. Raises SpecError where they are not said in one way."""
    ways = ("tokens",), ("samples", "mean_tokens")
    said = [way for way in ways if all(key in values for key in way)]
    if len(said) != 1 or ("tokens" in values and "samples" in values):
        raise SpecError("state its tokens, with either 'tokens', or 'samples' and 'mean_tokens'")
    found = float(values.get("epochs", 1.0))
    for key in said[0]:
        found *= float(values[key])
    return found


def arguments(values: Mapping[str, Any]) -> dict[str, Any]:
    """What `train` is asked."""
    return {"tokens": amount(values), "levers": False}


def cost(result: Result, values: Mapping[str, Any]) -> StageCost:
    """The run, with checkpoints, failures and restarts."""
    m = result.metrics
    gpus = float(m["gpus"])
    hours, low, high = (float(m[f"run_gpu_hours{end}"]) for end in ("", "_low", "_high"))
    said = f"MFU {float(m['mfu']):.1%}, {float(m['tokens_per_s_per_gpu']):,.0f} tokens/s per GPU"
    seconds, low_s, high_s = (each * 3600.0 / gpus for each in (hours, low, high))
    return StageCost(gpus, seconds, low_s, high_s, bool(m["fits"]), said)
