"""Money and energy from time: closed forms, and units that cancel."""

from __future__ import annotations

import numpy as np
import pytest

from simcost.cost.price import joules_per_token, usd_per_million


def test_a_device_for_an_hour_costs_its_price() -> None:
    # A million tokens in an hour on one device of 3 USD.
    assert usd_per_million(3600.0, 1e6, 1.0, 3.0) == pytest.approx(3.0)
    assert usd_per_million(3600.0, 1e6, 8.0, 3.0) == pytest.approx(24.0)
    assert usd_per_million(1800.0, 1e6, 1.0, 3.0) == pytest.approx(1.5)


def test_twice_the_tokens_in_the_same_time_cost_half_each() -> None:
    few, many = (usd_per_million(0.02, tokens, 8.0, 2.5) for tokens in (64.0, 128.0))
    assert few == pytest.approx(2 * many)


def test_energy_is_power_by_time_over_tokens() -> None:
    assert joules_per_token(2.0, 100.0, 8.0, 700.0) == pytest.approx(112.0)


def test_a_kilowatt_hour_by_both_roads_costs_alike() -> None:
    """10 devices of 100 W at 0.02 USD an hour each: 0.2 USD a kilowatt-hour."""
    seconds, tokens = 0.05, 40.0
    usd = usd_per_million(seconds, tokens, 10.0, 0.02) / 1e6
    assert usd == pytest.approx(joules_per_token(seconds, tokens, 10.0, 100.0) / 3.6e6 * 0.2)


def test_plans_of_a_list_are_priced_point_by_point() -> None:
    devices = np.array([1.0, 2.0, 8.0])
    assert np.asarray(usd_per_million(1.0, 10.0, devices, 3.6)).tolist() == pytest.approx([100.0, 200.0, 800.0])
