"""Qwen4: attention over picked pools, gated residual streams and n-gram embeddings: shapes, states, steps by hand, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from blockkit import broken, moves, ops, products, shapes, the_core, view

from simcost.blocks.attention.gated_deltanet import GatedDeltaNet
from simcost.blocks.attention.qsa import QSA
from simcost.blocks.embed.ngram import NGramInput
from simcost.dtypes import dtype
from simcost.errors import SimcostError
from simcost.model import count
from simcost.model.spec import ModelSpec, from_config
from simcost.plan import Plan

CONFIG: dict[str, Any] = {
    "model_type": "qwen4_exp_text", "hidden_size": 2048, "num_hidden_layers": 40, "num_attention_heads": 16, "vocab_size": 248320, "torch_dtype": "bfloat16",
    "indexer_n_heads": 4, "indexer_kv_heads": 1, "indexer_head_dim": 128, "indexer_budget": 2048, "indexer_compress_ratio": 4, "ple_layer_ids": [1, 3],
}  # fmt: skip
CLASS = 149_297_648_768  # parameters of Hugging Face's Qwen4ExpForCausalLM with these keys


def read(**changes: Any) -> ModelSpec:
    return from_config({**CONFIG, **changes}, "x", "x.json")


def of(kind: type, model: ModelSpec | None = None) -> list[Any]:
    return [block for _, block in (model or read()).blocks() if isinstance(block, kind)]


QSA_BLOCK: QSA = of(QSA)[0]
GRAMS: NGramInput = of(NGramInput)[0]


def is_prime(number: int) -> bool:
    return all(number % divisor for divisor in range(2, int(number**0.5) + 1))


def test_the_whole_is_the_class_s() -> None:
    assert count.parameters(read())["params_total"] == CLASS
    grams = sum(w.count for block in of(NGramInput) for w in block.weights(Plan()))
    assert count.parameters(read(ple_layer_ids=[]))["params_total"] == CLASS - grams


def test_layers_and_what_stands_around_them() -> None:
    model = read()
    kinds = [type(next(b for b in model.stacks[i][1] if b.kind == "attention")) for i in model.order]
    assert kinds == [QSA if i % 4 == 3 else GatedDeltaNet for i in range(40)]
    names = [type(b).__name__ for b in model.stacks[model.order[0]][1]]
    assert names == [
        "NGramInput", "GatedResidual", "GatedDeltaNet", "GatedResidual", "GatedResidual", "MoE", "GatedResidual",
    ]  # fmt: skip
    assert [isinstance(model.stacks[i][1][0], NGramInput) for i in model.order[:4]] == [True, False, True, False]
    words = ["linear_attention"] * 3 + ["full_attention"]
    assert read(layer_types=words * 10).stacks == model.stacks


@pytest.mark.parametrize(("tp", "heads", "kv"), [(1, 16, 2), (4, 4, 1)])
def test_shapes_of_ranks(tp: int, heads: int, kv: int) -> None:
    found = shapes(QSA_BLOCK.weights(Plan(tp=float(tp))))
    assert found["qkv_proj"] == (heads * 512 + kv * 512, 2048)
    assert (found["index_qk_proj"], found["index_norms"]) == ((5 * 128, 2048), (256,))
    grams = shapes(GRAMS.weights(Plan(tp=float(tp))))
    assert grams["ngram_embedding"] == (GRAMS.rows, 128 / tp)
    assert (grams["ngram_key_proj"], grams["ngram_value_proj"]) == ((8192, 2048), (2048, 2048))


def test_pools_in_the_cache_stay_in_bf16() -> None:
    ring = 4 * 128 * 2
    assert QSA_BLOCK.state_elements(1001.0, Plan()) == 1001 * 1024 + 250 * 128
    assert QSA_BLOCK.state_bytes(1001.0, Plan(), dtype("fp8")) == 1001 * 1024 + 250 * 256 + ring
    assert QSA_BLOCK.state_formula == "K + V + indexer's key for 4 tokens: 2 heads x (256 + 256) + 128 / 4"
    assert QSA_BLOCK.token_elements(Plan(tp=2.0)) == 512


def test_a_decode_step_of_attention_by_hand() -> None:
    """Two sequences of 9,999 tokens: 2,499 pools are scored; 2,048 picked tokens and 3 of the incomplete pool are seen."""
    program = QSA_BLOCK.program(view(2.0, 1.0, 9998.0, decode=True))
    found = ops(program)
    assert list(found) == [
        "qkv_proj", "qk_norm", "index_qk_proj", "index q norm", "index q rope", "index pool + write", "rope", "index scores",
        "index top-k", "kv write", "core", "output gate", "o_proj", "all-reduce",
    ]  # fmt: skip
    assert products(program)["index_qk_proj"] == (1, 2, 640, 2048)
    assert found["index scores"].work().flops == 2 * 2499 * 4 * 259
    assert found["index scores"].work().bytes_read == 2 * 4 * 128 * 2 + 2 * 2499 * 128 * 2
    assert found["index top-k"].work().bytes_written == 4 * 2 * 512
    assert the_core(program).work().flops == 2 * 2 * 16 * 2051 * 512
    assert QSA_BLOCK.core_flops(1.0, 9998.0) == 2 * 16 * 2051 * 512 + 2499 * 4 * 259


def test_rows_of_a_table_are_primes_of_its_own() -> None:
    few = read(ngram_vocab_size_base=100, make_ngram_vocab_size_divisible_by=64)
    primes = [n for n in range(100, 2000) if is_prime(n)]
    sums = [sum(primes[:16]), sum(primes[16:32])]
    assert [block.rows for block in of(NGramInput, few)] == [-(-each // 64) * 64 for each in sums]


def test_n_grams_keep_columns_that_lie_apart() -> None:
    assert GRAMS.state_elements(1e6, Plan()) == 4 * 2048 * 3 * 3
    assert GRAMS.state_bytes(1e6, Plan(), dtype("fp8")) == 2 * 4 * 2048 * 9 + 8 * 2
    assert GRAMS.token_bytes(Plan(), dtype("bf16")) == 0
    assert GRAMS.state_formula == "columns of the convolution: 8192 channels x 9"
    assert any("cp must be 1" in reason for reason in broken(GRAMS, Plan(cp=2.0)))
    assert any("n-gram heads" in reason for reason in broken(GRAMS, Plan(tp=256.0)))


def test_a_step_of_n_grams_by_hand() -> None:
    program = GRAMS.program(view(3.0, 1.0, 99.0, Plan(tp=4.0), decode=True))
    found = ops(program)
    assert list(found) == [
        "ngram_embedding", "gather n-grams", "ngram_key_proj", "ngram_value_proj", "n-gram norms", "n-gram gate", "n-gram conv", "add n-grams",
    ]  # fmt: skip
    assert found["ngram_embedding"].work().bytes_read == 3 * 16 * (32 * 2 + 8)
    assert moves(program)["gather n-grams"] == ("all_gather", 3 * 2048 * 2, 4, 1)
    assert products(program)["ngram_key_proj"] == (1, 3, 8192, 2048)


def test_a_site_and_the_last_mix_by_hand() -> None:
    model = read()
    enter, leave = (b for b in model.stacks[model.order[1]][1][:3] if b.kind == "norm")
    program = enter.program(view(3.0, 1.0, 99.0))
    wide = 4 * 2048
    assert products(program) == {
        "attention_hc_down": (1, 3, 320, wide), "attention_hc_up": (1, 3, wide, 320), "attention_hc_inject": (1, 3, 4, wide),
    }  # fmt: skip
    assert ops(program)["attention_hc"].work().bytes_read == 3 * 2 * wide * 2
    assert ops(leave.program(view(3.0, 1.0, 99.0)))["attention_hc"].work().bytes_written == 3 * wide * 2
    head = shapes(model.head.weights(Plan()))
    assert head == {
        "last_mix_norm": (wide,), "last_mix_down": (320, wide), "last_mix_up": (wide, 320), "lm_head": (248320, 2048),
    }  # fmt: skip
    assert "final_norm" not in ops(model.head.program(view(3.0, 1.0, 99.0)))


def test_multi_token_prediction_is_attention_with_a_mix_of_its_own() -> None:
    (draft,) = read(mtp_num_hidden_layers=1).mtp
    assert [type(b).__name__ for b in draft.layer] == [
        "GatedResidual", "QSA", "GatedResidual", "GatedResidual", "MoE", "GatedResidual", "GatedResidual",
    ]  # fmt: skip


@pytest.mark.parametrize(("changes", "says"), [
    ({"indexer_n_heads": None}, "indexer_n_heads"), ({"indexer_kv_heads": 2}, "indexer_kv_heads"), ({"indexer_budget": 2046}, "multiple of indexer_compress_ratio"),
    ({"ple_layer_ids": [4]}, "not of linear_attention"), ({"ple_layer_ids": [41]}, "1 to 40"), ({"ple_embed_dim": 2050}, "ple_embed_dim"),
    ({"ngram_size": 1}, "ngram_size"), ({"hc_count": 1}, "hc_count"), ({"emb_neighbor_num": 2}, "n-gram"),
])  # fmt: skip
def test_what_is_not_of_the_class_is_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(SimcostError, match=says):
        read(**changes)
