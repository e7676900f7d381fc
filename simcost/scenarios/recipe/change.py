"""A recipe as somebody asks for it: on another cluster, with other values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from simcost import grammar, units
from simcost.errors import SpecError, nearest
from simcost.registry import discover
from simcost.scenarios.recipe.file import OWN, Recipe, Stage, Value

EVERY = "*"
_SAID = "stated in the question"
_HOW = "write <stage>.<key>=<value>, for example pre-training.plan.pp=8"


def stated(texts: Iterable[str]) -> dict[str, Any]:
    """{"<stage>.<key>": value} of texts with an equals sign. Raises SpecError for what has none, and for a key that is set twice."""
    found: dict[str, Any] = {}
    for text in texts:
        path, equals, value = (part.strip() for part in text.partition("="))
        if not equals or not value or "." not in path:
            raise SpecError(f"--set {text}: {_HOW}")
        if path in found:
            raise SpecError(f"--set {text}: '{path}' is set twice")
        key = path.partition(".")[2]
        found[path] = grammar.parsed(grammar.full(key), value) if "." in key else _plain(path, value)
    return found


def _plain(path: str, text: str) -> Any:
    """A number such as 1000, 8k or 14.8T, or the text itself."""
    for read in (int, float, lambda each: units.parse(each, "tokens", path)):
        try:
            return read(text)
        except (ValueError, SpecError):
            continue
    return text


def changed(recipe: Recipe, every: Mapping[str, Any], sets: Mapping[str, Any], runs: Mapping[str, Any]) -> Recipe:
    """`every`: values of all stages (hw, gpus), None where nothing is said. `sets`: "<stage>.<key>" to a value; of the stage "*" to one of all stages that have the key, behind which a
    stage's own stands. `runs`: values of all stages that are runs of steps. Raises SpecError for a stage that is none, and for a key that no stage has."""
    known = [stage.name for stage in recipe.stages]
    own: dict[str, dict[str, Value]] = {name: {} for name in known}
    for path, value in sorted(sets.items(), key=lambda each: not each[0].startswith(EVERY)):
        stage, dot, key = path.partition(".")
        if stage == EVERY and key:
            for name in _with(recipe, key):
                own[name][key] = Value(value, source=_SAID)
            continue
        if stage not in own or not dot or not key:
            raise SpecError(
                f"--set {path}: {_HOW}; stages of {recipe.where}: {', '.join(known)}{nearest(stage, known)}"
            )
        own[stage][key] = Value(value, source=_SAID)
    shared, of_runs = (
        {key: Value(value, source=_SAID) for key, value in each.items() if value is not None} for each in (every, runs)
    )
    able = {stage.name for stage in recipe.stages if discover(OWN)[stage.command].RUNS}
    if of_runs and not able:
        raise SpecError(
            f"--{next(iter(of_runs)).replace('_', '-')} applies to stages that train: {recipe.where} has none"
        )
    return replace(
        recipe,
        stages=tuple(
            _stage(stage, {**shared, **(of_runs if stage.name in able else {}), **own[stage.name]})
            for stage in recipe.stages
        ),
    )


def _with(recipe: Recipe, key: str) -> list[str]:
    """Stages that have a key. Raises SpecError for none."""
    found = [stage.name for stage in recipe.stages if key in stage.ask]
    if not found:
        known = sorted({one for stage in recipe.stages for one in stage.ask})
        raise SpecError(f"--set {EVERY}.{key}: no stage of {recipe.where} has '{key}'{nearest(key, known)}")
    return found


def _stage(stage: Stage, values: Mapping[str, Value]) -> Stage:
    return replace(stage, ask={**stage.ask, **values})
