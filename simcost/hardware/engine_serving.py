"""`workloads/engines/<name>.toml` -> how an engine batches and what its host takes, by release, for a device and a
plan.

What a user sets goes by the engine's own name: `engine.stream_interval`, `engine.enable_mixed_chunk` (SGLang),
`engine.async_scheduling` (vLLM); `engine.host_step` and `engine.host_request` stand for all. The token budget and the
most sequences are the memory terms' (`engine_terms`). Most likely to be wrong: the host's times, which are priors by
order of magnitude.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from simcost.errors import SpecError
from simcost.frozen import frozen
from simcost.hardware import engine_file, engine_terms
from simcost.hardware.engine_checks import time_of
from simcost.hardware.engine_file import NEWEST, OPPOSITE, OWN, SERVING, VERSION, About
from simcost.hardware.engine_memory import EngineMemory
from simcost.hardware.engines import ANY, TORCH, title
from simcost.hardware.profile import Device
from simcost.num import Mask, Num, every, floor, maximum, minimum, where
from simcost.plan import Plan

FLAGS = ("prefix_cache", "chunked", "mixed", "overlap")
COUNTS = ("stream_interval", "receive_interval")
LARGEST_FACTOR = 100.0


@frozen
class ServingTerms:
    """How one attention replica of an engine is served. policy: "mixed" (decode and prompts in one step) or
    "prefill_first"; tokens: budget of a step; sequences: that run at once; chunked: whether prompts are cut to the
    budget; reserved_output: part of what running requests may still make that admission keeps free; prefix_cache:
    whether prompts found in the cache are not prefilled again; stream_interval: tokens between two sends of a stream,
    the first is sent at once; receive_interval: decode steps between two looks at new requests, 1 where an engine has
    no such option; overlap: whether the host prepares a step while the one before it runs, so that a new
    request waits one step more; host_step_s: of the host that a step shows [s]; host_request_s, host_token_s: that a request and each of its prompt tokens take
    of the front end, which serves one at a time, host_delay_s: what a request waits besides [s]; drafts, moe_backends, attention_backends: what its options take; names: what it calls
    the settings; sources: where each term is from; stated: what the user set."""

    engine: str
    version: str
    policy: str
    tokens: Num
    sequences: Num
    chunked: bool
    reserved_output: Num
    prefix_cache: bool
    stream_interval: float
    receive_interval: float
    overlap: Mask
    host_step_s: Num
    host_request_s: float
    host_token_s: float
    host_delay_s: float
    drafts: tuple[str, ...]
    moe_backends: tuple[str, ...]
    attention_backends: tuple[str, ...]
    names: Mapping[str, str]
    sources: Mapping[str, str]
    stated: frozenset[str]

    @property
    def admission(self) -> str:
        """ "whole" where a request is admitted with room for all that it may make, else "prompt"."""
        return "whole" if every(np.asarray(self.reserved_output) == 1.0) else "prompt"


def serving_terms(
    engine: str,
    settings: Mapping[str, Any],
    device: Device,
    plan: Plan,
    about: About | None = None,
    drafts: bool = False,
) -> ServingTerms:
    """The terms of an engine for a device, a plan and a model. `settings`: by the engine's own names, and `version`;
    `drafts`: with speculative decoding. Raises SpecError for what the engine has not, naming what it has."""
    about = about or About()
    whose = engine_file.whose(engine)
    names = engine_file.setting_names(whose, SERVING)
    given = engine_file.stated(engine, SERVING, settings)
    version = str(given.pop(VERSION, "")) or NEWEST
    stated = {setting: _checked(whose, setting, names[setting], value) for setting, value in given.items()}
    found, sources = engine_file.at(whose, SERVING, version, about)
    if engine in (ANY, TORCH):
        sources = {name: f"engine={engine}, as {title(whose)}: {source}" for name, source in sources.items()}
    memory = engine_terms.terms(engine, settings, device, plan, about)
    chunked = bool(stated.get("chunked", found["chunked"]["value"]))
    cached = bool(stated.get("prefix_cache", found["prefix_cache"]["value"]))
    overlap = bool(stated["overlap"]) if "overlap" in stated else _flag(found["overlap"], plan, drafts, about, cached)
    ranks = plan.replicas if found["split_over_replicas"]["value"] else 1.0
    return ServingTerms(
        engine=whose,
        version=version,
        policy=_policy(found["policy"], stated.get("mixed"), chunked),
        tokens=maximum(floor(memory.tokens / ranks), 1.0),
        sequences=_sequences(found, memory, drafts, ranks),
        chunked=chunked,
        reserved_output=_reserved(whose, found["reserved_output"], stated.get("reserved_output"), plan),
        prefix_cache=cached,
        stream_interval=_count("stream_interval", stated, found),
        receive_interval=_count("receive_interval", stated, found),
        overlap=overlap,
        host_step_s=stated.get("host_step", _host(found["host_step"], overlap)),
        host_request_s=_front_end("host_request", engine, stated, found),
        host_token_s=_front_end("host_token", engine, stated, found),
        host_delay_s=_front_end("host_delay", engine, stated, found),
        drafts=tuple(found["drafts"]["value"]),
        moe_backends=tuple(found["moe_backends"]["value"]),
        attention_backends=tuple(found["attention_backends"]["value"]),
        names=names,
        sources=sources,
        stated=frozenset(stated),
    )


def _policy(term: Mapping[str, Any], mixed: bool | None, chunked: bool) -> str:
    if mixed is not None:
        return "mixed" if mixed else "prefill_first"
    return str(term["chunked"] if chunked and "chunked" in term else term["value"])


def _sequences(found: Mapping[str, Any], memory: EngineMemory, drafts: bool, ranks: Num) -> Num:
    """The most sequences of a replica: what is stated, or what some engines take with speculative decoding, is of all
    `ranks` that share a budget; the default is of each."""
    most = memory.sequences
    if "sequences" not in memory.stated and not (drafts and "sequences_with_drafts" in found):
        return most
    if "sequences" not in memory.stated:
        most = minimum(most, float(found["sequences_with_drafts"]["value"]))
    return maximum(floor(most / ranks), 1.0)


def _flag(term: Mapping[str, Any], plan: Plan, drafts: bool, about: About, cached: bool) -> Mask:
    """A flag that may be another with pp above 1, with speculative decoding, with data-parallel attention, and with layers that keep a state while prefixes are `cached`."""
    states = cached and about.states and about.family not in term.get("states_but", ())
    value = bool(term["value"]) and all(
        bool(term.get(key, True)) for key, there in (("drafts", drafts), ("states", states)) if there
    )
    found: Mask = value
    for key, several in (("pipeline", plan.pp > 1.0), ("replicas", plan.replicas > 1.0)):
        if not term.get(key, True):
            found = found & ~several if not isinstance(several, bool) else found and not several
    return found


def _host(term: Mapping[str, Any], overlap: Mask) -> Num:
    """Time of the host that a step shows. [s]"""
    hidden = time_of(term["value"], "host_step")
    return where(overlap, hidden, time_of(term.get("serial", term["value"]), "host_step"))


def _front_end(name: str, engine: str, stated: Mapping[str, Any], found: Mapping[str, Any]) -> float:
    """A time of the front end: as stated, as fitted to the engine, and for no engine in particular as before the fit. [s]"""
    term = found[name]
    own = term["value"] if engine not in (ANY, TORCH) else term.get("prior", term["value"])
    return float(stated.get(name, time_of(own, name)))


def _count(name: str, stated: Mapping[str, Any], found: Mapping[str, Any]) -> float:
    return float(stated.get(name, found[name]["value"] if name in found else 1))


def _reserved(engine: str, term: Mapping[str, Any], stated: float | None, plan: Plan) -> Num:
    """The part of what may still be made that admission keeps free. Words stand for a value, a factor scales the
    default up to all."""
    if stated is not None and engine_file.scale(engine, "reserved_output") is not None:
        return stated
    default = where(plan.replicas > 1.0, float(term.get("replicas", term["value"])), float(term["value"]))
    return minimum(default * (1.0 if stated is None else stated), 1.0)


def _checked(engine: str, setting: str, name: str, value: Any) -> Any:
    """A setting as its kind. Raises SpecError naming it, its value and what it takes."""
    path = f"engine.{name}"
    if setting in OWN:
        return time_of(value, path)
    if setting in FLAGS:
        if not isinstance(value, bool):
            raise SpecError(f"{path} must be true or false, not {value!r}")
        return value != name.startswith(OPPOSITE)
    words = engine_file.scale(engine, setting)
    if words is not None:
        if str(value).upper() not in words:
            raise SpecError(f"{path} must be one of {', '.join(words)}, not {value!r}")
        return float(words[str(value).upper()])
    if setting in COUNTS:
        return engine_terms.count(name, value)
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not 0.0 <= value <= LARGEST_FACTOR:
        raise SpecError(f"{path} must be a number from 0 to {LARGEST_FACTOR:g}, not {value!r}")
    return float(value)
