"""Two-batch overlap: the batch is cut in two halves, and while the tokens of one travel to experts and back, the other computes.

A layer then takes the longer of both halves' computing and both halves' exchange, each slowed by the other (`passes/contention.py`).
Sequences are not cut: the larger half of an odd number counts twice. Most likely to be wrong: that halves never wait for each other.
Source: arXiv 2412.19437 §3.2.2 and §3.4.
"""

from __future__ import annotations

from simcost.num import every
from simcost.passes.contention import exchanges, held, slowed
from simcost.program import Call, Choice, Overlap, Program, Serial


def overlapped(half: Serial) -> Program:
    """`half`: a layer at half of the batch, whose tokens travel. The layer for both halves."""
    rest, moved = _split(half)
    assert rest is not None
    travel = Serial(tuple(moved), repeat=2.0)
    return Overlap((Serial((rest,), repeat=2.0), slowed(travel)), "", (0.0, held(travel)))


def _split(program: Program) -> tuple[Program | None, list[Program]]:
    """(the program without its exchange, the parts of the exchange); a choice of modes travels as a whole."""
    if not exchanges(program):
        return program, []
    if isinstance(program, Call | Choice):
        return None, [program]
    kept: list[Program] = []
    moved: list[Program] = []
    for part in program.parts:
        rest, gone = _split(part)
        kept += [] if rest is None else [rest]
        moved += gone
    if isinstance(program, Serial) and not every(program.repeat == 1.0):
        moved = [Serial(tuple(moved), repeat=program.repeat)]  # a looped block exchanges once a pass
    if not kept:
        return None, moved
    tag = program.tag
    return (
        Serial(tuple(kept), tag, program.repeat) if isinstance(program, Serial) else Overlap(tuple(kept), tag)
    ), moved
