"""What is said of a price: its range, its kind, who stated it; and of energy."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from simcost.hardware import load as hardware
from simcost.hardware.prices import END, KIND, Price
from simcost.provenance import Kind
from simcost.scenarios import price_notes

USUAL = Price(2.5, 1.99, 3.9, "on_demand_neocloud", "on-demand neocloud", "2026-03")
LISTED = Price(12.0, None, None, "on_demand_hyperscaler", "on-demand hyperscaler", "2025-11")


@pytest.mark.parametrize(
    ("price", "asked", "said", "kinds"),
    [
        (None, False, ["x: no price with a source, so no $; set one with --price USD_PER_HOUR"], [Kind.MISSING]),
        (Price(np.array([1.0, 2.0])), False, ["x: price per GPU hour as varied"], [Kind.ORIGIN]),
        (Price(1234.5), True, ["x: price 1,234 USD per GPU hour (--price)"], [Kind.ORIGIN]),
        (Price(2.5), False, ["x: price 2.5 USD per GPU hour (profile; --price sets another)"], [Kind.ORIGIN]),
        (
            USUAL, False,
            ["x: price 2.5 USD per GPU hour, from 1.99 to 3.9 (on-demand neocloud, 2026-03; --price sets another)"], [Kind.ORIGIN],
        ),
        (
            replace(USUAL, low=None, high=None), False,
            ["x: price 2.5 USD per GPU hour (on-demand neocloud, 2026-03; --price sets another)", "x: one price found, so no range of $"],
            [Kind.ORIGIN, Kind.MISSING],
        ),
        (
            LISTED, False,
            [
                "x: price 12 USD per GPU hour (on-demand hyperscaler, 2025-11; --price sets another)",
                "x: its price is of another kind than that of the other devices (on-demand hyperscaler, not on-demand neocloud): "
                "12 USD per GPU hour, 2025-11",
            ],
            [Kind.ORIGIN, Kind.TRANSFERRED],
        ),
    ],
)  # fmt: skip
def test_a_price_is_told_with_all_that_is_known_of_it(
    price: Price | None, asked: bool, said: list[str], kinds: list[Kind]
) -> None:
    found = price_notes.of("x", price, asked)
    assert [str(note) for note in found] == said
    assert [note.kind for note in found] == kinds


def test_an_end_that_was_asked_for_lacks_no_range_and_a_kind_that_was_is_compared() -> None:
    alone = replace(USUAL, low=None, high=None, asked=END)
    assert len(price_notes.of("x", alone, False)) == 1
    assert price_notes.unlike(LISTED) == "on-demand hyperscaler"
    assert [price_notes.unlike(each) for each in (replace(LISTED, asked=KIND), USUAL, Price(3.0), None)] == [""] * 4


def test_a_ranking_by_money_names_a_first_row_of_another_kind() -> None:
    prices = {"cheap": LISTED, "usual": USUAL, "free": Price(1.0), "unknown": None}
    assert price_notes.first_of_another_kind(["cheap", "unknown", "usual"], prices) == ("on-demand hyperscaler", 1)
    assert price_notes.first_of_another_kind(["cheap", "cheap", "usual"], prices) == ("on-demand hyperscaler", 2)
    assert price_notes.first_of_another_kind(["cheap"], prices) == ("on-demand hyperscaler", None)
    assert price_notes.first_of_another_kind(["usual", "cheap"], prices) == ("", None)
    assert price_notes.first_of_another_kind([], prices) == ("", None)


def test_energy_is_told_by_shares_of_the_tdp_with_their_ranges() -> None:
    device = hardware.load("h100")
    (note,) = price_notes.energy(device)
    assert "as a share of the TDP of 700 W, is " in note
    assert note.count(" to ") == 3  # while arithmetic, memory, or neither limits it
    assert price_notes.energy(replace(device, tdp=None)) == []
    less = {name: value for name, value in device.assumed.items() if name != "power_waiting"}
    (missing,) = price_notes.energy(replace(device, assumed=less))
    assert str(missing) == "h100: no energy: the profile states no assumed.power_waiting"
    (varied,) = price_notes.energy(replace(device, tdp=np.array([500.0, 700.0])))
    assert str(varied) == "h100: energy is assumed, by shares of the TDP as varied"
