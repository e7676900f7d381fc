"""The first lines of an answer: the number asked for with its interval, what it rests on, what limits it; and the terms that it is made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from simcost.metrics import groups
from simcost.report.cells import cell, span, title
from simcost.result import Result, Row

COMMANDS = ("decode", "prefill", "explain", "train")
_TIMES = ("tpot", "ttft", "step")
_SHORT = 5e-4  # part of a step below which its share prints as nothing
_MOST = 5  # terms of an answer
TERMS = "largest terms"


def lines(result: Result) -> Row:
    """Lines of one operating point: name -> words; {} for other commands, and for a table of points."""
    metrics = result.metrics
    name = next((name for name in _TIMES if metrics.get(f"{name}_s") is not None), None)
    if result.command not in COMMANDS or name is None:
        return {}
    return {f"{name}_s": _time(name, metrics), **partitions(metrics)}


def heading(result: Result, found: Row) -> list[str]:
    """The number asked for, where there is one and the design fits, and the verdict. It is taken from `found`, the answer's `lines`."""
    said = [result.verdict] if result.verdict else []
    if found and result.verdict.startswith("fits"):  # a longer verdict says the number itself, or what is wrong
        name = next(iter(found))
        said = [f"{title(name)} {found.pop(name)}", *said]
    return said


def partitions(metrics: Mapping[str, Any]) -> Row:
    """Both partitions of the step's time, each in a line: what it rests on, what bounds it."""
    found = {groups.BASIS: _shares(metrics, groups.BASES), groups.BOUND: _shares(metrics, groups.BOUNDS)}
    return {heading: words for heading, words in found.items() if words}


def _time(name: str, metrics: Mapping[str, Any]) -> str:
    low, high, light = (metrics.get(end) for end in (f"{name}_low_s", f"{name}_high_s", "speed_of_light_s"))
    within = f" (90 %: {span(low, high)})" if low is not None and high is not None else ""
    words = [cell(f"{name}_s", metrics[f"{name}_s"]) + within]
    words += [f"speed of light {cell('speed_of_light_s', light)}"] if light is not None else []
    return ", ".join(words)


def _shares(metrics: Mapping[str, Any], names: Mapping[str, str]) -> str:
    """ "memory 75.6 %, overhead 20.6 %", the largest first; what prints as nothing is left out."""
    shares = {word: metrics.get(f"share_{name}") or 0.0 for name, word in names.items()}
    ranked = sorted(shares.items(), key=lambda each: -each[1])
    return ", ".join(f"{word} {cell('share', share)}" for word, share in ranked if share >= _SHORT)


def told(metrics: Mapping[str, Any]) -> set[str]:
    """Metrics that the first lines say, or that say nothing where they are 0."""
    times = {f"{name}{end}_s" for name in _TIMES for end in ("", "_low", "_high")}
    shares = {f"share_{name}" for name in (*groups.BOUNDS, *groups.BASES)}
    nothing = {name for name in ("memory_short_bytes_per_gpu",) if not metrics.get(name)}
    return {*times, *shares, *nothing, "speed_of_light_s", "gpus"}


def largest(terms: Sequence[Row], details: bool) -> list[Row]:
    """The longest terms of a step for people; all of them with `details`."""
    shown = terms if details else terms[:_MOST]
    rests = ("basis",) if details else ()  # explain says it of every kernel
    return [
        {"term": row["term"], "time_s": row["step_s"], "low_s": row["step_low_s"], "high_s": row["step_high_s"], **{name: row[name] for name in ("share", "bound", *rests)}}
        for row in shown
    ]  # fmt: skip
