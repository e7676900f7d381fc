"""Which tables answer for a kernel of an engine on a device: the first of a fixed order that is sound.

1. the engine's newest sound table; 2. its table of a sibling part, scaled by the ratio of their lights; 3. another engine's pick, in the
order of `workloads/engines`. An unsound table never answers. Layers or group sizes that a pick lacks come from the next
two tables of the same order. Most likely to be wrong: that engines pick alike where one has no table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from simcost.calibration.parts import has_parts, part_of
from simcost.calibration.soundness.evidence import Evidence, median_ratio
from simcost.calibration.soundness.verdicts import Verdict, enough
from simcost.frozen import frozen
from simcost.hardware.engines import ANY, LIBRARIES, version_order
from simcost.hardware.siblings import BLACKWELL, siblings
from simcost.num import Array

MOST_FILLS = 2
_HALF = 0.5  # of an older version's shapes: a newer one with fewer does not replace it
_GENERATED = 1.15  # times slower than its own generated kernels: an operator turns those on


@frozen
class Pick:
    """What an import decides and writes to picks.csv: tables that answer for (device, family, kind) of an engine; the first holds, the
    others fill what it lacks. `how`: by which rule."""

    device: str
    family: str
    kind: str
    engine: str
    tables: tuple[Evidence, ...]
    how: str

    @property
    def references(self) -> tuple[str, ...]:
        """The tables as picks.csv names them: "vllm/0.24.0" of the device itself, "gb300:vllm/0.27.0" of a sibling."""
        return tuple(reference(table, self.device) for table in self.tables)


def reference(table: Evidence, device: str) -> str:
    """A table as picks.csv of `device` names it: "vllm/0.24.0", with the sibling's name before it where it is a sibling's."""
    whose = f"{table.engine}/{table.version}"
    return whose if table.device.name == device else f"{table.device.name}:{whose}"


def picked(verdicts: Sequence[Verdict], substitutes: Mapping[str, Sequence[str]]) -> list[Pick]:
    """Picks of every engine for every kind that any device of the verdicts, or its sibling, has a table of."""
    rule = _Rule(verdicts, substitutes)
    found = []
    for device, family, which in rule.kinds():
        for engine in (*substitutes, *LIBRARIES):
            pick = rule.pick(device, family, which, engine)
            if pick is not None:
                found.append(pick)
    return found


class _Rule:
    """The order of picks over one set of verdicts."""

    def __init__(self, verdicts: Sequence[Verdict], substitutes: Mapping[str, Sequence[str]]) -> None:
        self._substitutes = substitutes
        self._tables: dict[tuple[str, str, str, str], list[Verdict]] = {}
        self._devices = {verdict.table.device.name: verdict.table.device for verdict in verdicts}
        for verdict in sorted(verdicts, key=lambda v: version_order(v.table.version), reverse=True):
            table = verdict.table
            self._tables.setdefault((table.device.name, table.family, table.kind, table.engine), []).append(verdict)

    def kinds(self) -> list[tuple[str, str, str]]:
        return sorted({key[:3] for key in self._tables})

    def pick(self, device: str, family: str, which: str, engine: str) -> Pick | None:
        if engine in LIBRARIES:
            table = self._own(device, family, which, engine)
            return None if table is None else Pick(device, family, which, ANY, (table,), "library")
        if not any(self._tables.get((device, family, which, name)) for name in self._substitutes):
            return None
        chain = self._chain(device, family, which, engine)
        if not chain:  # nothing sound: a related kind, or a sibling's curves, answer with an interval of their own
            return None
        (first, how), *others = chain
        return Pick(device, family, which, engine, self._filled((first, *(table for table, _ in others)), device), how)

    def _chain(self, device: str, family: str, which: str, engine: str) -> list[tuple[Evidence, str]]:
        """Sound tables in the order in which they answer, each with how it came here."""
        found = self._of(device, family, which, engine, "own")
        for other in self._substitutes[engine]:
            found += self._of(device, family, which, other, f"no sound table of this engine: {other}'s is used")
        if engine == "trtllm" and family == "experts" and found and found[0][1] == "own":
            found = _generated_first(found)
        return found

    def _of(self, device: str, family: str, which: str, engine: str, how: str) -> list[tuple[Evidence, str]]:
        own = self._own(device, family, which, engine)
        found = [] if own is None else [(own, how)]
        for sibling in self._siblings(device):
            table = self._own(sibling, family, which, engine)
            if table is not None:
                found.append((table, f"{how}, measured on {sibling}"))
        return found if has_parts(family) else found[:1]

    def _siblings(self, device: str) -> list[str]:
        """Those of the same NVLink domain first: an all-reduce over trays is none inside a box."""
        found = [one for one in siblings(device) if one in self._devices]
        return sorted(found, key=lambda one: self._domain(one) != self._domain(device))

    def _own(self, device: str, family: str, which: str, engine: str) -> Evidence | None:
        sound = [
            v.table for v in self._tables.get((device, family, which, engine), []) if not v.why and enough(v.table)
        ]
        most = max((len(table) for table in sound), default=0)
        return next((table for table in sound if len(table) >= _HALF * most), None)

    def _filled(self, tables: tuple[Evidence, ...], device: str) -> tuple[Evidence, ...]:
        """The first, and at most two others that hold layers or groups which it lacks."""
        first, *others = tables
        if not has_parts(first.family):
            return (first,)
        domain = self._domain(device)
        kept, known = [first], set(parts(first).tolist())
        for table in others:
            new = parts(table)
            new = new[new <= domain] if table.family == "collective" else new
            if len(kept) <= MOST_FILLS and set(new.tolist()) - known:
                kept.append(table)
                known |= set(new.tolist())
        return tuple(kept)

    def _domain(self, device: str) -> float:
        link = self._devices[device].scaleup
        return 1.0 if link is None or link.domain is None else float(np.max(np.asarray(link.domain)))


def parts(table: Evidence) -> Array:
    """The distinct parts of a table, as `parts.part_of` numbers them."""
    return np.unique(part_of(table.family, table.rows.numbers))


def _generated_first(chain: list[tuple[Evidence, str]]) -> list[tuple[Evidence, str]]:
    """On Blackwell TensorRT-LLM's generated kernels, timed through the engines that call them, where its own table (CUTLASS) is
    slower by more than a setting would leave it."""
    own, others = chain[0][0], chain[1:]
    if own.device.name not in BLACKWELL:
        return chain
    for table, _ in others:
        ratio = median_ratio(own, table, np.ones(len(own), bool))
        if table.device.name == own.device.name and ratio is not None and ratio > _GENERATED:
            return [
                (
                    table,
                    f"its generated kernels, timed in {table.engine}: its CUTLASS kernels take {ratio:.2f} times as long",
                ),
                *chain,
            ]
    return chain
