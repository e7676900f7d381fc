"""Layers that a search chose one by one (Nemotron-NAS): parts that are missing, widths and heads, and what is refused."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
from blockkit import model, shapes

from simcost.blocks.attention.gqa import GQA
from simcost.errors import SimcostError
from simcost.model import count, load
from simcost.model.spec import from_config
from simcost.plan import Plan

NAME = "llama-3.3-nemotron-super-49b"


def _read(layer: int = 0, attention: Any = None, ffn: Any = None, **changes: Any) -> Any:
    config = deepcopy(load.load_config(NAME)[2]) | changes
    entry = config["block_configs"][layer] if "block_configs" not in changes else {}
    for kind, said in (("attention", attention), ("ffn", ffn)):
        if isinstance(said, dict):
            entry[kind] |= said
        elif said is not None:
            entry[kind] = said
    return from_config(config, "x", "x.json")


def _total(found: Any) -> float:
    return float(count.parameters(found)["params_total"])


def test_49_layers_have_attention_and_all_an_ffn_of_one_of_six_widths() -> None:
    found = model(NAME)
    kinds = [[type(block).__name__ for block in found.stacks[i][1]] for i in found.order]
    assert kinds.count(["Norm", "GQA", "Norm", "Dense"]) == 49
    assert kinds.count(["Norm", "Dense"]) == 31
    assert not [note for note in found.notes if "num_key_value_heads" in note]


def test_heads_in_a_group_are_query_heads_for_each_kv_head() -> None:
    attention = next(block for _, block in model(NAME).blocks() if isinstance(block, GQA))
    assert shapes(attention.weights(Plan(tp=4.0))) == {
        "qkv_proj": (16 * 128 + 2 * 2 * 128, 8192),
        "o_proj": (8192, 16 * 128),
    }
    assert _total(_read(attention={"n_heads_in_group": 16})) - _total(model(NAME)) == -2 * 4 * 128 * 8192


def test_a_part_that_is_left_out_goes_with_its_norm() -> None:
    d = 8192
    attention, ffn = 2 * d * d + 2 * d * 1024 + d, 3 * d * 14336 + d
    assert _total(model(NAME)) - _total(_read(attention={"no_op": True})) == attention
    assert _total(model(NAME)) - _total(_read(ffn={"no_op": True})) == ffn
    assert count.kv_elements(_read(attention={"no_op": True}))["kv_elements_per_token"] == 48 * 2048


@pytest.mark.parametrize(
    ("multiple", "width"), [(5.25, 28672), (1.3125, 7168), (1.0, 5632), (0.5, 2816), (3.28125, 17920)]
)
def test_widths_are_two_thirds_up_to_the_next_256(multiple: float, width: int) -> None:
    assert _total(_read(ffn={"ffn_mult": multiple})) - _total(model(NAME)) == 3 * 8192 * (width - 14336)


@pytest.mark.parametrize(("changes", "says"), [
    ({"attention": {"replace_with_linear": True}}, "replace_with_linear = True"), ({"ffn": {"sparsify": ["x"]}}, "sparsify"),
    ({"attention": {"window_length": 1024}}, "layer 0: attention: not modelled: window_length = 1024"), ({"attention": {"of_a_later_model": 4}}, "of_a_later_model"),
    ({"ffn": {"ffn_mult": None}}, r"ffn\.ffn_mult must be a number"), ({"attention": {"no_op": 1}}, "no_op must be true or false"), ({"ffn": 3}, "ffn must be a table"),
    ({"attention": {"n_heads_in_group": 7}}, "n_heads_in_group"), ({"block_configs": [{}] * 3}, "3 entries for 80 layers"),
    ({"attention": {"no_op": True}, "ffn": {"no_op": True}}, "the layer has neither attention nor FFN"),
])  # fmt: skip
def test_what_is_not_modelled_is_refused_by_layer_and_key(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(SimcostError, match=says):
        _read(**changes)
