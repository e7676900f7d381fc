"""Named pieces of work in rows over time as a trace for Perfetto: the stages of a recipe."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from simcost import units
from simcost.errors import plain

_MICROSECOND = units.parse("1 us", "seconds")


class Span(NamedTuple):
    """One piece of work. `row`: where it stands; `kind`: its sort; `text`: what is said of it. [s]"""

    row: str
    kind: str
    text: str
    start: float
    end: float


def trace(spans: Sequence[Span], title: str) -> dict[str, Any]:
    """Events as chrome://tracing and Perfetto read them: a thread a row. Times in microseconds."""
    title = plain(title)
    spans = [Span(plain(one.row), plain(one.kind), plain(one.text), one.start, one.end) for one in spans]
    rows = _rows(spans)
    events: list[dict[str, Any]] = [{"ph": "M", "name": "process_name", "pid": 0, "tid": 0, "args": {"name": title}}]
    for row, at in rows.items():
        events.append({"ph": "M", "name": "thread_name", "pid": 0, "tid": at, "args": {"name": row}})
    for span in spans:
        start, end = (round(each / _MICROSECOND, 3) for each in (span.start, span.end))
        events.append({
            "ph": "X", "name": span.row, "cat": span.kind, "pid": 0, "tid": rows[span.row], "ts": start, "dur": end - start, "args": {"text": span.text},
        })  # fmt: skip
    return {"traceEvents": events, "displayTimeUnit": "ms"}


def _rows(spans: Sequence[Span]) -> dict[str, int]:
    return {row: at for at, row in enumerate(dict.fromkeys(span.row for span in spans))}
