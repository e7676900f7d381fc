"""What each stage of a recipe costs, and what its assumptions are worth.

A range of an assumption is priced at both ends with all others at their own value. The interval of a stage holds that of the model and the effects
of its assumptions, added as independent errors of the logarithm. Most likely to be wrong: assumptions that move together. Source: docs/theory/recipe.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from inspect import signature
from types import ModuleType
from typing import Any

from simcost.errors import SimcostError, SpecError, nearest, watched
from simcost.frozen import frozen
from simcost.registry import discover
from simcost.result import Result
from simcost.scenarios.recipe.cost import StageCost
from simcost.scenarios.recipe.file import OWN, Recipe, Stage, Value
from simcost.scenarios.recipe.lengths import SIGMAS

Commands = Mapping[str, Callable[..., Result]]
_GIVEN = ("set", "tokens", "days", "usd", "levers", "timeline")  # arguments that a stage does not set by themselves


@frozen
class Effect:
    """What an assumption of a stage is worth: GPU hours of the stage at its ends; `why`: the end that cannot be asked, and its reason."""

    key: str
    value: Value
    low: float
    high: float
    why: str = ""


@frozen
class Priced:
    """A stage with its cost. low_s, high_s: with its assumptions. start_s: when its parents have ended."""

    stage: Stage
    cost: StageCost
    low_s: float
    high_s: float
    effects: Sequence[Effect]
    start_s: float
    hw: str
    answer: Result

    @property
    def end_s(self) -> float:
        """When the stage ends. [s]"""
        return self.start_s + self.cost.seconds


def priced(recipe: Recipe, commands: Commands, ranges: bool = True) -> tuple[Priced, ...]:
    """All stages, each behind its parents; `ranges`: assumptions are priced at their ends too. Raises SpecError and Infeasible, which name the stage."""
    found: dict[str, Priced] = {}
    for stage in watched(recipe.stages, "stages"):
        start = max((found[parent].end_s for parent in stage.after), default=0.0)
        try:
            found[stage.name] = _stage(stage, start, commands, ranges)
        except SimcostError as error:
            raise type(error)(f"{recipe.where}: stage '{stage.name}': {error}") from None
    return tuple(found.values())


def _stage(stage: Stage, start: float, commands: Commands, ranges: bool) -> Priced:
    values = {key: value.value for key, value in stage.ask.items()}
    module = discover(OWN)[stage.command]
    answer, cost = _asked(module, values, commands)
    effects = tuple(_effects(stage, module, values, cost, commands)) if ranges else ()
    offsets = {"low": [math.log(cost.low_s / cost.seconds)], "high": [math.log(cost.high_s / cost.seconds)]}
    for effect in effects:
        ends = [math.log(end / cost.gpu_hours) for end in (effect.low, effect.high)]
        offsets["low"].append(min(*ends, 0.0))
        offsets["high"].append(max(*ends, 0.0))
    low_s = cost.seconds * math.exp(-math.hypot(*offsets["low"]))
    high_s = cost.seconds * math.exp(math.hypot(*offsets["high"]))
    return Priced(stage, cost, low_s, high_s, effects, start, str(values.get("hw")), answer)


def _asked(module: ModuleType, values: Mapping[str, Any], commands: Commands) -> tuple[Result, StageCost]:
    """The answer of the stage's command. Raises SpecError for a key that it does not take."""
    ask = commands[module.ASKS]
    takes = [name for name in signature(ask).parameters if name not in _GIVEN]
    stated, sets = {}, {}
    for key, value in values.items():
        if "." in key:
            sets[key] = value
        elif key in takes:
            stated[key] = value
        elif key not in module.AMOUNTS and key not in SIGMAS:
            known = (*takes, *module.AMOUNTS, *SIGMAS)
            raise SpecError(
                f"unknown key '{key}' of a stage of command '{module.__name__.rpartition('.')[2]}'{nearest(key, known)}"
            )
    module.amount(values)
    answer = ask(**{**stated, **module.arguments(values)}, set=sets)
    return answer, module.cost(answer, values)


def _effects(
    stage: Stage, module: ModuleType, values: Mapping[str, Any], cost: StageCost, commands: Commands
) -> Iterator[Effect]:
    """Each assumption with a range, at both ends."""
    for key, value in watched(list(stage.ask.items()), f"assumptions of {stage.name}"):
        if value.low is None or value.high is None:
            continue
        hours, why = [], ""
        for end in (value.low, value.high):
            changed = {**values, key: type(value.value)(end)}
            if key in module.AMOUNTS:
                hours.append(cost.gpu_hours * end / float(value.value))
                continue
            try:
                hours.append(_asked(module, changed, commands)[1].gpu_hours)
            except SimcostError as error:
                hours.append(cost.gpu_hours)
                why = f"{key} = {end:g}: {error}"
        yield Effect(key, value, hours[0], hours[1], why)
