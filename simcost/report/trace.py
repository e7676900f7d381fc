"""Trace events as chrome://tracing and Perfetto read them: passes, what of them is exposed communication, bubbles, and memory over time. Times in microseconds.

Schedules are a process each, with a thread a rank; of a training step each rank is a process, so that its memory stands beside its passes. Format: Trace Event Format, phases X (complete), M (metadata) and C (counter).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from simcost import units
from simcost.report.bars import GATHERS, GRADIENTS, OPTIMIZER, Bar, Chart
from simcost.report.figures.gantt import WORDS, kind_of

_MICROSECOND = units.parse("1 us", "seconds")
_ONCE = {GRADIENTS: "sums of gradients", OPTIMIZER: "optimizer", GATHERS: "gathers of weights"}
_HOP = "hop"
Event = dict[str, Any]


def trace(charts: Sequence[Chart]) -> dict[str, Any]:
    """The whole file."""
    events: list[Event] = []
    for process, chart in enumerate(charts):
        events += _of_training(chart) if chart.memory else _of_schedule(chart, process)
    return {"traceEvents": events, "displayTimeUnit": "ms"}


def _of_schedule(chart: Chart, process: int) -> Iterator[Event]:
    """A process, and a thread a rank; the second pass of a pair, which overlaps the first, has a thread of its own."""
    yield _named("process_name", process, 0, chart.name)
    for rank in range(chart.ranks):
        yield _named("thread_name", process, rank, chart.rows[rank] if chart.rows else f"rank {rank}")
    for bar in _in_order(chart.bars) if chart.kinds else ():
        yield _span(chart.kinds[bar.kind][1], "phase", process, bar.rank, bar.start, bar.end)
    for bar in () if chart.kinds else _in_order(chart.bars):
        yield _slice(bar, process, bar.rank if bar.half < 2 else chart.ranks + bar.rank)


def _of_training(chart: Chart) -> Iterator[Event]:
    """A process a rank: a thread of passes and bubbles, one of the backward passes beside them, and a counter of memory."""
    for rank, (levels, holds) in enumerate(zip(chart.memory, chart.holds, strict=True)):
        yield _named("process_name", rank, 0, f"pipeline rank {rank}: {holds}")
        yield {"ph": "M", "name": "process_sort_index", "pid": rank, "args": {"sort_index": rank}}
        yield _named("thread_name", rank, 0, "passes")
        mine = _in_order([bar for bar in chart.bars if bar.rank == rank])
        if any(bar.half == 2 for bar in mine):
            yield _named("thread_name", rank, 1, "gradients beside a forward")
        free = 0.0
        for bar in mine:
            if bar.start - free > _MICROSECOND:
                yield _span("bubble", "bubble", rank, 0, free, bar.start)
            free = max(free, bar.end)
            yield _slice(bar, rank, 0 if bar.half < 2 else 1)
            yield from _exposed(bar, rank, 0 if bar.half < 2 else 1)
        for time, level in levels.activations:
            yield {
                "ph": "C", "name": "memory [B]", "pid": rank, "ts": _time(time),
                "args": {"weights, gradients, optimizer": round(levels.state), "buffers, slack, runtime": round(levels.other), "activations": round(level)},
            }  # fmt: skip


def _exposed(bar: Bar, process: int, thread: int) -> Iterator[Event]:
    """What of a pass is communication that nothing hides, as slices at its end: where it lies in the pass is not known."""
    end = bar.end
    for name, seconds in bar.wires:
        start = max(end - seconds, bar.start)
        yield _span(WORDS[name], "exposed communication", process, thread, start, end)
        end = start


def _slice(bar: Bar, process: int, thread: int) -> Event:
    if bar.kind in _ONCE:
        return _span(_ONCE[bar.kind], WORDS[kind_of(bar.kind)], process, thread, bar.start, bar.end)
    name = f"{bar.kind}{bar.microbatch}" if bar.microbatch >= 0 else _HOP
    found = _span(name, WORDS[kind_of(bar.kind)], process, thread, bar.start, bar.end)
    return {**found, "args": {"microbatch": bar.microbatch, "stage": bar.stage}} if bar.microbatch >= 0 else found


def _span(name: str, category: str, process: int, thread: int, start: float, end: float) -> Event:
    return {
        "ph": "X", "name": name, "cat": category, "pid": process, "tid": thread, "ts": _time(start), "dur": _time(end - start),
    }  # fmt: skip


def _time(seconds: float) -> float:
    """In microseconds, to a nanosecond."""
    return round(seconds / _MICROSECOND, 3)


def _named(what: str, process: int, thread: int, name: str) -> Event:
    return {"ph": "M", "name": what, "pid": process, "tid": thread, "args": {"name": name}}


def _in_order(bars: Sequence[Bar]) -> list[Bar]:
    return sorted(bars, key=lambda each: (each.start, each.rank, each.half))
