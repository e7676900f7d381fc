"""What stands on which pipeline stage, and what the stage runs, holds and keeps: its programs, its weights by role, its state.

Stages are as even as layers allow, as in vLLM and SGLang, unless counts are stated (`sharding/placement.py`); the embedding stands
on the first, MTP modules and the head on the last. Most likely to be wrong: a layout that puts MTP on a stage of its
own. Sources: vLLM `distributed/utils.py` (get_pp_indices); gradients of weights that stages share: NVIDIA Megatron Core
`distributed/finalize_model_grads.py` (_allreduce_word_embedding_grads).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from simcost import shared_layers
from simcost.dtypes import Dtype
from simcost.frozen import frozen, remembered
from simcost.lower import EMBEDDING, HEAD, TOWER, Module, modules
from simcost.model.spec import ModelSpec
from simcost.num import Num
from simcost.ops.collective import Collective
from simcost.ops.work import INPUT, WEIGHT
from simcost.passes.backward import backward, gradient_bytes, reduction
from simcost.plan import Plan
from simcost.program import Call, Program, Serial
from simcost.sharding.shard import Block, View


@frozen
class Shared:
    """Weights that several `stages` have, first to last: those that a layer of `stack` lends to others, or the embedding's table (None), which a tied head and MTP modules use
    too. `copied`: whether a stage has a copy, as the original stands on the first of them."""

    stack: int | None
    stages: tuple[int, ...]
    copied: bool

    def blocks(self, model: ModelSpec) -> tuple[Block, ...]:
        """The weights as blocks."""
        if self.stack is None:
            return (model.embedding.table,)
        return tuple(block.lent for block in model.stacks[self.stack][1] if block.lent is not None)


@frozen
class Stage:
    """`held`: (key of a module, how many of it) of every module that stands here; `shared`: weights that other stages have too."""

    held: tuple[tuple[str, int], ...]
    shared: tuple[Shared, ...] = ()

    def count(self, key: str) -> int:
        """How many of a module stand here."""
        return next((count for name, count in self.held if name == key), 0)

    @property
    def first(self) -> bool:
        """Whether the embedding stands here."""
        return self.count(EMBEDDING) > 0

    @property
    def last(self) -> bool:
        """Whether the head stands here."""
        return self.count(HEAD) > 0

    @property
    def layers(self) -> tuple[int, ...]:
        """Layers of every stack of the model."""
        return tuple(count for key, count in self.held if key.startswith("stack "))

    @property
    def name(self) -> str:
        """What stands here, for people."""
        drafts = sum(count for key, count in self.held if key.startswith("mtp "))
        words = [EMBEDDING] * self.first + [f"{sum(self.layers)} layers"]
        if copied := sum(one.copied for one in self.shared if one.stack is not None):
            words.append(f"copies of {copied} shared blocks" if copied > 1 else "a copy of a shared block")
        return ", ".join([*words, *([f"{drafts} MTP"] if drafts else []), *([HEAD] if self.last else [])])


def stages(
    model: ModelSpec, pp: int, training: bool = False, images: bool = False, layers: tuple[int, ...] | None = None
) -> list[Stage]:
    """The stages of a pipeline of `pp`, first to last; of virtual ones pp·vpp. `training`: MTP modules stand on the
    last; `images`: their tower stands on the first; `layers`: how many stand on each (`placement.parse`), as even as
    can be by default. Raises Infeasible for counts that do not fit, or cut a layer from the one whose cache it reads."""
    if layers is not None:
        shared_layers.require_whole(model, pp, layers)
    order, found, spans = model.order, [], shared_layers.cut(len(model.order), pp, layers)
    shared = _shared(model, spans, training)
    ends = [module for module in modules(model, training, images) if not module.layer]
    for index, span in enumerate(spans):
        here = order[span.start : span.stop]
        held = [(f"stack {j}", here.count(j)) for j in range(len(model.stacks))]
        held += [(module.key, 1) for module in ends if index == (0 if module.key in (EMBEDDING, TOWER) else pp - 1)]
        here_too = tuple(replace(one, copied=index != one.stages[0]) for one in shared if index in one.stages)
        found.append(Stage(tuple(held), here_too))
    return found


def _shared(model: ModelSpec, spans: list[range], training: bool) -> list[Shared]:
    """Weights that several stages have, those of layers first."""
    users: dict[int, list[int]] = {}
    holders = shared_layers.lent(model)
    for index, span in enumerate(spans):
        for holder in dict.fromkeys(holders[layer] for layer in span):
            users.setdefault(holder, []).append(index)
    found = [Shared(model.order[holder], tuple(at), False) for holder, at in sorted(users.items()) if len(at) > 1]
    if len(spans) > 1 and (model.head.tied or (training and model.mtp)):
        found.append(Shared(None, (0, len(spans) - 1), False))
    return found


@remembered
def kinds(
    model: ModelSpec, pp: int, training: bool = False, images: bool = False, layers: tuple[int, ...] | None = None
) -> tuple[tuple[int, Stage], ...]:
    """Stages that differ, each with the index of the first of its kind."""
    found: dict[Stage, int] = {}
    for index, stage in enumerate(stages(model, pp, training, images, layers)):
        found.setdefault(stage, index)
    return tuple((index, stage) for stage, index in found.items())


@frozen
class Programs:
    """What a stage runs for one micro-batch: forward, and in training the gradients of inputs and of weights, each from the last layer to the first;
    and once a step the reduction of gradients over copies."""

    forward: Serial
    input_gradients: Serial | None = None
    weight_gradients: Serial | None = None
    reduction: Serial | None = None


def programs(model: ModelSpec, stage: Stage, view: View, training: bool = False, sums: Dtype | None = None) -> Programs:
    """The programs of a stage of a plan with as many. `sums`: the format in which gradients of weights are added up (`passes/backward.py`)."""
    held = list(_held(model, stage, training))
    forward = Serial(tuple(_times(module.forward(view), count / module.count) for module, count in held), "forward")
    if not training:
        return Programs(forward)
    inputs, weights = (_gradients(forward, sums, what) for what in (INPUT, WEIGHT))
    width = 4.0 if sums is None else sums.bits / 8.0
    moves = tuple(_times(reduction(module.blocks, view.plan, width), float(count)) for module, count in reversed(held))
    if copied := copies(model, stage):
        moves = (*moves, reduction(copied, view.plan, width))
    moves = (
        *moves,
        *(summed(one, view.plan, sum(gradient_bytes(one.blocks(model), view.plan, width))) for one in stage.shared),
    )
    return Programs(forward, inputs, weights, Serial(moves, "gradient reduction"))


def _held(model: ModelSpec, stage: Stage, training: bool) -> Iterator[tuple[Module, int]]:
    """The modules of a stage in running order."""
    for module in modules(model, training, images=stage.count(TOWER) > 0):
        if count := stage.count(module.key):
            yield module, count


def copies(model: ModelSpec, stage: Stage) -> tuple[Block, ...]:
    """The weights that are used here and that other stages hold: a stage has a copy."""
    return tuple(block for one in stage.shared if one.copied for block in one.blocks(model))


def summed(shared: Shared, plan: Plan, size: Num) -> Call:
    """The sum of a shared weight's gradient of `size` [B] over the ranks of the stages that have it, once a step: whole on every rank, as Megatron does behind the sums over copies of the model. Virtual stages stand on
    ranks by turns; ranks unevenly far apart are taken as far apart as they are on average."""
    pp = int(np.max(np.asarray(plan.pp)))
    ranks = sorted({stage % pp for stage in shared.stages})
    apart = (ranks[-1] - ranks[0]) / max(len(ranks) - 1, 1)
    return Call(Collective("all_reduce", size, float(len(ranks)), plan.stage * apart), "gradients of shared weights")


def _times(program: Program, times: float) -> Program:
    return program if times == 1.0 else Serial((program,), repeat=times)


def _gradients(forward: Serial, sums: Dtype | None, what: str) -> Serial | None:
    found = backward(forward, sums, (what,))
    return None if found is None else Serial((found,), f"{what} gradients")


def units(model: ModelSpec, stage: Stage, training: bool = False) -> list[tuple[int, tuple[Block, ...]]]:
    """(how many, blocks) of every module of a stage in running order, and of the weights of which it has a copy."""
    copied = copies(model, stage)
    found = [(count, module.blocks) for module, count in _held(model, stage, training)]
    return [*found, (1, copied)] if copied else found


def weights(model: ModelSpec, stage: Stage, plan: Plan, training: bool = False) -> dict[str, Num]:
    """Parameters that one rank of a stage holds, by role."""
    found: dict[str, Num] = {}
    for count, blocks in units(model, stage, training):
        for weight in (weight for block in blocks for weight in block.weights(plan)):
            found[weight.role] = found.get(weight.role, 0.0) + count * weight.count
    return found


def state_bytes(model: ModelSpec, stage: Stage, plan: Plan, context: Num, kv: Dtype) -> Num:
    """What one rank of a stage keeps of a sequence of `context` tokens, each state in its own format, without pages. [B]"""
    total: Num = 0.0
    for module, count in _held(model, stage, False):
        for block in module.blocks:
            total = total + count * block.state_bytes(context, plan, kv)
    return total
