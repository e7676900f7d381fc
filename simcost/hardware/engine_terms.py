"""`workloads/engines/<name>.toml` -> the terms by which an engine shares out memory, by release, for a device and a plan.

A term holds from a release on until a later one restates it. What a user sets goes by the engine's own name:
`engine.gpu_memory_utilization` (vLLM), `engine.mem_fraction_static` (SGLang), `engine.free_gpu_memory_fraction` (TensorRT-LLM).
Most likely to be wrong: memory that no framework accounts for (NCCL, exchange buffers), which moves between releases and machines.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np

from simcost import units
from simcost.errors import SpecError, nearest
from simcost.frozen import frozen
from simcost.hardware import engine_checks, engines
from simcost.hardware.engine_checks import size_of
from simcost.hardware.engine_memory import EngineMemory
from simcost.hardware.engines import ANY, TORCH
from simcost.hardware.profile import Device
from simcost.num import Mask, Num, maximum, where
from simcost.plan import Plan

OF_ANY = "vllm"  # whose terms stand for engine=any and engine=torch
SHARE_OF_ANY = 0.9  # vLLM's default up to 0.19, and what most guides write
SETTINGS = ("share", "tokens", "sequences", "block")
VERSION = "version"
_HEAD = ("version", "models")


@frozen
class About:
    """What terms ask of a model: its `model_type`, whether it has routed experts, whether a vision tower."""

    family: str = ""
    experts: bool = False
    tower: bool = False


def terms(
    engine: str, settings: Mapping[str, Any], device: Device, plan: Plan, about: About | None = None
) -> EngineMemory:
    """The terms of an engine for a device, a plan and a model. `settings`: by the engine's own names, and `version`. Raises SpecError for
    what the engine has not, naming what it has."""
    about = about or About()
    whose = OF_ANY if engine in (ANY, TORCH) else engine
    names = setting_names(whose)
    stated = _stated(engine, whose, names, settings)
    version = str(stated.pop(VERSION, "")) or "newest"
    found, sources = _at(whose, version, about)
    if engine in (ANY, TORCH) and "share" not in stated:
        found = {**found, "share": {"value": SHARE_OF_ANY}}
        sources = {**sources, "share": f"engine={engine}: vLLM's default up to 0.19"}
    tokens = stated.get("tokens", _sized(found["tokens"], device, plan))
    sequences = stated.get("sequences", _sized(found["sequences"], device, plan))
    graphs = _sized(found["graph_sequences"], device, plan)
    share = stated["share"] if "share" in stated else _share(found["share"], device, plan, tokens, graphs)
    if about.tower and "tower_share" in found and "share" not in stated:
        share = share * float(found["tower_share"]["value"])
    several = plan.tp * plan.cp * plan.replicas > 1.0
    bridged = device.scaleup is not None and device.scaleup.topology != "host"
    link = "non_torch_nvlink" if bridged else "non_torch_pcie"
    sources = {**sources, "non_torch": sources[link if np.any(several) else "non_torch_alone"]}
    size = {name: size_of(_of_device(found[name], device), name) for name in engine_checks.BYTES}
    ratio = found.get("window_ratio", {"value": 1.0})
    return EngineMemory(
        engine=whose,
        version=version,
        share_of=found["share_of"]["value"],
        share=share,
        tokens=tokens,
        sequences=sequences,
        block=stated.get("block", _sized(found["block"], device, plan)),
        windows=_of_family(found["windows"], about),
        chunks=_of_family(found["chunks"], about),
        group_ratio=float(found["group_ratio"]["value"]),
        steps_in_flight=where(plan.pp == 1.0, float(found["steps_in_flight"]["value"]), plan.pp),
        window_ratio=float(ratio["value"]),
        latent_multiple=float(found["latent_multiple"]["value"]),
        vocabulary_multiple=float(found["vocabulary_multiple"]["value"]),
        absorbed=found["absorbed"]["value"],
        mxfp4_multiples=_mxfp4(found["mxfp4_multiples"], device),
        logit_bytes=float(found["logit_bytes"]["value"]),
        kept_logit_bytes=float(found["kept_logit_bytes"]["value"]),
        sequence_bytes=size["sequence_bytes"],
        sampled=float(found["sampled"]["value"]) if "sampled" in found else sequences,
        tower_bytes=size["tower_bytes"],
        experts_stay=found["experts_stay"]["value"],
        experts_tokens=float(found["experts_tokens"]["value"]),
        mla_workspace_tokens=float(found["mla_workspace_tokens"]["value"]),
        dispatch_tokens=float(found["dispatch_tokens"]["value"]),
        exchange_bytes=size["exchange_bytes"],
        non_torch=where(several, size[link], size["non_torch_alone"]),
        context=where(several, size["context_group"], size["context_alone"]),
        graphs_inside=found["graphs_inside"]["value"],
        graph_bytes=size["graph_bytes"],
        graph_layer_bytes=size["graph_layer_bytes"],
        graph_experts_bytes=size["graph_experts_bytes"],
        graph_sequences=graphs,
        names=names,
        sources=sources,
        stated=frozenset(stated),
    )


def setting_names(engine: str) -> Mapping[str, str]:
    """Setting -> what the engine calls it."""
    return _file(engine)[0]


def setting_of(name: str) -> str:
    """The setting that engines call so, or `name` where none does."""
    of = {said: setting for engine in engines.names() for setting, said in setting_names(engine).items()}
    return of.get(name, name)


def known_settings() -> tuple[str, ...]:
    """Every name that some engine has, and `version`."""
    return (VERSION, *dict.fromkeys(name for engine in engines.names() for name in setting_names(engine).values()))


def _stated(asked: str, engine: str, names: Mapping[str, str], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Setting -> value, checked."""
    by_name = {name: setting for setting, name in names.items()}
    found: dict[str, Any] = {}
    for name, value in settings.items():
        if name == VERSION:
            found[VERSION] = _checked_version(value)
            continue
        if name not in by_name:
            allowed = (VERSION, *by_name)
            whose = (
                engines.title(engine)
                if asked == engine
                else f"engine={asked} takes the settings of {engines.title(engine)}, which"
            )
            raise SpecError(f"{whose} has no engine.{name} (it has {', '.join(allowed)}){nearest(name, allowed)}")
        setting = by_name[name]
        found[setting] = _fraction(name, value) if setting == "share" else _count(name, value)
    return found


def _fraction(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0.0 < value <= 1.0:
        raise SpecError(f"engine.{name} must be a number in (0, 1], not {value!r}")
    return float(value)


def _count(name: str, value: Any) -> float:
    if (
        isinstance(value, bool)
        or not isinstance(value, (int, float))
        or value != int(value)
        or not 1 <= value <= 10_000_000
    ):
        raise SpecError(f"engine.{name} must be a whole number from 1 to 10,000,000, not {value!r}")
    return float(value)


def _checked_version(value: Any) -> str:
    text = str(value).lower().removeprefix("v")
    if not re.match(r"\d", text):
        raise SpecError(f"engine.version must begin with a number (0.19.0), not {value!r}")
    return text


def numbers(version: str) -> tuple[int, ...]:
    """(0, 10, 1) of "0.10.1rc2": what releases are ordered by."""
    found = []
    for part in version.split("."):
        digits = re.match(r"\d+", part)
        if digits is None:
            break
        found.append(int(digits[0]))
        if digits[0] != part:
            break
    return tuple(found)


def _at(engine: str, version: str, about: About) -> tuple[dict[str, Any], dict[str, str]]:
    """(terms, sources) of a release: of each term the latest that is not newer. An entry may be of dense models alone."""
    found: dict[str, Any] = {}
    for entry in _file(engine)[1]:
        if entry.get("models") == "dense" and about.experts:
            continue
        if version == "newest" or numbers(entry["version"]) <= numbers(version):
            found |= {name: term for name, term in entry.items() if name not in _HEAD}
    sources = {name: str(term.get("source") or f"assumed: {term['reason']}") for name, term in found.items()}
    return found, sources


def _of_family(term: Mapping[str, Any], about: About) -> str:
    """A word that holds of some families of models alone; of others the layers hold the whole context."""
    return str(term["value"]) if about.family in term.get("families", (about.family,)) else "whole"


def _of_device(term: Mapping[str, Any], device: Device) -> str:
    """A size that may be another on devices without fp8 arithmetic."""
    return str(term["before_fp8"] if "before_fp8" in term and "fp8" not in device.peaks else term["value"])


def _sized(term: Mapping[str, Any], device: Device, plan: Plan) -> Num:
    """The value of a term that depends on how much memory a device has, and on whether a group is of four ranks and more."""
    if "tiers" not in term:
        return float(term["value"])
    tiers = [
        where(plan.tp < 4.0, float(tier["value"]), float(tier.get("from_tp_4", tier["value"])))
        for tier in term["tiers"]
    ]
    if device.name in term.get("first_tier", ()):
        return tiers[0]
    found = tiers[-1]
    for tier, value in reversed(list(zip(term["tiers"][:-1], tiers[:-1], strict=True))):
        found = where(device.capacity < units.parse(tier["below"], "bytes", "tier"), value, found)
    return found


def _share(term: Mapping[str, Any], device: Device, plan: Plan, tokens: Num, graphs: Num) -> Num:
    """The default share: a number, one for the ranks of a group, or what a reserve leaves (SGLang, rounded as it rounds)."""
    ranks = plan.tp * plan.pp
    if "value" in term:
        return float(term["value"])
    if "ranks" in term:
        found: Num = float(term["ranks"][-1]["value"])
        for tier in reversed(term["ranks"][:-1]):
            found = where(ranks < tier["below"], float(tier["value"]), found)
        return found
    apart = plan.replicas > 1.0
    if "reserved" in term:
        return _reserved(term, device, ranks, apart)
    kept = {name: units.parse(str(term[name]), "bytes", name) for name in engine_checks.KEPT}
    total = (
        kept["kept_bytes"] + maximum(tokens, 2048.0) * kept["kept_token_bytes"] + graphs * kept["kept_sequence_bytes"]
    )
    total = (
        total + ranks * kept["kept_rank_bytes"] + where(apart, graphs * plan.replicas * kept["kept_replica_bytes"], 0.0)
    )
    total = where(device.capacity > kept["least_above"], maximum(total, kept["least"]), total)
    return maximum(np.round((device.capacity - total) / device.capacity, 3), 0.05)


def _reserved(term: Mapping[str, Any], device: Device, ranks: Num, apart: Mask) -> Num:
    """The share that a reserve by size of the device leaves, rounded as SGLang rounds."""
    found: Num = 0.0
    for tier in reversed(term["reserved"]):
        if "share" in tier:
            left: Num = float(tier["share"])
        else:
            size, each = (size_of(str(tier[name]), name) for name in ("bytes", "rank_bytes"))
            more = where(apart, units.parse(str(term.get("replica_bytes", "1 kB")), "bytes", "replica_bytes"), 0.0)
            left = np.round((device.capacity - size - each * ranks - more) / device.capacity, 3)
        below = units.parse(tier["below"], "bytes", "tier") if "below" in tier else np.inf
        found = where(device.capacity < below, left, found)
    return found


def _mxfp4(term: Mapping[str, Any], device: Device) -> tuple[float, float]:
    """(hidden, intermediate) multiples that the kernels of a device pad experts in mxfp4 to."""
    which = "mxfp8" if "mxfp8" in device.peaks else "fp8" if "fp8" in device.peaks else "otherwise"
    hidden, intermediate = term[which]
    return float(hidden), float(intermediate)


@cache
def _file(engine: str) -> tuple[Mapping[str, str], tuple[Mapping[str, Any], ...]]:
    """(names of settings, entries by release) of an engine, checked. Raises SpecError naming file and key."""
    where_, memory = f"engines/{engine}.toml", engines.table(engine).get("memory")
    if not isinstance(memory, Mapping) or not isinstance(memory.get("settings"), Mapping) or not memory.get("from"):
        raise SpecError(f"{where_}: needs [memory.settings] and [[memory.from]]")
    names = memory["settings"]
    if set(names) != set(SETTINGS):
        raise SpecError(f"{where_}: [memory.settings] must name {', '.join(SETTINGS)}")
    entries = tuple(memory["from"])
    seen: set[str] = set()
    for entry in entries:
        version = str(entry.get("version", ""))
        if not numbers(version):
            raise SpecError(f"{where_}: an entry of memory.from needs a version")
        if entry.get("models", "dense") != "dense":
            raise SpecError(f"{where_}: memory from {version}: models = {entry['models']!r} must be 'dense'")
        for name, term in entry.items():
            if name not in _HEAD:
                engine_checks.check(f"{where_}: memory from {version}: '{name}'", name, term)
        seen |= set(entry)
    if [numbers(entry["version"]) for entry in entries] != sorted(numbers(entry["version"]) for entry in entries):
        raise SpecError(f"{where_}: entries of memory.from must stand in the order of their versions")
    missing = [name for name in engine_checks.TERMS if name not in entries[0] and name not in engine_checks.OPTIONAL]
    if missing:
        raise SpecError(f"{where_}: the first entry of memory.from misses {', '.join(missing)}")
    return names, entries
