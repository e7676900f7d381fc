"""Where the shipped data lives, and files and folders that stand whole or as they were.

What is new is written beside its place and moved there at the end. Most likely to be wrong: a file system without atomic rename.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from simcost.errors import SpecError

_PACKAGE = Path(__file__).resolve().parent


def folder(name: str) -> Path:
    """The folder `hwprofiles` or `workloads`: inside the installed wheel, or beside the clone's `simcost/`."""
    installed = _PACKAGE / "_data" / name
    return installed if installed.is_dir() else _PACKAGE.parent / name


@contextmanager
def in_place_of(path: Path) -> Iterator[Path]:
    """A file to write, with the suffix of `path`; when all went well it takes its place, else it is gone and the old one stands."""
    part = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    try:
        yield part
        part.replace(path)
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def write_whole(path: Path, text: str, said: str = "") -> None:
    """A file in place of another, its folder made. Raises SpecError, which names `said` or the path; the old one then still stands."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with in_place_of(path) as part:
            part.write_text(text, encoding="utf-8")
    except OSError as error:
        raise SpecError(f"{said or path}: {error.strerror or error}") from None


def data_rows(path: Path) -> int:
    """Rows of a CSV below its header, by its lines alone. Raises OSError."""
    return max(path.read_bytes().count(b"\n") - 1, 0)


@contextmanager
def folder_in_place_of(home: Path) -> Iterator[Path]:
    """A new folder to fill; when all went well it replaces `home`, with all that stood there. Raises SpecError; the old one then still stands."""
    part, old = (home.with_name(f".{home.name}.{os.getpid()}.{what}") for what in ("part", "old"))
    try:
        part.mkdir(parents=True)
        yield part
        if home.exists():
            home.replace(old)
        part.replace(home)
    except OSError as error:
        if old.exists() and not home.exists():
            old.replace(home)
        raise SpecError(f"{home}: {error.strerror or error}") from None
    finally:
        shutil.rmtree(part, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
