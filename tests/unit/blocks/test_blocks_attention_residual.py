"""Attention residuals: which copies a sublayer reads, what they weigh, hold and move, and Kimi-K3 as a whole."""

from __future__ import annotations

from typing import Any

import pytest
from blockkit import ops, view

import simcost
from simcost.blocks.attention.kda import KDA
from simcost.blocks.ffn.moe import MoE
from simcost.blocks.norm.attention_residual import AttentionResidual, AttentionResidualHead
from simcost.model import count, load
from simcost.model.spec import ModelSpec, from_config
from simcost.ops.stream import Stream
from simcost.plan import Plan

NORM = AttentionResidual("ffn_norm", 64.0, copies=3.0)


def k3(**change: Any) -> ModelSpec:
    config = load.load_config("kimi-k3")[2]
    return from_config({**config, "text_config": {**config["text_config"], **change}}, "m", "m")


def test_a_sublayer_weighs_a_norm_a_score_and_holds_the_copies() -> None:
    assert sum(w.count for w in NORM.weights(Plan())) == 64 + 2 * 64
    assert NORM.peak_elements(Plan()) == 3 * 64


def test_the_kernel_reads_output_stream_and_copies_and_writes_stream_and_sum() -> None:
    (op,) = ops(NORM.program(view(8, 1, 100))).values()
    assert isinstance(op, Stream)
    assert op.work().bytes == 8 * 64 * 2 * ((1 + 1 + 3) + 2)


@pytest.mark.parametrize(("size", "layer", "read"), [
    (12, 0, [0, 1]), (12, 1, [1, 1]), (12, 11, [1, 1]), (12, 12, [1, 2]), (12, 92, [8, 8]), (93, 92, [1, 1]), (1, 5, [5, 6]),
])  # fmt: skip
def test_copies_by_layer(size: int, layer: int, read: list[float]) -> None:
    model = k3(attn_res_block_size=size)
    assert [b.copies for b in model.stacks[model.order[layer]][1] if isinstance(b, AttentionResidual)] == read


def test_kimi_k3_has_gates_of_two_kinds_and_a_normed_latent() -> None:
    model = load.load("kimi-k3")
    blocks = [block for _, block in model.blocks()]
    assert {b.full_rank for b in blocks if isinstance(b, KDA)} == {("output",)}
    assert {(b.moe_latent_size, b.latent_norm) for b in blocks if isinstance(b, MoE)} == {(3584.0, True)}
    assert isinstance(model.head, AttentionResidualHead)
    assert model.head.copies == 8
    # bf16 but for the experts: 4 bits, and 8 of scale for 32
    assert count.weight_bytes(model, Plan()) == pytest.approx(1.5608e12, rel=1e-4)


def test_without_its_key_a_model_has_one_stream_and_its_size_stands() -> None:
    with_copies, without = (count.parameters(m)["params_language"] for m in (k3(), k3(attn_res_block_size=None)))
    assert with_copies - without == (93 * 2 + 1) * 2 * 7168
    plain, normed = (count.parameters(m)["params_language"] for m in (k3(latent_moe_use_norm=False), k3()))
    assert normed - plain == 92 * 3584
    narrow = k3(linear_attn_config={**load.load_config("kimi-k3")[2]["text_config"]["linear_attn_config"], "use_full_rank_gate": False})  # fmt: skip
    assert with_copies - count.parameters(narrow)["params_language"] == 69 * (7168 * 12288 - 128 * (7168 + 12288))


def test_explain_joins_what_equal_kernels_of_several_stacks_take() -> None:
    point = {"plan.tp": 16, "batch": 1}
    by_time, by_order = (simcost.explain("kimi-k3", "h200", set=point, order=order) for order in ("time", "execution"))
    experts = [row for row in by_time.tables["ops"] if row["op"] == "moe / experts"]
    assert [row["part"] for row in experts] == ["KDA + MoE x68", "MLA + MoE x24"]
    each = [row for row in by_order.tables["ops"] if row["op"] == "moe / experts"]
    assert len(each) > 2
    assert sum(row["step_s"] for row in each) == pytest.approx(sum(row["step_s"] for row in experts))
    assert sum(row["times"] for row in experts) == 92
