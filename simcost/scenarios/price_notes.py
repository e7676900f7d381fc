"""What a reader must know of the price of a device: which it is, how far it ranges, of what kind it is and when it was seen; and where there is none."""

from __future__ import annotations

from simcost.hardware.prices import KINDS, USUAL, Price
from simcost.num import is_scalar
from simcost.provenance import Kind, Note


def of(device: str, price: Price | None, asked: bool) -> list[Note]:
    """Notes of the price by which $ are told. `device`: its name; asked: whether the question states it as a number."""
    if price is None:
        return [Note(f"{device}: no price with a source, so no $; give one with --price USD_PER_HOUR", Kind.MISSING)]
    if not is_scalar(price.usd):
        return [Note(f"{device}: price a GPU hour as varied", Kind.ORIGIN)]
    said = f"{device}: price {price.usd:,.4g} USD a GPU hour"
    if asked:
        return [Note(f"{said} (--price)", Kind.ORIGIN)]
    if price.low is not None and price.high is not None:
        said += f", from {price.low:,.4g} to {price.high:,.4g}"
    found = [Note(f"{said} ({price.words or 'profile'}; --price sets another)", Kind.ORIGIN)]
    if price.kind and price.kind != USUAL:
        text = f"{device}: $ are of another kind than other devices' ({KINDS[price.kind]}, not {KINDS[USUAL]}): {price.usd:,.4g} USD a GPU hour, {price.date}"
        found.append(Note(text, Kind.TRANSFERRED))
    elif price.kind and price.low is None and price.said == KINDS[price.kind]:
        found.append(Note(f"{device}: one price found, so no range of $", Kind.MISSING))
    return found
