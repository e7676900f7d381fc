"""What `calibrate doctor` answers: whether measured rows are sound, by the rule that chose the tables which ship.

A profile: every table beside it as it ships (thinned), and every run of its own. A CSV: anyone's rows on a device. Each is held against the
tables that ship for the device, kind by kind. Most likely to be wrong: a verdict on a kind of which nothing ships; then only light
and the rows themselves speak, and the answer says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from simcost.calibration import coverage, store
from simcost.calibration import rows as files
from simcost.calibration.curves.curve import Curve
from simcost.calibration.family import families, family_named
from simcost.calibration.rows import Rows
from simcost.calibration.soundness import advice, findings
from simcost.calibration.soundness.evidence import Evidence, evidence
from simcost.calibration.soundness.findings import Finding, Other
from simcost.calibration.tables import verdicts, versions
from simcost.errors import SpecError
from simcost.frozen import frozen
from simcost.hardware import load as hardware
from simcost.hardware.profile import Device
from simcost.num import Bools
from simcost.pool import Piece, Progress, mapped, quiet
from simcost.result import Result, Row, number

_ALONE = "sound by itself: no shipped table to compare with"
_FEW = "too few rows for a verdict"


@frozen
class _Asked:
    """Rows to look at: whose, and what the import said of the whole table."""

    other: Other
    run: str
    at_import: str | None = None


def doctored(
    what: str, family: str | None = None, hw: str | None = None, workers: int = 1, progress: Progress = quiet
) -> Result:
    """Verdicts on rows, kind by kind. `what`: a profile, or a CSV of rows of one `family` measured on `hw`. Raises SpecError for
    a file that is missing, for options that contradict it, and where there are no rows."""
    if family is not None:
        family_named(family)
    rows = what.lower().endswith(".csv")
    device = _device(what, rows, family, hw)
    # What is wrong with a CSV is said before curves are fitted.
    own = _own_csv(Path(what), str(family), device) if rows else _runs(device, family)
    tables = _tables(_shipped(device), family, workers, progress)
    asked = own if rows or not device.tables else [*tables, *own]
    if not asked:
        raise SpecError(
            f"{device.where}: no rows{'' if family is None else f' of family {family!r}'}: nothing to check"
        )
    found = [(one, _finding(one, asked, tables)) for one in asked]
    return _result(what, device, found, rows)


def _device(what: str, rows: bool, family: str | None, hw: str | None) -> Device:
    """Whose rows. Raises SpecError for a file that is missing, and for options that contradict what is asked."""
    if not rows:
        if hw is not None:
            raise SpecError(
                f"--hw {hw} does not apply to a profile ({what}): it names the device on which a CSV of rows was measured"
            )
        return hardware.load(what)
    if not Path(what).exists():
        raise SpecError(f"{what}: No such file or directory")
    if family is None or hw is None:
        missing = "--family" if family is None else "--hw"
        raise SpecError(
            f"{what}: {missing} is needed with a CSV: state --family, the kernel class of its rows, and --hw, the device on which they were measured"
        )
    return hardware.load(hw)


def _shipped(device: Device) -> Device:
    """The shipped profile of the device: that of its name, where a profile is somebody's copy."""
    return device if device.tables or device.name not in hardware.names() else hardware.load(device.name)


def _tables(device: Device, family: str | None, workers: int, progress: Progress) -> list[_Asked]:
    """Every table that ships for a device, each with its curve."""
    found = []
    for run in versions(device.tables):
        for name in families() if family is None else [family]:
            found += [(run, name, run.file(name, which)) for which in run.kinds(name)]
    pieces = [Piece((path, name, device.home), f"{run.name} {name} {path.stem}", 400.0) for run, name, path in found]
    mapped(_fit, pieces, workers, progress)
    said = verdicts(device.tables)
    asked = []
    for run, name, path in found:
        engine, version = run.name.split("/")
        labels, rows = files.kernels(path, families()[name])
        table = evidence(device, name, labels, rows, engine, version)
        curve = partial(store.load, path, name, labels, device)
        asked.append(_Asked(Other(table, curve), run.name, said.get((name, path.stem, engine, version))))
    return asked


def _fit(path: Path, family: str, home: str) -> None:
    store.load(path, family, files.labels_of(path, families()[family]), hardware.load(home))


def _runs(device: Device, family: str | None) -> list[_Asked]:
    """Rows of a profile's own runs."""
    found = []
    for run in coverage.runs(device):
        for name in families() if family is None else [family]:
            for which in run.kinds(name):
                path = run.file(name, which)
                with store.naming(path):
                    labels, rows = files.kernels(path, families()[name])
                if len(rows):
                    table = evidence(device, name, labels, rows, run.name, "")
                    found.append(_Asked(Other(table, partial(store.load, path, name, labels, device)), run.name))
    return found


def _own_csv(path: Path, family: str, device: Device) -> list[_Asked]:
    """Anyone's rows, a kind each."""
    from simcost.calibration.importers import table

    found = []
    for one in table.candidates(path, family):
        rows = Rows(one.numbers, one.seconds)
        mine = evidence(device, family, one.labels, rows, path.name, "")
        found.append(_Asked(Other(mine, partial(_curve, mine)), path.name))
    return found


def _curve(table: Evidence) -> Curve:
    return store.fitted(families()[table.family], table.rows, table.labels, table.device)


def _finding(one: _Asked, asked: Sequence[_Asked], tables: Sequence[_Asked]) -> Finding:
    """Against the tables that ship, and the other kinds of its own run."""
    mine = one.other.table
    others = [each.other for each in tables if each is not one and each.other.table.family == mine.family]
    others += [
        each.other for each in asked
        if each is not one and each.run == one.run and each not in tables and each.other.table.family == mine.family
        and len(each.other.table) >= store.LEAST
    ]  # fmt: skip
    return findings.examined(mine, others)


def _result(what: str, device: Device, found: Sequence[tuple[_Asked, Finding]], rows: bool) -> Result:
    kinds = [_kind_row(one, finding) for one, finding in found]
    unsound = [row for row in kinds if str(row["verdict"]).startswith("unsound")]
    tables: dict[str, list[Row]] = {
        "findings": kinds,
        "against shipped tables": [row for one, finding in found for row in _against(one, finding)],
        "dropped rows": [row for one, finding in found for row in _dropped(one, finding)],
        "what to do": [row for one, finding in found for row in _to_do(one, finding)],
    }
    metrics = {
        "kinds": len(kinds), "unsound": len(unsound), "rows": sum(row["rows"] for row in kinds),
        "dropped": sum(row["dropped"] for row in kinds),
    }  # fmt: skip
    of = f"{what} on {device.name}" if rows else device.name
    worst = f": {unsound[0]['table']}: {unsound[0]['verdict']}" if unsound else ""
    more = f", and {len(unsound) - 1} more" if len(unsound) > 1 else ""
    return Result(
        "calibrate doctor", {"what": what, "hw": device.name}, metrics, {name: table for name, table in tables.items() if table},
        tuple(_notes(found)), (f"hardware: {device.title}, {device.where}", "the rule: docs/theory/soundness.md"),
        f"{of}: {len(unsound)} of {len(kinds)} kinds unsound{worst}{more}" if unsound else f"{of}: no kind of {len(kinds)} is unsound",
        not unsound,
    )  # fmt: skip


def _name(finding: Finding) -> str:
    return f"{finding.table.family}/{finding.table.kind}"


def _kind_row(one: _Asked, finding: Finding) -> Row:
    best = finding.best
    masks = findings.classes(finding.left)
    over_light = {f"{name}_over_light": _median(finding.left, mask) for name, mask in masks.items()}
    row: Row = {
        "table": _name(finding), "of": one.run, "rows": len(finding.table),
        "dropped": sum(each.rows for each in finding.dropped), "verdict": _verdict(finding, one.at_import), **over_light,
        "best": None if best is None else best[0].table.name, "over_best": None if best is None else number(best[1]),
        "falling_share": finding.falling,
    }  # fmt: skip
    return row if one.at_import is None else row | {"at_import": one.at_import}


def _verdict(finding: Finding, at_import: str | None) -> str:
    """Of a table that ships the import saw every row, and its word counts; here some of them speak, and curves where shapes differ."""
    if finding.why and at_import == "sound":
        return f"the whole table is sound, but the rows that ship are doubtful: {finding.why}"
    if finding.why:
        return f"unsound: {finding.why}"
    if not finding.enough:
        return _FEW
    return "sound" if finding.rivals else _ALONE


def _median(table: Evidence, mask: Bools) -> float | None:
    return number(np.median(table.ratio[mask])) if mask.any() else None


def _against(one: _Asked, finding: Finding) -> list[Row]:
    """One row a table of the same kind."""
    masks = findings.classes(finding.left)
    return [
        {
            "table": _name(finding), "of": one.run, "against": rival.table.name, "times": finding.ratio(rival),
            **{f"times_{name}": finding.ratio(rival, mask) for name, mask in masks.items()},
            "equal_shapes": rival.equal, "by_its_curve": rival.by_curve,
        }
        for rival in finding.rivals
    ]  # fmt: skip


def _dropped(one: _Asked, finding: Finding) -> list[Row]:
    return [
        {
            "table": _name(finding), "of": one.run, "rows": each.rows, "why": each.why, "worst": each.worst,
            "measured_s": number(each.seconds), "factor": number(each.factor),
        }
        for each in finding.dropped
    ]  # fmt: skip


def _to_do(one: _Asked, finding: Finding) -> list[Row]:
    said = [(finding.why, advice.verdict(finding.why))] if finding.why else []
    if not finding.why.startswith("are 'seconds'"):  # another unit explains every row that fell
        said += [(f"{each.rows} rows {each.why}", advice.rows(each.why)) for each in finding.dropped]
    return [{"table": _name(finding), "of": one.run, "why": why, "do": do} for why, do in said]


def _notes(found: Sequence[tuple[_Asked, Finding]]) -> list[str]:
    notes = [
        "over light (speed of light), times: medians, of kernels below 5 us of light (tiny) and of those above 20 us bound by compute or by memory; best: the fastest "
        "shipped table of the kind, at equal shapes or by its curve where that is sure within 40 %; falling: share of steps to a larger kernel at which "
        "the time falls by more than 2 %"
    ]
    if any(one.at_import is not None for one, _ in found):
        notes.append(
            "at import: the verdict on the whole table; here on the rows that ship, with curves where shapes differ"
        )
    alone = [_name(finding) for _, finding in found if not finding.rivals]
    if alone:
        notes.append(f"no shipped table to compare these with: {', '.join(dict.fromkeys(alone))}")
    return notes
