"""compare --phase train: each column is the design's own step, published activations and caches, and what is refused."""

from __future__ import annotations

from functools import cache

import pytest

import simcost
from simcost import metrics
from simcost.cli.app import run
from simcost.result import Result

MODELS = ("llama-3.1-8b", "qwen3-30b-a3b")


@cache
def compared() -> Result:
    return simcost.compare(MODELS, "h200", gpus=64, phase="train", global_batch=256, variants=["attention=mha", "attention=gqa:2", "plan.tp=2"])  # fmt: skip


def test_a_column_is_the_step_of_its_design_alone() -> None:
    rows = compared().tables["designs"]
    alone = [
        simcost.train("llama-3.1-8b", "h200", 64, global_batch=256, levers=False),
        simcost.train("qwen3-30b-a3b", "h200", 64, global_batch=256, levers=False),
        simcost.train("llama-3.1-8b", "h200", 64, global_batch=256, levers=False, set={"model.attention": "mha"}),
        simcost.train("llama-3.1-8b", "h200", 64, global_batch=256, levers=False, set={"model.attention": "gqa:2"}),
        simcost.train("llama-3.1-8b", "h200", 64, global_batch=256, levers=False, set={"plan.tp": 2}),
    ]
    for row, one in zip(rows, alone, strict=True):
        for name in ("step_s", "step_low_s", "step_high_s", "mfu", "tokens_per_s_per_gpu", "memory_peak_bytes", "training_flops_per_token", "fits"):  # fmt: skip
            assert row[name] == one.metrics[name], (row["design"], name)
        parts = [row[f"{part}_bytes"] for part in ("parameter", "gradient", "optimizer", "activation", "other")]
        assert sum(parts) == pytest.approx(row["memory_peak_bytes"])


def test_activations_and_caches_are_the_published_ones() -> None:
    """139,392 B of a token in a layer of Llama-3-8B, and 274,688 of Llama-70B, 34,336 of them on a rank of tp 8 with sequence parallelism; caches 2 x 8 x 128 x 2 B x layers, MLA (512 + 64) x 2 B x 61."""
    (row,) = [row for row in compared().tables["designs"] if row["design"] == "llama-3.1-8b"]
    assert row["activation_bytes_per_token_per_layer"] == 139392
    assert row["kv_bytes_per_token"] == 2 * 8 * 128 * 2 * 32
    cut = simcost.compare(
        ["llama-3.1-70b", "llama-3.1-8b"], "h200", gpus=64, phase="train", set={"plan.tp": 8, "plan.sequence_parallel": "on"}
    ).tables["designs"][0]  # fmt: skip
    assert cut["activation_bytes_per_token_per_layer"] == 34336
    many = simcost.compare(
        ["deepseek-v3"], "h200", gpus=512, phase="train", variants=["attention=gqa:8", "attention=mha"], set={"plan.pp": 8, "plan.ep": 64}
    ).tables["designs"]  # fmt: skip
    assert [row["kv_bytes_per_token"] for row in many] == [61 * 576 * 2, 61 * 2 * 8 * 128 * 2, 61 * 2 * 128 * 128 * 2]


def test_ranked_by_tokens_a_second_with_a_probability() -> None:
    found = compared()
    rows = {row["design"]: row for row in found.tables["designs"]}
    best = max(rows.values(), key=lambda row: row["tokens_per_s_per_gpu"])
    assert found.metrics["best_tokens_per_s_per_gpu"] == best["design"]
    assert best["speed_versus_best"] == 0
    assert best["speed_probability_behind"] is None
    for row in rows.values():
        if row is not best:
            assert row["speed_versus_best"] == pytest.approx(row["tokens_per_s_per_gpu"] / best["tokens_per_s_per_gpu"] - 1.0)  # fmt: skip
            assert 0.5 < row["speed_probability_behind"] < 1.0
            assert row["speed_best_or_tied"] == (row["speed_probability_behind"] <= 0.95)
    # A slower design is surer to be slower than a near one, and half the layers are surely faster.
    mha, gqa = rows["llama-3.1-8b: attention=mha"], rows["llama-3.1-8b"]
    assert mha["speed_probability_behind"] > gqa["speed_probability_behind"]
    halved = simcost.compare(["llama-3.1-8b"], "h200", gpus=64, phase="train", variants=["num_hidden_layers=16"])
    assert halved.metrics["best_tokens_per_s_per_gpu"] == "num_hidden_layers=16"
    assert not halved.tables["designs"][0]["speed_best_or_tied"]
    assert "tied" not in halved.verdict


def test_terms_add_up_to_the_step_and_the_largest_difference_comes_first() -> None:
    found = compared()
    terms = found.tables["terms"]
    for row in found.tables["designs"]:
        assert sum(term[f"{row['design']}_s"] or 0.0 for term in terms) == pytest.approx(row["step_s"], rel=1e-6)
    spreads = [term["spread_s"] for term in terms]
    assert spreads == sorted(spreads, reverse=True)


def test_a_moe_against_a_dense_design_of_equal_flops() -> None:
    rows = simcost.compare(
        ["mixtral-8x7b"], "h200", gpus=64, phase="train", variants=["ffn=dense,iso=flops,plan.ep=1"], set={"plan.ep": 8, "plan.zero_stage": 3}
    ).tables["designs"]  # fmt: skip
    moe, dense = rows
    assert dense["training_flops_per_token"] == pytest.approx(moe["training_flops_per_token"], rel=2e-3)
    assert dense["params_total"] < 0.3 * moe["params_total"]
    assert dense["params_active_no_embedding"] == pytest.approx(moe["params_active_no_embedding"], rel=2e-3)


def test_all_designs_train_one_batch_and_a_plan_that_breaks_a_rule_is_a_row() -> None:
    found = simcost.compare(["llama-3.1-8b"], "h200", gpus=64, phase="train", variants=["plan.pp=4", "plan.pp=3", "plan.pp=4,plan.gpus=32"])  # fmt: skip
    rows = found.tables["designs"]
    assert [row.get("global_batch") for row in rows] == [256, 256, None, 256]
    assert [row.get("gpus") for row in rows] == [64, 64, None, 32]
    assert "64 GPUs cannot be divided into copies" in rows[2]["reason"]
    assert "plan.pp=3" in found.verdict
    assert not found.fits


def test_names_are_known_and_notes_of_all_designs_stand_once() -> None:
    found = compared()
    for name in {*found.metrics, *(name for row in found.tables["designs"] for name in row)}:
        assert metrics.find(name) is not None, name
    assert next(line for line in found.warnings if "the step is of precision bf16" in line).startswith("the step")
    assert found.to_dict()["inputs"]["phase"] == "train"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--phase", "train", "--context", "4096"], "--context does not apply to compare --phase train: leave it out"),
        (["--micro-batch", "2"], "--micro-batch does not apply to compare of decode and prefill: add --phase train"),
        (["--phase", "decode"], "--phase decode: compare prices decode and prefill together; only --phase train can be set"),
        (["--phase", "train", "--stack", "megatron"], "megatron"),
        (["--phase", "train", "--flops-convention", "palmm"], "did you mean 'palm'?"),
        (["--phase", "train", "--variant", "micro_batch=2"], "'micro_batch' belongs to the step, which is the same for all designs"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["compare", *MODELS, "--hw", "h200", "--gpus", "64", *words]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
