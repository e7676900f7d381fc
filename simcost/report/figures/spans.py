"""Named pieces of work in rows over time, as a picture (PNG, SVG or HTML, extra `plot`) or a trace for Perfetto: the stages of a recipe.

Colours: Okabe and Ito, Color Universal Design (2008).
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from simcost import units
from simcost.errors import plain
from simcost.files import write_whole
from simcost.report.plot import pyplot, save, svg
from simcost.report.text import as_console
from simcost.report.timeline import PICTURES, TRACE
from simcost.result import Result

COLOURS = ("#56B4E9", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#0072B2", "#F0E442")
_MICROSECOND = units.parse("1 us", "seconds")
_AXES = (
    ("d", "days"),
    ("h", "hours"),
    ("min", "minutes"),
    ("s", "seconds"),
)  # the first that is no more than a fifth of all


class Span(NamedTuple):
    """One piece of work. `row`: where it stands; `kind`: its colour; `text`: what stands beside it. [s]"""

    row: str
    kind: str
    text: str
    start: float
    end: float


def write(path: Path, spans: Sequence[Span], title: str, result: Result, option: str) -> None:
    """A trace, or a picture by the file's suffix. Raises SpecError where it cannot be written, and without matplotlib for a picture."""
    title = plain(title)
    spans = [Span(plain(one.row), plain(one.kind), plain(one.text), one.start, one.end) for one in spans]
    if path.name.endswith(TRACE):
        write_whole(path, json.dumps(trace(spans, title), separators=(",", ":")), f"{option} {path}")
        return
    plt = pyplot(path, option, PICTURES)
    found = _figure(plt, spans, title)
    if path.suffix == ".png":
        save(plt, found, path, option)
        return
    picture = svg(plt, found)
    write_whole(path, _page(picture, title, result) if path.suffix == ".html" else picture, f"{option} {path}")


def trace(spans: Sequence[Span], title: str) -> dict[str, Any]:
    """Events as chrome://tracing and Perfetto read them: a thread a row. Times in microseconds."""
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


def _figure(plt: Any, spans: Sequence[Span], title: str) -> Any:
    from matplotlib.patches import Patch

    rows, last = _rows(spans), max(span.end for span in spans)
    unit, word = next((each for each in _AXES if last >= 5.0 * units.parse(f"1 {each[0]}", "duration")), _AXES[-1])
    scale = units.parse(f"1 {unit}", "duration")
    kinds = {kind: COLOURS[i % len(COLOURS)] for i, kind in enumerate(dict.fromkeys(span.kind for span in spans))}
    found, axis = plt.subplots(figsize=(11, 1.5 + 0.42 * len(rows)), layout="constrained")
    for span in spans:
        at, left, width = rows[span.row], span.start / scale, (span.end - span.start) / scale
        # What is too short to see keeps a line of its own colour.
        axis.barh(at, width, left=left, height=0.66, color=kinds[span.kind], edgecolor=kinds[span.kind], linewidth=1.0)
        beyond = span.end > 0.6 * last
        axis.text(
            left if beyond else left + width, at, f" {span.text} ", va="center", fontsize=8,
            ha="right" if beyond and left > 0.3 * last / scale else "left",
        )  # fmt: skip
    axis.set(
        yticks=list(rows.values()),
        yticklabels=list(rows),
        ylim=(len(rows) - 0.5, -0.5),
        xlim=(0.0, 1.02 * last / scale),
        xlabel=f"time [{word}]",
    )
    axis.set_title(title, loc="left", fontsize=10)
    if len(kinds) > 1:
        shown = [Patch(facecolor=colour, label=kind) for kind, colour in kinds.items()]
        found.legend(handles=shown, loc="outside lower center", ncols=min(len(shown), 6), frameon=False)
    return found


def _page(picture: str, title: str, result: Result) -> str:
    """One file that stands alone: the picture, and the answer as the terminal shows it."""
    inner = re.sub(r'(<svg[^>]*?) width="[^"]*" height="[^"]*"', r"\1", picture[picture.index("<svg") :], count=1)
    style = "body{font-family:sans-serif;margin:2em auto;max-width:90em;padding:0 1em}svg{width:100%;height:auto}pre{overflow-x:auto;line-height:1.25}"
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>simcost {html.escape(result.command)}: {html.escape(title)}</title><style>{style}</style></head>\n'
        f"<body><h1>{html.escape(title)}</h1>\n{inner}\n<pre>{html.escape(as_console(result, 120, True))}</pre></body></html>\n"
    )
