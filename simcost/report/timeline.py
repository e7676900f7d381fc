"""A pipeline timeline to look at: a Gantt picture (PNG, SVG or HTML, extra `plot`; `gantt.py`) and a trace for Perfetto (`trace.py`)."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Sequence
from pathlib import Path

from simcost.errors import SpecError
from simcost.files import check, is_dir, write_whole
from simcost.report.bars import Chart
from simcost.report.plot import pyplot, save, svg
from simcost.report.text import as_console
from simcost.result import Result

TRACE, PICTURES = ".trace.json", (".png", ".svg", ".html")


def is_drawn(path: Path | None) -> bool:
    """Whether a file's name asks for a picture or a trace."""
    return path is not None and (path.name.endswith(TRACE) or path.suffix in PICTURES)


def checked(path: Path, option: str = "-o") -> None:
    """Raises SpecError, before the work, for a picture that cannot be drawn: another suffix, no matplotlib, no such folder."""
    if not is_drawn(path):
        raise SpecError(f"{option} {path}: the name must end in .png, .svg, .html or {TRACE}")
    if path.suffix in PICTURES:
        pyplot(path, option, PICTURES)
    if not is_dir(path.parent):
        raise SpecError(f"{option} {path}: no such folder")
    check(path, f"{option} {path}")


def write(path: Path, charts: Sequence[Chart], result: Result, option: str = "-o") -> None:
    """A trace, or a picture by the file's suffix. Raises SpecError where it cannot be written, and without matplotlib for a picture."""
    if path.name.endswith(TRACE):
        from simcost.report.trace import trace

        write_whole(path, json.dumps(trace(charts), separators=(",", ":")), f"{option} {path}")
        return
    from simcost.report import gantt

    plt = pyplot(path, option, PICTURES)
    figure = gantt.figure(plt, charts)
    if path.suffix == ".png":
        save(plt, figure, path, option)
        return
    picture = svg(plt, figure)
    write_whole(path, _page(picture, charts, result) if path.suffix == ".html" else picture, f"{option} {path}")


def _page(picture: str, charts: Sequence[Chart], result: Result) -> str:
    """One file that stands alone: the picture, and the answer as the terminal shows it."""
    inner = re.sub(r'(<svg[^>]*?) width="[^"]*" height="[^"]*"', r"\1", picture[picture.index("<svg") :], count=1)
    names = html.escape(", ".join(chart.name for chart in charts))
    heading = {"train": "A training step", "rl": "A step of reinforcement learning"}.get(
        result.command, "Pipeline schedules"
    )
    style = "body{font-family:sans-serif;margin:2em auto;max-width:90em;padding:0 1em}svg{width:100%;height:auto}pre{overflow-x:auto;line-height:1.25}"
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>simcost {html.escape(result.command)}: {names}</title><style>{style}</style></head>\n'
        f"<body><h1>{heading}: {names}</h1>\n{inner}\n<pre>{html.escape(as_console(result, 120, True))}</pre></body></html>\n"
    )
