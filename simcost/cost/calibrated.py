"""A cost model that answers from measurements where there are any, and from the roofline elsewhere.

A kernel's time is its curve's; its start-up share stands under `overhead`, the rest under the larger of the form's
compute and memory parts. Where the footprint cannot stay in the L2 no answer is faster than the speed of light. Most
likely to be wrong: kernels that were timed alone and run in a step; `simcost validate blocks` measures that.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np

from simcost.calibration.distinct import Distinct
from simcost.calibration.family import Labels, asked, families
from simcost.calibration.form import Terms
from simcost.calibration.store import Found, Store, Voice
from simcost.cost import exchange
from simcost.cost.combine import Heard, heard, part_asked
from simcost.cost.cost import STANDS_IN, Cost
from simcost.cost.gradient import forward_of, lent, more_bytes
from simcost.cost.kernel import Roofline
from simcost.cost.measured_links import OnLinks
from simcost.cost.speed_of_light import light_parts, light_seconds
from simcost.cost.transfer import carried, without_rest
from simcost.hardware import runs
from simcost.hardware.engines import ANY
from simcost.hardware.profile import Device
from simcost.num import Mask, Num, every, maximum, minimum, plain, some, sqrt, where
from simcost.ops.collective import Collective
from simcost.ops.exchange import Exchange
from simcost.ops.fused import Fused, FusedGrad
from simcost.ops.traffic import Traffic
from simcost.ops.work import Op, is_plain, kernels
from simcost.provenance import Basis

_TABLES = "what no table knows"  # one source for all kernels: versions of engines and drivers, clocks of other machines
BASE = 0.08  # sigma of its log: see docs/theory/calibration.md, "What no table knows"
_DRIFT = "the machine's state"  # one source: a slower clock slows all kernels
OTHER_RATES = 0.4  # sigma of the log for every unit of the log of a changed rate
MOST = 20_000  # kernels that a device's cost model remembers between questions
Asked = tuple[Op, str, Found]  # a kernel, the family of the rows, their curves
_STORES: dict[tuple[str, tuple[str, ...], str], tuple[object, Store]] = {}


def store(device: Device) -> Store:
    """The curves of a device, and of its sibling; fitted at the profile's own rates, whatever an override says, and anew where its files changed."""
    key = (device.home, device.measurements, device.tables)
    content = runs.content(device.home, (*device.measurements, device.tables)) if device.home else ()
    if key not in _STORES or _STORES[key][0] != content:
        sibling = None if device.sibling is None else store(device.sibling)
        _STORES[key] = content, Store(device.base or device, sibling)
    return _STORES[key][1]


class Calibrated(OnLinks):
    """A cost model: `op -> Cost` on one device."""

    def __init__(self, device: Device, engine: str = ANY) -> None:
        self.device, self.engine = device, engine
        self.multiprocessors = device.multiprocessors
        self._roofline = Roofline(device)
        self._store = store(device)
        self._asked: list[Asked] | None = None  # by the op that is being priced
        self._heard: dict[Op, list[Asked]] = {}
        self._claimed: dict[Op, list[tuple[str, Mask, Found | None]]] = {}
        self.known: dict[Op, Cost] = {}  # what was asked before (`estimate/memo.py`)

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
        if not is_plain(op):
            return self._claimed_by(op)
        found = self._claimed.get(op)
        if found is None:
            if len(self._claimed) >= MOST:
                self._claimed.clear()
            found = self._claimed[op] = self._claimed_by(op)
        return found

    def _claimed_by(self, op: Op) -> list[tuple[str, Mask, Found | None]]:
        """`_claims`, found anew."""
        claims = []
        for name, family in families().items():
            labels = family.labels(op)
            if labels is not None and some(covered := family.covers(op)):
                speaks, found = self._answering(name, labels)
                claims.append((speaks, covered, found))
        return claims

    def _answering(self, name: str, labels: Labels) -> tuple[str, Found | None]:
        """The family whose curve answers, and the curve: of the kinds that a family leaves to another one where it has no rows, that
        one's."""
        found = self._store.find(name, labels, self.engine)
        other = getattr(families()[name], "OTHERWISE", {}).get(labels.get("layout"))
        if found is None and other is not None:
            return other, self._store.find(other, labels, self.engine)
        return name, found

    def voices(self, op: Op) -> list[tuple[str, str, Voice]]:
        """(family, kind of the rows, whose they are) of every table or run that has a say in an op's time."""
        return [(name, found.kind, voice) for _, name, found in self.answers(op) for voice in found.voices]

    def answers(self, op: Op) -> list[Asked]:
        """(kernel, family, curves) of every kernel whose curves have a say in an op's time: the op itself, or parts of it; none where the roofline answers."""
        asked = self._heard.get(op) if is_plain(op) else None
        return self._priced_by(op)[1] if asked is None else asked

    def __call__(self, op: Op) -> Cost:
        if self._asked is not None:  # a part of what is being priced
            return self._answer(op)
        cost, asked = self._priced_by(op)
        if is_plain(op):
            if len(self._heard) >= MOST:
                self._heard.clear()
            self._heard[op] = asked
        return cost

    def _priced_by(self, op: Op) -> tuple[Cost, list[Asked]]:
        """(the cost, the curves that were asked)."""
        asked: list[Asked] = []
        self._asked = asked
        try:
            return self._answer(op), asked
        finally:
            self._asked = None

    def _answer(self, op: Op) -> Cost:
        if isinstance(op, Exchange):
            return exchange.priced(op, self.device, self._exchange)
        if isinstance(op, Traffic):
            return self._traffic(op)
        if isinstance(op, FusedGrad):
            return self._of_whole(op)
        claims = self._claims(op)
        if op.gradient and all(found is None for _, _, found in claims):
            return self._of_gradient(op)
        return self._by_claims(op, claims)

    def _by_claims(self, op: Op, claims: list[tuple[str, Mask, Found | None]]) -> Cost:
        cost: Cost | None = None
        answered = np.zeros((), bool)
        for name, covered, found in claims:
            mine = self._roofline(op) if found is None else self._measured(op, name, found)
            if cost is None:
                cost, answered = mine, np.asarray(covered, bool)
            else:
                faster = ~answered | np.asarray(mine.seconds < cost.seconds)
                cost = mine.where(np.asarray(covered, bool) & faster, cost)
                answered = np.asarray(answered | covered)
        return self._roofline(op) if cost is None else cost

    def _of_whole(self, op: FusedGrad) -> Cost:
        """Gradients of a class that is timed as a whole. Their products take as long as the forward products, where these have rows of their own, by the ratio of work, and their passes what they take; else all
        together take as long as the class, by the ratio; else what the parts take without rows."""
        products = [part for part in op.forward.parts if part.peak != "vector"]
        own = [
            (part, [(name, covered, lent(name, found)) for name, covered, found in self._claims(part)])
            for part in products
        ]
        if all(_claimed(claims) for _, claims in own):
            grads = tuple(part for part in op.parts if part.peak != "vector")
            whole = sum((self._by_claims(part, claims) for part, claims in own[1:]), self._by_claims(*own[0]))
            passes = (self._answer(part) for part in op.parts if part.peak == "vector")
            return sum(passes, self._by_ratio(whole, grads, tuple(products)))
        claims = [(name, covered, lent(name, found)) for name, covered, found in self._claims(op.forward)]
        if not _claimed(claims):
            return sum((self._answer(part) for part in op.parts[1:]), self._answer(op.parts[0]))
        return self._by_ratio(self._by_claims(op.forward, claims), (op,), (op.forward,))

    def _by_ratio(self, cost: Cost, grads: Sequence[Op], forwards: Sequence[Op]) -> Cost:
        """What gradients take by the cost of their forward kernels: by the ratio of their arithmetic, and no less than their bytes take, of which gradients that add up in fp32 have more."""
        mine, theirs = ([light_parts(each, self.device) for each in ops] for ops in (grads, forwards))
        computes, moved = (sum((each[at] for each in mine), 0.0) for at in (0, 1))
        compute = sum((each[0] for each in theirs), 0.0)
        more = where(compute > 0.0, computes / maximum(compute, 1e-30), more_bytes(grads, forwards))
        least = moved / self.device.assumption("memory_efficiency") / maximum(cost.seconds, 1e-30)
        return cost * maximum(more, where(compute > 0.0, least, 0.0))

    def _of_gradient(self, op: Op) -> Cost:
        """A gradient of which nobody timed a kernel: as long as the forward kernel of these dimensions, longer by what it has more to do, and as
        uncertain as another kind of kernel."""
        forward = forward_of(op)
        if forward is None:
            return self._roofline(op)
        claims = [(name, covered, lent(name, found)) for name, covered, found in self._claims(forward)]
        if all(found is None for _, _, found in claims):
            return self._roofline(op)
        cost = self._by_ratio(self._by_claims(forward, claims), (op,), (forward,))
        here = functools.reduce(np.logical_or, (covered for _, covered, found in claims if found is not None))
        return cost if every(here) else cost.where(here, self._roofline(op))

    def as_family(self, op: Op, name: str, labels: Labels) -> Cost | None:
        """The cost by one family's curve, for ops that its own `labels` do not claim (a gradient); None without rows."""
        found = self._store.find(name, labels, self.engine)
        return None if found is None else self._kernel(op, name, found)

    def by(self, op: Op, name: str, found: Found) -> Cost:
        """The cost by given curves of a family, whoever's they are. For what crosses links the speed of light is 0, and only what
        was timed counts."""
        return self._priced(op, name, found, 0.0 if op.peak == "wire" else light_seconds(op, self.device))

    def _measured(self, op: Op, name: str, found: Found) -> Cost:
        if isinstance(op, Collective):
            return self._collective(op, name, found)
        return self._kernel(op, name, found)

    def _kernel(self, op: Op, name: str, found: Found) -> Cost:
        return self._priced(op, name, found, light_seconds(op, self.device))

    def doubts(self, op: Op) -> dict[str, float] | None:
        """Sigma of the log of one kernel by cause, of scalars: the scatter of its curves, how engines differ, what standing in adds; None
        for what crosses links, and where no row answers."""
        found = [(name, claim) for name, _, claim in self._claims(op) if claim is not None]
        if not found or op.peak == "wire":
            return None
        (name, claim), *_ = found
        p, _, _, _ = self._said(op, name, claim)
        stand_in = float(np.sqrt(claim.extra**2 + claim.common**2 + self._away(op) ** 2 + p.lent * claim.sibling**2))
        return {"scatter": float(p.sigma), "engines": float(p.between), "stand_in": stand_in}

    def _said(self, op: Op, name: str, found: Found) -> tuple[Heard, Num, Terms, Distinct]:
        """(what the curves say of each kind of points at the rates of their own device, its seconds on this device, terms on this device,
        the grid)."""
        family = families()[name]
        mine = family.terms(op, self.device)
        same = self.device.base is None and found.device.home == self.device.home
        stands = op if found.like is None else family.op(family.numbers(op), found.like)
        theirs = mine if same and stands is op else family.terms(stands, found.device)
        terms = {"theirs": theirs}
        if mine is not theirs:
            terms["mine"] = mine.scaled(found.compute, found.memory)
        if found.whole is not None:
            terms["whole"] = family.terms(family.op(family.numbers(op), found.whole), found.device)
        part = part_asked(name, op, found)
        points, grid = asked(family, op, *part, *(number for each in terms.values() for number in each.numbers))
        at = {which: each.each(grid.each) for which, each in terms.items()}
        said = heard(found, at["theirs"], points, *map(grid.each, part))
        if "whole" in at:
            said = without_rest(said, heard(found, at["whole"], points))
        seconds = said.seconds
        if "mine" in at:
            seconds = seconds * carried(found, at["mine"], at["theirs"], name, seconds * said.start / seconds)
        return said, seconds, mine, grid

    def _priced(self, op: Op, name: str, found: Found, light: Num) -> Cost:
        if self._asked is not None:
            self._asked.append((op, name, found))
        p, carried_s, mine, grid = self._said(op, name, found)
        later = self._later(op, found)
        started, seconds = grid.back(p.seconds * p.start) + later, grid.back(carried_s) + later
        slower = seconds >= light
        seconds = maximum(seconds, light)
        overhead = minimum(started, seconds)
        working = seconds - overhead
        # By the datasheet's rates: loss to tiles and starts is not a bound of its own.
        computing = plain(1.0 * (mine.compute_s >= mine.memory_s + mine.serial_s) + 0.0 * seconds)
        away = self._away(op)
        measured: Num = 0.0
        fitted: Num = 0.0
        if found.basis is Basis.FITTED:
            own = 1.0 * (away <= 0.0) * (1.0 - grid.back(p.lent))
            measured = seconds * (grid.back(1.0 * p.measured) * slower) * own
            fitted = (seconds - measured) * own
        transferred = seconds - measured - fitted
        variance = grid.back(p.sigma * p.sigma + p.between * p.between + p.lent * found.sibling**2)
        return Cost(
            working * computing, working * (1.0 - computing), 0.0, overhead, light, measured, fitted, transferred, 0.0,
            self._spread(name, found, seconds, sqrt(variance + found.extra**2 + away * away)),
        )  # fmt: skip

    def _later(self, op: Op, found: Found) -> Num:
        """How much longer its kernels take to start here than on the device whose curves answer, as the two profiles state it. Links have
        a latency of their own. [s]"""
        if found.device.home == self.device.home or op.peak == "wire":
            return 0.0
        key = "kernel_overhead"
        return kernels(op) * (self.device.assumption(key) - found.device.assumption(key))

    def _spread(self, name: str, found: Found, seconds: Num, sigma: Num) -> dict[str, Num]:
        """Sigma in seconds by source: of these curves (their scatter, how engines differ, what standing in adds to each class of kernels and
        to all), of what no table knows, of the machine that was measured."""
        sources = {f"{name} {found.basis}": seconds * sigma, _TABLES: seconds * BASE}
        more = {STANDS_IN: found.common, _DRIFT: found.drift}
        return sources | {source: seconds * each for source, each in more.items() if each}

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
        return OTHER_RATES * found


def _claimed(claims: list[tuple[str, Mask, Found | None]]) -> bool:
    """Whether rows answer for an op."""
    return bool(claims) and all(found is not None for _, _, found in claims)


_MODELS: dict[tuple[int, str], Roofline | Calibrated] = {}
_DEVICES = 32  # whose models are kept


def model(device: Device, engine: str = ANY) -> Roofline | Calibrated:
    """The best cost model for a device: calibrated where it or its sibling has rows. The same for the same device."""
    key = id(device), engine
    found = _MODELS.get(key)
    if found is None or found.device is not device:
        rows = device.measurements or device.tables or device.sibling
        if len(_MODELS) >= _DEVICES:
            _MODELS.clear()
        found = _MODELS[key] = Calibrated(device, engine) if rows else Roofline(device)
    return found
