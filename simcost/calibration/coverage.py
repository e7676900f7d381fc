"""What measured rows a profile answers from: its own runs in the order in which they answer, engines' tables, the sibling behind.

Most likely to be wrong: a sibling's expected error, which is that of the pairs that were measured. Source: `simcost
calibrate transfer`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from simcost.calibration import rows as files
from simcost.calibration import tables
from simcost.calibration.family import families
from simcost.calibration.rows import Run
from simcost.files import data_rows
from simcost.hardware import load as hardware
from simcost.hardware.engines import ANY, TORCH, version_order
from simcost.hardware.profile import Device
from simcost.num import Z90_STATED
from simcost.result import Row


def runs(device: Device) -> list[Run]:
    """Runs of the device's own, best first: a kind that the first lacks comes from the next. Raises SpecError for a bad record."""
    return [files.load_run(Path(home)) for home in device.measurements]


def every(device: Device) -> list[Run]:
    """Runs of the device's own, and a run for each engine and version whose tables ship beside it ("vllm/0.24.0")."""
    return [*runs(device), *tables.versions(device.tables)]


def known(device: Device) -> bool:
    """Whether any rows of this device, or of one that stands in, can answer."""
    return bool(device.measurements or device.tables) or device.sibling is not None


def counts(run: Run) -> Iterator[int]:
    """Number of rows of every kind of a run, by the lines of its files."""
    for family in families():
        for which in run.kinds(family):
            yield data_rows(run.file(family, which))


def total(device: Device) -> int:
    """Number of rows of all runs and tables of a device."""
    return sum(sum(counts(run)) for run in every(device))


def engines(device: Device) -> list[str]:
    """Engines and libraries whose tables ship beside a device, by name."""
    return sorted({run.name.partition("/")[0] for run in tables.versions(device.tables)})


def shipped_tables(engine: str) -> tuple[list[str], list[str]]:
    """(versions, the oldest first; devices) of an engine or library of which tables ship."""
    found = [(run.name.partition("/"), device) for device, home in _shipped().items() for run in tables.versions(home)]
    mine = [(version, device) for (whose, _, version), device in found if whose == engine]
    return sorted({version for version, _ in mine}, key=version_order), sorted({device for _, device in mine})


def answers(device: Device, run: Run, family: str, which: str) -> str:
    """For which engines a kind of a run answers, "any" for every one, "" where others answer before it; "b300:vllm": for one of another
    device, which lacks a table of its own."""
    own = [one for one in runs(device) if one.file(family, which).is_file()]
    imported, measured = (_first(own, what) for what in ("imported", "measured"))
    if run.home.parent.name == "measurements":
        chosen = tables.chosen(device.tables, family, which, ANY)
        everyone = run.name == imported or (run.name == measured and not (imported or chosen))
        return ANY if everyone else TORCH if run.name == measured else ""
    found = [] if imported else tables.answering(device.tables, family, which, run.name)
    for name, home in _shipped().items():
        found += [f"{name}:{engine}" for engine in tables.answering(home, family, which, f"{device.name}:{run.name}")]
    return " ".join(found)


def _first(own: list[Run], what: str) -> str | None:
    return next((one.name for one in own if one.record["kind"] == what), None)


@cache
def _shipped() -> dict[str, str]:
    """Shipped devices with tables: where those lie."""
    return {name: home for name in hardware.names() if (home := hardware.load(name).tables)}


def expected(device: Device) -> float:
    """P90 of |log error| that the profile expects of its sibling's rows; 0 without a sibling."""
    return Z90_STATED * device.sibling_spread


def table(name: str, device: Device) -> list[Row]:
    """A line a run, one an engine and version of tables, and one for the sibling; one that says so where nothing was measured."""
    found: list[Row] = []
    for run in every(device):
        each = list(counts(run))
        found.append(
            {
                "rows_from": run.name, "kind": "table" if "engine" in run.record else str(run.record["kind"]), "kinds": len(each),
                "rows": sum(each), "quality": run.record.get("quality"), "source": run.title,
            }
        )  # fmt: skip
    if device.sibling is not None:
        each = [count for run in every(device.sibling) for count in counts(run)]
        reason = hardware.read(name)[1]["measurements"]["reason"]
        found.append(
            {
                "rows_from": f"like = {device.sibling.name}", "kind": "stand-in", "kinds": len(each), "rows": sum(each),
                "spread": device.sibling_spread, "expected_p90_error": expected(device), "source": reason,
            }
        )  # fmt: skip
    nothing = "no measurements and no similar device: all times follow from the datasheet and assumptions"
    return found or [{"rows_from": "none", "kind": "-", "kinds": 0, "rows": 0, "source": nothing}]


def none_of_its_own(device: Device) -> str:
    """One line for a question about a device's own curves where it has none."""
    ways = "simcost calibrate run, or calibrate import csv"
    if device.sibling is None:
        return f"{device.where}: no measurements ({ways})"
    sibling = device.sibling.name
    return (
        f"{device.where}: not measured; its times are estimated from {sibling}; 90 % of such estimates are within "
        f"a factor of {math.exp(expected(device)):.2f}: run simcost calibrate report {sibling}, or measure this device ({ways})"
    )
