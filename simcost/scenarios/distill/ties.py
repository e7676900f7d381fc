"""Which variants of a distillation cannot be told from the cheapest one.

Variants share their parts: where two use one part alike, its error moves both alike and tells nothing of their order. Errors of two parts count as
independent, though some lean on the same curves: then more is tied. Most likely to be wrong: just that. Source: `simcost.cost.cost.ratio_deviation`.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import log

from simcost.cost.cost import PRICE, Cost, probability_less, tied
from simcost.cost.price import sigma
from simcost.frozen import frozen
from simcost.hardware.prices import Price
from simcost.num import Z90
from simcost.result import Row, number

_SAME: Mapping[str, float] = {}  # of no part do variants run other kernels


@frozen
class Part:
    """GPU-hours of a part of a variant; ends: of the 90 % interval of its rate, low and high; hw, price: of its device."""

    name: str
    hours: float
    ends: tuple[float, float]
    hw: str
    price: Price | None


def cost(parts: list[Part], usd: float | None) -> Cost:
    """What a variant costs, in USD of which the parts and the prices of their devices are unsure, or in GPU-hours where `usd` is None."""
    spread: dict[str, float] = {}
    for part in parts:
        each = 1.0 if usd is None or part.price is None else float(part.price.usd)
        found = {part.name: log(part.ends[1] / part.ends[0]) / (2.0 * Z90)}
        if usd is not None:
            found[f"{part.hw}: {PRICE}"] = sigma(part.price)
        for source, of in found.items():
            spread[source] = spread.get(source, 0.0) + part.hours * each * of
    return Cost(compute_s=sum(part.hours for part in parts) if usd is None else usd, spread=spread)


def mark(rows: list[Row], costs: Mapping[str, Cost], best: str) -> None:
    """Tells each row how surely it is behind the cheapest, and whether it is that one or tied with it."""
    for row in rows:
        name = row["variant"]
        behind = None if name == best else number(probability_less(costs[best], costs[name], differ=_SAME))
        row |= {"probability_behind": behind, "best_or_tied": bool(tied(costs[name], costs[best], differ=_SAME))}
