"""The picture of `plans --phase serve`: output tokens a second and GPU against output tokens a second and user, a
colour a device, solid where every instance does both,
dashed where pools do either (extra `plot`)."""

from __future__ import annotations

import html
import re
from pathlib import Path
from typing import Any

from simcost.errors import SpecError, plain
from simcost.files import check, is_dir, write_whole
from simcost.report.plot import pyplot, save, svg
from simcost.report.text import as_console
from simcost.result import Result, Row
from simcost.units import show

_PICTURES = (".png", ".svg", ".html")
_STYLES = {"aggregated": "-", "disaggregated": "--"}
_X, _Y = "output_tokens_per_s_per_user", "output_tokens_per_s_per_gpu"
_NAMED = 3  # points of a curve that carry their plan, at most


def checked(path: Path, phase: str) -> None:
    """Raises SpecError, before the work, for a picture that cannot be drawn."""
    if phase != "serve":
        raise SpecError(f"--plot means nothing to --phase {phase}: leave it out")
    pyplot(path, suffixes=_PICTURES)
    if not is_dir(path.parent):
        raise SpecError(f"--plot {path}: no such folder")
    check(path, f"--plot {path}")


def draw(result: Result, path: Path) -> None:
    """The fronts of a result, by the file's suffix. Raises SpecError where there is nothing to draw, or it cannot be
    written."""
    rows = result.tables.get("pareto", [])
    if not rows:
        raise SpecError("--plot: no plan keeps the limit on TTFT, there is nothing to draw")
    plt = pyplot(path, suffixes=_PICTURES)
    figure = _figure(plt, result, list(rows))
    if path.suffix == ".png":
        save(plt, figure, path)
        return
    text = svg(plt, figure)
    write_whole(path, _page(text, result) if path.suffix == ".html" else text, f"--plot {path}")


def _figure(plt: Any, result: Result, rows: list[Row]) -> Any:
    figure, axes = plt.subplots(figsize=(9, 5.6), layout="constrained")
    devices = list(dict.fromkeys(row["hw"] for row in rows))
    colours = plt.get_cmap("tab10")
    for device in devices:
        for mode, style in _STYLES.items():
            mine = [row for row in rows if row["hw"] == device and row["mode"] == mode]
            if mine:
                colour = colours(devices.index(device) % 10)
                axes.plot(
                    [row[_X] for row in mine],
                    [row[_Y] for row in mine],
                    style,
                    marker="o",
                    markersize=3,
                    color=colour,
                    label=plain(f"{device}, {mode}"),
                )
                _name(axes, mine, colour, mode)
    limits = result.inputs["limits"]
    if "tpot_s" in limits:
        axes.axvline(
            1.0 / limits["tpot_s"], color="grey", linestyle=":", label=f"TPOT {show(limits['tpot_s'], 'seconds')}"
        )
    within = f", TTFT at most {show(limits['ttft_s'], 'seconds')}" if "ttft_s" in limits else ""
    lengths = f"isl {result.inputs['isl']}, osl {result.inputs['osl']}"
    axes.set(
        xscale="log",
        yscale="log",
        xlabel="output tokens/s per user",
        ylabel="output tokens/s per GPU",
        title=plain(f"{_model(rows, result)}: {lengths}{within}"),
    )
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(plt.FuncFormatter(lambda value, _: f"{value:g}"))
    axes.grid(True, which="major", alpha=0.3)
    axes.legend(fontsize="small")
    return figure


def _model(rows: list[Row], result: Result) -> str:
    return str(next((row["model"] for row in result.tables["plans"] if "model" in row), rows[0]["hw"]))


def _name(axes: Any, rows: list[Row], colour: Any, mode: str) -> None:
    """Plans beside the points where they change, a few of a curve; those of pools are long and below."""
    changes = [i for i, row in enumerate(rows) if i == 0 or row["plan"] != rows[i - 1]["plan"]]
    step = max(-(-len(changes) // _NAMED), 1)
    above = mode == "aggregated"
    for i in changes[::step]:
        plan = rows[i]["plan"] if above else rows[i]["plan"].replace(" + ", "\n+ ")
        axes.annotate(
            plan,
            (rows[i][_X], rows[i][_Y]),
            xytext=(4, 4 if above else -4),
            textcoords="offset points",
            fontsize=6,
            color=colour,
            va="bottom" if above else "top",
        )


def _page(picture: str, result: Result) -> str:
    """One file that stands alone: the picture, and the answer as the terminal shows it."""
    inner = re.sub(r'(<svg[^>]*?) width="[^"]*" height="[^"]*"', r"\1", picture[picture.index("<svg") :], count=1)
    style = (
        "body{font-family:sans-serif;margin:2em auto;max-width:90em;padding:0 1em}"
        "svg{width:100%;height:auto}pre{overflow-x:auto;line-height:1.25}"
    )
    title = html.escape(f"simcost plans: {result.verdict}")
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f"<style>{style}</style></head>\n<body><h1>Fleets for a load</h1>\n{inner}\n"
        f"<pre>{html.escape(as_console(result, 120, True))}</pre></body></html>\n"
    )
