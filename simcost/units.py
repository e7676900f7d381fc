"""Quantities at the door: "3.35 TB/s" in, SI floats inside, readable text out. The only home of 1e9 and 2**30."""

from __future__ import annotations

import math
import re

from simcost import texts
from simcost.errors import UnitError, nearest

_SI = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18}
_BINARY = {"Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40}


def _scaled(unit: str, factor: float = 1.0, binary: bool = False) -> dict[str, float]:
    out = {prefix + unit: scale * factor for prefix, scale in _SI.items()}
    if binary:
        out |= {prefix + unit: scale * factor for prefix, scale in _BINARY.items()}
    return out


_UNITS: dict[str, dict[str, float]] = {
    "bytes": _scaled("B", binary=True),
    "bytes_per_s": _scaled("B/s", binary=True) | _scaled("bit/s", 0.125),
    "flops_per_s": _scaled("FLOP/s") | _scaled("OP/s"),
    "hertz": _scaled("Hz"),
    "watts": _scaled("W"),
    "seconds": {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9},
    "duration": {"s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0},
    "usd_per_hour": {"USD/h": 1.0},
    "fraction": {"": 1.0, "%": 0.01},
    "count": {"": 1.0},
    "tokens": {"": 1.0, "k": 1e3, "K": 1e3, "M": 1e6, "B": 1e9, "T": 1e12},
    "training_flops": {"": 1.0} | _scaled("FLOP"),
}
# Wider than any device of the next decades: what lies outside is a slip of the unit.
PLAUSIBLE = {
    "bytes": (1e3, 1e18),
    "bytes_per_s": (1e6, 1e18),
    "flops_per_s": (1e6, 1e21),
    "hertz": (1e6, 1e12),
    "watts": (1e-3, 1e7),
    "usd_per_hour": (1e-6, 1e6),
    "seconds": (1e-12, 1e4),
    "duration": (1e-3, 1e12),
    "count": (1.0, 1e7),
    "fraction": (1e-6, 1.0),
    "tokens": (1e3, 9e15),
    "training_flops": (1e6, 1e32),
}
_SYMBOLS = {
    "bytes": "B", "memory": "B", "bytes_per_s": "B/s", "flops": "FLOP", "flops_per_s": "FLOP/s", "hertz": "Hz", "watts": "W", "seconds": "s", "rate": "1/s",
    "usd": "USD", "usd_per_hour": "USD/h", "joules": "J", "fraction": "fraction", "change": "fraction", "probability": "fraction",
    "duration": "s", "gpu_hours": "h", "count": "count", "parameters": "count", "tokens": "count", "training_flops": "FLOP",
}  # fmt: skip
_QUANTITY = re.compile(r"\s*([-+]?[0-9][0-9_]*\.?[0-9]*(?:[eE][-+]?[0-9]+)?)\s*([^\s0-9]\S*)?\s*\Z")

_COUNT = r"([-+]?[0-9][0-9_]*(?:\.[0-9]+)?(?:[eE][-+]?[0-9]{1,2})?)\s*([kKmM]i?)?"
_KILOS = {"K": 1e3, "Ki": 2.0**10, "M": 1e6, "Mi": 2.0**20}


def parse(text: str, dimension: str, where: str = "value", near: float = 0.0) -> float:
    """A positive SI float from text such as "3.35 TB/s". `near`: a value of the same kind, whose size says which unit was left out.

    Raises UnitError, naming `where`, for a missing or foreign unit, or a value that is not finite and positive.
    """
    table = _UNITS[dimension]
    match = _QUANTITY.match(text)
    if not match:
        raise UnitError(
            f"{where}: cannot read {text!r} as a quantity (write a number and a unit: {_examples(dimension)})"
        )
    value, unit = float(match[1].replace("_", "")), match[2] or ""
    if not unit and unit not in table:
        raise UnitError(f"{where}: {text!r} has no unit: {_with_unit(value, dimension, near)}")
    same = next((one for one in table if one.lower() == unit.lower()), None)
    if unit not in table and same is not None:
        bits = same.replace("B", "bit")
        other = f" for bytes, {match[1]} {bits} for bits" if bits in table and bits != same else ""
        raise UnitError(
            f"{where}: upper and lower case of the unit {unit!r} in {text!r} decide its meaning: write {match[1]} {same}{other}"
        )
    if unit not in table:
        raise UnitError(
            f"{where}: unit {unit!r} in {text!r} is not a unit of {dimension} ({_examples(dimension)}){nearest(unit, table)}"
        )
    result = value * table[unit]
    if not math.isfinite(result) or result <= 0:
        raise UnitError(f"{where}: {text!r} must be finite and greater than 0")
    return result


def respelled(text: str, dimension: str, bits: bool = False) -> str:
    """The quantity with its unit as simcost writes it: "6 TB/s" of "6 tb/s" and "6 TBps", "989 TFLOP/s" of "989 tflops". What is no quantity, and a
    unit whose case decides what it means, stays as it is and is refused where it is parsed: a small b after a capital prefix is a bit by SI ("6 Tb/s"),
    so is any small b where `bits` are usual (networks, whose Gbps are Gbit/s), and mW is no MW."""
    table = _UNITS[dimension]
    match = _QUANTITY.match(text)
    if not match or not match[2] or match[2] in table:
        return text
    unit = re.sub(r"(?i)(fl)?ops(/s)?\Z", r"\1op/s", re.sub(r"Bps\Z", "B/s", match[2]))
    unit = re.sub(r"bps\Z", "bit/s", unit) if bits else unit
    doubtful = "b" in unit and (bits or not unit.islower())
    found = [one for one in table if one.lower() == unit.lower()]
    if len(found) != 1 or (doubtful and "B" in found[0]) or (dimension == "watts" and unit[0] == "m"):
        return text
    return f"{match[1]} {found[0]}"


def whole(text: str, where: str, length: bool) -> float | str:
    """The number of a count such as "64", "4Ki", "1.5k"; what is no number stays text. `length`: of tokens, where k and K mean 1,024 as in the
    "128K" of models' contexts. Raises UnitError for k and M of other counts, which may mean either."""
    if (count := texts.whole(text)) is not None:
        return count
    match = re.fullmatch(_COUNT, text.strip())  # most counts are digits: no run needs the pattern before
    if not match:
        return text
    value, unit = float(match[1].replace("_", "")), (match[2] or "").capitalize()
    if unit in ("K", "M") and not length:
        binary, decimal = (value * _KILOS[unit] for unit in (unit + "i", unit))
        raise UnitError(
            f"{where}: '{match[2]}' in {text!r} may mean multiples of 1,000 or of 1,024: write {match[1]}{unit}i for {binary:,.0f}, or {decimal:.0f}"
        )
    digits = match[1].replace("_", "")
    if not unit and (count := texts.whole(digits.lstrip("+-"))) is not None:
        return -count if digits.startswith("-") else count
    found = value * (_KILOS[unit[:1] + "i"] if unit else 1.0)
    return int(found) if found == found // 1 else found


def symbol(dimension: str) -> str:
    """Unit of an SI value; "" for what has none."""
    return _SYMBOLS.get(dimension, "")


def _with_unit(value: float, dimension: str, near: float) -> str:
    """A hint to whoever left a unit out: the number in SI with one, where that is a value that can be meant; else the unit that comes
    nearest to a known value."""
    low, high = PLAUSIBLE[dimension]
    if low <= value <= high:
        return f"add one, e.g. {show(value, dimension)}"
    if near > 0.0 < value:
        table = _UNITS[dimension]
        unit = min((one for one in table if "bit" not in one), key=lambda one: abs(math.log(value * table[one] / near)))
        return f"write '{value:g} {unit}'"
    return f"add one of {_examples(dimension)}"


def _examples(dimension: str) -> str:
    shown = [u or "plain number" for u in _UNITS[dimension]]
    common = [u for u in shown if u[:1] in "GTM"] or shown
    return ", ".join(common[:4])


def _with_prefix(value: float, unit: str, digits: int) -> str:
    if value == 0:
        return f"0 {unit}"
    for prefix in ("E", "P", "T", "G", "M", "k", ""):
        if abs(value) >= _SI[prefix]:
            return f"{value / _SI[prefix]:.{digits}g} {prefix}{unit}"
    return f"{value:.{digits}g} {unit}"


def show(value: float, dimension: str, digits: int = 4) -> str:
    """Readable text for an SI value; decimal prefixes, "GiB" only for memory capacities given as such."""
    if math.isinf(value) or math.isnan(value):
        return "never" if math.isinf(value) else "n/a"
    if dimension == "bytes":
        return _with_prefix(value, "B", digits)
    if dimension == "memory":  # as engines and drivers print it
        for unit in ("TiB", "GiB", "MiB", "KiB"):
            if abs(value) >= _UNITS["bytes"][unit]:
                return f"{value / _UNITS['bytes'][unit]:,.{digits}g} {unit}"
        return f"{value:,.{digits}g} B"
    if dimension == "bytes_per_s":
        return _with_prefix(value, "B/s", digits)
    if dimension == "flops":
        return _with_prefix(value, "FLOP", digits)
    if dimension == "flops_per_s":
        return _with_prefix(value, "FLOP/s", digits)
    if dimension == "seconds":
        for unit, scale in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
            if abs(value) >= scale or not value:
                return f"{value / scale:.{digits}g} {unit}"
        return f"{value * 1e9:.3g} ns"
    if dimension == "duration":  # of a run: longer than a step
        for unit, scale in (("days", 86400.0), ("h", 3600.0), ("min", 60.0)):
            if abs(value) >= 2.0 * scale:
                return f"{value / scale:,.{digits}g} {unit}"
        return show(value, "seconds", digits)
    if dimension == "gpu_hours":
        return f"{value:,.0f} h" if value >= 100.0 else f"{value:,.3g} h"
    if dimension == "count":
        return f"{value:,.0f}"
    if dimension == "parameters":
        return f"{value / 1e9:,.2f} B" if value >= 1e9 else f"{value / 1e6:,.2f} M"
    if dimension == "tokens":
        for scale, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M")):
            if abs(value) >= scale:
                return f"{value / scale:,.{digits}g} {letter}"
        return f"{value:,.{digits}g}"
    if dimension == "training_flops":
        return f"{value:.2e} FLOP".replace("e+", "e")
    if dimension == "fraction":
        return f"{value * 100:.1f} %"
    if dimension == "change":
        return "0 %" if value == 0 else f"{value * 100:+,.1f} %" if abs(value) < 0.0995 else f"{value * 100:+,.0f} %"
    if dimension == "probability":  # never said to be certain
        return "> 99.9 %" if value > 0.999 else f"{value * 100:.1f} %" if value > 0.99 else f"{value * 100:.0f} %"
    if dimension == "usd":
        if 0.0 < value < 0.0001:
            return f"${value:.{1 - math.floor(math.log10(value))}f}"
        return f"${value:,.0f}" if value >= 100 else f"${value:,.2f}" if value >= 0.0995 else f"${value:.2g}"
    if dimension == "hertz":
        return _with_prefix(value, "Hz", digits)
    if dimension == "usd_per_hour":
        return f"{value:,.4g} USD/h"
    if dimension == "watts":
        return _with_prefix(value, "W", digits)
    if dimension == "joules":
        return _with_prefix(value, "J", digits)
    return f"{value:,.{digits}g}"


def in_millions(low: float, high: float, dimension: str) -> str:
    """Both ends of an interval of money or GPU hours that ends above a million: "$3.87–7.53 M"; "" for another one."""
    before, after = {"usd": ("$", ""), "gpu_hours": ("", " h")}.get(dimension, ("", None))
    if after is None or high < 1e6:
        return ""
    ends = (f"{end:,.0f}" if end >= 100.0 else f"{end:.3g}" for end in (low / 1e6, high / 1e6))
    return f"{before}{'–'.join(ends)} M{after}"
