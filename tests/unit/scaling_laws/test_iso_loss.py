"""iso=loss and iso=optimal: a width by published laws, the same design back, and no number where no law speaks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import simcost
from simcost.errors import SpecError
from simcost.query import make, model_of
from simcost.scaling_laws import load
from simcost.scaling_laws.counts import flops_per_token, of
from simcost.scaling_laws.evaluate import loss


def design(name: str, **sets: Any) -> Any:
    return model_of(
        make(name, "h200", True, {"context": 4096}, {f"model.{key}": value for key, value in sets.items()}, {}, None)
    )


def chosen(found: Any, key: str) -> Any:
    return next(one for one in found.changes if one.key == key)


@pytest.mark.parametrize("law", ["besiroglu-2024", "hoffmann-2022", "krajewski-2024", "ludziejewski-2025"])
def test_the_same_design_comes_back(law: str) -> None:
    found = design("llama-3.2-1b", ffn="dense", iso=f"loss:50B:{law}")
    assert chosen(found, "intermediate_size").after == 8192
    assert law in chosen(found, "intermediate_size").why


@pytest.mark.parametrize(("sets", "key"), [
    ({"attention": "mla"}, "intermediate_size"), ({"num_hidden_layers": 12}, "intermediate_size"), ({"ffn": "moe:8/1/0"}, "moe_intermediate_size"),
])  # fmt: skip
def test_the_width_has_the_loss_and_its_neighbours_are_farther(sets: dict[str, Any], key: str) -> None:
    name, tokens = "tinyllama-1.1b", 5e10
    law = load.load("ludziejewski-2025")
    target = float(loss(law, of(design(name), 4096.0), tokens).nats)
    width = chosen(design(name, iso="loss:50B:ludziejewski-2025", **sets), key).after

    def off(value: int) -> float:
        return abs(float(loss(law, of(design(name, **sets, **{key: value}), 4096.0), tokens).nats) - target)

    assert width % 64 == 0
    assert off(width) <= min(off(width - 64), off(width + 64))


def test_a_compute_optimal_width_has_the_least_loss() -> None:
    law, flops = load.load("besiroglu-2024"), 1e20
    width = chosen(design("llama-3.2-1b", iso="optimal:1e20:besiroglu-2024"), "intermediate_size").after

    def nats(value: int) -> float:
        counts = of(design("llama-3.2-1b", intermediate_size=value), 4096.0)
        return float(loss(law, counts, flops / flops_per_token(law, counts)).nats)

    assert nats(width) <= min(nats(width - 64), nats(width + 64))
    assert np.isfinite(nats(width))


@pytest.mark.parametrize(("iso", "says"), [
    ("loss", "state the training tokens, as in loss:1T"), ("loss:many", "iso=loss:many"), ("loss:1T:kaplan", "kaplan"),
    ("optimal", "or the training FLOPs, as in optimal:1e21"), ("loss:14T", "no published scaling law covers these designs: ludziejewski-2025"),
])  # fmt: skip
def test_no_number_where_no_law_speaks(iso: str, says: str) -> None:
    with pytest.raises(SpecError) as error:
        design("deepseek-v3", ffn="dense", iso=iso)
    assert says in str(error.value)


def test_compare_prints_the_law_and_its_interval() -> None:
    found = simcost.compare(["tinyllama-1.1b"], "h100", variants=["ffn=moe:8/1/0,iso=loss:50B"])
    (row,) = [row for row in found.dimensions if row["key"] == "moe_intermediate_size"]
    assert row["why"].startswith("equal loss by ludziejewski-2025 on 50 B tokens: 2.4")
    assert "the law cannot tell" in row["why"]
