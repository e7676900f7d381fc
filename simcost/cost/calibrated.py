"""A cost model that answers from measurements where there are any, and from the roofline elsewhere.

A kernel's time is its curve's; its start-up share stands under `overhead`, the rest under the larger of the form's
compute and memory parts. Where the footprint cannot stay in the L2 no answer is faster than the speed of light. Most
likely to be wrong: kernels that were timed alone and run in a step; `simcost validate blocks` measures that.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import numpy as np

from simcost.calibration.family import At, Labels, at, families
from simcost.calibration.form import Terms
from simcost.calibration.store import Found, Store
from simcost.cost import collective, exchange
from simcost.cost.cost import Cost
from simcost.cost.exchange import safe
from simcost.cost.kernel import Roofline
from simcost.hardware.limits import compute_seconds
from simcost.hardware.profile import Device
from simcost.num import Array, Index, Mask, Num, maximum, plain, sqrt
from simcost.ops.collective import Collective
from simcost.ops.exchange import Exchange
from simcost.ops.fused import Fused
from simcost.ops.traffic import Traffic
from simcost.ops.work import Op
from simcost.provenance import Basis

_MANY = 512  # points from which looking for equal ones pays
_DRIFT = "the machine's state"  # one source: a slower clock slows all kernels
_OTHER_RATES = 0.4  # sigma of the log for every unit of the log of a changed rate
_STORES: dict[tuple[str, tuple[str, ...]], Store] = {}


def store(device: Device) -> Store:
    """The curves of a device, and of its sibling; fitted at the profile's own rates, whatever an override says."""
    key = (device.home, device.measurements)
    if key not in _STORES:
        sibling = None if device.sibling is None else store(device.sibling)
        _STORES[key] = Store(device.base or device, sibling)
    return _STORES[key]


class Calibrated:
    """A cost model: `op -> Cost` on one device."""

    def __init__(self, device: Device) -> None:
        self.device = device
        self.multiprocessors = device.multiprocessors
        self._roofline = Roofline(device)
        self._store = store(device)

    def knows(self, op: Op) -> bool:
        """Whether measurements answer for this kernel as a whole, and not better for its parts."""
        claims = [found for _, _, found in self._claims(op)]
        if not claims or any(found is None for found in claims):
            return False
        borrowed = any(found is not None and found.basis is Basis.TRANSFERRED for found in claims)
        return not (borrowed and isinstance(op, Fused) and self._fits(op.main))

    def _fits(self, op: Op) -> bool:
        """Whether this device's own rows of this very kind answer."""
        claims = [found for _, _, found in self._claims(op)]
        return bool(claims) and all(found is not None and found.basis is Basis.FITTED for found in claims)

    def _claims(self, op: Op) -> list[tuple[str, Mask, Found | None]]:
        """(family, where it answers, its curve) for every family that has a say in this op."""
        claims = []
        for name, family in families().items():
            labels = family.labels(op)
            if labels is not None and np.any(family.covers(op)):
                speaks, found = self._answering(name, labels)
                claims.append((speaks, family.covers(op), found))
        return claims

    def _answering(self, name: str, labels: Labels) -> tuple[str, Found | None]:
        """The family whose curve answers, and the curve: of the kinds that a family leaves to another one where it has no rows, that
        one's."""
        found = self._store.find(name, labels)
        other = getattr(families()[name], "OTHERWISE", {}).get(labels.get("layout"))
        if found is None and other is not None:
            return other, self._store.find(other, labels)
        return name, found

    def __call__(self, op: Op) -> Cost:
        if isinstance(op, Exchange):
            return exchange.priced(op, self.device, self._exchange)
        if isinstance(op, Traffic):
            return self._traffic(op)
        cost: Cost | None = None
        for name, covered, found in self._claims(op):
            mine = self._roofline(op) if found is None else self._measured(op, name, found)
            cost = mine if cost is None else mine.where(covered, cost)
        return self._roofline(op) if cost is None else cost

    def _exchange(self, op: Exchange) -> Cost:
        traffic = exchange.resolved(op, self.device)
        moves = self(exchange.all_to_all(op, self.device)) if op.mode == "nccl" else self._traffic(traffic)
        return moves + exchange.notify(traffic)

    def as_family(self, op: Op, name: str, labels: Labels) -> Cost | None:
        """The cost by one family's curve, for ops that its own `labels` do not claim (a gradient); None without rows."""
        found = self._store.find(name, labels)
        return None if found is None else self._kernel(op, name, found)

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
                light = self._roofline(part).light_s
                mine = _on_wire(self._priced(part, name, found, light, np.asarray(light)))
            if over:
                inner, net = exchange.parts(op, self.device)
                inside = self._traffic(inner)
                # Rows of another device's network do not know what this one does inside its nodes.
                mine = net.beside(inside) if mine is None else mine * maximum(inside.seconds / mine.seconds, 1.0)
            if mine is not None:
                cost = mine.where(here, cost)
        return cost

    def _measured(self, op: Op, name: str, found: Found) -> Cost:
        if isinstance(op, Collective):
            return self._collective(op, name, found)
        return self._kernel(op, name, found)

    def _light(self, op: Op) -> Num:
        if isinstance(op, Fused):
            total: Num = 0.0
            for part in op.parts:
                total = total + self._light(part)
            return total
        return self._roofline(op).light_s

    def _kernel(self, op: Op, name: str, found: Found) -> Cost:
        light = self._light(op)
        # Parts of one call may hand their data on in the L2: only what they compute bounds them.
        floor = light
        if isinstance(op, Fused):
            floor = compute_seconds(op.main.work(), op.main.peak, self.device)
        outside = np.asarray(op.work().bytes) > 2.0 * np.asarray(self.device.l2 or 0.0)
        return self._priced(op, name, found, light, np.where(outside, floor, 0.0))

    def _collective(self, op: Collective, name: str, found: Found) -> Cost:
        """Curves hold inside one scale-up domain. A larger group does the same inside each of its domains, and the network passes
        the rest meanwhile: the longer of the two, and the network's hops."""
        near, net = collective.parts(op, self.device)
        several = np.asarray((near.group > 1.0) & (op.group > 1.0), bool)
        if not several.any():
            return net.beside(Cost(0.0 * near.group))
        safe = replace(near, payload=np.maximum(near.payload, 1.0), group=np.where(several, near.group, 2.0))
        light = collective.inside_light(safe, self.device)
        # A larger group contains the largest that was measured, and is no faster than it.
        largest = np.exp(found.curve.highest(cast(Any, families()[name]).GROUP))
        most = np.minimum(safe.group, np.round(largest))
        mine = self._priced(safe, name, found, light, np.asarray(light))
        if np.any(most < safe.group):
            held = self._priced(replace(safe, group=most), name, found, light, np.asarray(light)).seconds
            mine = mine * maximum(held / mine.seconds, 1.0)
        return net.beside(_on_wire(mine).where(several, Cost()))

    def _priced(self, op: Op, name: str, found: Found, light: Num, floor: Array) -> Cost:
        family = families()[name]
        terms = family.terms(op, self.device)
        terms = terms.scaled(found.compute, found.memory)
        points, shape = at(family, op, terms)
        flat = terms.flat(shape)
        first, which = _distinct(points, flat)
        p = (
            found.curve.predict(flat, points)
            if first is None
            else found.curve.predict(flat.take(first), points.take(first))
        )

        def back(values: Num) -> Num:
            return plain(np.asarray(values).reshape(shape))

        if which is not None:
            p = p.take(which)

        seconds = plain(np.maximum(back(p.seconds), floor))
        whole = p.start_s + np.maximum(p.compute_s, p.memory_s)
        overhead = plain(seconds * back(np.minimum(p.start_s / np.maximum(whole, 1e-30), 1.0)))
        working = seconds - overhead
        # By the datasheet's rates: loss to tiles and starts is not a bound of its own.
        computing = back(1.0 * (flat.compute_s >= flat.memory_s + flat.serial_s))
        away = self._away(op)
        own = 1.0 * (away <= 0.0) if found.basis is Basis.FITTED else 0.0
        measured = seconds * back(1.0 * p.measured) * own
        fitted = (seconds - measured) * own
        transferred = seconds - measured - fitted
        extra = sqrt(found.extra * found.extra + away * away)
        sigma = back(p.sigma)
        sigma = sqrt(sigma * sigma + extra * extra)
        return Cost(
            working * computing, working * (1.0 - computing), 0.0, overhead, light, measured, fitted, transferred, 0.0,
            {f"{name} {found.basis}": seconds * sigma, **({_DRIFT: seconds * found.drift} if found.drift else {})},
        )  # fmt: skip

    def _away(self, op: Op) -> Num:
        """Sigma of the log for asking a device with other rates than those that were measured: H100 and H200, whose
        bandwidths differ by a factor of 1.43, miss each other's rows by sigma 0.14 (docs/validation/stand-ins.md)."""
        base, most = self.device.base, 0.0
        if base is None:
            return most
        pairs = [(self.device.bandwidth, base.bandwidth)]
        if op.peak == "wire":
            links = [(d.scaleup.bandwidth if d.scaleup else None, d.scaleout) for d in (self.device, base)]
            pairs = [(a, b) for a, b in zip(*links, strict=True) if a is not None and b is not None]
        elif op.peak in self.device.peaks and op.peak in base.peaks:
            pairs.append((self.device.peaks[op.peak], base.peaks[op.peak]))
        found: Num = most
        for mine, theirs in pairs:
            found = maximum(found, np.abs(np.log(np.asarray(mine, np.float64) / np.asarray(theirs, np.float64))))
        return _OTHER_RATES * found


def _distinct(points: At, terms: Terms) -> tuple[Index | None, Index | None]:
    """(the first of every kind of point, which kind each point is); None where nearly all differ. In a sweep of plans most points
    run the same kernels. Kinds are told apart by a 64-bit hash of their numbers: two of a million meet once in 40 million sweeps."""
    n = len(points.features)
    if n < _MANY:
        return None, None
    key = np.zeros(n, np.uint64)
    columns = [
        *points.features.T,
        *points.sites.T,
        terms.compute_s,
        terms.memory_s,
        terms.serial_s,
        terms.bytes,
        *terms.sizes,
    ]
    for column in columns:
        bits = np.ascontiguousarray(column, np.float64).view(np.uint64)
        key = (key ^ bits) * np.uint64(0x9E3779B97F4A7C15)
        key ^= key >> np.uint64(29)
    _, first, which = np.unique(key, return_index=True, return_inverse=True)
    return (first, which) if len(first) < n // 2 else (None, None)


def _on_wire(cost: Cost) -> Cost:
    """The same seconds as time on links."""
    return Cost(
        0.0, 0.0, cost.compute_s + cost.memory_s, cost.overhead_s, cost.light_s, cost.measured_s, cost.fitted_s,
        cost.transferred_s, 0.0, cost.spread,
    )  # fmt: skip


def model(device: Device) -> Roofline | Calibrated:
    """The best cost model for a device: calibrated where it or its sibling has rows."""
    return Calibrated(device) if device.measurements or device.sibling else Roofline(device)
