"""Money and energy from time: rented devices by the hour, energy assumed at TDP."""

from __future__ import annotations

from simcost.num import Num


def usd_per_million(seconds: Num, tokens: Num, devices: Num, usd_per_hour: Num) -> Num:
    """USD for a million tokens when `tokens` take `seconds` on `devices`. [USD]"""
    return seconds * devices * usd_per_hour / 3600.0 / tokens * 1e6


def joules_per_token(seconds: Num, tokens: Num, devices: Num, watts: Num) -> Num:
    """Energy of a token at most: every device draws `watts`, its TDP, all the time. [J]"""
    return seconds * devices * watts / tokens
