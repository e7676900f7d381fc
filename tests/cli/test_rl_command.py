"""The rl command: what it prints and writes, and how it refuses."""

from __future__ import annotations

import json

import pytest

from simcost.cli.app import run

LINE = (
    "rl --model llama-3.1-8b --hw h100 --gpus 16 --prompts 16 --samples 8 --isl 256 --osl lognormal:1k:0.6 --max-osl 4k --minibatches 2 "
    "--rollout tp=1 --train recompute=full --no-levers"
)


def test_it_prints_phases_and_memory(capsys) -> None:
    assert run([*LINE.split(), "--reward", "0.1s:8", "--steps", "100", "--micro-batch", "2"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    for word in (
        "a step takes",
        "phases",
        "old log-probs",
        "weight sync",
        "memory by phase",
        "KV pool",
        "the run",
        "goodput",
        "2 sequences without padding",
    ):
        assert word in out, word


def test_json_and_details(capsys, tmp_path) -> None:
    path = tmp_path / "step.json"
    assert run([*LINE.split(), "--async", "partial", "-o", str(path)]) == 0
    document = json.loads(path.read_text(encoding="utf-8"))
    assert document["command"] == "rl"
    assert document["metrics"]["staleness_updates"] == 1
    assert document["units"]["rollout_s"] == "s"


def test_strict_where_memory_is_short(capsys) -> None:
    line = LINE.replace("--train recompute=full", "--train tp=1")
    assert run([*line.split(), "--strict"]) == 3
    assert "nearest change that fits" in " ".join(capsys.readouterr().out.split())


def test_a_picture(tmp_path) -> None:
    pytest.importorskip("matplotlib")
    path = tmp_path / "step.svg"
    assert run([*LINE.split(), "--timeline", str(path)]) == 0
    text = path.read_text(encoding="utf-8")
    assert "old log-probs" in text
    assert "all GPUs" in text


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--placement", "disaggregated"], "write colocated, or disaggregated:N"),
        (["--async", "full:x"], "full:N"),
        (["--reward", "1s"], "0.5s:64"),
        (["--algorithm", "grop"], "did you mean 'grpo'"),
        (["--kept", "0.5"], "but grpo does not"),
        (["--set", "plan.ep=8"], "use --rollout ep=8"),
        (["--offload", "engine", "--placement", "disaggregated:8"], "it applies to --placement colocated only"),
        (["--tool-wait", "1s"], "need --turns 2 or more"),
    ],
)
def test_refusals_are_one_line(more, said, capsys) -> None:
    assert run([*LINE.split(), *more]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1
