"""A dense FFN beside experts (Grok-2): shapes, a step with one collective, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from blockkit import block, moves, products, shapes, view

from simcost.errors import SimcostError
from simcost.model import count, load
from simcost.model.spec import from_config
from simcost.plan import Plan

MOE = block("grok-2", "ffn")


def _read(**changes: Any) -> Any:
    config = {key: value for key, value in {**load.load_config("grok-2")[2], **changes}.items() if value is not None}
    return from_config(config, "x", "x.json")


def test_the_dense_ffn_is_cut_by_tp_and_experts_by_ep() -> None:
    assert shapes(MOE.weights(Plan(tp=8.0, ep=8.0))) == {
        "router": (8, 8192), "experts_up": (2 * 16384, 8192), "experts_down": (8192, 16384),
        "shared_up": (2 * 4096, 8192), "shared_down": (8192, 4096),
    }  # fmt: skip


def test_a_token_passes_the_dense_ffn_and_two_experts_behind_one_all_reduce() -> None:
    program = MOE.program(view(16.0, 1.0, 100.0, Plan(tp=8.0), decode=True))
    assert products(program)["shared_up"] == (1, 16, 2 * 4096, 8192)
    assert products(program)["shared_down"] == (1, 16, 8192, 4096)
    assert [kind for kind, *_ in moves(program).values()] == ["all_reduce"]


def test_active_parameters_hold_both() -> None:
    without = count.parameters(_read(residual_moe=False, gated_ffn=True, n_shared_experts=0))
    found = count.parameters(_read())
    assert found["params_active_all"] - without["params_active_all"] == 64 * 3 * 8192 * 32768


def test_the_type_in_its_own_file_is_that_of_another_class() -> None:
    assert count.parameters(_read(model_type="git")) == count.parameters(_read())
    with pytest.raises(SimcostError, match="'git' is not known"):
        _read(model_type="git", architectures=None)


def test_a_window_of_minus_one_is_none() -> None:
    assert count.parameters(_read(sliding_window_size=-1, global_attn_every_n=1)) == count.parameters(_read())


@pytest.mark.parametrize(("changes", "says"), [
    ({"moe_intermediate_size": None}, "missing key 'moe_intermediate_size'"), ({"n_shared_experts": 1}, "shared experts too"),
    ({"global_attn_every_n": 2}, "global_attn_every_n"), ({"residual_moe": False, "use_residual": True}, "without parallel_attn_mlp_res"),
])  # fmt: skip
def test_what_is_not_modelled_is_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(SimcostError, match=says):
        _read(**changes)
