"""Sums and gathers over the ranks that hold the same weights (`sharding/copies.py`), level by level, so that far links
carry a part alone.

Most likely to be wrong: libraries that run one flat ring over all levels; it sends the same bytes but has more hops.
Source: ZeRO (arXiv 1910.02054 §7); NVIDIA Megatron Core, distributed optimizer; PyTorch FSDP2 `fully_shard` (HSDP: a
reduce-scatter inside a group, an all-reduce across).
"""

from __future__ import annotations

from simcost.num import Num
from simcost.ops.collective import Collective, Kind
from simcost.plan import Plan
from simcost.program import Call, Serial
from simcost.sharding import copies

_NEAR, _FAR, _EXPERTS = "inside a stage", "of copies", "of experts"


def summed(experts: Num, rest: Num, plan: Plan, group: Num | None = None) -> Serial:
    """Sums of gradients of `experts` and of all else [B on one rank]: every rank ends with its part of them. `group`:
    ranks that share one set of parts, and sum it with the other groups'; None: all ranks that hold the same; 1: none,
    each ends with the whole sum."""
    near, far = copies.dense(plan, group)
    (of_experts,) = copies.experts(plan, group)
    parts = [
        _call("reduce_scatter", rest, near.parts, near.stride, f"gradients {_NEAR}"),
        _call("reduce_scatter", rest / near.parts, far.parts, far.stride, f"gradients {_FAR}"),
    ]
    if group is not None:
        part, stride, beyond = rest / (near.parts * far.parts), near.stride * near.parts, far.stride * far.parts
        parts += [
            _call("reduce_scatter", part, near.sets, stride, f"gradients between groups {_NEAR}"),
            _call("all_reduce", part / near.sets, far.sets, beyond, f"gradients between groups {_FAR}"),
            _call("all_gather", part, near.sets, stride, f"gradients between groups {_NEAR}, gathered"),
        ]
    parts.append(_call("reduce_scatter", experts, of_experts.parts, of_experts.stride, f"gradients {_EXPERTS}"))
    if group is not None:
        stride = of_experts.stride * of_experts.parts
        own = experts / of_experts.parts
        parts.append(_call("all_reduce", own, of_experts.sets, stride, f"gradients between groups {_EXPERTS}"))
    return Serial(tuple(parts), "gradients")


def gathered(experts: Num, rest: Num, plan: Plan, group: Num | None = None) -> Serial:
    """Gathers of weights of `experts` and of all else [B on one rank when whole] from their parts: first between
    copies, then inside a stage."""
    near, far = copies.dense(plan, group)
    (of_experts,) = copies.experts(plan, group)
    return Serial(
        (
            _call("all_gather", rest / near.parts, far.parts, far.stride, f"weights {_FAR}"),
            _call("all_gather", rest, near.parts, near.stride, f"weights {_NEAR}"),
            _call("all_gather", experts, of_experts.parts, of_experts.stride, f"weights {_EXPERTS}"),
        ),
        "weights",
    )


def _call(kind: Kind, size: Num, ranks: Num, stride: Num, tag: str) -> Call:
    return Call(Collective(kind, size, ranks, stride), tag)
