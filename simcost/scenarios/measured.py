"""What measured rows a profile answers from: its own runs in the order in which they answer, and the sibling behind.

Most likely to be wrong: a sibling's expected error, which is that of the pairs that were measured. Source: `simcost
calibrate transfer`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from simcost.calibration import rows as tables
from simcost.calibration.family import families
from simcost.calibration.rows import Run
from simcost.hardware import load as hardware
from simcost.hardware.profile import Device
from simcost.result import Row

P90 = 1.645  # standard deviations: a spread is the P90 of |log error| over it


def runs(device: Device) -> list[Run]:
    """Best first: a kind that the first lacks comes from the next."""
    return [tables.load_run(Path(home)) for home in device.measurements]


def counts(run: Run) -> Iterator[int]:
    """Rows of every kind of a run, by the lines of its files."""
    for family in families():
        for which in run.kinds(family):
            yield run.file(family, which).read_bytes().count(b"\n") - 1


def total(device: Device) -> int:
    """Rows of all runs of a device."""
    return sum(sum(counts(run)) for run in runs(device))


def expected(device: Device) -> float:
    """P90 of |log error| that the profile expects of its sibling's rows."""
    return P90 * device.sibling_spread


def table(name: str, device: Device) -> list[Row]:
    """A line a run, and one for the sibling; one that says so where nothing was measured."""
    found: list[Row] = []
    for run in runs(device):
        each = list(counts(run))
        found.append(
            {
                "rows_from": run.name, "kind": str(run.record["kind"]), "kinds": len(each), "rows": sum(each),
                "quality": run.record.get("quality"), "source": run.title,
            }
        )  # fmt: skip
    if device.sibling is not None:
        each = [count for run in runs(device.sibling) for count in counts(run)]
        reason = hardware.read(name)[1]["measurements"]["reason"]
        found.append(
            {
                "rows_from": f"like = {device.sibling.name}", "kind": "stand-in", "kinds": len(each), "rows": sum(each),
                "spread": device.sibling_spread, "expected_p90_error": expected(device), "source": reason,
            }
        )  # fmt: skip
    nothing = "no rows and no sibling: the datasheet and the assumptions answer everything"
    return found or [{"rows_from": "none", "kind": "-", "kinds": 0, "rows": 0, "source": nothing}]


def none_of_its_own(device: Device) -> str:
    """The line for whoever asks for a device's own curves where it has none."""
    ways = "simcost calibrate run, or calibrate import"
    if device.sibling is None:
        return f"{device.where}: no measurements ({ways})"
    sibling = device.sibling.name
    return (
        f"{device.where}: no measurements of its own; rows of {sibling} stand in, expected off by "
        f"{expected(device):.0%} (P90 of |log error|): ask simcost calibrate report {sibling}, or measure it ({ways})"
    )
