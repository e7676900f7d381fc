"""How tokens reach the ranks that hold their experts, and how the results come together again.

Where all ranks of a stage have the same tokens (tensor parallel alone) nothing travels before the experts, and one all-reduce
joins their parts. Else each rank sends its share of the tokens over the ep ranks (one plane for each slice of the experts), the
etp ranks of a receiver collect what came to any of them, and the same way back. Most likely to be wrong: engines without
these kernels gather all tokens instead. Sources: Megatron Core (`moe/token_dispatcher.py`), vLLM and SGLang expert parallelism.
"""

from __future__ import annotations

from simcost.dtypes import Dtype
from simcost.num import Num, every, maximum, where
from simcost.ops.collective import Collective
from simcost.ops.exchange import Exchange
from simcost.program import Call, Choice, Program, Serial
from simcost.routing.load import most_visited
from simcost.routing.router import Router
from simcost.sharding.linear import leave
from simcost.sharding.shard import View


def exchange(view: View, router: Router, hidden: Num, x: Dtype) -> Program | None:
    """Dispatch in the experts' format and combine in the activations'; None where no token travels."""
    plan = view.plan
    if every(plan.exchanges == 0.0):
        return None
    if plan.all_to_all != "auto":
        return _both_ways(view, router, hidden, x, plan.all_to_all)
    # Normal kernels wait for counts on the host, so no CUDA graph can hold them: engines decode by the other kind.
    decode = (
        view.phase.decode and not view.phase.beside
    )  # with a prompt's tokens beside them engines exchange as in prefill
    if plan.cuda_graph == "on" and decode:
        return _both_ways(view, router, hidden, x, "low_latency", True)
    if not decode:
        return _both_ways(view, router, hidden, x, "normal", True)
    return Choice(
        tuple((mode, _both_ways(view, router, hidden, x, mode, True)) for mode in ("normal", "low_latency")), "All2All"
    )


def _both_ways(view: View, router: Router, hidden: Num, x: Dtype, mode: str, auto: bool = False) -> Serial:
    plan, act = view.plan, view.activation
    moves = plan.exchanges > 0.0
    ranks, slices = where(moves, plan.ep, 1.0), where(moves, plan.expert_slices, 1.0)
    own, spare = view.tokens / plan.tp, plan.redundant_experts
    plane = maximum(view.all_tokens / slices, 1.0)  # tokens of the ranks that exchange with each other
    padded = 0.0 if plan.capacity_factor is None else plan.capacity_factor

    def way(direction: str, form: Dtype, back: Dtype) -> Call:
        op = Exchange(
            own, plane, form.tensor_bytes(hidden), ranks, plan.expert_slices, router, view.routing, mode, direction, spare, padded, auto,
            back.tensor_bytes(hidden),
        )  # fmt: skip
        return Call(op, direction)

    parts: list[Program] = [way("dispatch", x, act)]
    if not every(slices == 1.0):
        came = view.all_tokens * most_visited(view.routing, router, view.all_tokens, ranks, spare)
        parts.append(Call(Collective("all_gather", came * x.tensor_bytes(hidden), slices), "gather for slices"))
        parts.append(Call(Collective("reduce_scatter", came * act.tensor_bytes(hidden), slices), "join slices"))
    parts.append(way("combine", act, x))
    return Serial(tuple(parts))


def joined(view: View, hidden: Num, shared: bool) -> list[Program]:
    """Collectives after the experts: they join what tensor-parallel ranks hold in parts, or give each rank what the others
    brought back. `shared`: shared experts add parts of their own."""
    plan = view.plan
    if plan.shards_sequence and not shared:
        return []
    if every(plan.exchanges == 0.0) or shared:
        return [leave(view, hidden)]
    payload = view.activation.tensor_bytes(view.tokens * hidden)
    moves = plan.exchanges > 0.0
    return [
        Call(Collective("all_reduce", payload, where(moves, 1.0, plan.tp)), "all-reduce"),
        Call(Collective("all_gather", payload, where(moves, plan.tp, 1.0)), "all-gather"),
    ]
