"""The cache of curves: what is not as it was written is made again, in a folder that nobody else writes to; without one answers still come."""

from __future__ import annotations

import errno
import os
import pickle
import pwd
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from simcost import errors, texts
from simcost.calibration import rows as tables
from simcost.calibration import store
from simcost.calibration.curves import curve as curves
from simcost.calibration.family import families
from simcost.files import kept
from simcost.hardware import load as hardware

H200, GEMM = hardware.load("h200"), families()["gemm"]
BF16 = {"x": "bf16", "w": "bf16", "compute": "bf16"}
VALUES = np.array([1.5, np.pi, -0.0, np.inf])


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    found: list[str] = []
    monkeypatch.setattr(errors, "listeners", [lambda text, about: found.append(text)])
    return found


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A cache of its own, not there yet."""
    monkeypatch.setenv("SIMCOST_CACHE", str(tmp_path / "cache"))
    kept.folder.cache_clear()
    yield tmp_path / "cache"
    kept.folder.cache_clear()


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], curves.Curve]:
    """A curve of few rows, as a new process would ask for it."""
    path = tmp_path / "bf16-bf16-bf16.csv"
    shapes = [(2**i, 128 * (1 + i % 3), 256 * (1 + i % 5)) for i in range(12)]
    path.write_text(
        "batch,m,n,k,seconds\n" + "".join(f"1,{m},{n},{k},{1e-5 + m * n * k * 3e-15}\n" for m, n, k in shapes)
    )
    assert len(tables.read(path, GEMM)) == 12

    def ask() -> curves.Curve:
        monkeypatch.setattr(store, "_MEMORY", {})
        return store.load(path, "gemm", BF16, H200)

    return ask


def test_numbers_come_back_bit_by_bit(home: Path, told: list[str]) -> None:
    assert kept.read("a.curve", kept.CURVE) is None
    kept.write("a.curve", VALUES.tobytes(), kept.CURVE)
    assert kept.read("a.curve", kept.CURVE) == VALUES.tobytes()
    assert [one.name for one in home.iterdir()] == ["a.curve"]
    assert home.stat().st_mode & 0o077 == 0
    assert not told


def test_a_shipped_table_is_kept_and_read_again_as_it_was(home: Path, told: list[str]) -> None:
    text = '[a]\nb = 1.5\nc = [1, true, "ü\\n"]\nd = {e = 1_000_000_000_000_000_000_000, f = 1.0}\n'
    first = texts.toml(text)
    (file,) = home.iterdir()
    again = texts.toml(text)
    assert first == again
    assert [type(value) for value in again["a"]["d"].values()] == [int, float]
    for data in (b"", b"foreign", file.read_bytes()[:-1], file.read_bytes().replace(b"1.5", b"2.5")):
        file.write_bytes(data)
        assert texts.toml(text) == first
    assert texts.toml(text + "g = 1979-05-27\n") != first
    assert [one.suffix for one in home.iterdir()] == [".table"]  # a date has no JSON
    assert not told


def test_without_a_folder_tables_are_read_and_nothing_is_said(home: Path, told: list[str]) -> None:
    home.write_text("in the way")
    assert texts.toml("a = 1") == {"a": 1}
    assert not told


def spoilt(data: bytes) -> dict[str, bytes]:
    return {
        "empty": b"", "cut off": data[:-1], "half": data[: len(data) // 2], "a bit flipped": data[:-9] + bytes([data[-9] ^ 1]) + data[-8:],
        "longer": data + b"\0" * 8, "foreign": b"not a curve", "a pickle": pickle.dumps(os.getcwd), "another version": data.replace(b"curve 1", b"curve 0"),
        "an npy": b"\x93NUMPY\x01\x00v\x00{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000,), }".ljust(128) + b"\n",
    }  # fmt: skip


@pytest.mark.parametrize("which", spoilt(b"curve 1" * 9))
def test_a_file_that_is_not_as_it_was_written_is_made_again_with_one_line(
    which: str, home: Path, load: Callable[[], curves.Curve], told: list[str]
) -> None:
    whole = load()
    (file,) = home.glob("*.curve")
    file.write_bytes(spoilt(file.read_bytes())[which])
    told.clear()
    assert load().wide == whole.wide
    assert told[0] == f"{file}: cut off, or not as simcost wrote it; the curve is fitted again"
    told.clear()
    assert load().wide == whole.wide
    assert not told  # it is whole again


@pytest.mark.parametrize("values", [np.zeros(0), np.zeros(13), np.full(40, np.nan), np.full(13, 1e300)])
def test_numbers_that_are_no_curve_are_made_again(
    values: np.ndarray, home: Path, load: Callable[[], curves.Curve], told: list[str]
) -> None:
    whole = load()
    (file,) = home.glob("*.curve")
    kept.write(file.name, values.tobytes(), kept.CURVE)
    told.clear()
    assert load().wide == whole.wide
    assert told[0] == f"{file}: no curve; the curve is fitted again"


def test_a_fifo_and_a_giant_are_not_waited_for(home: Path, told: list[str]) -> None:
    home.mkdir()
    os.mkfifo(home / "a.curve")
    (home / "b.curve").touch()
    os.truncate(home / "b.curve", 1 << 40)
    assert (kept.read("a.curve", kept.CURVE), kept.read("b.curve", kept.CURVE)) == (None, None)
    assert [line.partition(": ")[2] for line in told] == ["no file of a curve; the curve is fitted again"] * 2


def test_a_fifo_is_not_written_to(home: Path, told: list[str]) -> None:
    home.mkdir()
    os.mkfifo(home / "name")
    kept.write("name", b"curve", kept.CURVE)
    assert [line for line in told if "no file of a curve; curves are not kept" in line]
    kept.write("name", b"table", kept.TABLE)
    assert len(told) == 1


def test_a_relative_folder_of_a_process_whose_own_folder_is_gone(
    told: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIMCOST_CACHE", "relative")
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    kept.folder.cache_clear()
    assert kept.folder() is None
    assert [line for line in told if "cannot be found" in line]
    kept.folder.cache_clear()


def test_a_full_disk_is_one_line_and_the_answer_comes(
    home: Path, load: Callable[[], curves.Curve], told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(handle: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    assert load().rows == 12
    assert told[1:] == [
        f"{home}: No space left on device; curves are not kept, SIMCOST_CACHE=FOLDER sets another folder"
    ]
    assert not list(home.iterdir())


@pytest.mark.parametrize(("make", "why"), [
    (lambda home: home.chmod(0o777), "can be written by every user"),
    (lambda home: (home.rmdir(), home.write_text("in the way")), "is not a folder"),
    (lambda home: (home.rmdir(), home.symlink_to(home)), r"cannot be read \(Too many levels of symbolic links\)"),
])  # fmt: skip
def test_a_folder_that_is_not_ours_alone_is_not_used_and_said(
    make: Callable[[Path], object], why: str, home: Path, load: Callable[[], curves.Curve], told: list[str]
) -> None:
    home.mkdir()
    make(home)
    assert load().rows == 12
    assert (
        told[0] == f"curves are not kept, {home} {why.replace(chr(92), '')}: SIMCOST_CACHE=FOLDER sets another folder"
    )
    assert not home.is_dir() or not list(home.iterdir())


def test_another_users_folder_is_not_used(home: Path, told: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    home.mkdir()
    monkeypatch.setattr(os, "geteuid", lambda: home.stat().st_uid + 1)
    monkeypatch.setattr(kept, "_TRUSTED", -1)
    assert kept.folder() is None
    assert "belongs to another user" in told[0]


def test_without_home_and_without_an_entry_curves_are_not_kept(
    home: Path, load: Callable[[], curves.Curve], told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def nobody(uid: int) -> pwd.struct_passwd:
        raise KeyError(uid)

    for name in ("SIMCOST_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", nobody)
    assert load().rows == 12
    assert told[0].startswith("curves are not kept: HOME is not set")


def test_a_relative_folder_of_the_specification_is_passed_over(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """XDG Base Directory Specification 0.8: relative paths are invalid."""
    monkeypatch.delenv("SIMCOST_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    for base, found in (("here", ".cache/simcost"), (str(tmp_path / "x"), "x/simcost")):
        monkeypatch.setenv("XDG_CACHE_HOME", base)
        kept.folder.cache_clear()
        assert kept.folder() == tmp_path / found
