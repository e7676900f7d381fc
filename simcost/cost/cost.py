"""Cost: seconds split by what bounds them and by what they rest on, with a spread. A monoid; elementwise on arrays."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import field, replace
from operator import add, attrgetter
from typing import Any

import numpy as np

from simcost.frozen import frozen
from simcost.num import Z90, Array, Mask, Num, exp, is_scalar, maximum, minimum, normal, plain, sqrt, where
from simcost.provenance import Basis

_TIMES = (
    "compute_s",
    "memory_s",
    "wire_s",
    "overhead_s",
    "light_s",
    "measured_s",
    "fitted_s",
    "transferred_s",
    "datasheet_s",
)
_times: Callable[[Any], tuple[Num, ...]] = attrgetter(*_TIMES)  # in the order of the fields
BOUNDS = ("compute", "memory", "wire", "overhead")
_OF = ": "  # between a device and a source of error of its own
NOISE = 1e-9  # of a time: less is what floats leave over
BASES = tuple(basis.value for basis in Basis)
# Sources of error that are of the engine and its host, whatever the device: two costs owe them wholly alike on any two devices.
ANYWHERE = ("what no table knows", "step overhead assumed", "eager launch assumed")
# Those that two costs of one device owe wholly alike.
# The price of a device, of what is compared in money.
PRICE = "price of a device"
STANDS_IN = "the device that stands in"
COMMON = (*ANYWHERE, PRICE, STANDS_IN, "the machine's state", "kernels in a step")
# Correlation of the errors of two kernels of one family whose shapes differ, where curves or a roofline's assumed share of the peak time
# them. Of 483 published timings, between two rows of one source, device and family within a factor of four in time: 0.22 (fitted), 0.33
# (transferred), 0.75 (assumed).
ALIKE, ALIKE_ASSUMED = 0.3, 0.75


@frozen
class Cost:
    """compute_s + memory_s + wire_s + overhead_s = seconds: each kernel's time stands under its bound. light_s: speed of
    light. measured_s + fitted_s + transferred_s + datasheet_s + assumed_s = seconds: what the time rests on.

    `spread`: one standard deviation [s] by source of error. Calls that share a source are wrong together, so it adds up
    within a source; sources are independent, so `deviation` joins them in quadrature."""

    compute_s: Num = 0.0
    memory_s: Num = 0.0
    wire_s: Num = 0.0
    overhead_s: Num = 0.0
    light_s: Num = 0.0
    measured_s: Num = 0.0
    fitted_s: Num = 0.0
    transferred_s: Num = 0.0
    datasheet_s: Num = 0.0
    spread: Mapping[str, Num] = field(default_factory=dict)

    @property
    def seconds(self) -> Num:
        """The whole time: the sum of its four bounds. [s]"""
        return self.compute_s + self.memory_s + self.wire_s + self.overhead_s

    @property
    def assumed_s(self) -> Num:
        """What of the time rests on assumptions: the rest after the other four. [s]"""
        return self.seconds - self.measured_s - self.fitted_s - self.transferred_s - self.datasheet_s

    @property
    def deviation(self) -> Num:
        """One standard deviation of `seconds`. [s]"""
        total: Num = 0.0
        for source in sorted(self.spread):  # in one order, whatever ran first: sums must not depend on it
            total = total + self.spread[source] * self.spread[source]
        return sqrt(total)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape that all its numbers broadcast to."""
        return np.broadcast_shapes(*(np.shape(getattr(self, n)) for n in _TIMES), *map(np.shape, self.spread.values()))

    def each(self, act: Callable[[Num], Num]) -> Cost:
        """The cost with `act` applied to every number of it."""
        spread = {source: act(value) for source, value in self.spread.items()}
        return _made(map(act, _times(self)), spread)

    def __add__(self, other: Cost) -> Cost:
        spread = dict(self.spread)
        for source, value in other.spread.items():
            spread[source] = spread[source] + value if source in spread else value
        return _made(map(add, _times(self), _times(other)), spread)

    def __mul__(self, factor: Num) -> Cost:
        if is_scalar(factor) and factor == 1.0:  # most calls of a program run once
            return self
        return _made((value * factor for value in _times(self)), self._spread_by(factor))

    def _spread_by(self, factor: Num) -> dict[str, Num]:
        return {source: value * factor for source, value in self.spread.items()}

    def where(self, mine: Mask, other: Cost) -> Cost:
        """This cost where `mine` holds, the other one elsewhere."""
        mask = np.asarray(mine, bool)
        if not mask.ndim and self._is_plain and other._is_plain:
            one = self if mask else other
            sources = dict.fromkeys((*self.spread, *other.spread))
            return _made(_times(one), {source: one.spread.get(source, 0.0) for source in sources})

        def either(both: list[Num]) -> Num:
            first, second = both
            same = is_scalar(first) and is_scalar(second) and first == second  # nothing of a kind stays one number
            return first if same else where(mask, first, second)

        return joined((self, other), either)

    @property
    def _is_plain(self) -> bool:
        """Whether all its numbers are Python's."""
        return {float}.issuperset(map(type, (*_times(self), *self.spread.values())))

    def _lit(self, light: Num) -> Cost:
        """The same time at another speed of light."""
        compute, memory, wire, overhead, _, *bases = _times(self)
        return _made((compute, memory, wire, overhead, light, *bases), self.spread)

    def unsure(self, source: str, sigma: Num) -> Cost:
        """The same time with one more source of error, of `sigma` of the log of the time."""
        return self + Cost(spread={source: self.seconds * sigma})

    def on(self, device: str) -> Cost:
        """The same cost, to be compared with costs of other devices: a source of error that is the device's own carries its name.

        What stays common (`ANYWHERE`) is the engine's and the host's: the release of the engine, and its own time in a step. Curves
        through measured rows, assumed shares of a peak and of a link, the clock of the measured machine, and neighbours in the L2
        are each device's own. Of published timings (`simcost validate kernels`), between two rows of one source and family on two
        devices within a factor of four in time, errors correlate by 0.0 (fitted, 647 pairs) and 0.1 (transferred, 6,371). Assumed
        ones do by 0.65, but nearly all of those 1,579 pairs are grouped GEMMs on two devices of one architecture: they count as
        independent too, so that no order is called surer than it is."""
        own = {
            source if source in ANYWHERE else f"{device}{_OF}{source}": value for source, value in self.spread.items()
        }
        return replace(self, spread=own)

    def slowed(self, factor: Num) -> Cost:
        """The same work beside other work: its time times `factor`, its speed of light unchanged."""
        return (self * factor)._lit(self.light_s)

    def beside(self, other: Cost) -> Cost:
        """Both at once: the longer one's time; at the speed of light the other one may be the longer."""
        longest = self.where(self.seconds >= other.seconds, other)
        return longest._lit(maximum(self.light_s, other.light_s))

    def among(self, other: Cost) -> Cost:
        """Both at once on one device's multiprocessors and memory: what they work adds up, and so does the speed of light; the
        machine is idle in the starts of one for the other."""
        both = self + other
        working = both.compute_s + both.memory_s + both.wire_s
        seconds = maximum(maximum(maximum(self.seconds, other.seconds), working), both.light_s)
        shorter = both * (seconds / maximum(both.seconds, 1e-30))
        bases = _times(shorter)[len(BOUNDS) + 1 :]
        times = both.compute_s, both.memory_s, both.wire_s, seconds - working, both.light_s, *bases
        return _made(times, shorter.spread)

    def cheapest(self, other: Cost, settled: Mask = False) -> tuple[Cost, Num]:
        """(the cheaper of two costs, or the other where `settled`; 1 where it is the other, else 0). Light is the lesser of the
        two, which may be the dearer one's; where settled, the other's."""
        taken = np.asarray((other.seconds < self.seconds) | np.asarray(settled, bool), bool)
        best = other.where(taken, self)
        light = where(settled, other.light_s, minimum(self.light_s, other.light_s))
        return best._lit(light), plain(1.0 * taken)


def _made(times: Iterable[Num], spread: Mapping[str, Num]) -> Cost:
    """The cost of its numbers in the order of the fields."""
    made: Any = Cost
    return made(*times, spread)  # type: ignore[no-any-return]


def joined(costs: Sequence[Cost], join: Callable[[list[Num]], Num]) -> Cost:
    """Several costs as one: `join` applied to each number of them, 0 for a source that a cost lacks."""
    sources = dict.fromkeys(source for cost in costs for source in cost.spread)
    spread = {source: join([cost.spread.get(source, 0.0) for cost in costs]) for source in sources}
    return Cost(**{n: join([getattr(cost, n) for cost in costs]) for n in _TIMES}, spread=spread)


def bound(cost: Cost) -> str:
    """Name of the largest share of a scalar cost: "compute", "memory", "wire" or "overhead"."""
    return max(BOUNDS, key=lambda name: float(getattr(cost, f"{name}_s")))


def basis(cost: Cost) -> str:
    """What a scalar cost rests on, largest first: "fitted" or "60% datasheet, 40% assumed"."""
    shares = {name: float(getattr(cost, f"{name}_s") / cost.seconds) for name in BASES}
    named = sorted(((share, name) for name, share in shares.items() if share > 0.005), reverse=True)
    return ", ".join(name if share > 0.995 else f"{share:.0%} {name}" for share, name in named)


def ratio_deviation(a: Cost, b: Cost, differ: Mapping[str, Num] | None = None) -> Num:
    """One standard deviation of log(a.seconds / b.seconds), elementwise. A source moves the log of each by its share of
    the time, and the log of the ratio by the difference, as far as both owe it the same error: wholly where it is COMMON, in part where
    it is the kernels of a family, whose shapes differ; sources are independent. `differ`: of each source's error in `a` times that in `b` the
    share that is of kernels whose shapes differ; None: all of it. The others are the same kernels, wrong by the same. Costs of several devices are
    those of `Cost.on`."""
    total: Num = 0.0
    for source in sorted({*a.spread, *b.spread}):
        one, other = a.spread.get(source, 0.0) / a.seconds, b.spread.get(source, 0.0) / b.seconds
        apart = one - other
        total = total + apart * apart
        own = 1.0 if differ is None else differ.get(source, 0.0)
        if source.rpartition(_OF)[2] not in COMMON:
            alike = ALIKE_ASSUMED if source.endswith(" assumed") else ALIKE
            total = total + 2.0 * (1.0 - alike) * own * one * other
    return sqrt(total)


def interval(cost: Cost) -> tuple[Num, Num]:
    """The 90 % interval of the seconds: as far below as above in ratio, and no lower than light. [s]"""
    width = exp(Z90 * cost.deviation / cost.seconds)
    return maximum(cost.seconds / width, minimum(cost.light_s, cost.seconds)), cost.seconds * width


def probability_less(a: Cost, b: Cost, ratio: Num | None = None, differ: Mapping[str, Num] | None = None) -> Num:
    """Probability that a is smaller than b, elementwise, their shared errors cancelled: the ratio is log-normal around a.seconds /
    b.seconds by `ratio_deviation`. 0.5 where they differ by no more than floats leave over. `ratio`: of a to b of what is compared,
    where it is another than that of the seconds and as uncertain (tokens per second, USD per token). `differ`: as `ratio_deviation` has it."""
    return normal(-_deviations(a, b, ratio, differ))


def tied(a: Cost, b: Cost, ratio: Num | None = None, differ: Mapping[str, Num] | None = None) -> Mask:
    """Whether the 90 % interval of the ratio of two times contains 1, their shared errors cancelled: the probability of the sign of
    their difference (`probability_less`) is no more than 95 %. `ratio`, `differ`: as there."""
    found = np.asarray(np.abs(_deviations(a, b, ratio, differ)) <= Z90)
    return found if found.ndim else bool(found)


def _deviations(a: Cost, b: Cost, ratio: Num | None, differ: Mapping[str, Num] | None) -> Array:
    """log of the ratio of a to b, in standard deviations."""
    log = np.log(np.asarray(a.seconds / b.seconds if ratio is None else ratio, np.float64))
    beyond = np.sign(log) * np.maximum(np.abs(log) - NOISE, 0.0)  # equal costs leave what floats leave over
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(beyond == 0.0, 0.0, beyond / np.asarray(ratio_deviation(a, b, differ))), np.float64)


def on_wire(cost: Cost) -> Cost:
    """The same seconds as time on links."""
    return Cost(
        0.0, 0.0, cost.compute_s + cost.memory_s, cost.overhead_s, cost.light_s, cost.measured_s, cost.fitted_s,
        cost.transferred_s, 0.0, cost.spread,
    )  # fmt: skip
