"""The parts of a sweep that are done, in a folder beside its output, and the question that they answer: what an interruption leaves, and a resume goes on from.

A part is written whole or not at all. Most likely to be wrong: a file system over a network without locks, where two processes may write
one output. Source: `simcost.files`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from simcost import files
from simcost.bulk import parts
from simcost.bulk.parts import Part
from simcost.errors import SpecError

_SUFFIX = ".part"
_SAID = {
    "question": "another question",
    "points": "another question",
    "style": "another format",
    "files": "other model, device or measurement files",
    "package": "another version of simcost or its data",
}


def home_of(out: Path) -> Path:
    """The folder of an output's parts."""
    return out.with_name(out.name + ".parts")


class Journal:
    """The folder of one output."""

    def __init__(self, out: Path) -> None:
        self.home = home_of(out)
        self._file, self._lock = self.home / "journal.json", self.home / ".lock"

    def late(self) -> dict[int, str]:
        """Structures without an answer that showed as such while an earlier process worked, with the reason."""
        return {int(i): reason for i, reason in self._read().get("late", {}).items()}

    def opened(self, expected: Mapping[str, Any], late: Mapping[int, str]) -> None:
        """A folder that answers `expected`, new or found. Raises SpecError where it answers something else."""
        found = self._read()
        wrong = next((_SAID[key] for key in expected if found and found.get(key) != expected[key]), "")
        if wrong:
            raise SpecError(
                f"{self.home} holds parts of an interrupted sweep of {wrong}: remove the folder to start again, or write to another file with -o"
            )
        self.write(expected, late)

    def write(self, expected: Mapping[str, Any], late: Mapping[int, str]) -> None:
        """The question of the parts. Raises SpecError."""
        files.write_whole(self._file, json.dumps({**expected, "late": late}, indent=1))

    def _read(self) -> dict[str, Any]:
        try:
            found = json.loads(self._file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError):
            raise SpecError(f"{self._file} is damaged: remove the folder {self.home} to start again") from None
        return found if isinstance(found, dict) else {}

    def add(self, data: bytes, part: Part) -> None:
        """Keeps a part. Raises SpecError."""
        files.write_whole(self.home / f"{part.start:012d}-{part.stop:012d}{_SUFFIX}", data, make=False)

    def every(self, whole: bool = False) -> Iterator[Part]:
        """The parts in the order of their rows, `whole`: with them. One that was cut off or changed is removed, and one that another holds."""
        end = 0
        for path in sorted(self.home.glob(f"*{_SUFFIX}")):
            if path.name.startswith("."):
                continue
            part = (parts.whole if whole else parts.known)(path.read_bytes())
            if part is None or part.start < end:
                path.unlink()
                continue
            end = part.stop
            yield part

    def drop(self, start: int, stop: int) -> None:
        """Removes the parts that hold any of these rows."""
        for path in self.home.glob(f"*{_SUFFIX}"):
            first, _, last = path.stem.partition("-")
            if first.isdecimal() and last.isdecimal() and int(first) < stop and int(last) > start:
                path.unlink()

    def end(self) -> None:
        """Removes what is ours of the folder, and the folder where nothing else is in it."""
        for path in [*self.home.glob(f"*{_SUFFIX}"), self._file, self._lock]:
            path.unlink(missing_ok=True)
        with suppress(OSError):
            self.home.rmdir()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Only one process at a time writes an output. Raises SpecError where another does."""
        try:
            self.home.mkdir(exist_ok=True)
            if not self._file.exists() and any(path != self._lock for path in self.home.iterdir()):
                raise SpecError(
                    f"{self.home} exists and was not made by simcost: parts of the output would be written there; remove it, or write to another file with -o"
                )
            handle = os.open(self._lock, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise SpecError(f"{self.home}: {error.strerror or error}") from None
        try:
            with suppress(ImportError):  # other systems than Unix have no such lock
                import fcntl

                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    raise SpecError(f"{self.home}: another simcost process is writing there now") from None
            yield
        finally:
            os.close(handle)
            if not self._file.exists():
                self.end()
