"""Whether a profile is of the device that is measured: another kind of device is refused before anything runs.

Rows say who measured them (`run.toml`); a profile without rows of ours is known by what ships: accelerators all. Most
likely to be wrong: a profile of somebody's own without rows, of which nothing says what it is; it is believed.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from simcost.calibration.rows import load_run
from simcost.errors import SpecError
from simcost.files import folder
from simcost.hardware.profile import Device


def environments(profile: Device) -> list[tuple[str, Mapping[str, Any]]]:
    """(run, environment) of every run that says where it was measured."""
    runs = [load_run(Path(home)) for home in profile.measurements]
    return [(run.name, found) for run in runs if isinstance(found := run.record.get("environment"), Mapping)]


def kind(device: str) -> str:
    """Kind of a device: "cpu" or "cuda" of "cpu", "cuda" and "cuda:1"."""
    return device.partition(":")[0]


def refuse_another(profile: Device, device: str) -> None:
    """Raises SpecError where rows or profile are of another kind of device than the one that is measured."""
    for run, found in environments(profile):
        there = kind(str(found.get("device", "")))
        if there and there != kind(device):
            raise SpecError(
                f"{profile.where}: rows of '{run}' were measured with --device {there} "
                f"({found.get('device_name', '?')}), this asks --device {device}: measure with --device {there}, or name a profile of this device"
            )
    if kind(device) == "cpu" and (folder("hwprofiles") in Path(profile.home).parents or profile.sm_count is not None):
        raise SpecError(
            f"{profile.where}: {profile.title} is not a CPU: measure it with --device cuda where there is one, or make a "
            "profile of this processor (simcost calibrate run -o DIR) and ask with --hw DIR"
        )


def threads(profile: Device, device: str, wanted: int | None) -> int:
    """Threads to measure with: those of the rows, 1 where none says. Raises SpecError for others."""
    stated = {int(found["threads"]): run for run, found in environments(profile) if _of_threads(found)}
    if kind(device) != "cpu" or not stated:
        return wanted or 1
    if wanted is not None and wanted not in stated:
        count, run = next(iter(stated.items()))
        raise SpecError(
            f"{profile.where}: rows of '{run}' were measured with {_threads(count)}, not {wanted}: "
            f"ask with --threads {count}, or calibrate with --threads {wanted}"
        )
    return wanted or next(iter(stated))


def _of_threads(found: Mapping[str, Any]) -> bool:
    """Whether a run is of kernels: collectives have a process a rank, whatever its threads."""
    return "threads" in found and "ranks" not in found


def _threads(count: int) -> str:
    return f"{count} thread{'s' if count > 1 else ''}"


def another_part(profile: Device, here: str) -> tuple[str, ...]:
    """A note where rows were measured on a part of another name: a stand-in is judged then, not a calibration."""
    there = dict.fromkeys(str(found["device_name"]) for _, found in environments(profile) if "device_name" in found)
    if not there or here in there:
        return ()
    return (f"rows of {profile.name} were measured on {', '.join(there)}, this is {here}: it is judged as a stand-in",)
