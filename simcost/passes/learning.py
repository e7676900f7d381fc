"""Which products of a layer make gradients of weights, where parts of a model are frozen; and the products of
adapters (LoRA) beside frozen ones.

An adapter of rank r beside a matrix [out, inner] multiplies what the matrix multiplies by [r, inner], the result by
[out, r], and is added to what the matrix puts out. Of tensor-parallel ranks each has the part that its matrix needs,
so that nothing more travels: parts of sums are added to parts of sums. A frozen product keeps no input; the adapter
keeps that of its matrix in the activations' format, and its own of rank r. Most likely to be wrong: kernels that fuse
the sum, or the adapters of several matrices that read one tensor; dropout of the adapter's input. Source: LoRA (arXiv
2106.09685 §4.1); Hugging Face PEFT `tuners/lora/layer.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from simcost.dtypes import Dtype
from simcost.errors import SpecError
from simcost.num import Num, every
from simcost.ops.gemm import Gemm
from simcost.ops.grouped_gemm import GroupedGemm
from simcost.ops.stream import Operator, Stream
from simcost.passes.saved import CORE, DOWN, SHARED, UP
from simcost.plan import Plan
from simcost.program import Call, Choice, Program, Serial, runs
from simcost.sharding.shard import Block

EXPERTS = "experts"
Learns = Callable[[Call, tuple[str, ...]], bool]  # a product, the parts of a block that it stands in


def learner(block: Block, plan: Plan, roles: tuple[str, ...]) -> Learns:
    """Whether a product of a block multiplies weights of such roles. Raises SpecError where roles of a block of which
    one alone learns cannot be told apart."""
    weights = [one for one in block.weights(plan) if one.inner is not None]
    own = {one.role for one in weights} or {block.kind}  # a head without a table of its own

    def learns(call: Call, inside: tuple[str, ...]) -> bool:
        op = call.op
        if call.module == CORE or not isinstance(op, (Gemm, GroupedGemm)):
            return False
        if len({role in roles for role in own}) == 1:
            return next(iter(own)) in roles
        if isinstance(op, GroupedGemm):
            return EXPERTS in roles
        fits = {
            one.role for one in weights if one.inner is not None and every(one.out == op.n) and every(one.inner == op.k)
        } - {EXPERTS}
        if len(fits) > 1 and SHARED in inside:
            fits &= {SHARED}
        if len({role in roles for role in fits}) != 1:
            mixed = ", ".join(sorted(own))
            raise SpecError(
                f"plan.frozen: a product of {type(block).__name__} holds several parts: freeze all of {mixed}"
            )
        return next(iter(fits)) in roles

    return learns


def products(program: Program, inside: tuple[str, ...] = ()) -> Iterator[tuple[Call, tuple[str, ...]]]:
    """Every product with weights, with the branches that it stands in."""
    if isinstance(program, Call):
        if isinstance(program.op, (Gemm, GroupedGemm)) and program.module != CORE:
            yield program, inside
        return
    if isinstance(program, Serial) and program.branch:
        inside = (*inside, program.branch)
    for part in [one for _, one in program.options] if isinstance(program, Choice) else program.parts:
        yield from products(part, inside)


def kept(program: Program, learns: Learns, inside: tuple[str, ...] = ()) -> Program | None:
    """The program without the products that do not learn, and their casts; None where nothing is left."""
    if isinstance(program, Call):
        product = isinstance(program.op, (Gemm, GroupedGemm)) and program.module != CORE
        return program if not product or learns(program, inside) else None
    found = [learns(call, within) for call, within in products(program, inside)]
    if all(found):
        return program
    if isinstance(program, Serial):
        inside = (*inside, program.branch) if program.branch else inside
        if program.kernel == "linear":
            return None
    if isinstance(program, Choice):
        options = tuple(
            (name, one) for name, each in program.options if (one := kept(each, learns, inside)) is not None
        )
        return replace(program, options=options) if options else None
    pairs = [(kept(part, learns, inside), at) for at, part in enumerate(program.parts)]
    parts = tuple(one for one, _ in pairs if one is not None)
    if not parts:
        return None
    if isinstance(program, Serial):
        return replace(program, parts=parts, kernel="")
    holds = tuple(program.holds[at] for one, at in pairs if one is not None) if program.holds else ()
    return replace(program, parts=parts, holds=holds)


def adapters(call: Call, rank: Num, act: Dtype) -> tuple[Call, Call, Call]:
    """The two products of an adapter beside a product, and the sum of both."""
    op = call.op
    assert isinstance(op, (Gemm, GroupedGemm))
    plain = replace(op, x=act, w=act, out=act, compute=act, unpacked=False)
    down, up = replace(plain, n=rank + 0.0 * plain.n), replace(plain, k=rank + 0.0 * plain.k)
    return (
        replace(call, op=down, tag=f"{call.tag}, adapter down", module=DOWN),
        replace(call, op=up, tag=f"{call.tag}, adapter up", module=UP),
        _sum(call, plain.n, act),
    )


def _sum(call: Call, width: Num, act: Dtype) -> Call:
    """What the product and its adapter make, added up."""
    op = call.op
    assert isinstance(op, (Gemm, GroupedGemm))
    size = op.rows * width if isinstance(op, GroupedGemm) else op.batch * op.m * width
    return replace(call, op=Stream("adapter sum", size, 2.0, 1.0, 1.0, act, act), tag=f"{call.tag}, sum", module=UP)


def with_adapters(program: Program, learns: Learns, rank: Num, act: Dtype) -> Program:
    """The program with an adapter before each product that `learns` names. A kernel that is measured whole stays so."""
    return _before_products(program, lambda call, within: adapters(call, rank, act) if learns(call, within) else ())


def widened(program: Program, learns: Learns, kept: Dtype, act: Dtype) -> Program:
    """The program with a pass before each product that does not learn, which widens its weights from the format that
    they are kept in; the gradient of its input reads them widened anew (bitsandbytes, Linear4bit). A kernel that is
    measured whole stays so."""

    def pass_of(call: Call, within: tuple[str, ...]) -> tuple[Call, ...]:
        if learns(call, within):
            return ()
        return (replace(call, op=_widening(call, kept, act), tag=f"{call.tag}, widened"),)

    return _before_products(program, pass_of)


def _before_products(
    program: Program, made: Callable[[Call, tuple[str, ...]], tuple[Call, ...]], inside: tuple[str, ...] = ()
) -> Program:
    """The program with what `made` says before each product; of a kernel that is measured whole before all of it."""
    if isinstance(program, Call) or (isinstance(program, Serial) and program.kernel != ""):
        repeat = program.repeat if isinstance(program, Serial) else 1.0
        found = [
            replace(each, repeat=each.repeat * repeat)
            for call, within in products(program, inside)
            for each in made(call, within)
        ]
        return Serial((*found, program)) if found else program
    if isinstance(program, Choice):
        options = tuple((name, _before_products(each, made, inside)) for name, each in program.options)
        return replace(program, options=options)
    if isinstance(program, Serial) and program.branch:
        inside = (*inside, program.branch)
    return replace(program, parts=tuple(_before_products(part, made, inside) for part in program.parts))


def _widening(call: Call, kept: Dtype, act: Dtype) -> Operator:
    """A pass over the weights of a product, of each expert that it touches; it runs again for the gradient."""
    op = call.op
    assert isinstance(op, (Gemm, GroupedGemm))
    copies = op.experts if isinstance(op, GroupedGemm) else op.batch
    elements, reads = copies * op.n * op.k, float(kept.tensor_bytes(1.0) / act.tensor_bytes(1.0))
    once = Stream("dequantise", elements, reads, 1.0, 2.0, act, act)
    return Operator("dequantise", elements, reads, 1.0, 2.0, act, act, back=(once,))


def of_adapters(program: Program) -> list[Call]:
    """The kernels of adapters in a program, each as often as it runs."""
    return [replace(call, repeat=times) for call, times in runs(program) if call.module in (DOWN, UP)]


def input_sums(found: Sequence[Call], act: Dtype) -> list[Call]:
    """Of the kernels of adapters: in a backward pass the gradients of what each and its matrix read are added up."""
    return [
        _sum(call, call.op.k, act) for call in found if call.module == DOWN and isinstance(call.op, (Gemm, GroupedGemm))
    ]
