"""Which part of a trace is looked at, how many steps it holds, and how much of the time kernels run, gape or hide each other.

Steps are those of torch.profiler (`ProfilerStep#3`), occurrences of an annotation, or as many as the user says; nothing is guessed. Most likely to be wrong: the last gap, between the last kernel of a trace and the
next step, which no trace of n steps has.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from simcost.errors import SpecError, nearest
from simcost.scenarios.profiled.events import STEP, Floats, Mark, Trace

Mask = npt.NDArray[np.bool_]


class Part(NamedTuple):
    """Kernels that are looked at, how many steps they are of and who says so, and the time from the first to the last. [s]"""

    kept: Mask
    steps: int
    counted: str
    span: float


def part(trace: Trace, where: str, steps: int | None, within: str, device: int | None) -> Part:
    """Raises SpecError for a device or an annotation without kernels, and where nothing says how many steps there are."""
    kept = _of_device(trace, where, device)
    if within:
        found = _annotated(trace, where, within)
        inside = np.zeros(len(kept), np.bool_)
        for mark in found:
            first, last = np.searchsorted(trace.start, (mark.start, mark.end))
            inside[first:last] = True
        kept &= inside
        if not kept.any():
            raise SpecError(f"{where}: no kernel runs within {within!r}")
        spans = [_span(trace, kept & _between(trace, mark)) for mark in found]
        counted = len([one for one in spans if one])
        return Part(kept, steps or counted, "--steps" if steps else f"{counted} x {within!r}", sum(spans))
    count = steps or _profiled(trace)
    if not count:
        raise SpecError(f"{where}: it marks no step of torch.profiler ({STEP}): add --steps N, or --within ANNOTATION")
    return Part(kept, count, "--steps" if steps else f"{count} x {STEP}", _span(trace, kept))


def _of_device(trace: Trace, where: str, device: int | None) -> Mask:
    known = sorted({int(each) for each in np.unique(trace.device)})
    if device is None and len(known) > 1:
        raise SpecError(f"{where}: kernels of devices {', '.join(map(str, known))}: choose one with --device N")
    if device is not None and device not in known:
        raise SpecError(f"{where}: no kernel of device {device} (it has {', '.join(map(str, known))})")
    return np.ones(len(trace.start), np.bool_) if device is None else trace.device == device


def _annotated(trace: Trace, where: str, within: str) -> list[Mark]:
    """Occurrences of an annotation on the timeline of the kernels. Raises SpecError for one that is not there."""
    named = [mark for mark in trace.marks if mark.name == within]
    if not named:
        names = sorted({mark.name for mark in trace.marks})
        some = f" (it has {', '.join(names[:8])}{' and more' if len(names) > 8 else ''})" if names else " (it has none)"
        raise SpecError(f"{where}: no annotation {within!r}{some}{nearest(within, names)}")
    found = [mark for mark in named if mark.on_gpu == trace.on_gpu]
    if not found:
        raise SpecError(
            f"{where}: {within!r} is on the timeline of the CPU only, and kernels run later than the CPU launches them: use --steps N, or record with a torch that writes gpu_user_annotation"
        )
    return found


def _between(trace: Trace, mark: Mark) -> Mask:
    return (trace.start >= mark.start) & (trace.start < mark.end)


def _profiled(trace: Trace) -> int:
    """Steps of torch.profiler that ran something: on the GPU's timeline, else those of the CPU that launched a kernel, or ran an operator."""
    named = [mark for mark in trace.marks if mark.name.startswith(STEP)]
    begun = trace.launches if trace.on_gpu else trace.start
    ran = [mark for mark in named if np.searchsorted(begun, mark.end) > np.searchsorted(begun, mark.start)]
    of_gpu = [mark for mark in named if mark.on_gpu and trace.on_gpu]
    return len({mark.name for mark in of_gpu or (ran if len(begun) else named)})


def _span(trace: Trace, kept: Mask) -> float:
    return float(trace.end[kept].max() - trace.start[kept].min()) if kept.any() else 0.0


def union(start: Floats, end: Floats) -> Floats:
    """Intervals, in order of their start, as those that do not touch: a row of starts, one of ends."""
    if not len(start):
        return np.zeros((2, 0))
    latest = np.maximum.accumulate(end)
    new = np.concatenate(([True], start[1:] > latest[:-1]))
    last = np.concatenate((new[1:], [True]))
    return np.stack((start[new], latest[last]))


def length(intervals: Floats) -> float:
    """The sum of intervals that do not touch. [s]"""
    return float((intervals[1] - intervals[0]).sum())


def busy(trace: Trace, kept: Mask) -> Floats:
    """When any of the kernels runs."""
    return union(trace.start[kept], trace.end[kept])


def alone(some: Floats, other: Floats) -> float:
    """Time of intervals during which none of the others runs. [s]"""
    both = np.concatenate((some, other), axis=1)
    order = np.argsort(both[0], kind="stable")
    return length(union(both[0][order], both[1][order])) - length(other)
