"""diff, cite and explain --op on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from simcost.cli.app import run

ASK = ["--model", "llama-3.1-8b", "--hw", "h200"]


@pytest.fixture
def files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> tuple[str, str]:
    paths = [str(tmp_path / f"{name}.json") for name in "ab"]
    for path, batch in zip(paths, ("1", "64"), strict=True):
        assert run(["decode", *ASK, "--batch", batch, "-o", path]) == 0
    capsys.readouterr()
    return paths[0], paths[1]


def test_diff_prints_what_moved(files: tuple[str, str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.setenv("COLUMNS", "80")
    assert run(["diff", *files]) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    where = [out.index(word) for word in ("simcost diff: TPOT", "what was asked", "terms", "metrics that moved")]
    assert where == sorted(where)
    assert run(["diff", *files, "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["command"] == "diff"


def test_cite_takes_a_file_or_a_question(files: tuple[str, str], capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:  # fmt: skip
    assert run(["cite", files[0], "--format", "bibtex"]) == 0
    of_file = capsys.readouterr().out
    assert of_file.startswith("@misc{")
    assert run(["cite", "decode", *ASK, "--format", "bibtex", "--batch", "1"]) == 0
    assert capsys.readouterr().out == of_file
    assert run(["cite", "decode", *ASK, "-o", str(tmp_path / "refs.bib")]) == 0
    assert (tmp_path / "refs.bib").read_text(encoding="utf-8") == of_file
    assert capsys.readouterr().out == ""
    assert run(["cite", "decode", *ASK]) == 0
    page = capsys.readouterr().out
    assert "TPOT" not in page
    assert page.startswith("simcost cite: ")


@pytest.mark.parametrize(("words", "says"), [
    (["cite", "trian"], "did you mean 'train'"), (["cite", "a.json", "--model", "x"], "belongs to a question"), (["cite", "decode", "--model", "llama-3.1-8b"], "missing --hw"),
    (["cite", "decode", *ASK, "--bogus", "1"], "No such option: --bogus"), (["cite", "decode", *ASK, "--format", "bib"], "--format must be one of bibtex"),
    (["cite", "decode", *ASK, "--format", "csv", "-o", "x.bib"], "contradicts"), (["cite", "serve", *ASK, "--isl", "64", "--osl", "8", "--concurrency", "1", "--emit", "vllm"], "printed no answer"),
    (["diff", "none.json", "none.json"], "No such file"), (["explain", *ASK, "--op", "x", "--top", "2"], "use --op or --top, not both"),
])  # fmt: skip
def test_errors_are_one_line(words: list[str], says: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert run(words) == 2
    err = [
        line for line in capsys.readouterr().err.splitlines() if "on first use" not in line
    ]  # curves that no cache holds
    assert len(err) == 1
    assert says in err[0]
    assert not list(tmp_path.iterdir())


def test_explain_tells_one_kernel(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert run(["explain", *ASK, "--batch", "16", "--op", "gate_up_proj"]) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    where = [out.index(f"\n{word}\n") for word in ("kernels", "curves", "nearest measured rows", "interval")]
    assert where == sorted(where)
    assert "2·b·m·n·k FLOP" in out
