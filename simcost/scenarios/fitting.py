"""Whether a design fits, in a sentence, and what would make it fit: the smallest change of one setting at a time (batch, context, tp,
formats, the engine's settings), and the plan with the fewest GPUs.

Every candidate is a whole question whose memory is worked out anew, so what is named does fit. Most likely to be wrong: which of
the changes a user can live with. Source: the rules of the plan and the engine's terms.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np

from simcost import pipeline
from simcost.dtypes import dtype
from simcost.errors import SimcostError
from simcost.estimate import feasible, memo, memory, smallest_plan, stages
from simcost.estimate.memory import Kept
from simcost.query import Query, settled, workload
from simcost.scenarios import memory_notes
from simcost.units import show
from simcost.workload import Workload

_RANKS = 64.0  # tensor-parallel sizes that are tried
_NARROW = ("fp8", "int8", "int4")
_SHARE = 0.98  # more than this no engine starts with
_SEQUENCES, _TOKENS = 16.0, 2048.0  # fewer than these no engine is run with


def verdict(kept: Kept, timed: bool = True) -> tuple[str, bool]:
    """One plain sentence about memory; timed: whether times stand beside it."""
    held = kept.memory
    short = float(np.asarray(held.short))
    if short <= 0:
        return (
            f"fits: {show(float(held.used), 'memory')} of {show(float(held.capacity), 'memory')} per GPU{_fullest(kept)}{_idle(kept)}",
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
        f"DOES NOT FIT: short by {show(short, 'memory')} per GPU{_fullest(kept)} ({parts}; memory {show(float(held.capacity), 'memory')})"
        + ("; times are printed as if the memory sufficed" if timed else "")
        + _idle(kept)
    ), False


def judged(query: Query, kept: Kept, timed: bool = True) -> tuple[str, bool]:
    """The verdict on memory, and where it does not suffice what would make it fit."""
    sentence, fits = verdict(kept, timed)
    return (sentence if fits else f"{sentence}; {advice(query, kept)}"), fits


def _fullest(kept: Kept) -> str:
    """Which ranks hold most, where pipeline stages differ."""
    pp = int(float(np.asarray(kept.workload.plan.pp)))
    if pp == 1:
        return ""
    index = int(float(np.asarray(kept.held.stage)))
    return f" on stage {index + 1} of {pp} ({pipeline.stages(kept.workload.model, pp)[index].name})"


def _idle(kept: Kept) -> str:
    """How much of the cluster the plan leaves unused."""
    plan = kept.workload.plan
    if plan.gpus is None or not float(np.asarray(plan.gpus - plan.devices)) > 0.0:
        return ""
    used, there = float(np.asarray(plan.devices)), float(np.asarray(plan.gpus))
    return f"; uses {used:,.0f} of {there:,.0f} GPUs, {there - used:,.0f} idle"


def advice(query: Query, kept: Kept) -> str:
    """ "fits with batch=53, context=6,816, plan.tp=2 or plan.kv_dtype=fp8; the smallest plan that fits has 4 GPUs: tp=4"; or that no single
    change does, and no plan."""
    query = settled(query)  # another plan is for the same design
    return f"{_single(query, kept)}; {smallest(query, kept.workload)}"


def smallest(query: Query, w: Workload) -> str:
    """ "the smallest plan that fits has 12 GPUs: tp=4, pp=3"; `w`: any workload of the question's model and device."""
    bare = _bare(query)
    key = _without_split(bare, w)
    if key not in _KNOWN:
        if len(_KNOWN) >= _KEPT:
            _KNOWN.clear()
        _KNOWN[key] = w, _smallest(bare, w)
    return _KNOWN[key][1]


# What was answered of late, beside the workload that it was worked out with: questions of one program often differ in their split alone.
_KNOWN: dict[Any, tuple[Workload, str]] = {}
_KEPT = 64


def _without_split(bare: Query, w: Workload) -> Any:
    """All that the smallest plan rests on: the model and the device, which live as long as the answer is kept, and what the question states."""
    stated = (("phase", bare.overrides.phase), ("plan", bare.overrides.plan), ("engine", bare.overrides.engine))
    each = tuple(
        (of, path, memo.key_of(value) if isinstance(value, np.ndarray) else repr(value))
        for of, table in stated
        for path, value in table.items()
    )
    return id(w.model), id(w.device), bare.decode, smallest_plan.over_contexts(w), each


def _smallest(bare: Query, w: Workload) -> str:
    sizes = smallest_sizes(bare, w)
    if sizes is None:
        return f"none of the plans tried, up to {smallest_plan.MOST:,} GPUs, fits"
    devices = float(np.asarray(workload(_under(bare, sizes)).plan.devices))
    named = ", ".join(f"{name}={size}" for name, size in sizes.items()) or "tp=1"
    return f"the smallest plan that fits has {devices:,.0f} GPU{'s' * (devices > 1.0)}: {named}"


def smallest_sizes(query: Query, w: Workload) -> dict[str, int] | None:
    """Sizes that are not 1 of the plan with the fewest GPUs; None where none that was tried fits."""
    bare = _bare(query)
    sizes = smallest_plan.found(lambda sizes: workload(_under(bare, sizes)), w)
    return None if sizes is None or _asked(_under(bare, sizes), {}) is None else sizes


def _bare(query: Query) -> Query:
    """The question without the sizes of its plan, of the design that its swaps made under that plan."""
    query = settled(query)
    rest = {k: v for k, v in query.overrides.plan.items() if k not in (*smallest_plan.SIZES, *smallest_plan.OTHERS)}
    return replace(query, overrides=replace(query.overrides, plan=rest))


def _under(query: Query, sizes: dict[str, Any]) -> Query:
    return replace(query, overrides=replace(query.overrides, plan={**query.overrides.plan, **sizes}))


def _single(query: Query, kept: Kept) -> str:
    found = [f"{path}={_shown(value)}" for path, value in _changes(query, kept)]
    if not found:
        return "no single change of batch, context, plan.tp, formats or the engine's settings fits"
    return f"fits with {found[0] if len(found) == 1 else ', '.join(found[:-1]) + ' or ' + found[-1]}"


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else f"{value:g}"


def _changes(query: Query, kept: Kept) -> Iterator[tuple[str, Any]]:
    w = kept.workload
    most = float(memory.max_batch(kept))
    if 1.0 <= most < float(w.phase.batch):
        yield "batch", int(most)
    if query.decode:
        longest = min(float(memory.max_context(kept)), w.model.max_positions or np.inf)
        if 1.0 <= longest < float(w.phase.context):
            yield "context", int(longest)
    tp = float(w.plan.tp)
    yield from _first(query, (("plan.tp", int(wide)) for wide in _powers(2.0 * tp, _RANKS)))
    for path, now in (("plan.kv_dtype", w.view.kv.bits), ("plan.weight_dtype", w.view.storage["ffn"].bits)):
        narrow = _NARROW if path == "plan.weight_dtype" else _NARROW[:1]
        yield from _first(query, ((path, name) for name in narrow if dtype(name).bits < now))
    yield from _settings(query, kept)


def _settings(query: Query, kept: Kept) -> Iterator[tuple[str, Any]]:
    """Fewer sequences or tokens of the largest step, a larger share, no graphs: each the smallest change that fits."""
    terms, names = kept.workload.memory, kept.workload.memory.names
    local = float(np.max(np.asarray(stages.sequences(kept.workload))))
    for setting, now, least in (
        ("sequences", terms.sequences, max(local, _SEQUENCES)),
        ("tokens", terms.tokens, max(local, _TOKENS)),
    ):
        smaller = reversed(list(_powers(least, float(now) - 1.0)))
        yield from _first(query, ((f"engine.{names[setting]}", int(size)) for size in smaller))
    yield from _share(query, kept)
    if kept.workload.plan.cuda_graph == "on":
        yield from _first(query, [("plan.cuda_graph", "off")])


def _powers(least: float, most: float) -> Iterator[float]:
    """Powers of two from `least` to `most`, both included."""
    size = 2.0 ** math.ceil(math.log2(least))
    while size <= most:
        yield size
        size *= 2.0


def _first(query: Query, changes: Iterable[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
    """The first change that fits, or none."""
    yield from islice((change for change in changes if _asked(query, dict([change])) is not None), 1)


def _share(query: Query, kept: Kept) -> Iterator[tuple[str, float]]:
    """The smallest share, in hundredths, that fits and leaves the reserve enough for the driver's own context."""
    terms = kept.workload.memory
    path = f"engine.{terms.names['share']}"
    low, high = math.floor(100.0 * float(terms.share)), round(100.0 * _SHARE)
    if high <= low or _asked(query, {path: high / 100.0}) is None:
        return
    while high - low > 1:  # a larger share never leaves a smaller pool
        middle = (low + high) // 2
        low, high = (low, middle) if _asked(query, {path: middle / 100.0}) is not None else (middle, high)
    changed = _asked(query, {path: high / 100.0})
    if changed is not None and not memory_notes.tight(changed):
        yield path, high / 100.0


def _asked(query: Query, sets: dict[str, Any]) -> Kept | None:
    """The memory of a question with other settings; None where it cannot be asked or does not fit."""
    try:
        w = workload(replace(query, overrides=query.overrides.merged(sets)))
        if feasible.broken(w, advise=False):
            return None
    except SimcostError:
        return None
    kept = memory.kept(w)
    return kept if np.all(np.asarray(kept.memory.short) <= 0.0) else None
