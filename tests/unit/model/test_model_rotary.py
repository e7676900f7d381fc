"""Rows of rotary tables: the limits by hand, where scalings are spelled in other ways, and what says nothing."""

from __future__ import annotations

from typing import Any

import pytest

from simcost.model.rotary import rows


@pytest.mark.parametrize("limit", [None, True, 0, "4096", [4096]])
def test_without_a_number_of_positions_there_is_no_table(limit: Any) -> None:
    assert rows({"max_position_embeddings": limit}) == ()
    assert rows({}) == ()


@pytest.mark.parametrize("key", ["rope_scaling", "rope_parameters"])
@pytest.mark.parametrize("kind", ["rope_type", "type"])
@pytest.mark.parametrize(("scaling", "found"), [
    ({"kind": "dynamic", "factor": 2}, 8192.0), ({"kind": "linear", "factor": 2.5}, 10240.0), ({"kind": "linear"}, 4096.0),
    ({"kind": "yarn", "factor": 8}, 32768.0), ({"kind": "mrope"}, 16384.0), ({"kind": "linear", "factor": True}, 4096.0),
])  # fmt: skip
def test_a_scaling_stretches_the_table_however_it_is_spelled(
    key: str, kind: str, scaling: dict[str, Any], found: float
) -> None:
    table = {kind if name == "kind" else name: value for name, value in scaling.items()}
    assert rows({"max_position_embeddings": 4096, key: table}) == (found,)


@pytest.mark.parametrize(("scaling", "outer", "found"), [
    ({"type": "yarn", "factor": 40}, 4096, 163840.0), ({"type": "yarn", "factor": 40, "original_max_position_embeddings": 2048}, 4096, 81920.0),
    ({"type": "yarn", "factor": 40}, None, 163840.0 * 40), ({"type": "longrope"}, 4096, 4096.0 + 163840.0),
])  # fmt: skip
def test_a_scaling_starts_from_the_original_positions_where_they_are_stated(
    scaling: dict[str, Any], outer: int | None, found: float
) -> None:
    config = {"max_position_embeddings": 163840, "rope_scaling": scaling, "original_max_position_embeddings": outer}
    assert rows({key: value for key, value in config.items() if value is not None}) == (found,)


def test_a_second_base_is_a_second_table_of_plain_length() -> None:
    config = {
        "max_position_embeddings": 1000,
        "rope_scaling": {"rope_type": "linear", "factor": 8},
        "rope_local_base_freq": 1e4,
    }
    assert rows(config) == (8000.0, 1000.0)


def test_every_kind_of_layer_has_a_table_where_each_has_its_parameters() -> None:
    kinds = {
        "full_attention": {"rope_type": "yarn", "factor": 4},
        "sliding_attention": {"rope_type": "default"},
        "rope_theta": 1e4,
    }
    assert rows({"max_position_embeddings": 1000, "rope_parameters": kinds}) == (4000.0, 1000.0)


@pytest.mark.parametrize("scaling", [None, [], "yarn", 3, {}])
def test_what_is_no_table_scales_nothing(scaling: Any) -> None:
    assert rows({"max_position_embeddings": 1000, "rope_scaling": scaling}) == (1000.0,)
