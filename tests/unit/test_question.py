"""A page says what was asked: plan, batch, lengths and formats; a CSV stays clean."""

from __future__ import annotations

import pytest

import simcost
from simcost.cli.app import run
from simcost.report.cells import span

H200 = ["--hw", "h200"]
ASKED = {
    "decode": (["decode", "--model", "deepseek-v3", *H200, "--batch", "64", "--set", "plan.tp=8"],
               "deepseek-v3 on 8 x h200: tp=8, batch 64, context 4,096, weights fp8_block (rest bf16), compute fp8_block (rest bf16), cache bf16, activations bf16"),
    "prefill": (["prefill", "--model", "llama-3.1-8b", *H200, "--past", "512"], "llama-3.1-8b on 1 x h200: batch 1, isl 4,096, past 512, weights bf16"),
    "sweep": (["decode", "--model", "llama-3.1-8b", *H200, "--vary", "batch=1,8", "--set", "plan.tp=2"],
              "llama-3.1-8b on h200: context 4,096, plan.tp=2, batch varied"),
    "what if": (["decode", "--model", "llama-3.1-8b", *H200, "--set", "model.num_hidden_layers=16", "--price", "2"],
                "activations bf16, model.num_hidden_layers=16, $2.00 per GPU hour"),
    "one engine": (["decode", "--model", "llama-3.1-8b", *H200, "--engine", "vLLM"], "activations bf16, engine vllm"),
    "designs by one engine": (["compare", "dbrx", "llama-3.1-8b", *H200, "--set", "plan.tp=8", "--set", "engine=sglang"],
                              "isl 4,096, engine sglang"),
    "plans by one engine": (["plans", "--model", "llama-3.1-8b", *H200, "--gpus", "2", "--engine", "trtllm"], ", engine trtllm"),
    "engines": (["decode", "--model", "llama-3.1-8b", *H200, "--vary", "engine=any,vllm"], "context 4,096, engine varied"),
    "compare": (["compare", "dbrx", "llama-3.1-8b", *H200, "--gpus", "16", "--set", "plan.tp=8"],
                "dbrx / llama-3.1-8b on 16 x h200: tp=8, dp=2, batch 1, prefill batch 2, context 4,096, isl 4,096"),
    "explain": (["explain", "--model", "dbrx", *H200, "--set", "plan.ep=8", "--set", "routing=zipf:0.5"],
                "dbrx on 8 x h200: dp_attention=8, ep=8, batch 1, context 4,096, routing zipf:0.5, weights bf16"),
    "plans": (["plans", "--model", "llama-3.1-70b", *H200, "--gpus", "8", "--tpot", "30ms"],
              "llama-3.1-70b on 8 x h200: context 4,096, the best batch, TPOT at most 30 ms, ranked by output tokens/s per GPU"),
}  # fmt: skip


@pytest.mark.parametrize("name", ASKED)
def test_a_page_says_what_was_asked(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    words, line = ASKED[name]
    for style in ("console", "markdown"):
        assert run([*words, "--format", style]) == 0
        assert line in capsys.readouterr().out
    assert run([*words, "--format", "csv"]) == 0
    assert line not in capsys.readouterr().out


def test_other_pages_have_no_such_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["show", "model", "dbrx"]) == 0
    assert " on 1 x" not in capsys.readouterr().out


def test_inputs_hold_the_engine_and_the_middle_of_engines_goes_without_saying() -> None:
    ask = ("llama-3.1-8b", "h200")
    assert simcost.decode(*ask, set={"engine": "VLLM"}).inputs["engine"] == "vllm"
    assert simcost.prefill(*ask, engine="sglang").inputs["engine"] == "sglang"
    plain = simcost.decode(*ask)
    assert plain.inputs["engine"] == "any"
    assert "engine any" not in str(plain)
    assert "engine" not in simcost.decode(*ask, vary={"engine": ["any", "vllm"]}).inputs


@pytest.mark.parametrize("style", ["console", "markdown"])
def test_an_interval_shows_both_ends(
    style: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    words = ["explain", "--model", "llama-3.1-8b", "--hw", "gaudi2"]
    assert run([*words, "--format", style]) == 0
    text = capsys.readouterr().out
    row = next(r for r in simcost.explain("llama-3.1-8b", "gaudi2").rows if r.get("op") == "attention / core")
    assert row["high_s"] / row["time_s"] > 2.0
    assert span(row["step_low_s"], row["step_high_s"]) in text
    assert f"{100 * row['half_width']:.1f} %" not in text
