"""`workloads/recipes/<name>.toml`: the stages of a recipe. Every value has a source, or a reason and the range in which it may lie.

Most likely to be wrong: what reports leave out, plans and lengths above all; those values carry ranges. Source: docs/theory/recipe.md.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from simcost.errors import SpecError, nearest
from simcost.files import folder, is_file
from simcost.frozen import frozen
from simcost.registry import discover
from simcost.texts import checked_keys, toml_table

SCHEMA = 1
OWN = "simcost.scenarios.recipe.commands"
_TOP = ("title", "source", "stages"), ("schema", "defaults", "usd_per_hour", "published")
_STAGE = ("title", "command", "ask"), ("after",)


@frozen
class Value:
    """One value and what it rests on: `source`, or `reason`. low, high: ends of the range of an assumption; None where a source states the value."""

    value: Any
    source: str = ""
    reason: str = ""
    low: float | None = None
    high: float | None = None

    @property
    def assumed(self) -> bool:
        """Whether no source states it."""
        return not self.source


@frozen
class Stage:
    """A stage: `command` prices it with the values of `ask`, once the stages of `after` have ended."""

    name: str
    title: str
    command: str
    after: tuple[str, ...]
    ask: Mapping[str, Value]


@frozen
class Published:
    """GPU hours that a source prints for some stages together."""

    title: str
    stages: tuple[str, ...]
    gpu_hours: float
    source: str


@frozen
class Recipe:
    """Stages in an order in which each stands behind those that it follows. usd_per_hour: of one GPU of the recipe's own device, None: as its profile says."""

    name: str
    where: str
    title: str
    source: str
    stages: tuple[Stage, ...]
    usd_per_hour: Value | None
    published: tuple[Published, ...]


def names() -> list[str]:
    """Names of the recipes that ship, sorted."""
    return sorted(path.stem for path in _home().glob("*.toml"))


def _home() -> Path:
    return folder("workloads") / "recipes"


def load(name: str) -> Recipe:
    """A recipe by name, or by the path of a file. Raises SpecError for an unknown name and a malformed file."""
    path = _home() / f"{name.lower()}.toml"
    shipped = os.path.isfile(path)
    if not shipped:
        path = Path(name)
    if not is_file(path):
        raise SpecError(f"unknown recipe '{name}' (recipes: {', '.join(names())}, or a file){nearest(name, names())}")
    return read(toml_table(path), path.stem, path.name if shipped else str(path))


def read(table: Mapping[str, Any], name: str, where: str) -> Recipe:
    """The recipe of a table. Raises SpecError, which names file and key."""
    checked_keys(table, *_TOP, where, "")
    if table.get("schema") != SCHEMA:
        raise SpecError(f"{where}: 'schema' = {table.get('schema')!r}, and this version reads {SCHEMA}")
    defaults = _values(table.get("defaults", {}), where, "defaults.")
    stages = _table(table["stages"], where, "stages")
    found = tuple(_stage(key, entry, defaults, where) for key, entry in stages.items())
    if not found:
        raise SpecError(f"{where}: 'stages' is empty")
    price = table.get("usd_per_hour")
    return Recipe(
        name, where, _text(table["title"], where, "title"), _text(table["source"], where, "source"), _in_order(found, where),
        None if price is None else _value(price, where, "usd_per_hour"), tuple(_published(table.get("published", []), set(stages), where)),
    )  # fmt: skip


def _stage(name: str, entry: Any, defaults: Mapping[str, Value], where: str) -> Stage:
    at = f"stages.{name}"
    checked_keys(_table(entry, where, at), *_STAGE, where, f"{at}.")
    command = entry["command"]
    known = discover(OWN)
    if command not in known:
        raise SpecError(
            f"{where}: '{at}.command' = {command!r} is not one of {', '.join(known)}{nearest(str(command), known)}"
        )
    after = entry.get("after", [])
    if not isinstance(after, list) or not all(isinstance(each, str) for each in after):
        raise SpecError(f"{where}: '{at}.after' must be a list of names of stages, not {after!r}")
    ask = {**defaults, **_values(entry["ask"], where, f"{at}.ask.")}
    return Stage(name, _text(entry["title"], where, f"{at}.title"), command, tuple(after), ask)


def _in_order(stages: Sequence[Stage], where: str) -> tuple[Stage, ...]:
    """Each stage behind its parents. Raises SpecError for a parent that is none, and for stages that wait for each other."""
    known = [stage.name for stage in stages]
    for stage in stages:
        for parent in stage.after:
            if parent not in known:
                raise SpecError(
                    f"{where}: 'stages.{stage.name}.after' names '{parent}', which is not a stage{nearest(parent, known)}"
                )
    done: list[Stage] = []
    left = list(stages)
    while left:
        ready = [stage for stage in left if all(parent in {each.name for each in done} for parent in stage.after)]
        if not ready:
            raise SpecError(f"{where}: stages wait for each other: {', '.join(stage.name for stage in left)}")
        done.append(ready[0])
        left.remove(ready[0])
    return tuple(done)


def _published(rows: Any, stages: set[str], where: str) -> Sequence[Published]:
    if not isinstance(rows, list):
        raise SpecError(f"{where}: 'published' must be a list of tables, not {rows!r}")
    found = []
    for i, row in enumerate(rows):
        at = f"published[{i}]"
        checked_keys(_table(row, where, at), ("title", "stages", "gpu_hours", "source"), (), where, f"{at}.")
        for name in row["stages"] if isinstance(row["stages"], list) else [row["stages"]]:
            if name not in stages:
                raise SpecError(
                    f"{where}: '{at}.stages' names {name!r}, which is not a stage{nearest(str(name), stages)}"
                )
        hours = _number(row["gpu_hours"], where, f"{at}.gpu_hours")
        title, source = (_text(row[key], where, f"{at}.{key}") for key in ("title", "source"))
        found.append(Published(title, tuple(row["stages"]), hours, source))
    return found


def _values(table: Any, where: str, at: str) -> dict[str, Value]:
    return {key: _value(entry, where, f"{at}{key}") for key, entry in _table(table, where, at.rstrip(".")).items()}


def _value(entry: Any, where: str, at: str) -> Value:
    """Raises SpecError for a value without source or reason, and for an assumed number without a range around it."""
    said = "source" if isinstance(entry, Mapping) and "source" in entry else "reason"
    checked_keys(
        _table(entry, where, at), ("value", said), () if said == "source" else ("low", "high"), where, f"{at}."
    )
    words = _text(entry[said], where, f"{at}.{said}")
    if said == "source":
        return Value(entry["value"], source=words)
    if ("low" in entry) != ("high" in entry):
        raise SpecError(f"{where}: '{at}' must have both low and high, or neither")
    if "low" not in entry:
        return Value(entry["value"], reason=words)
    low, middle, high = (_number(entry[key], where, f"{at}.{key}") for key in ("low", "value", "high"))
    if not low <= middle <= high:
        raise SpecError(f"{where}: '{at}' = {middle:g} must lie from low = {low:g} to high = {high:g}")
    return Value(entry["value"], "", words, low, high)


def _table(entry: Any, where: str, at: str) -> Mapping[str, Any]:
    if not isinstance(entry, Mapping):
        raise SpecError(f"{where}: '{at}' must be a table, not {entry!r}")
    return entry


def _text(value: Any, where: str, at: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise SpecError(f"{where}: '{at}' must be a text, not {value!r}")
    return value


def _number(value: Any, where: str, at: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0.0 < value < float("inf"):
        raise SpecError(f"{where}: '{at}' = {value!r} must be a number above 0")
    return float(value)
