"""What `simcost validate training` must reach, and what other predictors reach on the same rows.

Most likely to be wrong: peers' figures, which their sources state for all their rows, of which the vTrain files here
hold about 70 %.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from simcost.frozen import frozen
from simcost.result import Row as Cells
from simcost.validation.bar_lines import covers, line

STEP, DENSE, MEMORY, UNFITTED = "step", "step, dense", "memory", "step, nothing of its own steps fitted"
WIDE = 4.0  # half-widths of intervals over median errors
VTRAIN = "vTrain 14.7 % (VIA-Research/vTrain, README), Calculon 15.4 % (run on the same rows)"


@frozen
class Bar:
    """name: of rows that are fitted together, or of a source; what: STEP, DENSE, MEMORY or UNFITTED; measure: of
    `score.FIGURES`; most: of it; peers: in words; aim: no bar, but shown beside one."""

    name: str
    what: str
    measure: str
    most: float
    peers: str = ""
    aim: bool = False


# Bars over the rows of several names together, each with the coefficients of its own generation.
JOINT = {"nemo-bridge": ("nemo-24.07", "megatron-bridge")}
BARS = (
    Bar("vtrain-multi", STEP, "mean_abs_error", 0.08, VTRAIN),
    Bar("vtrain-multi", STEP, "median_abs_error", 0.04),
    Bar("simumax", STEP, "mean_abs_error", 0.04, "SimuMax 5.62 % (its release summary)"),
    Bar("simumax", MEMORY, "mean_abs_error", 0.010, "SimuMax 0.46 % (its release summary)"),
    Bar("korthikanti", STEP, "mean_abs_error", 0.025, "Calculon 3.65 % (calculon-ai/calculon, validation)"),
    Bar("zerobubble", STEP, "median_abs_error", 0.05),
    Bar("zerobubble", MEMORY, "mean_abs_error", 0.04),
    Bar("nemo-bridge", STEP, "median_abs_error", 0.06),
    Bar("nemo-bridge", DENSE, "median_abs_error", 0.03),
    Bar("deepseek-v3", UNFITTED, "mean_abs_error", 0.15),
    Bar("deepseek-v3-trace", UNFITTED, "mean_abs_error", 0.08),
    *(Bar(name, STEP, "median_abs_error", 0.08, aim=True) for name in ("mpt", "bloom", "torchtitan")),
)


def table(figures: Mapping[tuple[str, str], Mapping[str, Any]]) -> list[Cells]:
    """A line for each bar whose rows were predicted, and two for the intervals of every name with a bar; figures: of
    `score.summary`, by name and what."""
    found: list[Cells] = []
    for bar in BARS:
        value = figures.get((bar.name, bar.what), {}).get(bar.measure)
        if value is not None:
            found.append(
                line(
                    bar.name,
                    bar.what,
                    bar.measure,
                    value,
                    f"at most {bar.most:.1%}",
                    value <= bar.most,
                    bar.peers,
                    bar.aim,
                )
            )
    for name, what in dict.fromkeys(
        (bar.name, bar.what) for bar in BARS if bar.what in (STEP, UNFITTED) and not bar.aim
    ):
        found += _intervals(name, what, figures.get((name, what), {}))
    return found


def _intervals(name: str, what: str, of: Mapping[str, Any]) -> list[Cells]:
    covered, width, median = (of.get(key) for key in ("coverage", "median_half_width", "median_abs_error"))
    if covered is None or width is None or median is None:
        return []
    if of["n"] == 1:  # a share of one row is 0 or 1
        return [line(name, what, "coverage", covered, "the truth inside", covered == 1.0)]
    return [
        covers(name, what, covered),
        line(name, what, "median_half_width", width, f"at most {WIDE:.0f} median errors", width <= WIDE * median),
    ]
