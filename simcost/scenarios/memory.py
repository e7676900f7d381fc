"""show memory: term by term what an engine holds on the fullest rank, where each term is from, and what its pool admits.

Most likely to be wrong: memory outside PyTorch, and the padding of experts in mxfp4; `simcost validate memory` says by how much.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import partial
from typing import Any

import numpy as np

from simcost.cost.memory import Memory
from simcost.errors import Infeasible
from simcost.estimate import feasible, memory, stages
from simcost.estimate.memory import Kept
from simcost.hardware import engines
from simcost.hardware.engine_file import NEWEST
from simcost.model import cache
from simcost.model import notes as model_notes
from simcost.model.loaded import Loaded
from simcost.num import Num
from simcost.provenance import Note
from simcost.query import Query, workload
from simcost.result import Result, Row, number
from simcost.scenarios import fitting, inputs, memory_notes
from simcost.units import show
from simcost.workload import Workload

_LOADED = {
    "checkpoint": ("weights", "as in the checkpoint: parameters of this rank in their stored formats, scales included"),
    "vocabulary": ("padded vocabulary", "whole multiples of {vocabulary_multiple:g} rows: {source}"),
    "experts": ("padded experts", "mxfp4 in whole tiles of {mxfp4_multiples[0]:g} x {mxfp4_multiples[1]:g}: {source}"),
    "absorbed": ("absorbed MLA products", "{source}"),
    "rotary": ("rotary tables", "cosines and sines of every position up to max_position_embeddings"),
    "tower": ("towers", "for images and sounds: counted from their shapes, over tp"),
    "allocator": ("allocator", "PyTorch hands out blocks of 10 MiB and more in steps of 2 MiB"),
}
_SHARE_OF = {
    "all": "the total", "free before load": "what is free before load", "free after load": "what is free after load",
    "free after peak": "what is free after the largest step",
}  # fmt: skip
_SOURCE = {"vocabulary": "vocabulary_multiple", "experts": "mxfp4_multiples", "absorbed": "absorbed"}


def result(query: Query) -> Result:
    """The terms of one question of decode."""
    w = workload(query, timed=False)
    if said := feasible.broken(w):
        raise Infeasible(f"plan: {said}")
    kept = memory.kept(w)
    # Advice is asked of plans that run.
    judge = partial(fitting.verdict, kept) if w.untimed else partial(fitting.judged, query, kept)
    sentence, fits = judge(timed=False)
    metrics = {name: number(value) for name, value in memory.metrics(kept).items()}
    metrics["max_context"] = number(memory.max_context(kept))
    metrics["fits"] = fits
    tables = {"memory terms": _terms(w, kept.memory, kept.held.loaded), "cache": _cache(w, kept.held)}
    return Result(
        "show memory",
        inputs.inputs(query, w),
        metrics,
        tables,
        (*query.said, *warnings(kept, metrics["max_context"], query.overrides.model)),
        _references(w),
        sentence,
        fits,
        inputs.dimensions(w.model),
    )


def warnings(kept: Kept, reached: Any = None, asked: Collection[str] = ()) -> tuple[Note, ...]:
    """What a reader of memory figures must know; reached: the longest context that fits; asked: keys of the config that were set."""
    w, of = kept.workload, memory_notes
    found = model_notes.of(w.model, asked) + list(w.notes) + of.exceeds(w) + of.beyond(w.model, reached)
    found += of.admitted(w) + of.tight(kept) + of.vendor(w) + of.mtp(w.model)
    return tuple(dict.fromkeys(found))


def _terms(w: Workload, held: Memory, loaded: Loaded) -> list[Row]:
    terms = w.memory
    rows = [_row(title, getattr(loaded, name), _why(w, name, text)) for name, (title, text) in _LOADED.items()]
    share = f"{terms.names['share']} = {float(terms.share):g}"
    origin = "set by hand" if "share" in terms.stated else terms.sources["share"]
    step = f"{terms.names['tokens']} = {float(terms.tokens):,.0f}, {terms.names['sequences']} = {float(terms.sequences):,.0f}"
    graphs = "inside the share" if terms.graphs_inside else "outside the share"
    rows += [
        _row("weights in all", held.weights, "the rows above"),
        _row("activations", held.activations, f"largest step: {step}; {terms.sources['logit_bytes']}"),
        _row("outside PyTorch", terms.non_torch, terms.sources["non_torch"]),
        _row("All2All buffers", held.non_torch - terms.non_torch, terms.sources["dispatch_tokens"]),
        _row("CUDA graphs", held.graphs, f"{graphs}; {terms.sources['graph_bytes']}"),
        _row("reserve", held.reserve, f"{share} of {_SHARE_OF[terms.share_of]}: {origin}"),
        _row("pool of the KV cache", held.pool, "what is left"),
        _row("capacity", held.capacity, w.device.capacity_assumed or f"{w.device.where}: memory.capacity"),
    ]  # fmt: skip
    return [row for row in rows if row["bytes_per_gpu"]]


def _release(version: str) -> str:
    return "its newest release" if version == NEWEST else f"release {version}"


def _why(w: Workload, name: str, text: str) -> str:
    terms = w.memory
    return text.format(
        vocabulary_multiple=terms.vocabulary_multiple, mxfp4_multiples=terms.mxfp4_multiples,
        source=terms.sources.get(_SOURCE.get(name, ""), ""),
    )  # fmt: skip


def _row(term: str, size: Num, why: str) -> Row:
    return {"term": term, "bytes_per_gpu": number(size), "why": why}


def _cache(w: Workload, held: stages.Held) -> list[Row]:
    """What each kind of layer holds of a request of the asked length."""
    kinds, rows = held.kinds(w), list[Row]()
    for kind in kinds:
        tokens, size = cache.held_tokens(kind, kinds, w.phase.context, w.memory), kind.token_bytes
        rows.append(
            {
                "attention": "none: a state" if kind.mask is None else kind.mask.label(), "layers": number(kind.layers), "bytes_per_token": number(size),
                "tokens_held": number(tokens), "request_bytes_per_gpu": number(size * tokens),
            }
        )  # fmt: skip
    fixed = cache.fixed_bytes(w.model, w.plan, held.layers, w.phase.context, w.view.kv, w.memory)
    if np.any(np.asarray(fixed) > 0.0):
        rows.append({"attention": "none: a state", "request_bytes_per_gpu": number(fixed)})
    return rows


def _references(w: Workload) -> tuple[str, ...]:
    terms = w.memory
    assumed = sum(text.startswith("assumed") for text in terms.sources.values())
    return (
        f"engine: {engines.title(terms.engine)}, terms of {_release(terms.version)} (engines/{terms.engine}.toml; "
        f"{assumed} of {len(terms.sources)} assumed)",
        f"hardware: {w.device.title}, {w.device.where} ({show(float(np.asarray(w.device.capacity)), 'bytes')})",
    )
