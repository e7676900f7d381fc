"""Whether a design fits, in a sentence, and what would make it fit: the smallest change of one setting at a time (batch, context, tp,
formats, the engine's share).

Every candidate is a whole question whose memory is worked out anew, so what is named does fit. Most likely to be wrong: which of
the changes a user can live with. Source: the rules of the plan and the engine's terms.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from simcost.errors import SimcostError
from simcost.hardware import engines
from simcost.scenarios import footprint, rules, stages
from simcost.scenarios.footprint import Kept
from simcost.scenarios.query import Query, workload
from simcost.units import show
from simcost.workload import Workload

_RANKS = 64.0  # tensor-parallel sizes that are tried
_NARROW = ("fp8", "int8", "int4")
_SHARE = 0.98  # more than this no engine starts with


def verdict(kept: Kept) -> tuple[str, bool]:
    """One plain sentence about memory."""
    held = kept.memory
    short = float(np.asarray(held.short))
    if short <= 0:
        return (
            f"fits: {show(float(held.used), 'memory')} of {show(float(held.capacity), 'memory')} a GPU{_fullest(kept)}",
            True,
        )
    parts = ", ".join(
        f"{name} {show(float(size), 'memory')}"
        for name, size in (
            ("weights", held.weights),
            ("cache", held.cache),
            ("activations", held.activations),
            ("outside PyTorch", held.non_torch),
            ("CUDA graphs", held.graphs),
            ("reserve", held.reserve),
        )
    )
    return (
        f"DOES NOT FIT: short by {show(short, 'memory')} a GPU{_fullest(kept)} ({parts}; memory {show(float(held.capacity), 'memory')}); "
        "times are as if memory allowed"
    ), False


def _fullest(kept: Kept) -> str:
    """Which ranks hold most, where pipeline stages differ."""
    pp = int(float(np.asarray(kept.workload.plan.pp)))
    if pp == 1:
        return ""
    index = int(float(np.asarray(kept.held.stage)))
    return f" on stage {index + 1} of {pp} ({stages.stages(kept.workload, pp)[index].name})"


def warnings(kept: Kept) -> tuple[str, ...]:
    """What a reader of memory figures must know."""
    w = kept.workload
    found = [f"{w.model.name}: {note}" for note in w.model.notes] + list(w.notes) + admitted(w) + tight(kept)
    if w.model.mtp:
        found.append(
            f"{w.model.name}: num_nextn_predict_layers = {len(w.model.mtp)}: engines load MTP only to speculate; it is not held here"
        )
    return tuple(dict.fromkeys(found))


def tight(kept: Kept) -> list[str]:
    """A note where the reserve is less than CUDA and NCCL themselves take: the engine starts, and runs out of memory."""
    w, spare = kept.workload, kept.memory.reserve - kept.workload.memory.context
    if not np.any(np.asarray(spare) < 0.0):
        return []
    need = show(float(np.max(np.asarray(w.memory.context))), "memory")
    return [
        f"{w.device.name}: engine.{w.memory.names['share']} leaves {show(float(np.min(np.asarray(kept.memory.reserve))), 'memory')} a GPU "
        f"outside what is counted; CUDA's context and NCCL take about {need}: expect to run out of memory"
    ]


def admitted(w: Workload) -> list[str]:
    """A note where the batch is more than an engine runs at once."""
    local = np.max(np.asarray(stages.sequences(w)))
    most = float(np.max(np.asarray(w.memory.sequences)))
    if local <= most:
        return []
    name = f"engine.{w.memory.names['sequences']}"
    return [
        f"{engines.title(w.memory.engine)} runs at most {most:,.0f} sequences at once ({name}); {local:,.0f} on a replica are asked"
    ]


def advice(query: Query, kept: Kept) -> str:
    """ "fits with batch=53, context=6,816, plan.tp=2 or plan.kv_dtype=fp8"; or that no single change does."""
    found = [f"{path}={_shown(value)}" for path, value in _changes(query, kept)]
    if not found:
        return "no single change of batch, context, tp, formats or share fits"
    return f"fits with {found[0] if len(found) == 1 else ', '.join(found[:-1]) + ' or ' + found[-1]}"


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else f"{value:g}"


def _changes(query: Query, kept: Kept) -> Iterator[tuple[str, Any]]:
    w = kept.workload
    most = float(footprint.max_batch(kept))
    if 1.0 <= most < float(w.phase.batch):
        yield "batch", int(most)
    if query.decode:
        longest = float(footprint.max_context(kept))
        if 1.0 <= longest < float(w.phase.context):
            yield "context", int(longest)
    tp = float(w.plan.tp)
    while (tp := 2.0 * tp) <= _RANKS:
        if _fits(query, {"plan.tp": int(tp)}):
            yield "plan.tp", int(tp)
            break
    for path, now in (("plan.kv_dtype", w.view.kv.bits), ("plan.weight_dtype", w.view.storage["ffn"].bits)):
        for name in _NARROW if path == "plan.weight_dtype" else _NARROW[:1]:
            if _bits(name) < now and _fits(query, {path: name}):
                yield path, name
                break
    yield from _share(query, kept)


def _bits(name: str) -> float:
    return 4.0 if name == "int4" else 8.0


def _share(query: Query, kept: Kept) -> Iterator[tuple[str, float]]:
    """The share, in hundredths, that leaves the reserve enough for the driver's own context."""
    memory, terms = kept.memory, kept.workload.memory
    share = math.ceil(100.0 * float(terms.share + memory.short / memory.capacity)) / 100.0
    path = f"engine.{terms.names['share']}"
    if share <= _SHARE and _fits(query, {path: share}) and memory.capacity * (1.0 - share) >= terms.context:
        yield path, share


def _fits(query: Query, sets: dict[str, Any]) -> bool:
    try:
        w = workload(replace(query, overrides=query.overrides.merged(sets)))
        if rules.broken(w, advise=False):
            return False
    except SimcostError:
        return False
    return bool(np.all(np.asarray(footprint.kept(w).memory.short) <= 0.0))
