"""Times on a CUDA device: one graph a point that holds the rotated calls, replayed and read by events.

A graph removes the gaps between launches and the rotation keeps the L2 cold, as in a stack of layers. What cannot be
captured runs eagerly, and the row's kind says so. Stamps stand between replays that are already queued: on an idle
stream the first of two stamps would be taken before the launch between them has even begun, which is a fifth of a graph
of 30 us. Most likely to be wrong: clocks. An idle device runs at a sixth of its clock, so it is kept busy first;
samples under a clock that moved by more than a tenth (the rule of AIConfigurator's collectors) or stayed low are dirty.
Source: torch.cuda.CUDAGraph, CUDA events.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch

from simcost.measure.machine.environment import Gauge, gauge
from simcost.measure.timing.cpu import WARM_UPS, Call, Timing, summary
from simcost.measure.timing.cuda_graph import Uncapturable, captured
from simcost.units import parse

FEWEST, LEAST, MOST = 7, 3, 15  # samples: of an ordinary call, of one that takes more than its visit, of a short one
_PLENTY = 4.0  # times the visit: what FEWEST samples may take
_LONG = parse("1 s", "seconds")  # a play this long is warm after one, and one more is its sample
SPAN = parse("1 ms", "seconds")  # of one sample, at least: a stamp costs a microsecond
WARM = parse("20 ms", "seconds")  # of work before the first sample
_PATIENCE = parse("200 ms", "seconds")  # of work, at most, while the clock still rises
_MOVED, _LOW = 0.9, 1.0 / 3.0  # of the higher of two clocks; of the highest that the board has (idle: a sixth)
_MILLI = parse("1 ms", "seconds")  # events answer in milliseconds


def timed(
    calls: Sequence[Call], target_s: float, device: str, graph: bool = True, what: str = ""
) -> tuple[Timing, str]:
    """(time of a call, "graph" or "eager" with the reason). `what` names calls that capture alike. A time whose samples
    are all dirty was taken under a clock that moved, or was low."""

    def once() -> list[Any]:
        return [call() for call in calls]

    with torch.cuda.device(device):
        if not graph:
            return sampled(once, len(calls), target_s, gauge(device)), "eager"
        _aside(calls)
        try:
            replayed, kept = captured(once, what)  # outputs are held, so that every call writes memory of its own
        except Uncapturable as error:  # the eager time is then the honest one
            return sampled(once, len(calls), target_s, gauge(device)), f"eager ({error})"
        timing = sampled(replayed.replay, len(calls), target_s, gauge(device))
        del kept
        return timing, "graph"


def _aside(calls: Sequence[Call]) -> None:
    """The first calls, which set things up, on another stream, as a capture wants it."""
    side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    side.wait_stream(torch.cuda.current_stream())
    started = time.monotonic()
    with torch.cuda.stream(side):
        for i in range(WARM_UPS):
            calls[i % len(calls)]()
            torch.cuda.synchronize()
            if time.monotonic() - started > _LONG:
                break
    torch.cuda.current_stream().wait_stream(side)
    torch.cuda.synchronize()


def sampled(play: Call, calls: int, target_s: float, board: Gauge) -> Timing:
    """Samples of one play, which holds so many calls, on a warm device."""
    each = warmed(play, board)
    count = max(1, math.ceil(SPAN / max(each, 1e-9)))
    wanted = _samples(each * count, target_s)
    before = board.clock()
    seconds = [value / calls for value in spans(play, count, wanted)]
    dirty = unsteady(before, board.clock(), board.top())
    return summary(seconds, [dirty] * wanted)


def _samples(each: float, target_s: float) -> int:
    """How many samples of so many seconds a visit takes."""
    if each > _LONG:
        return 1
    fewest = FEWEST if FEWEST * each <= _PLENTY * target_s else LEAST
    return max(fewest, min(MOST, int(target_s / max(each, 1e-9))))


def unsteady(before: float | None, after: float | None, top: float | None) -> bool:
    """Whether a clock [Hz] moved by more than a tenth, or is that of a device that idles; unknown ones did neither."""
    if before is None or after is None:
        return False
    return min(before, after) < _MOVED * max(before, after) or (top is not None and before < _LOW * top)


def warmed(play: Call, board: Gauge) -> float:
    """Plays until the device was busy for WARM and its clock, where it can be read, is steady; gives up after 200 ms of work.
    Returns the seconds of a play."""
    spent, count = 0.0, 1
    clock = board.clock()
    while True:
        each = spans(play, count, 1)[0]
        spent += each * count
        last, clock = clock, board.clock()
        if spent >= _PATIENCE or (spent >= WARM and not unsteady(last, clock, board.top())):
            return each
        left = WARM - spent if spent < WARM else WARM / 2.0
        count = max(1, min(math.ceil(left / max(each, 1e-9)), 8 * count))  # the first plays are slow, or fast, for once


def spans(play: Call, count: int, samples: int) -> list[float]:
    """Seconds of a play, `samples` of them, each the mean of `count` plays in a row. One play ahead keeps the queue busy from the
    first stamp on."""
    play()
    stamps = [stamp()]
    for _ in range(samples):
        for _ in range(count):
            play()
        stamps.append(stamp())
    stamps[-1].synchronize()
    return [elapsed(a, b) / count for a, b in pairwise(stamps)]


def stamp() -> torch.cuda.Event:
    """An event that says when all work queued so far is done."""
    event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
    event.record()
    return event


def elapsed(start: torch.cuda.Event, end: torch.cuda.Event) -> float:
    """Seconds between two stamps that are past."""
    return float(start.elapsed_time(end)) * _MILLI
