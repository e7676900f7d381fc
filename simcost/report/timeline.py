"""A timeline into a file: a picture (PNG, SVG or PDF), a page with all of the answer (HTML), or a trace for Perfetto (`trace.py`). Pictures need the extra `plot`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from simcost.errors import SpecError
from simcost.files import check, is_dir, write_whole
from simcost.report.bars import Chart
from simcost.result import Result

TRACE, PICTURES = ".trace.json", (".png", ".svg", ".pdf", ".html")


def is_trace(path: Path) -> bool:
    """Whether a file's name asks for a trace."""
    return path.name.endswith(TRACE)


def checked(path: Path, option: str = "-o") -> None:
    """Raises SpecError, before the work, for a picture that cannot be drawn: another suffix, no matplotlib, no such folder."""
    if not is_trace(path) and path.suffix not in PICTURES:
        raise SpecError(f"{option} {path}: the name must end in {', '.join(PICTURES)} or {TRACE}")
    if not is_trace(path):
        from simcost.report.figures import kinds

        kinds.ready(f"{option} {path}")
    if not is_dir(path.parent):
        raise SpecError(f"{option} {path}: no such folder")
    check(path, f"{option} {path}")


def write(path: Path, charts: Sequence[Chart], result: Result, option: str = "-o") -> None:
    """A trace, a picture or a page by the file's suffix. Raises SpecError where it cannot be written, and without matplotlib for a picture."""
    if is_trace(path):
        from simcost.report.trace import trace

        write_whole(path, json.dumps(trace(charts), separators=(",", ":")), f"{option} {path}")
        return
    from simcost.report.figures import kinds, style, timeline

    with kinds.quiet():
        drawn = timeline.drawn(charts, result, style.style("slide"))
    if path.suffix == ".html":
        from simcost.report.page import page

        write_whole(path, page.page(result, page.drawn(result, {timeline.NAME: drawn})), f"{option} {path}")
        return
    write_whole(path, kinds.picture(drawn, path.suffix), f"{option} {path}")
