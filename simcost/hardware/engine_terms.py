"""`workloads/engines/<name>.toml` -> the terms by which an engine shares out memory, by release, for a device and a
plan.

What a user sets goes by the engine's own name: `engine.gpu_memory_utilization` (vLLM), `engine.mem_fraction_static`
(SGLang), `engine.free_gpu_memory_fraction` (TensorRT-LLM). Most likely to be wrong: memory that no framework accounts
for (NCCL, exchange buffers), which moves between releases and machines.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from simcost import units
from simcost.errors import SpecError
from simcost.frozen import remembered
from simcost.hardware import engine_checks, engine_file
from simcost.hardware.engine_checks import size_of
from simcost.hardware.engine_file import MEMORY, NEWEST, SERVING, VERSION, About
from simcost.hardware.engine_memory import EngineMemory
from simcost.hardware.engines import ANY, TORCH
from simcost.hardware.profile import Device
from simcost.num import Mask, Num, maximum, where
from simcost.plan import Plan

SHARE_OF_ANY = 0.9  # vLLM's default up to 0.19, and what most guides write


def terms(
    engine: str, settings: Mapping[str, Any], device: Device, plan: Plan, about: About | None = None
) -> EngineMemory:
    """The terms of an engine for a device, a plan and a model. `settings`: by the engine's own names, and `version`.
    Raises SpecError for what the engine has not, naming what it has."""
    given = tuple((name, type(value), value) for name, value in settings.items())
    return _terms(device, engine, given, plan, about or About())


@remembered
def _terms(
    device: Device, engine: str, asked: tuple[tuple[str, type, Any], ...], plan: Plan, about: About
) -> EngineMemory:
    """`terms`, of settings with their types."""
    settings = {name: value for name, _, value in asked}
    whose = engine_file.whose(engine)
    names = engine_file.setting_names(whose)
    given = engine_file.stated(engine, MEMORY, settings)
    version = str(given.pop(VERSION, "")) or NEWEST
    stated = {setting: _checked(setting, names[setting], value) for setting, value in given.items()}
    found, sources = engine_file.at(whose, MEMORY, version, about)
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
        state_pages=_state_pages(found.get("state_pages", {"value": 1.0}), engine, settings),
        counted=str(found.get("counted", {"value": "pages"})["value"]),
        steps_in_flight=where(plan.pp == 1.0, float(found["steps_in_flight"]["value"]), plan.pp),
        stage_tensors=_tensors(found["stage_tensors"], about),
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
        stated=frozenset(stated),
        names=names,
        sources=sources,
    )


def _checked(setting: str, name: str, value: Any) -> float:
    return _fraction(name, value) if setting == "share" else count(name, value)


def _fraction(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0.0 < value <= 1.0:
        raise SpecError(f"engine.{name} must be a number in (0, 1], not {value!r}")
    return float(value)


def count(name: str, value: Any) -> float:
    """A count of an engine's setting. Raises SpecError naming it."""
    if (
        isinstance(value, bool)
        or not isinstance(value, (int, float))
        or value != int(value)
        or not 1 <= value <= 10_000_000
    ):
        raise SpecError(f"engine.{name} must be a whole number from 1 to 10,000,000, not {value!r}")
    return float(value)


def _of_family(term: Mapping[str, Any], about: About) -> str:
    """A word that holds of some families of models alone; of others the layers hold the whole context."""
    return str(term["value"]) if about.family in term.get("families", (about.family,)) else "whole"


def _state_pages(term: Mapping[str, Any], engine: str, settings: Mapping[str, Any]) -> float:
    """Pages of a layer that keeps a state. An engine caches prefixes beside states only where it is told to."""
    cached = engine_file.stated(engine, SERVING, settings).get("prefix_cache") is True
    return float(term.get("prefix_cache", term["value"]) if cached else term["value"])


def _tensors(term: Mapping[str, Any], about: About) -> float:
    """Tensors as wide as the residual stream that a stage hands on; one of families whose layers add at once."""
    return 1.0 if about.family in term.get("one", ()) else float(term["value"])


def _of_device(term: Mapping[str, Any], device: Device) -> str:
    """A size that may be another on devices without fp8 arithmetic."""
    return str(term["before_fp8"] if "before_fp8" in term and "fp8" not in device.peaks else term["value"])


def _sized(term: Mapping[str, Any], device: Device, plan: Plan) -> Num:
    """The value of a term that depends on how much memory a device has, and on whether a group is of four ranks and
    more."""
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
    """The default share: a number, one for the ranks of a group, or what a reserve leaves (SGLang, rounded as it
    rounds)."""
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
