"""Mixture of experts: Mixtral, DeepSeek-V3 and gpt-oss by hand, over tp, ep and slices, with even experts."""

from __future__ import annotations

from dataclasses import replace

import pytest
from blockkit import block, broken, moves, ops, products, shapes, view

from simcost.blocks.ffn.moe import MoE
from simcost.dtypes import dtype
from simcost.ops.exchange import Exchange
from simcost.ops.grouped_gemm import GroupedGemm
from simcost.ops.permute import Permute
from simcost.ops.stream import Stream
from simcost.plan import Plan
from simcost.program import Overlap, Program
from simcost.routing.router import Routing

MIXTRAL, V3 = block("mixtral-8x7b", "ffn"), block("deepseek-v3", "ffn", -1)
assert isinstance(MIXTRAL, MoE)
assert isinstance(V3, MoE)
BY_RANK = Plan(ep=8.0, all_to_all="normal")  # eight replicas of the attention, an eighth of the experts each


def grouped(program: Program) -> dict[str, tuple[float, ...]]:
    """(rows, experts that run, n, k, held) of the experts' products."""
    return {
        tag: (float(op.rows), float(op.experts), float(op.n), float(op.k), float(op.held))
        for tag, op in ops(program).items()
        if isinstance(op, GroupedGemm)
    }


@pytest.mark.parametrize(("plan", "held", "width"), [
    (Plan(), 8, 14336), (Plan(tp=2.0), 8, 7168), (Plan(ep=8.0), 1, 14336), (Plan(tp=8.0, ep=8.0), 1, 14336),
    (Plan(tp=8.0, ep=2.0), 4, 3584), (Plan(tp=2.0, ep=4.0), 2, 14336),
])  # fmt: skip
def test_experts_are_shared_out_and_what_is_left_cuts_their_width(plan: Plan, held: int, width: int) -> None:
    """Mixtral 8x7B: eight experts of 14,336, hidden size 4,096. tp·dp ranks = ep·slices."""
    found = shapes(MIXTRAL.weights(plan))
    up, down = (2 * width, 4096), (4096, width)
    more = () if held == 1 else (held,)
    assert found == {"router": (8, 4096), "experts_up": (*more, *up), "experts_down": (*more, *down)}
    assert MIXTRAL.held_experts(plan) == held
    assert broken(MIXTRAL, plan) == []


def test_a_layer_of_deepseek_v3_by_hand() -> None:
    """256 experts of 2,048 and a shared one, hidden size 7,168, a bias that only steers the choice."""
    assert shapes(V3.weights(Plan(tp=4.0, ep=16.0))) == {
        "router": (256, 7168), "experts_up": (16, 4096, 7168), "experts_down": (16, 7168, 2048),
        "shared_up": (1024, 7168), "shared_down": (7168, 512), "correction_bias": (256,),
    }  # fmt: skip
    assert sum(w.count for w in V3.weights(Plan())) == 257 * 3 * 7168 * 2048 + 256 * 7168 + 256


def test_biases_of_gpt_oss() -> None:
    """128 experts of 2,880 with biases on both products and on the router."""
    found = shapes(block("gpt-oss-120b", "ffn").weights(Plan(tp=2.0)))
    assert found["expert_bias"] == (128, 2880 + 2880)  # gate and up of half the width, and a whole bias of the output
    assert found["router_bias"] == (128,)
    assert "shared_up" not in found


def test_a_gate_of_shared_experts_is_one_row() -> None:
    assert shapes(block("qwen1.5-moe-a2.7b", "ffn").weights(Plan()))["shared_gate"] == (1, 2048)


@pytest.mark.parametrize(("plan", "says"), [
    (Plan(ep=3.0), "n_routed_experts and their copies = 8"), (Plan(ep=3.0, redundant_experts=1.0), ""),
    (Plan(ep=8.0, redundant_experts=4.0), "n_routed_experts and their copies = 12"),
    (Plan(tp=6.0), "moe_intermediate_size = 14336"), (Plan(tp=14.0), ""),
])  # fmt: skip
def test_a_refusal_names_what_cannot_be_cut(plan: Plan, says: str) -> None:
    said = broken(MIXTRAL, plan)
    assert [reason[: len(says)] for reason in said] == ([says] if says else [])


def test_shared_experts_are_cut_by_heads_of_attention() -> None:
    (said,) = broken(replace(V3, shared_width=100.0), Plan(tp=8.0, ep=8.0))
    assert "shared expert width = 100" in said


def test_a_step_on_tensor_parallel_ranks_by_hand() -> None:
    """Sixteen tokens on two ranks, each with half of every expert: all see all tokens, 32 copies."""
    program = MIXTRAL.program(view(16.0, 1.0, 99.0, Plan(tp=2.0)))
    assert list(ops(program)) == [
        "router", "top-k", "permute", "experts_up", "activation", "experts_down", "unpermute", "all-reduce"
    ]  # fmt: skip
    assert grouped(program) == {"experts_up": (32, 8, 14336, 4096, 8), "experts_down": (32, 8, 4096, 7168, 8)}
    assert products(program) == {"router": (1, 16, 8, 4096)}
    assert moves(program) == {"all-reduce": ("all_reduce", 16 * 4096 * 2, 2, 1)}
    act, there = ops(program)["activation"], ops(program)["permute"]
    assert isinstance(act, Stream)
    assert isinstance(there, Permute)
    assert (act.elements, act.reads) == (32 * 7168, 2)
    assert (there.tokens, there.copies, there.width) == (16, 32, 4096)


def test_a_step_on_expert_parallel_ranks_by_hand() -> None:
    """64 sequences over eight replicas: eight tokens a rank, 128 copies in all, sixteen a rank."""
    program = MIXTRAL.program(view(64.0, 1.0, 99.0, BY_RANK))
    assert grouped(program) == {"experts_up": (16, 1, 28672, 4096, 1), "experts_down": (16, 1, 4096, 14336, 1)}
    sent = {tag: op for tag, op in ops(program).items() if isinstance(op, Exchange)}
    assert list(sent) == ["dispatch", "combine"]
    for op in sent.values():
        assert (op.tokens, op.all_tokens, op.width_bytes, op.group) == (8, 64, 8192, 8)
    assert products(program)["router"] == (1, 8, 8, 4096)


def test_a_narrow_step_sends_narrow_tokens_and_brings_wide_ones_back() -> None:
    program = MIXTRAL.program(view(64.0, 1.0, 99.0, BY_RANK, "fp8_block"))
    found = ops(program)
    out, back = found["dispatch"], found["combine"]
    assert isinstance(out, Exchange)
    assert isinstance(back, Exchange)
    assert (out.width_bytes, out.back_bytes) == (4096 + 32 * 4, 8192)  # a scale for 128 elements
    assert (back.width_bytes, back.back_bytes) == (8192, 4096 + 32 * 4)
    casts = {tag: op.elements for tag, op in found.items() if isinstance(op, Stream) and op.what == "quantise"}
    assert casts == {"quantise tokens": 8 * 4096, "quantise experts_down input": 16 * 14336}


def test_ranks_of_a_tensor_parallel_replica_send_their_share() -> None:
    """Two replicas of four ranks: 32 tokens each, eight sent by a rank, and gathered by its group afterwards."""
    program = MIXTRAL.program(view(64.0, 1.0, 99.0, Plan(tp=4.0, ep=8.0, all_to_all="normal")))
    out = ops(program)["dispatch"]
    assert isinstance(out, Exchange)
    assert (out.tokens, out.all_tokens, out.group) == (8, 64, 8)
    assert moves(program)["all-gather"] == ("all_gather", 32 * 4096 * 2, 4, 1)
    assert moves(program)["all-reduce"][2] == 1  # nothing to add up


def test_slices_of_an_expert_collect_and_scatter_rows() -> None:
    """Four replicas, two experts' groups of two slices: a row is computed in two parts."""
    program = MIXTRAL.program(view(64.0, 1.0, 99.0, Plan(ep=2.0, dp_attention=4.0, all_to_all="normal")))
    assert grouped(program)["experts_up"] == (64, 4, 14336, 4096, 4)
    out = ops(program)["dispatch"]
    assert isinstance(out, Exchange)
    assert (out.tokens, out.all_tokens, out.group, out.stride) == (16, 32, 2, 2)
    found = moves(program)
    assert found["gather for slices"][0::2] == ("all_gather", 2)
    assert found["join slices"][0::2] == ("reduce_scatter", 2)
    assert found["gather for slices"][1] == found["join slices"][1]


def test_a_capacity_fixes_the_rows_of_every_expert() -> None:
    program = MIXTRAL.program(view(64.0, 1.0, 99.0, replace(BY_RANK, capacity_factor=1.25)))
    up = ops(program)["experts_up"]
    assert isinstance(up, GroupedGemm)
    assert (up.rows, up.load) == (20, 1)


def test_few_tokens_run_no_more_experts_than_they_pick() -> None:
    """Two tokens of eight picks each on 256 experts: at most sixteen run, whoever holds the rest."""
    found = grouped(V3.program(view(2.0, 1.0, 99.0)))
    rows, run, *_, held = found["experts_up"]
    assert rows == 16
    assert run == 16
    assert held == 256


def test_shared_experts_see_every_token() -> None:
    program = V3.program(view(4.0, 10.0, 0.0, Plan(tp=8.0, ep=8.0)))
    found = products(program)
    assert found["shared_up"] == (1, 40, 2 * 2048 // 8, 7168)
    assert found["shared_down"] == (1, 40, 7168, 2048 // 8)
    own = ops(program)["activation 2"]  # the routed experts' comes first
    assert isinstance(own, Stream)
    assert own.elements == 40 * 2048 / 8
    assert "dispatch" not in ops(program)
    assert grouped(program)["experts_up"][0] == 40  # 320 copies over eight ranks
    assert moves(program) == {"all-reduce": ("all_reduce", 40 * 7168 * 2, 8, 1)}


def test_sequence_parallel_ranks_choose_for_their_own_rows() -> None:
    program = V3.program(view(4.0, 10.0, 0.0, Plan(tp=8.0, ep=8.0, sequence_parallel="on", all_to_all="normal")))
    assert products(program)["router"] == (1, 5, 256, 7168)
    out = ops(program)["dispatch"]
    assert isinstance(out, Exchange)
    assert out.tokens == 5
    assert moves(program)["reduce-scatter"] == ("reduce_scatter", 40 * 7168 * 2, 8, 1)


@pytest.mark.parametrize(("batch", "beside"), [(8.0, 1), (512.0, 0)])
def test_shared_experts_run_beside_routed_ones_for_few_tokens(batch: float, beside: int) -> None:
    program = V3.program(view(batch, 1.0, 99.0, Plan(overlap="shared_experts")))
    assert sum(isinstance(part, Overlap) for part in program.parts) == beside  # type: ignore[union-attr]
    assert products(program)["shared_up"][1] == batch  # once, wherever it runs


def test_buffers_of_experts_by_hand() -> None:
    """Mixtral on one rank: a row a token and expert; 14,336 beside 4,096 wide, then 28,672."""
    elements, entering = MIXTRAL.expert_elements(Plan(), Routing("balanced"), 64.0)
    assert elements == 2 * (14336 + 28672)
    assert entering == 2 * 4096
    travelling, _ = MIXTRAL.expert_elements(BY_RANK, Routing("balanced"), 8.0)
    assert travelling == elements  # as many come as go


@pytest.mark.parametrize(("plan", "wanted"), [
    (Plan(), 0), (BY_RANK, 8), (Plan(tp=8.0, ep=8.0), 0), (replace(BY_RANK, redundant_experts=8.0), 16),
])  # fmt: skip
def test_experts_that_tokens_may_travel_to(plan: Plan, wanted: int) -> None:
    assert MIXTRAL.exchanged_experts(plan) == wanted


def test_blocks_of_scales_pad_a_slice_and_nothing_else() -> None:
    """Eight slices of 1,536 are 192 wide: 256 in blocks of 128; four are 384, which is whole."""
    made = MoE(3072.0, 8.0, 2.0, 1536.0)
    for tp, width in ((8.0, 256), (4.0, 384), (1.0, 1536)):
        weights = {w.name: w.whole(dtype("fp8_block")) for w in made.weights(Plan(tp=tp))}
        assert (weights["experts_up"].out, weights["experts_down"].inner) == (2 * width, width)
        assert (weights["experts_up"].inner, weights["experts_down"].out) == (3072, 3072)


def test_a_whole_expert_is_kept_as_it_is() -> None:
    """1,500 columns are no whole blocks; nobody cut them, so nobody pads them."""
    weights = {w.name: w.whole(dtype("fp8_block")) for w in MoE(3072.0, 8.0, 2.0, 1500.0).weights(Plan(ep=8.0))}
    assert (weights["experts_up"].out, weights["experts_down"].inner) == (3000, 1500)


def test_a_rank_runs_no_more_experts_than_rows_come_to_it() -> None:
    """One token's eight copies over 64 ranks of four experts: the busiest rank has a row, and so one expert that runs."""
    rows, run, *_ = grouped(V3.program(view(1.0, 1.0, 99.0, Plan(ep=64.0, all_to_all="normal"))))["experts_up"]
    assert (rows, run) == (1, 1)
    seen = view(1.0, 1.0, 99.0, BY_RANK)
    skewed = replace(seen, phase=replace(seen.phase, routing=Routing("zipf", 1.0)))
    rows, run, *_ = grouped(MIXTRAL.program(skewed))["experts_up"]
    assert run <= rows
