"""What of a swapped design differs from the first one and stands in no config key: biases, norms of queries, sinks, formats."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from typing import Any

from simcost.model.quant import CONVERTED
from simcost.model.spec import ModelSpec
from simcost.plan import Plan
from simcost.provenance import Kind, Note


def beside(before: ModelSpec, after: ModelSpec, kind: str) -> Iterator[Note]:
    """Biases, norms and the like that the new blocks of a kind do not have, or have for the first time, and formats that their weights do not have; no
    config key needs to say so."""
    had, has = _options(before, kind), _options(after, kind)
    parts = [f"without {', '.join(sorted(had - has))}"] if had - has else []
    parts += [f"with {', '.join(sorted(has - had))}"] if has - had else []
    if parts:
        yield Note(f"the new {kind} is {' and '.join(parts)}, unlike the first design's", Kind.CHANGED)

    yield from _shared(before, after, kind)
    stored, stores = _formats(before, kind), _formats(after, kind)
    if stored - stores:
        first, new = (", ".join(sorted(each)) for each in (stored, stores))
        text = f"the new {kind} is stored in {new}, the first design's in {first}: quantization_config says so; plan.weight_dtype sets one format"
        yield Note(text, Kind.CHANGED)


def _shared(before: ModelSpec, after: ModelSpec, kind: str) -> Iterator[Note]:
    """Layers whose keys and values are now their own, blocks that no layer shares any more, and layers that are attention alone."""
    readers = sum(n for n, block in before.blocks() if block.reads_cache)
    if readers and not any(block.reads_cache for _, block in after.blocks()):
        text = f"every layer of the new design has keys and values of its own: {readers:.0f} of the first design's read another layer's"
        yield Note(text, Kind.CHANGED)
    lent = any(block.lent is not None for _, block in before.blocks())
    if lent and not any(block.lent is not None for _, block in after.blocks()):
        yield Note("the transformer blocks that layers shared are removed, with their FFNs", Kind.CHANGED)
    if kind == "attention" and not any(block.kind == "ffn" for _, block in after.blocks()):
        own = "" if lent else ", like the first design's"
        yield Note(f"layers of the new design have no FFN{own}: model.ffn=dense gives each one", Kind.CHANGED)


def _formats(model: ModelSpec, kind: str) -> set[str]:
    """In what the matrices of blocks of a kind are stored, routers apart."""
    weights = [weight for _, block in model.blocks() if block.kind == kind for weight in block.weights(Plan())]
    return {model.storage[weight.role].name for weight in weights if weight.role in CONVERTED}


def _options(model: ModelSpec, kind: str) -> set[str]:
    """What blocks of a kind have that they need not have."""
    blocks = [block for _, block in model.blocks() if block.kind == kind]
    named = [(block, each) for block in blocks for each in fields(block) if _optional(each.default)]  # type: ignore[arg-type]
    return {each.name for block, each in named if getattr(block, each.name) != each.default}


def _optional(default: Any) -> bool:
    return default is False or (isinstance(default, str) and default == "none")
