"""The dense feed-forward layer, norms, and the ends of a model: shapes, programs and collectives by hand."""

from __future__ import annotations

import math

import pytest
from blockkit import block, broken, model, moves, ops, products, shapes, view
from hypothesis import given, settings
from hypothesis import strategies as st

from simcost.blocks.embed.embed import Embedding, Head
from simcost.blocks.ffn.dense import Dense
from simcost.blocks.norm.norm import Norm
from simcost.ops.stream import Stream
from simcost.plan import Plan

EXAMPLES = settings(max_examples=50, deadline=None, derandomize=True)
LLAMA = block("llama-3.1-8b", "ffn")


@pytest.mark.parametrize("tp", [1, 2, 8])
def test_a_gated_layer_is_cut_by_its_width(tp: int) -> None:
    """Llama-3.1-8B: three matrices of 4,096 x 14,336, gate and up as one product."""
    plan = Plan(tp=float(tp))
    assert shapes(LLAMA.weights(plan)) == {"gate_up_proj": (2 * 14336 // tp, 4096), "down_proj": (4096, 14336 // tp)}
    assert LLAMA.peak_elements(plan) == 3 * 14336 / tp
    assert broken(LLAMA, plan) == []


def test_a_plain_layer_has_two_matrices_and_maybe_biases() -> None:
    """OPT-125M: 768 wide, 3,072 inside, with biases; the bias after the sum over ranks is whole on every rank."""
    opt = block("opt-125m", "ffn")
    assert shapes(opt.weights(Plan(tp=2.0))) == {
        "up_proj": (1536, 768), "down_proj": (768, 1536), "up_bias": (1536,), "down_bias": (768,)
    }  # fmt: skip
    assert opt.peak_elements(Plan(tp=2.0)) == 2 * 1536


@EXAMPLES
@given(st.integers(1, 400), st.integers(1, 40))
def test_a_width_is_cut_into_equal_parts_or_refused(width: int, tp: int) -> None:
    said = broken(Dense(64.0, float(width)), Plan(tp=float(tp)))
    assert (said == []) is (width % tp == 0)
    assert all(f"intermediate_size = {width} cannot be cut into {tp} equal parts" in reason for reason in said)


def test_a_step_by_hand() -> None:
    """Three sequences of ten tokens on four ranks: 30 rows everywhere."""
    program = LLAMA.program(view(3.0, 10.0, 0.0, Plan(tp=4.0)))
    assert list(ops(program)) == ["gate_up_proj", "activation", "down_proj", "all-reduce"]
    assert products(program) == {"gate_up_proj": (1, 30, 7168, 4096), "down_proj": (1, 30, 4096, 3584)}
    act = ops(program)["activation"]
    assert isinstance(act, Stream)
    assert (act.elements, act.reads, act.writes) == (30 * 3584, 2, 1)
    assert moves(program) == {"all-reduce": ("all_reduce", 30 * 4096 * 2, 4, 1)}


def test_without_a_gate_the_activation_reads_one_tensor() -> None:
    act = ops(Dense(64.0, 256.0, gated=False).program(view(2.0, 1.0, 0.0)))["activation"]
    assert isinstance(act, Stream)
    assert (act.elements, act.reads) == (2 * 256, 1)


def test_under_sequence_parallelism_rows_come_and_go() -> None:
    program = LLAMA.program(view(3.0, 10.0, 0.0, Plan(tp=4.0, sequence_parallel="on")))
    assert moves(program) == {
        "all-gather": ("all_gather", 30 * 4096 * 2, 4, 1), "reduce-scatter": ("reduce_scatter", 30 * 4096 * 2, 4, 1)
    }  # fmt: skip
    assert products(program)["gate_up_proj"][1] == 30


def test_context_parallel_ranks_share_rows() -> None:
    program = LLAMA.program(view(1.0, 30.0, 0.0, Plan(cp=4.0)))
    assert products(program)["down_proj"][1] == math.ceil(30 / 4)


def test_narrow_layers_quantise_both_inputs() -> None:
    found = ops(LLAMA.program(view(3.0, 10.0, 0.0, form="fp8")))
    casts = {tag: op.elements for tag, op in found.items() if isinstance(op, Stream) and op.what == "quantise"}
    assert casts == {"quantise gate_up_proj input": 30 * 4096, "quantise down_proj input": 30 * 14336}


# ---- norms ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("vectors", "shape"), [(1.0, (64,)), (2.0, (128,)), (0.0, None)])
def test_a_norm_has_as_many_vectors_as_it_says(vectors: float, shape: tuple[int] | None) -> None:
    found = shapes(Norm("n", 64.0, vectors).weights(Plan(tp=8.0)))
    assert found == ({} if shape is None else {"n": shape})


@pytest.mark.parametrize(("residual", "tensors", "flops"), [(True, 2, 5), (False, 1, 4)])
def test_a_fused_addition_reads_and_writes_a_tensor_more(residual: bool, tensors: int, flops: int) -> None:
    work = ops(Norm("n", 64.0, residual=residual).program(view(3.0, 10.0, 0.0)))["n"].work()
    assert work.bytes_read == work.bytes_written == 30 * 64 * 2 * tensors
    assert work.flops == 30 * 64 * flops


@pytest.mark.parametrize(("plan", "rows"), [
    (Plan(tp=4.0), 30), (Plan(tp=4.0, sequence_parallel="on"), 8), (Plan(cp=4.0), 8),
])  # fmt: skip
def test_a_norm_runs_over_a_rank_s_own_rows(plan: Plan, rows: int) -> None:
    op = ops(Norm("n", 64.0).program(view(3.0, 10.0, 0.0, plan)))["n"]
    assert isinstance(op, Stream)
    assert op.elements == rows * 64


# ---- ends ----------------------------------------------------------------------------------------------------------------


@EXAMPLES
@given(st.integers(1, 5000), st.integers(1, 64))
def test_tables_are_cut_over_the_vocabulary_and_padded(vocabulary: int, tp: int) -> None:
    """Every rank has as many rows, together at least all, and not a whole round more."""
    plan = Plan(tp=float(tp))
    rows = shapes(Embedding(16.0, float(vocabulary)).weights(plan))["embed_tokens"][0]
    assert rows == shapes(Head(16.0, float(vocabulary)).weights(plan))["lm_head"][0] == int(rows)
    assert vocabulary <= rows * tp < vocabulary + tp
    assert broken(Embedding(16.0, float(vocabulary)), plan) == []


def test_an_embedding_looks_up_a_row_a_token() -> None:
    """Llama-3.1-8B on eight ranks: ranks join what each has of the vocabulary."""
    program = model("llama-3.1-8b").embedding.program(view(3.0, 10.0, 0.0, Plan(tp=8.0)))
    assert list(ops(program)) == ["embed_tokens", "all-reduce"]
    assert ops(program)["embed_tokens"].work().bytes_written == 30 * 4096 * 2
    assert moves(program)["all-reduce"] == ("all_reduce", 30 * 4096 * 2, 8, 1)


def test_learned_positions_and_a_norm_are_whole_on_every_rank() -> None:
    found = shapes(Embedding(16.0, 100.0, 2050.0, 2.0).weights(Plan(tp=4.0)))
    assert found == {"embed_tokens": (25, 16), "embed_positions": (2050, 16), "embed_norm": (32,)}


@pytest.mark.parametrize(("name", "tied"), [("llama-3.1-8b", False), ("llama-3.2-1b", True), ("gemma-2-9b", True)])
def test_a_tied_head_stores_no_table_and_reads_it_all_the_same(name: str, tied: bool) -> None:
    head = model(name).head
    assert ("lm_head" in shapes(head.weights(Plan()))) is not tied
    vocabulary, hidden = model(name).vocab_size, model(name).hidden_size
    assert products(head.program(view(2.0, 1.0, 0.0)))["lm_head"] == (1, 2, vocabulary, hidden)


def test_a_head_makes_logits_of_the_last_token_of_each_sequence() -> None:
    """Three prompts of ten tokens, a vocabulary of 128,256 over eight ranks: three rows of 16,032."""
    program = model("llama-3.1-8b").head.program(view(3.0, 10.0, 0.0, Plan(tp=8.0)))
    assert list(ops(program)) == ["final_norm", "lm_head", "gather logits", "softmax + sample"]
    assert products(program)["lm_head"] == (1, 3, 16032, 4096)
    assert moves(program)["gather logits"] == ("all_gather", 3 * 128256 * 2, 8, 1)
    sample, norm = ops(program)["softmax + sample"], ops(program)["final_norm"]
    assert isinstance(sample, Stream)
    assert isinstance(norm, Stream)
    assert sample.elements == 3 * 16032
    assert norm.elements == 3 * 4096


def test_drafts_need_more_rows() -> None:
    program = model("llama-3.1-8b").head.program(view(3.0, 4.0, 100.0, logits=4.0))
    assert products(program)["lm_head"][1] == 12


@pytest.mark.parametrize("bias", [False, True])
def test_a_bias_of_the_head_is_cut_with_its_table(bias: bool) -> None:
    found = shapes(Head(16.0, 101.0, bias=bias).weights(Plan(tp=4.0)))
    assert found == {"final_norm": (16,), "lm_head": (26, 16), **({"lm_head_bias": (26,)} if bias else {})}


def test_a_module_that_predicts_one_more_token_joins_two_states() -> None:
    """DeepSeek-V3: three norms, a projection of twice the width, and a layer of its own."""
    (mtp,) = model("deepseek-v3").mtp
    plan = Plan(tp=8.0, mla_form="absorbed")
    own = shapes(mtp.weights(plan))
    assert own["eh_proj"] == (7168, 2 * 7168)
    assert own["mtp_norms"] == (3 * 7168,)
    layer = {name: shape for one in mtp.layer for name, shape in shapes(one.weights(plan)).items()}
    assert own == {"eh_proj": (7168, 14336), "mtp_norms": (21504,), **layer}
    assert mtp.state_elements(1000.0, plan) == 1000 * 576
    found = products(mtp.program(view(4.0, 1.0, 9.0, plan)))
    assert found["eh_proj"] == (1, 4, 7168, 14336)
    assert found["q_b_proj"] == (1, 4, 3072, 1536)


def test_rules_of_a_module_are_those_of_its_layer() -> None:
    (mtp,) = model("deepseek-v3").mtp
    plan = Plan(tp=3.0)
    assert broken(mtp, plan) == [reason for one in mtp.layer for reason in broken(one, plan)] != []
