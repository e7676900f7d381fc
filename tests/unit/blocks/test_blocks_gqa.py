"""Grouped-query attention, with and without windows: shapes of published configs, shares of ranks, cores and their keys."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from blockkit import block, broken, model, moves, ops, products, shapes, the_core, view
from hypothesis import given, settings
from hypothesis import strategies as st

from simcost.blocks.attention.gqa import GQA
from simcost.blocks.attention.sliding_window import SlidingWindow
from simcost.dtypes import dtype
from simcost.ops.stream import Stream
from simcost.plan import Plan, Tokens

EXAMPLES = settings(max_examples=60, deadline=None, derandomize=True)
LLAMA = block("llama-3.1-8b", "attention")
assert isinstance(LLAMA, GQA)


@pytest.mark.parametrize(("tp", "heads", "kv"), [(1, 32, 8), (4, 8, 2), (8, 4, 1), (16, 2, 1), (32, 1, 1)])
def test_kv_heads_are_cut_and_then_repeated(tp: int, heads: int, kv: int) -> None:
    """Llama-3.1-8B: 32 query heads on 8 of K and V, all 128 wide."""
    plan = Plan(tp=float(tp))
    assert shapes(LLAMA.weights(plan)) == {
        "qkv_proj": (heads * 128 + 2 * kv * 128, 4096), "o_proj": (4096, heads * 128)
    }  # fmt: skip
    assert LLAMA.state_elements(1000.0, plan) == 1000 * kv * 256
    assert LLAMA.peak_elements(plan) == (heads + kv) * 256
    assert broken(LLAMA, plan) == []


@pytest.mark.parametrize(("heads", "kv", "tp", "says"), [
    (32, 8, 3, "num_attention_heads = 32"), (48, 8, 6, "num_key_value_heads = 8"), (48, 8, 12, "num_key_value_heads = 8"),
    (32, 8, 64, "num_attention_heads = 32"), (48, 8, 24, ""), (48, 8, 4, ""),
])  # fmt: skip
def test_a_refusal_names_the_heads_that_cannot_be_cut(heads: int, kv: int, tp: int, says: str) -> None:
    said = broken(GQA(4096.0, float(heads), float(kv), 128.0, 128.0), Plan(tp=float(tp)))
    assert any(says in reason for reason in said) if says else said == []


@EXAMPLES
@given(st.integers(1, 16), st.integers(1, 16), st.integers(1, 32))
def test_a_plan_is_refused_where_some_rank_lacks_a_head_of_its_own(group: int, kv: int, tp: int) -> None:
    """Deal heads out by hand: whole query heads each, and K/V heads either in equal parts or each to equally many ranks."""
    heads = group * kv
    even = heads % tp == 0 and (kv % tp == 0 or tp % kv == 0)
    assert (broken(GQA(64.0, float(heads), float(kv), 8.0, 8.0), Plan(tp=float(tp))) == []) is even


def test_biases_and_sinks_of_gpt_oss() -> None:
    """gpt-oss-120b: 64 heads on 8, 64 wide; biases on all four projections, a sink a head; o's bias is whole on every rank."""
    found = shapes(block("gpt-oss-120b", "attention").weights(Plan(tp=2.0)))
    assert found == {
        "qkv_proj": (32 * 64 + 2 * 4 * 64, 2880), "o_proj": (2880, 32 * 64), "qkv_bias": (32 * 64 + 2 * 4 * 64,),
        "o_bias": (2880,), "sinks": (32,),
    }  # fmt: skip


def test_a_norm_a_head_is_whole_on_every_rank() -> None:
    """Qwen3-8B: 32 heads on 8, 128 wide, one norm of queries and one of keys."""
    assert shapes(block("qwen3-8b", "attention").weights(Plan(tp=4.0)))["qk_norm"] == (256,)
    full = GQA(4096.0, 32.0, 8.0, 128.0, 128.0, qk_norm="full")
    assert shapes(full.weights(Plan(tp=4.0)))["qk_norm"] == ((8 + 2) * 128,)
    assert "qk_norm" not in shapes(GQA(4096.0, 32.0, 8.0, 128.0, 128.0, qk_norm="weightless").weights(Plan()))
    biased = GQA(4096.0, 32.0, 8.0, 128.0, 128.0, qk_norm="head", qk_norm_bias=True)
    assert shapes(biased.weights(Plan()))["qk_norm"] == (512,)


def test_a_norm_over_all_heads_joins_the_squares_of_all_ranks() -> None:
    """Two sums of squares a token, in fp32: MiniMax-M2's per_layer norm; a norm of each head needs no other rank."""
    split = view(5.0, 1.0, 100.0, Plan(tp=4.0))
    sums = [
        moves(GQA(3072.0, 48.0, 8.0, 128.0, 128.0, qk_norm=norm).program(split)).get("qk_norm all-reduce")
        for norm in ("full", "head", "weightless", "none")
    ]
    assert sums == [("all_reduce", 40.0, 4.0, 1.0), None, None, None]


def test_a_prefill_by_hand() -> None:
    """Two prompts of 100 tokens behind 50 on two ranks of 16 heads."""
    program = LLAMA.program(view(2.0, 100.0, 50.0, Plan(tp=2.0)))
    assert products(program) == {"qkv_proj": (1, 200, 24 * 128, 4096), "o_proj": (1, 200, 4096, 16 * 128)}
    assert list(ops(program)) == ["qkv_proj", "rope", "kv write", "core", "o_proj", "all-reduce"]
    elements = {tag: op.elements for tag, op in ops(program).items() if isinstance(op, Stream)}
    assert elements == {"rope": 200 * 20 * 128, "kv write": 200 * 4 * 256}
    core = the_core(program)
    assert (core.batch, core.q_len, core.past, core.heads, core.kv_heads) == (2, 100, 50, 16, 4)
    assert moves(program) == {"all-reduce": ("all_reduce", 200 * 4096 * 2, 2, 1)}


def test_replicas_share_out_sequences() -> None:
    """Ten sequences over four replicas: the busiest has three."""
    program = LLAMA.program(view(10.0, 1.0, 99.0, Plan(dp_attention=4.0)))
    assert the_core(program).batch == 3
    assert products(program)["qkv_proj"][1] == 3


def test_a_prompt_beside_a_decode_step_has_a_core_of_its_own() -> None:
    """Eight sequences decode, 512 tokens of a prompt go along: linear layers see the sum."""
    program = LLAMA.program(view(8.0, 1.0, 999.0, decode=True, beside=(Tokens(1.0, 512.0, 128.0),)))
    assert products(program)["qkv_proj"][1] == products(program)["o_proj"][1] == 8 + 512
    found = ops(program)
    shape = {tag: (found[tag].batch, found[tag].q_len, found[tag].past) for tag in ("core", "prompt core")}  # type: ignore[attr-defined]
    assert shape == {"core": (8, 1, 999), "prompt core": (1, 512, 128)}


@pytest.mark.parametrize("method", ["ring", "all_gather"])
def test_context_parallel_ranks_gather_all_keys_of_a_prefill(method: str) -> None:
    program = LLAMA.program(view(1.0, 64.0, 32.0, Plan(tp=2.0, cp=4.0, cp_method=method)))
    core = the_core(program)
    assert 4 * core.mask.pairs(core.q_len, core.past) == sum(past + 1 for past in range(32, 96))
    assert moves(program)["keys and values"] == ("all_gather", (64 + 32) * 4 * 256 * 2, 4, 2)
    assert moves(program)["queries"][2] == moves(program)["partial outputs"][2] == 1


@pytest.mark.parametrize(("tp", "cp", "heads", "kv"), [(2, 4, 4, 1), (1, 4, 8, 2), (1, 16, 2, 1)])
def test_ulysses_gives_each_rank_all_tokens_of_some_heads(tp: int, cp: int, heads: int, kv: int) -> None:
    plan = Plan(tp=float(tp), cp=float(cp), cp_method="ulysses")
    core = the_core(LLAMA.program(view(1.0, 64.0, 0.0, plan)))
    assert (core.q_len, core.heads, core.kv_heads) == (64, heads, kv)
    assert LLAMA.state_elements(1000.0, plan) == 1000 * kv * 256
    assert broken(LLAMA, plan) == []


def test_ulysses_refuses_more_ranks_than_heads() -> None:
    (said,) = broken(LLAMA, Plan(cp=64.0, cp_method="ulysses"))
    assert "ulysses" in said


@pytest.mark.parametrize(
    ("tp", "cp", "refused"), [(1, 3, True), (1, 6, True), (2, 6, False), (1, 4, False), (3, 4, False), (1, 12, False)]
)
def test_ulysses_shares_out_whole_kv_heads(tp: int, cp: int, refused: bool) -> None:
    """48 query heads on 4 of keys and values, as StarCoder2-15B."""
    block = replace(LLAMA, num_attention_heads=48.0, num_key_value_heads=4.0)
    said = broken(block, Plan(tp=float(tp), cp=float(cp), cp_method="ulysses"))
    assert any("tp·cp (ulysses) must divide num_key_value_heads = 4" in text for text in said) is refused


# ---- windows and chunks --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "windows"), [
    ("gpt-oss-120b", {0: 128, 1: None, 34: 128, 35: None}),  # every other layer, 128 tokens
    ("gemma-3-27b", {0: 1024, 4: 1024, 5: None, 6: 1024, 11: None, 61: 1024}),  # five of six
    ("mistral-7b-v0.1", {0: 4096, 31: 4096}),
    ("llama-4-scout", {0: "chunk 8192", 2: "chunk 8192", 3: None, 47: None}),  # three of four in chunks
])  # fmt: skip
def test_layers_slide_where_the_published_config_says(name: str, windows: dict[int, int | str | None]) -> None:
    spec = model(name)
    for layer, wanted in windows.items():
        attention = next(b for b in spec.stacks[spec.order[layer]][1] if b.kind == "attention")
        assert attention.mask is not None
        said = "causal" if wanted is None else f"window {wanted}" if isinstance(wanted, int) else wanted
        assert attention.mask.label() == said, layer


@EXAMPLES
@given(st.integers(1, 40), st.integers(1, 80))
def test_a_window_bounds_the_cache(window: int, context: int) -> None:
    made = SlidingWindow(64.0, 4.0, 2.0, 16.0, 16.0, window=float(window))
    kept = len(range(max(context - window, 0), context))
    assert made.state_bytes(float(context), Plan(), dtype("bf16")) == kept * 2 * 32 * 2


@EXAMPLES
@given(st.integers(1, 12), st.integers(0, 30), st.integers(1, 20))
def test_core_flops_of_a_window_are_those_of_seen_pairs(q: int, past: int, window: int) -> None:
    made = SlidingWindow(64.0, 4.0, 2.0, 16.0, 8.0, window=float(window))
    pairs = sum(min(at + 1, window) for at in range(past, past + q))
    assert made.core_flops(float(q), float(past)) == pairs * 4 * 2 * (16 + 8)


def test_decode_ranks_share_the_keys_of_a_window() -> None:
    """1,024 keys of a window over four ranks are 256 each, whatever lies before it."""
    made = SlidingWindow(64.0, 4.0, 2.0, 16.0, 16.0, window=1024.0)
    core = the_core(made.program(view(2.0, 1.0, 8191.0, Plan(cp=4.0))))
    assert core.mask.keys(core.q_len, core.past) == 256


def test_a_chunk_that_begins_is_read_from_its_first_key() -> None:
    """Chunks of 64: behind 128 tokens a rank reads a key of the new chunk, and none of the old one."""
    made = SlidingWindow(64.0, 4.0, 2.0, 16.0, 16.0, chunk=64.0)
    core = the_core(made.program(view(2.0, 1.0, 128.0, Plan(cp=4.0))))
    assert 0 < float(np.asarray(core.mask.keys(core.q_len, core.past))) <= 1


def test_widths_of_k_and_v_may_differ() -> None:
    """MiMo-V2-Flash: K is 192 wide, V 128."""
    attention = block("mimo-v2-flash", "attention")
    assert isinstance(attention, GQA)
    assert (attention.head_dim, attention.v_head_dim) == (192, 128)
    h, kv = attention.heads(Plan())
    found = shapes(attention.weights(Plan()))
    assert found["qkv_proj"] == (h * 192 + kv * (192 + 128), 4096)
    assert found["o_proj"] == (4096, h * 128)
