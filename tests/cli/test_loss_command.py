"""loss, list scaling-laws, show scaling-law at the terminal."""

from __future__ import annotations

import json

import pytest

import simcost
from simcost.cli.app import run


def answer(words, capsys):
    assert run([*words, "--format", "json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_a_dense_model_inside_the_range(capsys):
    found = answer(["loss", "--model", "llama-3.2-1b", "--tokens", "100B"], capsys)
    rows = {(row["table"], row.get("scaling_law")): row for row in found["rows"]}
    refit = rows["loss", "besiroglu-2024"]
    assert refit["loss"] == pytest.approx(1.8172 + 482.01 / 1235814400**0.3478 + 2085.43 / 100e9**0.3658)
    assert refit["loss_low"] < refit["loss"] < refit["loss_high"]
    assert rows["loss", "hoffmann-2022"]["loss_low"] is None
    best = rows["compute-optimal", "besiroglu-2024"]
    assert best["training_flops"] == pytest.approx(6 * 1235814400 * 100e9)
    assert best["tokens_over_optimal"] == pytest.approx(100e9 / best["optimal_tokens"])
    assert best["loss_over_optimal"] == pytest.approx(refit["loss"] - best["optimal_loss"])
    assert 0 < best["loss_over_optimal"] < 0.1
    silent = {
        (row["scaling_law"], row["asked_for"]): row["why"] for row in found["rows"] if row["table"] == "no number"
    }
    assert (
        silent["clark-2022-hash", "loss"]
        == "parameters: 973.1 M (fitted: 15 M to 900 M); tokens: 100 B (fitted: 130 B)"
    )
    assert "not verified" in silent["abnar-2025", "loss"]
    assert "not training tokens" in silent["kaplan-2020", "loss"]
    # Every law is either heard or has a reason.
    heard = {row["scaling_law"] for row in found["rows"]}
    assert heard == {row["scaling_law"] for row in simcost.list_scaling_laws().rows} - {"tian-2025"}  # a law of MoE
    assert found["metrics"] == {"laws": len(heard) + 1, "laws_of_sizes": 5, "laws_of_loss": 3}


def test_the_frontier_gets_no_number(capsys):
    found = answer(["loss", "--model", "deepseek-v3", "--tokens", "14.8T"], capsys)
    assert {row["table"] for row in found["rows"] if "table" in row} <= {"no number"}
    assert all(row["why"] for row in found["rows"])
    assert found["metrics"]["laws_of_loss"] == found["metrics"]["laws_of_sizes"] == 0


def test_as_far_as_the_sources_went(capsys):
    found = answer(["loss", "--model", "llama-3.1-405b", "--tokens", "15.6T", "--range", "published"], capsys)
    best = {row["scaling_law"]: row for row in found["rows"] if row.get("table") == "compute-optimal"}
    assert best["llama-3-2024"]["optimal_tokens"] == pytest.approx(16.3e12, rel=0.01)
    assert best["llama-3-2024"]["tokens_over_optimal"] == pytest.approx(0.96, abs=0.01)
    assert any("beyond what they fitted" in line for line in found["warnings"])


def test_a_moe_has_a_dense_twin(capsys):
    words = [
        "loss",
        "--model",
        "qwen3-30b-a3b",
        "--set",
        "model.num_experts=512",
        "--tokens",
        "1T",
        "--range",
        "published",
    ]
    found = answer(words, capsys)
    loss = next(row for row in found["rows"] if row.get("table") == "loss")
    assert (loss["scaling_law"], loss["counted_as"]) == (
        "krajewski-2024",
        "all parameters without embeddings and routers",
    )
    active = simcost.show_model("qwen3-30b-a3b", {"model.num_experts": 512}).metrics["params_active_all"]
    assert active < loss["dense_params"] < loss["law_params"]
    # The dense formula of the same table has that loss at the twin.
    dense = 0.47 + 16.3 / loss["dense_params"] ** 0.126 + 26.7 / 1e12**0.127
    assert dense == pytest.approx(loss["loss"], rel=1e-9)


def test_a_compute_alone(capsys):
    found = answer(["loss", "--training-flops", "1e20"], capsys)
    best = {row["scaling_law"]: row for row in found["rows"] if row.get("table") == "compute-optimal"}
    assert set(best) == {
        "besiroglu-2024",
        "deepseek-llm-2024",
        "hoffmann-2022",
        "hoffmann-2022-approach-1",
        "kaplan-2020-compute",
        "krajewski-2024",
        "llama-3-2024",
        "ludziejewski-2025",
    }
    assert best["deepseek-llm-2024"]["optimal_flops_per_token"] * best["deepseek-llm-2024"][
        "optimal_tokens"
    ] == pytest.approx(1e20, rel=2e-3)


def test_every_law_is_heard_or_has_a_reason(capsys):
    every = {row["scaling_law"] for row in simcost.list_scaling_laws().rows}
    for words in (["--training-flops", "1e20"], ["--model", "mixtral-8x7b", "--tokens", "1T"]):
        assert {row["scaling_law"] for row in answer(["loss", *words], capsys)["rows"]} == every


def test_changed_models_are_asked(capsys):
    plain, wide = (
        answer(["loss", "--model", "llama-3.2-1b", "--tokens", "1e11", *more], capsys)["rows"][0]["loss"] for more in ([], ["--set", "model.intermediate_size=16384"])
    )  # fmt: skip
    assert wide < plain


def test_a_law_in_full(capsys):
    found = answer(["show", "scaling-law", "besiroglu-2024"], capsys)
    beta = next(row for row in found["rows"] if row.get("coefficient") == "beta")
    assert (beta["value"], beta["standard_error"]) == (0.3658, 0.02)
    assert run(["show", "scaling-law", "krajewski-2024"]) == 0
    text = capsys.readouterr().out
    assert "L = c + (g/G^gamma + a)/N^alpha + b/D^beta" in text
    assert "129 M to 3.7 B" in text


def test_every_answer_fits_a_narrow_terminal(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    for words in (
        ["loss", "--model", "deepseek-v3", "--tokens", "14.8T"],
        ["loss", "--model", "llama-3.2-1b", "--tokens", "100B"],
        ["list", "scaling-laws"],
    ):
        assert run(words) == 0
        lines = capsys.readouterr().out.splitlines()
        assert max(map(len, lines)) <= 80
        assert not any("not shown" in line and " why" in line for line in lines)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "loss needs either --model with --tokens, or --training-flops alone"),
        (["--model", "llama-2-7b"], "loss needs either --model with --tokens"),
        (["--tokens", "2T"], "loss needs either --model with --tokens"),
        (
            ["--model", "llama-2-7b", "--tokens", "2T", "--training-flops", "1e21"],
            "loss needs either --model with --tokens",
        ),
        (["--training-flops", "1e21", "--set", "model.hidden_size=4096"], "loss needs either --model with --tokens"),
        (["--model", "llama-2-7b", "--tokens", "2"], "--tokens = 2 is outside 1,000 to 9,000 T"),
        (["--model", "llama-2-7b", "--tokens", "2Q"], "unit 'Q'"),
        (["--model", "llama-2-7b", "--tokens", "2T", "--range", "fited"], "did you mean 'fitted'"),
        (["--model", "llama-2-7b", "--tokens", "2T", "--set", "plan.tp=2"], "does not apply to loss"),
        (["--model", "lama-2-7b", "--tokens", "2T"], "did you mean 'llama-2-7b'"),
    ],
)
def test_what_is_wrong_is_one_line(words, said, capsys):
    assert run(["loss", *words]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
