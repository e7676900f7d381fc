"""`simcost think`: how a page reads, and one-line refusals."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from simcost.cli.app import run

ASK = [
    "think",
    "--model",
    "gpt-oss-20b",
    "--isl",
    "500",
    "--levels",
    "low,medium,high",
    "--benchmark",
    "AIME 2025",
    "--usd-per-million",
    "0.05:0.2",
]


def test_levels_are_rows_and_say_what_they_rest_on(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(ASK) == 0
    page = " ".join(capsys.readouterr().out.split())  # lines are as wide as the terminal
    assert "3 levels: 1,000 tokens to 20,000 tokens" in page
    assert page.count("read from a figure") == 2
    assert "is assumed where only a mean is published" in page


def test_json_is_in_si_and_null_where_nothing_is_known(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "shares.csv"
    path.write_text("budget,accuracy\n4k,0.5\n8k,0.6\n", encoding="utf-8")
    ask = [
        "think",
        "--model",
        "gpt-oss-20b",
        "--hw",
        "h100",
        "--isl",
        "500",
        "--osl",
        "lognormal:9000:0.5",
        "--budget",
        "1k,4k,8k",
        "--concurrency",
        "8",
    ]
    assert run([*ask, "--accuracy", str(path), "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [row["budget"] for row in found["rows"]] == [1024, 4096, 8192]
    assert [row["accuracy"] for row in found["rows"]] == [None, 0.5, 0.6]
    assert found["units"]["latency_s"] == "s"
    assert found["metrics"]["cheapest_solved_at"] in ("4096", "8192")


@pytest.mark.parametrize(
    ("more", "words"),
    [(["--parallel", "bets:4"], "did you mean 'best'"), (["--budget", "1k,8k"], "needs one level"), (["--versus-plan", "tp=4"], "add --versus")],
)  # fmt: skip
def test_a_slip_is_one_line(capsys: pytest.CaptureFixture[str], more: list[str], words: str) -> None:
    assert run([*ASK, *more]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
