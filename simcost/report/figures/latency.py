"""What a request waits for under one load: TTFT, TPOT and E2E with their 90 % intervals, and which part of each is queueing, prefill and decode."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from simcost.report.figures.marks import Mark, marked, stacked
from simcost.report.figures.marks import rows as named
from simcost.report.figures.points import ends
from simcost.report.figures.scales import Scale, scale
from simcost.report.figures.style import INK, Style, canvas, headed, key, settings, ticks
from simcost.result import Result

NAME = "latency"
COMMANDS = ("serve",)
NEEDS = "serve at one load"
_TIMES = ("ttft", "tpot", "e2e")
_QUANTILES = (("p50", "P50", "|"), ("p90", "P90", "d"), ("p99", "P99", "D"))  # request by request, and their markers
_MEANS = {"ttft": "time to first token", "tpot": "time per output token", "e2e": "whole request"}


class Parts(NamedTuple):
    """A time and what it is made of, in order. [s]"""

    name: str
    parts: Sequence[tuple[str, float]]


def applies(result: Result) -> bool:
    """Whether a result is of one load that can be served."""
    return result.command == "serve" and "loads" not in result.tables and all(result.metrics.get(f"{name}_s") for name in ("ttft", "e2e"))  # fmt: skip


def marks(result: Result) -> list[Mark]:
    """What is drawn above: the times that a request has. [s]"""
    values = result.metrics
    return [Mark(name, float(values[f"{name}_s"]), *ends(values, f"{name}_s")) for name in _TIMES if values.get(f"{name}_s")]  # fmt: skip


def quantiles(result: Result) -> dict[str, dict[str, float]]:
    """Name of a time -> P50, P90 and P99 of requests, of a run request by request. [s]"""
    values = result.metrics
    return {name: {word: float(values[f"{name}_{of}_s"]) for of, word, _ in _QUANTILES if values.get(f"{name}_{of}_s") is not None} for name in _TIMES}  # fmt: skip


def parts(result: Result) -> list[Parts]:
    """What is drawn below: TTFT and E2E by what a request waits for; the parts of each add up to it. [s]"""
    values = result.metrics
    first, whole = float(values["ttft_s"]), float(values["e2e_s"])
    queue, sent = float(values.get("queueing_s") or 0.0), float(values.get("kv_transfer_s") or 0.0)
    before = [("queueing", queue), ("prefill", max(first - queue - sent, 0.0)), *([("cache sent to the decode pool", sent)] if sent else [])]  # fmt: skip
    return [Parts("TTFT", [*before, ("decode", 0.0)]), Parts("E2E", [*before, ("decode", whole - first)])]


def draw(result: Result, look: Style) -> Any:
    """A figure of matplotlib. Drawn values are those of `marks`, `quantiles` and `parts`."""
    times, below, seen = marks(result), parts(result), quantiles(result)
    words = [name for name, _ in below[0].parts]
    told = any(seen.values())
    columns = 4 if look.slide else 2
    with settings(look):
        tall = 1.5 if look.slide else 1.25
        figure, axes, place = canvas(look, [tall, tall], key=-(-(len(words) + 3 * told) // columns))
        top, bottom = axes[:, 0]
        handles, names = _times(figure, top, times, seen, look)
        share = Scale(0.01, "%", "share of the time [%]")
        bars = [[value / sum(size for _, size in one.parts) for _, value in one.parts] for one in below]
        unit = scale("e2e_s", [sum(size for _, size in below[-1].parts)])
        labels = [f"{one.name}, {scale('ttft_s', [sum(v for _, v in one.parts)]).shown(sum(v for _, v in one.parts))}" for one in below]  # fmt: skip
        drawn = stacked(figure, bottom, bars, words, share, labels, look)
        named(bottom, labels, 24)
        bottom.set(xlim=(0.0, 100.0), xlabel=share.label)
        key(place, [*drawn, *handles], [*words, *names], columns)
        note = "lines: 90 % interval of the mean" if told else "lines: 90 % interval"
        headed(figure, look, f"What does a request wait for in its {unit.shown(float(result.metrics['e2e_s']))}?", result, note)  # fmt: skip
    return figure


def _times(figure: Any, axis: Any, times: Sequence[Mark], seen: dict[str, dict[str, float]], look: Style) -> tuple[list[Any], list[str]]:  # fmt: skip
    """Values on one axis of logarithms: a token and a whole answer are far apart."""
    every = [end for one in times for end in (one.low, one.y, one.high) if end is not None]
    every += [value for of in seen.values() for value in of.values()]
    unit = scale("e2e_s", [max(every) / 50.0])
    found: dict[str, Any] = {}
    for at, one in enumerate(times):
        own = scale("e2e_s", [one.y])
        told = "".join(f"; {word} {own.shown(value)}" for word, value in seen[one.name].items())
        marked(figure, axis, at, one._replace(name=f"{one.name.upper()}, {_MEANS[one.name]}"), unit, more=told)
        for _, word, shape in _QUANTILES:
            if word in seen[one.name]:
                found[word] = axis.plot([unit.of(seen[one.name][word])], [at + 0.26], shape, color=INK, markersize=5 if look.slide else 4, label=word)[0]  # fmt: skip
    named(axis, [f"{one.name.upper()}, {scale('e2e_s', [one.y]).shown(one.y)}" for one in times], 24)
    low, high = unit.of(min(every)), unit.of(max(every))
    ticks(axis, "x", low, max(high, 13.0 * low), look)
    axis.set(xlim=(low / 1.3, high * 1.3), xlabel=f"time [{unit.unit}]", ylim=(len(times) - 0.4, -0.5))
    axis.grid(True, axis="x")
    return list(found.values()), [f"{word} of requests" for word in found]
