"""(model, view) -> program of one step, stack by stack."""

from __future__ import annotations

from dataclasses import replace

from simcost.blocks import ring_exchange, two_batch
from simcost.blocks.beside import exchanges
from simcost.blocks.view import View
from simcost.model.spec import Layer, ModelSpec
from simcost.plan import Check, Plan, own_checks
from simcost.program import Choice, Program, Serial


def layer_program(layer: Layer, view: View, tag: str, repeat: float = 1.0) -> Serial:
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
    """ "layers (58x)" with what tells it apart from the other stacks."""
    repeat, layer = model.stacks[index]
    words = []
    for block in layer:
        if block.kind == "attention":
            words.append(type(block).__name__)
        if block.kind == "ffn":
            words.append(type(block).__name__)
    return f"{' + '.join(words)} x{repeat}"


def step(model: ModelSpec, view: View) -> Serial:
    """One forward step: embedding, every stack, head. MTP modules are not part of it."""
    parts: list[Program] = [model.embedding.program(view)]
    for index, (repeat, layer) in enumerate(model.stacks):
        parts.append(layer_program(layer, view, stack_name(model, index), float(repeat)))
    parts.append(model.head.program(view))
    return Serial(tuple(parts), "step")


def checks(model: ModelSpec, plan: Plan) -> list[Check]:
    """Every sharding rule of every block, the plan's own first."""
    found = own_checks(plan)
    if not any(hasattr(block, "n_routed_experts") for _, block in model.blocks()):
        found.append(Check(plan.ep == 1, f"ep splits experts, and {model.name} has none"))
    layers = float(len(model.order))
    found.append(Check(plan.pp <= layers, f"pp must not exceed the {layers:.0f} layers of {model.name}"))
    for _, block in model.blocks():
        found += block.checks(plan)
    return found
