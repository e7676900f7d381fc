"""-o writes what it names and nothing else; standard streams may be closed, full, or lack a mark."""

from __future__ import annotations

import errno
import json
import os
import pwd
import stat
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import pytest

from simcost import api, streams
from simcost.cli.app import run
from simcost.errors import SpecError
from simcost.report import plot

ASK = ["show", "model", "llama-3.2-1b"]
ROOT = Path(__file__).parents[2]
FULL = Path("/dev/full")
needs_full = pytest.mark.skipif(not FULL.is_char_device(), reason="a disk that is always full is Linux's")


def ended(
    words: Sequence[str], closed: Sequence[int] = (), env: dict[str, str] | None = None, out: IO[bytes] | int = subprocess.PIPE, err: IO[bytes] | int = subprocess.PIPE
) -> tuple[int, str, str]:  # fmt: skip
    """(exit code, stdout, stderr) of a process that starts with some of its streams closed."""
    shut = " ".join(f"{number}>&-" for number in closed)
    command = ["sh", "-c", f'exec "$@" {shut}', "sh", sys.executable, "-m", "simcost", *words]
    done = subprocess.run(command, stdout=out, stderr=err, cwd=ROOT, env={**os.environ, **(env or {})}, timeout=300)
    return done.returncode, (done.stdout or b"").decode(), (done.stderr or b"").decode()


def test_a_closed_stdout_is_one_line_unless_a_file_takes_the_answer(tmp_path: Path) -> None:
    assert ended(ASK, [1]) == (2, "", "simcost: cannot write: standard output is closed\n")
    target = tmp_path / "a.json"
    assert ended([*ASK, "-o", str(target)], [0, 1, 2]) == (0, "", "")
    assert json.loads(target.read_text())["command"] == "show model"


def test_a_closed_stderr_costs_no_answer_and_an_error_its_line_alone() -> None:
    code, out, _ = ended([*ASK, "--format", "csv"], [2])  # its notes go to stderr
    assert (code, out.startswith("table,")) == (0, True), out[:80]
    assert ended(["nothing"], [1, 2]) == (2, "", "")


@needs_full
def test_a_full_stdout_is_one_line_and_a_full_stderr_costs_no_answer() -> None:
    with FULL.open("wb") as full:
        assert ended(["--version"], out=full) == (2, "", "simcost: cannot write: No space left on device\n")
        code, out, _ = ended([*ASK, "--format", "csv"], err=full)
        assert (code, out.count("\n") > 1) == (0, True)
        assert ended(["nothing"], err=full)[0] == 2


def test_a_stdout_that_is_not_utf_8_takes_ascii() -> None:
    """Rules, marks and names; and JSON stays JSON."""
    env = {"PYTHONIOENCODING": "ascii"}
    code, out, err = ended(["explain", "--model", "llama-3.2-1b", "--hw", "h200"], env=env)
    assert (code, err.isascii()) == (0, True)
    assert out.isascii()
    assert "----" in out
    assert "\\u" not in out
    text = json.dumps({"ä": "· × 😀 ─ │ ┼"}, ensure_ascii=False)
    with_marks = "import sys; from simcost import streams; streams.prepare(); sys.stdout.write(sys.argv[1])"
    done = subprocess.run([sys.executable, "-c", with_marks, text], capture_output=True, cwd=ROOT, check=True, env={**os.environ, **env})  # fmt: skip
    assert json.loads(done.stdout.decode("ascii")) == {"ä": ". x 😀 - | +"}


def test_who_reads_no_further_ends_it_without_a_word() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    assert ended(["keys"], out=writer) == (0, "", "")
    os.close(writer)


def test_a_reader_s_error_names_the_file_and_a_writer_s_does_not() -> None:
    assert streams.refused(PermissionError(13, "Permission denied", "a/config.json")) == "reading a/config.json: Permission denied"  # fmt: skip
    assert streams.refused(OSError(errno.ENOSPC, "No space left on device")) == "cannot write: No space left on device"
    assert streams.refused(OSError(errno.EIO, "Input/output error")) == "cannot read or write: Input/output error"


def test_a_file_in_a_closed_folder_is_said_as_reading(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "closed").mkdir()
    (tmp_path / "closed" / "config.json").write_text("{}")
    path, real = str(tmp_path / "closed" / "config.json"), os.stat

    def shut(asked: object, *more: object, **named: object) -> os.stat_result:
        if str(asked).startswith(path):
            raise PermissionError(13, "Permission denied", str(asked))
        return real(asked, *more, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "stat", shut)  # root may look into any folder
    assert run(["show", "model", path]) == 2
    assert capsys.readouterr().err == f"simcost: reading {path}: Permission denied\n"


@pytest.mark.parametrize("line", [
    ["show", "model", "{}"], ["show", "hardware", "{}"], ["show", "scaling-law", "{}"], ["calibrate", "doctor", "{}"],
    ["train", "--model", "llama-3.2-1b", "--hw", "h200", "--stack", "{}"],
    ["train", "--model", "llama-3.2-1b", "--hw", "h200", "--set", "plan.optimizer={}"],
    ["train", "--model", "llama-3.2-1b", "--hw", "h200", "--set", "plan.precision={}"],
    ["decode", "--model", "llama-3.2-1b", "--hw", "h200", "--set", "routing={}.csv"],
])  # fmt: skip
def test_a_name_too_long_is_one_line(line: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run([word.format("x" * 300) for word in line]) == 2
    err = capsys.readouterr().err
    assert "File name too long" in err
    assert err.count("\n") == 1
    assert "write" not in err


def test_a_file_that_ends_too_soon_is_no_interruption(monkeypatch: pytest.MonkeyPatch) -> None:
    def ends(*_: object) -> None:
        raise EOFError("no data left in file")

    monkeypatch.setattr(api, "show_model", ends)  # a model may be known already
    with pytest.raises(EOFError):  # a reader that does not put it into words is a bug, not a key that was pressed
        run(["show", "model", "qwen3-8b"])


def test_a_suffix_that_says_nothing_is_an_error_unless_a_format_is_stated(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for command in (ASK, ["calibrate", "report", "h200"], ["list", "scaling-laws"]):
        assert run([*command, "-o", "a.xlsx"]) == 2
        assert capsys.readouterr().err.startswith(
            "simcost: -o a.xlsx: the suffix .xlsx is not a known format: add --format"
        )
    assert not list(tmp_path.iterdir())
    assert run([*ASK, "-o", "a.xlsx", "--format", "json"]) == 0
    assert json.loads(Path("a.xlsx").read_text())["command"] == "show model"
    assert run([*ASK, "-o", "plain"]) == 0
    assert Path("plain").read_text().startswith("simcost show model")


@pytest.mark.parametrize("line", [
    ASK, [*ASK, "--format", "csv"], ["keys", "--schema"],
    ["serve", "--model", "llama-3.2-1b", "--hw", "h200", "--concurrency", "4", "--isl", "128", "--osl", "64", "--emit", "vllm"],
    ["schedule", "1f1b", "--pp", "2", "--microbatches", "4"],
])  # fmt: skip
def test_a_dash_is_stdout(line: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert run(line) == 0
    plain = capsys.readouterr()
    assert run([*line, "-o", "-"]) == 0
    assert capsys.readouterr() == plain
    assert not list(tmp_path.iterdir())


class Figure:
    """What a figure of matplotlib is to who saves it."""

    def savefig(self, file: IO[bytes], format: str, dpi: int) -> None:
        file.write(f"a picture in {format}".encode())

    def close(self, figure: object) -> None:
        assert figure is self


def test_a_picture_keeps_the_mode_and_links_of_what_it_replaces(tmp_path: Path) -> None:
    figure, far = Figure(), tmp_path / "far"
    far.write_text("old")
    far.chmod(0o600)
    (tmp_path / "a.svg").symlink_to("far")
    plot.save(figure, figure, tmp_path / "a.svg")
    assert (tmp_path / "a.svg").is_symlink()
    assert (far.read_text(), stat.S_IMODE(far.stat().st_mode)) == ("a picture in svg", 0o600)
    with pytest.raises(SpecError, match=r"^--plot .*b\.svg: No such file"):
        plot.save(figure, figure, tmp_path / "none" / "b.svg")


def test_without_home_and_without_an_entry_a_query_answers(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    def nobody(uid: int) -> pwd.struct_passwd:
        raise KeyError(uid)

    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(pwd, "getpwuid", nobody)
    assert run(ASK) == 0
    assert capsys.readouterr().err == ""
