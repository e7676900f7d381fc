"""Searched zero-bubble orders: the limit of what a rank keeps, and no more idle time than the hand-made orders."""

from __future__ import annotations

import random

import pytest

from simcost.makespan import Times, run
from simcost.schedules import zb_1p, zb_2p, zb_h1, zb_h2
from simcost.schedules._order import FORWARD, INPUT, WEIGHT, Lengths, orders_of, straight


def _drawn(draw: random.Random, ranks: int) -> Lengths:
    lists = [[draw.uniform(0.3, 2.0) for _ in range(ranks)] for _ in range(3)]
    return Lengths(*lists, [draw.uniform(0.1, 1.0) for _ in range(ranks)], draw.choice([0.0, draw.uniform(0.0, 0.3)]))


@pytest.mark.parametrize(("module", "times"), [(zb_1p, 1), (zb_2p, 2)])
def test_no_rank_keeps_more_than_the_limit_and_none_waits_for_ever(module, times) -> None:  # type: ignore[no-untyped-def]
    draw = random.Random(2)
    for _ in range(60):
        ranks, many = draw.randint(1, 8), draw.randint(1, 50)
        lengths = _drawn(draw, ranks)
        found = module.orders(ranks, many, 1, lengths)
        run(found, straight(ranks), Times(lengths.forward, lengths.backward, lengths.weight, None, lengths.hop))
        for rank, order in enumerate(found):
            kept, changes = 0.0, {FORWARD: 1.0, INPUT: lengths.waits[rank] - 1.0, WEIGHT: -lengths.waits[rank]}
            for op in order:
                kept += changes[op.kind]
                assert -1e-6 < kept <= times * ranks + 1e-6
            assert kept == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize(("module", "made"), [(zb_1p, zb_h1), (zb_2p, zb_h2)])
def test_the_search_is_as_good_as_the_order_made_by_hand(module, made) -> None:  # type: ignore[no-untyped-def]
    """At durations in the proportions of a GPT's layers, narrow and wide, with the share of tensors that weight gradients need without flash attention: 32 of 34 + 5 a s / h, with a s / h = 10.7 and 8."""
    for ranks, f, b, w, hop, waits in (
        (8, 1.0, 0.98, 0.5, 0.03, 32 / 87.3),
        (16, 1.0, 0.99, 0.72, 0.03, 32 / 74.0),
    ):
        times = Times([f] * ranks, [b] * ranks, [w] * ranks, None, hop)
        lengths = Lengths(times.forward, times.backward, times.weight, [waits] * ranks, hop)
        searched = run(module.orders(ranks, 3 * ranks, 1, lengths), straight(ranks), times)
        by_hand = run(made.orders(ranks, 3 * ranks, 1), straight(ranks), times)
        assert max(searched.span_s()) <= max(by_hand.span_s()) * (1.0 + 1e-9)


def test_an_order_of_equal_passes_is_searched_where_no_durations_are_known() -> None:
    equal = (1.0,) * 4
    assert orders_of(zb_2p, 4, 12, 1) == zb_2p.orders(4, 12, 1, Lengths(equal, equal, equal, equal))
    assert orders_of(zb_h2, 4, 12, 1, Lengths((9.0,) * 4, equal, equal, equal)) == zb_h2.orders(4, 12, 1)
