"""One grammar instead of flags: `path=value` and `path=a,b,c` over model, hw, plan and phase.

`model.kv_lora_rank=1024`, `hw.memory.bandwidth="6 TB/s"` or `x1.5`, `plan.tp=8`, `batch=1,8,64`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import field
from typing import Any

from simcost import settings
from simcost.errors import SpecError, nearest
from simcost.frozen import frozen
from simcost.hardware.engine_terms import VERSION, known_settings
from simcost.plan import Plan
from simcost.settings import ROOTS

PHASE = tuple(settings.of("phase"))
_ENGINE = "engine"


@frozen
class Overrides:
    """Values by their path without the root."""

    model: dict[str, Any] = field(default_factory=dict)
    hw: dict[str, Any] = field(default_factory=dict)
    plan: dict[str, Any] = field(default_factory=dict)
    phase: dict[str, Any] = field(default_factory=dict)
    engine: dict[str, Any] = field(default_factory=dict)

    def merged(self, assignments: Mapping[str, Any]) -> Overrides:
        """With `path -> value` on top."""
        tables = {root: dict(getattr(self, root)) for root in ROOTS}
        for path, value in assignments.items():
            root, key = split(path)
            tables[root][key] = value
        return Overrides(**tables)


def split(path: str) -> tuple[str, str]:
    """("plan", "tp") of "plan.tp", of "plan.tensor_parallel_size" too; bare phase names stand for phase.*. Raises SpecError for unknown roots and
    keys."""
    root, _, key = path.partition(".")
    if path == _ENGINE:
        return _ENGINE, _ENGINE
    phase, plan = settings.spelled("phase"), settings.spelled("plan")
    if not key and root in phase:
        return "phase", phase[root]
    if root not in ROOTS or not key:
        known = [*phase, _ENGINE, *("plan." + k for k in plan), "model.<config key>", "hw.memory.bandwidth"]
        raise SpecError(
            f"unknown path '{path}' (model.<key>, hw.<key>, plan.<key>, {_ENGINE}, {_ENGINE}.<key> or {', '.join(PHASE)}){nearest(path, known)}"
        )
    if root == _ENGINE and key not in known_settings():
        raise SpecError(
            f"unknown path '{path}' (engines have {', '.join(known_settings())}){nearest(key, known_settings())}"
        )
    if root == "plan" and key in (*phase, _ENGINE):
        raise SpecError(f"unknown path '{path}'; did you mean '{phase.get(key, key)}'?")
    for table, spellings in (("plan", plan), ("phase", phase)):
        if root == table and key not in spellings:
            raise SpecError(
                f"unknown path '{path}' ({table} has {', '.join(settings.of(table))}){nearest(key, spellings)}"
            )
        if root == table:
            return root, spellings[key]
    return root, key


def full(path: str) -> str:
    """One spelling of a path: "batch" for "phase.batch"."""
    root, key = split(path)
    return key if root == "phase" or path == _ENGINE else f"{root}.{key}"


def assignments(texts: Iterable[str], engine: str | None = None) -> dict[str, Any]:
    """{path: value} of "path=value" texts; `engine`: of the option that says the same as engine=..., None where it was not given."""
    found: dict[str, Any] = {}
    for text in texts:
        path, equals, value = text.partition("=")
        if not equals or not value.strip():
            raise SpecError(f"--set {text}: write path=value, for example plan.tp=8")
        name = full(path.strip())
        if name in found:
            raise SpecError(f"--set {text}: '{name}' is set twice")
        found[name] = _value(name, value.strip())
    if engine is not None:
        if _ENGINE in found:
            raise SpecError(f"engine is set twice: --engine {engine} and --set {_ENGINE}={found[_ENGINE]}")
        found[_ENGINE] = engine
    return found


def axes(texts: Iterable[str]) -> dict[str, list[Any]]:
    """{path: values} of "path=a,b,c" texts."""
    found: dict[str, list[Any]] = {}
    for text in texts:
        path, equals, values = text.partition("=")
        if not equals or not values.strip():
            raise SpecError(f"--vary {text}: write path=a,b,c, for example plan.tp=1,2,4,8")
        name = full(path.strip())
        parts = [part.strip() for part in values.split(",")]
        if any(not part for part in parts):
            raise SpecError(f"--vary {text}: an empty value between commas")
        if name in found:
            raise SpecError(f"--vary {text}: '{name}' is varied twice")
        found[name] = [_value(name, part) for part in parts]
    return found


def words(option: str, text: str) -> list[str]:
    """The words of "a,b,c". Raises SpecError for an empty one."""
    found = [word.strip() for word in text.split(",")]
    if not all(found):
        raise SpecError(f"{option} {text}: an empty value between commas")
    return found


def whole(option: str, text: str) -> int:
    """A whole number of a command line. Raises SpecError naming the option."""
    if not text.isascii() or not text.isdigit():
        raise SpecError(f"{option} {text}: must be a whole number, or several such as 1,2,4,8")
    return int(text)


def _value(path: str, text: str) -> Any:
    root, key = split(path)
    if root == "hw" or (root == _ENGINE and key == VERSION):
        return text.strip("\"'")
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        value = text.strip("\"'")
    if isinstance(value, float) and not math.isfinite(value):
        raise SpecError(f"{path}={text}: must be finite")
    return value


def plan_of(overrides: Mapping[str, Any]) -> Plan:
    """A Plan from checked values; counts may be arrays already."""
    known = settings.of("plan")
    return Plan(**{
        key: value if hasattr(value, "shape") else settings.checked(known[key], value, known[key].path)
        for key, value in overrides.items()
    })  # fmt: skip
