"""What crosses links, by measured rows: collectives inside a scale-up domain and beyond, exchanges of tokens.

Most likely to be wrong: rows of another device's links, which say nothing of what a mesh reaches. Source: docs/theory/calibration.md.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from typing import Any, cast

import numpy as np

from simcost.calibration.family import Labels, families
from simcost.calibration.store import Found, Store
from simcost.cost import collective, exchange, nccl
from simcost.cost.cost import Cost, on_wire
from simcost.cost.exchange import safe
from simcost.cost.kernel import Roofline
from simcost.hardware.profile import Device
from simcost.num import Mask, Num, every, maximum
from simcost.ops.collective import Collective
from simcost.ops.exchange import Exchange
from simcost.ops.traffic import Traffic
from simcost.ops.work import Op
from simcost.provenance import Basis


class OnLinks(ABC):
    """The part of a calibrated cost model that prices what crosses links."""

    device: Device
    engine: str
    _roofline: Roofline
    _store: Store

    @abstractmethod
    def __call__(self, op: Op) -> Cost: ...

    @abstractmethod
    def _claims(self, op: Op) -> list[tuple[str, Mask, Found | None]]: ...

    @abstractmethod
    def _priced(self, op: Op, name: str, found: Found, light: Num) -> Cost: ...

    def _exchange(self, op: Exchange) -> Cost:
        traffic = exchange.resolved(op, self.device)
        moves = self(exchange.all_to_all(op, self.device)) if op.mode == "nccl" else self._traffic(traffic)
        return moves + exchange.notify(traffic)

    def _traffic(self, op: Traffic) -> Cost:
        """Inside a node and over several, each by its own curve; where nobody measured the network, by the curve of what stays
        inside and the profile's link."""
        cost = self._roofline(op)
        for over in (False, True):
            here = np.asarray(((op.nodes > 1.0) == over) & (op.near_bytes + op.far_bytes > 0.0))
            if not here.any():
                continue
            part = safe(op, over)
            ((name, _, found),) = self._claims(part)
            mine: Cost | None = None
            if found is not None:
                found = self._copied(part, found)
                mine = on_wire(self._priced(part, name, found, self._roofline(part).light_s))
                mine = mine.beside(self._roofline(part)) if self._other_links(found) else mine
            if over:
                inner, net = exchange.parts(op, self.device)
                inside = self._traffic(inner)
                # Rows of another device's network do not know what this one does inside its nodes.
                mine = net.beside(inside) if mine is None else mine.slowed(maximum(inside.seconds / mine.seconds, 1.0))
            if mine is not None:
                cost = mine.where(here, cost)
        return cost

    def _collective(self, op: Collective, name: str, found: Found) -> Cost:
        """Curves hold inside one scale-up domain: what a group over several takes beyond them, NCCL's model says."""
        over = np.asarray(nccl.several(op, self.device))
        labels = families()[name].labels(op)
        assert labels is not None
        inside = self._inside(op, name, labels, found)
        if over.any():
            # No engine's own kernel leaves a node: there its members, too, are NCCL's, which do no less than inside one.
            labels = {**labels, "backend": "nccl"}
            library = self._store.find(name, labels, self.engine)
            if library is not None and library is not found:
                inside = self._inside(op, name, labels, library).beside(inside).where(over, inside)
        return collective.beyond(op, self.device, inside)

    def _inside(self, op: Collective, name: str, labels: Labels, found: Found) -> Cost:
        """What the members of one domain do among them: by a sibling's rows where they reach further than the device's own."""
        near, _ = collective.parts(op, self.device)
        several = np.asarray((near.group > 1.0) & (op.group > 1.0), bool)
        if not several.any():
            return Cost(0.0 * near.group)
        safe = replace(near, payload=np.maximum(near.payload, 1.0), group=np.where(several, near.group, 2.0))
        light = collective.inside_light(safe, self.device)
        mine = self._held(safe, name, found, light)
        largest = _largest(name, found)
        wider = self._wider(name, labels, largest) if np.any(safe.group > largest) else None
        if wider is not None:
            theirs = self._held(safe, name, wider, light)
            mine = theirs.slowed(maximum(mine.seconds / theirs.seconds, 1.0)).where(safe.group > largest, mine)
        mine = on_wire(mine)
        if self._other_links(found):
            mine = mine.beside(collective.inside_cost(safe, self.device))
        return mine.where(several, Cost())

    def _held(self, op: Collective, name: str, found: Found, light: Num) -> Cost:
        """A larger group contains the largest that was measured, and is no faster than it."""
        mine = self._priced(op, name, found, light)
        most = np.minimum(op.group, _largest(name, found))
        if np.any(most < op.group):
            held = self._priced(replace(op, group=most), name, found, light).seconds
            mine = mine.slowed(maximum(held / mine.seconds, 1.0))
        return mine

    def _other_links(self, found: Found) -> bool:
        """Whether a borrowed curve is of links of another kind: a switch that reduces, or joins all with all, says nothing of what a
        mesh reaches. There it is no faster than what the profile states of its own."""
        mine, theirs = self.device.scaleup, found.device.scaleup
        if mine is None or theirs is None:
            return mine is not theirs
        return mine.topology != theirs.topology or mine.reduces < theirs.reduces

    def _copied(self, op: Traffic, found: Found) -> Found:
        """Low-latency kernels inside a node copy with all multiprocessors, and reach 0.5 of the link of H100, where kernels that
        copy in bulk reach 0.7 to 0.8: a lender's rate is what so many multiprocessors copy, as much as what its link passes. H20,
        with 78 of them and the link of 132, takes twice as long; H800, with as many and a link of 200 GB/s, is held by the link."""
        mine, theirs = self.device.scaleup, found.device.scaleup
        counts = self.device.sm_count, found.device.sm_count
        if op.mode != "low_latency" or every(op.nodes > 1.0) or mine is None or theirs is None:
            return found
        if counts[0] is None or counts[1] is None:
            return found
        copied = theirs.bandwidth * counts[0] / counts[1]
        return replace(found, memory=found.memory * maximum(mine.bandwidth / copied, 1.0))

    def _wider(self, name: str, labels: Labels, largest: float) -> Found | None:
        """The nearest sibling's curve through larger groups than a device's own."""
        at, spread = self._store, 0.0
        while at.sibling is not None:
            spread = float(np.hypot(spread, at.device.sibling_spread))
            at = at.sibling
            found = at.find(name, labels, self.engine)
            if found is not None and _largest(name, found) > largest:
                extra = float(np.hypot(found.extra, spread))
                return replace(found, basis=Basis.TRANSFERRED, extra=extra)
        return None


def _largest(name: str, found: Found) -> float:
    """Ranks of the largest group among a curve's rows."""
    return float(np.round(np.exp(found.highest(cast(Any, families()[name]).GROUP))))
