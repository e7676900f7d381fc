"""`calibrate import csv` as the how-to tells it: the rows answer queries, and whatever is wrong with them is said."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simcost.calibration import store
from simcost.calibration.family import families
from simcost.calibration.record import to_toml
from simcost.cli import app
from simcost.files import kept
from simcost.hardware import load as hardware

DOCS = Path(__file__).parents[2] / "docs"
HOWTO = (DOCS / "howto" / "calibrate-your-gpu.md").read_text(encoding="utf-8")
COLUMNS = re.search(r"```csv\n(.*)\n", HOWTO)[1]  # type: ignore[index]
SHAPES = [(1, m, n, 4096) for n in (4096, 14336) for m in range(16, 16 * 31, 16)]


def lines(scale: float = 1.0) -> list[str]:
    """A table of bf16 products at two thirds of an H200's rates, in seconds over `scale`."""
    found = []
    for batch, m, n, k in SHAPES:
        seconds = 3e-6 + 1.5 * max(2.0 * m * n * k / 989e12, 2.0 * (m * k + k * n + m * n) / 4.8e12)
        found.append(f"{batch},{m},{n},{k},bf16,bf16,bf16,{seconds * scale:.6g}")
    return found


def write(rows: list[str]) -> None:
    Path("mine.csv").write_text("\n".join([COLUMNS, *rows]) + "\n")


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Each test in a folder and with a cache of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SIMCOST_CACHE", str(tmp_path / "cache"))
    kept.folder.cache_clear()
    write(lines())
    yield
    kept.folder.cache_clear()


def imported(**changed: str) -> int:
    options = {"family": "gemm", "hw": "h200", "run": "rows/measurements/mine", "title": "t", "source": "s", **changed}
    return app.run(["calibrate", "import", "csv", "mine.csv", *(f"--{k}={v}" for k, v in options.items())])


def error(capsys: Any) -> str:
    err = str(capsys.readouterr().err)
    assert err.count("\n") == 1, err
    return err


def out(capsys: Any) -> str:
    return " ".join(capsys.readouterr().out.split())


def test_the_how_to_works_as_it_is_written(capsys: Any) -> None:
    steps = re.search(r"```\n(simcost calibrate import csv mine.csv.*?)```", HOWTO, re.S)
    assert steps is not None
    assert len(steps[1].splitlines()) == 3
    for step in steps[1].splitlines():
        assert app.run(shlex.split(step)[1:]) == 0, step
    said = out(capsys)
    assert "next: simcost calibrate report rows, or any query with --hw rows" in said
    assert "rows/profile.toml: copied from h200/profile.toml" in said
    assert sorted(p.name for p in Path("rows").iterdir()) == ["measurements", "profile.toml"]
    assert [Path(run).name for run in hardware.load("rows").measurements] == ["mine"]
    labels = {"x": "bf16", "w": "bf16", "compute": "bf16"}
    found = store.Store(hardware.load("rows")).find("gemm", labels)
    assert found is not None
    assert [voice.name for voice in found.voices] == ["h200/mine"]


def test_a_second_import_says_what_it_replaces_and_measured_rows_are_not_replaced(capsys: Any) -> None:
    assert imported(title="the first") == 0
    capsys.readouterr()
    assert imported(title="the second") == 0
    said = out(capsys)
    assert "replaces the run that was there (the first)" in said
    assert "copied from" not in said
    record = Path("rows/measurements/mine/run.toml")
    assert "the second" in record.read_text()
    assert [p.name for p in Path("rows/measurements").iterdir()] == ["mine"]
    measured = to_toml({"schema": 1, "kind": "measured", "title": "a day of work"})
    record.write_text(measured)
    assert imported() == 2
    assert "holds measured rows (a day of work)" in error(capsys)
    assert record.read_text() == measured


@pytest.mark.parametrize(("run", "word"), [
    ("rows/mine", "for example rows/measurements/mine"), ("mine", "for example measurements/mine"),
    ("rows/measurements/.mine", "FOLDER/measurements/NAME"),
])  # fmt: skip
def test_a_run_that_no_profile_would_read_is_refused(run: str, word: str, capsys: Any) -> None:
    assert imported(run=run) == 2
    assert word in error(capsys)
    assert [p.name for p in Path().iterdir()] == ["mine.csv"]


def test_rows_of_one_device_do_not_go_beside_the_profile_of_another(capsys: Any) -> None:
    assert imported() == 0
    capsys.readouterr()
    assert imported(hw="h100", run="rows/measurements/other") == 2
    assert "rows/profile.toml: is of 'h200', the rows are of 'h100'" in error(capsys)
    assert imported(hw="rows", run="rows/measurements/other") == 0


def test_a_run_that_another_answers_before_says_so(capsys: Any) -> None:
    assert imported(run="rows/measurements/a") == 0
    assert imported(run="rows/measurements/b") == 0
    assert "gemm/bf16-bf16-bf16: a is used first" in out(capsys)
    profile = Path("rows/profile.toml")
    profile.write_text(profile.read_text() + '\n[measurements]\nuse = ["a"]\n')
    assert imported(run="rows/measurements/b") == 0
    assert "'measurements.use' does not name b" in out(capsys)


def test_other_units_are_doubted(capsys: Any) -> None:
    write(lines(scale=1e6))
    assert imported() == 0
    assert "of the datasheet's rates: are 'seconds' in seconds?" in out(capsys)
    few = lines()
    fast = [re.sub(r"bf16,bf16,bf16,", "fp16,fp16,fp16,", line) for line in lines(scale=1e-3)]
    write(few + fast)
    assert imported() == 0
    assert "gemm/fp16-fp16-fp16: 60 rows, all dropped" in (said := out(capsys))
    assert "are 'seconds' in seconds?" in said


def test_a_table_of_which_nothing_is_left_replaces_nothing(capsys: Any) -> None:
    assert imported() == 0
    before = Path("rows/measurements/mine/gemm/bf16-bf16-bf16.csv").read_text()
    capsys.readouterr()
    write(lines(scale=1e-3))
    assert imported() == 2
    assert "nothing is kept: are 'seconds' in seconds?" in error(capsys)
    assert Path("rows/measurements/mine/gemm/bf16-bf16-bf16.csv").read_text() == before


def test_few_rows_are_taken_but_make_no_curve(capsys: Any) -> None:
    write(lines()[:5])
    assert imported() == 0
    assert "5 rows, fewer than the 10 that a curve needs" in out(capsys)


@pytest.mark.parametrize(("rows", "changed", "word"), [
    ([], {}, "mine.csv: no rows"), (["1,2.5,8,8,bf16,bf16,bf16,1"], {}, "mine.csv:2: m = '2.5' must be a whole number above 0"),
    (["1,0,8,8,bf16,bf16,bf16,1"], {}, "m = '0' must be"), (["1,2,8,8,bf16,bf16,bf16,0"], {}, "seconds = '0' must be"),
    (["1,2,8,8,bf16,bf16,bf17,1"], {}, "mine.csv:2: compute: unknown dtype 'bf17'"),
    (["1,2,8,8,bf16,bf16,bf16,1"], {"title": " "}, "--title"), (["1,2,8,8,bf16,bf16,bf16,1"], {"source": ""}, "--source"),
    (["1,2,8,8,bf16,bf16,bf16,1"], {"family": "gem"}, "did you mean 'gemm'"),
])  # fmt: skip
def test_what_is_wrong_is_one_line_and_nothing_is_written(
    rows: list[str], changed: dict[str, str], word: str, capsys: Any
) -> None:
    write(rows)
    assert imported(**changed) == 2
    assert word in error(capsys)
    assert [p.name for p in Path().iterdir()] == ["mine.csv"]


def test_a_file_that_was_cut_off_anywhere_is_refused(capsys: Any) -> None:
    """Half a number is a number: 1.2 of 1.239e-05 would be a hundred thousand times too slow."""
    whole = Path("mine.csv").read_bytes()
    row = whole.index(b"\n", len(whole) // 2) + 1
    for length in (*range(5, len(COLUMNS), 9), len(COLUMNS), *range(row + 1, row + 50)):
        if whole[length - 1 : length] == b"\n":
            continue
        Path("mine.csv").write_bytes(whole[:length])
        assert imported() == 2
        assert "the last line does not end in a newline, so it may be cut off" in error(capsys)
        assert [p.name for p in Path().iterdir()] == ["mine.csv"]
    Path("mine.csv").write_bytes(whole[:row].replace(b"\n", b"\r\n"))
    assert imported() == 0


def test_a_disk_that_refuses_the_run_keeps_no_profile_either(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    real = Path.write_text

    def full(self: Path, text: str, *args: Any, **kwargs: Any) -> int:
        if self.name == "run.toml":
            raise OSError(28, "No space left on device")
        return real(self, text, *args, **kwargs)

    monkeypatch.setattr(Path, "write_text", full)
    assert imported() == 2
    assert "No space left on device" in error(capsys)
    assert not [p for p in Path("rows").rglob("*") if p.is_file()]


def test_formats_are_kept_by_their_own_name_and_labels_to_their_words(capsys: Any) -> None:
    write([line.replace("bf16,bf16,bf16", "bfloat16,bf16,bf16") for line in lines()])
    assert imported() == 0
    assert Path("rows/measurements/mine/gemm/bf16-bf16-bf16.csv").is_file()
    Path("mine.csv").write_text("bytes,group,what,backend,seconds\n1024,8,all_reduc,nccl,1e-5\n")
    capsys.readouterr()
    assert imported(family="collective") == 2
    assert "what = 'all_reduc' must be one of all_reduce" in error(capsys)


def test_the_page_of_rows_is_what_the_families_say() -> None:
    page = (DOCS / "measurements.md").read_text(encoding="utf-8")
    for name, family in families().items():
        section = page[page.index(f"## {name}\n") :].split("\n## ")[0]
        for key, column in family.COLUMNS.items():
            assert f"| `{key}` | {column.unit} | {column.what} | {column.allowed} |" in section
        for key, word in family.WORDS.items():
            assert f"| `{key}` | {word.what} |" in section
    assert not np.any([line.endswith(" |  |") for line in page.splitlines()])
