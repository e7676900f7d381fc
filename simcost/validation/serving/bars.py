"""What `simcost validate serving` must reach on the silicon sample, and what AIConfigurator reaches.

Most likely to be wrong: the peer's figures, which are of an earlier reading of the rows (1,792 of them); where
`aiconfigurator` is installed the report has them on these rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from simcost.frozen import frozen
from simcost.result import Row as Cells
from simcost.validation.bar_lines import covers, line
from simcost.validation.serving.rows import DISAGGREGATED
from simcost.validation.serving.score import JUDGED, SPECULATIVE, TPOT, TTFT

UNFITTED, EVENTS, FITTED, FITTED_EVENTS, PROFILES = (
    "unfitted",
    "unfitted, events",
    "fitted, family held out",
    "fitted, family held out, events",
    "engines' profiles, events",
)
PEER = "AIConfigurator 0.12"


@frozen
class Bar:
    """answer: which predictor; what: TPOT or TTFT; rows_of: a slice's name; measure: of `score.FIGURES`, or answered;
    limit: at most, or at least where `least`; peer: the peer's figure on a study's rows; aim: no bar."""

    answer: str
    what: str
    rows_of: str
    measure: str
    limit: float
    least: bool = False
    peer: float | None = None
    aim: bool = False


BARS = (
    Bar(UNFITTED, TPOT, JUDGED, "median_abs_error", 0.095, peer=0.133),
    Bar(UNFITTED, TPOT, JUDGED, "mean_abs_error", 0.14, peer=0.207),
    Bar(UNFITTED, TPOT, JUDGED, "p90_abs_error", 0.29, peer=0.434),
    Bar(UNFITTED, TPOT, "dense", "median_abs_error", 0.08, peer=0.128),
    Bar(UNFITTED, TPOT, "GQA-MoE", "median_abs_error", 0.10, peer=0.136),
    Bar(UNFITTED, TPOT, "MLA", "median_abs_error", 0.12, peer=0.152),
    Bar(UNFITTED, TPOT, JUDGED, "spearman", 0.98, least=True, peer=0.985),
    Bar(UNFITTED, TPOT, JUDGED, "answered", 0.97, least=True),
    Bar(UNFITTED, TPOT, JUDGED, "median_half_width", 0.27),
    Bar(FITTED_EVENTS, TTFT, "vllm", "median_abs_error", 0.19),
    Bar(FITTED_EVENTS, TTFT, JUDGED, "median_abs_error", 0.28, peer=0.45),
    Bar(FITTED, TTFT, JUDGED, "median_abs_error", 0.35, peer=0.45),
    Bar(UNFITTED, TPOT, SPECULATIVE, "median_abs_error", 0.12, aim=True),
    Bar(UNFITTED, TPOT, DISAGGREGATED, "median_abs_error", 0.15, aim=True),
)


def table(tables: Mapping[str, Sequence[Cells]]) -> list[Cells]:
    """A line for each bar whose slice was predicted, and one for the intervals of each time; tables: of
    `score.table`, by what."""
    lines = {(row["answer"], what, row["rows_of"]): row for what, rows in tables.items() for row in rows}
    found: list[Cells] = []
    for bar in BARS:
        value = lines.get((bar.answer, bar.what, bar.rows_of), {}).get(bar.measure)
        if value is None:
            continue
        said = f"at least {bar.limit:g}" if bar.least else f"at most {bar.limit:.1%}"
        passes = value >= bar.limit if bar.least else value <= bar.limit
        found.append(
            line(
                bar.rows_of, f"{bar.what}, {bar.answer}", bar.measure, value, said, passes, _peers(bar, lines), bar.aim
            )
        )
    # The time to the first token is judged as users have it: with the host terms of engines, of other families of models.
    for what, answer in ((TPOT, UNFITTED), (TTFT, FITTED)):
        share = lines.get((answer, what, JUDGED), {}).get("coverage")
        if share is not None:
            found.append(covers(JUDGED, f"{what}, {answer}", share))
    return found


def _peers(bar: Bar, lines: Mapping[tuple[str, str, str], Cells]) -> str:
    """What other predictors reach in this report, else what the study states."""
    own = (UNFITTED, FITTED, FITTED_EVENTS)
    found = {
        name: value
        for (name, what, part), row in lines.items()
        if (what, part) == (bar.what, bar.rows_of) and name not in own and (value := row.get(bar.measure)) is not None
    }
    if not found and bar.peer is not None:
        found = {f"{PEER}, on a study's rows": bar.peer}
    return ", ".join(
        f"{name}: {value:.3f}" if bar.measure == "spearman" else f"{name}: {value:.1%}" for name, value in found.items()
    )
