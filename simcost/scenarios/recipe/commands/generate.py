"""A stage that makes answers by serving: data of a teacher, or candidates of which some are kept (rejection sampling).

`answers` that are kept, of `attempts` each that are made. The fleet is full all the time: the tail of the last answers is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from simcost.errors import SpecError
from simcost.result import Result
from simcost.scenarios.recipe.cost import StageCost
from simcost.scenarios.recipe.lengths import lengths

ASKS = "serve"
RUNS = False
AMOUNTS: dict[str, float | None] = {"answers": None, "attempts": 1.0}


def amount(values: Mapping[str, Any]) -> float:
    """Answers that are made. Raises SpecError where their number is not said."""
    if "answers" not in values:
        raise SpecError("missing 'answers': how many answers are kept")
    return float(values["answers"]) * float(values.get("attempts", 1.0))


def arguments(values: Mapping[str, Any]) -> dict[str, Any]:
    """Lengths as distributions, where the stage gives their sigma."""
    return lengths(values)


def cost(result: Result, values: Mapping[str, Any]) -> StageCost:
    """All answers at the rate of the steady state."""
    m = result.metrics
    served, of_answers = amount(values), float(m["requests_per_s"])
    tokens = float(m["output_tokens_per_s"]) / of_answers  # of an answer
    seconds, low_s, high_s = (served * tokens / float(m[f"output_tokens_per_s{end}"]) for end in ("", "_high", "_low"))
    said = f"{float(m['output_tokens_per_s_per_gpu']):,.0f} output tokens/s per GPU"
    return StageCost(float(m["gpus"]), seconds, low_s, high_s, bool(result.fits), said)
