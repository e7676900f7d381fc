"""Plans for people: what goes without saying is left out, a place stands beside its number, an interval is one cell."""

from __future__ import annotations

from typing import Any

from simcost.report import plans
from simcost.report.cells import title

ROW: dict[str, Any] = {
    "hw": "h200", "gpus": 8, "tp": 8, "cp": 1, "ep": 8, "etp": 1, "feasible": True, "batch": 64, "overlap": "none", "sequence_parallel": "off",
    "usd_per_million_output_tokens": 0.5, "usd_per_million_output_tokens_low": 0.4, "usd_per_million_output_tokens_high": 0.62, "versus_best": 0,
    "probability_behind": None, "best_or_tied": True, "tpot_s": 0.02, "tpot_low_s": 0.016, "tpot_high_s": 0.025, "model": "m", "engine": "any",
    "phase": "decode", "context": 4096, "simcost": "0",
}  # fmt: skip
REFUSED = {"hw": "h200", "gpus": 8, "tp": 4, "cp": 1, "ep": 2, "etp": 2, "feasible": False, "reason": "short"}


def test_the_place_stands_beside_what_ranks_and_an_interval_is_one_cell() -> None:
    first, second = plans.shown([ROW, {**ROW, "overlap": "two_batch", "gpus": 4}])
    assert list(first) == [
        "gpus", "tp", "ep", "batch", "usd_per_million_output_tokens", "versus_best", "probability_behind",
        "usd_per_million_output_tokens_low", "overlap", "tpot_s", "tpot_low_s",
    ]  # fmt: skip
    assert first["usd_per_million_output_tokens_low"] == "$0.40–$0.62"
    assert second["tpot_low_s"] == "16–25 ms"
    assert title("tpot_low_s") == "TPOT low–high (90 %)"


def test_a_tie_is_marked_beside_its_probability() -> None:
    behind = {**ROW, "versus_best": 0.02, "probability_behind": 0.54}
    shown = plans.shown([ROW, behind, {**behind, "best_or_tied": False, "probability_behind": 0.998}])
    assert [row["probability_behind"] for row in shown] == [None, "54 %, tied", 0.998]


def test_what_all_rows_share_is_said_once() -> None:
    assert plans.same([ROW, REFUSED]) == {"cp": 1, "overlap": "none", "sequence_parallel": "off"}
    assert plans.same([ROW, {**ROW, "overlap": "two_batch"}]) == {"cp": 1, "etp": 1, "sequence_parallel": "off"}
    assert list(plans.shown([REFUSED])[0]) == ["tp", "ep", "reason"]


def test_an_end_without_a_number_is_no_interval() -> None:
    (row,) = plans.shown([{**ROW, "tpot_high_s": None}])
    assert row["tpot_low_s"] == "-"
