"""What a reader must know of the price of a device (which it is, how far it ranges, of what kind it is and when it was seen; and where there is
none), and of its power."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from simcost.cost import power
from simcost.hardware.prices import END, KIND, KINDS, USUAL, Price
from simcost.hardware.profile import POWER, Device
from simcost.num import Num, is_scalar
from simcost.provenance import Kind, Note
from simcost.units import show


def of(device: str, price: Price | None, asked: bool) -> list[Note]:
    """Notes of the price by which $ are told. `device`: its name; asked: whether the question states it as a number."""
    if price is None:
        return [Note(f"{device}: no price with a source, so no $; set one with --price USD_PER_HOUR", Kind.MISSING)]
    if not is_scalar(price.usd):
        return [Note(f"{device}: price per GPU hour as varied", Kind.ORIGIN)]
    said = f"{device}: price {price.usd:,.4g} USD per GPU hour"
    if asked:
        return [Note(f"{said} (--price)", Kind.ORIGIN)]
    if price.low is not None and price.high is not None:
        said += f", from {price.low:,.4g} to {price.high:,.4g}"
    found = [Note(f"{said} ({price.words or 'profile'}; --price sets another)", Kind.ORIGIN)]
    if unlike(price):
        text = f"{device}: its price is of another kind than that of the other devices ({KINDS[price.kind]}, not {KINDS[USUAL]}): {price.usd:,.4g} USD per GPU hour, {price.date}"
        found.append(Note(text, Kind.TRANSFERRED))
    elif price.kind and price.low is None and price.asked != END:
        found.append(Note(f"{device}: one price found, so no range of $", Kind.MISSING))
    return found


def unlike(price: Price | None) -> str:
    """The kind of a price that no other device's compares with, in words; "" for the usual kind, for one that was asked for, and where nobody said."""
    if price is None or not price.kind or price.kind == USUAL or price.asked == KIND:
        return ""
    return str(KINDS[price.kind])


def first_of_another_kind(hw: Sequence[str], prices: Mapping[str, Price | None]) -> tuple[str, int | None]:
    """Of rows ranked by $, best first (their devices): the kind of price by which the first stands there, "" where it is the usual one; and the
    place of the first row that is priced by the usual kind."""
    kind = unlike(prices.get(hw[0])) if hw else ""
    usual = (at for at, name in enumerate(hw) if name in prices and not unlike(prices[name]))
    return kind, next(usual, None) if kind else None


_WHILE = {
    "compute": "while compute limits it",
    "memory": "while memory does",
    "waiting": "on links and between kernels",
}


def energy(device: Device) -> list[Note]:
    """By which shares of its TDP the energy of a device is told, with their ranges; or why it is not."""
    middle, low, high = (power.shares(device, end) for end in (None, 0, 1))
    if device.tdp is None:
        return []
    if middle is None or low is None or high is None:
        lacking = ", ".join(f"assumed.power_{name}" for name in POWER if f"power_{name}" not in device.assumed)
        return [Note(f"{device.name}: no energy: the profile states no {lacking}", Kind.MISSING)]
    if not all(map(is_scalar, (device.tdp, *middle.values()))):
        return [Note(f"{device.name}: energy is assumed, by shares of the TDP as varied", Kind.ORIGIN)]
    said = [f"{_share(middle[name])} {_WHILE[name]} ({_share(low[name])} to {_share(high[name])})" for name in POWER]
    text = f"{device.name}: energy is assumed: power per GPU, as a share of the TDP of {show(float(device.tdp), 'watts')}, is {', '.join(said)}"
    return [Note(f"{text}; hosts, switches and cooling are not counted", Kind.ORIGIN)]


def _share(value: Num) -> str:
    return f"{float(value):.0%}"
