"""Figures of answers: from a Result to a figure of matplotlib (extra `plot`), a file, or a page.

    import simcost
    r = simcost.explain("deepseek-v3", "h200", batch=64, set={"plan.tp": 8})
    simcost.figures.names(r)                       # ["breakdown", "roofline", "memory"]
    simcost.figures.breakdown(r)                   # a matplotlib.figure.Figure
    simcost.figures.save(r, "step.svg", "breakdown", width="column")
    simcost.figures.save(r, "step.html")           # a page with all of them

`width`: "slide" (9 inches), or "column" (3.3 inches, type of 7 points at least). All raise SpecError for a Result that has no such figure, and without matplotlib.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from simcost.errors import SpecError
from simcost.report.figures import kinds
from simcost.result import Result

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "against", "breakdown", "calibration", "crossover", "designs", "draw", "memory", "names", "page", "pareto", "roofline", "save", "sensitivity", "sweep", "timeline",
]  # fmt: skip


def names(result: Result) -> list[str]:
    """Figures that a result has; `draw` draws the first where none is named."""
    return kinds.names(result)


def draw(result: Result, name: str = "", width: str = "slide") -> Figure:
    """A figure by name."""
    found: Figure = kinds.figure(result, name, width)
    return found


def against(result: Result, width: str = "slide") -> Figure:
    """Predictions beside measurements, row by row with their intervals. Of validate kernels, blocks and serving, calibrate memory, recipe."""
    return draw(result, "against", width)


def breakdown(result: Result, width: str = "slide") -> Figure:
    """Where the time of a step goes: stacked bars by op, by what bounds it, by what it rests on; of designs one bar each. Of explain, decode, prefill, train, rl, compare."""
    return draw(result, "breakdown", width)


def calibration(result: Result, width: str = "slide") -> Figure:
    """Held-out rows of the curves of a device, a facet a curve. Of calibrate report."""
    return draw(result, "calibration", width)


def crossover(result: Result, width: str = "slide") -> Figure:
    """Where attention overtakes the FFN, and reads of the cache those of the weights. Of crossover."""
    return draw(result, "crossover", width)


def designs(result: Result, width: str = "slide") -> Figure:
    """Designs or plans side by side with their 90 % intervals, ties marked. Of compare, plans, and sweeps over names."""
    return draw(result, "designs", width)


def memory(result: Result, width: str = "slide") -> Figure:
    """What fills the memory of a GPU, part by part. Of show memory, decode, prefill, explain, train."""
    return draw(result, "memory", width)


def pareto(result: Result, width: str = "slide") -> Figure:
    """Output tokens/s per GPU against output tokens/s per user, or the two metrics of a map. Of plans, sweep, serve, decode."""
    return draw(result, "pareto", width)


def roofline(result: Result, width: str = "slide") -> Figure:
    """Every op of a step under the roofs of the device, with the measured rows of its kernels. Of explain."""
    return draw(result, "roofline", width)


def sensitivity(result: Result, width: str = "slide") -> Figure:
    """Which numbers move a metric, with the 90 % intervals of the elasticities. Of sensitivity."""
    return draw(result, "sensitivity", width)


def sweep(result: Result, width: str = "slide") -> Figure:
    """A metric along an axis of numbers with bands of its 90 % interval. Of decode, prefill, sweep, serve."""
    return draw(result, "sweep", width)


def timeline(result: Result, width: str = "slide") -> Figure:
    """Who works when: ranks of a pipeline, phases, stages. Of schedule, train, rl, recipe."""
    return draw(result, "timeline", width)


def page(result: Result) -> str:
    """The answer as one HTML file that stands alone, at most 1 MB: headline, figures, sortable tables, notes."""
    from simcost.report.page.page import page as document

    return document(result)


def save(result: Result, path: str | Path, name: str = "", width: str = "slide") -> None:
    """A figure into a .png, .svg or .pdf, or the page into an .html; whole or not at all. Raises SpecError for another suffix, and where it cannot be written."""
    target = Path(path)
    if target.suffix.lower() in kinds.PICTURES:
        kinds.write(result, target, name, width)
    elif target.suffix.lower() in (".html", ".htm") and not name:
        from simcost.files import write_whole

        write_whole(target, page(result), str(target), make=False)
    else:
        raise SpecError(
            f"{target}: the name of a figure must end in {', '.join(kinds.PICTURES)}, or in .html for a page with all figures"
        )
