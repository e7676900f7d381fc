"""Two-batch overlap: the batch is cut in two halves, and while the tokens of one travel to experts and back, the other computes.

A layer then takes the longer of both halves' computing and both halves' exchange, each slowed by the other: normal kernels take 20 of
132 multiprocessors from the rest, and run 2.0 (dispatch) and 1.45 times (combine) slower beside it than alone; low-latency kernels leave
the transfer to the network card. Sequences are not cut: a rank with one has nothing to overlap. Most likely to be wrong: these factors on other machines. Sources: arXiv 2412.19437 §3.2.2 (20 of 132);
deepseek-ai/profile-data train.json against deepseek-ai/DeepEP README (4.3 and 6.2 ms beside, 2.15 and 4.3 ms alone, EP64, H800).
"""

from __future__ import annotations

from simcost.ops.exchange import Exchange
from simcost.program import Call, Choice, Overlap, Program, Serial, calls

BESIDE = {"dispatch": 2.0, "combine": 1.45}
COMPUTING = 132.0 / (132.0 - 20.0)


def overlapped(half: Serial) -> Program:
    """`half`: a layer at half of the batch. The layer for both halves; as it is where no token travels."""
    travelling = [call.op for call in calls(half) if isinstance(call.op, Exchange)]
    if not travelling:
        return Serial((half,), repeat=2.0)
    rest, moved = _split(half)
    assert rest is not None
    normal = any(op.mode == "normal" for op in travelling)
    computing, travel = Serial((rest,), repeat=2.0), Serial(tuple(moved), repeat=2.0)
    return Overlap((computing, travel), "", (COMPUTING, 1.0) if normal else ())


def _split(program: Program) -> tuple[Program | None, list[Program]]:
    """(the program without its exchange, the parts of the exchange)."""
    if isinstance(program, Call):
        return (None, [_beside(program)]) if isinstance(program.op, Exchange) else (program, [])
    if isinstance(program, Choice) or not any(isinstance(call.op, Exchange) for call in calls(program)):
        # A choice of modes travels as a whole.
        inside = any(isinstance(call.op, Exchange) for call in calls(program))
        return (None, [program]) if inside else (program, [])
    kept, moved = [], []
    for part in program.parts:
        rest, gone = _split(part)
        kept += [] if rest is None else [rest]
        moved += gone
    if not kept:
        return None, moved
    tag = program.tag
    return (
        Serial(tuple(kept), tag, program.repeat) if isinstance(program, Serial) else Overlap(tuple(kept), tag)
    ), moved


def _beside(call: Call) -> Program:
    assert isinstance(call.op, Exchange)
    if call.op.mode != "normal":
        return call
    return Overlap((call,), "", (BESIDE[call.op.direction],))
