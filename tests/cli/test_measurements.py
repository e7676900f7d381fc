"""A profile of one's own with measured rows beside it: what stands in the way is said by queries and reports alike."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from simcost.calibration import store
from simcost.cli import app
from simcost.errors import SpecError
from simcost.files import folder, kept
from simcost.hardware import load as hardware
from simcost.hardware import runs

SHIPPED = folder("hwprofiles") / "h200"
HEAD = "batch,m,n,k,seconds\n"
ROWS = "".join(f"1,{m},4096,4096,{2e-5 + m * 6e-8:.4g}\n" for m in range(8, 8 * 60, 8))
RECORD = 'schema = 1\nkind = "{}"\ntitle = "mine"\n'


def add(home: Path, name: str, kind: str = "imported", rows: str = HEAD + ROWS) -> Path:
    """A run of GEMM rows beside a profile; its row file."""
    path = home / "measurements" / name / "gemm" / "bf16-bf16-bf16.csv"
    path.parent.mkdir(parents=True)
    path.write_text(rows)
    (path.parents[1] / "run.toml").write_text(RECORD.format(kind))
    return path


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A profile with one run."""
    monkeypatch.setenv("SIMCOST_CACHE", str(tmp_path / "cache"))
    kept.folder.cache_clear()
    home = tmp_path / "mine"
    home.mkdir()
    shutil.copy(SHIPPED / "profile.toml", home)
    add(home, "run")
    yield home
    kept.folder.cache_clear()


def query(home: Path) -> int:
    return app.run(["decode", "--model", "llama-3.1-8b", "--hw", str(home)])


def line(capsys: pytest.CaptureFixture[str]) -> str:
    """What stderr has, one line."""
    err = capsys.readouterr().err
    assert err.count("\n") == 1, err
    return err


BROKEN: dict[str, tuple[Callable[[Path, Path], object], str]] = {
    "another schema": (lambda run, rows: run.write_text("schema = 99\n"), "schema must be 1, not 99"),
    "a kind that is none": (lambda run, rows: run.write_text(RECORD.format("made up")), "kind must be one of"),
    "garbage": (lambda run, rows: run.write_text("\x00{"), "not valid TOML"),
    "bytes": (lambda run, rows: run.write_bytes(b"\xff\xfe\x00"), "not a UTF-8 text file"),
    "no record": (lambda run, rows: run.unlink(), "missing"),
    "an empty table": (lambda run, rows: rows.write_text(""), "columns must be batch,m,n,k,seconds"),
    "random bytes": (lambda run, rows: rows.write_bytes(bytes(range(256)) * 9), "not a UTF-8 text file"),
    "a foreign table": (lambda run, rows: rows.write_text("m,seconds\n1,2\n"), "columns must be batch,m,n,k,seconds"),
    "a negative side": (lambda run, rows: rows.write_text(HEAD + ROWS + "1,-4,8,8,1e-5\n"), "m = '-4' must be"),
    "a side of zero": (lambda run, rows: rows.write_text(HEAD + ROWS + "1,4,8,0,1e-5\n"), "k = '0' must be"),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", BROKEN)
def test_broken_runs_stop_queries_and_reports_in_the_same_words(
    name: str, mine: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damage, word = BROKEN[name]
    rows = mine / "measurements" / "run" / "gemm" / "bf16-bf16-bf16.csv"
    damage(mine / "measurements" / "run" / "run.toml", rows)
    assert query(mine) == 2
    said = line(capsys)
    assert word in said
    assert str(mine / "measurements" / "run") in said
    assert app.run(["calibrate", "report", str(mine)]) == 2
    assert line(capsys) == said
    assert not list(mine.parent.glob("cache/*.curve"))


def test_a_run_that_is_not_asked_stands_in_no_way(mine: Path) -> None:
    add(mine, "good")
    (mine / "measurements" / "run" / "run.toml").write_text("schema = 99\n")
    assert hardware.load(str(mine), {"measurements": "none"}).measurements == ()
    assert len(hardware.load(str(mine), {"measurements": "good"}).measurements) == 1
    text = (mine / "profile.toml").read_text()
    (mine / "profile.toml").write_text(text + '\n[measurements]\nuse = ["good"]\n')
    assert len(hardware.load(str(mine)).measurements) == 1


def test_too_few_rows_are_passed_over_aloud(mine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = mine / "measurements" / "run" / "gemm" / "bf16-bf16-bf16.csv"
    rows.write_text(HEAD + "".join(ROWS.splitlines(keepends=True)[:4]))
    assert query(mine) == 0
    said = line(capsys)
    assert f"{rows}: skipped: a curve needs 10 rows" in said
    assert app.run(["calibrate", "report", str(mine)]) == 2
    said = line(capsys)
    assert "run gemm/bf16-bf16-bf16: 4 rows: the report needs 20 rows" in said
    assert "None" not in said


@pytest.mark.parametrize("count", [2, 9, 15])
def test_half_a_last_row_is_an_error_however_few_there_are(
    mine: Path, count: int, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = mine / "measurements" / "run" / "gemm" / "bf16-bf16-bf16.csv"
    rows.write_text((HEAD + "".join(ROWS.splitlines(keepends=True)[:count]))[:-3])
    for command in (lambda: query(mine), lambda: app.run(["calibrate", "report", str(mine)])):
        assert command() == 2
        assert f"{rows}:{count + 1}: the last row is cut off" in line(capsys)


def test_many_thin_kinds_are_one_line(mine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home = mine / "measurements" / "run" / "gemm"
    few = HEAD + "".join(ROWS.splitlines(keepends=True)[:4])
    for name in ("bf16-bf16-bf16", "fp32-fp32-fp32", "fp8-fp8-fp8", "fp16-fp16-fp16", "nvfp4-nvfp4-nvfp4"):
        (home / f"{name}.csv").write_text(few)
    assert app.run(["calibrate", "report", str(mine)]) == 2
    said = line(capsys)
    assert (
        "nothing to check: 5 kinds have fewer than the 20 rows, of several shapes, that the report needs: run gemm/"
        in said
    )
    assert said.rstrip().endswith("and 2 more")


def test_a_file_by_a_wrong_name_is_one_line_of_the_report(mine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = mine / "measurements" / "run" / "gemm" / "bf16-bf16-bf16.csv"
    shutil.copy(rows, rows.with_name("bad-labels.csv"))
    assert app.run(["calibrate", "report", str(mine)]) == 2
    assert f"{rows.with_name('bad-labels.csv')}: a file of gemm is named x-w-compute.csv" in line(capsys)


def test_own_runs_answer_before_imported_ones_unless_the_profile_says(mine: Path) -> None:
    for name, kind in (("a", "imported"), ("own", "measured"), ("zoo", "measured")):
        add(mine, name, kind)
    assert [Path(run).name for run in hardware.load(str(mine)).measurements] == ["own", "zoo", "a", "run"]
    text = (mine / "profile.toml").read_text()
    (mine / "profile.toml").write_text(text + '\n[measurements]\nuse = ["run", "own"]\n')
    assert [Path(run).name for run in hardware.load(str(mine)).measurements] == ["run", "own"]
    (mine / "profile.toml").write_text(text + '\n[measurements]\nuse = "run"\n')
    with pytest.raises(SpecError, match="must be a list"):
        hardware.load(str(mine))


def test_a_query_reads_two_lines_of_a_record_and_the_whole_only_of_one_written_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "run.toml").write_text('# by hand\nkind = "measured"\nschema = 1\n')
    assert runs.kind(tmp_path) == "measured"
    monkeypatch.setattr(runs, "record", lambda home: pytest.fail("parsed whole"))
    (tmp_path / "run.toml").write_text(RECORD.format("imported") + "\n[kinds]\n" * 400)
    assert runs.kind(tmp_path) == "imported"


def test_a_machine_that_drifted_while_it_was_measured_widens_every_answer(mine: Path) -> None:
    def drift() -> float:
        found = store.Store(hardware.load(str(mine))).find("gemm", {"x": "bf16", "w": "bf16", "compute": "bf16"})
        assert found is not None
        return found.drift

    record = mine / "measurements" / "run" / "run.toml"
    assert drift() == 0.0  # imported: its record cannot say
    record.write_text(RECORD.format("measured") + "sentinel_drift = 0.08\n[kinds]\n")
    assert drift() == pytest.approx(0.08 / 1.2816)
    add(mine, "in-situ", "measured")  # no sentinel of its own: the machine is the same
    assert drift() == pytest.approx(0.08 / 1.2816)
    record.write_text(RECORD.format("measured") + "sentinel_drift = true\n")
    with pytest.raises(SpecError, match=r"run/run.toml: sentinel_drift = True must be a number"):
        drift()


def test_every_shipped_record_begins_as_a_query_expects(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "record", lambda home: pytest.fail(f"{home}: parsed whole"))
    records = list(folder("hwprofiles").glob("*/tables/*/*/run.toml"))
    assert len(records) > 50
    for path in records:
        assert runs.kind(path.parent) in runs.KINDS


def test_a_hidden_folder_is_a_run_being_written(mine: Path) -> None:
    add(mine, ".run.123.part")
    assert [Path(run).name for run in hardware.load(str(mine)).measurements] == ["run"]
