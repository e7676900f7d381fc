"""Vision towers: parameters by adding up the shapes of small ones; unknown families, and keys that say no number."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from simcost.errors import SpecError
from simcost.model.tower import tower

V, G, L, SIDE, D = 32, 48, 3, 56, 80  # width, inner width, layers, pixels, width of the language model
PATCHES = (SIDE // 14) ** 2
Shape = tuple[int, ...]


def linear(inner: int, outer: int, bias: bool = True) -> list[Shape]:
    return [(outer, inner), (outer,)] if bias else [(outer, inner)]


def norm(width: int, vectors: int = 2) -> list[Shape]:
    return [(width,)] * vectors


def plain(layers: int) -> list[Shape]:
    """Attention of four projections, a product of two, two LayerNorms, each with biases."""
    block = [*linear(V, V) * 4, *linear(V, G), *linear(G, V), *norm(V) * 2]
    return block * layers


FAMILIES: dict[str, list[Shape]] = {
    "siglip_vision_model": [
        *plain(L), (V, 3, 14, 14), (V,), (PATCHES, V), *norm(V), (V, D), *norm(V, 1),
    ],
    "moonvit": [
        *plain(L), (V, 3, 14, 14), (V,), (64, 64, V), *norm(V), *norm(V), *linear(4 * V, 4 * V), *linear(4 * V, D),
    ],
    "pixtral": [
        *[*linear(V, V, False) * 4, *linear(V, G, False) * 2, *linear(G, V, False), *norm(V, 1) * 2] * L,
        (V, 3, 14, 14), *norm(V, 1), *norm(V, 1), *linear(4 * V, V, False), *linear(V, D, False), *linear(D, D, False),
    ],
    "llama4_vision_model": [
        *plain(L), (V, 3 * 14 * 14), (PATCHES + 1, V), (V,), *norm(V) * 2,
        *linear(5632, 96, False), *linear(96, 96, False), *linear(96, D, False),
    ],
}  # fmt: skip


def config(family: str, **more: Any) -> dict[str, Any]:
    found = {"model_type": family, "hidden_size": V, "intermediate_size": G, "num_hidden_layers": L}
    if family in ("siglip_vision_model", "llama4_vision_model"):
        found["image_size"] = SIDE
    if family == "llama4_vision_model":
        found["vision_output_dim"] = 96
    return {**found, **more}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_small_towers_shapes_add_up(family: str) -> None:
    found = tower(config(family), D, "config.json")
    assert found is not None
    assert found.parameters == sum(math.prod(shape) for shape in FAMILIES[family])
    assert found.unused == ()


def test_another_patch_changes_the_embedding_and_the_positions() -> None:
    found = tower(config("siglip_vision_model", patch_size=7), D, "x")
    usual = tower(config("siglip_vision_model"), D, "x")
    assert found is not None
    assert usual is not None
    assert found.parameters - usual.parameters == 3 * V * (7**2 - 14**2) + V * ((SIDE // 7) ** 2 - PATCHES)


def test_keys_that_change_nothing_are_named_in_order() -> None:
    found = tower(config("pixtral", rope_theta=1e4, attention_dropout=0.0), D, "x")
    assert found is not None
    assert found.unused == ("attention_dropout", "rope_theta")


@pytest.mark.parametrize("vision", [None, [], "siglip", {}, {"model_type": "resnet"}, {"hidden_size": 3}])
def test_no_tower_and_one_of_another_family_are_not_counted(vision: Any) -> None:
    assert tower(vision, D, "x") is None


@pytest.mark.parametrize("family", ["siglip_vision_model", "moonvit", "pixtral", "llama4_vision_model"])
def test_of_several_widths_each_has_its_projector(family: str) -> None:
    found, alone = tower(config(family), np.array([D, 3.0 * D]), "x"), tower(config(family), 3.0 * D, "x")
    assert found is not None
    assert alone is not None
    assert np.asarray(found.parameters)[1] == alone.parameters != np.asarray(found.parameters)[0]


@pytest.mark.parametrize("value", [None, 0, -3, "32", True, [32]])
@pytest.mark.parametrize("key", ["hidden_size", "num_hidden_layers"])
def test_a_key_that_is_no_size_is_named(key: str, value: Any) -> None:
    with pytest.raises(SpecError, match=rf"^config.json: 'vision_config.{key}' must be a number above 0, not "):
        tower(config("moonvit", **{key: value}), D, "config.json")
