"""crossover answers by what a step is timed by."""

from __future__ import annotations

import pytest

import simcost

TABLE = "MLA: queries a sequence from which expanded wins"


@pytest.mark.parametrize("sets", [{}, {"hw.measurements": "none"}], ids=["curves", "roofline"])
def test_the_forms_of_mla_turn_where_a_prefill_step_turns(sets: dict[str, str]) -> None:
    rows = simcost.crossover("deepseek-v3", "h200", set=sets).tables[TABLE]
    for row in rows[1:3]:
        forms = [
            simcost.prefill("deepseek-v3", "h200", isl=isl, past=row["past"], set=sets).metrics["mla_form"]
            for isl in (row["queries"] - 1, row["queries"])
        ]
        assert forms == ["absorbed", "expanded"]


@pytest.mark.parametrize(("hw", "sets", "said"), [
    ("h200", {}, "its measured curves"), ("h200", {"hw.measurements": "none"}, "by the roofline"),
    ("mi300x", {}, "curves of h200"), ("gaudi2", {}, "by the roofline"),
])  # fmt: skip
def test_it_says_what_timed_the_forms(hw: str, sets: dict[str, str], said: str) -> None:
    notes = simcost.crossover("deepseek-v3", hw, set=sets).warnings
    assert any("forms of MLA" in note and said in note for note in notes)
    assert not any("forms of MLA" in note for note in simcost.crossover("llama-3.1-8b", hw).warnings)
