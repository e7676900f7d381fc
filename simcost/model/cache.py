"""The cache of a request as engines hold it: pages of tokens, groups of layers, windows that are wider while a prompt comes in.

vLLM's hybrid manager puts layers of one kind into groups of equal size, pads the last group of a kind with layers that hold nothing, and
lets a window layer hold min(len, window - 1 + rows of a step) tokens and a page. Where layers that keep a state stand beside attention, a
page has so many tokens that one holds the state of a layer, and such a layer takes one page of a request, two where prefixes are cached.
SGLang gives window layers a pool of a fixed ratio, and states one of their own. Without
either every layer holds the whole context. Most likely to be wrong: layers whose K and V differ in shape between kinds, whose pages an
engine makes equal. Sources: vLLM `v1/core/kv_cache_utils.py`, `v1/kv_cache_interface.py` and `platforms/interface.py`
(`_align_hybrid_block_size`); SGLang `--swa-full-tokens-ratio`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from simcost.dtypes import Dtype, dtype
from simcost.frozen import frozen, remembered
from simcost.hardware.engine_memory import EngineMemory
from simcost.model.spec import ModelSpec
from simcost.num import Num, ceil, every, maximum, minimum, where
from simcost.ops.attention_core import Mask
from simcost.plan import Plan
from simcost.sharding.shard import Block

_ALIGNED = 16.0  # kernels of attention take pages of multiples of so many tokens
_WHOLE, _ANY = Plan(), dtype("bf16")  # whether a layer keeps a state depends on neither


@frozen
class Kind:
    """Layers of one rank that hold the same tokens: their mask, how many they are, all their bytes of one token, and the tokens of a page.
    Without a mask they keep a state, in pages as large as those of the attention."""

    mask: Mask | None
    layers: Num
    token_bytes: Num
    page: Num


@remembered
def kinds(model: ModelSpec, plan: Plan, layers: Sequence[Num], kv: Dtype, engine: EngineMemory) -> tuple[Kind, ...]:
    """Kinds of layers of a rank that holds `layers` of every stack, with what pads the groups of the last of each."""
    found: list[Kind] = []
    widest: Num = 0.0
    for count, (_, blocks) in zip(layers, model.stacks, strict=True):
        for block in blocks:
            if block.mask is None or every(block.token_bytes(plan, kv) == 0.0):
                continue  # it keeps nothing, or reads what another layer keeps
            token, mask = _token_bytes(block, plan, kv, engine), _held(block.mask, engine)
            each, widest = count * token, maximum(widest, token)
            same = next((i for i, kind in enumerate(found) if kind.mask is not None and _alike(kind.mask, mask)), None)
            if same is None:
                found.append(Kind(mask, 0.0 + count, each, engine.block))
            else:
                old = found[same]
                found[same] = replace(old, layers=old.layers + count, token_bytes=old.token_bytes + each)
    if _paged_states(model, engine):
        found = _with_states(found, model, plan, layers, kv, widest, engine)
    return tuple(_grouped(found, engine.group_ratio) if engine.windows == "grouped" and len(found) > 1 else found)


def _paged_states(model: ModelSpec, engine: EngineMemory) -> bool:
    """Whether states take pages of the attention's cache: they need layers of both sorts."""
    keeps = any(block.mask is not None for _, stack in model.stacks for block in stack)
    return engine.windows == "grouped" and keeps and has_states(model)


@remembered
def has_states(model: ModelSpec) -> bool:
    """Whether any layer keeps a state in place of keys and values."""
    return any(_is_state(block) for _, stack in model.stacks for block in stack)


def _is_state(block: Block) -> bool:
    """Whether a layer keeps a state, and no keys and values."""
    return block.mask is None and not every(block.fixed_bytes(1.0, _WHOLE, _ANY) == 0.0)


def _with_states(
    found: list[Kind], model: ModelSpec, plan: Plan, layers: Sequence[Num], kv: Dtype, widest: Num, engine: EngineMemory
) -> list[Kind]:
    """The kinds with layers that keep a state, and pages that hold the largest of them. widest: a token of an attention layer [B]."""
    count: Num = 0.0
    state: Num = 0.0
    for each, (_, blocks) in zip(layers, model.stacks, strict=True):
        for block in filter(_is_state, blocks):
            count, state = count + each, maximum(state, block.fixed_bytes(1.0, plan, kv))
    page = maximum(_up(state / widest, _ALIGNED), engine.block)
    return [*(replace(kind, page=page) for kind in found), Kind(None, count, count * widest, page)]


def _held(mask: Mask, engine: EngineMemory) -> Mask:
    """A mask as an engine's cache knows it: chunked layers count as full ones where it has no bound for them."""
    return Mask() if mask.chunk is not None and engine.chunks == "whole" else mask


def _token_bytes(block: Block, plan: Plan, kv: Dtype, engine: EngineMemory) -> Num:
    """One token of one layer, in the block's own format; engines widen a latent to a multiple of elements. [B]"""
    elements, size = block.token_elements(plan), block.token_bytes(plan, kv)
    if every(elements == 0.0):
        return size  # keys by which others are picked, alone
    return size * (_up(elements, engine.latent_multiple) / elements)


def fixed_bytes(
    model: ModelSpec, plan: Plan, layers: Sequence[Num], context: Num, kv: Dtype, engine: EngineMemory
) -> Num:
    """Bytes that layers keep of a request of `context` tokens beside what grows with them and what takes pages. [B]"""
    total, paged = 0.0 * context, _paged_states(model, engine)
    for count, (_, blocks) in zip(layers, model.stacks, strict=True):
        for block in blocks:
            if paged and _is_state(block):
                continue
            total = total + count * block.fixed_bytes(context, plan, kv)
    return total


def _alike(one: Mask, other: Mask) -> bool:
    return all(
        (a is None and b is None) or (a is not None and b is not None and np.array_equal(a, b))
        for a, b in ((one.window, other.window), (one.chunk, other.chunk))
    )


def _grouped(found: list[Kind], ratio: Num) -> list[Kind]:
    """Every kind in whole groups of one size: the fewest layers of a kind, or the most where kinds are about as many."""
    least: Num = np.inf
    most: Num = 0.0
    for kind in found:
        least = minimum(least, where(kind.layers > 0.0, kind.layers, np.inf))
        most = maximum(most, kind.layers)
    size = where(most < ratio * least, most, least)
    return [_whole(kind, size) for kind in found]


def _whole(kind: Kind, size: Num) -> Kind:
    layers = ceil(kind.layers / size) * size
    return replace(kind, layers=layers, token_bytes=kind.token_bytes * layers / maximum(kind.layers, 1.0))


def request_bytes(found: Sequence[Kind], context: Num, engine: EngineMemory) -> Num:
    """Bytes that a request of `context` tokens takes of the pool of a rank. [B]"""
    total: Num = 0.0
    for kind in found:
        total = total + kind.token_bytes * held_tokens(kind, found, context, engine)
    return total


def token_bytes(found: Sequence[Kind], engine: EngineMemory) -> Num:
    """Bytes of the pool for every token that an engine's log counts: all groups hold it, whatever their windows. [B]"""
    total: Num = 0.0
    for kind in found:
        narrow = engine.windows == "ratio" and kind.mask is not None and kind.mask.bounded
        total = total + kind.token_bytes * (engine.window_ratio if narrow else 1.0)
    return total


def held_tokens(kind: Kind, found: Sequence[Kind], context: Num, engine: EngineMemory) -> Num:
    """Tokens of the pool that a request of `context` tokens takes in the layers of one kind, in whole pages. `found`: all kinds."""
    mask, page = kind.mask, kind.page
    if mask is None:
        return engine.state_pages * page
    whole = _up(context, page)
    if engine.windows == "ratio":
        # Both pools end together: a request takes of them what the fuller one needs.
        for other in found:
            if other.mask is not None and other.mask.bounded:
                whole = maximum(whole, minimum(context, _span(other.mask)) / engine.window_ratio)
        return ceil(engine.window_ratio * whole) if mask.bounded else whole
    if not mask.bounded or engine.windows == "whole":
        return whole
    coming = engine.tokens * engine.steps_in_flight
    if mask.chunk is not None:
        return _up(minimum(context, mask.chunk + coming), page)
    assert mask.window is not None
    return _up(minimum(context, mask.window - 1.0 + coming), page) + page


def _span(mask: Mask) -> Num:
    limit = mask.window if mask.window is not None else mask.chunk
    assert limit is not None
    return limit


def _up(size: Num, step: Num) -> Num:
    return ceil(size / step) * step
