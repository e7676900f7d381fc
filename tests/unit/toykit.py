"""A device and a model of round numbers, so that answers can be worked out by hand."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from simcost import query
from simcost.hardware.engine_memory import EngineMemory
from simcost.hardware.prices import Price
from simcost.hardware.profile import Device, Link
from simcost.model.spec import ModelSpec, from_config
from simcost.workload import Workload

ASSUMED = {
    "gemm_efficiency": 0.5,
    "attention_efficiency": 0.25,
    "memory_efficiency": 0.8,
    "link_efficiency": 0.5,
    "scaleout_efficiency": 0.8,
    "kernel_overhead": 2e-6,
    "eager_launch": 40e-6,
    "step_overhead": 300e-6,
    "collective_latency": 4e-6,
    "hop_latency": 1e-6,
    "scaleout_hop_latency": 5e-6,
    "power_compute": 0.9,
    "power_memory": 0.5,
    "power_waiting": 0.2,
}
UNITS = {
    "kernel_overhead",
    "eager_launch",
    "step_overhead",
    "collective_latency",
    "hop_latency",
    "scaleout_hop_latency",
}


def link(**changes: Any) -> Link:
    """A switch that joins 8 devices at 100 GB/s each."""
    facts: dict[str, Any] = {"name": "Toy", "topology": "switch", "bandwidth": 1e11, "pair": None, "domain": 8.0}
    return Link(**{**facts, **changes})


def device(**changes: Any) -> Device:
    """1 PFLOP/s of bf16, 1 TB/s of memory, links of 100 GB/s inside 8 devices and of 10 GB/s beyond."""
    facts: dict[str, Any] = {
        "name": "toy", "title": "Toy", "peaks": {"fp32": 1e14, "bf16": 1e15, "fp8": 2e15}, "capacity": 1e11,
        "bandwidth": 1e12, "scaleup": link(), "scaleout": 1e10, "tdp": 500.0, "price": Price(3.6), "assumed": ASSUMED,
        "where": "toy/profile.toml", "shipped": device,
    }  # fmt: skip
    return Device(**{**facts, **changes})


def profile(home: Path, changes: Mapping[str, Any] | None = None, without: tuple[str, ...] = ()) -> Path:
    """The same as a profile.toml in `home`. `changes`: TOML texts by dotted path ("memory.bandwidth" -> '{...}', "name" -> '"x"');
    `without`: paths that are left out."""
    seconds = {name: f'"{ASSUMED[name] * 1e6:g} us"' for name in UNITS}
    entries = {
        "schema": "1", "name": '"toy"', "title": '"Toy"', "sources.book": '"a book"',
        "peak.bf16": _stated("1 PFLOP/s"), "peak.fp8": _stated("2 PFLOP/s"), "peak.fp32": _stated("100 TFLOP/s"),
        "memory.capacity": _stated("100 GB"), "memory.bandwidth": _stated("1 TB/s"),
        "links.scaleup.name": '"Toy"', "links.scaleup.topology": '"switch"',
        "links.scaleup.bandwidth": _stated("100 GB/s"), "links.scaleup.domain": "{ value = 8, source = 'book' }",
        "links.scaleout.bandwidth": _stated("80 Gbit/s"), "power.tdp": _stated("500 W"),
        "price.usd_per_hour": _stated("3.6 USD/h"),
        **{f"assumed.{name}": f"{{ value = {seconds.get(name, value)}, reason = 'a guess' }}" for name, value in ASSUMED.items()},
        **(changes or {}),
    }  # fmt: skip
    home.mkdir(parents=True, exist_ok=True)
    path = home / "profile.toml"
    path.write_text("".join(f"{key} = {text}\n" for key, text in entries.items() if key not in without))
    return path


def _stated(text: str) -> str:
    return f"{{ value = '{text}', source = 'book' }}"


H, V = 1024, 32000  # width and vocabulary
CONFIG: dict[str, Any] = {
    "model_type": "llama", "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 4,
    "num_attention_heads": 8, "num_key_value_heads": 2, "head_dim": 128, "vocab_size": 32000,
    "max_position_embeddings": 8192, "torch_dtype": "bfloat16", "tie_word_embeddings": False, "hidden_act": "silu",
}  # fmt: skip
# By hand: q and o of 8 heads, k and v of 2; gate, up and down; two norms.
LAYER = 1024 * 1024 * 2 + 2 * 1024 * 256 + 3 * 1024 * 4096 + 2 * 1024
PARAMETERS = 4 * LAYER + 2 * 32000 * 1024 + 1024


def model(home: Path, **changes: Any) -> Path:
    """A dense design of four layers as a config.json; `changes` of None leave a key out."""
    home.mkdir(parents=True, exist_ok=True)
    path = home / "config.json"
    found = {key: value for key, value in {**CONFIG, **changes}.items() if value is not None}
    path.write_text(json.dumps(found))
    return path


TERMS: dict[str, Any] = {
    "engine": "toy", "version": "1", "share_of": "all", "share": 0.9, "tokens": 8192.0, "sequences": 256.0, "block": 16.0,
    "windows": "whole", "chunks": "whole", "group_ratio": 1.25, "state_pages": 1.0, "counted": "pages", "steps_in_flight": 1.0, "stage_tensors": 1.0, "window_ratio": 0.8,
    "latent_multiple": 1.0, "vocabulary_multiple": 64.0, "absorbed": "apart", "mxfp4_multiples": (1.0, 1.0),
    "logit_bytes": 0.0, "kept_logit_bytes": 0.0, "sequence_bytes": 0.0, "sampled": 256.0, "tower_bytes": 0.0,
    "experts_stay": False, "experts_tokens": 1e9, "mla_workspace_tokens": 0.0, "dispatch_tokens": 128.0,
    "exchange_bytes": 0.0, "non_torch": 2.0, "context": 3.0, "graphs_inside": True, "graph_bytes": 0.0,
    "graph_layer_bytes": 0.0, "graph_experts_bytes": 0.0, "graph_sequences": 256.0, "names": {}, "sources": {},
    "stated": frozenset(),
}  # fmt: skip


def engine(**changes: Any) -> EngineMemory:
    """An engine that adds nothing to a model but what `changes` say."""
    return EngineMemory(**{**TERMS, **changes})


def design(**changes: Any) -> ModelSpec:
    """The dense design of `model`, read; `changes` of None leave a key out."""
    return from_config({k: v for k, v in {**CONFIG, **changes}.items() if v is not None}, "toy", "toy.json")


def multimodal(wrapper: str, tables: Mapping[str, Any], **own: Any) -> dict[str, Any]:
    """A config of a wrapper around the dense design, with these tables of towers and keys of its own."""
    return {"model_type": wrapper, "torch_dtype": "bfloat16", "text_config": CONFIG, **tables, **own}


def workload(home: Path, decode: bool = True, sets: Mapping[str, Any] | None = None, **changes: Any) -> Workload:
    """The toy model on the toy device; `changes`: of the phase (batch, context, isl), and `config`, `profile`, `without` of
    the files."""
    home.mkdir(parents=True, exist_ok=True)
    place = home / f"question {len(list(home.iterdir()))}"  # files are read once: every question has its own
    config, facts, without = (changes.pop(name, {}) for name in ("config", "profile", "without"))
    files = str(model(place / "m", **config)), str(profile(place / "toy", facts, tuple(without)))
    phase = {"batch": 8, **({"context": 1024} if decode else {"isl": 1024}), **changes}
    return query.workload(query.make(*files, decode, phase, sets or {}, {}, None))
