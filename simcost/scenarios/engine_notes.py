"""Where asking for an engine changes nothing: no tables of engines answer, or rows that somebody imported come before them."""

from __future__ import annotations

from pathlib import Path

from simcost.estimate.step import Step
from simcost.hardware import runs
from simcost.hardware.engines import ANY, TORCH
from simcost.hardware.profile import Device
from simcost.provenance import Kind, Note
from simcost.scenarios import tables_used
from simcost.workload import Workload


def no_tables(w: Workload) -> list[Note]:
    """A note where an engine is asked for and neither the device nor one that stands in for it has tables of engines."""
    if w.engine in (ANY, TORCH):
        return []
    device, at = w.device, w.device
    while not at.tables:
        if at.sibling is None:
            text = f"{device.name}: engine={w.engine} changes memory but not times: this device has no tables of engines; {_answering(device)}"
            return [Note(text, Kind.NO_EFFECT)]
        at = at.sibling
    return []


def imported_first(step: Step) -> list[Note]:
    """A note where an engine is asked for and rows that somebody imported answer before its tables."""
    w, device = step.workload, step.workload.device
    imported = [
        f"{device.name}/{Path(home).name}" for home in device.measurements if runs.kind(Path(home)) == "imported"
    ]
    if w.engine in (ANY, TORCH) or not imported or no_tables(w):
        return []
    found = [
        (f"{family} {which}", voice.name) for family, which, voice in tables_used.voices(step) if voice.name in imported
    ]
    if not found:
        return []
    kinds, whose = (", ".join(dict.fromkeys(words)) for words in zip(*found, strict=True))
    text = (
        f"{device.name}: engine={w.engine} has no effect on {kinds}: imported rows of {whose} are used first "
        "(hw.measurements=tables ignores them)"
    )
    return [Note(text, Kind.NO_EFFECT)]


def _answering(device: Device) -> str:
    """What answers where no engine's tables do."""
    if device.measurements:
        return "its own measurements are used"
    return "the roofline is used" if device.sibling is None else f"the curves of {device.sibling.name} are used"
