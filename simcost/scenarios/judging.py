"""Row files of a profile, each judged by curves that have not seen what they are judged on: the long part of a report."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from simcost.calibration import rows as tables
from simcost.calibration import store
from simcost.calibration.family import Labels, families
from simcost.calibration.judge import LEAST, Judgement, judged
from simcost.calibration.rows import Rows, Run
from simcost.hardware import load as hardware
from simcost.scenarios.workers import Piece, Progress, mapped, quiet

_LAST: dict[Hashable, list[Judged]] = {}  # a report and its figure ask for the same


@dataclass(frozen=True, slots=True)
class Judged:
    """One kind of a run; `verdict` None where the rows are too few."""

    run: Run
    family: str
    which: str
    labels: Labels
    rows: Rows
    verdict: Judgement | None


def judgements(
    hw: str, runs: Sequence[Run], family: str | None, workers: int = 1, progress: Progress = quiet
) -> list[Judged]:
    """Every kind of `runs`, in their order. Raises SpecError for a file that cannot be read."""
    found = list(_files(runs, family))
    key = (
        hw,
        repr(hardware.load(hw)),
        repr(runs),
        *((path, path.stat().st_mtime_ns, path.stat().st_size) for _, _, path in found),
    )
    if key not in _LAST:
        pieces = [Piece((hw, name, path), f"{name} {path.stem}", _rows(path)) for _, name, path in found]
        verdicts = mapped(_judged, pieces, workers, progress)
        _LAST.clear()
        _LAST[key] = [
            Judged(run, name, path.stem, *verdict) for (run, name, path), verdict in zip(found, verdicts, strict=True)
        ]
    return _LAST[key]


def _judged(hw: str, family: str, path: Path) -> tuple[Labels, Rows, Judgement | None]:
    labels, rows = tables.kernels(path, families()[family])
    if len(rows) < LEAST:
        return labels, rows, None
    with store.naming(path):
        return labels, rows, judged(families()[family], rows, labels, hardware.load(hw))


def fit_all(devices: Sequence[str], workers: int = 1, progress: Progress = quiet) -> None:
    """Every curve of these devices into the cache, where it is not there: they are asked for next, one by one."""
    files = [(hw, name, path) for hw in devices for _, name, path in _files(_runs(hw), None)]
    mapped(_fit, [Piece(one, f"{one[0]} {one[1]} {one[2].stem}", _rows(one[2])) for one in files], workers, progress)


def _fit(hw: str, family: str, path: Path) -> None:
    device = hardware.load(hw)
    store.load(path, family, tables.labels_of(path, families()[family]), device)


def _runs(hw: str) -> list[Run]:
    return [tables.load_run(Path(home)) for home in hardware.load(hw).measurements]


def _rows(path: Path) -> float:
    """Rows of a file, roughly, before it is read."""
    return float(path.read_bytes().count(b"\n"))


def _files(runs: Sequence[Run], family: str | None) -> Iterator[tuple[Run, str, Path]]:
    """(run, family, row file) of every kind."""
    for run in runs:
        for name in families() if family is None else [family]:
            yield from ((run, name, run.file(name, which)) for which in run.kinds(name))
