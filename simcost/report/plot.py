"""How pictures are made and written (extra `plot`), and the held-out rows of a calibration."""

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
