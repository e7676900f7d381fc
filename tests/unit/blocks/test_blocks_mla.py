"""Multi-head latent attention: DeepSeek-V3 and V2-Lite written out by hand, in both forms, over tp, sp and cp."""

from __future__ import annotations

import pytest
from blockkit import block, broken, moves, ops, products, shapes, the_core, view

from simcost.blocks.attention.mla import MLA
from simcost.dtypes import dtype
from simcost.ops.gemm import Gemm
from simcost.ops.stream import Stream
from simcost.plan import Plan
from simcost.program import Choice, Overlap, Serial

V3, LITE = block("deepseek-v3", "attention"), block("deepseek-v2-lite", "attention")
assert isinstance(V3, MLA)
assert isinstance(LITE, MLA)


@pytest.mark.parametrize("tp", [1, 8, 16])
def test_weights_of_deepseek_v3_are_cut_by_heads(tp: int) -> None:
    h = 128 // tp
    assert shapes(V3.weights(Plan(tp=float(tp)))) == {
        "kv_b_proj": (h * (128 + 128), 512), "o_proj": (7168, h * 128), "qkv_a_proj": (1536 + 512 + 64, 7168),
        "q_b_proj": (h * (128 + 64), 1536), "q_a_norm": (1536,), "kv_a_norm": (512,),
    }  # fmt: skip


def test_parameters_of_a_layer_are_the_published_ones() -> None:
    """Sums of the shapes of the checkpoint's tensors: q_a, q_b, kv_a, kv_b, o and two norms."""
    tensors = [(1536, 7168), (24576, 1536), (576, 7168), (32768, 512), (7168, 16384), (1536, 1), (512, 1)]
    assert sum(w.count for w in V3.weights(Plan())) == sum(a * b for a, b in tensors) == 187_107_328


def test_without_a_rank_queries_are_projected_directly() -> None:
    assert shapes(LITE.weights(Plan(tp=2.0))) == {
        "kv_b_proj": (8 * 256, 512), "o_proj": (2048, 8 * 128), "q_proj": (8 * 192, 2048), "kv_a_proj": (576, 2048),
        "kv_a_norm": (512,),
    }  # fmt: skip


@pytest.mark.parametrize(("rank", "width"), [(1536.0, 1536 + 576 + 7168), (None, 576 + 7168)])
def test_a_bias_stands_on_the_products_down_and_out(rank: float | None, width: float) -> None:
    made = MLA(7168.0, 128.0, 512.0, 128.0, 64.0, 128.0, rank, True)
    assert shapes(made.weights(Plan()))["bias"] == (width,)


@pytest.mark.parametrize(("plan", "tokens"), [
    (Plan(), 1000), (Plan(tp=8.0), 1000), (Plan(cp=4.0), 250), (Plan(cp=4.0, cp_method="ulysses"), 1000),
])  # fmt: skip
def test_every_rank_keeps_whole_latents_of_its_tokens(plan: Plan, tokens: int) -> None:
    assert V3.state_elements(1000.0, plan) == tokens * 576
    assert V3.state_bytes(1000.0, plan, dtype("fp8")) == tokens * 576


def test_core_flops_are_counted_expanded() -> None:
    """128 heads, every pair 192 + 128 multiply-adds."""
    pairs = sum(past + 1 for past in range(10, 15))
    assert V3.core_flops(5.0, 10.0) == pairs * 128 * 2 * (192 + 128)
    assert V3.core_width == 128 * 320
    assert V3.absorbed_core_width == 128 * (576 + 512)
    assert V3.rotary_width == 64


def test_an_absorbed_decode_step_by_hand() -> None:
    """Four sequences behind 999 tokens on eight ranks of sixteen heads."""
    program = V3.program(view(4.0, 1.0, 999.0, Plan(tp=8.0, mla_form="absorbed")))
    assert products(program) == {
        "qkv_a_proj": (1, 4, 2112, 7168), "q_b_proj": (1, 4, 16 * 192, 1536),
        "absorb k into q": (16, 4, 512, 128), "absorb v into o": (16, 4, 128, 512), "o_proj": (1, 4, 7168, 16 * 128),
    }  # fmt: skip
    core = the_core(program)
    assert (core.batch, core.q_len, core.past, core.heads, core.kv_heads) == (4, 1, 999, 16, 1)
    assert (core.d_qk, core.d_v, core.shared_kv) == (576, 512, True)
    assert moves(program) == {"all-reduce": ("all_reduce", 4 * 7168 * 2, 8, 1)}
    names = list(ops(program))
    assert names.index("absorb k into q") < names.index("q rope") < names.index("core") < names.index("absorb v into o")


def test_an_expanded_prefill_expands_cached_latents_too() -> None:
    """Two sequences of 100 tokens behind 50: 300 latents become keys and values of sixteen heads."""
    program = V3.program(view(2.0, 100.0, 50.0, Plan(tp=8.0, mla_form="expanded")))
    assert products(program) == {
        "qkv_a_proj": (1, 200, 2112, 7168), "q_b_proj": (1, 200, 3072, 1536),
        "kv_b_proj (expand)": (1, 300, 16 * 256, 512), "o_proj": (1, 200, 7168, 2048),
    }  # fmt: skip
    core = the_core(program)
    assert (core.heads, core.kv_heads, core.d_qk, core.d_v, core.shared_kv) == (16, 16, 192, 128, False)
    assert core.work().flops == 2 * 16 * sum(past + 1 for past in range(50, 150)) * 2 * 320
    assert V3.expanded_elements(Plan(tp=8.0)) == 16 * 256


def test_streams_of_a_step_by_hand() -> None:
    found = {tag: op for tag, op in ops(V3.program(view(4.0, 1.0, 9.0, Plan(tp=8.0, mla_form="absorbed")))).items()
             if isinstance(op, Stream)}  # fmt: skip
    assert {tag: op.elements for tag, op in found.items()} == {
        "q_a_norm": 4 * 1536, "kv_a_norm": 4 * 512, "q rope": 4 * 16 * 64, "latent rope + write": 4 * 576
    }  # fmt: skip


@pytest.mark.parametrize("q_len", [1.0, 64.0])
def test_a_plan_without_a_form_may_choose_and_one_query_is_absorbed(q_len: float) -> None:
    program = V3.program(view(4.0, q_len, 999.0))
    assert isinstance(program, Serial)
    (choice,) = (part for part in program.parts if isinstance(part, Choice))
    assert tuple(name for name, _ in choice.options) == V3.forms == ("expanded", "absorbed")
    assert choice.settled == (q_len == 1.0)


def test_under_sequence_parallelism_rows_are_gathered_and_scattered() -> None:
    plan = Plan(tp=8.0, mla_form="expanded", sequence_parallel="on")
    found = V3.program(view(2.0, 100.0, 0.0, plan))
    assert moves(found) == {
        "all-gather": ("all_gather", 200 * 7168 * 2, 8, 1), "reduce-scatter": ("reduce_scatter", 200 * 7168 * 2, 8, 1)
    }  # fmt: skip
    assert next(iter(ops(found))) == "all-gather"
    assert list(ops(found))[-1] == "reduce-scatter"


@pytest.mark.parametrize("cp", [2, 4])
def test_a_ring_passes_latents_around_behind_the_core(cp: int) -> None:
    """Each of the ranks takes its share of 64 causal queries; together they see every pair once."""
    program = V3.program(view(2.0, 64.0, 0.0, Plan(tp=8.0, cp=float(cp), mla_form="expanded")))
    core = the_core(program)
    assert core.q_len == 64 / cp
    assert cp * core.mask.pairs(core.q_len, core.past) == sum(i + 1 for i in range(64))
    assert moves(program)["keys and values"] == ("all_gather", 2 * 64 * 576 * 2, cp, 8)
    assert products(program)["q_b_proj"][1] == 2 * 64 / cp
    assert any(isinstance(part, Overlap) for part in _inside(program))


def _inside(program: object) -> list[object]:
    parts = list(getattr(program, "parts", ()))
    return parts + [one for part in parts for one in _inside(part)]


def test_decode_over_cp_cuts_the_cache_and_joins_outputs() -> None:
    """Rank by rank a quarter of 1,000 keys; queries of four ranks' worth of sequences are gathered, outputs are added."""
    program = V3.program(view(4.0, 1.0, 999.0, Plan(tp=2.0, cp=4.0, mla_form="absorbed")))
    core = the_core(program)
    assert core.mask.keys(core.q_len, core.past) == 250
    found = moves(program)
    assert found["queries"] == ("all_gather", 4 * 64 * 576 * 2, 4, 2)
    assert found["partial outputs"] == ("reduce_scatter", 4 * 64 * 512 * 2, 4, 2)
    assert found["keys and values"][2] == 1  # nobody to gather from


def test_ulysses_swaps_tokens_for_heads_and_back() -> None:
    program = V3.program(view(1.0, 64.0, 0.0, Plan(tp=2.0, cp=4.0, cp_method="ulysses", mla_form="absorbed")))
    core = the_core(program)
    assert (core.q_len, core.heads) == (64, 128 / 8)
    found = moves(program)
    own, away = 64 / 4, 3 / 4  # a rank's tokens, and the share of them that others get
    assert found["heads for tokens"][:3] == ("all_to_all", own * away * (64 * 576 * 2 + 4 * 576 * 2), 4)
    assert found["tokens for heads"][:3] == ("all_to_all", own * away * 64 * 512 * 2, 4)


@pytest.mark.parametrize(("plan", "count"), [
    (Plan(tp=128.0), 0), (Plan(tp=3.0), 1), (Plan(tp=8.0, cp=16.0, cp_method="ulysses"), 0),
    (Plan(tp=8.0, cp=32.0, cp_method="ulysses"), 1), (Plan(tp=8.0, cp=32.0), 0),
])  # fmt: skip
def test_ranks_get_whole_heads(plan: Plan, count: int) -> None:
    said = broken(V3, plan)
    assert len(said) == count
    assert all("num_attention_heads" in reason and "128" in reason for reason in said)


def test_narrow_layers_quantise_their_inputs_and_absorption_stays_wide() -> None:
    found = ops(V3.program(view(4.0, 1.0, 9.0, Plan(mla_form="absorbed"), "fp8_block")))
    casts = {tag: op.elements for tag, op in found.items() if isinstance(op, Stream) and op.what == "quantise"}
    assert casts == {
        "quantise qkv_a_proj input": 4 * 7168, "quantise q_b_proj input": 4 * 1536, "quantise o_proj input": 4 * 16384
    }  # fmt: skip
    formats = {tag: (op.x.name, op.w.name, op.compute.name) for tag, op in found.items() if isinstance(op, Gemm)}
    assert formats["o_proj"] == ("fp8_block", "fp8_block", "fp8_block")
    assert formats["absorb k into q"] == formats["absorb v into o"] == ("bf16", "bf16", "bf16")


def test_one_input_of_two_products_is_quantised_once() -> None:
    found = ops(LITE.program(view(4.0, 1.0, 9.0, Plan(mla_form="absorbed"), "fp8")))
    assert [tag for tag in found if tag.startswith("quantise")] == ["quantise q_proj input", "quantise o_proj input"]
    kv_a = found["kv_a_proj"]
    assert isinstance(kv_a, Gemm)
    assert kv_a.x.name == "fp8"


def test_buffers_inside_the_block_by_hand() -> None:
    """Latents; queries and joined keys of 192, keys without rotation, values and outputs of 128 for each of 16 heads."""
    assert V3.peak_elements(Plan(tp=8.0)) == 576 + 16 * (192 + 192 + 128 + 128 + 128)
    assert V3.absorbed_elements(Plan(tp=8.0), False) == 16 * 512 * (128 + 128)
    assert V3.absorbed_elements(Plan(tp=8.0), True) == 16 * 512 * (1536 + 7168)
    assert LITE.absorbed_elements(Plan(), True) == 16 * 512 * (2048 + 2048)
