"""What moved between two answers of one command: what was asked, every metric, every term of the step.

A term's time is its share of the step times the step, so that what moved adds up to the change of the whole, also where calls run side by side. Intervals are
those of each answer alone: most of their error is common to both, so that two answers may differ though their intervals overlap; `compare` cancels it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

from simcost import metrics as known
from simcost.cost.cost import NOISE
from simcost.errors import SpecError
from simcost.provenance import Kind, Note
from simcost.result import Result, Row
from simcost.scenarios.answers.read import Answer, Source, answer
from simcost.units import show

_HEADLINES = ("tpot_s", "ttft_s", "step_s")
_TABLES = {"explain": ("ops", "op"), "train": ("where the step goes", "part"), "rl": ("phases", "phase")}
_FOLLOW = ("engine_settings",)  # from what else was asked
_ENDS = ("_low", "_high", "_low_s", "_high_s")


def result(before: Source, after: Source) -> Result:
    """Raises SpecError for answers of two commands, for tables of points, and where nothing compares."""
    a, b = answer(before, "the first result"), answer(after, "the second result")
    if a.command != b.command:
        raise SpecError(f"{a.name} is a result of {a.command}, {b.name} of {b.command}: diff compares two results of the same command")  # fmt: skip
    for one in (a, b):
        if "vary" in one.inputs or one.command in ("sweep", "compare"):
            raise SpecError(f"{one.name} holds a table of points: diff compares results with one operating point each")
    headline = next((name for name in _HEADLINES if _number(a.metrics, name) and _number(b.metrics, name)), "")
    moved = _metrics(a.metrics, b.metrics)
    if not any(_number(a.metrics, name) is not None and _number(b.metrics, name) is not None for name in a.metrics):
        raise SpecError(f"{a.name} and {b.name} have no metric in common")
    terms = _terms(a, b, headline) if headline else []
    tables = {"what was asked": _asked(a.inputs, b.inputs), "terms": terms, "metrics that moved": moved}
    return Result(
        "diff", {"before": a.name, "after": b.name, "command": a.command}, {**_ends(a, b, headline), "metrics_moved": len(moved)},
        {name: rows for name, rows in tables.items() if rows}, _notes(headline), verdict=_verdict(a, b, headline, terms, moved),
    )  # fmt: skip


def _notes(headline: str) -> tuple[Note, ...]:
    if not headline:
        return ()
    text = "each interval is that of one result; most of the error is common to both results (simcost compare gives the probability that two designs differ)"
    return (Note(text, Kind.SCOPE),)


def _number(values: Mapping[str, Any], name: str) -> float | None:
    value = values.get(name)
    return float(value) if isinstance(value, Real) and not isinstance(value, bool) else None


def _ends(a: Answer, b: Answer, name: str) -> Row:
    """The headline of both, and the ratio."""
    if not name:
        return {}
    old, new = float(a.metrics[name]), float(b.metrics[name])
    return {"before_s": old, "after_s": new, "moved_s": new - old, "relative_change": new / old - 1.0}


def _asked(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[Row]:
    """Inputs that differ, by path."""
    old, new = (dict(_flat("", {k: v for k, v in each.items() if k not in _FOLLOW})) for each in (a, b))
    paths = dict.fromkeys((*old, *new))
    return [
        {"key": path, "before": _words(old.get(path)), "after": _words(new.get(path))}
        for path in paths
        if old.get(path) != new.get(path)
    ]


def _flat(path: str, value: Any) -> Sequence[tuple[str, Any]]:
    if isinstance(value, Mapping) and path in ("", "plan", "set", "limits"):
        return [each for key, inner in value.items() for each in _flat(key if path in ("", "set") else f"{path}.{key}", inner)]  # fmt: skip
    return [(path, value)]


def _words(value: Any) -> str:
    if isinstance(value, Mapping):
        return str(value.get("model_type", "a config"))
    return "-" if value is None else ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _metrics(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[Row]:
    """Metrics that differ, the largest ratio first, words last; ends of intervals stand beside theirs."""
    rows: list[tuple[float, Row]] = []
    for name in dict.fromkeys((*a, *b)):
        old, new = a.get(name), b.get(name)
        if _same(old, new) or name.endswith(_ENDS):
            continue
        x, y = _number(a, name), _number(b, name)
        change = y / x - 1.0 if x and y is not None else None
        row = {"metric": name, "before": _shown(name, old), "after": _shown(name, new), "relative_change": change, "before_value": x, "after_value": y}  # fmt: skip
        rows.append((abs(change) if change is not None else 0.0, row))
    return [row for _, row in sorted(rows, key=lambda each: -each[0])]


def _same(old: Any, new: Any) -> bool:
    """Whether two metrics are equal, floats to what they leave over."""
    if isinstance(old, float) or isinstance(new, float):
        return old is not None and new is not None and abs(old - new) <= NOISE * abs(old)
    return bool(old == new)


def _shown(name: str, value: Any) -> str:
    """A metric in words."""
    if isinstance(value, bool) or value is None or not isinstance(value, Real):
        return "-" if value is None else "yes" if value is True else "no" if value is False else str(value)
    unit = known.unit(name)
    if unit in (known.NUMBER, known.TEXT, known.FLAG, "count", "rate"):
        return f"{float(value):,.4g}" if abs(float(value)) < 1e4 else f"{float(value):,.0f}"
    return show(float(value), unit)


def _counted(one: Answer, headline: str) -> dict[str, float]:
    """Term -> the seconds of it that count in the step."""
    table, column = _TABLES.get(one.command, ("", "term"))
    rows = [row for row in one.rows if row.get("table", table) == table] if table else one.terms
    found: dict[str, float] = {}
    for row in rows:
        share = _number(row, "share")
        if share is not None and isinstance(row.get(column), str):
            found[row[column]] = found.get(row[column], 0.0) + share * float(one.metrics[headline])
    return found


def _terms(a: Answer, b: Answer, headline: str) -> list[Row]:
    """Terms that moved, what moved most first."""
    old, new = _counted(a, headline), _counted(b, headline)
    whole = float(b.metrics[headline]) - float(a.metrics[headline])
    rows = [
        {
            "term": name, "before_s": old.get(name), "after_s": new.get(name), "moved_s": (moved := new.get(name, 0.0) - old.get(name, 0.0)),
            "share_of_change": moved / whole if whole else None,
        }
        for name in dict.fromkeys((*old, *new))
        if abs(new.get(name, 0.0) - old.get(name, 0.0)) > NOISE * float(b.metrics[headline])
    ]  # fmt: skip
    return sorted(rows, key=lambda row: -abs(float(row["moved_s"] or 0.0)))


def _verdict(a: Answer, b: Answer, name: str, terms: Sequence[Row], moved: Sequence[Row]) -> str:
    if not moved:
        return f"no change: {a.name} and {b.name} have the same metrics"
    if not name:
        return f"{len(moved)} metrics changed"
    old, new = float(a.metrics[name]), float(b.metrics[name])
    said = f"{name.removesuffix('_s').upper() if name != 'step_s' else 'a step'} {_with_interval(a, name)} -> {_with_interval(b, name)} ({100.0 * (new / old - 1.0):+.1f} %)"
    most = [f"{row['term']} {_signed(float(row['moved_s']))}" for row in terms[:3] if row["moved_s"]]
    return f"{said}; mostly by {', '.join(most)}" if most else said


def _with_interval(one: Answer, name: str) -> str:
    stem = name.removesuffix("_s")
    low, high = (_number(one.metrics, f"{stem}_{end}_s") for end in ("low", "high"))
    said = show(float(one.metrics[name]), "seconds")
    return said if low is None or high is None else f"{said} (90 %: {show(low, 'seconds')} to {show(high, 'seconds')})"


def _signed(seconds: float) -> str:
    return f"{'+' if seconds >= 0 else '-'}{show(abs(seconds), 'seconds')}"
