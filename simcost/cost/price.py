"""Money and energy from time: rented devices by the hour, and their power."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from simcost.cost.cost import PRICE, Cost
from simcost.hardware.prices import END, USUAL, Price
from simcost.num import Z90, Num

LOW, HIGH = "_price_low", "_price_high"
# The most over the least price of a device, taken where one price alone was found: the middle of the on-demand prices of the ten devices of
# which five providers or more were found in 2025 and 2026 (1.7 to 3.9; the [price] tables of hwprofiles).
ONE_PRICE = 2.0
# The same where a price of another kind stands in for an on-demand price of a GPU cloud: of devices that have both, nine of ten hyperscalers'
# prices are 1.3 to 3.9 times it, marketplaces' 0.4 to 1.0, reserved ones 0.5 to 1.0, and estimates of papers lie at 0.5 and 0.8 of those of sister parts.
OTHER_KIND = 5.0


def usd_per_million(seconds: Num, tokens: Num, devices: Num, usd_per_hour: Num) -> Num:
    """USD for a million tokens when `tokens` take `seconds` on `devices`. [USD]"""
    return seconds * devices * usd_per_hour / 3600.0 / tokens * 1e6


def joules_per_token(seconds: Num, tokens: Num, devices: Num, watts: Num) -> Num:
    """Energy of a token, where every device draws so many watts. [J]"""
    return seconds * devices * watts / tokens


def paid(own: Price | None, usd_per_hour: Num | None) -> Price | None:
    """What a device costs: as a question says, else as its profile does."""
    return own if usd_per_hour is None else Price(usd_per_hour)


def is_money(name: str) -> bool:
    """Whether a metric of this name is in proportion to the price of a device, and is no end of an interval."""
    return "usd" in name.split("_") and not name.endswith(("_low", "_high"))


def with_range(found: Mapping[str, Any], price: Price | None) -> dict[str, Any]:
    """Metrics with, behind each that is money, what it is at the least and the most that was found of the price: by the price alone, at the
    expected time. The same where one price alone is known."""
    if price is None or price.low is None or price.high is None:
        return dict(found)
    both: dict[str, Any] = {}
    for name, value in found.items():
        both[name] = value
        if is_money(name) and value is not None and not isinstance(value, str):
            both |= {name + LOW: value * (price.low / price.usd), name + HIGH: value * (price.high / price.usd)}
    return both


def sigma(price: Price | None) -> float:
    """Sigma of the log of a price, for comparisons of money: the range that was found is read as the 90 % interval of a price that is log-normal, and
    `ONE_PRICE` stands where one price alone was found, `OTHER_KIND` where a price of another kind stands in. 0 for a price that a user states without a range,
    and for an end that he asks for."""
    if price is None or price.asked == END or not (price.kind or price.low is not None):
        return 0.0
    if price.kind and price.kind != USUAL and not price.asked:
        return float(np.log(OTHER_KIND) / (2.0 * Z90))
    ends = ONE_PRICE if price.low is None or price.high is None or price.high == price.low else price.high / price.low
    return float(np.log(ends) / (2.0 * Z90))


def unsure(cost: Cost, device: str, price: Price | None) -> Cost:
    """The same time with the price of a device as one more source of error, which is wholly common on one device. `device`: its name."""
    return cost.unsure(f"{device}: {PRICE}", sigma(price)) if sigma(price) else cost
