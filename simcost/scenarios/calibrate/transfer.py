"""What `calibrate transfer` answers: rows of one device priced by a sibling's curves, rows of one kind by a related kind's.

A stand-in is priced as a query prices it (`simcost.cost.calibrated`): a start-up is kept but for what profiles say of it, the
rest follows the ratio of the two lights.
An engine's own table is judged by the same engine's own table of the sibling, a library's by the library's. The spreads in
`calibration/store.py` and in the profiles are such errors, 90 % quantile over 1.645. Most likely to be wrong: that the next pair of devices is like
those that were measured.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from simcost.calibration import coverage, store, tables
from simcost.calibration import rows as files
from simcost.calibration.family import Labels, families, kind
from simcost.calibration.report import fit_all
from simcost.calibration.rows import Rows
from simcost.calibration.speed_of_light import on_wire
from simcost.calibration.store import Found
from simcost.cost.calibrated import Calibrated
from simcost.errors import SpecError
from simcost.frozen import frozen
from simcost.hardware import load as hardware
from simcost.hardware.engines import ANY, TORCH
from simcost.hardware.profile import Device
from simcost.num import Z90_STATED, Array
from simcost.pool import Progress, quiet
from simcost.provenance import Basis
from simcost.result import Result, Row


@frozen
class Own:
    """Rows of one kind that a device has of its own: of an engine's table, or of a run ("any", "torch")."""

    family: str
    labels: Labels
    engine: str
    path: Path

    @property
    def key(self) -> tuple[str, str, str]:
        """(family, kind, engine)."""
        return self.family, kind(self.labels), self.engine


@frozen
class Apart:
    """Errors of rows of one kind: the log of priced over measured, and the tokens (or sequences) of each row, None of links. [rows]"""

    of: Own
    log_error: Array
    tokens: Array | None


def transfer(hw: str | None = None, sibling: str | None = None, workers: int = 1, progress: Progress = quiet) -> Result:
    """What stand-ins are worth: rows of `hw` by a sibling's curves and by related kinds; every measured pair by default. Raises
    SpecError for a device without measurements, and where two have no kind in common."""
    known = [name for name in hardware.names() if owned(hardware.load(name))]
    for name in (hw, sibling):
        if name is not None and not owned(hardware.load(name)):
            raise SpecError(
                f"{hardware.load(name).where}: no measurements to compare with (measured devices: {', '.join(known)})"
            )
    targets, others = [hw] if hw is not None else known, [sibling] if sibling is not None else known
    every = {name: owned(hardware.load(name)) for name in dict.fromkeys([*targets, *others])}
    fit_all(
        [(name, one.family, one.labels, one.engine) for name, each in every.items() for one in each], workers, progress
    )
    rows: list[Row] = []
    for target in targets:
        device = hardware.load(target)
        rows.append(_row("related kind", target, target, by_kind(device, every[target])))
        for other in others:
            if other != target:
                rows.append(
                    _row(
                        "sibling", target, other, by_sibling(device, hardware.load(other), every[target], every[other])
                    )
                )
    rows = [row for row in rows if row["rows"]]
    if not rows:
        raise SpecError(f"{sibling} has no kind of rows in common with {hw}")
    return Result(
        "calibrate transfer", {"hw": hw, "from": sibling}, {"pairs": len(rows)}, {"stand-ins": rows},
        verdict="a stand-in's spread is its P90 over 1.645",
    )  # fmt: skip


def owned(device: Device) -> list[Own]:
    """Kinds that a device has rows of its own of: tables that engines pick as their own, and runs."""
    found: list[Own] = []
    for (name, which), picks in tables.picks(Path(device.tables)).items() if device.tables else ():
        for pick in picks:
            if pick.own and not pick.substitute:
                path = files.row_file(Path(device.tables) / pick.tables[0], name, which)
                found.append(Own(name, files.labels_of(path, families()[name]), pick.engine, path))
    for run in coverage.runs(device):
        engine = ANY if run.record["kind"] == "imported" else TORCH
        for name, family in families().items():
            for path in (run.file(name, which) for which in run.kinds(name)):
                one = Own(name, files.labels_of(path, family), engine, path)
                if files.enough(path, family, store.LEAST) and one.key not in [other.key for other in found]:
                    found.append(one)
    return found


def by_sibling(device: Device, sibling: Device, mine: list[Own], theirs: list[Own]) -> Iterator[Apart]:
    """Errors of every kind and engine that both devices have, by the sibling's curves carried to `device`."""
    there = {one.key for one in theirs}
    model, curves = Calibrated(device), store.Store(sibling)
    for one in mine:
        if one.key in there:
            found = curves.find(one.family, one.labels, one.engine)
            if found is not None and found.basis is Basis.FITTED:
                compute, memory = store.reached(one.family, sibling, device)
                yield _apart(model, one, replace(found, compute=compute, memory=memory))


def by_kind(device: Device, mine: list[Own]) -> Iterator[Apart]:
    """Errors of every kind that has a relative of the same engine on the same device, by the relative's curve."""
    there = {one.key for one in mine}
    model, curves = Calibrated(device), store.Store(device)
    for one in mine:
        relatives = families()[one.family].relatives(one.labels)
        near = next((other for other in relatives if (one.family, kind(other), one.engine) in there), None)
        found = None if near is None else curves.find(one.family, near, one.engine)
        if found is not None:
            yield _apart(model, one, replace(found, like=near))


def _apart(model: Calibrated, one: Own, found: Found) -> Apart:
    family = families()[one.family]
    rows: Rows = files.kernels(one.path, family)[1]
    said = model.by(family.op(rows.numbers, one.labels), one.family, found).seconds
    tokens = (
        None if on_wire(one.family) else next((rows.numbers[name] for name in getattr(family, "LADDERS", ())), None)
    )
    return Apart(one, np.asarray(np.log(said / rows.seconds)), tokens)


def shared(found: Sequence[Apart]) -> float | None:
    """Share of the variance of the errors that kernels of different families have in common where one engine runs as many tokens through
    them, in steps of a factor of two: the mean product of two families' mean errors over the mean square of an error. None where
    no two families meet."""
    means: dict[tuple[str, int], dict[str, list[Array]]] = {}
    squares: list[Array] = []
    for one in found:
        if one.tokens is not None:
            bucket = np.round(np.log2(one.tokens)).astype(int)
            squares.append(one.log_error**2)
            for each in np.unique(bucket):
                families_at = means.setdefault((one.of.engine, int(each)), {})
                families_at.setdefault(one.of.family, []).append(one.log_error[bucket == each])
    products = [
        float(a * b)
        for members in means.values()
        for a, b in combinations([np.mean(np.concatenate(parts)) for parts in members.values()], 2)
    ]
    return float(np.mean(products) / np.mean(np.concatenate(squares))) if products else None


def _row(what: str, target: str, other: str, errors_of: Iterable[Apart]) -> Row:
    found = list(errors_of)
    errors: dict[str, list[Array]] = {}
    for one in found:
        errors.setdefault(one.of.family, []).append(np.abs(one.log_error))
    every = np.concatenate([e for es in errors.values() for e in es]) if errors else np.zeros(0)
    row: dict[str, Any] = {"what": what, "hw": target, "by": other, "rows": len(every)}
    if len(every):
        row |= {"median_error": float(np.median(every)), "p90_error": float(np.quantile(every, 0.9))}
        row["spread"] = round(row["p90_error"] / Z90_STATED, 3)
        row["shared_by_all"] = None if what == "related kind" else shared(found)
    for family, parts in errors.items():
        row[f"{family}_p90_error"] = float(np.quantile(np.concatenate(parts), 0.9))
    return row
