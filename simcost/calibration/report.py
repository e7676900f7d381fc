"""Row files of a profile, each judged by curves that have not seen what they are judged on: the long part of a report."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from pathlib import Path

from simcost.calibration import rows as tables
from simcost.calibration import store
from simcost.calibration.family import Labels, families, kind
from simcost.calibration.held_out import Judgement, is_thin, judged
from simcost.calibration.rows import Rows, Run
from simcost.files import state
from simcost.frozen import frozen
from simcost.hardware import load as hardware
from simcost.pool import Piece, Progress, mapped, quiet

_LAST: dict[Hashable, list[Judged]] = {}  # a report and its figure ask for the same


@frozen
class Judged:
    """One kind of a run; `verdict` None where the rows, or their shapes, are too few."""

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
        *((path, state(path)) for _, _, path in found),
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
    if is_thin(rows):
        return labels, rows, None
    with store.naming(path):
        return labels, rows, judged(families()[family], rows, labels, hardware.load(hw))


def fit_all(asked: Sequence[tuple[str, str, Labels, str]], workers: int = 1, progress: Progress = quiet) -> None:
    """Puts curves of (device, family, labels, engine) into the cache where they are missing, in several processes, before they
    are asked for one by one."""
    pieces = [Piece(one, f"{one[0]} {one[1]} {kind(one[2])} {one[3]}", 400.0) for one in asked]
    mapped(_fit, pieces, workers, progress)


def _fit(hw: str, family: str, labels: Labels, engine: str) -> None:
    store.Store(hardware.load(hw)).find(family, labels, engine)


def _rows(path: Path) -> float:
    """Rows of a file, roughly, before it is read."""
    return float(path.read_bytes().count(b"\n"))


def _files(runs: Sequence[Run], family: str | None) -> Iterator[tuple[Run, str, Path]]:
    """(run, family, row file) of every kind."""
    for run in runs:
        for name in families() if family is None else [family]:
            yield from ((run, name, run.file(name, which)) for which in run.kinds(name))
