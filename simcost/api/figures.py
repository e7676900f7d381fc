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
    "against", "breakdown", "budget", "calibration", "crossover", "designs", "draw", "errors", "latency", "laws", "memory", "names", "page", "pareto", "roofline", "save",
    "sensitivity", "stages", "sweep", "timeline", "variants",
]  # fmt: skip


def names(result: Result) -> list[str]:
    """Names of the figures of a result; `draw` draws the first if none is named."""
    return kinds.names(result)


def draw(result: Result, name: str = "", width: str = "slide") -> Figure:
    """A figure by name."""
    found: Figure = kinds.figure(result, name, width)
    return found


def against(result: Result, width: str = "slide") -> Figure:
    """Predictions beside measurements, row by row with their intervals. For results of validate kernels, blocks and serving, calibrate memory, recipe."""
    return draw(result, "against", width)


def breakdown(result: Result, width: str = "slide") -> Figure:
    """Where the time of a step goes: stacked bars by op, by what limits it, by its basis; for designs one bar each. For results of explain, decode, prefill, train, rl, compare."""
    return draw(result, "breakdown", width)


def budget(result: Result, width: str = "slide") -> Figure:
    """Accuracy, price and latency against the budget of thinking, with intervals and the cheapest solved query. Of think."""
    return draw(result, "budget", width)


def calibration(result: Result, width: str = "slide") -> Figure:
    """Held-out rows of the curves of a device, one facet per curve. For results of calibrate report."""
    return draw(result, "calibration", width)


def crossover(result: Result, width: str = "slide") -> Figure:
    """The length from which attention costs more than the FFN, and cache reads exceed weight reads. For results of crossover."""
    return draw(result, "crossover", width)


def designs(result: Result, width: str = "slide") -> Figure:
    """Designs or plans side by side with their 90 % intervals, ties marked. For results of compare, plans, and sweeps over names."""
    return draw(result, "designs", width)


def errors(result: Result, width: str = "slide") -> Figure:
    """Median and P90 of the errors of every family with their bias and coverage, and the bars. Of validate, calibrate report and transfer."""
    return draw(result, "errors", width)


def latency(result: Result, width: str = "slide") -> Figure:
    """TTFT, TPOT and E2E of one load with their intervals, and which part of each is queueing, prefill and decode. Of serve."""
    return draw(result, "latency", width)


def laws(result: Result, width: str = "slide") -> Figure:
    """The loss by published laws against training tokens, and against the size at one compute (isoFLOP). Of loss."""
    return draw(result, "laws", width)


def memory(result: Result, width: str = "slide") -> Figure:
    """What fills the memory of a GPU, part by part. For results of show memory, decode, prefill, explain, train."""
    return draw(result, "memory", width)


def pareto(result: Result, width: str = "slide") -> Figure:
    """Output tokens/s per GPU against output tokens/s per user, or the two metrics of a map. For results of plans, sweep, serve, decode."""
    return draw(result, "pareto", width)


def roofline(result: Result, width: str = "slide") -> Figure:
    """Every op of a step under the roofs of the device, with the measurements of its kernels. For results of explain."""
    return draw(result, "roofline", width)


def sensitivity(result: Result, width: str = "slide") -> Figure:
    """Which numbers change a metric most, with the 90 % intervals of the elasticities. For results of sensitivity."""
    return draw(result, "sensitivity", width)


def stages(result: Result, width: str = "slide") -> Figure:
    """GPU hours and USD of every stage of a recipe with their intervals, and what its assumptions are worth. Of recipe."""
    return draw(result, "stages", width)


def sweep(result: Result, width: str = "slide") -> Figure:
    """A metric along an axis of numbers with bands of its 90 % interval. For results of decode, prefill, sweep, serve."""
    return draw(result, "sweep", width)


def timeline(result: Result, width: str = "slide") -> Figure:
    """What runs when: ranks of a pipeline, phases, stages. For results of schedule, train, rl, recipe."""
    return draw(result, "timeline", width)


def variants(result: Result, width: str = "slide") -> Figure:
    """Ways to distil by GPU hours and USD, with intervals, and what they cost beside reinforcement learning. Of distill."""
    return draw(result, "variants", width)


def page(result: Result) -> str:
    """The result as one self-contained HTML file of at most 1 MB: headline, figures, sortable tables, notes."""
    from simcost.report.page.page import page as document

    return document(result)


def save(result: Result, path: str | Path, name: str = "", width: str = "slide") -> None:
    """Write a figure to a .png, .svg or .pdf, or the page to an .html; the file is complete or not written. Raises SpecError for another suffix, and where it cannot be written."""
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
