"""Tensor-parallel overlap: products start on the rows that are there while the others still travel around the ring.

Under sequence parallelism an all-gather stands before a block's first product and a reduce-scatter behind its last. Each such
pair is cut into tp chunks of rows: while one computes the next travels, and one chunk, a rank's own, has nothing to hide behind. A
chunk takes its share of the whole product, but no less than a product of one row, which reads all weights: tp chunks read them
tp times. Where that costs more than the wire (decode), nobody cuts. Chunks are never priced as smaller products: curves of
products of different size differ by more than the wire takes, and would let the parts be faster than the whole.
Most likely to be wrong: what else a small product loses (fewer tiles than multiprocessors); chunks of all ranks keep step. Sources: NVIDIA Megatron Core (`tp_comm_overlap`) and Transformer
Engine (ring exchange); Wang et al. 2023, doi 10.1145/3567955.3567959.
"""

from __future__ import annotations

from dataclasses import replace

from simcost.num import Num
from simcost.ops.collective import RING, Collective
from simcost.ops.gemm import Gemm
from simcost.ops.stream import Stream
from simcost.program import Call, Choice, Overlap, Program, Serial, calls


def overlapped(program: Program, tp: Num) -> Program:
    """The same work, every gather and product, product and scatter of one sequence of calls side by side."""
    if not isinstance(program, Serial) or program.kernel:
        return program
    left: list[Program] = list(program.parts)
    found: list[Program] = []
    while left:
        part, after = left.pop(0), left[0] if left else None
        if after is not None and _moves(part, "all_gather") and _multiplies(after):
            product = left.pop(0)
            found.append(_chunked(part, product, tp, Serial((part, product))))
        elif after is not None and _multiplies(part) and _moves(after, "reduce_scatter"):
            moved = left.pop(0)
            found.append(_chunked(moved, part, tp, Serial((part, moved))))
        else:
            found.append(overlapped(part, tp))
    return Serial(tuple(found), program.tag, program.repeat)


def _moves(program: Program, kind: str) -> bool:
    return isinstance(program, Call) and isinstance(program.op, Collective) and program.op.kind == kind


def _multiplies(program: Program) -> bool:
    """One product, maybe with the cast of its input."""
    if not isinstance(program, Call) and not (isinstance(program, Serial) and program.kernel == "linear"):
        return False
    *before, last = (call.op for call in calls(program))
    return isinstance(last, Gemm) and all(isinstance(op, Stream) for op in before)


def _chunked(moved: Program, product: Program, tp: Num, after: Program) -> Choice:
    """tp - 1 chunks beside the transfer and one alone (which of them it is makes no difference to the time), or `after`, none of it."""
    row = _one_row(product)
    beside = Overlap(
        (Serial((product,), "beside the ring", (tp - 1.0) / tp), Serial((row,), "weights again", tp - 1.0), moved),
        "",
        (0.0, 0.0, RING),
    )
    last = Overlap((Serial((product,), "last chunk", 1.0 / tp), row))
    return Choice((("chunks", Serial((beside, last))), ("whole", after)), "ring exchange")


def _one_row(product: Program) -> Program:
    """The least that a chunk does: `product` of one row, which reads all weights."""
    rows = next(call.op.m for call in calls(product) if isinstance(call.op, Gemm))
    parts = product.parts if isinstance(product, Serial) else (product,)
    found = tuple(_call_of_one(part, rows) for part in parts)
    return replace(product, parts=found) if isinstance(product, Serial) else found[0]


def _call_of_one(part: Program, rows: Num) -> Call:
    assert isinstance(part, Call)
    op = part.op
    if isinstance(op, Gemm):
        return replace(part, op=replace(op, m=1.0 + 0.0 * op.m))
    assert isinstance(op, Stream)
    return replace(part, op=replace(op, elements=op.elements / rows))
