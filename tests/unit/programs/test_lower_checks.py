"""Rules of a plan: each refusal names its rule and is true, and plans that a dealer of heads, experts and blocks can deal pass."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from itertools import product
from typing import Any

import numpy as np
import pytest

from simcost import lower
from simcost.dtypes import dtype
from simcost.model import load
from simcost.model.spec import ModelSpec
from simcost.num import every
from simcost.plan import Check, Phase, Plan, Tokens, own_checks
from simcost.routing.router import Routing

DECODE = Phase(64.0, 1.0, 100.0, routing=Routing("balanced"), decode=True)


@cache
def model(name: str) -> ModelSpec:
    return load.load(name)


def said(checks: list[Check]) -> list[str]:
    """Reasons of broken rules."""
    return [check.reason for check in checks if not every(check.ok)]


def refusals(name: str, **plan: Any) -> list[str]:
    return said(lower.checks(model(name), Plan(**plan)))


@pytest.mark.parametrize(("name", "plan", "reason"), [
    ("llama-3.1-8b", {"tp": 3.0}, "num_attention_heads = 32 cannot be cut into 3 equal parts"),
    ("llama-3.1-8b", {"tp": 64.0}, "num_attention_heads = 32 cannot be cut into 64 equal parts"),
    ("llama-3.1-8b", {"ep": 2.0}, "llama-3.1-8b has no experts to split"),
    ("llama-3.1-8b", {"pp": 33.0}, "pp must not exceed the 32 layers of llama-3.1-8b"),
    ("llama-3.1-8b", {"pp": 8.0, "vpp": 5.0}, "chunks of a stage must not exceed the 32 layers"),
    ("llama-3.1-8b", {"vpp": 2.0}, "vpp gives every pipeline stage several chunks"),
    ("llama-3.1-8b", {"tp": 1.5}, "tp must be a whole number of at least 1"),
    ("llama-3.1-8b", {"dp": 0.0}, "dp must be a whole number of at least 1"),
    ("llama-3.1-8b", {"tp": 8.0, "gpus": 4.0}, "the plan takes 8 GPUs, the cluster has 4"),
    ("llama-3.1-8b", {"tp": 2.0, "overlap": "tensor_parallel"}, "it needs sequence_parallel=on"),
    ("llama-3.1-8b", {"cp": 64.0, "cp_method": "ulysses"}, "ulysses splits them over tp·cp"),
    ("mixtral-8x7b", {"ep": 16.0}, "n_routed_experts and their copies = 8 cannot be cut into 16"),
    ("mixtral-8x7b", {"ep": 4.0, "tp": 6.0}, "one of tp·cp = 6 and ep = 4 must divide the other"),
    ("mixtral-8x7b", {"ep": 4.0, "dp_attention": 6.0}, "must divide the tp·cp·dp_attention = 6 ranks"),
    ("mixtral-8x7b", {"ep": 4.0, "etp": 4.0, "dp_attention": 8.0}, "both must be the same number"),
    ("deepseek-v3", {"tp": 32.0, "ep": 32.0}, "down_proj: a rank's 576 columns are not whole blocks of 128"),
    ("deepseek-v3", {"tp": 128.0, "ep": 128.0}, "q_b_proj: a rank's 192 rows are not whole blocks of 128"),
])  # fmt: skip
def test_a_refusal_says_which_rule_is_broken(name: str, plan: dict[str, Any], reason: str) -> None:
    assert any(reason in one for one in refusals(name, **plan)), refusals(name, **plan)


GRID = list(product((1, 2, 3, 4, 6, 8, 16, 32, 64, 128), (1, 2, 4, 8, 32)))


def _deal(tp: int, ep: int, experts: int, width: int) -> bool:
    """Whether the ranks of a stage can be dealt to attention and to experts, with equal slices for all."""
    ranks = max(tp, ep)
    return ranks % tp == 0 and ranks % ep == 0 and experts % ep == 0 and width % (ranks // ep) == 0


@pytest.mark.parametrize(("tp", "ep"), GRID)
def test_llama_runs_where_heads_and_widths_can_be_dealt(tp: int, ep: int) -> None:
    """32 heads on 8 of K and V, 14,336 wide, no experts."""
    legal = ep == 1 and 32 % tp == 0 and (8 % tp == 0 or tp % 8 == 0) and 14336 % tp == 0
    assert (refusals("llama-3.1-8b", tp=float(tp), ep=float(ep)) == []) is legal


@pytest.mark.parametrize(("tp", "ep"), GRID)
def test_mixtral_runs_where_experts_can_be_dealt_too(tp: int, ep: int) -> None:
    legal = 32 % tp == 0 and (8 % tp == 0 or tp % 8 == 0) and _deal(tp, ep, 8, 14336)
    assert (refusals("mixtral-8x7b", tp=float(tp), ep=float(ep)) == []) is legal


@pytest.mark.parametrize(("tp", "ep"), GRID)
def test_deepseek_v3_runs_where_blocks_of_scales_stay_whole_too(tp: int, ep: int) -> None:
    """128 heads of 192 and 256 rows in blocks of 128; 18,432 and 2,048 inside; parts of experts are padded and may be cut."""
    legal = 128 % tp == 0 and _deal(tp, ep, 256, 2048)
    if legal and tp > 1:
        heads = 128 // tp
        sides = [heads * 256, heads * 192, heads * 128, 18432 // tp, 2 * 18432 // tp, 2048 // tp, 2 * 2048 // tp]
        legal = all(side % 128 == 0 for side in sides)
    assert (refusals("deepseek-v3", tp=float(tp), ep=float(ep)) == []) is legal


def test_wide_weights_have_no_blocks_to_cut() -> None:
    assert refusals("deepseek-v3", tp=32.0, ep=32.0, weight_dtype="bf16") == []


def test_a_grid_of_plans_is_judged_point_by_point() -> None:
    tp, ep = (np.array(column, float) for column in zip(*GRID, strict=True))
    good = np.ones(len(GRID), bool)
    for check in lower.checks(model("mixtral-8x7b"), Plan(tp=tp, ep=ep)):
        good &= np.asarray(check.ok, bool)
    assert good.tolist() == [refusals("mixtral-8x7b", tp=float(a), ep=float(b)) == [] for a, b in GRID]


@pytest.mark.parametrize(("plan", "legal"), [
    ({"dp": 3.0}, True), ({"dp": 0.5}, False), ({"tp": 2.0, "pp": 2.0, "gpus": 4.0}, True), ({"pp": 2.0, "vpp": 3.0}, True),
    ({"tp": 2.0, "pp": 2.0, "dp": 2.0, "gpus": 7.0}, False), ({"ep": 8.0, "etp": 2.0, "tp": 16.0}, True),
    ({"ep": 8.0, "tp": 16.0, "dp_attention": 1.0}, True), ({"ep": 8.0, "etp": 2.0, "tp": 4.0}, False),
    ({"tp": 4.0, "overlap": "tensor_parallel", "sequence_parallel": "on"}, True),
])  # fmt: skip
def test_a_plan_s_own_rules_need_no_model(plan: dict[str, Any], legal: bool) -> None:
    assert (said(own_checks(Plan(**plan))) == []) is legal


# ---- kernels ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["mixtral-8x7b", "llama-3.1-8b"])
@pytest.mark.parametrize(("mode", "graph", "ep", "phase", "bad"), [
    ("normal", "on", 8.0, "decode", True), ("nccl", "on", 8.0, "decode", True), ("low_latency", "on", 8.0, "decode", False),
    ("auto", "on", 8.0, "decode", False), ("normal", "off", 8.0, "decode", False), ("normal", "on", 1.0, "decode", False),
    ("normal", "on", 8.0, "prefill", False), ("normal", "on", 8.0, "mixed", False),
])  # fmt: skip
def test_no_graph_holds_a_kernel_that_asks_the_host(
    name: str, mode: str, graph: str, ep: float, phase: str, bad: bool
) -> None:
    phases = {"decode": DECODE, "prefill": replace(DECODE, decode=False),
              "mixed": replace(DECODE, beside=(Tokens(1.0, 512.0, 0.0),))}  # fmt: skip
    plan = Plan(ep=ep, all_to_all=mode, cuda_graph=graph)
    found = said(lower.kernel_checks(model(name), plan, phases[phase]))
    assert bool(found) is (bad and name == "mixtral-8x7b")
    assert all(f"all_to_all={mode}" in reason and "cuda_graph=off" in reason for reason in found)


# ---- formats ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "weights", "wanted"), [
    ("llama-3.1-8b", None, {"attention": "bf16", "ffn": "bf16", "head": "bf16"}),
    ("llama-3.1-8b", "fp8", {"attention": "fp8", "ffn": "fp8", "head": "bf16", "embedding": "bf16", "norm": "bf16"}),
    ("llama-3.1-8b", "fp16", {"attention": "fp16", "head": "fp16", "norm": "fp16"}),
    ("llama-3.1-8b", "fp32", {"attention": "fp32", "head": "fp32", "norm": "fp32"}),
    ("deepseek-v3", None, {"attention": "fp8_block", "experts": "fp8_block", "router": "bf16", "head": "bf16"}),
    ("gpt-oss-120b", None, {"attention": "bf16", "experts": "mxfp4", "head": "bf16"}),
    ("gpt-oss-120b", "int4", {"attention": "bf16", "experts": "int4", "head": "bf16"}),  # the roles that its config converts
    ("gpt-oss-120b", "bf16", {"attention": "bf16", "experts": "bf16"}),
])  # fmt: skip
def test_weights_are_kept_as_the_config_or_the_plan_says(
    name: str, weights: str | None, wanted: dict[str, str]
) -> None:
    found = lower.storage(model(name), Plan(weight_dtype=weights))
    assert {role: found[role].name.removesuffix("_block") for role in wanted} == {
        role: word.removesuffix("_block") for role, word in wanted.items()
    }
    assert (found["attention"].block == (128, 128)) is (name == "deepseek-v3")


@pytest.mark.parametrize(("name", "plan", "sizes"), [
    ("minimax-m2", {"tp": 8.0}, "its 192 columns of an expert as 256"), ("minimax-m2", {"tp": 4.0}, ""),
    ("minimax-m2", {"tp": 8.0, "ep": 8.0}, ""), ("mixtral-8x7b", {"tp": 8.0}, ""),
])  # fmt: skip
def test_what_is_padded_is_said(name: str, plan: dict[str, Any], sizes: str) -> None:
    """Experts of MiniMax-M2 are 1,536 wide: an eighth of that is a block and a half of 128."""
    found = lower.padding(model(name), Plan(**plan), lower.storage(model(name), Plan()))
    assert len(found) == (1 if sizes else 0)
    assert all(sizes in note and note.startswith(name) for note in found)


def test_a_format_without_blocks_pads_nothing() -> None:
    assert (
        lower.padding(model("minimax-m2"), Plan(tp=8.0), dict.fromkeys(model("minimax-m2").storage, dtype("bf16")))
        == ()
    )
