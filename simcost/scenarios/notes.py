"""What a reader must know besides the numbers: limits passed, stand-ins, overrides that rows do not follow, prices; and what an answer rests on."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from simcost import grammar, lower
from simcost.calibration import coverage
from simcost.calibration import tables as engines_tables
from simcost.estimate import step as steps
from simcost.estimate import unused_settings
from simcost.hardware.profile import Device
from simcost.model import notes as model_notes
from simcost.provenance import Kind, Note
from simcost.query import Query
from simcost.routing.router import Routing
from simcost.scenarios import engine_notes, memory_notes, price_notes, tables_used
from simcost.workload import NO_STEP, Workload

SUPERSEDED = (
    "assumed.gemm_efficiency", "assumed.attention_efficiency", "assumed.memory_efficiency", "assumed.link_efficiency",
    "assumed.collective_latency", "assumed.hop_latency", "assumed.kernel_overhead", "assumed.scaleout_efficiency",
    "assumed.scaleout_hop_latency",
)  # fmt: skip
HOST = "affects only cached prefixes that come from the host's memory (simcost serve --prefix-from host)"
_SPEEDS = "times of kernels follow from hw.peak.<format> and hw.memory.bandwidth"
_RECORDED = {
    "compute.sm_count": f"affects only exchanges and overlaps: {_SPEEDS}",
    "compute.boost_clock": f"has no effect: {_SPEEDS}",
    "compute.l2": "affects only the speed of light",
    "links.host.bandwidth": HOST,
    "assumed.host_efficiency": HOST,
}


def warnings(query: Query, w: Workload) -> tuple[Note, ...]:
    """What a reader must know: defaults, unused keys, limits passed, prices missing."""
    m = w.model
    found = [Note(line) for line in query.said]
    found += model_notes.of(m, asked(query)) + list(w.notes) + memory_notes.exceeds(w)
    if w.phase.routing != Routing() and not lower.has_experts(m):
        found.append(Note(f"{m.name}: routing has no effect: no layer has experts", Kind.NO_EFFECT))
    stated = {grammar.split(path)[1] for path in query.axes if path.startswith("plan.")}
    found += unused_settings.notes(w, stated | set(query.overrides.plan))
    if w.plan.gpus is not None:
        unused = float(np.max(np.asarray(w.plan.gpus - w.plan.devices)))
        if unused > 0.0:
            text = f"{unused:.0f} GPUs of the cluster are not used: no whole copy of the plan fits on them; figures per GPU leave them out"
            found.append(Note(text, Kind.CHANGED))
    found += (
        _stand_in(w.device)
        + engine_notes.no_tables(w)
        + engine_notes.of_replicas(w)
        + _off_rows(query, w.device)
        + _recorded(query)
        + memory_notes.admitted(w)
    )
    found += price_notes.of(w.device.name, query.paid(w.device), query.usd_per_hour is not None)
    found += price_notes.energy(w.device)
    found += memory_notes.mtp(m) + model_notes.unused(m, asked(query))
    return tuple(dict.fromkeys(found))


def of_serving(query: Query, w: Workload, host: bool) -> list[Note]:
    """`warnings` of a design that serves; `host`: cached prefixes come from the host's memory."""
    used = (NO_STEP, HOST) if host else (NO_STEP,)
    return [note for note in warnings(query, w) if not note.endswith(used)]


def shared(said: Iterable[str], designs: Sequence[str]) -> tuple[str, ...]:
    """Notes, each once: one that begins with the name of a design and says the same of others stands with their names, or is of all designs."""
    found: dict[str, dict[str, str]] = {}  # what is said -> the design, "" of none -> the note
    for note in said:
        whose = next((name for name in designs if note.startswith(f"{name}: ")), "")
        found.setdefault(note.removeprefix(f"{whose}: ") if whose else note, {})[whose] = note
    return tuple(_of(text, each, len(set(designs))) for text, each in found.items())


def _of(text: str, each: Mapping[str, str], designs: int) -> str:
    """One note of the designs of `each`."""
    first = each.get("", next(iter(each.values())))
    if len(each) == 1 or "" in each:
        return first
    worded = f"{'all designs' if len(each) == designs else ', '.join(each)}: {text}"
    return first.worded(worded) if isinstance(first, Note) else worded


def asked(query: Query) -> set[str]:
    """Keys of the model's config that a question sets or varies."""
    varied = [grammar.split(path) for path in query.axes]
    return {*query.overrides.model, *(key for root, key in varied if root == "model")}


def _stand_in(device: Device) -> list[Note]:
    """Whose rows answer, and how far off they are expected."""
    other = device.sibling
    if other is None:
        return []
    foreign = " (another vendor)" if device.title.split()[:1] != other.title.split()[:1] else ""
    some = "some kernels were not measured" if device.measurements or device.tables else "not measured"
    factor = np.exp(coverage.expected(device))
    text = f"{device.name}: {some}; their times are estimated from {other.name}{foreign}: 90 % of such estimates are within a factor of {factor:.2f}"
    text = text if device.measurements or device.tables else text.replace("; their times", "; its times")
    return [Note(text, Kind.TRANSFERRED)]


def _off_rows(query: Query, device: Device) -> list[Note]:
    """Overrides that measured rows do not follow."""
    if not coverage.known(device):
        return []
    found = []
    for path in query.overrides.hw:
        root = path.partition(".")[0]
        if path in SUPERSEDED:
            text = f"{device.name}: {path} changes only kernels without measurements (hw.measurements=none uses the roofline for all)"
            found.append(Note(text, Kind.NO_EFFECT))
        elif path not in _RECORDED and (root in ("peak", "links") or path == "memory.bandwidth"):
            text = f"{device.name}: {path} differs from the measured device's: times of kernels that depend on it are estimates (transferred), with wider intervals"
            found.append(Note(text, Kind.TRANSFERRED))
    return found


def _recorded(query: Query) -> list[Note]:
    """Numbers of a device that change less than their name says."""
    stated = [*query.overrides.hw, *(path.removeprefix("hw.") for path in query.axes)]
    return [Note(f"hw.{path} {_RECORDED[path]}", Kind.NO_EFFECT) for path in stated if path in _RECORDED]


def references(w: Workload, *priced: steps.Step) -> tuple[str, ...]:
    """What the answer rests on: the blocks' papers, the profile, and the rows. `priced`: the steps that it shows; of engines' tables those
    that their kernels use, all that may answer where no step is given (a sweep has too many)."""
    papers = [f"{type(b).__name__}: {b.source}" for _, b in w.model.blocks()]
    return (
        *dict.fromkeys(papers),
        f"hardware: {w.device.title}, {w.device.where} (sources inside)",
        *_measured(w.device, w.engine, tables_used.tables(priced) if priced else None),
    )


def _measured(device: Device, engine: str, used: Container[str] | None) -> list[str]:
    """Which rows the curves of an engine go through. `used`: the tables to name, None for all."""
    other = device.sibling
    found = _rows_of(device, engine, used, "measurements: ", "tables: ")
    if other is not None:
        found += _rows_of(other, engine, used, "measurements of its sibling: ", "tables of its sibling: ")
    return found


def _rows_of(device: Device, engine: str, used: Container[str] | None, of_runs: str, of_tables: str) -> list[str]:
    found = [f"{of_runs}{device.name}/{Path(home).name}" for home in device.measurements]
    named = engines_tables.named(device.tables, engine)
    if used is not None:
        named = [table for table in named if _qualified(table, device) in used]
    return [*found, *([f"{of_tables}{device.name} {', '.join(named)}"] if named else [])]


def _qualified(table: str, device: Device) -> str:
    """ "h200/vllm/0.24.0" of a table as picks name it: "vllm/0.24.0", or "h200:vllm/0.24.0" of another device."""
    return table.replace(":", "/") if ":" in table else f"{device.name}/{table}"
