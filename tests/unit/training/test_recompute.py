"""What `plan.recompute` says, and what layers keep by it."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simcost.errors import SpecError
from simcost.passes.saved import MODULES
from simcost.training.recompute import Recompute, parse


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("none", Recompute()),
        ("full", Recompute(every=1)),
        ("full:4", Recompute(every=4)),
        ("block:4", Recompute(every=1, first=4.0)),
        ("layernorm+mla_up_proj", Recompute(("layernorm", "mla_up_proj"))),
        *((name, Recompute((name,))) for name in MODULES),
    ],
)
def test_words(text: str, wanted: Recompute) -> None:
    assert parse(text) == wanted


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("all", "not one of none, full, full:4, block:4"),
        ("layernorms", "did you mean 'layernorm'"),
        ("block", "4 layers of a virtual stage"),
        ("full:", "every 4 layers keep one input"),
        ("full:0", "every 4 layers keep one input"),
        ("block:x", "4 layers of a virtual stage"),
        ("moe+moe", "twice"),
        ("none+moe", "'none' is not one of"),
        ("", "'' is not one of"),
    ],
)
def test_refusals_are_a_line_with_what_is_allowed(text: str, says: str) -> None:
    with pytest.raises(SpecError) as refused:
        parse(text)
    assert says in str(refused.value)
    assert f"plan.recompute={text}" in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "layers", "kept"),
    [
        ("none", 10.0, 10 * 100.0),
        ("full", 10.0, 10 * 7.0),
        ("full:4", 10.0, 3 * 7.0),  # of layers 0-3, 4-7 and 8-9 the first one's input
        ("block:4", 10.0, 6 * 100.0 + 4 * 7.0),
        ("block:40", 10.0, 10 * 7.0),
    ],
)
def test_what_ten_layers_keep(text: str, layers: float, kept: float) -> None:
    assert parse(text).kept_bytes(layers, whole=100.0, entry=7.0) == kept


@given(st.integers(1, 12), st.integers(1, 40), st.floats(1.0, 1e9), st.floats(0.0, 1.0))
def test_more_layers_to_an_input_keep_less_and_have_more_alive(
    every: int, layers: int, whole: float, part: float
) -> None:
    one, more = (Recompute(every=each) for each in (every, every + 1))
    entry = part * whole
    assert more.kept_bytes(layers, whole, entry) <= one.kept_bytes(layers, whole, entry) <= layers * whole
    assert more.live_bytes(whole) >= one.live_bytes(whole) >= whole
    assert one.layers(layers) == layers
    assert Recompute(every=every, first=math.inf).layers(layers) == layers
