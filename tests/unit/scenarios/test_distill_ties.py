"""Which variants of a distillation are tied: parts that two share tell nothing of their order, others by hand."""

from __future__ import annotations

from math import log, sqrt
from typing import Any

import pytest

from simcost.cost.cost import PRICE
from simcost.hardware.prices import Price
from simcost.num import Z90
from simcost.scenarios.distill import ties
from simcost.scenarios.distill.ties import Part

PAID = Price(2.0)  # a user's: no range


def part(name: str, hours: float, ratio: float = 1.0, hw: str = "h100", price: Price | None = PAID) -> Part:
    """Hours at a rate whose 90 % interval is `ratio` to either side."""
    return Part(name, hours, (100.0 / ratio, 100.0 * ratio), hw, price)


def test_a_part_is_as_unsure_as_its_rate() -> None:
    """A factor of 1.3 to either side is Z90 standard deviations of the log: of 100 h so many hours."""
    found = ties.cost([part("writes", 100.0, 1.3), part("trains", 50.0)], None)
    assert found.seconds == 150.0
    assert found.spread["writes"] == pytest.approx(100.0 * log(1.3) / Z90)
    assert found.spread["trains"] == 0.0
    money = ties.cost([part("writes", 100.0, 1.3), part("trains", 50.0)], 300.0)
    assert money.seconds == 300.0
    assert money.spread["writes"] == pytest.approx(2.0 * 100.0 * log(1.3) / Z90)
    assert money.spread[f"h100: {PRICE}"] == 0.0  # as the user states it


def test_the_price_of_a_device_moves_all_its_parts_together() -> None:
    """From 1 to 4 USD is a factor of 2 to either side, of both parts of h100; b200 has its own."""
    ranged = Price(2.0, 1.0, 4.0, "on_demand_neocloud")
    parts = [part("a", 10.0, price=ranged), part("b", 30.0, price=ranged), part("c", 5.0, hw="b200", price=Price(6.0))]
    found = ties.cost(parts, 110.0)
    assert found.spread[f"h100: {PRICE}"] == pytest.approx(2.0 * 40.0 * log(4.0) / (2.0 * Z90))
    assert found.spread[f"b200: {PRICE}"] == 0.0


def marked(**variants: list[Part]) -> dict[str, Any]:
    costs = {name: ties.cost(parts, None) for name, parts in variants.items()}
    rows: list[Any] = [{"variant": name} for name in variants]
    ties.mark(rows, costs, min(costs, key=lambda name: float(costs[name].seconds)))
    return {row["variant"]: row for row in rows}


def test_what_both_share_cancels() -> None:
    """1,000 unsure hours of both, and 10 sure ones of the second: the error is a share of 1 of the one and 100 / 101 of the
    other, so that log(1.01) is 4.1 deviations of log(1.5) / Z90 / 101. With a part of its own it is not sure."""
    shared = part("trains", 1000.0, 1.5)
    found = marked(less=[shared], more=[shared, part("writes", 10.0)])
    assert found["less"]["best_or_tied"] is True
    assert found["less"]["probability_behind"] is None
    assert (found["more"]["best_or_tied"], found["more"]["probability_behind"]) == (
        False,
        pytest.approx(0.999977, abs=1e-6),
    )
    apart = marked(less=[part("a", 1000.0, 1.5)], more=[part("b", 1010.0, 1.5)])
    assert apart["more"]["best_or_tied"] is True
    # log(1.01) against two independent errors of log(1.5) / Z90 each: little more than a coin.
    sigmas = log(1.01) / (sqrt(2.0) * log(1.5) / Z90)
    assert apart["more"]["probability_behind"] == pytest.approx(0.5 + sigmas / sqrt(2.0 * 3.14159265), abs=1e-4)


def test_equal_variants_are_tied() -> None:
    found = marked(one=[part("a", 10.0)], other=[part("a", 10.0)])
    assert found["other"]["best_or_tied"] is True
    assert found["other"]["probability_behind"] == 0.5
