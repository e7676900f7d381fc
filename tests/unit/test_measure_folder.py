"""Rows on disk while a run goes on: appended whole, merged, mended, refused; a full disk costs none of them."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys

import pytest

from simcost.calibration import rows as tables
from simcost.calibration.family import families
from simcost.errors import SpecError
from simcost.measure.machine.environment import same
from simcost.measure.points.folder import Folder, header
from simcost.measure.points.hold import hold, undisturbed
from simcost.measure.points.point import Point, kind_of
from simcost.measure.timing.cpu import Timing

GEMM = kind_of("gemm", x="bf16", w="bf16", compute="bf16")
FAMILY = families()["gemm"]


def point(m: float) -> Point:
    return Point(GEMM, (1.0, m, 256.0, 512.0))


def timing(seconds: float, samples: int = 5) -> Timing:
    return Timing(seconds, seconds * 0.9, seconds * 1.2, samples, 0.0)


@pytest.fixture
def run(tmp_path):
    found = Folder(tmp_path / "run")
    found.begin()
    found.write_record({"schema": 1, "kind": "measured", "title": "t"})
    return found


def test_rows_are_read_back_and_known_points_are_skipped(run):
    run.append(point(4), timing(1e-3))
    run.append(point(8), timing(2e-3))
    read = tables.read(run.file(GEMM), FAMILY)
    assert list(read.numbers["m"]) == [4, 8]
    assert list(read.seconds) == [1e-3, 2e-3]
    again = Folder(run.home)
    assert again.has(point(4))
    assert not again.has(point(5))
    assert again.count(GEMM) == 2


def test_visits_of_a_point_become_one_row_of_medians(run):
    for seconds in (3e-3, 1e-3, 2e-3):
        run.append(point(4), timing(seconds))
    run.append(point(2), timing(5e-3))
    run.merge()
    text = run.file(GEMM).read_text().splitlines()
    assert text[1:] == ["1,2,256,512,0.005,0.0045,0.006,5,0", "1,4,256,512,0.002,0.0018,0.0024,15,0"]
    before = run.file(GEMM).stat().st_mtime_ns
    run.merge()
    assert run.file(GEMM).stat().st_mtime_ns == before  # nothing to do, nothing touched


def test_a_cut_off_row_is_dropped_by_a_resumed_run_and_refused_by_a_reader(run):
    run.append(point(4), timing(1e-3))
    with run.file(GEMM).open("a") as file:
        file.write("1,8,256,512,0.0")
    with pytest.raises(SpecError, match="cut off"):
        tables.read(run.file(GEMM), FAMILY)
    _, notes = Folder(run.home).resume()
    assert len(notes) == 1
    assert "cut off" in notes[0]
    assert len(tables.read(run.file(GEMM), FAMILY)) == 1


def test_half_a_header_is_no_file(run):
    run.file(GEMM).parent.mkdir()
    run.file(GEMM).write_text("batch,m,n")
    _, notes = run.resume()
    assert "half a header" in notes[0]
    assert not run.file(GEMM).exists()


@pytest.mark.parametrize("text", ["a,b\n1,2\n", header("router"), "batch,m,n,k,seconds\n1,2,3,4,oops\n"])
def test_a_foreign_file_is_one_line(run, text):
    run.file(GEMM).parent.mkdir()
    run.file(GEMM).write_text(text)
    with pytest.raises(SpecError) as error:
        Folder(run.home).has(point(4))
    assert "\n" not in str(error.value)
    assert str(run.file(GEMM)) in str(error.value)


def test_a_full_disk_is_one_line_and_earlier_rows_are_intact(run, monkeypatch):
    run.append(point(4), timing(1e-3))
    real = os.write

    def full(handle, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(SpecError, match=r"No space left on device; earlier rows are intact"):
        run.append(point(8), timing(1e-3))
    monkeypatch.setattr(os, "write", lambda handle, data: real(handle, data[: len(data) // 2]))
    with pytest.raises(SpecError, match="No space"):
        run.append(point(8), timing(1e-3))
    monkeypatch.undo()
    assert list(tables.read(run.file(GEMM), FAMILY).numbers["m"]) == [4]
    run.append(point(8), timing(1e-3))
    assert len(tables.read(run.file(GEMM), FAMILY)) == 2


def test_a_disk_that_is_full_from_the_start_leaves_no_file_and_its_own_error(run, monkeypatch):
    def full(handle, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    def broken(handle, size):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(SpecError, match="No space left"):
        run.append(point(4), timing(1e-3))
    assert not run.file(GEMM).exists()
    monkeypatch.setattr(os, "ftruncate", broken)
    with pytest.raises(SpecError, match="No space left"):
        run.append(point(4), timing(1e-3))
    monkeypatch.undo()
    run.append(point(4), timing(1e-3))
    assert len(tables.read(run.file(GEMM), FAMILY)) == 1


def test_an_empty_file_stops_neither_a_resumed_run_nor_its_end(run):
    run.file(GEMM).parent.mkdir()
    run.file(GEMM).write_text("")
    again = Folder(run.home)
    again.merge()
    assert again.count(GEMM) == 0
    again.append(point(4), timing(1e-3))
    assert len(tables.read(run.file(GEMM), FAMILY)) == 1
    run.file(GEMM).write_text("")
    _, notes = Folder(run.home).resume()
    assert "empty, removed" in notes[0]
    assert not run.file(GEMM).exists()


def test_a_row_that_is_no_row_is_one_line_when_a_run_is_resumed(run):
    run.append(point(4), timing(1e-3))
    with run.file(GEMM).open("a") as file:
        file.write("1,8,256,512,oops,1,1,5,0\n")
    with pytest.raises(SpecError, match="seconds = 'oops'"):
        Folder(run.home).resume()


def test_bytes_that_are_no_text_are_one_line_when_a_run_is_resumed(run):
    run.file(GEMM).parent.mkdir()
    run.file(GEMM).write_bytes(b"\xff\xfe\n\x80")
    with pytest.raises(SpecError, match="not a UTF-8 text file"):
        Folder(run.home).resume()


def test_a_record_that_cannot_be_replaced_stays_as_it_was(run, monkeypatch):
    before = run.record_file.read_text()

    def full(handle, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(SpecError, match="No space"):
        run.write_record({"schema": 1, "kind": "measured", "title": "other"})
    monkeypatch.undo()
    assert run.record_file.read_text() == before
    assert [p.name for p in run.home.iterdir()] == ["run.toml"]


ENDLESS = """
import itertools, signal, sys
from pathlib import Path
from simcost.measure.points.folder import Folder
from simcost.measure.points.point import Point, kind_of
from simcost.measure.timing.cpu import Timing
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
run = Folder(Path(sys.argv[1]))
run.begin()
run.write_record({"schema": 1, "kind": "measured", "title": "t"})
for m in itertools.count(1):
    run.append(Point(kind_of("gemm", x="bf16", w="bf16", compute="bf16"), (1.0, float(m), 256.0, 512.0)), Timing(m * 1e-6, m * 1e-6, m * 1e-6, 5, 0.0))
    print(m, flush=True)
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_run_that_is_killed_loses_no_row_and_keeps_others_out_until_then(tmp_path, how):
    home = tmp_path / "run"
    command = [sys.executable, "-c", ENDLESS, str(home)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            said = [process.stdout.readline() for _ in range(3)]
            with pytest.raises(SpecError, match=r"run: another run is writing to it: wait until it ends"):
                Folder(home).resume()
            with pytest.raises(SpecError, match=r"exists \(continue it with --resume\)"):
                Folder(home).begin()
        finally:
            process.send_signal(how)
        said += process.stdout.readlines()
    again = Folder(home)
    again.resume()
    rows = tables.read(again.file(GEMM), FAMILY)
    assert set(rows.numbers["m"]) >= {float(line) for line in said if line.endswith("\n")}
    assert list(rows.seconds) == pytest.approx([m * 1e-6 for m in rows.numbers["m"]])
    again.append(point(1e6), timing(1e-3))
    assert again.has(point(1e6))


def test_a_folder_is_free_when_its_run_has_ended(tmp_path):
    folder = Folder(tmp_path / "run")
    folder.begin()
    assert hold(tmp_path / "run") is folder._hold  # within a process all share it
    del folder
    ask = "import sys; from pathlib import Path; from simcost.measure.points.hold import hold; hold(Path(sys.argv[1]))"
    subprocess.run([sys.executable, "-c", ask, str(tmp_path / "run")], check=True)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_waits_until_what_belongs_together_is_written(number):
    before, heard, done = signal.signal(number, lambda got, _: heard.append(got)), [], []
    try:
        with undisturbed():
            os.kill(os.getpid(), number)
            done.append(list(heard))
        assert (done, heard) == ([[]], [number])
    finally:
        signal.signal(number, before)


def test_a_folder_with_something_in_it_is_refused(run, tmp_path):
    with pytest.raises(SpecError, match="continue it with --resume"):
        Folder(run.home).begin()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    with pytest.raises(SpecError, match="not a measurement run"):
        Folder(tmp_path / "other").begin()
    (tmp_path / "file").write_text("")
    with pytest.raises(SpecError, match="exists"):
        Folder(tmp_path / "file").begin()


def test_imported_rows_are_never_added_to(run):
    run.write_record({"schema": 1, "kind": "imported", "title": "t"})
    with pytest.raises(SpecError, match="cannot be added to"):
        run.resume()


def test_another_device_torch_or_thread_count_is_refused_by_name():
    mine = {"device": "cpu", "device_name": "x", "torch": "2.13.0", "threads": 1}
    same(mine, dict(mine), "run.toml")
    for key, value in (("torch", "2.12.0"), ("threads", 2), ("device", "cuda:0")):
        with pytest.raises(SpecError, match=rf"run.toml: measured with {key} = .*--resume needs the same"):
            same(mine, {**mine, key: value}, "run.toml")
