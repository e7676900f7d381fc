"""Files and folders stand whole or as they were."""

from __future__ import annotations

import errno
import os
import stat
import threading
from pathlib import Path

import pytest

from simcost import files
from simcost.errors import SpecError
from simcost.files import check, folder_in_place_of, is_dir, is_file, probe, put, state, write_whole


def test_a_file_takes_the_place_of_another(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.txt"
    write_whole(path, "one")
    write_whole(path, "two")
    assert path.read_text() == "two"
    assert [one.name for one in path.parent.iterdir()] == ["a.txt"]
    with pytest.raises(SpecError, match="Is a directory"):
        write_whole(path.parent, "three")
    assert path.read_text() == "two"


def test_a_folder_takes_the_place_of_another_or_leaves_it(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with folder_in_place_of(home) as new:
        (new / "a").write_text("one")
    with pytest.raises(SpecError, match="No such file"), folder_in_place_of(home) as new:
        (new / "missing" / "b").write_text("never")
    assert [one.name for one in home.iterdir()] == ["a"]
    with folder_in_place_of(home) as new:
        (new / "d").write_text("two")
    assert [one.name for one in home.iterdir()] == ["d"]
    assert list(tmp_path.iterdir()) == [home]


def test_a_folder_keeps_its_mode_and_its_link(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    (tmp_path / "far").chmod(0o700)
    (tmp_path / "link").symlink_to("far")
    with folder_in_place_of(tmp_path / "link") as new:
        (new / "a").write_text("one")
    assert (tmp_path / "link").is_symlink()
    assert (names(tmp_path / "far"), stat.S_IMODE((tmp_path / "far").stat().st_mode)) == (["a"], 0o700)


def names(folder: Path) -> list[str]:
    return sorted(one.name for one in folder.iterdir())


def test_what_is_no_regular_file_is_written_to_and_never_replaced(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(fifo.read_bytes()))
    reader.start()
    put(fifo, b"one")
    reader.join()
    assert read == [b"one"]
    assert stat.S_ISFIFO(fifo.stat().st_mode)
    assert names(tmp_path) == ["fifo"]


def test_a_device_stays_a_device(tmp_path: Path) -> None:
    node = tmp_path / "null"
    try:
        os.mknod(node, stat.S_IFCHR | 0o666, os.makedev(1, 3))
        node.write_bytes(b"")
    except OSError:
        pytest.skip("nodes of devices are root's to make, on a disk that has them")
    put(node, b"gone")
    probe(node)
    assert stat.S_ISCHR(node.stat().st_mode)
    assert names(tmp_path) == ["null"]


def test_a_descriptor_is_written_to_where_it_stands(tmp_path: Path) -> None:
    """A shell may have written to it before, and may after."""
    with (tmp_path / "log").open("wb", buffering=0) as file:
        file.write(b"before ")
        for path in (Path(f"/dev/fd/{file.fileno()}"), Path(f"/proc/self/fd/{file.fileno()}")):
            probe(path)
            put(path, b"now ")
        (tmp_path / "link").symlink_to(f"/dev/fd/{file.fileno()}")
        put(tmp_path / "link", b"and by a link ")
        file.write(b"after")
    assert (tmp_path / "log").read_text() == "before now now and by a link after"
    with pytest.raises(OSError, match="Bad file descriptor"):
        probe(Path("/dev/fd/987"))


def test_a_file_keeps_its_mode_and_its_links(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    secret, link, dangling = tmp_path / "far" / "secret", tmp_path / "link", tmp_path / "dangling"
    secret.write_text("old")
    secret.chmod(0o600)
    link.symlink_to("far/secret")
    dangling.symlink_to("far/new")
    before = os.umask(0o027)
    try:
        put(link, b"new")
        put(dangling, b"made")
        put(tmp_path / "plain", b"by the umask")
    finally:
        os.umask(before)
    assert (secret.read_text(), stat.S_IMODE(secret.stat().st_mode)) == ("new", 0o600)
    assert (link.is_symlink(), dangling.is_symlink()) == (True, True)
    assert (tmp_path / "far" / "new").read_text() == "made"
    assert stat.S_IMODE((tmp_path / "plain").stat().st_mode) == 0o640
    assert names(tmp_path / "far") == ["new", "secret"]


def test_a_loop_of_links_and_a_folder_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    for path, why in ((tmp_path / "a", "symbolic links"), (tmp_path, "Is a directory"), (tmp_path / ("x" * 300), "too long")):  # fmt: skip
        for call in (lambda path: write_whole(path, ""), check):
            with pytest.raises(SpecError, match=why):
                call(path)
    assert names(tmp_path) == ["a", "b"]


def test_a_disk_that_fills_up_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, real = tmp_path / "a", os.write
    path.write_text("old")
    for broken in ("write", "fsync"):

        def full(handle: int, data: bytes = b"") -> int:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(os, broken, full)
        with pytest.raises(SpecError, match=f"^-o {path}: No space left on device$"):
            write_whole(path, "new", f"-o {path}")
        monkeypatch.undo()
        assert path.read_text() == "old"
        assert names(tmp_path) == ["a"]
    monkeypatch.setattr(os, "write", lambda handle, data: real(handle, data[:1]))  # a byte at a time
    put(path, b"whole")
    assert path.read_text() == "whole"


def test_what_a_killed_process_left_is_removed_once_it_is_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, home = tmp_path / "a", tmp_path / "home"

    def fill() -> None:
        with folder_in_place_of(home):
            pass

    monkeypatch.setattr(Path, "replace", lambda self, target: os._exit(9))  # at the worst moment
    for write in (lambda: put(path, b"never"), fill):
        if (child := os.fork()) == 0:
            write()
            os._exit(9)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    monkeypatch.undo()
    left = names(tmp_path)
    assert len(left) == 2
    assert all(name.startswith(".simcost-") for name in left)
    put(path, b"one")
    assert set(left) < set(names(tmp_path))  # another process may be at it
    monkeypatch.setattr(files.time, "time", lambda: os.stat(tmp_path).st_ctime + 3700.0)
    put(path, b"two")
    fill()
    assert names(tmp_path) == ["a", "home"]


def test_a_name_of_any_length_that_a_folder_takes_can_be_written(tmp_path: Path) -> None:
    path = tmp_path / ("é" * 127)
    put(path, b"one")
    assert names(tmp_path) == [path.name]


def test_the_state_of_a_file_tells_every_change(tmp_path: Path) -> None:
    """Of one size, of one time, and in the same instant too."""
    path = tmp_path / "a"
    seen = []
    for text in ("one", "two", "six"):
        path.write_text(text)
        os.utime(path, ns=(10**18, 10**18))
        seen.append(state(path))
    assert len(set(seen)) == 3
    assert state(path) == seen[-1]
    with pytest.raises(SpecError, match=r"reading .*gone: No such file"):
        state(tmp_path / "gone")


def test_a_place_that_cannot_be_looked_at_is_said_as_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (is_file(tmp_path), is_dir(tmp_path), is_file(tmp_path / "no"), is_file(Path("a\0b"))) == (False, True, False, False)  # fmt: skip
    with pytest.raises(SpecError, match=r"^reading x+"):
        is_file(Path("x" * 300))

    def closed(path: Path) -> os.stat_result:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(os, "stat", closed)
    with pytest.raises(SpecError, match=r"reading closed/config.json: Permission denied"):
        is_file(Path("closed/config.json"))
