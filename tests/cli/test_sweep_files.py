"""simcost sweep to a file: the same bytes whether rows are streamed or not, and one line where they cannot be."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from simcost.cli.app import run

SWEEP = [
    "sweep", "--model", "llama-3.1-8b", "--hw", "h200", "--set", "hw.measurements=none", "--vary", "plan.tp=1,3", "--vary", "batch=1..30", "--vary", "context=100,200",
]  # fmt: skip


def test_streamed_and_not_are_the_same_answer(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.setattr("simcost.scenarios.goals.map_ties.MOST", 0)  # only tables in memory mark ties
    assert run([*SWEEP, "-o", str(tmp_path / "a.csv")]) == 0
    table = capsys.readouterr()
    monkeypatch.setattr("simcost.cli.sweep.STREAMED", 10)
    assert run([*SWEEP, "-o", str(tmp_path / "b.csv")]) == 0
    assert capsys.readouterr() == table
    assert table.out == ""
    assert len(table.err.splitlines()) >= 3
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()
    assert (tmp_path / "a.csv").read_bytes().count(b"\n") == 121
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.csv", "b.csv"]


def test_strict_says_so_of_a_streamed_file_too(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.setattr("simcost.cli.sweep.STREAMED", 0)
    question = ["sweep", "--model", "llama-3.1-405b", "--hw", "h200", "--set", "hw.measurements=none", "--vary", "batch=1,2"]  # fmt: skip
    assert run([*question, "--strict", "-o", str(tmp_path / "x.csv")]) == 3
    assert "--strict: no point of the sweep fits in memory" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--scheduler", "local:2"], "--scheduler of a sweep needs a file for its rows: -o FILE.csv or FILE.parquet"),
        (["--scheduler", "local:2", "-o", "x.json"], "--scheduler of a sweep needs a file"),
        (["--scheduler", "somewhere", "-o", "x.csv"], "--scheduler somewhere: write tcp://host:port, tls://host:port or local:<processes>"),
        (["--format", "json", "-o", "x.parquet"], "--format json contradicts -o x.parquet, whose suffix means parquet"),
        (["--plot", "x.png", "-o", "x.parquet"], "--plot draws only rows that are in memory"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_one_line(more: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert run([*SWEEP, *more]) == 2
    found = capsys.readouterr()
    assert found.out == ""
    assert found.err.startswith(f"simcost: {said}")
    assert found.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("module", "more", "said"), [
    ("distributed", ["--scheduler", "local:2", "-o", "x.csv"], "--scheduler needs Dask distributed: pip install 'simcost[scale]'"),
    ("pyarrow", ["-o", "x.parquet"], "Parquet needs pyarrow: pip install 'simcost[parquet]'"),
])  # fmt: skip
def test_a_package_that_is_not_there_is_named(module: str, more: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, module, None)
    assert run([*SWEEP, *more]) == 2
    assert capsys.readouterr().err == f"simcost: {said}\n"
    assert list(tmp_path.iterdir()) == []


def test_a_load_in_the_steady_state_has_no_work_to_share(capsys: pytest.CaptureFixture[str]) -> None:
    line = ["serve", "--model", "llama-3.1-8b", "--hw", "h200", "--isl", "100", "--osl", "10", "--concurrency", "2", "--scheduler", "local:2"]  # fmt: skip
    assert run(line) == 2
    assert "--scheduler applies to simulations request by request: add --events" in capsys.readouterr().err
