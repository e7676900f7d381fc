"""Where the shipped data lives, files and folders that stand whole or as they were, and whether a file changed.

What is new is written beside its place and moved there at the end; only regular files are replaced. Most likely to be wrong: a file system
without atomic rename.
"""

from __future__ import annotations

import errno
import os
import stat
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from simcost.errors import SpecError

try:
    from _blake2 import blake2b as blake2b  # hashlib's own, without OpenSSL, which takes 2 ms to start
except ImportError:
    from hashlib import blake2b as blake2b

if TYPE_CHECKING:  # a query's imports are counted
    from typing import BinaryIO

_PACKAGE = Path(__file__).resolve().parent.parent
_LINKS = 40  # symbolic links in a row that Linux follows
_LEFT_S = 3600.0  # after which nobody is writing to a part any longer
_JUST_NS = 2_000_000_000  # the coarsest clock of a file system in use, FAT's
_HASHED = 1 << 24  # bytes of the largest file whose bytes are looked at: a config, not a checkpoint


@cache
def folder(name: str) -> Path:
    """The folder `hwprofiles` or `workloads`: inside the installed wheel, or beside the clone's `simcost/`."""
    installed = _PACKAGE / "_data" / name
    return installed if installed.is_dir() else _PACKAGE.parent / name


def shipped(path: Path) -> bool:
    """Whether a file came with simcost."""
    return _PACKAGE in path.parents or any(folder(name) in path.parents for name in ("hwprofiles", "workloads"))


def put(path: Path, data: bytes, lasting: bool = True) -> None:
    """Bytes as the content of a path; `lasting`: they are on the disk when this returns, which a disk takes milliseconds for. A regular file, also one that a symbolic link leads to, is replaced whole
    or not at all, and keeps its mode and owner; a FIFO, a device or an open descriptor (/dev/fd/3) is written to. Raises OSError."""
    target, there = _target(path)
    if isinstance(target, int):
        _pour(os.dup(target), data)
    elif there is not None and not stat.S_ISREG(there.st_mode):
        _pour(os.open(target, os.O_WRONLY | os.O_NOCTTY), data)
    else:
        with _replacing(target, there, lasting) as new:
            _pour(new, data, last=lasting)


@contextmanager
def stream(path: Path, said: str = "") -> Iterator[BinaryIO]:
    """A file to write to piece by piece, of any size; a regular file is replaced when all went well, as `put` does. Raises SpecError, which names `said` or the path."""
    with _in_a_line(path, said):
        target, there = _target(path)
        if isinstance(target, int) or (there is not None and not stat.S_ISREG(there.st_mode)):
            with os.fdopen(
                os.dup(target) if isinstance(target, int) else os.open(target, os.O_WRONLY | os.O_NOCTTY), "wb"
            ) as file:
                yield file
            return
        with _replacing(target, there) as new, os.fdopen(new, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())


@contextmanager
def _replacing(target: Path, there: os.stat_result | None, lasting: bool = True) -> Iterator[int]:
    """The descriptor of a new file beside `target`, which it replaces when all went well; nothing is left of it otherwise. `lasting`: its name is on the disk then."""
    part = _beside(target, "part")
    try:
        yield _new(part, there)
        part.replace(target)
        if lasting:
            _settled(target.parent)
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        _sweep(target, ".part")


def probe(path: Path) -> None:
    """Raises OSError where `put` would, as far as that shows before there is anything to write."""
    target, there = _target(path)
    if isinstance(target, int):
        os.fstat(target)
    elif there is None or stat.S_ISREG(there.st_mode):
        part = _beside(target, "part")
        os.close(_new(part, there))
        part.unlink()


def _target(path: Path) -> tuple[Path | int, os.stat_result | None]:
    """(where bytes for a path go: an open descriptor, or the path that is no link; what is there now). Raises OSError for a place that takes none."""
    descriptor = _descriptor(path)
    if descriptor is not None:
        return descriptor, None
    try:
        there = os.stat(path)
    except FileNotFoundError:
        return Path(os.path.realpath(path)), None
    if stat.S_ISDIR(there.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if stat.S_ISBLK(there.st_mode):  # whoever may write there would lose a file system
        raise OSError(errno.EINVAL, "a disk, which is not a text file", str(path))
    if not os.access(path, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
    return Path(os.path.realpath(path)), there


def _descriptor(path: Path) -> int | None:
    """The open descriptor that a path stands for (/dev/stdout, /dev/fd/3); None for any other. To open such a path anew would write over what others wrote to it."""
    homes = ("/dev/fd", os.path.realpath("/dev/fd"))
    for _ in range(_LINKS):
        if path.name.isdecimal() and os.path.realpath(path.parent) in homes:
            return int(path.name)
        if not path.is_symlink():
            return None
        path = path.parent / os.readlink(path)
    return None


def _beside(path: Path, what: str) -> Path:
    """A name that nobody can guess, beside a path, of a length that every folder takes."""
    return path.with_name(f"{_ours(path)}{os.urandom(8).hex()}.{what}")


def _ours(path: Path) -> str:
    """How the names begin of what is written for a path."""
    return f".simcost-{zlib.crc32(os.fsencode(path.name)):08x}-"


def _new(part: Path, there: os.stat_result | None) -> int:
    """A descriptor of a new file with the mode and owner of the one that it will replace; of one that replaces none, as the umask says."""
    handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666 if there is None else 0o600)
    if there is not None:
        with suppress(OSError):  # it stays ours where it cannot be given away
            os.fchown(handle, there.st_uid, there.st_gid)
        with suppress(OSError):  # some disks have no modes
            os.fchmod(handle, stat.S_IMODE(there.st_mode) & 0o777)
    return handle


def _pour(handle: int, data: bytes, last: bool = False) -> None:
    """All bytes into a descriptor, which is then closed; `last`: onto the disk."""
    try:
        left = memoryview(data)
        while left:
            left = left[os.write(handle, left) :]
        if last:
            os.fsync(handle)
    finally:
        os.close(handle)


def _settled(folder: Path) -> None:
    """The names of a folder onto the disk, where its file system can."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _rmtree(path: str | Path, ignore_errors: bool = False) -> None:
    from shutil import rmtree  # which loads three compressors: most questions remove nothing

    rmtree(path, ignore_errors=ignore_errors)


def _sweep(path: Path, *suffixes: str) -> None:
    """Removes what a killed process left beside a path; what is younger than an hour may still be in use."""
    ours = _ours(path)
    with suppress(OSError), os.scandir(path.parent) as entries:
        for entry in entries:
            if not (entry.name.startswith(ours) and entry.name.endswith(suffixes)):
                continue
            with suppress(OSError):
                if time.time() - entry.stat(follow_symlinks=False).st_ctime > _LEFT_S:
                    _rmtree(entry.path) if entry.is_dir(follow_symlinks=False) else os.unlink(entry.path)


def write_whole(path: Path, text: str | bytes, said: str = "", make: bool = True) -> None:
    """Text or bytes as the content of a path, as `put`; `make`: its folder too, where there is none. Raises SpecError, which names `said` or the
    path; what stood there then still stands."""
    data = text if isinstance(text, bytes) else text.encode("utf-8", "backslashreplace")  # a name may be no text
    with _in_a_line(path, said):
        if make:
            path.parent.mkdir(parents=True, exist_ok=True)
        put(path, data)


def check(path: Path, said: str = "") -> None:
    """Raises SpecError where `write_whole` would, as far as that shows before the work."""
    with _in_a_line(path, said):
        probe(path)


@contextmanager
def _in_a_line(path: Path, said: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise SpecError(f"{said or path}: {getattr(error, 'strerror', None) or error}") from None


def state(path: Path | str) -> tuple[int, ...]:
    """What tells the content of a file from all that it was and will be: which file of the disk it is, its size, when it changed. Of one that
    changed just now, whose next change may bear the same time, a hash of its bytes too. Raises SpecError."""
    try:
        return _state(path)
    except OSError as error:
        raise SpecError(f"reading {path}: {error.strerror or error}") from None


def _state(path: Path | str) -> tuple[int, ...]:
    found = os.stat(path)
    key = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
    old = abs(time.time_ns() - found.st_ctime_ns) > _JUST_NS
    return key if old or found.st_size > _HASHED else (*key, hash(Path(path).read_bytes()))


def is_file(path: Path) -> bool:
    """Whether a path leads to a regular file. Raises SpecError for one that cannot be looked at: in a closed folder, or too long."""
    return stat.S_ISREG(_mode(path))


def is_regular(path: Path) -> bool:
    """Whether what is written to a path replaces a regular file, or makes one. Raises SpecError as `is_file`."""
    return _descriptor(path) is None and (is_file(path) or not exists(path))


def is_dir(path: Path) -> bool:
    """Whether a path leads to a folder. Raises SpecError as `is_file`."""
    return stat.S_ISDIR(_mode(path))


def exists(path: Path) -> bool:
    """Whether a path leads to anything. Raises SpecError as `is_file`."""
    return _mode(path) != 0


def _mode(path: Path) -> int:
    try:
        return os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: no name of a file, it holds a NUL
        return 0
    except OSError as error:
        raise SpecError(f"reading {path}: {error.strerror or error}") from None


def data_rows(path: Path) -> int:
    """Rows of a CSV below its header, by its lines alone. Raises OSError."""
    return max(path.read_bytes().count(b"\n") - 1, 0)


@contextmanager
def folder_in_place_of(home: Path) -> Iterator[Path]:
    """A new folder to fill; when all went well it replaces `home`, or the folder that it leads to, with all that stood there, and has its mode. Raises SpecError; the old one then still stands."""
    said, home = home, Path(os.path.realpath(home))
    part, old = _beside(home, "part"), _beside(home, "old")
    try:
        part.mkdir(parents=True)
        yield part
        if home.exists():
            part.chmod(stat.S_IMODE(home.stat().st_mode))
            home.replace(old)
        part.replace(home)
    except OSError as error:
        if old.exists() and not home.exists():
            old.replace(home)
        raise SpecError(f"{said}: {error.strerror or error}") from None
    finally:
        _rmtree(part, ignore_errors=True)
        if home.exists():  # else `old` is all that there is
            _rmtree(old, ignore_errors=True)
            _sweep(home, ".part", ".old")
