"""plans --phase serve on the command line: what a terminal of 100 columns shows, files and pictures, and refusals."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from simcost.cli.app import run

ASK = ["plans", "--phase", "serve", "--model", "llama-3.1-8b", "--isl", "1024", "--osl", "128", "--gpus", "2"]


def test_a_terminal_shows_fleets_and_fronts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    assert run([*ASK, "--hw", "h100,h200", "--rate", "600/min", "--slo", "ttft=1s,tpot=30ms"]) == 0
    text = capsys.readouterr().out
    assert "simcost plans: 10 requests/s within TTFT 1 s, TPOT 30 ms take 1 x h100 as 1 x 1 GPU; $" in text
    assert (
        "rate 10, isl 1,024, osl 128, TTFT at most 1 s, TPOT at most 30 ms, ranked by fleet USD per hour"
        in " ".join(text.split())
    )
    for words in (
        "best per device",
        "1 prefill x tp=1",
        "output tokens/s per GPU by tokens/s per user",
        "h200 pools",
    ):
        assert words in text
    head = next(line for line in text.splitlines() if "TTFT" in line and "TPOT" in line and "plan" in line.split())
    assert "limit" in head
    assert max(map(len, text.splitlines())) <= 100


def test_files_and_a_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    page, table = tmp_path / "front.html", tmp_path / "plans.csv"
    assert run([*ASK, "--hw", "h100", "--tpot", "30ms", "--plot", str(page), "-o", str(table)]) == 0
    assert "h100, disaggregated" in page.read_text(encoding="utf-8")
    rows = list(csv.DictReader(table.read_text(encoding="utf-8").splitlines()))
    assert {row["table"] for row in rows} == {"best per device", "plans", "pareto"}
    assert all(row["phase"] == "serve" for row in rows if row["table"] == "plans")
    capsys.readouterr()
    assert run([*ASK, "--hw", "h100", "--rate", "500/s", "--tpot", "30ms", "--format", "json", "--strict"]) == 3
    found = capsys.readouterr()
    assert json.loads(found.out)["fits"] is False
    assert "would wait" in found.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--tpot", "50"], "--tpot 50 has no unit: write 50ms or 50s"),
        (["--tpot", "1us"], "--tpot 1 us: no plan on h100 meets this limit on TPOT even without load"),
        (["--rate", "20/fortnight"], "--rate = '20/fortnight' must be requests per second"),
        (["--plot", "front.gif"], "--plot front.gif"),
        (["--slo", "ttft=1s,ttft=2s"], "the limit on ttft is given twice"),
        (["--batch", "8"], "--batch does not apply to --phase serve"),
        (["--isl", "many"], "--isl"),
    ],
)
def test_refusals_are_one_line(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    ask = ASK if "--isl" not in words else [word for word in ASK if word not in ("--isl", "1024")]
    assert run([*ask, "--hw", "h100", *words]) == 2
    error = capsys.readouterr().err.strip()
    assert said in error
    assert "\n" not in error


def test_options_of_a_load_mean_nothing_to_a_step(capsys: pytest.CaptureFixture[str]) -> None:
    for words, said in ((["--rate", "20/s"], "--rate"), (["--osl", "64"], "--osl"), (["--plot", "x.png"], "--plot")):
        assert run(["plans", "--model", "llama-3.1-8b", "--hw", "h100", "--gpus", "1", *words]) == 2
        assert f"{said} does not apply to --phase decode" in capsys.readouterr().err
