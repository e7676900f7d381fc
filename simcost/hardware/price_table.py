"""The `[price]` table of a profile -> prices by kind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from simcost import units
from simcost.errors import SpecError
from simcost.hardware.prices import KEYS, KINDS, Price


def read(tables: Mapping[str, Any], where: str) -> dict[str, Price]:
    """Prices of a profile by their keys, in the order in which they answer. Raises SpecError naming file and key for one that is no
    price, out of any plausible range, or has ends that do not hold it."""
    stated = tables.get("price", {})
    return {key: _price(key, stated[key], tables["sources"], f"{where}: 'price.{key}") for key in KEYS if key in stated}


def _price(key: str, entry: Mapping[str, Any], sources: Mapping[str, Any], at: str) -> Price:
    value, low, high = (_usd(entry[end], f"{at}.{end}'") if end in entry else None for end in ("value", "low", "high"))
    if (low is None) != (high is None):
        raise SpecError(f"{at}': low and high must be given together")
    if value is None or not (low or value) <= value <= (high or value):
        raise SpecError(
            f"{at}': low = {entry['low']}, value = {entry['value']}, high = {entry['high']} must be in this order: low <= value <= high"
        )
    for word in ("date", "kind"):
        if not isinstance(entry.get(word, ""), str):
            raise SpecError(f"{at}.{word}' must be a text, not {entry[word]!r}")
    if key in KINDS and not entry.get("date"):
        raise SpecError(f"{at}' has no date")
    said = KINDS.get(key) or entry.get("kind", "")
    return Price(
        value, low, high, key if key in KINDS else "", said, entry.get("date", ""), str(sources[entry["source"]])
    )


def _usd(value: Any, at: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise SpecError(f"{at} = {value!r} is not a price: write it as '2.50 USD/h'")
    found = units.parse(str(value), "usd_per_hour", at)
    low, high = units.PLAUSIBLE["usd_per_hour"]
    if not low <= found <= high:
        raise SpecError(
            f"{at} = {value}: must be in {units.show(low, 'usd_per_hour')} to {units.show(high, 'usd_per_hour')}"
        )
    return found
