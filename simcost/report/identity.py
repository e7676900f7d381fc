"""What tells rows of one file from those of another: model, device, engine, plan, what else is set, phase, version, and a digest of the question with its files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from simcost.files import blake2b
from simcost.hardware import load as hardware
from simcost.model import load as models
from simcost.model.given import given as config_of
from simcost.provenance import VERSION
from simcost.result import Result, Row

COMMANDS = ("decode", "prefill", "sweep", "compare", "explain", "plans", "sensitivity", "show memory")
_SIZES = ("tp", "cp", "dp_attention", "pp", "dp", "ep")  # etp follows, unless it is set


def of(result: Result) -> Row:
    """Columns for every row of a file; {} for commands that answer no question about a model on a device. `content`: 12 hex digits of a digest over all
    that was asked, the model's config, the device's profile and the version: equal where the same question met the same files."""
    given = result.inputs
    if result.command not in COMMANDS:
        return {}
    phase = result.command if result.command in ("decode", "prefill") else given.get("phase", "")
    found: Row = {
        "model": _name(given.get("model", "")), "hw": given.get("hw", ""), "engine": given.get("engine", ""), "plan": _plan(given),
        "set": _others(given), "phase": phase,
        "simcost": VERSION, "content": _content(given),
    }  # fmt: skip
    return {key: value for key, value in found.items() if isinstance(value, str) and value}


def _plan(given: Mapping[str, Any]) -> str:
    """Sizes above 1 of the plan that all rows share."""
    sizes = {
        **given.get("plan", {}),
        **{k.removeprefix("plan."): v for k, v in given.get("set", {}).items() if k.startswith("plan.")},
    }
    names = (*_SIZES, *(["etp"] if "plan.etp" in given.get("set", {}) else []))
    return " ".join(f"{name}={sizes[name]}" for name in names if sizes.get(name) not in (None, 0, 1))


def _others(given: Mapping[str, Any]) -> str:
    """What is set beside the plan's sizes: a swap of the model, formats, numbers of the device."""
    sizes = {f"plan.{name}" for name in (*_SIZES, "etp", "gpus")}
    return " ".join(f"{path}={value}" for path, value in given.get("set", {}).items() if path not in sizes)


def _name(model: Any) -> Any:
    """A model's name; of a config that was handed over the one inside."""
    return str(config_of(model)) if isinstance(model, Mapping) else model


def _content(given: Mapping[str, Any]) -> str:
    varied = given.get("vary", {})
    named = [given.get("model"), *given.get("models", ()), *varied.get("model", ())]
    configs = [models.load_config(name)[2] if isinstance(name, str) else name for name in named if name]
    devices = [given.get("hw"), *varied.get("hw", ())]
    profiles = [hardware.read(name)[1] for name in devices if isinstance(name, str)]
    text = json.dumps([VERSION, given, configs, profiles], sort_keys=True, default=str)
    return blake2b(text.encode(), digest_size=6).hexdigest()
