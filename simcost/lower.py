"""(model, view) -> program of one step, stack by stack; and what must hold for a plan of it.

Most likely to be wrong: what engines refuse, which changes with their versions. Source of the rule on blocks of scales: vLLM
`quantization/fp8.py` and `utils/fp8_utils.py` (validate_fp8_block_shape), SGLang `layers/quantization/fp8.py`: all raise for linear
layers. Parts of experts: vLLM `fused_moe/oracle/fp8.py` (refine_fp8_moe_block_shape, pad_tp_shard_to_weight_blocks), SGLang PR 21097.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np

from simcost import shared_layers
from simcost.dtypes import Dtype, dtype
from simcost.frozen import frozen, remembered
from simcost.model.images import checks as image_checks
from simcost.model.images import seeing
from simcost.model.quant import CONVERTED
from simcost.model.spec import Layer, ModelSpec
from simcost.num import is_scalar, some
from simcost.passes import ring_exchange, two_batch
from simcost.passes.contention import exchanges
from simcost.plan import Check, Phase, Plan, own_checks
from simcost.program import Choice, Program, Serial
from simcost.provenance import Kind, Note
from simcost.sharding.shard import ROLES, Block, View


def layer_program(layer: Layer, view: View, tag: str, repeat: float = 1.0) -> Serial:
    """The blocks of a layer in order, with the overlap that the plan asks for. `repeat`: layers that are alike."""
    overlap = view.plan.overlap
    parts = tuple(block.program(view) for block in layer)
    if overlap == "two_batch" and any(exchanges(part) for part in parts):
        half = replace(view, phase=replace(view.phase, microbatches=2.0 * view.phase.microbatches))
        halves = two_batch.overlapped(Serial(tuple(block.program(half) for block in layer)))
        # A rank with one sequence has no halves, and two small batches may take longer than one: then nobody cuts it.
        return Serial((Choice((("two batches", halves), ("one batch", Serial(parts))), "overlap"),), tag, repeat)
    if overlap == "tensor_parallel":
        parts = tuple(ring_exchange.overlapped(part, view.plan.tp) for part in parts)
    return Serial(parts, tag, repeat)


def stack_name(model: ModelSpec, index: int) -> str:
    """Tag of a stack: "MLA + MoE x58", the classes of its attention and FFN and how many layers it has."""
    repeat, layer = model.stacks[index]
    words = []
    for block in layer:
        if block.kind == "attention":
            words.append(type(block).__name__)
        if block.kind == "ffn":
            words.append(type(block).__name__)
    return f"{' + '.join(words)} x{repeat}"


EMBEDDING, HEAD, TOWER = "embedding", "head", "tower"


@frozen
class Module:
    """What pipeline stages are made of: the tower that images pass, the embedding, the layers of a stack, an MTP module, the head. `key` tells it apart, `name` is for people;
    `count`: how many of it the model has; `layer`: whether pipelines share it out."""

    key: str
    name: str
    blocks: Layer
    count: float
    layer: bool

    def forward(self, view: View) -> Program:
        """All of it, one after the other."""
        shares = view.shares.get(self.key, ())
        if self.layer and not shares:
            return layer_program(self.blocks, view, self.name, self.count)
        if self.layer:
            own = [(self.count * one.part, replace(view, storage=one.storage, compute=one.compute)) for one in shares]
            kind = self.name.rsplit(" x", 1)[0]
            return Serial(tuple(layer_program(self.blocks, v, f"{kind} x{count:.3g}", count) for count, v in own))
        parts = tuple(block.program(view) for block in self.blocks)
        return parts[0] if len(parts) == 1 else Serial(parts, self.name)


def modules(model: ModelSpec, training: bool = False, images: bool = False) -> tuple[Module, ...]:
    """In running order. MTP modules run in training alone, each a layer and a pass of the head that it shares: engines that draft with them run them as steps of their own. `images`: whether the tower runs."""
    stacks = [
        Module(f"stack {index}", stack_name(model, index), layer, float(repeat), True)
        for index, (repeat, layer) in enumerate(model.stacks)
    ]
    shared = replace(model.head, tied=True, norm_vectors=0.0, bias=False)  # without weights of its own
    drafts = [
        Module(f"mtp {index}", "MTP", (mtp.join, *mtp.layer, shared), 1.0, False)
        for index, mtp in enumerate(model.mtp if training else ())
    ]
    tower = seeing(model.towers) if images else None
    before = () if tower is None else (Module(TOWER, tower.name, (tower,), 1.0, False),)
    first = Module(EMBEDDING, EMBEDDING, (model.embedding,), 1.0, False)
    return (*before, first, *stacks, *drafts, Module(HEAD, HEAD, (model.head,), 1.0, False))


def step(model: ModelSpec, view: View) -> Serial:
    """One forward step: the tower of images, embedding, every stack, head."""
    return Serial(tuple(module.forward(view) for module in modules(model, images=view.phase.sees)), "step")


def storage(model: ModelSpec, plan: Plan) -> dict[str, Dtype]:
    """Role -> the format in which its weights are kept: the config's, or plan.weight_dtype for the roles that it converts."""
    if plan.weight_dtype is None:
        return dict(model.storage)
    wanted = dtype(plan.weight_dtype, "plan.weight_dtype")
    if wanted.bits >= 16:
        return dict.fromkeys(ROLES, wanted)
    roles = (model.quantisation and model.quantisation.roles) or CONVERTED
    return dict(model.storage) | dict.fromkeys(roles, wanted)


@remembered
def has_experts(model: ModelSpec) -> bool:
    """Whether any block routes tokens to experts."""
    return any(block.router is not None for _, block in model.blocks())


@remembered
def checks(model: ModelSpec, plan: Plan) -> tuple[Check, ...]:
    """Every sharding rule of every block, the plan's own first, those of number formats last."""
    found = own_checks(plan)
    if not has_experts(model):
        found.append(Check(plan.ep == 1, f"{model.name} has no experts to split: leave ep at 1"))
    layers = float(len(model.order))
    found.append(Check(plan.pp <= layers, f"pp must not exceed the {layers:.0f} layers of {model.name}"))
    chunks = f"pp·vpp chunks of a stage must not exceed the {layers:.0f} layers of {model.name}"
    found.append(Check(plan.pp * plan.vpp <= layers, chunks))
    blocks = [block for _, block in model.blocks()]
    for block in blocks:
        found += block.checks(plan)
    found += shared_layers.checks(model, plan)
    formats = storage(model, plan)
    return (*found, *(check for block in blocks for check in _tiles(block, plan, formats)))


def _tiles(block: Block, plan: Plan, formats: Mapping[str, Dtype]) -> Iterator[Check]:
    """A scale stands for a whole tile of a matrix, so a rank's part of it is whole tiles. Formats with scales along one row
    are left out: engines pad those (gpt-oss: 2880 columns over 8 ranks), and parts of experts. Products of several matrices count
    as one."""
    parts = block.weights(plan)
    if all(formats[part.role].block[0] <= 1 for part in parts):
        return
    for part, whole in zip(parts, block.weights(Plan()), strict=True):
        kind = formats[part.role]
        part = part.whole(kind)
        if part.inner is None or whole.inner is None or kind.block[0] <= 1:
            continue
        sides = (("rows", part.out, whole.out, kind.block[0]), ("columns", part.inner, whole.inner, kind.block[1]))
        for side, size, full, step in sides:
            cut = np.asarray(size != full)
            if cut.any():
                shown = f"{size:g} {side}" if is_scalar(size) else side
                reason = (
                    f"{part.name}: a rank's {shown} are not whole blocks of {step}, as {kind.name} scales them: "
                    "vLLM and SGLang refuse that"
                )
                yield Check(~cut | np.asarray(size % step == 0.0), reason)


def kernel_checks(model: ModelSpec, plan: Plan, phase: Phase) -> list[Check]:
    """Rules on kernels that a phase cannot run, and on its images. No CUDA graph holds the normal exchange, nor NCCL's: they wait on the host for
    counts (`sharding/experts.py`)."""
    if (
        plan.all_to_all not in ("normal", "nccl")
        or plan.cuda_graph != "on"
        or not has_experts(model)
        or not phase.decode
        or phase.beside
    ):
        return image_checks(model.towers, plan, phase)
    reason = (
        f"all_to_all={plan.all_to_all} waits for counts on the host, which a CUDA graph of a decode step cannot do: "
        "set plan.all_to_all=low_latency, or plan.cuda_graph=off"
    )
    return [Check(np.asarray(plan.exchanges) == 0.0, reason)]


def padding(model: ModelSpec, plan: Plan, formats: Mapping[str, Dtype]) -> tuple[Note, ...]:
    """A note where a rank's part of the experts is no whole number of blocks, so that zeros are stored and computed besides the
    model; () elsewhere."""
    for _, block in model.blocks():
        for part in block.weights(plan):
            kind = formats[part.role]
            held = part.whole(kind)
            if part.inner is None or held.inner is None or not some(held.inner != part.inner):
                continue
            sizes = (
                f"{part.inner:g} columns of an expert as {held.inner:g}"
                if is_scalar(held.inner)
                else "part of an expert"
            )
            text = (
                f"{model.name}: a rank keeps and computes its {sizes}, in whole blocks of {kind.block[1]} as {kind.name} scales "
                "them, padded with zeros; where vLLM's Triton kernels refine the scales instead nothing is padded, and releases "
                "before 2026-08 refuse to load it"
            )
            return (Note(text, Kind.CHANGED),)
    return ()
