"""crossover answers by what a step is timed by."""

from __future__ import annotations

import pytest

import simcost
from simcost.cost.cost import Cost, ratio_deviation

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


@pytest.mark.parametrize("hw", ["h200", "b200", "mi300x"])
@pytest.mark.parametrize("tp", [1, 8])
def test_a_crossover_is_a_number_only_where_either_form_surely_wins_on_its_side(hw: str, tp: int) -> None:
    sets = {"plan.tp": tp, "plan.weight_dtype": "bf16"}
    found = simcost.crossover("deepseek-v3", hw, set=sets)
    unknown = []
    for row in found.tables[TABLE]:
        if row["queries"] is None:
            unknown.append(f"{row['past']:,}")
            assert row["absorbed_surely_to"] is None or row["expanded_surely_from"] is None
        else:
            assert row["absorbed_surely_to"] < row["queries"] <= row["expanded_surely_from"]
    said = [note for note in found.warnings if "is within the uncertainty" in note]
    assert len(said) == bool(unknown)
    assert all(", ".join(unknown) in note for note in said)


def test_without_a_past_the_forms_have_no_crossover_that_is_more_than_noise() -> None:
    """Both take 15 us and little else up to hundreds of queries."""
    row = simcost.crossover("deepseek-v3", "h200", set={"plan.tp": 8}).tables[TABLE][0]
    assert (row["past"], row["queries"], row["absorbed_surely_to"]) == (0, None, None)
    assert row["expanded_surely_from"] > 200


def test_what_two_costs_owe_to_one_source_does_not_part_them() -> None:
    a, b = (
        Cost(compute_s=t, spread={"the machine's state": 1.1 * t, own: 0.3 * t}) for t, own in ((2.0, "a"), (5.0, "b"))
    )
    assert ratio_deviation(a, b) == pytest.approx(0.3 * 2**0.5)
