"""What computing and travelling cost each other while they run side by side. One home for every such factor.

DeepEP's normal kernels, and NCCL's, copy with multiprocessors: DeepEP's hold 20 of them, and run 2.0 (dispatch) and 1.45 times
(combine) longer beside other kernels than alone; the low-latency kernels leave the transfer to the network card. A ring exchange holds
`ops.collective.RING`. Most likely to be wrong: these factors on other
machines, and NCCL's, which are taken to be DeepEP's. Sources: arXiv 2412.19437 §3.2.2 (20 of 132);
deepseek-ai/profile-data train.json against deepseek-ai/DeepEP README (4.3 and 6.2 ms beside, 2.15 and 4.3 ms alone, EP64, H800);
NCCL user guide, NCCL_MAX_CTAS (a copying block a channel).
"""

from __future__ import annotations

from dataclasses import replace

from simcost.num import Mask, Num
from simcost.ops.exchange import Exchange
from simcost.plan import Plan
from simcost.program import Call, Choice, Program, calls

TRAVELLING = {"dispatch": 2.0, "combine": 1.45}
COPYING = ("normal", "nccl", "nvlink")  # modes whose kernels copy with multiprocessors
HELD = 20.0
STREAM = 256.0  # tokens up to which vLLM gives shared experts a stream of their own (PR 28406): more gain nothing


def exchanges(program: Program) -> bool:
    """Whether tokens travel to experts anywhere in it."""
    return any(isinstance(call.op, Exchange) for call in calls(program))


def slowed(program: Program) -> Program:
    """The same, every exchange that copies with multiprocessors slow beside other kernels."""
    if isinstance(program, Call):
        op = program.op
        if not isinstance(op, Exchange) or op.mode not in COPYING:
            return program
        return replace(program, slow=TRAVELLING[op.direction])
    if isinstance(program, Choice):
        return replace(program, options=tuple((name, slowed(option)) for name, option in program.options))
    return replace(program, parts=tuple(slowed(part) for part in program.parts))


def held(travel: Program) -> float:
    """Multiprocessors that `travel` takes from what runs beside it."""
    copies = any(isinstance(call.op, Exchange) and call.op.mode in COPYING for call in calls(travel))
    return HELD if copies else 0.0


def in_turn(plan: Plan, tokens: Num) -> Mask:
    """Where `plan.overlap=shared_experts` has nothing to hide behind: no token travels, and there are too many for a stream of
    their own to pay."""
    return (plan.exchanges == 0.0) & (tokens > STREAM)
