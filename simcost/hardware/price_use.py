"""`--price` and `hw.price.use`: which price of a device answers. An end of its range, another kind, or a table of the user's own.

A table is a CSV of `device,usd_per_hour` with, where they are known, `low`, `high`, `kind`, `date` and `source`; a device is named as
commands name it. Most likely to be wrong: the ends of a range, which are the cheapest and the dearest provider that was found and no bounds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from simcost import units
from simcost.errors import SpecError, nearest, plain
from simcost.files import is_file, state
from simcost.hardware import names
from simcost.hardware.prices import END, KIND, KINDS, TOTAL, Price
from simcost.hardware.profile import Device
from simcost.num import is_scalar
from simcost.texts import csv_dicts, number, text

USE = "price.use"
ENDS = ("low", "typical", "high")
WORDS = (*ENDS, *KINDS)
_COLUMNS, _NEEDED = ("device", "usd_per_hour", "low", "high", "kind", "date", "source"), ("device", "usd_per_hour")
_ROWS = 10_000
_MOST = units.PLAUSIBLE["usd_per_hour"][1]
_PATHS = (f"hw.{USE}", f"hw.price.{TOTAL}")


def used(device: Device, use: str, at: str = "--price") -> Device:
    """The device at another of its prices. `use`: an end of the usual price's range, a key of KINDS, or a CSV file. Raises SpecError
    for what is none of them, for a kind that the profile lacks, and for a device that the file lacks."""
    check(use, at)
    word = use.strip()
    if word in ENDS:
        return replace(device, price=_end(device.price, word))
    if word in KINDS:
        if word not in device.prices:
            has = ", ".join(device.prices) or "no price"
            raise SpecError(f"{at} {word}: {device.name} has no price of this kind (it has {has})")
        return replace(device, price=replace(device.prices[word], asked=KIND))
    return replace(device, price=of_file(Path(word), device.name, at))


def stated(price: Any, at: str = "--price") -> tuple[float | None, dict[str, str]]:
    """(USD per device and hour, what is set of the device instead) of what is said of a price: one of the two, or neither. Raises
    SpecError for what says none."""
    if price is None:
        return None, {}
    if isinstance(price, str):
        try:
            found = number(price)
        except ValueError:
            check(price, at)
            return None, {f"hw.{USE}": price.strip()}
    elif isinstance(price, (bool, np.bool_)) or not is_scalar(price):
        raise SpecError(f"{at} = {price!r} must be USD per device and hour, above 0")
    else:
        found = float(price)
    if not 0 < found < _MOST:
        raise SpecError(f"{at} = {price} must be USD per device and hour, above 0")
    return found, {}


def priced(sets: Mapping[str, Any], chosen: Mapping[str, str], *others: Mapping[str, Any]) -> Mapping[str, Any]:
    """`sets` with the choice of a price. Raises SpecError where they, or `others`, say another price."""
    for path in (path for path in _PATHS if chosen for table in (sets, *others) if path in table):
        raise SpecError(
            f"--price {next(iter(chosen.values()))} and {path} both set the price of a device: set one of them"
        )
    return {**sets, **chosen}


def check(use: str, at: str = "--price") -> None:
    """Raises SpecError for a word that names no price of any device, and for a file that is none."""
    word = use.strip()
    if word in WORDS:
        return
    if not word.lower().endswith(".csv"):
        raise SpecError(
            f"{at} {plain(use)}: write USD per device and hour, {', '.join(WORDS)}, or a file.csv with the columns {','.join(_NEEDED)}{nearest(word, WORDS)}"
        )
    _table(Path(word), at)


def _end(price: Price | None, word: str) -> Price | None:
    """The price at an end of its range; of one price alone itself. It has no range of its own any more."""
    if price is None or word == "typical":
        return price
    usd = price.low if word == "low" else price.high
    if usd is None:
        return replace(price, said=f"the one {price.said} price found", asked=END)
    name = "lowest" if word == "low" else "highest"
    return replace(price, usd=usd, low=None, high=None, said=f"{name} {price.said} price", asked=END)


def of_file(path: Path, device: str, at: str = "--price") -> Price:
    """The price of a device, by the name of its profile, in a table. Raises SpecError for a file that is none, and for a device that it lacks."""
    found = _table(path, at)
    if device not in found:
        raise SpecError(f"{at} {path}: no row for {device} (it has {', '.join(found)})")
    return found[device]


def _table(path: Path, at: str) -> Mapping[str, Price]:
    if not is_file(path):
        raise SpecError(f"{at} {path}: no such file")
    return _read(path, state(path))


@lru_cache(maxsize=16)
def _read(path: Path, content: tuple[int, ...]) -> Mapping[str, Price]:
    """Prices by the name of the profile. `content`: what tells the file from what it was before."""
    header, rows = csv_dicts(text(path), str(path))
    for name in header:
        if name not in _COLUMNS:
            raise SpecError(
                f"{path}: unknown column '{plain(name)}'{nearest(name, _COLUMNS)} (it takes {', '.join(_COLUMNS)})"
            )
    for name in _NEEDED:
        if name not in header:
            raise SpecError(f"{path}: needs a column '{name}', as in {','.join(_NEEDED)}")
    found: dict[str, Price] = {}
    for line, row in rows:
        _add(found, row, f"{path}: line {line}")
    if not found:
        raise SpecError(f"{path}: has no price in it")
    return found


def _add(found: dict[str, Price], row: Mapping[str, str], at: str) -> None:
    said = {name: plain(value.strip()) for name, value in row.items()}
    device = names.find(said["device"]).parent.name if names.of(said["device"]) else said["device"]
    if device in found:
        raise SpecError(f"{at}: {device} appears twice")
    if len(found) >= _ROWS:
        raise SpecError(f"{at}: more than {_ROWS:,} prices")
    usd, low, high = (_usd(said.get(name, ""), name, at) for name in ("usd_per_hour", "low", "high"))
    if usd is None:
        raise SpecError(f"{at}: '{device}' has no usd_per_hour")
    if (low is None) != (high is None) or not (low or usd) <= usd <= (high or usd):
        raise SpecError(f"{at}: low <= usd_per_hour <= high must hold, and low and high must be given together")
    found[device] = Price(usd, low, high, "", said.get("kind", ""), said.get("date", ""), said.get("source", ""))


def _usd(text: str, name: str, at: str) -> float | None:
    if not text:
        return None
    try:
        found = number(text)
    except ValueError:
        found = math.nan
    if not 0.0 < found < _MOST:
        raise SpecError(f"{at}: {name} = {text!r} must be a number, USD per device and hour, above 0")
    return found
