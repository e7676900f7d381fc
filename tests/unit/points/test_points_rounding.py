"""Rounding a wish to what a kernel runs: nearest multiples, loads of experts, rows of streams, and the limits of each class."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("torch")

from simcost.calibration.family import families
from simcost.measure.points.point import Kind, kind_of
from simcost.measure.points.rounding import WIDEST_ROW, loaded, realised, row_width, step_of, whole

EXAMPLES = settings(max_examples=150, deadline=None, derandomize=True)
WISH = st.floats(0.01, 20_000.0)


def kind(family: str, *words: str) -> Kind:
    """A kind by its labels in order."""
    return kind_of(family, **dict(zip(families()[family].LABELS, words, strict=True)))


def found(one: Kind, **wish: float) -> dict[str, float]:
    """What a wish becomes, by column."""
    numbers = realised(one, wish)
    assert numbers is not None
    return dict(zip(families()[one.family].NUMBERS, numbers, strict=True))


@EXAMPLES
@given(WISH, st.integers(1, 128))
def test_a_number_becomes_its_nearest_positive_multiple(value: float, step: int) -> None:
    got = whole(value, step)
    near = [step * i for i in (max(int(value // step), 1), int(value // step) + 1)]
    assert got in near
    assert abs(got - value) == min(abs(one - value) for one in near)


@pytest.mark.parametrize(("words", "step"), [
    (("bf16", "bf16", "bf16"), 8), (("fp32", "fp32", "tf32"), 8), (("fp8", "fp8", "fp8"), 16), (("bf16", "int4", "bf16"), 128),
    (("nvfp4", "nvfp4", "nvfp4"), 64), (("mxfp4", "mxfp4", "mxfp4"), 64), (("bf16", "fp8_block", "fp8_block"), 128),
])  # fmt: skip
def test_widths_come_in_whole_rows_of_what_the_narrowest_format_loads(words: tuple[str, ...], step: int) -> None:
    """16 bytes of a 16-bit row, 16 of fp8; whole groups of scales; two fp4 numbers a byte."""
    one = kind("gemm", *words)
    assert step_of(one) == step
    got = found(one, batch=1.0, m=13.2, n=1000.0, k=700.0)
    assert got == {"batch": 1, "m": 13, "n": step * round(1000 / step), "k": step * round(700 / step)}


@EXAMPLES
@given(st.integers(1, 1 << 22))
def test_a_row_of_a_stream_is_the_widest_power_of_two_that_divides(elements: int) -> None:
    widths = [1 << i for i in range(13) if elements % (1 << i) == 0]
    assert row_width(elements) == max(widths)
    assert row_width(elements) <= WIDEST_ROW == 4096


@EXAMPLES
@given(st.integers(1, 64), st.integers(1, 32), st.integers(1, 6), st.integers(0, 32), st.floats(0.5, 20.0))
def test_loads_fall_from_the_busiest_and_stay_within_tokens(
    tokens: int, touched: int, top_k: int, idle: int, load: float
) -> None:
    top_k = min(top_k, touched)
    touched = min(touched, tokens * top_k)
    counts = loaded(tokens * top_k, touched, touched + idle, load, tokens)
    assert sum(counts) == tokens * top_k
    assert list(counts) == sorted(counts, reverse=True)
    assert counts[-1] >= 1
    assert counts[0] <= tokens


@EXAMPLES
@given(st.integers(2, 64), st.integers(2, 32), st.integers(0, 64), st.floats(1.0, 30.0))
def test_the_busiest_expert_has_its_load_where_rows_allow(each: int, touched: int, idle: int, load: float) -> None:
    """The wish in rows, no fewer than an even share and no more than leave every other expert a row."""
    copies, held = each * touched, touched + idle
    most = copies
    wanted = load * copies / held
    (busiest, *_) = loaded(copies, touched, held, load, most)
    if each <= wanted <= copies - touched + 1:
        assert abs(busiest - wanted) <= 0.5
    else:
        assert busiest == (each if wanted < each else copies - touched + 1)


def test_a_single_expert_takes_all() -> None:
    assert loaded(40, 1, 8, 3.0, 40) == (40,)


@EXAMPLES
@given(tokens=WISH, copies=WISH, touched=WISH, experts=st.floats(1.0, 300.0), load=st.floats(1.0, 30.0))
def test_a_layer_of_experts_can_be_routed(
    tokens: float, copies: float, touched: float, experts: float, load: float
) -> None:
    """No token has an expert twice, every touched expert a row, the busiest no more rows than there are tokens."""
    got = found(kind("experts", "bf16", "bf16", "bf16", "gated"), tokens=tokens, copies=min(copies, 8 * max(tokens, 1.0)),
                touched=touched, experts=experts, hidden=1000.0, width=333.0, load=load)  # fmt: skip
    top_k = got["copies"] / got["tokens"]
    assert top_k == int(top_k) >= 1
    assert top_k <= got["touched"] <= min(got["experts"], got["copies"])
    busiest = got["load"] * got["copies"] / got["experts"]
    assert busiest == pytest.approx(round(busiest))
    assert got["copies"] / got["touched"] - 1e-9 <= busiest <= got["tokens"] + 1e-9
    assert (got["hidden"], got["width"]) == (1000, 336)


@EXAMPLES
@given(WISH, st.floats(1.0, 600.0), st.floats(1.0, 16.0), st.sampled_from([1.0, 8.0]), st.floats(1.0, 12.0))
def test_a_router_s_picks_are_in_its_open_groups(
    tokens: float, experts: float, top_k: float, groups: float, opened: float
) -> None:
    got = found(
        kind("router", "sigmoid"), tokens=tokens, experts=experts, top_k=top_k, groups=groups, topk_groups=opened
    )
    assert got["experts"] % got["groups"] == 0
    assert 1 <= got["topk_groups"] <= got["groups"]
    assert 1 <= got["top_k"] <= got["experts"] / got["groups"] * got["topk_groups"]


@EXAMPLES
@given(WISH, st.floats(0.5, 10.0))
def test_every_token_has_as_many_copies(tokens: float, top_k: float) -> None:
    got = found(kind("permute", "permute", "bf16"), tokens=tokens, copies=tokens * top_k, width=1000.0)
    assert got["copies"] % got["tokens"] == 0
    assert got["copies"] >= got["tokens"]
    assert got["width"] == 1000
    narrow = found(kind("permute", "permute", "fp8_block"), tokens=tokens, copies=tokens * top_k, width=1000.0)
    assert narrow["width"] == 1024  # whole groups of 128 share a scale


@EXAMPLES
@given(WISH, WISH)
def test_every_expert_of_a_weight_gradient_has_eight_rows(rows: float, touched: float) -> None:
    got = found(kind("grouped_weight_grad", "bf16", "bf16", "bf16"), rows=rows, touched=touched, n=100.0, k=100.0)
    assert got["rows"] % 8 == 0
    assert got["rows"] >= 8 * got["touched"] >= 8


def core(layout: str, **more: float) -> Any:
    """A wish for a core of ten queries behind twenty tokens."""
    wish = {
        "batch": 2.0,
        "q_len": 10.0,
        "past": 20.0,
        "heads": 8.0,
        "kv_heads": 2.0,
        "d_qk": 128.0,
        "d_v": 128.0,
        "window": 0.0,
    }
    got = realised(kind("attention_prefill", "bf16", "bf16", "bf16", layout, "core"), {**wish, **more})
    return None if got is None else dict(zip(families()["attention_prefill"].NUMBERS, got, strict=True))


@pytest.mark.parametrize(("layout", "wish", "wanted"), [
    ("window", {"window": 29.0}, {"window": 29}), ("window", {"window": 30.0}, None), ("gqa", {"window": 30.0}, {"window": 0}),
    ("window", {"window": 0.3}, None), ("window", {"q_len": 1.0, "window": 8.0}, None),
    ("gqa", {"q_len": 1.0, "window": 8.0}, {"window": 0, "past": 7}),
])  # fmt: skip
def test_a_window_that_hides_nothing_is_none(
    layout: str, wish: dict[str, float], wanted: dict[str, float] | None
) -> None:
    """30 keys in all: a window of 30 hides none; one query behind a window is a shorter context."""
    got = core(layout, **wish)
    assert (got is None) is (wanted is None)
    assert wanted is None or got == {**core("gqa"), "q_len": wish.get("q_len", 10), **wanted}


@EXAMPLES
@given(st.floats(0.5, 200.0), st.floats(0.5, 30.0))
def test_groups_of_heads_are_whole(heads: float, kv: float) -> None:
    got = core("gqa", heads=heads, kv_heads=kv)
    wanted, each = max(round(heads), 1), max(round(kv), 1)
    assert got["kv_heads"] == each
    assert got["heads"] % each == 0
    assert wanted <= got["heads"] < wanted + each


def test_rows_of_a_weight_gradient_are_a_width() -> None:
    for what, m in (("weight", 104), ("input", 101)):
        got = found(kind("gemm_variant", what, "bf16", "bf16", "bf16"), batch=1.0, m=101.2, n=64.0, k=64.0)
        assert got["m"] == m


@pytest.mark.parametrize(("what", "elements"), [("norm", 1000.0), ("quantise", 70.0)])
def test_streams_come_in_rows_of_128(what: str, elements: float) -> None:
    got = found(kind("stream", what, "bf16", "bf16"), elements=elements, reads=2.0, writes=1.0, flops=5.0)
    assert got["elements"] % 128 == 0
    assert abs(got["elements"] - elements) <= 64
    assert math.prod([got["reads"], got["writes"], got["flops"]]) == 10.0
