"""OLMo Hybrid: sizes of its linear layers that its class derives, totals equal to the class, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from simcost.blocks.attention.gated_deltanet import GatedDeltaNet
from simcost.blocks.attention.gqa import GQA
from simcost.errors import SimcostError
from simcost.model import count
from simcost.model.spec import from_config

OLMO: dict[str, Any] = {
    "model_type": "olmo_hybrid", "hidden_size": 3840, "intermediate_size": 11008, "num_hidden_layers": 32, "num_attention_heads": 30, "num_key_value_heads": 30,
    "vocab_size": 100352, "tie_word_embeddings": False, "linear_allow_neg_eigval": True, "linear_a_log_max": 16.0,
}  # fmt: skip


def _read(**changes: Any) -> Any:
    return from_config({key: value for key, value in {**OLMO, **changes}.items() if value is not None}, "x", "x.json")


@pytest.mark.parametrize(("changes", "total"), [
    ({}, 7_430_870_688), ({"num_key_value_heads": 6, "linear_num_key_heads": 15, "linear_num_value_heads": 60}, 12_026_871_360),
])  # fmt: skip
def test_totals_equal_the_class_on_the_meta_device(changes: dict[str, Any], total: int) -> None:
    """By transformers 5.24.0."""
    assert count.parameters(_read(**changes))["params_total"] == total


def test_every_fourth_layer_is_attention_and_the_others_have_a_head_for_each_of_its() -> None:
    found = _read()
    kinds = [type(found.stacks[i][1][1]) for i in found.order]
    assert kinds == ([GatedDeltaNet] * 3 + [GQA]) * 8
    gdn = found.stacks[0][1][1]
    sizes = (gdn.linear_num_key_heads, gdn.linear_num_value_heads, gdn.linear_key_head_dim, gdn.linear_value_head_dim)
    assert sizes == (30, 30, 96, 192)


def test_a_size_that_is_stated_wins() -> None:
    gdn = _read(linear_key_head_dim=64).stacks[0][1][1]
    assert (gdn.linear_key_head_dim, gdn.linear_value_head_dim) == (64, 128)


@pytest.mark.parametrize(("changes", "says"), [
    ({"num_hidden_layers": 3}, "3 layers without layer_types"), ({"linear_num_value_heads": 15}, "linear_num_value_heads must be a multiple"),
])  # fmt: skip
def test_what_is_not_modelled_is_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(SimcostError, match=says):
        _read(**changes)
