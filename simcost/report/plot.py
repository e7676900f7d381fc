"""Pictures (extra `plot`): the crossover, and measured against predicted."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from simcost.errors import SpecError, plain
from simcost.files import check, write_whole
from simcost.report.cells import cell, title
from simcost.result import Result


def pyplot(path: Path, option: str = "--plot", suffixes: tuple[str, ...] = (".png", ".svg")) -> Any:
    """matplotlib without a display. Raises SpecError when it is missing or the file's suffix is not a picture's."""
    try:
        import matplotlib
    except ImportError:
        raise SpecError(f"{option} {path} needs matplotlib: pip install 'simcost[plot]'") from None
    if path.suffix not in suffixes:
        raise SpecError(f"{option} {path}: the name must end in {' or '.join(suffixes)}")
    matplotlib.use("Agg")
    matplotlib.rcParams["text.parse_math"] = False  # a name with a dollar in it is no formula
    import matplotlib.pyplot as plt

    return plt


def ready(path: Path) -> None:
    """Raises SpecError, before the work, for a picture that cannot be drawn or written."""
    pyplot(path)
    check(path, f"--plot {path}")


def svg(plt: Any, figure: Any) -> str:
    """A picture as the text of an SVG file, closed; positions to a hundredth of a point."""
    buffer = io.StringIO()
    try:
        with _quiet():
            figure.savefig(buffer, format="svg", dpi=150)
    finally:
        plt.close(figure)
    picture = re.sub(r"(\d\.\d\d)\d+", r"\1", buffer.getvalue())
    return "\n".join(map(plain, picture.split("\n")))  # XML has no control characters


@contextmanager
def _quiet() -> Iterator[None]:
    """Letters that the font does not have are boxes in a picture, and a name that leaves no room runs out of it: no warnings at the terminal."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing|constrained_layout not applied")
        yield


def save(plt: Any, figure: Any, path: Path, option: str = "--plot") -> None:
    """Whole or not at all."""
    picture = io.BytesIO()
    try:
        with _quiet():
            figure.savefig(picture, format=path.suffix[1:], dpi=150)
    finally:
        plt.close(figure)
    write_whole(path, picture.getvalue(), f"{option} {path}", make=False)


def crossover(result: Result, path: Path) -> None:
    """FLOPs a token by length, attention against FFN, and contexts by batch; PNG or SVG by the file's suffix."""
    plt = pyplot(path)
    from matplotlib.ticker import EngFormatter

    lengths = result.tables["prefill FLOPs by length"]
    reads = [row for row in result.tables["decode reads by batch"] if row["context"]]
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
    x = [row["length"] for row in lengths]
    left.loglog(x, [row["attention_core_flops_per_token"] for row in lengths], "o-", label="attention core, O(N²d)")
    left.loglog(x, [row["ffn_flops_per_token"] for row in lengths], "s-", label="FFN, O(Nd²)")
    meet = result.metrics["prefill_crossover_tokens"]
    if meet:
        left.axvline(meet, color="grey", linestyle=":")
        left.annotate(
            f"{meet:,} tokens", (meet, left.get_ylim()[0]), rotation=90, va="bottom", ha="right", color="grey"
        )
    left.set(
        xlabel="prefill length [tokens]", ylabel="FLOP a token", title=f"{plain(result.inputs['model'])}: prefill work"
    )
    left.yaxis.set_major_formatter(EngFormatter())
    left.legend()
    right.loglog([row["batch"] for row in reads], [row["context"] for row in reads], "o-")
    right.set(
        xlabel="batch [sequences]", ylabel="context [tokens]", title="decode: KV reads equal weight reads on the line"
    )
    for axis in (left, right):
        axis.grid(True, which="major", alpha=0.3)
    save(plt, figure, path)


_BARS = 24  # of a tornado


def tornado(result: Result, path: Path) -> None:
    """Per cent of a metric for one per cent less and for one per cent more of each number, strongest on top, with the 90 % interval of the
    elasticity; PNG or SVG by the file's suffix. Raises SpecError for a result without a number that acts."""
    from simcost.scenarios.goals.aim import short

    plt = pyplot(path)
    rows = list(result.tables["sensitivity"])[:_BARS][::-1]
    if not rows:
        raise SpecError("--plot: no number moves the metric, there is nothing to draw")
    figure, axis = plt.subplots(figsize=(9, 1.6 + 0.28 * len(rows)), layout="constrained")
    y = list(range(len(rows)))

    def sides(row: dict[str, Any], key: str, other: str) -> float:
        own = row[key] if row[key] is not None else row["elasticity"]
        return 0.0 if row[key] is None and row[other] is not None else float(own)

    less = [-sides(row, "elasticity_below", "elasticity_above") for row in rows]
    more = [sides(row, "elasticity_above", "elasticity_below") for row in rows]
    axis.barh(y, less, height=0.72, color="#5b8db8", label="1 % less")
    axis.barh(y, more, height=0.72, color="#d98a4e", label="1 % more")
    ends = [[abs(row["elasticity"] - row[f"elasticity_{end}"]) for row in rows] for end in ("low", "high")]
    shown = axis.get_xlim()
    axis.errorbar(
        [row["elasticity"] for row in rows],
        y,
        xerr=ends,
        fmt="none",
        ecolor="black",
        elinewidth=0.9,
        capsize=2.5,
        label="90 % interval of the elasticity",
    )
    widest = 2.0 * max(abs(end) for end in shown)
    axis.set_xlim(-widest, widest)  # a wider interval runs out of the picture
    axis.set_yticks(y, [plain(f"{row['number']} = {row['now']}{' (tied)' if row['tied'] else ''}") for row in rows])
    axis.axvline(0.0, color="black", linewidth=0.8)
    name = short(result.inputs["elasticity_of"])
    axis.set(
        xlabel=f"change of {name} [%]",
        title=plain(f"{result.inputs['model']} on {result.inputs['hw']}: what moves {name}"),
    )
    axis.grid(True, axis="x", alpha=0.3)
    axis.legend(loc="lower right", fontsize=8)
    save(plt, figure, path)


def calibration_figure(hw: str, family: str | None, target: Path) -> None:
    """Three panels over the held-out rows: measured against predicted, utilisation, and the roofline with the rows on it."""
    from simcost.hardware import load as hardware
    from simcost.scenarios.calibrate.report import points

    plt = pyplot(target)
    rows = points(hw, family)
    device = hardware.load(hw)
    curves = list(dict.fromkeys(str(row["curve"]) for row in rows))
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(18, 6), constrained_layout=True)
    colours = plt.get_cmap("tab20")
    for index, curve in enumerate(curves):
        mine = [row for row in rows if row["curve"] == curve]
        style = {"s": 7, "alpha": 0.55, "color": colours(index % 20), "label": curve}
        left.scatter([r["measured_s"] for r in mine], [r["predicted_s"] / r["measured_s"] for r in mine], **style)
        middle.scatter([r["measured_s"] for r in mine], [r["light_s"] / r["measured_s"] for r in mine], **style)
        right.scatter([r["intensity"] for r in mine], [r["flops_per_s"] for r in mine], **style)
    left.axhline(1.0, color="black", linewidth=0.8)
    left.set(
        xscale="log",
        yscale="log",
        ylim=(0.5, 2.0),
        xlabel="measured [s]",
        ylabel="predicted / measured",
        title="Held-out rows",
    )
    left.set_yticks(
        [0.5, 0.7, 0.8, 0.9, 1.0, 1.1, 1.25, 1.5, 2.0], ["0.5", "0.7", "0.8", "0.9", "1", "1.1", "1.25", "1.5", "2"]
    )
    left.minorticks_off()
    middle.set(
        xscale="log", ylim=(0, 1.2), xlabel="measured [s]", ylabel="speed of light / measured", title="Utilisation"
    )
    reach = [min(r["intensity"] for r in rows if r["intensity"] > 0), max(r["intensity"] for r in rows)]
    for name, peak in device.peaks.items():
        if name in ("bf16", "fp8", "fp4"):
            ridge = float(peak) / float(device.bandwidth)
            right.plot(
                [reach[0], ridge, max(reach[1], ridge)],
                [reach[0] * float(device.bandwidth), float(peak), float(peak)],
                linewidth=1,
                color="black",
            )
            right.annotate(name, (max(reach[1], ridge), float(peak)), fontsize=8, ha="right", va="bottom")
    right.set(xscale="log", yscale="log", xlabel="FLOP / B", ylabel="FLOP / s", title=f"Roofline of {device.title}")
    for axis in (left, middle, right):
        axis.grid(True, which="major", alpha=0.3)
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=7, markerscale=2)
    save(plt, figure, target)


def design_map(result: Result, path: Path) -> None:
    """Both metrics of a map: all designs that fit, coloured by the first axis, those that do not fit in grey, and the front as a line; PNG or SVG by the
    file's suffix."""
    plt = pyplot(path)
    rows = result.tables["sweep"]
    (x, x_side), (y, y_side) = (each.split(":") for each in result.inputs["pareto"])
    first = next(iter(result.inputs["vary"]))
    figure, axes = plt.subplots(figsize=(8, 5.4), layout="constrained")
    priced = [row for row in rows if row.get("feasible")]
    misfits = [row for row in priced if not row["fits"]]
    axes.scatter(
        [row[x] for row in misfits], [row[y] for row in misfits], s=14, color="0.85", label="does not fit in memory"
    )
    for value in dict.fromkeys(row[first] for row in priced):
        mine = [row for row in priced if row["fits"] and row[first] == value]
        axes.scatter(
            [row[x] for row in mine],
            [row[y] for row in mine],
            s=16,
            alpha=0.7,
            label=f"{plain(first)} = {value:,}" if isinstance(value, int) else plain(str(value)),
        )
    front = sorted((row[x], row[y]) for row in priced if row["pareto"])
    axes.plot(
        [point[0] for point in front],
        [point[1] for point in front],
        "-",
        color="black",
        linewidth=1.2,
        label="Pareto front",
    )
    axes.set(
        xlabel=_with_side(x, x_side), ylabel=_with_side(y, y_side), title=f"{len(rows):,} designs, {len(front):,} on the front",
    )  # fmt: skip
    for axis, name in ((axes.xaxis, x), (axes.yaxis, y)):
        axis.set_major_formatter(lambda value, _, name=name: cell(name, value))
    axes.legend(fontsize="small")
    save(plt, figure, path)


def _with_side(name: str, side: str) -> str:
    return f"{title(name)} ({side} is better)"
