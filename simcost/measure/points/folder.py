"""A run's folder while it is being written: rows appended whole, visits merged at the end, what is there already skipped.

A row goes out in one `write` to a file opened for appending and is on the disk before the next point starts, so neither
Ctrl-C nor a full disk costs an earlier row. A point visited several times has several rows until `merge` replaces them by
their medians, file by file, each file whole or not at all. Most likely to be wrong: a file system without atomic rename.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from simcost.calibration import rows as tables
from simcost.calibration.family import families
from simcost.calibration.record import to_toml
from simcost.errors import SpecError
from simcost.files import put
from simcost.measure.points.hold import Hold, hold
from simcost.measure.points.point import Kind, Point
from simcost.measure.timing.cpu import Timing, merged


def header(family: str) -> str:
    """The first line of a row file of measured rows."""
    return ",".join([*families()[family].NUMBERS, "seconds", *tables.EXTRA]) + "\n"


def row(point: Point, timing: Timing) -> str:
    """The line of a point in its row file: numbers, seconds, p20_s, p80_s, samples, dirty."""
    return tables.line([*point.numbers, timing.seconds, *timing.extra()])


def fault(path: Path, error: OSError) -> SpecError:
    """A SpecError in one line for a disk that refuses a write; the caller raises it."""
    return SpecError(
        f"{path}: {error.strerror or error}; earlier rows are intact: free some space and continue with --resume"
    )


class Folder:
    """`home` with run.toml and <family>/<kind>.csv. Raises SpecError for anything that stands in the way."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self._hold: Hold | None = None
        self._seen: dict[Kind, set[str]] = {}

    @property
    def record_file(self) -> Path:
        """Path of run.toml."""
        return self.home / "run.toml"

    def begin(self) -> None:
        """Makes the folder, or takes an empty one. Raises SpecError for one with something in it, one that cannot be made, and one that another
        process writes to."""
        if self.home.exists() and (not self.home.is_dir() or any(self.home.iterdir())):
            how = "continue it with --resume" if self.record_file.is_file() else "it is not a measurement run"
            raise SpecError(f"{self.home}: exists ({how}); choose another folder")
        try:
            self.home.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SpecError(f"{self.home}: {error.strerror or error}") from None
        self._hold = hold(self.home)

    def resume(self) -> tuple[dict[str, Any], list[str]]:
        """(the record on disk, notes on repairs). Drops rows that were cut off and merges visits. Raises SpecError where there is
        no record of a measured run, and where another process writes to it."""
        run = tables.load_run(self.home)
        self._hold = hold(self.home)
        if run.record["kind"] != "measured":
            raise SpecError(f"{self.record_file}: rows of kind {run.record['kind']!r} cannot be added to")
        notes = [note for path in sorted(self.home.glob("*/*.csv")) if (note := _mended(path))]
        self.merge()
        return dict(run.record), notes

    def file(self, kind: Kind) -> Path:
        """Path of the row file of a kind."""
        return self.home / kind.family / f"{kind.name}.csv"

    def has(self, point: Point) -> bool:
        """Whether the disk has a row of this point. Raises SpecError for a row file that cannot be read."""
        return point.key in self._keys(point.kind)

    def count(self, kind: Kind) -> int:
        """Points of a kind on disk. Raises SpecError for a row file that cannot be read."""
        return len(self._keys(kind))

    def _keys(self, kind: Kind) -> set[str]:
        if kind not in self._seen:
            path = self.file(kind)
            found: set[str] = set()
            if _filled(path):
                width = len(families()[kind.family].NUMBERS)
                tables.read(path, families()[kind.family])  # a foreign file is an error now, not after an hour
                found = {",".join(text.split(",")[:width]) for text in path.read_text("utf-8").splitlines()[1:]}
            self._seen[kind] = found
        return self._seen[kind]

    def append(self, point: Point, timing: Timing) -> None:
        """Adds one row, which is on the disk when this returns. Raises SpecError where the disk refuses it."""
        keys = self._keys(point.kind)
        path = self.file(point.kind)
        text = row(point, timing)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            append(path, text if _filled(path) else header(point.kind.family) + text)
        except OSError as error:
            raise fault(path, error) from None
        keys.add(point.key)

    def merge(self) -> None:
        """Replaces the visits of a point by one row of their medians, in order of numbers. Raises SpecError for a row that cannot
        be read."""
        for path in sorted(self.home.glob("*/*.csv")):
            if path.parent.name in families():
                self._merge_file(path, path.parent.name)

    def _merge_file(self, path: Path, family: str) -> None:
        """Raises SpecError for a row that cannot be read."""
        width = len(families()[family].NUMBERS)
        if not _filled(path):
            return
        tables.read(path, families()[family])
        head, *lines = path.read_text("utf-8").splitlines()
        if head + "\n" != header(family):
            return
        visits: dict[tuple[float, ...], list[Timing]] = defaultdict(list)
        for text in lines:
            values = [float(cell) for cell in text.split(",")]
            seconds, p20, p80, samples, dirty = values[width:]
            visits[tuple(values[:width])].append(Timing(seconds, p20, p80, int(samples), dirty))
        body = []
        for numbers in sorted(visits):
            timing = merged(visits[numbers])
            body.append(tables.line([*numbers, timing.seconds, *timing.extra()]))
        if [text.rstrip("\n") for text in body] != lines:
            replace(path, header(family) + "".join(body))

    def write_record(self, record: Mapping[str, Any]) -> None:
        """Writes run.toml whole; where that fails the old one stays, and SpecError is raised."""
        replace(self.record_file, to_toml(dict(record)))


def _filled(path: Path) -> bool:
    """Whether there is a file with something in it: an empty one is what a full disk leaves behind."""
    return path.is_file() and path.stat().st_size > 0


def append(path: Path, text: str) -> None:
    """One write to the end of a file. Raises OSError for a write that the disk cut short, which is taken back, with the file if
    it was new."""
    data = text.encode()
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        before = os.fstat(handle).st_size
        try:
            if os.write(handle, data) != len(data):
                raise OSError(28, "No space left on device")
            os.fsync(handle)
        except OSError:
            with suppress(OSError):  # the disk's own error is the one to tell
                os.ftruncate(handle, before)
                if before == 0:
                    path.unlink()
            raise
    finally:
        os.close(handle)


def replace(path: Path, text: str) -> None:
    """A whole file in place of another. Raises SpecError; the old one then still stands."""
    try:
        put(path, text.encode())
    except OSError as error:
        raise fault(path, error) from None


def _mended(path: Path) -> str:
    """Drop a last row that was cut off, and a file without a whole header; says so."""
    data = path.read_bytes()
    if data.endswith(b"\n"):
        return ""
    whole = data.rfind(b"\n") + 1
    if whole == 0:
        path.unlink()
        return f"{path}: {'only half a header' if data else 'empty'}, removed"
    try:
        replace(path, data[:whole].decode("utf-8"))
    except UnicodeDecodeError:
        return ""  # no rows of ours: whoever reads it says so
    return f"{path}: the last row was cut off and is measured again"
