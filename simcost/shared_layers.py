"""What layers share across a pipeline: which layer's cache, and which layer's weights, each layer uses; what a plan may cut apart, and what a hop carries.

A cache cannot be cut from its readers: vLLM refuses a layer whose target is not on its own stage (`validate_kv_sharing_target`), SGLang has no pool for it.
Weights can: each stage that uses a block and does not hold it has a copy. Most likely to be wrong: engines that keep one copy, or cut the layers elsewhere. Sources: vLLM
`model_executor/layers/attention/attention.py`, `models/gemma4.py` (IntermediateTensors), `models/zamba2.py`; SGLang `models/gemma4_causal.py` and PR 25284.
"""

from __future__ import annotations

import numpy as np

from simcost.blocks.norm.norm import Norm
from simcost.errors import Infeasible
from simcost.model.spec import ModelSpec
from simcost.num import Num, every, is_scalar, occurring
from simcost.plan import Check, Plan
from simcost.provenance import Kind, Note
from simcost.sharding import placement
from simcost.sharding.shard import Block

_SHOWN = 8  # numbers of stages that a refusal names


def written(model: ModelSpec) -> tuple[int, ...]:
    """For each layer the one whose keys and values it reads, itself where they are its own: the last before it of its kind (a window, or none) with a cache of its own."""
    mixers = [next((block for block in layer if block.mask is not None), None) for _, layer in model.stacks]
    found: list[int] = []
    last: dict[int, int] = {}  # of the stack of a reader, the last layer that it may read
    readers = [stack for stack, block in enumerate(mixers) if block is not None and block.reads_cache]
    for layer, stack in enumerate(model.order):
        found.append(last.get(stack, layer) if stack in readers else layer)
        mine = mixers[stack]
        if mine is not None and not mine.reads_cache:
            last |= {reader: layer for reader in readers if _bounded(mixers[reader]) == _bounded(mine)}
    return tuple(found)


def _bounded(block: Block | None) -> bool:
    return block is not None and block.mask is not None and block.mask.bounded


def lent(model: ModelSpec) -> tuple[int, ...]:
    """For each layer the one that holds the weights that it shares, itself where none does: the holders' blocks take turns over the layers that use one."""
    holds = [any(block.lent is not None for block in layer) for _, layer in model.stacks]
    borrows = [any(block.borrows for block in layer) for _, layer in model.stacks]
    holders = [layer for layer, stack in enumerate(model.order) if holds[stack]]
    found, use = [], 0
    for layer, stack in enumerate(model.order):
        found.append(holders[use % len(holders)] if borrows[stack] else layer)
        use += holds[stack] or borrows[stack]
    return tuple(found)


def cut(layers: int, parts: int, counts: tuple[int, ...] | None = None) -> list[range]:
    """The layers of every stage of a pipeline of so many, first to last. `counts`: how many stand on each, where not as
    even as can be. Raises Infeasible for counts that do not fit."""
    found, start = [], 0
    for count in placement.even(layers, parts) if counts is None else placement.checked(counts, layers, parts):
        found.append(range(start, start + count))
        start += count
    return found


def split(model: ModelSpec, parts: int, counts: tuple[int, ...] | None = None) -> tuple[int, int] | None:
    """The first layer, and the one whose cache it reads, that so many stages cut apart; None where they leave all
    together. `counts`: as in `cut`."""
    reads = written(model)
    for here in cut(len(model.order), parts, counts):
        for layer in here:
            if reads[layer] not in here:
                return layer, reads[layer]
    return None


def require_whole(model: ModelSpec, parts: int, counts: tuple[int, ...]) -> None:
    """Raises Infeasible where stages of so many layers cut a layer from the one whose cache it reads."""
    if (pair := split(model, parts, counts)) is not None:
        raise Infeasible(
            f"plan.stages: layer {pair[0]} reads the keys and values of layer {pair[1]}, and must be on the same stage"
        )


def checks(model: ModelSpec, plan: Plan) -> list[Check]:
    """The rule that each layer stands on the stage of the one whose cache it reads; none where no layer reads another's."""
    if not any(block.reads_cache for _, block in model.blocks()):
        return []
    layers, parts = len(model.order), plan.pp * plan.vpp
    sizes = [int(size) for size in occurring(parts) if 1 <= size <= layers and size == int(size)]
    apart = {size: pair for size in sizes if (pair := split(model, size)) is not None}
    if not apart:
        return []
    size, (reader, writer) = next(iter(apart.items()))
    able = [n for n in range(1, layers + 1) if split(model, n) is None]
    said = "pp = 1" if able == [1] else f"pp of {', '.join(map(str, able[:_SHOWN]))}{' …' * (len(able) > _SHOWN)}"
    named = f"{size} stages separate them" if is_scalar(parts) else "that many stages separate them"
    reason = (
        f"layer {reader} reads the keys and values of layer {writer}, and {named}: vLLM refuses a layer whose cache is on another stage, "
        f"and SGLang has no pool for it: use {said}"
    )
    return [Check(~np.isin(np.asarray(parts), list(apart)), reason)]


def hops(model: ModelSpec, parts: int, counts: tuple[int, ...] | None = None, tensors: Num = 1.0) -> tuple[Num, ...]:
    """Elements of a token that every hop of a pipeline of so many stages carries, first to last: one residual stream, what the embedding made for all layers, and what stands beside the stream there. `counts`: as in `cut`; `tensors`: in which the stream goes, where
    the next layer's norm adds what the last one made: engines send both apart.

    Beside the stream stands what the next layer with such a need reads, or the head: all that a layer puts aside is read by every later one, so that nothing comes between."""
    needs = [_needed(layer) for _, layer in model.stacks]
    plain = model.hidden_size + model.embedding.carried_elements
    some = {stack for stack, need in enumerate(needs) if not every(need == 0.0)}

    def beside(first: int) -> Num:
        if first == 0:  # no layer has put anything aside
            return needs[model.order[0]]
        reader = next((stack for stack in model.order[first:] if stack in some), None) if some else None
        return model.head.carried_elements if reader is None else needs[reader]

    apart = [model.hidden_size * (tensors - 1.0) * _adds(layer) for _, layer in model.stacks]
    last = apart[model.order[-1]]  # behind all layers the head's norm adds

    def more(first: int) -> Num:
        return apart[model.order[first]] if first < len(model.order) else last

    return tuple(plain + beside(here.start) + more(here.start) for here in cut(len(model.order), parts, counts)[1:])


def _adds(layer: tuple[Block, ...]) -> bool:
    """Whether a layer begins with a norm that adds what the last layer made to the one residual stream."""
    first = layer[0]
    return isinstance(first, Norm) and first.residual and every(first.carried_elements == 0.0)


def _needed(layer: tuple[Block, ...]) -> Num:
    """Elements of a token that a layer reads beside the residual stream: those of its blocks up to its attention, as later ones also see what the layer itself puts aside."""
    end = next((place for place, block in enumerate(layer) if block.kind == "attention"), len(layer))
    needs = (block.carried_elements for block in layer[: end + 1])
    return next((need for need in needs if not every(need == 0.0)), 0.0)


def notes(model: ModelSpec, plan: Plan) -> tuple[Note, ...]:
    """What no engine does of a pipeline that is costed all the same; () for one stage."""
    if every(np.asarray(plan.pp) == 1.0):
        return ()
    found = {block.unstaged: None for _, block in model.blocks() if block.unstaged}
    return tuple(Note(f"{model.name}: {text}", Kind.ASSUMED) for text in found)
