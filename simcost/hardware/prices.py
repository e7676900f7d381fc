"""What a device costs for an hour: the `[price]` table of a profile.

Prices of several kinds stand side by side, each with what most providers ask and the least and the most that were found.
Answers use one kind for all devices, on-demand prices of GPU clouds ("neoclouds"); a device that nobody rents out so is priced by the next
kind of `KINDS`, and the answer says so. Most likely to be wrong: a price list of last year. Sources: `[sources]` of each profile.
"""

from __future__ import annotations

from collections.abc import Mapping

from simcost.frozen import frozen
from simcost.num import Num

# Kinds in the order in which they answer, by their keys in a profile.
KINDS = {
    "on_demand_neocloud": "on-demand neocloud",
    "on_demand_hyperscaler": "on-demand hyperscaler",
    "marketplace": "marketplace",
    "reserved_1y": "reserved for a year",
    "reserved_3y": "reserved for three years",
    "paper": "estimate in a paper",
}
USUAL = "on_demand_neocloud"
TOTAL = "usd_per_hour"  # of a profile that states one price and no kind
KEYS = (TOTAL, *KINDS)
END, KIND = "end", "kind"
OF_A_PRICE = ("kind", "date")  # beside what every fact may say


@frozen
class Price:
    """Of a device for an hour [USD/h]. low, high: the least and the most that were found, None where one price alone is known; kind: a key
    of KINDS, "" for a price that a user states; said: what it is, in words; date, source: "" where a user states it; asked: whether
    a question named an END of the range, which is then exact, or the KIND."""

    usd: Num
    low: Num | None = None
    high: Num | None = None
    kind: str = ""
    said: str = ""
    date: str = ""
    source: str = ""
    asked: str = ""

    @property
    def words(self) -> str:
        """Of what kind it is and when it was seen: "marketplace, 2026-03"."""
        return ", ".join(part for part in (self.said, self.date) if part)


def usual(prices: Mapping[str, Price]) -> Price | None:
    """The price by which answers are made: the profile's own, else the first kind that there is. None without any."""
    return next((prices[key] for key in KEYS if key in prices), None)
