"""The programs of one layer in a training step: forward, gradients of inputs and of weights, apart and together, and what it keeps between them.

Where both gradients run together, the tensor-parallel sums of gradients of inputs, and the gathers of inputs that were cut, run beside the products that make weight gradients. Most likely to be wrong: kernels
that a stack fuses. Sources: NVIDIA Megatron Core `tensor_parallel/layers.py` (asynchronous all-reduce and reduce-scatter of input gradients); `passes/backward.py`; `passes/saved.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from simcost.dtypes import Dtype
from simcost.frozen import frozen
from simcost.num import Num
from simcost.ops.collective import Collective
from simcost.ops.gemm import Gemm
from simcost.ops.grouped_gemm import GroupedGemm
from simcost.ops.work import INPUT, WEIGHT
from simcost.passes import eager, learning, operators, ring_exchange
from simcost.passes.backward import backward
from simcost.passes.contention import HELD
from simcost.passes.operators import OPERATORS
from simcost.passes.saved import CORE, Keeping, Saved, kept_bytes, module_of, saved
from simcost.passes.training import FLASH, UNFUSED, forward, repeated, with_second_copies
from simcost.program import Call, Choice, Overlap, Program, Serial, calls, runs
from simcost.sharding.shard import Block, View
from simcost.training.parameters import ALL, Trained
from simcost.training.recompute import Recompute


@frozen
class How:
    """How a stack trains a layer. `sums`: the format in which gradients of weights add up over micro-batches; `attention`: "unfused", or a kernel that keeps no scores; `dropout`: of attention scores and of each sublayer's output, with a mask of a byte an element; `scans`: passes of a cast over its input; `hides_tensor_parallel`: whether sums of input gradients run beside weight gradients; `trained`: which weights have gradients, and the adapters beside the others; `eager`: whether every elementwise operator is a kernel of its own."""

    sums: Dtype | None
    recompute: Recompute = Recompute()
    attention: str = FLASH
    keeping: Keeping = Keeping()
    dropout: bool = False
    scans: float = 1.0
    hides_tensor_parallel: bool = True
    trained: Trained = ALL
    eager: bool = False


@frozen
class Passes:
    """Of one layer and micro-batch. `again`: what the backward pass runs again first, as a part of `input`; `both`: gradients of inputs and weights together. `kept`: tensors that stay without any recomputation;
    `gradients`: bytes of the products' output gradients, which stay until the weight gradients run; `listed`: what stays where a list of operators
    says so."""

    forward: Program
    input: Program | None
    weight: Program | None
    both: Program | None
    again: Program | None
    kept: tuple[Saved, ...]
    gradients: Num
    listed: tuple[Saved, ...] | None = None

    def stays(self, modules: tuple[str, ...]) -> Num:
        """What stays where so many modules are recomputed. [B]"""
        return kept_bytes(self.kept, modules) if self.listed is None else kept_bytes(self.listed)


def of_layer(blocks: tuple[Block, ...], view: View, how: How, layer: bool = True) -> Passes:
    """The passes of the blocks of a layer. `layer`: whether plans recompute it (embedding and head never)."""
    made = [(module_of(block), block.program(view)) for block in blocks]
    rms = how.eager and eager.rms_norms(blocks)

    def ready(program: Program, attention: str = FLASH, dropout: bool = False) -> Program:
        found = forward(program, attention, dropout)
        return eager.apart(found, rms, view.own_tokens) if how.eager else found

    named = [(name, ready(program, how.attention, how.dropout)) for name, program in made]
    flash = named if how.attention != UNFUSED else [(name, ready(program)) for name, program in made]
    ring = view.plan.overlap == "tensor_parallel"
    parts = [ring_exchange.overlapped(part, view.plan.tp) for _, part in named] if ring else [part for _, part in named]
    learning_parts: tuple[Program, ...] = tuple(parts)
    frozen: frozenset[int] = frozenset()
    joined: list[Call] = []
    if how.trained != ALL:
        one = _Learning.of(blocks, view, how.trained, parts, named, flash)
        parts, named, learning_parts, flash, frozen = one.parts, one.named, one.learning, one.kept, one.frozen
        joined = learning.input_sums(one.adapters, view.activation)
    whole = Serial(tuple(parts))
    modules = how.recompute.modules if layer else ()
    stays, again = None, []
    if OPERATORS in modules:
        stays, rerun = operators.parted(blocks, named, view.plan, entry_bytes(blocks, view))
        again = [] if rerun is None else [rerun]
    elif modules:
        again = [found for name, part in named if (found := repeated(part, name, modules)) is not None]
    learnt = Serial(learning_parts) if learning_parts else None
    inputs = backward(whole, how.sums, (INPUT,))
    if joined and inputs is not None:
        inputs = Serial((inputs, *joined))
    weights = None if learnt is None else backward(learnt, how.sums, (WEIGHT,))
    first = Serial(tuple(again)) if again else None
    ahead = inputs if first is None else first if inputs is None else Serial((first, inputs))
    kept = saved(flash, how.keeping, frozen)
    if how.dropout:
        masked = sum(1.0 for block in blocks if block.kind in ("attention", "ffn"))
        kept = (*kept, Saved(masked * view.own_tokens * _width(blocks), "dropout masks"))
    forwards, inputs, weights, rerun = (with_second_copies(each, how.scans) for each in (whole, ahead, weights, first))
    assert forwards is not None
    return Passes(
        forwards,
        inputs,
        weights,
        _both(inputs, weights, how),
        rerun,
        kept,
        0.0 if learnt is None else _output_gradients(learnt),
        stays,
    )


@frozen
class _Learning:
    """The blocks of a layer of which not all weights learn. `parts`: what runs, adapters behind each block; `named`: the same by name and without overlaps; `learning`: what has gradients of weights; `kept`: by name with adapters
    before the products that they stand beside; `frozen`: identities of products in it that keep no input; `adapters`: their kernels."""

    parts: list[Program]
    named: list[tuple[str, Program]]
    learning: tuple[Program, ...]
    kept: list[tuple[str, Program]]
    frozen: frozenset[int]
    adapters: list[Call]

    @staticmethod
    def of(
        blocks: tuple[Block, ...], view: View, trained: Trained, parts: list[Program],
        named: list[tuple[str, Program]], flash: list[tuple[str, Program]],
    ) -> _Learning:  # fmt: skip
        found = _Learning([], [], (), [], frozenset(), [])
        learning_parts: list[Program] = []
        still: set[int] = set()
        for block, part, (name, apart), (_, alone) in zip(blocks, parts, named, flash, strict=True):
            learns = learning.learner(block, view.plan, trained.roles)
            ahead = part
            if trained.kept is not None:
                ahead, apart = (learning.widened(one, learns, trained.kept, view.activation) for one in (part, apart))
            beside: Program = alone
            more: list[Call] = []
            if trained.lora_rank is not None:
                adapted = learning.learner(block, view.plan, trained.lora_roles)
                beside = learning.with_adapters(alone, adapted, trained.lora_rank, view.activation)
                more = learning.of_adapters(beside)
            found.adapters.extend(more)
            found.parts.append(Serial((ahead, *more)) if more else ahead)
            found.named.append((name, Serial((apart, *more)) if more else apart))
            found.kept.append((name, beside))
            still |= {id(call) for call, inside in learning.products(alone) if not learns(call, inside)}
            own = learning.kept(part, learns)
            learning_parts += [each for each in (own, *more) if each is not None]
        return replace(found, learning=tuple(learning_parts), frozen=frozenset(still))


def entry_bytes(blocks: tuple[Block, ...], view: View) -> Num:
    """The input of a layer, as a rank keeps it. [B]"""
    return view.activation.tensor_bytes(view.own_tokens * _width(blocks))


def _width(blocks: tuple[Block, ...]) -> Num:
    """Width of the residual stream: the narrower side of the first mixer's or FFN's products is never narrower."""
    found: Num = next(
        getattr(block, "hidden_size", getattr(block, "width", 0.0)) for block in blocks if block.kind != "norm"
    )
    return found


def _both(inputs: Program | None, weights: Program | None, how: How) -> Program | None:
    """Gradients of inputs and weights, with what hides beside the weights'."""
    if inputs is None or weights is None:
        return inputs or weights
    if not how.hides_tensor_parallel:
        return Serial((inputs, weights))
    sums, rest = parted(inputs, _is_sum)
    gathers, products = parted(weights, lambda call: isinstance(call.op, Collective))
    wire = [part for part in (sums, gathers) if part is not None]
    if not wire or products is None:
        return Serial((inputs, weights))
    beside = Overlap((products, Serial(tuple(wire))), "", (0.0, HELD))
    return beside if rest is None else Serial((rest, beside))


def _is_sum(call: Call) -> bool:
    """A sum of gradients of inputs over tensor-parallel ranks, which stand side by side."""
    op = call.op
    if not isinstance(op, Collective) or not isinstance(op.stride, float) or op.stride != 1.0:
        return False
    return op.kind in ("all_reduce", "reduce_scatter")


def parted(program: Program, chosen: Callable[[Call], bool]) -> tuple[Program | None, Program | None]:
    """(the calls that are `chosen`, all others), each in running order and with the structure that they had."""
    if isinstance(program, Call):
        return (program, None) if chosen(program) else (None, program)
    if not any(chosen(call) for call in calls(program)):
        return None, program
    if isinstance(program, Choice):
        options = [(name, parted(option, chosen)) for name, option in program.options]
        mine = tuple((name, found[0]) for name, found in options if found[0] is not None)
        others = tuple((name, found[1]) for name, found in options if found[1] is not None)
        return (replace(program, options=mine) if mine else None), (
            replace(program, options=others) if others else None
        )
    pairs = [parted(part, chosen) for part in program.parts]
    found: list[Program | None] = []
    for side in (0, 1):
        parts = tuple(part for pair in pairs if (part := pair[side]) is not None)
        repeat = program.repeat if isinstance(program, Serial) else 1.0
        found.append(Serial(parts, program.tag, repeat) if parts else None)
    return found[0], found[1]


def _output_gradients(program: Program) -> Num:
    """Bytes of the gradients of what products put out: weight gradients that run later need them, in the format in which they multiply. [B]"""
    total: Num = 0.0
    for call, times in runs(program):
        op = call.op
        if isinstance(op, Gemm) and call.module != CORE:
            total = total + min(op.out, op.x, key=_bits).tensor_bytes(op.batch * op.m * op.n) * times
        elif isinstance(op, GroupedGemm):
            total = total + min(op.out, op.x, key=_bits).tensor_bytes(op.rows * op.n) * times
    return total


def _bits(one: Dtype) -> float:
    return one.bits
