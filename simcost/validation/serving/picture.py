"""Scatter pictures of predicted over measured TPOT: a panel a family, a colour an engine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from simcost.report.plot import pyplot, save
from simcost.validation.score import NEAR
from simcost.validation.serving.lines import MILLISECOND
from simcost.validation.serving.rules import FAMILIES
from simcost.validation.serving.score import TPOT, Answered, pair

_COLOURS = {"vllm": "tab:blue", "sglang": "tab:orange", "trtllm": "tab:green"}


def draw(answers: Sequence[Answered], path: Path, title: str) -> None:
    """Judged rows with an answer, as PNG or SVG by the file's suffix. Raises SpecError without matplotlib."""
    plt = pyplot(path)
    figure, panels = plt.subplots(1, len(FAMILIES), figsize=(13, 3.6), layout="constrained", sharex=True, sharey=True)
    for family, panel in zip(FAMILIES, panels, strict=True):
        own = [one for one in answers if one.row.judged and one.answered and one.row.family == family]
        for engine, colour in _COLOURS.items():
            both = [found for one in own if one.row.engine == engine and (found := pair(one, TPOT))]
            if both:
                said, measured = zip(*both, strict=True)
                panel.loglog(
                    [x / MILLISECOND for x in measured],
                    [y / MILLISECOND for y in said],
                    ".",
                    color=colour,
                    markersize=3,
                    label=engine,
                )
        ends = (1.0, 200.0)
        panel.plot(ends, ends, color="black", linewidth=0.8)
        for factor in (1.0 + NEAR, 1.0 - NEAR):
            panel.plot(ends, [factor * end for end in ends], color="grey", linewidth=0.6, linestyle=":")
        panel.set(title=f"{family}, n = {len(own)}", xlabel="measured TPOT [ms]", xlim=ends, ylim=ends)
        panel.legend(loc="upper left")
    panels[0].set_ylabel("predicted [ms]")
    figure.suptitle(title)
    save(plt, figure, path)
