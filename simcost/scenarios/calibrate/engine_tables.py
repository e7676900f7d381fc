"""What `calibrate import aiconfigurator` answers: every engine's tables judged, those that may speak written, each once.

The rules look at all systems together (a newer part must not be slower than the one it follows), so all tables are read whatever is
written. The same package gives the same bytes. Most likely to be wrong: the rules of `simcost.calibration.soundness`; every verdict is
printed and stands in `tables/verdicts.csv`.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from simcost.calibration import tables as shipped
from simcost.calibration.candidate import Candidate
from simcost.calibration.importers import aiconfigurator
from simcost.calibration.importers.aiconfigurator import PACKAGE
from simcost.calibration.imports import Chosen, choose, write_run
from simcost.calibration.soundness import spread
from simcost.calibration.soundness.evidence import Evidence, evidence
from simcost.calibration.soundness.picks import Pick, picked
from simcost.calibration.soundness.verdicts import Verdict, judged, remark
from simcost.errors import SpecError, nearest
from simcost.files import folder, folder_in_place_of, write_whole
from simcost.hardware import engines
from simcost.hardware import load as hardware
from simcost.pool import Piece, Progress, mapped, quiet
from simcost.result import Result, Row

ROWS = 600  # of a table: all that ship are 9 MB of CSV; with 400 the intervals of narrow products were a tenth wider
_READING, _JUDGED = 0.2, 0.3  # shares of the time, for whoever watches
_NOTE = "small working sets fit in the L2; a kernel's row includes what its engine runs with it (quantisation of the input, write of K and V)"


def import_aiconfigurator(
    systems: Sequence[str] = (),
    into: Path | None = None,
    data: Path | None = None,
    workers: int = 1,
    progress: Progress = quiet,
) -> Result:
    """Tables of `systems` (default: all) into `into`/<gpu>/tables (default: the shipped profiles). `data`: the package's data folder."""
    for system in systems:
        if system not in aiconfigurator.SYSTEMS:
            raise SpecError(
                f"unknown system '{system}' (one of {', '.join(aiconfigurator.SYSTEMS)}){nearest(system, aiconfigurator.SYSTEMS)}"
            )
    version = aiconfigurator.version() if data is None else "0"
    read = _read(data, _share(progress, 0.0, _READING))
    if not read:
        raise SpecError(f"{data}: no tables of {PACKAGE}")
    progress(_READING, 1.0, f"judging {len(read)} tables")
    verdicts = judged([table for _, table in read])
    picks = picked(verdicts, engines.substitutes())
    home = into or folder("hwprofiles")
    wanted = [aiconfigurator.SYSTEMS[system] for system in systems or aiconfigurator.SYSTEMS]
    candidates = [candidate for candidate, _ in read]
    rows: list[Row] = []
    kept = _chosen(candidates, verdicts, picks, wanted, workers, _share(progress, _JUDGED, 1.0))
    for device in wanted:
        mine = [pick for pick in picks if pick.device == device]
        if not mine:
            continue
        said = _verdict_rows(device, candidates, verdicts, picks)
        _place(home / device / "tables", _groups(device, kept), version, _pick_rows(mine), said)
        rows += [_told(device, row) for row in said]
    write_whole(home / "spread.csv", _csv(shipped.SPREAD, _spread_rows(picks)))
    fallen = sum(row["verdict"] != "sound" for row in rows)
    count = sum(len(one.kept) for (device, _), one in kept.items() if one.kept is not None and device in wanted)
    return Result(
        "calibrate import", {"package": f"{PACKAGE} {version}", "output": str(home)},
        {"tables": len(rows), "unsound": fallen, "written": len(kept), "rows": count}, {"verdicts": rows}, (),
        (f"{PACKAGE} {version} (Apache-2.0)",),
        f"{len(rows)} tables, {fallen} unsound; {count:,} rows of {len(kept)} tables in {home}",
    )  # fmt: skip


def _share(progress: Progress, start: float, end: float) -> Progress:
    """Progress of a part of the work as progress of the whole."""

    def tell(done: float, total: float, what: str) -> None:
        progress(start + (end - start) * done / (total or 1.0), 1.0, what)

    return tell


def _read(data: Path | None, progress: Progress) -> list[tuple[Candidate, Evidence]]:
    """Every table of every system that is there."""
    found = []
    for place, (system, name) in enumerate(aiconfigurator.SYSTEMS.items()):
        progress(place, len(aiconfigurator.SYSTEMS), f"reading {system}")
        if data is not None and not (data / system).is_dir():
            continue
        device = hardware.load(name)
        for one in aiconfigurator.candidates(system, data):
            found.append(
                (one, evidence(device, one.family, one.labels, one.rows, one.engine, one.version, one.variant))
            )
    return found


def _key(table: Evidence) -> tuple[str, str, str, str, str]:
    return table.device.name, table.family, table.kind, table.engine, table.version


def _chosen(
    candidates: Sequence[Candidate], verdicts: Sequence[Verdict], picks: Sequence[Pick], wanted: Sequence[str], workers: int,
    progress: Progress,
) -> dict[tuple[str, int], Chosen]:  # fmt: skip
    """(device, place) -> rows to write, of every table that a pick names and that stands beside a wanted device."""
    named = {_key(table) for pick in picks for table in pick.tables}
    places = [i for i, v in enumerate(verdicts) if _key(v.table) in named and v.table.device.name in wanted]
    pieces = []
    for i in places:
        table = verdicts[i].table
        one = replace(
            candidates[i], numbers=table.rows.numbers, seconds=table.rows.seconds, variant=None,
            dropped={**candidates[i].dropped, **table.dropped},
        )  # fmt: skip
        pieces.append(
            Piece(
                (one, table.device, ROWS, True),
                f"{table.device.name} {table.family}/{table.kind} {table.name}",
                len(table),
            )
        )
    found = mapped(choose, pieces, workers, progress)
    return {(verdicts[i].table.device.name, i): one for i, one in zip(places, found, strict=True)}


def _groups(device: str, kept: dict[tuple[str, int], Chosen]) -> dict[tuple[str, str], list[Chosen]]:
    """(engine, version) -> its kinds, in order."""
    found: dict[tuple[str, str], list[Chosen]] = {}
    for (name, _), one in kept.items():
        if name == device:
            found.setdefault((one.candidate.engine, one.candidate.version), []).append(one)
    return {key: sorted(found[key], key=lambda one: (one.candidate.family, one.kind)) for key in sorted(found)}


def _place(
    home: Path, groups: dict[tuple[str, str], list[Chosen]], version: str, picks: Sequence[Row], verdicts: Sequence[Row]
) -> None:
    """A device's folder of tables, whole or as it was; versions that no pick names any more are gone with the old one. Raises SpecError
    for a place that cannot be written or holds something else."""
    if home.exists() and not (home / "picks.csv").is_file():
        raise SpecError(f"{home}: exists but has no picks.csv, so it is not a folder of tables")
    with folder_in_place_of(home) as new:
        for (engine, number), chosen in groups.items():
            write_run(new / engine / number, _record(engine, number, version), chosen)
        (new / "picks.csv").write_text(_csv(shipped.PICKS, picks), encoding="utf-8")
        (new / "verdicts.csv").write_text(_csv(shipped.VERDICTS, verdicts), encoding="utf-8")


def _record(engine: str, number: str, version: str) -> dict[str, object]:
    """What run.toml says of all kinds of an engine's version."""
    return {
        "schema": 1, "kind": "imported", "title": f"{engine} {number} ({PACKAGE} {version})", "engine": engine, "engine_version": number,
        "package": PACKAGE, "version": version, "licence": "Apache-2.0",
        "copyright": "NVIDIA CORPORATION & AFFILIATES, github.com/ai-dynamo/aiconfigurator",
        "method": "CUDA graph of rotated copies, 3 warm-ups, mean of 6 or more replays; no flush of the L2, clocks not locked",
        "note": _NOTE,
    }  # fmt: skip


def _verdict_rows(
    device: str, candidates: Sequence[Candidate], verdicts: Sequence[Verdict], picks: Sequence[Pick]
) -> list[Row]:
    """A line a table of a device, in the order of the tables."""
    by: dict[tuple[str, str, str, str, str], list[str]] = {}
    for pick in picks:
        for table in pick.tables:
            by.setdefault(_key(table), []).append(
                pick.engine if pick.device == device else f"{pick.device}:{pick.engine}"
            )
    found = []
    for candidate, verdict in zip(candidates, verdicts, strict=True):
        table = verdict.table
        if table.device.name == device:
            found.append(
                {
                    "family": table.family, "kind": table.kind, "engine": table.engine, "version": table.version,
                    "rows_in_table": len(candidate.seconds), "rows_left": len(table),
                    "dropped": "; ".join(f"{count} {why}" for why, count in table.dropped.items()), "verdict": verdict.why or "sound", "remark": "" if verdict.why else remark(table),
                    "picked_by": " ".join(by.get(_key(table), [])),
                }
            )  # fmt: skip
    return sorted(found, key=lambda row: (row["family"], row["kind"], row["engine"], row["version"]))


def _told(device: str, row: Row) -> Row:
    """A verdict as a line of the report: what it is of in one word, so that a terminal has room for why."""
    rest = {name: row[name] for name in ("verdict", "picked_by", "rows_left", "dropped", "rows_in_table")}
    return {"hw": device, "table": f"{row['family']}/{row['kind']} {row['engine']} {row['version']}", **rest}


def _pick_rows(picks: Sequence[Pick]) -> list[Row]:
    return [
        {
            "family": pick.family, "kind": pick.kind, "engine": pick.engine, "tables": " ".join(pick.references),
            "how": pick.how,
        }
        for pick in picks
    ]  # fmt: skip


def _spread_rows(picks: Sequence[Pick]) -> list[Row]:
    def digits(value: float) -> str:
        return "" if value != value else f"{value:.3g}"

    return [
        {
            "family": one.family, "kind": one.kind, "engine_small": digits(one.engine_small), "engine_large": digits(one.engine_large),
            "sibling_small": digits(one.sibling_small), "sibling_large": digits(one.sibling_large), "rows": one.rows,
        }
        for one in spread.measured(picks)
    ]  # fmt: skip


def _csv(columns: Sequence[str], rows: Sequence[Row]) -> str:
    text = io.StringIO()
    table = csv.DictWriter(text, columns, lineterminator="\n")
    table.writeheader()
    table.writerows({name: row[name] for name in columns} for row in rows)
    return text.getvalue()
