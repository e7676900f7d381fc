"""What is kept between processes, in the user's cache folder: curves and shipped tables as they were read, behind a checksum, in a folder that nobody else
writes to.

A file that is cut off, foreign or changed is none: it is made again. A folder that others may write to is not used, because whoever writes
a curve there sets answers; without any folder curves are fitted in every process. Most likely to be wrong: a folder above the
cache that others may write to, which is not looked at.
"""

from __future__ import annotations

import os
import stat
from functools import cache
from pathlib import Path

from simcost.errors import say
from simcost.files import blake2b, is_regular, put

# First lines of files: the number is raised when the bytes below it mean something else.
CURVE, TABLE = b"simcost curve 1\n", b"simcost table 1\n"
_SUM = 16  # bytes of the checksum
_LARGEST = 1 << 26  # bytes of a file that is read; the largest curve has a hundredth
_TRUSTED = 0  # who may set any answer as it is: root
_INSTEAD = "SIMCOST_CACHE=FOLDER sets another folder"


@cache
def folder() -> Path | None:
    """Folder of what is kept: SIMCOST_CACHE, XDG_CACHE_HOME/simcost or ~/.cache/simcost, read once in the process; None, which is said, where
    there is none, or where others may write to it."""
    found, why = _place()
    if why:
        say(f"curves are not kept{why}{_INSTEAD}")
    return found


def _place() -> tuple[Path | None, str]:
    """The folder, or why there is none."""
    stated, base = os.environ.get("SIMCOST_CACHE"), os.environ.get("XDG_CACHE_HOME", "")
    if stated:
        try:
            found = Path(os.path.abspath(stated))
        except OSError as error:  # this process's own folder is gone
            return None, f", {stated} cannot be found ({error.strerror or error}): "
    elif os.path.isabs(base):  # its specification leaves out what is not
        found = Path(base) / "simcost"
    else:
        try:
            found = Path.home() / ".cache" / "simcost"
        except RuntimeError:
            return None, ": HOME is not set, and this user has no home directory; "
    why = _unsafe(found)
    return (None, f", {found} {why}: ") if why else (found, "")


def _unsafe(found: Path) -> str:
    """Why a folder is not to be trusted; "" for one that is, or that is not there yet."""
    try:
        there = os.stat(found)
    except FileNotFoundError:
        return ""
    except OSError as error:
        return f"cannot be read ({error.strerror or error})"
    if not stat.S_ISDIR(there.st_mode):
        return "is not a folder"
    if hasattr(os, "geteuid") and there.st_uid not in (os.geteuid(), _TRUSTED):
        return "belongs to another user"
    return "can be written by every user" if there.st_mode & stat.S_IWOTH else ""


def read(name: str, head: bytes) -> bytes | None:
    """What was kept under the name of a file; None where there is nothing, which is said of a curve that is not as it was written."""
    home = folder() if head == CURVE else _place()[0]
    if home is None:
        return None
    path = home / name
    try:
        data = _bytes(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        _bad(path, error.strerror or str(error), head)
        return None
    first, body = data[: len(head) + _SUM], data[len(head) + _SUM :]
    if first == head + _checksum(body):
        return body
    _bad(path, "cut off, or not as simcost wrote it", head)
    return None


def spoilt(name: str) -> None:
    """Says that what was kept under a name is no curve."""
    _bad(Path(f"{folder()}") / name, "no curve", CURVE)


def _bad(path: Path, why: str, head: bytes) -> None:
    if head == CURVE:  # tables are read again in no time
        say(f"{path}: {why}; the curve is fitted again")


def _bytes(path: Path) -> bytes:
    """Raises OSError; a FIFO or a giant of the same name is refused, not waited for."""
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    with os.fdopen(handle, "rb") as file:
        there = os.fstat(handle)
        if not stat.S_ISREG(there.st_mode) or there.st_size > _LARGEST:
            raise OSError(None, "no file of a curve")
        return file.read()


def _checksum(body: bytes) -> bytes:
    return blake2b(body, digest_size=_SUM).digest()


def write(name: str, body: bytes, head: bytes) -> None:
    """Keeps bytes under the name of a file. A cache that cannot be written is no error, only slower next time: a line says so of curves."""
    home = folder() if head == CURVE else _place()[0]
    if home is None:
        return
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        # What a crash spoils the checksum tells: a first question need not wait for the disk.
        if not is_regular(home / name):
            raise OSError(None, "no file of a curve")
        put(home / name, head + _checksum(body) + body, lasting=False)
    except OSError as error:
        if head == CURVE:
            say(f"{home}: {error.strerror or error}; curves are not kept, {_INSTEAD}", "kept curves")
