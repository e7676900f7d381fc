"""What was asked, in one line: a page that is passed on says which plan, batch and formats its numbers hold for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from simcost.errors import plain
from simcost.grammar import NAMES
from simcost.hardware.engines import ANY
from simcost.model.given import given as config_of
from simcost.report.cells import cell, title
from simcost.result import Result

COMMANDS = (
    "decode",
    "prefill",
    "sweep",
    "compare",
    "explain",
    "plans",
    "show memory",
    "sensitivity",
    "train",
    "serve",
    "think",
)
_DEVICES = ("tp", "cp", "dp_attention", "pp", "dp")
_SIZES = (*_DEVICES, "ep", "redundant_experts", "vpp")
_PHASE = (
    "concurrency",
    "rate",
    "batch",
    "prefill_batch",
    "context",
    "isl",
    "osl",
    "prefill_pool",
    "decode_pool",
    "prefix_hit",
    "parallel",
    "drafts",
    "acceptance",
    "images",
    "video_frames",
    "image_height",
    "image_width",
    "past",
    "chunk",
    "prefill_tokens",
    "prefill_past",
    "micro_batch",
    "global_batch",
    "seq",
)
_FORMATS = {
    "weight_dtype": "weights",
    "compute_dtype": "compute",
    "kv_dtype": "cache",
    "activation_dtype": "activations",
}


def asked(result: Result) -> str:
    """ "deepseek-v3 on 8 x h200: tp=8, batch 1, context 4,096, weights fp8_block, ..."; "" for other commands."""
    given = result.inputs
    if result.command not in COMMANDS or ("hw" not in given and "vary" not in given):
        return ""
    varied = given.get("vary", {})
    parts = [*_sizes(given, varied), *_phase(given, varied), *_ranked(given), *_formats(given), *_engine(given)]
    parts += _terms(given) if result.command == "show memory" else []
    parts += [f"{path}={value}" for path, value in given.get("set", {}).items() if not _said(path, given)]
    parts += [f"{path} varied" for path in varied if path not in NAMES]
    parts += [f"{given['solved_for']} solved for {given['goal']}"] if "solved_for" in given else []
    if "usd_per_hour" in given:
        usd = given["usd_per_hour"]
        parts.append(f"price {plain(usd)}" if isinstance(usd, str) else f"{cell('usd_per_hour', usd)} per GPU hour")
    models = given.get("models") or _names("model", given)
    return (
        f"{' / '.join(map(_name, models))} on {_devices(result)}{' / '.join(_names('hw', given))}: {', '.join(parts)}"
    )


def _names(key: str, given: Mapping[str, Any]) -> list[Any]:
    """The model or the device, several where it is varied, or where plans are asked for on several."""
    stated = given[key] if key in given else given["vary"][key]
    return list(stated) if isinstance(stated, list) else [stated]


def _name(model: Any) -> str:
    """A model's name; of a config that was handed over the one inside."""
    return str(config_of(model)) if isinstance(model, Mapping) else str(model)


def _devices(result: Result) -> str:
    plan, count = result.inputs.get("plan", {}), result.inputs.get("gpus")
    if count is None and not isinstance(result.inputs.get("hw"), list):  # else it is the number of the best alone
        count = result.metrics.get("gpus")
    sizes = [plan.get(name) for name in _DEVICES]
    if count is None and plan and None not in sizes:
        count = 1
        for size in sizes:
            count *= size
    counts = count if isinstance(count, list) else [count]
    return "" if count is None else f"{' or '.join(f'{each:,}' for each in counts)} x "


def _sizes(given: Mapping[str, Any], varied: Mapping[str, Any]) -> list[str]:
    plan = given.get("plan", {})
    asked_for = ("etp",) if "plan.etp" in given.get("set", {}) else ()  # else it follows from the others
    names = [name for name in (*_SIZES, *asked_for) if f"plan.{name}" not in varied]
    return [f"{name}={plan[name]:,}" for name in names if plan.get(name) not in (None, 0, 1)]


def _phase(given: Mapping[str, Any], varied: Mapping[str, Any]) -> list[str]:
    found = [
        f"{name.replace('_', ' ')} {_count(given[name])}"
        for name in _PHASE
        if name not in varied and given.get(name) is not None and not (name == "past" and not given[name])
    ]
    if "phase" in given and given.get("tokens"):  # train has its run on a page of its own
        found.append(f"a run of {cell('run_tokens', given['tokens'])} tokens")
    return found + ([f"routing {given['routing']}"] if "routing" in given and "routing" not in varied else [])


def _count(value: Any) -> str:
    """A number, several, or a distribution as it was written."""
    if isinstance(value, list):
        return "/".join(map(_count, value))
    if isinstance(value, str):
        return value
    return f"{value:,.0f}" if value == int(value) else f"{value:,.4g}"


def _ranked(given: Mapping[str, Any]) -> list[str]:
    """plans: the batches that were tried, and what was wished for."""
    if "metric" not in given:
        return []
    limits = [f"{title(name)} at most {cell(name, most)}" for name, most in given.get("limits", {}).items()]
    if "batches" not in given:  # of training, and of fleets
        return [*limits, f"ranked by {title(given['metric'])}"]
    tried = given["batches"]
    words = f"batches {tried[0]:,.0f} to {tried[-1]:,.0f}" if len(tried) > 1 else f"batch {tried[0]:,.0f}"
    words = "the best batch" if given.get("between_batches") else words
    return [words, *limits, f"ranked by {title(given['metric'])}"]


def _formats(given: Mapping[str, Any]) -> list[str]:
    plan = given.get("plan", {})
    return [f"{word} {plan[key]}" for key, word in _FORMATS.items() if plan.get(key)]


def _engine(given: Mapping[str, Any]) -> list[str]:
    """Whose kernels run, where that is one engine's."""
    return [f"engine {given['engine']}"] if given.get("engine", ANY) != ANY else []


def _terms(given: Mapping[str, Any]) -> list[str]:
    """By which settings the engine shares out memory."""
    stated = given.get("set", {})
    return [
        f"{name} {cell(name, value)}"
        for name, value in given.get("engine_settings", {}).items()
        if f"engine.{name}" not in stated
    ]


def _said(path: str, given: Mapping[str, Any]) -> bool:
    """Whether the line names a setting already."""
    if path == given.get("solved_for"):
        return True
    name = path.removeprefix("plan.")
    plan = given.get("plan", {})
    return name == "gpus" or (name in plan and name in (*_SIZES, "etp", *_FORMATS))
