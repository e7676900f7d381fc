"""`simcost distill`: how a page reads, and one-line refusals."""

from __future__ import annotations

import json

import pytest

from simcost.cli.app import run

ASK = ["distill", "--teacher", "qwen3-8b", "--student", "qwen3-0.6b", "--hw", "h100", "--isl", "200", "--osl", "800", "--samples", "100000", "--gpus", "8", "--tp", "1"]  # fmt: skip


def test_the_page_ranks_the_ways_and_says_what_was_assumed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(ASK) == 0
    page = " ".join(capsys.readouterr().out.split())
    assert "100 M trained tokens: cheapest is logits online" in page
    assert "logits stored, all" in page
    assert "list price of Amazon S3 Standard" in page
    assert "the smallest that hold 32 sequences" in page


def test_json_has_every_way_with_its_units(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*ASK, "--top-k", "64", "--layers", "2", "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    rows = {row["variant"]: row for row in found["rows"] if row["table"] == "variants"}
    assert list(rows) == ["data", "logits online", "logits stored, top-k", "logits stored, all", "feature", "on-policy"]
    assert rows["on-policy"]["handed_bytes_per_token"] == 384
    assert rows["feature"]["handed_bytes_per_token"] == 2 * 2 * 4096
    assert found["units"]["handed_bytes_per_token"] == "B"


@pytest.mark.parametrize(
    ("more", "words"), [(["--texts", "techer"], "did you mean 'teacher'"), (["--kept", "0"], "--kept"), (["--tokens", "1B"], "with either --samples")]
)  # fmt: skip
def test_a_slip_is_one_line(capsys: pytest.CaptureFixture[str], more: list[str], words: str) -> None:
    assert run([*ASK, *more]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
