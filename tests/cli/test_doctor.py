"""`calibrate doctor`: a profile as it ships, runs of one's own, anyone's rows; what is wrong with a question is one line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from simcost.calibration import tables as shipped
from simcost.calibration.family import families
from simcost.cli.app import run
from simcost.files import folder

HOME = folder("hwprofiles") / "h200"
HEAD = "batch,m,n,k,x,w,compute,seconds\n"
OPTIONS = ["--family", "gemm", "--hw", "h200"]


def table(family: str = "gemm", kind: str = "bf16-bf16-bf16") -> list[str]:
    (pick,) = shipped.chosen(str(HOME / "tables"), family, kind, "vllm")
    return (HOME / "tables" / pick.tables[0] / family / f"{kind}.csv").read_text().splitlines()


def rows(path: Path, change: Callable[[float], float]) -> Path:
    """vLLM's shipped products of an H200 as somebody's own, changed."""
    lines = [line.rpartition(",") for line in table()[1:]]
    path.write_text(HEAD + "".join(f"{shape},bf16,bf16,bf16,{change(float(s)):.6g}\n" for shape, _, s in lines))
    return path


def findings(argv: list[str], capsys: Any) -> tuple[int, list[dict[str, Any]], list[dict[str, Any]], str]:
    """(exit code, findings, advice, stderr)."""
    code = run([*argv, "--format", "json"])
    said = capsys.readouterr()
    every = json.loads(said.out)["rows"]
    return code, [r for r in every if "verdict" in r], [r for r in every if "do" in r], said.err


def test_good_rows_are_sound(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = rows(tmp_path / "mine.csv", lambda s: 1.05 * s)
    code, (found,), todo, err = findings(["calibrate", "doctor", str(path), *OPTIONS, "--strict"], capsys)
    assert (code, found["verdict"]) == (0, "sound")
    assert all(
        "1 rows over" in one["why"] for one in todo
    )  # thinned, a row may stand alone above the next of its ladder
    assert found["best"] == "vllm 0.24.0"
    assert found["over_best"] == pytest.approx(1.05, abs=0.01)
    assert "--strict" not in err


@pytest.mark.parametrize(("change", "said", "advice"), [
    (lambda s: s * 1e3, "are 'seconds' in seconds (they look like milliseconds)?", "divide"),
    (lambda s: s * 1e6, "are 'seconds' in seconds (they look like microseconds)?", "divide"),
    (lambda s: s / 1e3, "are 'seconds' in seconds", "divide"),
    (lambda s: s * 5.0, "times its light", "tuned configuration"), (lambda s: max(s, 6e-5), "starts at 60 us", "CUDA graph"),
])  # fmt: skip
def test_bad_rows_are_told_with_what_to_do_and_strict_exits_with_3(
    change: Callable[[float], float], said: str, advice: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = rows(tmp_path / "mine.csv", change)
    argv = ["calibrate", "doctor", str(path), *OPTIONS]
    code, (found,), todo, err = findings(argv, capsys)
    assert code == 0
    assert found["verdict"].startswith("unsound: ")
    assert said in found["verdict"]
    assert advice in todo[0]["do"]
    assert err == ""
    code, *_, err = findings([*argv, "--strict"], capsys)
    assert code == 3
    assert "mine.csv on h200: 1 of 1 kinds unsound" in err


def test_the_terminal_shows_verdict_and_advice_at_any_width(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = rows(tmp_path / "mine.csv", lambda s: 5.0 * s)
    for width in (80, 140):
        monkeypatch.setenv("COLUMNS", str(width))
        assert run(["calibrate", "doctor", str(path), *OPTIONS]) == 0
        text = capsys.readouterr().out
        assert max(map(len, text.splitlines())) <= width
        assert "unsound: compute-bound" in " ".join(text.split())
        assert "check which kernel ran" in " ".join(text.split())


def test_a_row_that_fell_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = rows(tmp_path / "mine.csv", lambda s: s)
    lines = path.read_text().splitlines(keepends=True)
    shape, _, _ = max(lines[1:], key=lambda line: float(line.rpartition(",")[2])).rpartition(",")
    path.write_text("".join(lines) + f"{shape.replace('1,', '1,', 1)},1e-6\n")
    assert run(["calibrate", "doctor", str(path), *OPTIONS, "--format", "json"]) == 0
    dropped = [row for row in json.loads(capsys.readouterr().out)["rows"] if "worst" in row]
    assert dropped[0]["why"] == "below 0.9 of its light"
    assert dropped[0]["measured_s"] == 1e-6
    assert dropped[0]["factor"] < 0.1


def test_a_shipped_profile_says_what_the_import_said_of_the_whole_tables(capsys: pytest.CaptureFixture[str]) -> None:
    code, found, _, _ = findings(["calibrate", "doctor", "h200", "--family", "gemm", "--strict"], capsys)
    assert code == 0
    assert len(found) >= 6
    assert {row["at_import"] for row in found} == {"sound"}
    assert not [row for row in found if row["verdict"].startswith("unsound")]


def test_runs_beside_a_profile_are_held_against_the_tables_that_ship_for_its_device(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / "mine"
    path = home / "measurements" / "slow" / "gemm" / "bf16-bf16-bf16.csv"
    path.parent.mkdir(parents=True)
    shutil.copy(HOME / "profile.toml", home)
    lines = [line.rpartition(",") for line in table()[1:]]
    path.write_text("batch,m,n,k,seconds\n" + "".join(f"{shape},{5 * float(s):.4g}\n" for shape, _, s in lines))
    (path.parents[1] / "run.toml").write_text('schema = 1\nkind = "measured"\ntitle = "mine"\n')
    code, (found,), _, _ = findings(["calibrate", "doctor", str(home), "--strict"], capsys)
    assert code == 3
    assert (found["of"], found["best"]) == ("slow", "vllm 0.24.0")
    assert "at_import" not in found


def test_a_kind_of_which_nothing_ships_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "norms.csv"
    body = ""
    family = families()["stream"]
    columns = [*family.NUMBERS, *family.LABELS, "seconds"]
    head = ",".join(columns) + "\n"
    for elements in range(1, 41):
        cells = dict.fromkeys(family.NUMBERS, 1.0) | {family.NUMBERS[0]: elements * 10_000_000}
        words = {"what": "norm", "x": "bf16", "out": "bf16"}
        light = 4.0 * elements * 10_000_000 / 4.8e12
        body += ",".join(str({**cells, **words, "seconds": 2 * light + 3e-6}[name]) for name in columns) + "\n"
    path.write_text(head + body)
    code, (found,), _, _ = findings(["calibrate", "doctor", str(path), "--family", "stream", "--hw", "h200"], capsys)
    assert code == 0
    assert found["verdict"] == "sound by itself: no shipped table to compare with"
    assert found["best"] is None


@pytest.mark.parametrize(("argv", "said"), [
    (["h201"], "unknown hardware 'h201'"), (["h200", "--hw", "h100"], "--hw h100 does not apply to a profile"),
    (["mine.csv", "--hw", "h200"], "mine.csv: --family is needed"), (["mine.csv", "--family", "gemm"], "mine.csv: --hw is needed"),
    (["no.csv"], "no.csv: No such file"), (["no.csv", *OPTIONS], "no.csv: No such file"), (["mine.csv", "--family", "gem", "--hw", "h200"], "did you mean 'gemm'"),
    (["mine.csv", "--family", "experts", "--hw", "h200"], "no column 'tokens'"), (["gaudi2"], "no rows: nothing to check"),
    (["h200", "--family", "gather"], "no rows of family 'gather'"), (["empty.csv", *OPTIONS], "empty.csv: no rows"),
    (["cut.csv", *OPTIONS], "the last line does not end in a newline"), (["mine.csv", *OPTIONS, "-o", "no/such.json"], "No such file"),
])  # fmt: skip
def test_what_is_wrong_is_one_line(
    argv: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rows(Path("mine.csv"), lambda s: s)
    Path("empty.csv").write_text(HEAD)
    Path("cut.csv").write_text(HEAD + "1,2,3,4,bf16,bf16,bf16,1e-")
    assert run(["calibrate", "doctor", *argv]) == 2
    found = capsys.readouterr()
    assert found.out == ""
    assert found.err.count("\n") == 1
    assert said in found.err


def test_few_rows_get_no_verdict(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = rows(tmp_path / "mine.csv", lambda s: s)
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:6]))
    code, (found,), _, _ = findings(["calibrate", "doctor", str(path), *OPTIONS, "--strict"], capsys)
    assert code == 0
    assert found["verdict"] == "too few rows for a verdict"
