"""What engines say otherwise, and where asking for one changes nothing: no tables of engines answer, or rows that somebody imported come before them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

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


def of_replicas(w: Workload) -> list[Note]:
    """A note where sizes of a plan read as SGLang and TensorRT-LLM write them, whose tp counts all GPUs that the replicas of the attention share."""
    p = w.plan
    sizes = np.broadcast_arrays(*map(np.asarray, (p.tp, p.replicas, p.ep, p.devices)))
    tp, replicas, ep, gpus = (np.ravel(each) for each in sizes)
    at = np.flatnonzero((replicas > 1) & (tp % replicas == 0) & (ep <= tp))
    if not at.size:
        return []
    t, d = int(tp[at[0]]), int(replicas[at[0]])
    text = (
        f"tp={t} with dp_attention={d} takes {gpus[at[0]]:,.0f} GPUs: here tp counts the GPUs of one replica of the attention; "
        f"SGLang's --tp {t} --dp {d} --enable-dp-attention, on {t} GPUs, is tp={t // d} with dp_attention={d}, "
        f"and TensorRT-LLM's enable_attention_dp with tp {t} is dp_attention={t} alone"
    )
    return [Note(text)]


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
