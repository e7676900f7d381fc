"""Times on a CUDA device: one graph a point that holds the rotated calls, replayed and read by events.

A graph removes the gaps between launches and the rotation keeps the L2 cold, as in a stack of layers. What cannot be captured
runs eagerly, and the row's kind says so. Most likely to be wrong: clocks that fall under load; a point is dropped when the
SM clock fell by more than a tenth (the rule of AIConfigurator's collectors). Source: torch.cuda.CUDAGraph, CUDA events.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from simcost.measure.capture import Uncapturable, captured
from simcost.measure.timing import WARM_UPS, Call, Timing, summary
from simcost.units import parse

FEWEST, MOST = 7, 15
_MILLI = parse("1 ms", "seconds")  # events answer in milliseconds


def timed(
    calls: Sequence[Call], target_s: float, device: str, graph: bool = True, what: str = ""
) -> tuple[Timing, str]:
    """(time of a call, "graph" or "eager" with the reason). `what` names calls that capture alike."""

    def once() -> list[Any]:
        return [call() for call in calls]

    with torch.cuda.device(device):
        if not graph:
            return _sampled(once, len(calls), target_s), "eager"
        _aside(calls)
        try:
            replayed, kept = captured(once, what)  # outputs are held, so that every call writes memory of its own
        except Uncapturable as error:  # the eager time is then the honest one
            return _sampled(once, len(calls), target_s), f"eager ({error})"
        timing = _sampled(replayed.replay, len(calls), target_s)
        del kept
        return timing, "graph"


def _aside(calls: Sequence[Call]) -> None:
    """The first calls, which set things up, on another stream, as a capture wants it."""
    side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for i in range(WARM_UPS):
            calls[i % len(calls)]()
    torch.cuda.current_stream().wait_stream(side)
    torch.cuda.synchronize()


def _sampled(play: Call, calls: int, target_s: float) -> Timing:
    """Replays between events; the first ones warm up."""
    for _ in range(WARM_UPS):
        play()
    torch.cuda.synchronize()
    each = _between(play)
    wanted = max(FEWEST, min(MOST, int(target_s / max(each, 1e-9))))
    seconds = [_between(play) / calls for _ in range(wanted)]
    return summary(seconds, [False] * wanted)


def _between(play: Call) -> float:
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
    start.record()
    play()
    end.record()
    end.synchronize()
    return float(start.elapsed_time(end)) * _MILLI
