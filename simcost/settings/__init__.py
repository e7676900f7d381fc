"""Every key that a user may set: of a model, a plan, a step, an engine and a device. What values it takes, its default, what it needs, and what
it means.

The command line's help, checks, error texts and completion, `simcost keys`, docs/settings.md, the JSON Schema of a file of settings, and the notes on
settings without effect read this. Model keys are Hugging Face's; a plug-in's own keys (`HANDLES`) need no entry here.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

from simcost.errors import SpecError, nearest
from simcost.settings._setting import CHOICE as CHOICE
from simcost.settings._setting import COUNT as COUNT
from simcost.settings._setting import FACTOR as FACTOR
from simcost.settings._setting import FLAG as FLAG
from simcost.settings._setting import FORMAT as FORMAT
from simcost.settings._setting import LARGEST as LARGEST
from simcost.settings._setting import LENGTH as LENGTH
from simcost.settings._setting import LIST as LIST
from simcost.settings._setting import NAME as NAME
from simcost.settings._setting import NEEDS as NEEDS
from simcost.settings._setting import ROOTS as ROOTS
from simcost.settings._setting import STACK as STACK
from simcost.settings._setting import STEPS as STEPS
from simcost.settings._setting import SWITCH as SWITCH
from simcost.settings._setting import TABLE as TABLE
from simcost.settings._setting import TRAIN as TRAIN
from simcost.settings._setting import WHOLE as WHOLE
from simcost.settings._setting import Setting as Setting
from simcost.settings.device import HW as HW
from simcost.settings.model import MODEL as MODEL
from simcost.settings.model import SWAPS as SWAPS
from simcost.settings.plan import PLAN as PLAN
from simcost.settings.plan import SIZES as SIZES
from simcost.settings.plan import TRAINING as TRAINING
from simcost.settings.steps import ENGINE as ENGINE
from simcost.settings.steps import PHASE as PHASE


def of_swaps() -> tuple[str, ...]:
    """Keys of the model that ask for a swap, beside its config's."""
    return tuple(one.key for one in SWAPS)


EVERY = (*MODEL, *SWAPS, *PLAN, *TRAINING, *PHASE, *ENGINE, *HW)


@cache
def of(root: str) -> dict[str, Setting]:
    """The settings of a root by key."""
    return {one.key: one for one in EVERY if one.root == root}


@cache
def spelled(root: str) -> dict[str, str]:
    """The key of every spelling: keys themselves and their aliases."""
    return {name: one.key for one in EVERY if one.root == root for name in (one.key, *one.aliases)}


def of_step(decode: bool) -> list[str]:
    """Keys of a step that decode, or prefill, takes."""
    step = STEPS[not decode]
    return [one.key for one in PHASE if step in one.steps]


def of_training() -> list[str]:
    """Keys of a step that training takes."""
    return [one.key for one in PHASE if "train" in one.steps]


COUNTS = tuple(one.key for one in PLAN if one.kind == COUNT)
CHOICES = {one.key: one.choices for one in PLAN if one.kind == CHOICE}


def checked(one: Setting, value: Any, path: str) -> Any:
    """A value of a plan or step as its kind: a count as float, a word. Raises SpecError naming the path, the value and what is allowed.
    Formats and routings are read where they are used."""
    if one.kind in WHOLE:
        return count(path, value, one.least)
    if one.kind == FACTOR:
        return _factor(path, value)
    if one.kind == CHOICE:
        return _choice(one, value, path)
    if value is not None and not isinstance(value, str):
        raise SpecError(f"{path} must be a name, not {value!r}")
    return value


def count(path: str, value: Any, least: int = 1) -> float:
    """A whole number. Raises SpecError naming the path."""
    ok = not isinstance(value, bool) and isinstance(value, (int, float)) and value == value and abs(value) != math.inf
    if not ok or value != int(value):
        raise SpecError(f"{path} must be a whole number, not {value!r}")
    if not least <= value <= LARGEST:
        raise SpecError(f"{path} = {int(value)} is outside {least} to {LARGEST:,}")
    return float(value)


def _factor(path: str, value: Any) -> float | None:
    if value in (None, "none"):
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= 1000:
        raise SpecError(f"{path} must be a number above 0 and at most 1000, or none, not {value!r}")
    return float(value)


def _choice(one: Setting, value: Any, path: str) -> str:
    """One of the named alternatives; true and false stand for on and off."""
    text = ("off", "on")[value] if isinstance(value, bool) else value.lower() if isinstance(value, str) else value
    if text not in one.choices:
        raise SpecError(f"{path} must be one of {one.takes}, not {value!r}{nearest(str(value), one.choices)}")
    return str(text)


def groups(named: Iterable[str]) -> list[str]:
    """The roots that are named, all where none is. Raises SpecError for one that is none."""
    found = list(dict.fromkeys(named))
    for root in found:
        if root not in ROOTS:
            group = root.partition(".")[0]
            hint = f"; '{root}' is in 'simcost keys {group}'" if group in ROOTS else nearest(root, ROOTS)
            raise SpecError(f"unknown group of keys '{root}' (one of {', '.join(ROOTS)}){hint}")
    return found or list(ROOTS)


def schema(roots: Iterable[str] = ROOTS, of_engines: Mapping[str, str] | None = None) -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of a file of settings: a table a root. Keys of a config that are not listed are allowed, others are not. `of_engines`: the key of
    every name that engines give their settings."""
    tables = {}
    for root in roots:
        names = {**spelled(root), **((of_engines or {}) if root == "engine" else {})}
        tables[root] = {
            "type": "object",
            "additionalProperties": root in ("model", "hw"),
            "properties": {name: _spelling(root, name, key) for name, key in names.items() if "<" not in key},
        }
    if set(roots) == set(ROOTS):
        tables[STACK] = {"type": "object", "description": "flags of a training stack, which simcost train takes"}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "simcost settings",
        "type": "object",
        "additionalProperties": False,
        "properties": tables,
        "$defs": {"tokens": _written("([kKmM]i?)?"), "number": _written("([kKmM]i)?"), "multiple": _MULTIPLE},
    }


_MULTIPLE = {"description": "x1.5: a multiple of the config's value", "type": "string", "pattern": r"^[x*]\s*[0-9.]+$"}


def _written(suffix: str) -> dict[str, Any]:
    """A count as a text."""
    return {"type": "string", "pattern": rf"^\s*[0-9][0-9_]*(\.[0-9]+)?([eE][+-]?[0-9]{{1,2}})?\s*{suffix}\s*$"}


def _spelling(root: str, name: str, key: str) -> dict[str, Any]:
    """A key, or another spelling of one, which says the same."""
    known = of(root)
    return (
        _property(known[key]) if name == key or root == "engine" else {"$ref": f"#/properties/{root}/properties/{key}"}
    )


def _property(one: Setting) -> dict[str, Any]:
    """What a file may say of a key, also as the command line takes it ("64k" tokens, true for on); words in lower case."""
    text = {"$ref": "#/$defs/tokens" if one.kind == LENGTH else "#/$defs/number"}
    kinds: dict[str, dict[str, Any]] = {
        **{kind: {"anyOf": [{"type": "integer", "minimum": one.least, "maximum": LARGEST}, text]} for kind in WHOLE},
        FACTOR: {"anyOf": [{"type": "number", "exclusiveMinimum": 0, "maximum": 1000}, {"enum": [None, "none"]}]},
        CHOICE: {"enum": [*one.choices, *(word == "on" for word in one.choices if word in SWITCH)]},
        FLAG: {"type": "boolean"},
        LIST: {"type": ["array", "integer"]},
        TABLE: {"type": "object"},
        "fraction": {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
        "number": {"type": ["number", "string"]},  # or the word of a policy
    }
    other = {"type": ["string", "number"]} if one.root == "hw" or one.key == "version" else {"type": ["string", "null"]}
    found = {"type": ["string", "number", "boolean"]} if one.root == "hw" else kinds.get(one.kind, other)
    if one.root == "model":  # or a key that is taken away
        found = {"anyOf": [*found.get("anyOf", [found]), {"type": "null"}, {"$ref": "#/$defs/multiple"}]}
    return {**found, "description": one.meaning}
