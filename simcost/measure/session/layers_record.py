"""run.toml of kernels timed inside layers: who measured them, how far it came, how disturbed the machine was.

How disturbed a block was stands in blocks.csv, so that the record of a resumed run is of all its sessions. Most likely
to be wrong: a block between two disturbed ones that looks calm by luck.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from simcost.calibration.record import to_toml
from simcost.calibration.rows import load_run
from simcost.files import data_rows
from simcost.measure.machine import environment
from simcost.measure.machine.target import Target
from simcost.measure.points.folder import fault, replace
from simcost.measure.points.hold import Hold, hold
from simcost.measure.session.quality import NOISY_DIRTY, judged, looks
from simcost.measure.torch_layers.rows import read_blocks

EVERY = 10  # blocks between two looks at the sentinel


class Log:
    """The record of `out`. Raises SpecError where there is one of another machine."""

    def __init__(self, out: Path, target: Target, asked: Mapping[str, Any]) -> None:
        from simcost.measure.sampling.probe import Sentinel
        from simcost.measure.timing.buffers import Bench

        self.out, self.target = out, target
        self.here = {**environment.record(target), **asked}
        self.left_out: list[str] = []
        self._hold: Hold | None = None
        self.before: dict[str, Any] = {}
        if self.path.is_file():
            self.before = dict(load_run(out).record)
            known = self.before.get("environment")
            if isinstance(known, dict):
                environment.same(self.here, known, str(self.path))
        self.started = str(self.before.get("started", _now()))
        self.sentinel = Sentinel(Bench(target, 0), *looks(self.before))

    @property
    def path(self) -> Path:
        """Path of run.toml."""
        return self.out / "run.toml"

    def look(self) -> None:
        """Time the sentinel; on a GPU the blocks need the memory back."""
        from simcost.measure.session.kernels import settings

        with settings(self.target):
            self.sentinel.look()
        if self.target.cuda:
            self.sentinel.bench.release()

    def write(self, state: str) -> None:
        """Writes the whole record, by what is on disk. Raises SpecError where the disk refuses it."""
        try:
            self.out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise fault(self.path, error) from None
        self._hold = hold(self.out)
        blocks = read_blocks(self.out)
        dirty = [float(row["dirty"]) for row in blocks]
        share = sum(dirty) / len(dirty) if dirty else 0.0
        title = f"kernels timed inside running layers, {self.here['device_name']}, torch {self.here['torch']}"
        record: dict[str, Any] = {
            "schema": 1,
            "kind": "measured",
            "title": title,
            "started": self.started,
            "ended": _now(),
            "state": state,
            **judged(self.target.cuda, len(dirty), share, self.sentinel),
            "disturbed": _disturbed(blocks),
            "left_out": self.left_out,
            "environment": self.here,
            "kinds": _kinds(self.out),
        }
        replace(self.path, to_toml(record))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _disturbed(blocks: list[dict[str, str]]) -> list[str]:
    """Blocks whose rows are of a disturbed machine after all tries."""
    return [
        f"{row['block']} {row['direction']}: {float(row['dirty']):.0%} of its samples"
        for row in blocks
        if float(row["dirty"]) > NOISY_DIRTY
    ]


def _kinds(out: Path) -> dict[str, Any]:
    """Rows of every kind on disk; a last line that was cut off is none."""
    return {f"{path.parent.name}/{path.stem}": {"rows": data_rows(path)} for path in sorted(out.glob("*/*.csv"))}
