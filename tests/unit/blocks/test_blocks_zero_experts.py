"""Zero experts and the shortcut of LongCat-Flash: shapes, shares of ranks, a step by hand, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from blockkit import broken, model, ops, products, shapes, view

from simcost.blocks.ffn.zero_experts import ZeroExperts
from simcost.errors import SimcostError
from simcost.model import count, load
from simcost.model.spec import from_config
from simcost.ops.grouped_gemm import GroupedGemm
from simcost.ops.router import Router
from simcost.plan import Plan
from simcost.routing.router import Routing

NAME = "longcat-flash"
MOE = next(block for _, block in model(NAME).blocks() if isinstance(block, ZeroExperts))


def _read(**changes: Any) -> Any:
    config = {key: value for key, value in {**load.load_config(NAME)[2], **changes}.items() if value is not None}
    return from_config(config, "x", "x.json")


def test_a_layer_is_two_pairs_with_the_experts_in_the_first() -> None:
    found = model(NAME)
    halves = [[type(block).__name__ for block in layer] for _, layer in found.stacks]
    assert halves == [["Norm", "MLA", "Norm", "ZeroExperts", "Dense"], ["Norm", "MLA", "Norm", "Dense"]]
    assert found.order == (0, 1) * 28
    assert count.kv_elements(found)["kv_elements_per_token"] == 56 * 576


def test_the_router_scores_zero_experts_which_have_no_weights() -> None:
    plan = Plan(tp=8.0, ep=8.0)
    assert shapes(MOE.weights(plan)) == {
        "router": (768, 6144), "experts_up": (64, 4096, 6144), "experts_down": (64, 6144, 2048), "correction_bias": (768,)
    }  # fmt: skip
    assert broken(MOE, plan) == []


def test_only_real_picks_are_computed() -> None:
    """96 tokens pick 12 of 768; 8 of each 12 are real: 768 rows on one rank."""
    found = ops(MOE.program(view(96.0, 1.0, 100.0, decode=True)))
    assert {"zero experts", "add shortcut"} <= set(found)
    assert found["zero experts"].elements == 96 * 6144  # type: ignore[attr-defined]
    choose = next(op for op in found.values() if isinstance(op, Router))
    assert (choose.experts, choose.top_k) == (768, 12)
    up = next(op for op in found.values() if isinstance(op, GroupedGemm))
    assert up.rows == 96 * 8
    assert products(MOE.program(view(96.0, 1.0, 100.0)))["router"] == (1, 96, 768, 6144)


def test_buffers_have_rows_for_all_picks_where_no_token_travels() -> None:
    wide, narrow = MOE.expert_elements(Plan(), Routing("balanced"), 1000.0)
    assert (wide, narrow) == (12 * (6144 + 6144), 12 * 6144)
    away = MOE.expert_elements(Plan(dp_attention=8.0, ep=8.0), Routing("balanced"), 1000.0)
    assert away[1] == 8 * 6144


def test_active_parameters_are_of_the_mean() -> None:
    found = count.parameters(model(NAME))
    assert round(found["params_active_no_embedding"] / 1e9, 2) == 27.15
    dense = count.parameters(_read(zero_expert_num=0, moe_topk=8))
    router = 28 * 256 * (6144 + 1)
    assert found["params_active_all"] - dense["params_active_all"] == router


@pytest.mark.parametrize(("changes", "says"), [
    ({"zero_expert_num": 128}, "9.60, is not whole"), ({"zero_expert_type": "copy"}, "'zero_expert_type' = 'copy'"),
])  # fmt: skip
def test_what_is_not_modelled_is_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(SimcostError, match=says):
        _read(**changes)
