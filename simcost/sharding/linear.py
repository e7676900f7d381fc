"""Linear layers of a rank: the product with the cast before it, and the collectives around column- and row-parallel ones."""

from __future__ import annotations

from simcost.num import Num
from simcost.ops.collective import Collective
from simcost.ops.gemm import Gemm
from simcost.ops.stream import Stream
from simcost.program import Call, Program, Serial
from simcost.sharding.shard import View, Weight


def linear(view: View, weight: Weight, rows: Num, tag: str = "", quantise: bool = True, module: str = "") -> Program:
    """rows x weight: a GEMM for each copy, after a cast of the activations where the compute format asks for one. `module`: see `Call`."""
    if weight.inner is None:
        raise ValueError(f"{weight.name} is a vector")
    role, x = weight.role, view.quantised_input(weight.role)
    stored, compute = view.storage[role], view.compute[role]
    packed = view.unpacked and stored.bits < compute.bits
    gemm = Call(
        Gemm(rows, weight.out, weight.inner, x, stored, view.activation, compute, weight.copies, packed),
        tag or weight.name,
        module=module,
    )
    if not quantise or x is view.activation:
        return gemm
    before = cast(view, role, rows * weight.inner, f"{tag or weight.name} input")
    return Serial((before, gemm), kernel="" if packed else "linear")


def cast(view: View, role: str, elements: Num, tag: str) -> Call:
    """Quantise activations for a GEMM of this role: read, find the scale, write."""
    return Call(
        Stream("quantise", elements, 1.0, 1.0, 3.0, view.activation, view.quantised_input(role)), f"quantise {tag}"
    )


def enter(view: View, width: Num) -> tuple[Call, ...]:
    """Before column-parallel products: under sequence parallelism every rank of the group needs all rows."""
    if not view.plan.shards_sequence:
        return ()
    return (
        Call(
            Collective("all_gather", view.activation.tensor_bytes(view.tokens * width), view.plan.tp, again=True),
            "all-gather",
        ),
    )


def leave(view: View, width: Num) -> Call:
    """Join the partial sums of a row-parallel product over the tensor-parallel group; under sequence parallelism each rank
    keeps its part of the rows."""
    payload, group = view.activation.tensor_bytes(view.tokens * width), view.plan.tp
    if view.plan.shards_sequence:
        return Call(Collective("reduce_scatter", payload, group), "reduce-scatter")
    return Call(Collective("all_reduce", payload, group), "all-reduce")
