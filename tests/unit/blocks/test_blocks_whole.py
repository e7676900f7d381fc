"""What a legal plan deals out is whole: sides of weights and products, heads of cores, and together all that there is."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import pytest
from blockkit import model, view

from simcost import lower
from simcost.num import every
from simcost.ops.attention_core import AttentionCore
from simcost.ops.gemm import Gemm
from simcost.plan import Plan
from simcost.program import Call, calls
from simcost.sharding.shard import Block

NAMES = ["llama-3.1-8b", "starcoder2-15b", "phi-3-medium-4k", "falcon-40b", "mixtral-8x7b", "qwen1.5-moe-a2.7b", "deepseek-v2-lite",
         "deepseek-v3", "gpt-oss-120b", "gemma-3-27b", "mimo-v2-flash", "llama-4-scout", "minimax-m2"]  # fmt: skip
SIZES = (1.0, 2.0, 3.0, 4.0, 6.0, 8.0)


def legal(name: str) -> Iterator[Plan]:
    """Plans that no rule refuses."""
    for tp, cp, ep, method in product(SIZES, (1.0, 2.0, 3.0, 4.0), SIZES, ("ring", "ulysses")):
        plan = Plan(tp=tp, cp=cp, ep=ep, cp_method=method, mla_form="absorbed", all_to_all="normal")
        if all(every(check.ok) for check in lower.checks(model(name), plan)):
            yield plan


def ran(block: Block, plan: Plan) -> Iterator[Call]:
    """Kernels of a decode step of 48 sequences, which 1, 2, 3, 4, 6 and 8 replicas share out evenly."""
    yield from calls(block.program(view(48.0, 1.0, 99.0, plan)))


@pytest.mark.parametrize("name", NAMES)
def test_weights_of_a_rank_have_whole_sides(name: str) -> None:
    plans = list(legal(name))
    assert len(plans) > 4
    for plan in plans:
        for _, block in model(name).blocks():
            for weight in block.weights(plan):
                for size in (weight.out, weight.inner, weight.copies):
                    assert size is None or float(size) == int(size) >= 1, (plan, weight)


@pytest.mark.parametrize("name", NAMES)
def test_products_and_heads_of_a_rank_are_whole(name: str) -> None:
    """K/V heads of ulysses apart."""
    for plan in legal(name):
        for _, block in model(name).blocks():
            for call in ran(block, plan):
                sizes: tuple[float, ...] = ()
                if isinstance(call.op, Gemm):
                    sizes = (call.op.n, call.op.k, call.op.batch)  # type: ignore[assignment]
                elif isinstance(call.op, AttentionCore):
                    sizes = (call.op.heads,)  # type: ignore[assignment]
                    if plan.cp_method == "ring" or plan.cp == 1.0:
                        sizes += (call.op.kv_heads, call.op.heads / call.op.kv_heads)  # type: ignore[assignment]
                assert all(float(size) == int(size) >= 1 for size in sizes), (plan, call)


@pytest.mark.parametrize("name", NAMES)
def test_ranks_together_have_all_heads_once(name: str) -> None:
    for plan in legal(name):
        for _, block in model(name).blocks():
            heads = getattr(block, "num_attention_heads", None)
            for call in ran(block, plan):
                if heads is not None and isinstance(call.op, AttentionCore):
                    cut = plan.tp * (plan.cp if plan.cp_method == "ulysses" else 1.0)
                    assert float(call.op.heads) * cut == heads, (plan, call)
