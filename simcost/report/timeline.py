"""A pipeline timeline to look at: a Gantt picture (PNG, SVG or HTML, extra `plot`) and a trace for Perfetto."""

from __future__ import annotations

import html
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from simcost import units
from simcost.errors import SpecError
from simcost.files import write_whole
from simcost.report.plot import pyplot, save
from simcost.report.text import as_console
from simcost.result import Result
from simcost.scenarios.schedule import Drawn

TRACE, PICTURES = ".trace.json", (".png", ".svg", ".html")
_COLOURS = {
    "F": "#5b8db8",
    "B": "#d98a4e",
    "W": "#7aa874",
    "BW": "#d98a4e",
    "G": "#b0504a",
    "O": "#6d6d9c",
    "A": "#c9a227",
}
_WORDS = {
    "F": "forward", "B": "input gradient", "W": "weight gradient", "BW": "both gradients", "G": "exposed sums of gradients", "O": "optimizer",
    "A": "exposed gathers of weights",
}  # fmt: skip
_MICROSECOND = units.parse("1 us", "seconds")
_LABELLED = 60  # passes of a rank up to which each shows its micro-batch


class Bar(NamedTuple):
    """A pass as it is drawn. [s] `half`: 0 for the whole height of a rank, 1 and 2 for the upper and the lower half of a pair."""

    rank: int
    kind: str
    microbatch: int
    stage: int
    start: float
    end: float
    half: int = 0


class Chart(NamedTuple):
    """One schedule: its bars, how many ranks it has, and a line over it."""

    name: str
    title: str
    bars: Sequence[Bar]
    ranks: int


def chart(drawn: Drawn) -> Chart:
    """Bars of a schedule that ran; a forward beside a backward is two bars of half the height."""
    bars = []
    for rank, op, start, end, _, _ in drawn.timeline.runs:
        half = 0 if op.beside is None else 1
        bars.append(Bar(rank, op.kind, op.microbatch, op.stage, start, end, half))
        if op.beside is not None:
            bars.append(Bar(rank, "BW", *op.beside, start, end, 2))
    title = f"{drawn.name}: {drawn.bubble:.1%} idle, {drawn.makespan_s:.4g} s, {drawn.makespan_s / max(drawn.timeline.busy_s()):.3f} x the busiest rank's work"  # fmt: skip
    return Chart(drawn.name, title, bars, drawn.timeline.ranks)


def is_drawn(path: Path | None) -> bool:
    """Whether a file's name asks for a picture or a trace."""
    return path is not None and (path.name.endswith(TRACE) or path.suffix in PICTURES)


def write(path: Path, charts: Sequence[Chart], result: Result) -> None:
    """A trace, or a picture by the file's suffix. Raises SpecError where it cannot be written, and without matplotlib for a picture."""
    if path.name.endswith(TRACE):
        write_whole(path, json.dumps(trace(charts)), f"-o {path}")
    elif path.suffix == ".html":
        write_whole(path, _page(charts, result), f"-o {path}")
    else:
        plt = pyplot(path, "-o")
        save(plt, _figure(plt, charts), path, "-o")


def trace(charts: Sequence[Chart]) -> dict[str, Any]:
    """Trace events as chrome://tracing and Perfetto read them: a process a schedule, a thread a rank, times in microseconds."""
    events: list[dict[str, Any]] = []
    for process, chart in enumerate(charts):
        events.append({"ph": "M", "name": "process_name", "pid": process, "args": {"name": chart.name}})
        for rank in range(chart.ranks):
            events.append({"ph": "M", "name": "thread_name", "pid": process, "tid": rank, "args": {"name": f"rank {rank}"}})  # fmt: skip
        for bar in sorted(chart.bars, key=lambda each: (each.start, each.rank, each.half)):
            events.append({
                "ph": "X", "name": f"{bar.kind}{bar.microbatch}", "cat": _WORDS[bar.kind], "pid": process,
                # the two passes of a pair overlap: the second has a thread of its own
                "tid": bar.rank if bar.half < 2 else chart.ranks + bar.rank, "ts": bar.start / _MICROSECOND, "dur": (bar.end - bar.start) / _MICROSECOND,
                "args": {"microbatch": bar.microbatch, "stage": bar.stage},
            })  # fmt: skip
    return {"traceEvents": events, "displayTimeUnit": "ms"}


def _figure(plt: Any, charts: Sequence[Chart]) -> Any:
    from matplotlib.patches import Patch

    heights = [max(1.1 + 0.26 * chart.ranks, 1.8) for chart in charts]
    last = max(bar.end for chart in charts for bar in chart.bars)
    figure, axes = plt.subplots(
        len(charts), 1, figsize=(15, sum(heights) + 0.5), sharex=True, squeeze=False, layout="constrained",
        gridspec_kw={"height_ratios": heights},
    )  # fmt: skip
    for axis, chart in zip(axes[:, 0], charts, strict=True):
        _draw(axis, chart, last)
    axes[-1, 0].set_xlabel("time [s]")
    kinds = [kind for kind in ("F", "B", "W", "G", "O", "A") if any(bar.kind.startswith(kind) for chart in charts for bar in chart.bars)]  # fmt: skip
    shown = [Patch(facecolor=_COLOURS[kind], label="gradients (B, or B and W in one)" if kind == "B" else _WORDS[kind]) for kind in kinds]  # fmt: skip
    figure.legend(handles=[*shown, Patch(facecolor="#f3f3f3", edgecolor="#cccccc", label="idle")], loc="outside lower center", ncols=4)  # fmt: skip
    return figure


def _draw(axis: Any, chart: Chart, last: float) -> None:
    axis.set_facecolor("#f3f3f3")
    many = max(sum(bar.rank == rank for bar in chart.bars) for rank in range(chart.ranks)) > _LABELLED
    for kind in _COLOURS:
        mine = [bar for bar in chart.bars if bar.kind == kind]
        axis.bar(
            [bar.start for bar in mine], [0.9 if not bar.half else 0.45 for bar in mine], [bar.end - bar.start for bar in mine],
            [bar.rank - 0.45 + (0.45 if bar.half == 2 else 0.0) for bar in mine], align="edge", color=_COLOURS[kind],
            edgecolor="white", linewidth=0.2 if many else 0.6,
        )  # fmt: skip
    for bar in () if many else chart.bars:
        if bar.end - bar.start > last * 0.006:
            y = bar.rank + {0: 0.0, 1: -0.225, 2: 0.225}[bar.half]
            axis.text((bar.start + bar.end) / 2.0, y, str(bar.microbatch), ha="center", va="center", fontsize=6 if bar.half else 7, color="white")  # fmt: skip
    axis.set(xlim=(0.0, last), ylim=(chart.ranks - 0.5, -0.5), yticks=range(0, chart.ranks, max(chart.ranks // 8, 1)), ylabel="rank")  # fmt: skip
    axis.set_title(chart.title, loc="left", fontsize=10)


def _page(charts: Sequence[Chart], result: Result) -> str:
    """One file that stands alone: the picture, and the answer as the terminal shows it."""
    path = Path("x.svg")
    plt = pyplot(path, "-o")
    figure = _figure(plt, charts)
    buffer = io.StringIO()
    try:
        figure.savefig(buffer, format="svg")
    finally:
        plt.close(figure)
    picture = buffer.getvalue()
    picture = picture[picture.index("<svg") :]
    title = html.escape(", ".join(chart.name for chart in charts))
    style = "body{font-family:sans-serif;margin:2em;max-width:75em}svg{width:100%;height:auto}pre{overflow-x:auto;line-height:1.25}"
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>simcost schedule: {title}</title><style>{style}</style></head>\n'
        f"<body><h1>Pipeline schedules: {title}</h1>\n{picture}\n<pre>{html.escape(as_console(result, 120, True))}</pre></body></html>\n"
    )


def checked(path: Path) -> None:
    """Raises SpecError for a picture that cannot be drawn: before the work."""
    if path.suffix in PICTURES:
        pyplot(path.with_suffix(".svg") if path.suffix == ".html" else path, "-o")
    if not path.parent.is_dir():
        raise SpecError(f"-o {path}: no such folder")
