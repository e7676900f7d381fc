"""Options that contradict, one given twice, a format and a file's suffix; and a command that is interrupted."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from simcost import api
from simcost.cli.app import run

DECODE = ["decode", "--model", "llama-3.1-8b", "--hw", "h200"]


@pytest.mark.parametrize(("words", "said"), [
    ([*DECODE, "--hw", "h100"], "--hw is given twice"), ([*DECODE, "--hw=h200"], "--hw is given twice"),
    (["decode", "--model", "a", "--hw", "h200", "--model", "b"], "--model is given twice"),
    ([*DECODE, "--batch", "1", "--batch", "1"], "--batch is given twice"),
    ([*DECODE, "-o", "a.csv", "--output", "b.csv"], "--output is given twice"),
    ([*DECODE, "-oa.csv", "-o", "b.csv"], "-o is given twice"),
    (["calibrate", "report", "h200", "--family", "gemm", "--family", "experts"], "--family is given twice"),
])  # fmt: skip
def test_an_option_with_one_value_is_given_once(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(words) == 2
    found = capsys.readouterr()
    assert found.out == ""
    assert found.err == f"simcost: {said}: it takes one value\n"


def test_options_with_several_values_flags_and_values_that_look_like_options_may_repeat(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert (
        run([*DECODE, "--set", "plan.tp=2", "--set", "plan.dp=1", "--vary", "batch=1,2", "--vary", "context=64,128"])
        == 0
    )
    assert run([*DECODE, "--strict", "--strict"]) == 0
    assert run(["show", "model", "dbrx", "--set", "--set"]) == 2
    assert "write path=value" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["a.csv", "a.md", "a.json", "A.CSV", "a.txt"])
def test_the_suffix_of_a_file_is_its_format(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*DECODE, "-o", str(tmp_path / name)]) == 0
    text = (tmp_path / name).read_text()
    assert ("simcost: note: " in capsys.readouterr().err) == name.lower().endswith("csv")
    if name.lower().endswith("csv"):
        assert len(list(csv.DictReader(text.splitlines()))) == 1
    elif name.endswith("json"):
        assert json.loads(text)["metrics"]
    elif name.endswith("md"):
        assert text.startswith("# simcost decode")
    else:
        assert text.startswith("simcost decode: TPOT")
        assert "\nfits: " in text


@pytest.mark.parametrize("style", ["console", "json"])
def test_a_format_that_the_suffix_contradicts_is_refused(
    style: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "y.csv"
    for command in (DECODE, ["calibrate", "report", "h200"]):
        assert run([*command, "--format", style, "-o", str(out)]) == 2
        assert f"--format {style} contradicts -o {out}, whose suffix means csv" in capsys.readouterr().err
    assert not out.exists()


def test_a_command_that_is_interrupted_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stopped() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(api, "list_models", stopped)
    assert run(["list", "models"]) == 130
    out, err = capsys.readouterr()
    assert (out, err.strip()) == ("", "simcost: interrupted")


@pytest.mark.parametrize("words", [
    ["decode", "--model", "deepseek-v3", "--hw", "h200", "--set", "plan.tp=8"], ["prefill", "--model", "deepseek-v3", "--hw", "h200", "--set", "plan.tp=8"],
    ["decode", "--model", "deepseek-v3", "--hw", "h200", "--set", "plan.tp=8", "--vary", "batch=1,2"],
    ["compare", "deepseek-v3", "kimi-k2", "--hw", "h200", "--set", "plan.tp=8"], ["explain", "--model", "deepseek-v3", "--hw", "h200", "--set", "plan.tp=8"],
    ["plans", "--model", "deepseek-v3", "--hw", "h200", "--gpus", "8", "--batch", "8"], ["crossover", "--model", "deepseek-v3"],
    ["show", "model", "deepseek-v3"], ["show", "memory", "deepseek-v3", "--hw", "h200", "--set", "plan.tp=8"],
], ids=lambda words: " ".join(words[:2]))  # fmt: skip
def test_details_shows_every_note(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    def page(*more: str) -> str:
        assert run([*words, *more]) == 0
        return capsys.readouterr().out

    short, whole, notes = page(), page("--details"), json.loads(page("--format", "json"))["notes"]
    assert "--details shows more: " in short
    assert whole.count("\nnote: ") == len(notes) > short.count("\nnote: ")
    assert "--details" not in whole


def test_order_is_that_of_the_rows(capsys: pytest.CaptureFixture[str]) -> None:
    def ops(*more: str) -> list[dict[str, Any]]:
        assert run(["explain", "--model", "llama-3.1-8b", "--hw", "h200", "--format", "json", *more]) == 0
        return [row for row in json.loads(capsys.readouterr().out)["rows"] if row["table"] == "ops"]

    by_time, run_order = ops(), ops("--order", "execution")
    assert [row["step_s"] for row in by_time] == sorted((row["step_s"] for row in run_order), reverse=True)
    assert [row["order"] for row in run_order] == list(range(1, len(by_time) + 1))
    assert run(["explain", "--model", "llama-3.1-8b", "--hw", "h200", "--order", "size"]) == 2
    assert "--order must be one of time, execution" in capsys.readouterr().err


PLANS = ["plans", "--model", "llama-3.1-8b", "--batch", "8"]


def test_several_devices_and_numbers_are_one_command(tmp_path: Path) -> None:
    path = tmp_path / "plans.csv"
    assert run([*PLANS, "--hw", "h100,h200", "--gpus", "1,2", "-o", str(path)]) == 0
    with path.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {(row["hw"], row["gpus"]) for row in rows if row["table"] == "plans"} == {
        (hw, gpus) for hw in ("h100", "h200") for gpus in "12"
    }
    assert [row["hw"] for row in rows if row["table"] == "best per device"] in (
        ["h100", "h200"],
        ["h200", "h100"],
    )
    assert all(row["model"] == "llama-3.1-8b" and row["phase"] == "decode" and row["simcost"] for row in rows)


@pytest.mark.parametrize(("words", "said"), [
    (["--hw", "h100", "--gpus", "two"], "--gpus two: must be a whole number, or several such as 1,2,4,8"),
    (["--hw", "h100", "--gpus", "1,,2"], "--gpus 1,,2: an empty value between commas"),
    (["--hw", "h100,", "--gpus", "1"], "--hw h100,: an empty value between commas"),
    (["--hw", "h100,h100", "--gpus", "1"], "--hw names h100 twice"), (["--hw", "h100,h999", "--gpus", "1"], "unknown hardware 'h999'"),
    (["--hw", "h100"], "state how many devices there are"), (["--hw", "h100", "--gpus", "2", "--nodes", "1"], "state --gpus or --nodes"),
])  # fmt: skip
def test_a_slip_in_a_list_is_one_line(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*PLANS, *words]) == 2
    found = capsys.readouterr()
    assert found.out == ""
    assert said in found.err
    assert found.err.count("\n") == 1


def test_help_loads_no_numpy() -> None:
    probe = "import sys; from simcost.cli.app import run; run(['--help']); sys.stderr.write(str({'numpy', 'rich', 'torch'} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert found.stderr == "set()"


def test_an_option_of_another_command_names_its_home(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["plans", "--usd", "1000"]) == 2
    assert capsys.readouterr().err == "simcost: No such option: --usd (it is an option of train)\n"
    assert run(["decode", "--modle", "x"]) == 2
    assert "(Possible options: --model" in capsys.readouterr().err
