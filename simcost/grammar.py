"""One grammar instead of flags: `path=value` and `path=a,b,c` over model, hw, plan and phase.

`model.kv_lora_rank=1024`, `hw.memory.bandwidth="6 TB/s"` or `x1.5`, `plan.tp=8`, `batch=1,8,64`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from simcost.errors import SpecError, nearest
from simcost.hardware.engine_terms import VERSION, known_settings
from simcost.plan import CHOICES, COUNTS, Plan

PHASE = ("batch", "context", "isl", "past", "chunk", "prefill_tokens", "prefill_past", "routing")
_ENGINE = "engine"
_ROOTS = ("model", "hw", "plan", "phase", _ENGINE)
_PLAN = tuple(f.name for f in fields(Plan))
_LARGEST = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Overrides:
    """Values by their path without the root."""

    model: dict[str, Any] = field(default_factory=dict)
    hw: dict[str, Any] = field(default_factory=dict)
    plan: dict[str, Any] = field(default_factory=dict)
    phase: dict[str, Any] = field(default_factory=dict)
    engine: dict[str, Any] = field(default_factory=dict)

    def merged(self, assignments: Mapping[str, Any]) -> Overrides:
        """With `path -> value` on top."""
        tables = {root: dict(getattr(self, root)) for root in _ROOTS}
        for path, value in assignments.items():
            root, key = split(path)
            tables[root][key] = value
        return Overrides(**tables)


def split(path: str) -> tuple[str, str]:
    """("plan", "tp") of "plan.tp"; bare phase names stand for phase.*. Raises SpecError for unknown roots and plan keys."""
    root, _, key = path.partition(".")
    if path == _ENGINE:
        return _ENGINE, _ENGINE
    if not key and root in PHASE:
        return "phase", root
    if root not in _ROOTS or not key:
        known = [*PHASE, _ENGINE, *("plan." + k for k in _PLAN), "model.<config key>", "hw.memory.bandwidth"]
        raise SpecError(
            f"unknown path '{path}' (model.<key>, hw.<key>, plan.<key>, {_ENGINE}, {_ENGINE}.<key> or {', '.join(PHASE)}){nearest(path, known)}"
        )
    if root == _ENGINE and key not in known_settings():
        raise SpecError(
            f"unknown path '{path}' (engines have {', '.join(known_settings())}){nearest(key, known_settings())}"
        )
    if root == "plan" and key in (*PHASE, _ENGINE):
        raise SpecError(f"unknown path '{path}'; did you mean '{key}'?")
    if root == "plan" and key not in _PLAN:
        raise SpecError(f"unknown path '{path}' (plan has {', '.join(_PLAN)}){nearest(key, _PLAN)}")
    if root == "phase" and key not in PHASE:
        raise SpecError(f"unknown path '{path}' (phase has {', '.join(PHASE)}){nearest(key, PHASE)}")
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


def count(path: str, value: Any, least: int = 1) -> float:
    """A whole number from a phase or plan value. Raises SpecError naming the path."""
    ok = not isinstance(value, bool) and isinstance(value, (int, float)) and value == value and abs(value) != math.inf
    if not ok or value != int(value):
        raise SpecError(f"{path} must be a whole number, not {value!r}")
    if not least <= value <= _LARGEST:
        raise SpecError(f"{path} = {int(value)} is outside {least} to {int(_LARGEST):,}")
    return float(value)


def _factor(value: Any) -> float | None:
    if value in (None, "none"):
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= 1000:
        raise SpecError(f"plan.capacity_factor must be a number above 0 and at most 1000, or none, not {value!r}")
    return float(value)


def _switch(key: str, value: Any) -> str:
    """One of a plan's named alternatives; true and false stand for on and off."""
    text = {True: "on", False: "off"}.get(value, value) if isinstance(value, bool) else value
    if text not in CHOICES[key]:
        raise SpecError(
            f"plan.{key} must be one of {', '.join(CHOICES[key])}, not {value!r}{nearest(str(value), CHOICES[key])}"
        )
    return str(text)


def plan_of(overrides: Mapping[str, Any]) -> Plan:
    """A Plan from checked values; counts may be arrays already."""
    checked: dict[str, Any] = {}
    for key, value in overrides.items():
        if key in COUNTS:
            least = 0 if key == "redundant_experts" else 1
            checked[key] = value if hasattr(value, "shape") else count(f"plan.{key}", value, least)
        elif key == "capacity_factor":
            checked[key] = _factor(value)
        elif key in CHOICES:
            checked[key] = _switch(key, value)
        elif value is not None and not isinstance(value, str):
            raise SpecError(f"plan.{key} must be a name, not {value!r}")
        else:
            checked[key] = value
    return Plan(**checked)
