"""What an engine holds of a model's weights: the checkpoint, and what it adds to it while loading.

Vocabularies and experts in mxfp4 are padded to whole tiles, MLA keeps absorbed products beside its weights, rotary embeddings a
table of every position, and PyTorch's allocator hands out large blocks in steps of 2 MiB. Most likely to be wrong: how experts in
mxfp4 are repacked, which depends on the kernel that an engine picks. Sources: the engine's terms (`workloads/engines`), PyTorch
`c10/cuda/CUDACachingAllocator.cpp`, start-up logs (docs/theory/memory.md).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields, replace

import numpy as np

from simcost.dtypes import Dtype
from simcost.frozen import frozen
from simcost.hardware.engine_memory import EngineMemory
from simcost.model.spec import ModelSpec
from simcost.num import Num, ceil, maximum, where
from simcost.plan import Plan
from simcost.sharding.shard import Block, Weight
from simcost.units import parse

_STEP = parse("2 MiB", "bytes")  # bytes: large blocks are whole multiples of it
_LARGE = 5.0 * _STEP  # bytes from which a block is large
_KEPT = _STEP / 2.0  # bytes: a remainder up to this size is not split off


@frozen
class Loaded:
    """Bytes on one rank. checkpoint: what the files hold of the language model; vocabulary, experts: padding; absorbed: products beside
    the weights; rotary: tables of positions; tower: the vision tower; allocator: what large blocks are rounded up by."""

    checkpoint: Num = 0.0
    vocabulary: Num = 0.0
    experts: Num = 0.0
    absorbed: Num = 0.0
    rotary: Num = 0.0
    tower: Num = 0.0
    allocator: Num = 0.0

    @property
    def total(self) -> Num:
        """Sum of all parts. [B]"""
        return sum((getattr(self, f.name) for f in fields(self)), 0.0)

    def __add__(self, other: Loaded) -> Loaded:
        return Loaded(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    def __mul__(self, times: Num) -> Loaded:
        return Loaded(*(times * getattr(self, f.name) for f in fields(self)))

    def choose(self, mask: np.ndarray, other: Loaded) -> Loaded:
        """This one where `mask` holds, the other elsewhere."""
        return Loaded(*(where(mask, getattr(self, f.name), getattr(other, f.name)) for f in fields(self)))


def of_blocks(
    blocks: Iterable[Block], plan: Plan, storage: Mapping[str, Dtype], base: Dtype, engine: EngineMemory
) -> Loaded:
    """Blocks of one layer, or of an end, on one rank of `plan`; `base`: the format of what is derived from weights."""
    checkpoint: Num = 0.0
    absorbed: Num = 0.0
    allocator: Num = 0.0
    padding: dict[str, Num] = {"vocabulary": 0.0, "experts": 0.0}
    for block in blocks:
        weights = block.weights(plan)
        width = next((weight.inner for weight in weights if weight.name == "experts_down"), None)
        for weight in weights:
            plain = weight.stored_bytes(storage)
            held = _padded(weight, plan, storage, engine, width)
            full = plain if held is weight else held.stored_bytes(storage)
            checkpoint, allocator = checkpoint + plain, allocator + _rounding(full)
            if held is not weight:
                of = "experts" if weight.role == "experts" else "vocabulary"
                padding[of] = padding[of] + (full - plain)
        absorbed = absorbed + base.tensor_bytes(block.absorbed_elements(plan, engine.absorbed == "merged"))
    return Loaded(checkpoint, absorbed=absorbed, allocator=allocator, **padding)


def rotary(model: ModelSpec) -> Loaded:
    """Tables of cosines and sines, one for every width that occurs, over all positions that the config allows, scaled ones with theirs."""
    widths: list[Num] = []
    for _, block in model.blocks():
        if block.mask is not None and not any(np.array_equal(block.rotary_width, width) for width in widths):
            widths.append(block.rotary_width)
    return Loaded(rotary=model.base.tensor_bytes(sum(model.rotary_rows) * sum(widths, 0.0)))


def tower(model: ModelSpec, plan: Plan) -> Loaded:
    """A rank's part of the towers that are counted, in the format of the activations."""
    return Loaded(tower=model.base.tensor_bytes(sum((each.parameters for each in model.towers), 0.0) / plan.tp))


def _padded(
    weight: Weight, plan: Plan, storage: Mapping[str, Dtype], engine: EngineMemory, width: Num | None
) -> Weight:
    """The tensor that an engine allocates. `width`: of a rank's part of an expert; gate and up are padded each."""
    if weight.name in ("embed_tokens", "lm_head"):
        step = maximum(engine.vocabulary_multiple / plan.tp, 1.0)
        return replace(weight, out=_up(weight.out, step))
    if weight.inner is None or width is None or weight.role != "experts" or storage["experts"].name != "mxfp4":
        return weight
    hidden, intermediate = engine.mxfp4_multiples
    if weight.name == "experts_down":
        return replace(weight, out=_up(weight.out, hidden), inner=_up(width, intermediate))
    return replace(weight, out=weight.out / width * _up(width, intermediate), inner=_up(weight.inner, hidden))


def _up(size: Num, step: Num) -> Num:
    return ceil(size / step) * step


def _rounding(size: Num) -> Num:
    """What a block of PyTorch's allocator holds beyond the tensor in it. [B]"""
    rest = _up(size, _STEP) - size
    return where((size >= _LARGE) & (rest <= _KEPT), rest, 0.0)
