"""The launch command of a plan: options and files of one release of vLLM, SGLang or TensorRT-LLM, as text that a
shell takes.

Every option stands in `workloads/engines/options`; a plan that the engine cannot run is refused in one line. Most
likely to be wrong: what a cluster asks for besides (addresses, network devices, containers), which no plan knows.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Any

from simcost.errors import Infeasible, SpecError
from simcost.frozen import frozen
from simcost.hardware import engine_file, engine_options
from simcost.hardware.engine_options import Options
from simcost.hardware.engines import title
from simcost.plan import Plan
from simcost.scenarios.serve import emit_plan
from simcost.scenarios.serve.emit_text import HEAD, Emitted, Launch, plain, yaml

ROLES = ("prefill", "decode")
# Settings that are said in other ways: resolved ones, and those of simcost alone.
_ELSEWHERE = (*engine_file.OWN, engine_file.VERSION)
_RESOLVED = ("share", "tokens", "sequences")


@frozen
class Deployment:
    """What a server is to hold. model: name or path of the checkpoint; experts: of a layer, 0 where there are none;
    weights, kv, activation, state: formats that differ from the checkpoint's, "" where they do not; tokens,
    sequences: of a step of one attention replica; length: of the longest request, with its answer; share: of the
    memory, as the engine counts it; chunked: whether prompts are cut to `tokens`; drafts: tokens proposed per step, by
    the design's own module or by draft_model; settings: by the engine's own names, as they were given; per_node: GPUs
    of one machine."""

    model: str
    plan: Plan
    tokens: float
    sequences: float
    length: float
    share: float
    experts: int = 0
    weights: str = ""
    kv: str = ""
    activation: str = ""
    state: str = ""
    prefix_cache: bool = True
    chunked: bool = True
    drafts: int = 0
    draft_model: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    per_node: int = 8


def emit(engine: str, d: Deployment) -> Emitted:
    """The command of an engine for a deployment. Raises SpecError for an engine without options and a value that one
    does not take, Infeasible for a plan that it cannot run."""
    o = engine_options.load(engine)
    launch = _launch(o, d, "")
    return Emitted(engine, o.version, o.source, (launch,), notes=_notes(o, d))


def emit_pools(engine: str, prefill: Deployment, decode: Deployment) -> Emitted:
    """The commands of two pools, of prompts and of answers, and of the router before them. Raises as `emit` does."""
    o = engine_options.load(engine)
    launches = tuple(_launch(o, d, role) for role, d in zip(ROLES, (prefill, decode), strict=True))
    servers = {
        role: [_address(o, role, at) for at in range(launch.copies)]
        for role, launch in zip(ROLES, launches, strict=True)
    }
    notes = tuple(dict.fromkeys((*_notes(o, prefill), *_notes(o, decode))))
    note = (o.router["note"],) if "note" in o.router else ()
    words, file = _router(o, servers)
    return Emitted(engine, o.version, o.source, launches, words, file, (*notes, *note))


def _launch(o: Options, d: Deployment, role: str) -> Launch:
    """One server of a pool, on as many nodes as it takes."""
    engine_options.text(d.model, "model")
    n = emit_plan.counts(d.plan)
    said = _server(o, d, n, role)
    nodes = -(-n["gpus"] // d.per_node)
    if nodes > 1 and n["gpus"] % d.per_node:
        raise Infeasible(f"{n['gpus']} GPUs of a server do not fill whole nodes of {d.per_node} GPUs")
    kept = {name: value for name, value in said.items() if not name.startswith("-")}
    file = (f"{role}_{o.file}" if role else o.file, yaml(kept)) if kept else ("", "")
    if file[0]:
        said = {**said, **o.filled({"--extra_llm_api_options": file[0]})}
    start = [engine_options.filled(word, {"model": d.model}) for word in o.command]
    if nodes > 1 and "launcher" in o.nodes:
        values = {"nodes": nodes, "gpus": n["gpus"], "per_node": d.per_node}
        start = [*(engine_options.filled(word, values) for word in o.nodes["launcher"]), *start]
    many = nodes if "each" in o.nodes else 1
    options = tuple(tuple(_words(o, {**said, **_node(o, d, n, nodes, at)})) for at in range(many))
    return Launch(role, tuple(start), options, file, n["copies"], n["gpus"], nodes)


def _server(o: Options, d: Deployment, n: Mapping[str, int], role: str) -> dict[str, Any]:
    """All options of a server but those of its nodes."""
    values = {
        **n, "model": d.model, "tokens": int(d.tokens), "sequences": int(d.sequences), "length": int(d.length),
        "share": d.share,
        "all_tokens": int(d.tokens) * n["replicas"], "all_sequences": int(d.sequences) * n["replicas"],
    }  # fmt: skip
    if not d.chunked and d.tokens < d.length:
        raise Infeasible(
            f"prompts are not cut into chunks, and a step takes {d.tokens:,.0f} tokens: requests of up to {d.length:,.0f} tokens need "
            "a larger budget, or chunks"
        )
    found = dict(o.said("always"))
    for part in ("model", "length", "tokens", "sequences", "share"):
        found |= o.said(part, **values)
    found |= emit_plan.said(o, d.plan, d.experts)
    found |= o.said(f"cuda_graph_{d.plan.cuda_graph}", **values)
    for kind in ("weights", "kv", "activation", "state"):
        found |= _format(o, kind, getattr(d, kind))
    if not d.prefix_cache:
        found |= o.said("prefix_cache_off")
    if d.drafts:
        found |= _drafts(o, d)
    found |= _settings(o, d.settings)
    return {**found, **(o.said(role, **values) if role else {})}


def _format(o: Options, kind: str, name: str) -> Mapping[str, Any]:
    """The option of a format that is not the checkpoint's."""
    if not name:
        return {}
    if name not in o.formats[kind]:
        takes = ", ".join(o.formats[kind]) or "none"
        way = " (serve a checkpoint in it, and leave plan.weight_dtype out)" if kind == "weights" else ""
        raise Infeasible(
            f"{title(o.engine)} {o.version} cannot convert {kind} to {name} while loading (it can convert to {takes}){way}"
        )
    return o.said(kind, format=o.formats[kind][name])


def _drafts(o: Options, d: Deployment) -> Mapping[str, Any]:
    values = {"drafts": d.drafts, "verified": d.drafts + 1}
    if not d.draft_model:
        return o.said("mtp", **values)
    return o.said("draft_model", draft=json.dumps(d.draft_model), draft_path=d.draft_model, **values)


def _settings(o: Options, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Options of what the user set by the engine's own names; share, tokens and sequences are resolved already."""
    names = engine_file.setting_names(o.engine)
    resolved = {names[setting] for setting in _RESOLVED}
    found: dict[str, Any] = {}
    for name, value in settings.items():
        if name in _ELSEWHERE or name in resolved:
            continue
        options = o.says.get("settings", {}).get(name)
        if options is None:
            raise SpecError(f"{title(o.engine)} {o.version}: no option is known for engine.{name}")
        if o.takes[options[0]] == "flag" and options[0].startswith("-"):
            turned = options[0] if value is True else options[1] if len(options) > 1 else ""
            found |= {turned: True} if turned else {}
        else:
            found |= o.filled({options[0]: value})
    return found


def _node(o: Options, d: Deployment, n: Mapping[str, int], nodes: int, at: int) -> Mapping[str, Any]:
    """What one of several nodes says besides."""
    if nodes == 1 or "each" not in o.nodes:
        return {}
    replica = n["gpus"] // n["replicas"]
    spread = "replicas" in o.nodes and n["replicas"] > 1
    if spread and (replica > d.per_node or d.per_node % replica):
        raise Infeasible(
            f"{title(o.engine)} {o.version} keeps a replica of data-parallel attention in one node: {replica} GPUs of "
            f"{d.per_node}"
        )
    held = o.nodes["replicas"] if spread else o.nodes
    local = d.per_node // replica if spread else 0
    values = {"nodes": nodes, "rank": at, "head": HEAD, "local": local, "start": at * local}
    return {**o.filled(held["each"], **values), **(o.filled(held["later"], **values) if at else {})}


def _words(o: Options, said: Mapping[str, Any]) -> list[str]:
    """Options of the line in the order of the table; flags stand alone."""
    found: list[str] = []
    for name in o.takes:
        if name.startswith("-") and name in said and said[name] is not False:
            found += [name] if said[name] is True else [name, plain(said[name])]
    return found


def _address(o: Options, role: str, at: int) -> str:
    return engine_options.filled(o.router.get("address", "$server"), {"server": f"{role.upper()}_{at + 1}"})


def _router(o: Options, servers: Mapping[str, Sequence[str]]) -> tuple[tuple[str, ...], tuple[str, str]]:
    """(words, (name, text) of its file) of what stands before the pools; nothing where the engine ships none."""
    command = tuple(o.router.get("command", ()))
    if not command:
        return (), ("", "")
    if "file" not in o.router:
        return (*command, *(word for role in ROLES for one in servers[role] for word in (o.router[role], one))), (
            "",
            "",
        )
    lines = ["hostname: 0.0.0.0", "port: 8000", "backend: pytorch"]
    for role in ROLES:
        lines += [f"{o.router[role]}:", f"  num_instances: {len(servers[role])}", "  urls:"]
        lines += [f"    - {json.dumps(one)}" for one in servers[role]]
    return command, (o.router["file"], "\n".join([*lines, ""]))


def _notes(o: Options, d: Deployment) -> tuple[str, ...]:
    """What a reader should know of a command."""
    asked = str(d.settings.get(engine_file.VERSION, ""))
    found = (
        [f"options are those of {o.version}; engine.version = {asked} may name others"]
        if asked and asked != o.version
        else []
    )
    if d.plan.all_to_all == "auto" and d.experts and float(d.plan.exchanges) and float(d.plan.ep) > 1.0:
        found.append(
            "the exchange of tokens is the engine's default; plan.all_to_all=low_latency names DeepEP's, which auto "
            "prices in decode"
        )
    return tuple(found)
