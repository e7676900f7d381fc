"""What a metric is, and how a line of a table says one."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

TEXT, FLAG, NUMBER = "text", "flag", ""  # dimensions without a unit
_FLAGS = ("more", "less", "headline", "step", "slowest", "plans", "compare", "best")
Rows: TypeAlias = tuple[tuple[str, str, str, str], ...]


class Metric(NamedTuple):
    """One printed name. `unit`: a dimension ("seconds", "memory", ...), TEXT, FLAG, or NUMBER. `better`: "more", "less" or "" where neither
    is. `headline`: sweeps show it first. `error`: whose uncertainty it has: "step", the time of a step; "slowest", of prefill only its slowest
    pipeline stage; "" for what is exact. `plans`, `compare`: a column there. `best`: compare names the design with the least."""

    name: str
    unit: str
    meaning: str
    better: str = ""
    headline: bool = False
    error: str = ""
    plans: bool = False
    compare: bool = False
    best: bool = False


class Section(NamedTuple):
    """Names of one command or table; `note`: what a reader of them should know. The first is the time of a step and what it takes."""

    title: str
    note: str
    metrics: tuple[Metric, ...]


def section(title: str, rows: Rows, note: str = "") -> Section:
    """The names of a table, each a line of (name, unit, words of `_FLAGS`, meaning). Raises ValueError for another word."""
    return Section(title, note, tuple(_metric(*row) for row in rows))


def _metric(name: str, unit: str, flags: str, meaning: str) -> Metric:
    said = flags.split()
    if any(word not in _FLAGS for word in said):
        raise ValueError(f"{name}: {flags}")
    better = "more" if "more" in said else "less" if "less" in said else ""
    error = "step" if "step" in said else "slowest" if "slowest" in said else ""
    return Metric(
        name, unit, meaning, better, "headline" in said, error, "plans" in said, "compare" in said, "best" in said
    )
