"""The cache as engines page it: kinds of layers, groups, and tokens that a request holds, counted page by page."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from toykit import design, engine

from simcost.dtypes import dtype
from simcost.hardware.engine_memory import EngineMemory
from simcost.model import cache
from simcost.model.spec import ModelSpec
from simcost.plan import Plan

BF16, EACH = dtype("bf16"), 2 * 2 * 128 * 2  # bytes of a token in one layer: K and V of 2 heads
WINDOW, BLOCK = 256, 16


def hybrid(sliding: int, full: int, kind: str = "sliding_attention") -> ModelSpec:
    return design(
        num_hidden_layers=sliding + full, layer_types=[kind] * sliding + ["full_attention"] * full,
        **({"sliding_window": WINDOW} if kind == "sliding_attention" else {"attention_chunk_size": WINDOW}),
    )  # fmt: skip


def kinds(model: ModelSpec, terms: EngineMemory) -> list[cache.Kind]:
    return cache.kinds(model, Plan(), [float(n) for n, _ in model.stacks], BF16, terms)


def request(model: ModelSpec, context: int, **terms: Any) -> float:
    one = engine(**{"block": float(BLOCK), **terms})
    return float(cache.request_bytes(kinds(model, one), float(context), one))


def pages(tokens: int) -> int:
    """Tokens of the whole pages that hold so many."""
    held = 0
    while held < tokens:
        held += BLOCK
    return held


@given(st.integers(1, 3000))
def test_a_request_takes_whole_pages_of_every_layer(context: int) -> None:
    assert request(design(), context) == 4 * EACH * pages(context)


@given(st.integers(1, 3000), st.sampled_from(["sliding_attention", "chunked_attention"]))
def test_an_engine_that_knows_no_windows_holds_the_whole_context_everywhere(context: int, kind: str) -> None:
    assert request(hybrid(5, 1, kind), context, windows="whole") == 6 * EACH * pages(context)


@given(context=st.integers(1, 3000), step=st.sampled_from([64, 512]), flight=st.integers(1, 3))
def test_a_window_holds_what_a_step_may_still_see_and_a_page(context: int, step: int, flight: int) -> None:
    terms = {
        "windows": "grouped",
        "chunks": "grouped",
        "tokens": float(step),
        "steps_in_flight": float(flight),
        "group_ratio": 1.0,
    }
    narrow = pages(min(context, WINDOW - 1 + step * flight)) + BLOCK
    assert request(hybrid(3, 3), context, **terms) == 3 * EACH * (pages(context) + narrow)
    chunked = pages(min(context, WINDOW + step * flight))
    assert request(hybrid(3, 3, "chunked_attention"), context, **terms) == 3 * EACH * (pages(context) + chunked)


def test_an_engine_without_a_bound_for_chunks_holds_them_whole() -> None:
    found = kinds(hybrid(3, 3, "chunked_attention"), engine(windows="grouped", chunks="whole", group_ratio=1.0))
    assert [(kind.layers, kind.mask.bounded) for kind in found] == [(6.0, False)]


@pytest.mark.parametrize(("sliding", "full", "ratio", "layers"), [
    (5, 1, 1.5, [5, 1]), (6, 4, 1.25, [8, 4]), (6, 4, 1.6, [6, 6]), (22, 4, 1.25, [24, 4]), (4, 4, 1.25, [4, 4]), (3, 2, 2.0, [3, 3]),
])  # fmt: skip
def test_kinds_fill_whole_groups_of_one_size(sliding: int, full: int, ratio: float, layers: list[int]) -> None:
    """Of the fewest layers of a kind; of the most where there are about as many of both."""
    found = kinds(hybrid(sliding, full), engine(windows="grouped", group_ratio=ratio))
    assert [kind.layers for kind in found] == layers
    assert [kind.token_bytes for kind in found] == [EACH * n for n in layers]


def test_without_groups_or_with_one_kind_no_layer_is_padded() -> None:
    assert [kind.layers for kind in kinds(hybrid(6, 4), engine(windows="ratio"))] == [6.0, 4.0]
    assert [kind.layers for kind in kinds(design(num_hidden_layers=7), engine(windows="grouped"))] == [7.0]


@pytest.mark.parametrize(("context", "whole", "narrow"), [
    (100, 125.0, 100), (256, 320.0, 256), (320, 320.0, 256), (2000, 2000.0, 1600), (16, 20.0, 16),
])  # fmt: skip
def test_pools_of_a_fixed_ratio_end_together(context: int, whole: float, narrow: int) -> None:
    """A window pool of 0.8 of the full one: what a request needs there it takes of the full one 1 / 0.8 times."""
    terms = engine(windows="ratio", window_ratio=0.8)
    found = kinds(hybrid(3, 1), terms)
    held = [float(cache.held_tokens(kind, found, float(context), terms)) for kind in found]
    assert held == pytest.approx([narrow, whole])


def test_a_token_of_the_pool_takes_bytes_of_all_its_groups() -> None:
    for windows, size in (("whole", 4 * EACH), ("grouped", 2 * 3 * EACH), ("ratio", EACH + 3 * EACH * 0.8)):
        terms = engine(windows=windows, window_ratio=0.8, group_ratio=10.0)
        assert cache.token_bytes(kinds(hybrid(3, 1), terms), terms) == pytest.approx(size)


@pytest.mark.parametrize(("multiple", "elements"), [(1.0, 512), (128.0, 512), (640.0, 640), (96.0, 576)])
def test_an_engine_widens_what_a_layer_keeps_to_its_multiple(multiple: float, elements: int) -> None:
    found = kinds(design(), engine(latent_multiple=multiple))
    assert found[0].token_bytes == pytest.approx(4 * elements * 2)


def test_a_rank_holds_its_own_layers_and_heads() -> None:
    model, terms = hybrid(3, 3), engine(windows="whole")
    found = cache.kinds(model, Plan(tp=2.0), [1.0, 2.0], BF16, terms)
    assert [(kind.layers, kind.token_bytes) for kind in found] == [(1.0, EACH / 2), (2.0, 2 * EACH / 2)]
    assert cache.fixed_bytes(model, Plan(), [3.0, 3.0], 1000.0, BF16, terms) == 0.0
