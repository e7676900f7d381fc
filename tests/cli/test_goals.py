"""sensitivity, --solve and --for at the terminal."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from simcost.cli import app

BASE = ["--model", "llama-3.1-8b", "--hw", "h200"]


def test_sensitivity_prints_a_ranked_table(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    assert app.run(["sensitivity", *BASE, "--batch", "8"]) == 0
    text = capsys.readouterr().out
    assert "model.num_hidden_layers" in text
    assert "--details shows more: " in text
    assert "table 'without effect'" in text
    assert max(map(len, text.splitlines())) <= 120
    for column in ("elasticity", "interval", "tied", "tried"):
        assert column in text


def test_sensitivity_draws(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    target = tmp_path / "tornado.svg"
    assert app.run(["sensitivity", *BASE, "--only", "hw", "--plot", str(target), "-o", str(tmp_path / "out.json")]) == 0
    drawn = target.read_text(encoding="utf-8")
    assert drawn.startswith("<?xml")
    rows = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))["rows"]
    assert {"sensitivity", "without effect"} == {row["table"] for row in rows}


def test_solve_answers_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.run(["decode", *BASE, "--solve", "hw.memory.bandwidth", "--for", "tpot=7ms", "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["metrics"]["tpot_s"] == pytest.approx(7e-3, rel=1e-6)
    assert found["inputs"]["solved_for"] == "hw.memory.bandwidth"
    assert found["inputs"]["goal"] == "tpot <= 7 ms"


def test_what_the_verdict_of_a_solution_says_stands_on_the_page_once(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["decode", *BASE, "--solve", "hw.memory.bandwidth", "--for", "tpot=7ms"]
    assert app.run(words) == 0
    short = capsys.readouterr().out
    assert app.run([*words, "--details"]) == 0
    long = capsys.readouterr().out
    assert "solved value" in long
    assert "solved value" not in short
    asked = short.partition("\n\n")[0]
    assert "hw.memory.bandwidth solved for tpot <= 7 ms" in asked.replace("\n", " ")
    assert "hw.memory.bandwidth=" not in asked


def test_solve_prefill_and_strict(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.run(["prefill", *BASE, "--solve", "isl", "--for", "ttft<=200ms", "--strict"]) == 0
    assert "ttft <= 200 ms holds with isl at most" in capsys.readouterr().out.replace("\n", " ")
    assert app.run(["prefill", *BASE, "--solve", "hw.peak.bf16", "--for", "ttft<=1ms", "--strict"]) == 3


@pytest.mark.parametrize(("words", "said"), [
    (["--solve", "batch"], "--solve and --for go together"), (["--for", "tpot=1ms"], "--solve and --for go together"),
    (["--solve", "batch", "--solve", "context", "--for", "tpot=1ms"], "--solve is given twice"), (["--solve", "batch", "--for", "tpot=9ms", "--batch", "4"], "'batch' is given twice: --batch 4 and --solve batch"),
    (["--solve=context", "--context=5", "--for", "tpot=9ms"], "'context' is given twice: --context 5 and --solve context"), (["--solve", "plan.gpus", "--gpus", "4", "--for", "tpot=9ms"], "'plan.gpus' is given twice"),
    (["--solve", "batch", "--for", "tpot=9ms", "--vary", "context=1,2"], "use --set instead of --vary"), (["--solve", "batch=4", "--for", "tpot=9ms"], "give only the key of the number"),
    (["--solve", "hw.price.usd_per_hour", "--price", "4", "--for", "usd=1"], "'hw.price.usd_per_hour' is given twice"),
])  # fmt: skip
def test_refusals_are_one_line(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.run(["decode", *BASE, *words]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
