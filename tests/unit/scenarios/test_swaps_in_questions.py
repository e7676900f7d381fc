"""A swapped design in every kind of question: one design a column and a search, the single question in a row of a sweep, and the way out where it does not fit."""

from __future__ import annotations

import re
from typing import Any

import pytest

import simcost
from simcost import grammar
from simcost.errors import SpecError
from simcost.query import Query, model_of
from simcost.result import Result

SLIDING = {"model.attention": "swa:4096", "model.iso": "flops"}


def solved(result: Result) -> dict[str, Any]:
    """{design: what `iso` solved for}"""
    return {row.get("design", ""): row["after"] for row in result.dimensions if row["why"].startswith("equal ")}


@pytest.mark.parametrize("sets", [{"model.attention": "mha"}, {"model.attention": "mla:1024", "model.iso": "active"}])
def test_a_swapped_design_that_does_not_fit_has_a_way_out_that_fits(sets: dict[str, Any]) -> None:
    found = simcost.decode("deepseek-v3", "h200", set=sets)
    assert not found.fits
    advised = re.search(r"the smallest plan that fits has (\d+) GPUs: (.*)$", found.verdict)
    assert advised is not None
    plan = {f"plan.{key}": int(value) for key, value in (pair.split("=") for pair in advised[2].split(", "))}
    assert simcost.decode("deepseek-v3", "h200", set={**sets, **plan}).fits


def test_both_steps_of_a_column_are_of_one_design() -> None:
    """iso=flops holds at the context; the prompt, of another length, meets the same widths."""
    found = simcost.compare(
        ["llama-3.1-8b"],
        "h200",
        context=131_072,
        isl=1024,
        variants=["attention=swa:4096,iso=flops"],
    )
    (width,) = solved(found).values()
    assert width > 4 * 14336
    sets = {"model.attention": "swa:4096", "model.intermediate_size": width}
    row = found.tables["designs"][1]
    assert row["ttft_s"] == simcost.prefill("llama-3.1-8b", "h200", isl=1024, set=sets).metrics["ttft_s"]
    assert row["tpot_s"] == simcost.decode("llama-3.1-8b", "h200", context=131_072, set=sets).metrics["tpot_s"]


@pytest.mark.parametrize("isl", [2048, 131_072])
def test_counts_of_a_model_hold_flops_equal_at_their_length(isl: int) -> None:
    shown = simcost.show_model("llama-3.1-8b", set=SLIDING, isl=isl)
    asked = simcost.decode("llama-3.1-8b", "h200", context=isl, set=SLIDING)
    assert solved(shown) == solved(asked)
    assert any(f"at {isl:,} tokens" in row["why"] for row in shown.dimensions)


def test_a_goal_of_one_length_needs_one() -> None:
    with pytest.raises(SpecError, match="iso=flops holds at one length: add --context"):
        model_of(Query("llama-3.1-8b", "", True, grammar.Overrides().merged(SLIDING)))


def test_a_row_of_a_sweep_of_tp_is_the_question_of_its_own() -> None:
    """fp8 in blocks of 128: the width of equal active parameters is one that this tp cuts."""
    sets = {"model.ffn": "dense"}
    found = simcost.decode("deepseek-v3", "h200", set=sets, vary={"plan.tp": [1, 8], "batch": [1, 8]})
    assert solved(found) == {"plan.tp=1": 18496, "plan.tp=8": 18432}
    for row in found.rows:
        own = {**sets, "plan.tp": row["plan.tp"]}
        alone = simcost.decode("deepseek-v3", "h200", batch=row["batch"], set=own)
        assert row["feasible"]
        assert row["tpot_s"] == pytest.approx(alone.metrics["tpot_s"], rel=1e-12)


def test_what_all_rows_share_is_told_once() -> None:
    found = simcost.decode("llama-3.1-8b", set={"model.attention": "mla"}, vary={"hw": ["h100", "h200"]})
    keys = [row["key"] for row in found.dimensions]
    assert len(keys) == len(set(keys)) > 0


def test_plans_search_one_design_that_the_ranks_of_a_node_cut() -> None:
    found = simcost.plans("deepseek-v3", "h200", gpus=8, batch=[8], set={"model.ffn": "dense"})
    assert solved(found) == {"": 18432}
    rows = {(row["tp"], row["pp"], row["dp"]): row for row in found.tables["plans"]}
    assert len(rows) == 10
    for (tp, pp, dp), row in rows.items():
        sets = {"model.intermediate_size": 18432, "model.ffn": "dense", "plan.tp": tp, "plan.pp": pp, "plan.dp": dp}
        if row["feasible"]:
            alone = simcost.decode("deepseek-v3", "h200", batch=row["batch"], set=sets)
            assert row["tpot_s"] == pytest.approx(alone.metrics["tpot_s"], rel=1e-9)
    assert rows[8, 1, 1]["feasible"]


def test_plans_of_several_devices_are_of_one_design() -> None:
    found = simcost.plans("deepseek-v3", ["h200", "b200"], gpus=[4, 8], batch=[8], set={"model.ffn": "dense"})
    assert solved(found) == {"": 18432}


@pytest.mark.parametrize(("ffn", "step"), [("moe:64/6/1", 1024), ("moe:64/6/2", 512), ("moe:64/6/0", 64)])
def test_shared_experts_of_several_widths_are_cut_as_one(ffn: str, step: int) -> None:
    """Two shared experts are one layer of twice the width: half the multiple is whole on every rank."""
    found = simcost.decode("deepseek-v3", "h200", set={"model.ffn": ffn, "plan.tp": 8})
    (width,) = solved(found).values()
    shared = int(ffn[-1])
    assert width % step == 0
    for other in (width - step, width + step):
        sets = {"model.ffn": f"{ffn}/{other}", "plan.tp": 8}
        beside = simcost.show_model("deepseek-v3", set={"model.ffn": sets["model.ffn"]}).metrics["params_active_all"]
        here = simcost.show_model("deepseek-v3", set={"model.ffn": f"{ffn}/{width}"}).metrics["params_active_all"]
        wanted = simcost.show_model("deepseek-v3").metrics["params_active_all"]
        assert abs(here - wanted) <= abs(beside - wanted)
        assert simcost.decode("deepseek-v3", "h200", set=sets).metrics["tpot_s"] > 0
    assert shared * width % 1024 == 0


def test_layers_that_are_stated_beside_a_swap_are_swapped() -> None:
    """Gemma's swap names what each layer is, and there are ten of them."""
    sets = {"model.num_hidden_layers": 10, "model.attention": "mha"}
    found = simcost.show_model("gemma-3-27b", set=sets)
    assert [row["layers"] for row in found.tables["blocks"] if row["block"] == "GQA"] == [10]


def test_a_goal_that_one_swap_of_a_sweep_cannot_meet_is_the_reason_of_its_row() -> None:
    found = simcost.decode(
        "llama-3.1-8b", "h200", set={"model.iso": "kv"}, vary={"model.attention": ["mha", "gqa", "mla"]}
    )
    assert [row["feasible"] for row in found.rows] == [False, True, True]
    assert "use gqa or mla" in found.rows[0]["reason"]


def test_a_key_of_the_new_block_stands_beside_a_swap_in_a_sweep() -> None:
    """model.kv_lora_rank alone would be refused on Llama: the swap gives it a meaning."""
    sets = {"model.attention": "mla", "model.kv_lora_rank": 1024}
    rows = simcost.decode("llama-3.1-8b", "h200", set=sets, vary={"batch": [1, 2]}).rows
    assert [row["tpot_s"] for row in rows] == [
        simcost.decode("llama-3.1-8b", "h200", batch=batch, set=sets).metrics["tpot_s"] for batch in (1, 2)
    ]
