"""What `calibrate import csv` answers: anyone's rows as a run beside a profile that `--hw` reads."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from simcost.calibration.candidate import Candidate
from simcost.calibration.family import kind
from simcost.calibration.imports import ROWS, Chosen, choose, write_run
from simcost.calibration.rows import row_file
from simcost.calibration.soundness.findings import LEAST_SHARE
from simcost.calibration.store import LEAST, naming
from simcost.errors import SpecError
from simcost.files import write_whole
from simcost.hardware import load as hardware
from simcost.hardware import runs
from simcost.hardware.profile import Device
from simcost.pool import Piece, Progress, mapped, quiet
from simcost.result import Result, Row


def import_csv(
    path: Path, family: str, hw: str, out: Path, title: str, source: str, count: int | None = None
) -> Result:
    """Anyone's rows of one family into the run folder `out`, FOLDER/measurements/NAME. A FOLDER without a profile.toml
    gets a copy of that of `hw`, so that `--hw FOLDER` reads the rows. `count`: most rows per kind, by default ROWS."""
    from simcost.calibration.importers import table

    for option, text in (("--title", title), ("--source", source)):
        if not text.strip():
            raise SpecError(f"{option} must not be empty: readers of these rows need it")
    device = hardware.load(hw)
    profile = _profile_of(out)
    text = _copy(profile, hw) if not profile.is_file() else _same(profile, hw, device)
    found = list(table.candidates(path, family))
    with naming(path):
        chosen = _chosen(found, device, ROWS if count is None else count)
        if not any(one.kept is not None for one in chosen):
            beyond = sum(one.beyond for one in chosen)
            raise SpecError(
                f"{beyond} rows are faster than the datasheet of {device.name} allows, so nothing is kept: are 'seconds' in seconds?"
            )
    record = {"schema": runs.SCHEMA, "kind": "imported", "title": title, "source": source, "device": device.name}
    copied = (_placed(profile, text, device),) if text else ()
    try:
        result = _written(out, record, chosen, device, copied, profile)
    except SpecError:
        if text:
            profile.unlink(missing_ok=True)
        raise
    return result


def _profile_of(out: Path) -> Path:
    """The profile.toml that a run belongs to. Raises SpecError for a run that no `--hw` would read."""
    home = Path(os.path.abspath(out))
    if home.name.startswith(".") or home.parent.name != "measurements":
        better = out.parent / "measurements" / (out.name.lstrip(".") or "mine")
        raise SpecError(f"--run {out}: must be FOLDER/measurements/NAME, which --hw FOLDER reads; for example {better}")
    folder = home.parent.parent
    return (folder if out.is_absolute() else Path(os.path.relpath(folder))) / "profile.toml"


def _same(profile: Path, hw: str, device: Device) -> str:
    """Nothing to copy. Raises SpecError when the profile is another device's."""
    name = hardware.read(str(profile))[1].get("name")
    if name != device.name:
        raise SpecError(f"{profile}: is of {name!r}, the rows are of {device.name!r} (--hw {hw}): choose another --run")
    return ""


def _copy(profile: Path, hw: str) -> str:
    """The text of a profile for a folder that has none."""
    if "use" in hardware.read(hw)[1].get("measurements", {}):
        raise SpecError(
            f"{profile}: missing, and that of --hw {hw} has a 'measurements.use' of its own: copy it by hand"
        )
    return hardware.find(hw).read_text(encoding="utf-8")


def _placed(profile: Path, text: str, device: Device) -> str:
    """Write a profile; what there is to say of it."""
    write_whole(profile, text)
    borrow = (
        f'; [measurements] like = "{device.name}" uses its measurements'
        if (device.measurements or device.tables) and device.name in hardware.names()
        else ""
    )
    return f"{profile}: copied from {device.where}: kernels without rows here follow from the datasheet{borrow}"


def _chosen(
    found: list[Candidate], device: Device, count: int, workers: int = 1, progress: Progress = quiet
) -> list[Chosen]:
    pieces = [Piece((one, device, count), f"{one.family}/{kind(one.labels)}", len(one.seconds)) for one in found]
    return mapped(choose, pieces, workers, progress)


def _written(
    home: Path,
    record: dict[str, Any],
    chosen: list[Chosen],
    device: Device,
    notes: tuple[str, ...],
    profile: Path | None = None,
) -> Result:
    """The run on disk, and what to say of it. `profile`: through which `--hw` reads it."""
    said = [*notes, *_replaced(home)]
    full = write_run(home, record, chosen)
    rows = [{"family": c.candidate.family, "kind": c.kind, **_import_row(c)} for c in chosen]
    for one in chosen:
        said += _doubts(one, full)
    how = ""
    if profile is not None:
        said += _outranked(home, chosen, profile)
        name = str(profile.parent)
        name = f"./{name}" if name in hardware.names() else name  # a shipped profile's name would win
        how = f"; next: simcost calibrate report {name}, or any query with --hw {name}"
    kept = sum(int(row["rows"]) for row in rows)
    return Result(
        "calibrate import", {"hw": device.name, "output": str(home)}, {"kinds": len(rows), "rows": kept}, {"kinds": rows},
        tuple(said), (str(record["title"]),), f"{kept:,} rows of {len(rows)} kinds in {home}{how}",
    )  # fmt: skip


def _replaced(home: Path) -> list[str]:
    """What stands where a run goes. Raises SpecError for rows that were measured here: they could not be had again."""
    if not (home / "run.toml").is_file():
        return []
    before = runs.record(home)
    if before["kind"] == "measured":
        raise SpecError(f"{home}: holds measured rows ({before.get('title')}): choose another --run")
    return [f"{home}: replaces the run that was there ({before.get('title')})"]


def _doubts(one: Chosen, full: dict[str, Any]) -> list[str]:
    """What a kind's rows make one ask."""
    name = f"{one.candidate.family}/{one.kind}"
    if one.kept is None:
        why = full["kinds"][name]["dropped"]
        return [f"{name}: {len(one.candidate.seconds)} rows, all dropped: {why}; are 'seconds' in seconds?"]
    found = []
    if one.share < LEAST_SHARE:
        found.append(
            f"{name}: the median row reaches {one.share:.2g} of the datasheet's rates: are 'seconds' in seconds?"
        )
    if len(one.kept) < LEAST:
        found.append(f"{name}: {len(one.kept)} rows, fewer than the {LEAST} that a curve needs: it is not used")
    return found


def _outranked(home: Path, chosen: list[Chosen], profile: Path) -> list[str]:
    """Kinds that another run beside the same profile answers first."""
    try:
        order = [Path(run).name for run in hardware.load(f"{profile.parent}/{profile.name}").measurements]
    except SpecError as error:
        return [str(error)]
    if home.name not in order:
        return [f"{profile}: 'measurements.use' does not name {home.name}: add it so that its rows are used"]
    found = []
    for one in chosen:
        name, earlier = one.candidate.family, order[: order.index(home.name)]
        first = next((run for run in earlier if row_file(home.parent / run, name, one.kind).is_file()), None)
        if first is not None and one.kept is not None:
            found.append(
                f"{name}/{one.kind}: {first} is used first, unless [measurements] use in the profile sets another order"
            )
    return found


def _import_row(chosen: Chosen) -> Row:
    record = chosen.record()
    return {
        "rows_in_table": record["rows_in_table"], "rows": record["rows"], "above_datasheet": record["above_datasheet"],
        "unused_rows": record.get("unused_rows"), "median_error": record.get("unused_median_error"),
        "p90_error": record.get("unused_p90_error"), "coverage": record.get("unused_coverage"),
        "excluded_rows": record.get("excluded_rows"), "with_excluded_median_error": record.get("with_excluded_median_error"),
        "with_excluded_p90_error": record.get("with_excluded_p90_error"), "table": record["table"],
    }  # fmt: skip
