"""Tensor-parallel overlap: products start on the rows that are there while the others still travel around the ring.

Under sequence parallelism an all-gather stands before a block's first product and a reduce-scatter behind its last. Each such
pair is cut into tp chunks of rows: while one computes the next travels, and one chunk, a rank's own, has nothing to hide behind. tp
small products are less efficient than one large: where that costs more than the wire, the overlap does not pay, as in practice.
Most likely to be wrong: chunks of all ranks keep step. Sources: NVIDIA Megatron Core (`tp_comm_overlap`) and Transformer
Engine (ring exchange); Wang et al. 2023, doi 10.1145/3567955.3567959.
"""

from __future__ import annotations

from dataclasses import replace

from simcost.blocks.beside import RING
from simcost.num import Num, maximum
from simcost.ops.collective import Collective
from simcost.ops.gemm import Gemm
from simcost.ops.stream import Stream
from simcost.program import Call, Overlap, Program, Serial, calls


def overlapped(program: Program, tp: Num) -> Program:
    """The same work, every gather and product, product and scatter of one sequence of calls side by side."""
    if not isinstance(program, Serial) or program.kernel:
        return program
    left: list[Program] = list(program.parts)
    found: list[Program] = []
    while left:
        part, after = left.pop(0), left[0] if left else None
        if after is not None and _moves(part, "all_gather") and _multiplies(after):
            found.append(_chunked(part, left.pop(0), tp))
        elif after is not None and _multiplies(part) and _moves(after, "reduce_scatter"):
            found.append(_chunked(left.pop(0), part, tp))
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


def _chunked(moved: Program, product: Program, tp: Num) -> Serial:
    """tp - 1 chunks beside the transfer and one alone: which of them it is makes no difference to the time."""
    chunk = _chunk(product, tp)
    beside = Overlap((Serial((chunk,), "beside the ring", tp - 1.0), moved), "", (0.0, RING))
    return Serial((beside, chunk))


def _chunk(product: Program, tp: Num) -> Program:
    """`product` on one of tp parts of its rows, one row at least."""
    if isinstance(product, Serial):
        return replace(product, parts=tuple(_chunk(part, tp) for part in product.parts))
    assert isinstance(product, Call)
    op = product.op
    if isinstance(op, Gemm):
        return replace(product, op=replace(op, m=maximum(op.m / tp, 1.0)))
    assert isinstance(op, Stream)
    return replace(product, op=replace(op, elements=op.elements / tp))
