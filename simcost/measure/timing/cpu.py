"""Samples of one kernel to one time: the median of clean samples, with the 20 % and 80 % quantiles.

On a CPU a sample is a block of calls that takes a millisecond or more; a sample in which the scheduler took the processor
away is dirty and counts only when there is no other. Buffers rotate through the calls, outputs through a ring. Most likely to
be wrong: samples longer than a scheduler slice are nearly all dirty on a busy machine. Source: getrusage(2).
"""

from __future__ import annotations

import math
import resource
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any

from simcost.frozen import frozen
from simcost.units import parse

Call = Callable[[], Any]
WARM_UPS = 3
FEWEST, LEAST, MOST = (
    3,
    5,
    15,
)  # samples of a visit: more than fifteen buy nothing that another visit does not buy better
_BLOCK = parse("1 ms", "seconds")
_ENDLESS = parse("1 s", "seconds")  # a call longer than this has one sample: a budget must be able to end
_LONG = 4.0  # times the whole visit: a call this long is warm after one


@frozen
class Timing:
    """seconds a call: median, and 20 % and 80 % quantiles, of `samples` clean samples; share of samples that were dirty."""

    seconds: float
    p20_s: float
    p80_s: float
    samples: int
    dirty: float

    def extra(self) -> tuple[float, float, float, float]:
        """(p20_s, p80_s, samples, dirty): the order of the row files' extra columns."""
        return self.p20_s, self.p80_s, float(self.samples), self.dirty


def summary(seconds: Sequence[float], dirty: Sequence[bool]) -> Timing:
    """Median and quantiles of the clean samples, of all samples where none is clean. At least one sample."""
    clean = [s for s, d in zip(seconds, dirty, strict=True) if not d]
    kept = sorted(clean or seconds)
    share = sum(dirty) / len(dirty)
    return Timing(_quantile(kept, 0.5), _quantile(kept, 0.2), _quantile(kept, 0.8), len(kept), share)


def _quantile(ordered: Sequence[float], share: float) -> float:
    at = share * (len(ordered) - 1)
    low = math.floor(at)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (at - low) * (ordered[high] - ordered[low])


def merged(timings: Sequence[Timing]) -> Timing:
    """Several visits of one point: medians of their figures, samples added up."""

    def middle(values: list[float]) -> float:
        return _quantile(sorted(values), 0.5)

    return Timing(
        middle([t.seconds for t in timings]), middle([t.p20_s for t in timings]), middle([t.p80_s for t in timings]),
        sum(t.samples for t in timings), sum(t.dirty for t in timings) / len(timings),
    )  # fmt: skip


def preemptions() -> int:
    """How often the scheduler has taken the processor from this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw


@frozen
class Clock:
    """Where time and contention are read; tests put their own."""

    now: Callable[[], float] = perf_counter
    preemptions: Callable[[], int] = preemptions


def timed(calls: Sequence[Call], target_s: float, clock: Clock | None = None) -> Timing:
    """Time of a call, from samples of calls that return when they are done, taken in turn. target_s: seconds for all samples
    together; beyond the fewest samples it takes at most three times that."""
    clock = clock or Clock()
    each = _warmed(calls, target_s, clock)
    block = max(1, math.ceil(_BLOCK / max(each, 1e-9)))
    least = LEAST if block * each * LEAST < 2.0 * target_s else FEWEST
    least = 1 if each > _ENDLESS else least
    wanted = max(least, min(MOST, int(target_s / (block * each))))
    seconds: list[float] = []
    dirty: list[bool] = []
    ring: list[Any] = [None] * min(len(calls), block)
    at = 0
    started = clock.now()
    while sum(not d for d in dirty) < wanted:
        if len(seconds) >= least and clock.now() - started > 3.0 * target_s:
            break
        before, start = clock.preemptions(), clock.now()
        for i in range(block):
            ring[i % len(ring)] = calls[at]()
            at = at + 1 if at + 1 < len(calls) else 0
        end, after = clock.now(), clock.preemptions()
        seconds.append((end - start) / block)
        dirty.append(after > before)
        if len(seconds) >= 4 * MOST:
            break
    return summary(seconds, dirty)


def _warmed(calls: Sequence[Call], target_s: float, clock: Clock) -> float:
    """The shortest of the warm-up calls. [s]"""
    best = math.inf
    for i in range(WARM_UPS):
        start = clock.now()
        calls[i % len(calls)]()
        best = min(best, clock.now() - start)
        if best > _LONG * target_s:
            break
    return best


def moved(times: Sequence[float], share: float) -> float:
    """Relative deviation from their median within which `share` of the times of one fixed thing lie; 1.0: the worst."""
    if not times:
        return 0.0
    middle = sorted(times)[len(times) // 2]
    strayed = sorted(abs(t / middle - 1.0) for t in times)
    return strayed[min(int(share * len(strayed)), len(strayed) - 1)]
