"""A cost model that answers from measurements where there are any, and from the roofline elsewhere.

A kernel's time is its curve's; its start-up share stands under `overhead`, the rest under the larger of the form's
compute and memory parts. Where the footprint cannot stay in the L2 no answer is faster than the speed of light. Most
likely to be wrong: kernels that were timed alone and run in a step; `simcost validate blocks` measures that.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np

from simcost.calibration.curve import Prediction
from simcost.calibration.family import At, Labels, at, families
from simcost.calibration.form import Terms
from simcost.calibration.store import Found, Store
from simcost.calibration.tables import LARGE
from simcost.cost import collective, exchange
from simcost.cost.cost import Cost
from simcost.cost.exchange import safe
from simcost.cost.kernel import Roofline
from simcost.cost.light import light_seconds
from simcost.hardware.engines import ANY
from simcost.hardware.profile import Device
from simcost.num import Array, Bools, Index, Mask, Num, maximum, plain, sqrt
from simcost.ops.collective import Collective
from simcost.ops.exchange import Exchange
from simcost.ops.fused import Fused
from simcost.ops.traffic import Traffic
from simcost.ops.work import Op
from simcost.provenance import Basis

_MANY = 512  # points from which looking for equal ones pays
_TABLES = "what no table knows"  # one source for all kernels: versions, clocks, neighbours in a step
BASE = 0.12  # sigma of its log: see docs/theory/calibration.md, "What no table knows"
_DRIFT = "the machine's state"  # one source: a slower clock slows all kernels
_OTHER_RATES = 0.4  # sigma of the log for every unit of the log of a changed rate
_STORES: dict[tuple[str, tuple[str, ...], str], Store] = {}


def store(device: Device) -> Store:
    """The curves of a device, and of its sibling; fitted at the profile's own rates, whatever an override says."""
    key = (device.home, device.measurements, device.tables)
    if key not in _STORES:
        sibling = None if device.sibling is None else store(device.sibling)
        _STORES[key] = Store(device.base or device, sibling)
    return _STORES[key]


class Calibrated:
    """A cost model: `op -> Cost` on one device."""

    def __init__(self, device: Device, engine: str = ANY) -> None:
        self.device, self.engine = device, engine
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
                claims.append((name, family.covers(op), self._store.find(name, labels, self.engine)))
        return claims

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
        found = self._store.find(name, labels, self.engine)
        return None if found is None else self._kernel(op, name, found)

    def by(self, op: Op, name: str, found: Found) -> Cost:
        """The cost by given curves of a family, whoever's they are; of what crosses links, of what was timed and no more."""
        return self._priced(op, name, found, 0.0 if op.peak == "wire" else light_seconds(op, self.device))

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
                mine = _on_wire(self._priced(part, name, found, self._roofline(part).light_s))
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

    def _kernel(self, op: Op, name: str, found: Found) -> Cost:
        return self._priced(op, name, found, light_seconds(op, self.device))

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
        largest = np.exp(found.highest(cast(Any, families()[name]).GROUP))
        most = np.minimum(safe.group, np.round(largest))
        mine = self._priced(safe, name, found, light)
        if np.any(most < safe.group):
            held = self._priced(replace(safe, group=most), name, found, light).seconds
            mine = mine * maximum(held / mine.seconds, 1.0)
        return net.beside(_on_wire(mine).where(several, Cost()))

    def _priced(self, op: Op, name: str, found: Found, light: Num) -> Cost:
        family = families()[name]
        mine = family.terms(op, self.device)
        same = self.device.base is None and found.device.home == self.device.home
        theirs = mine if same else family.terms(op, found.device)
        points, shape = at(family, op, theirs)
        flat = theirs.flat(shape)
        first, which = _distinct(points, flat)
        p = (
            _heard(found, flat, points)
            if first is None
            else _heard(found, flat.take(first), points.take(first)).take(which)
        )

        def back(values: Num) -> Num:
            return plain(np.asarray(values).reshape(shape))

        # What is bound by a rate follows the ratio of the two devices' lights; a start-up stays.
        ratio: Num = 1.0
        if mine is not theirs:
            ratio = _light_of(mine.scaled(found.compute, found.memory), name) / _light_of(theirs, name)
        started, worked = back(p.seconds * p.start), back(p.seconds * (1.0 - p.start)) * ratio
        seconds = maximum(started + worked, light)
        overhead = seconds * started / (started + worked)
        working = seconds - overhead
        # By the datasheet's rates: loss to tiles and starts is not a bound of its own.
        computing = plain(1.0 * (mine.compute_s >= mine.memory_s + mine.serial_s) + 0.0 * seconds)
        away = self._away(op)
        own = 1.0 * (away <= 0.0) if found.basis is Basis.FITTED else 0.0
        measured = seconds * back(1.0 * p.measured) * own
        fitted = (seconds - measured) * own
        transferred = seconds - measured - fitted
        return Cost(
            working * computing, working * (1.0 - computing), 0.0, overhead, light, measured, fitted, transferred, 0.0,
            {key: seconds * sigma for key, sigma in self._sigmas(name, found, back(p.sigma), back(p.between), away).items()},
        )  # fmt: skip

    def _sigmas(self, name: str, found: Found, scatter: Num, between: Num, away: Num) -> dict[str, Num]:
        """Sigma of the log by source: the curve's scatter, what standing in adds, how engines differ, what no table knows."""
        sources = {f"{name} {found.basis}": scatter, _TABLES: BASE}
        if np.any(np.asarray(between) > 0.0):
            sources[f"{name} engines"] = between
        stand_in = sqrt(found.extra * found.extra + away * away)
        if np.any(np.asarray(stand_in) > 0.0):
            sources[f"{name} stand-in"] = stand_in
        if found.drift:
            sources[_DRIFT] = found.drift
        return sources

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


@dataclass(frozen=True, slots=True)
class _Heard:
    """What all voices say together: seconds [n], the share of them that is start-up, sigma of the log of their curves, sigma of the log
    between engines, on a measured row."""

    seconds: Array
    start: Array
    sigma: Array
    between: Array
    measured: Bools

    def take(self, index: Index | None) -> _Heard:
        return _Heard(*(np.asarray(getattr(self, name))[index] for name in self.__slots__))


def _heard(found: Found, terms: Terms, points: At) -> _Heard:
    """The geometric mean of the voices; engines differ by what they do here, and by no less than half of what they do over all."""
    said = [voice.curve.predict(terms, points) for voice in found.voices]
    logs = np.stack([np.log(p.seconds) for p in said])
    mean = logs.mean(axis=0)
    doubts = [voice.doubt for voice in found.voices]
    variance = np.mean([np.square(p.sigma * doubt) for p, doubt in zip(said, doubts, strict=True)], axis=0)
    start = np.mean([_start(p) for p in said], axis=0)
    size = np.maximum(np.asarray(terms.compute_s), np.asarray(terms.memory_s) + np.asarray(terms.serial_s))
    table = np.where(size >= LARGE, found.between[1], found.between[0])
    between = table if len(said) == 1 else np.maximum(logs.std(axis=0), 0.5 * table)
    measured = np.all([p.measured for p in said], axis=0)
    return _Heard(np.exp(mean), start, np.sqrt(variance), between + 0.0 * mean, measured)


def _start(p: Prediction) -> Array:
    """The share of a time that a kernel's start takes."""
    whole = p.start_s + np.maximum(p.compute_s, p.memory_s)
    return np.asarray(np.minimum(p.start_s / np.maximum(whole, 1e-30), 1.0))


def _light_of(terms: Terms, name: str) -> Num:
    serial = 0.0 if name in ("collective", "exchange") else terms.serial_s  # hops are no light
    return maximum(terms.compute_s, terms.memory_s) + serial + 1e-30


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


def model(device: Device, engine: str = ANY) -> Roofline | Calibrated:
    """The best cost model for a device: calibrated where it or its sibling has rows."""
    rows = device.measurements or device.tables or device.sibling
    return Calibrated(device, engine) if rows else Roofline(device)
