"""`hwprofiles/<name>/profile.toml` -> Device. Text with units in, SI out; every fact needs its source, every assumption
its reason. `hw.path=value` overrides take the same units, or "x1.5" for a multiple."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from simcost import settings, units
from simcost.dtypes import names as dtype_names
from simcost.errors import SpecError, nearest, plain
from simcost.files import folder, state
from simcost.hardware import links, power_table, price_table, prices, runs
from simcost.hardware.names import find as find
from simcost.hardware.names import names as names
from simcost.hardware.names import reading as reading
from simcost.hardware.names import spelled as spelled
from simcost.hardware.price_use import USE, used
from simcost.hardware.profile import POWER, Device
from simcost.num import Num
from simcost.settings.device import habit
from simcost.texts import toml_table

ASSUMED = tuple(key.removeprefix("assumed.") for key in settings.of("hw") if key.startswith("assumed."))
_OF_ENERGY = tuple(f"power_{name}" for name in POWER)  # a device without them has no energy
_NEEDS_LINK = {
    "link_efficiency": "scaleup",
    "hop_latency": "scaleup",
    "scaleout_efficiency": "scaleout",
    "scaleout_hop_latency": "scaleout",
    "host_efficiency": "host",
}
_TOTAL = f"price.{prices.TOTAL}"
SCHEMA = 1
_FLAGS = {"true": 1.0, "1": 1.0, "1.0": 1.0, "false": 0.0, "0": 0.0, "0.0": 0.0}
_TOP = (
    "schema",
    "name",
    "title",
    "aliases",
    "vendor",
    "notes",
    "sources",
    "peak",
    "memory",
    "compute",
    "links",
    "power",
    "price",
    "assumed",
    "measurements",
)


_OF_A_FACT = ("value", "source", "reason", "note", "assumed", "low", "high")
CHOICES = ("measurements", USE)  # of rows and of a price: words, and no facts of a device


def respelled(path: str, value: str) -> str:
    """A quantity of a profile's key with its unit as simcost writes it; what is none stays as it is. Bits are usual for links."""
    kind = settings.of("hw").get("peak.<format>" if path.startswith("peak.") else path)
    if kind is None or kind.kind in (settings.NAME, settings.FLAG):
        return value
    return units.respelled(value, kind.kind, bits=path.startswith("links."))


@lru_cache(maxsize=256)
def _parsed(path: Path, content: tuple[int, ...]) -> dict[str, Any]:
    """`content`: what tells it from what the file was before."""
    return toml_table(path)


def read(name: str) -> tuple[str, dict[str, Any]]:
    """(where, tables) of a profile as written, the tables a copy. Raises SpecError for one that is missing or no TOML."""
    path = find(name)
    where = f"{path.parent.name}/profile.toml" if folder("hwprofiles") in path.parents else str(path)
    return where, copy.deepcopy(_parsed(path, state(path)))


def load(name: str, overrides: Mapping[str, Any] | None = None) -> Device:
    """The device of a profile, by name or path. `overrides`: dotted path -> value with unit, or "x1.5". Raises SpecError naming
    file, key and value."""
    home, stated = find(name), dict(overrides or {})
    if (use := stated.pop(USE, None)) is not None:
        if _TOTAL in stated:
            raise SpecError(f"'hw.{USE}' and 'hw.{_TOTAL}' both set the price of a device: set one of them")
        return used(load(name, stated), str(use), f"hw.{USE}")
    only = stated.get("measurements")
    if folder("hwprofiles") in home.parents and stated.keys() <= {"measurements"} and isinstance(only, str | None):
        return shipped(home.parent.name, only)
    return _loaded(name, stated)


def _loaded(name: str, overrides: Mapping[str, Any]) -> Device:
    where, tables = read(name)
    if tables.get("schema") != SCHEMA or isinstance(tables["schema"], bool):
        raise SpecError(f"{where}: schema must be {SCHEMA}, not {tables.get('schema')!r}")
    aliases = tables.get("aliases", [])
    if not isinstance(aliases, list) or not all(isinstance(one, str) for one in aliases):
        raise SpecError(f"{where}: 'aliases' must be a list of strings, not {aliases!r}")
    for key in tables:
        if key not in _TOP:
            raise SpecError(f"{where}: unknown key '{key}'{nearest(key, _TOP)}")
    stated = facts(tables, where)
    asked = price_table.read(tables, where)
    only = overrides.get("measurements")
    for path, value in overrides.items():
        if path != "measurements":
            stated[path] = override(path, value, stated, where)
    home = find(name)
    measured, like = _measurements(home, tables, only, where)
    changed = any(path != "measurements" for path in overrides)
    base = load(name, None if only is None else {"measurements": only}) if changed else None
    sibling = None if like is None else shipped(like)
    return replace(
        _device(tables, stated, where),
        home=str(home),
        measurements=measured,
        tables="" if only not in (None, runs.TABLES) else runs.tables(home),
        base=base,
        sibling=sibling,
        sibling_spread=_spread(tables, where),
        price=prices.Price(stated[_TOTAL]) if _TOTAL in overrides else prices.usual(asked),
        prices=asked,
        power_ends=power_table.ends(tables["assumed"], overrides, where),
    )


def _spread(tables: Mapping[str, Any], where: str) -> float:
    """Sigma of the log that a sibling's rows are wrong by."""
    stated = _table(tables, "measurements", where)
    if "like" not in stated:
        if "spread" in stated:
            raise SpecError(
                f"{where}: 'measurements.spread' states the error of a similar device, but 'measurements.like' names no device"
            )
        return 0.0
    value = stated.get("spread")
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0.0 < value <= 5.0:
        raise SpecError(
            f"{where}: 'measurements.spread' = {value!r} must be a number in (0, 5]: the error of a similar device"
        )
    return float(value)


@cache
def shipped(name: str, measurements: str | None = None) -> Device:
    """The device of a shipped profile without overrides, or with those rows alone, read once."""
    return _loaded(name, {} if measurements is None else {"measurements": measurements})


def _measurements(home: Path, tables: Mapping[str, Any], only: Any, where: str) -> tuple[tuple[str, ...], str | None]:
    """(folders of rows in the order in which they answer, the sibling to borrow from). `only`: one run, or none."""
    stated = _table(tables, "measurements", where)
    for key in stated:
        if key not in ("use", "like", "spread", "reason"):
            raise SpecError(
                f"{where}: unknown key 'measurements.{key}'{nearest(key, ('use', 'like', 'spread', 'reason'))}"
            )
    found = runs.beside(home)
    like = stated.get("like")
    if like is not None and (like not in names() or not isinstance(stated.get("reason"), str)):
        raise SpecError(f"{where}: 'measurements.like' must name a shipped profile and come with a reason")
    if only == "none":
        return (), None
    if only == runs.TABLES:
        return (), like
    use = stated.get("use")
    if use is not None and not (isinstance(use, list) and all(isinstance(run, str) for run in use)):
        raise SpecError(f"{where}: 'measurements.use' = {use!r} must be a list of names of runs")
    return runs.ordered(found, use if only is None else [only], where), like


def dimension(path: str, where: str) -> str:
    """The kind of unit that a path takes ("bytes", "flops_per_s"). Raises SpecError for a path that no profile has."""
    known = settings.of("hw")
    peaks = ["peak." + name for name in (*dtype_names(), "fp4")]
    if path in peaks:
        return known["peak.<format>"].kind
    if path in known and path not in CHOICES:
        return known[path].kind
    if path == "assumed.memory_reserve":
        raise SpecError(
            f"{where}: '{path}' no longer exists: memory that an engine keeps free follows from its own settings (--set engine.gpu_memory_utilization=0.9; "
            "simcost show memory names all terms)"
        )
    close = habit(path) or nearest(path, [*known, *peaks]) or "; `simcost keys hw` lists them"
    raise SpecError(f"{where}: no hardware key '{path}'{close}")


def facts(tables: Mapping[str, Any], where: str) -> dict[str, Num]:
    """Every stated number by its dotted path, in SI. Raises SpecError for one without source or reason, of a wrong unit, or out
    of any plausible range."""
    for table in ("peak", "memory", "sources", "assumed"):
        if not isinstance(tables.get(table), Mapping):
            raise SpecError(f"{where}: missing table [{table}]")
    found: dict[str, Num] = {}
    sources = tables["sources"]
    for path, entry in entries(tables, where):
        value = entry.get("value")
        kind_of_price = path.removeprefix("price.") in prices.KINDS
        if path.startswith("assumed."):
            if not isinstance(entry.get("reason"), str) or not entry["reason"].strip():
                raise SpecError(f"{where}: '{path}' has no reason")
        elif not isinstance(entry.get("source"), str) or entry["source"] not in sources:
            raise SpecError(f"{where}: '{path}' has no source in [sources]")
        if kind_of_price:  # `prices.read` reads it
            continue
        kind = dimension(path, where)
        found[path] = _plausible(_si(value, kind, f"{where}: '{path}'"), kind, f"{where}: '{path}' = {value}")
        if kind == "count" and float(np.max(found[path])) % 1.0:
            raise SpecError(f"{where}: '{path}' = {value} must be a whole number")
    usual = prices.usual(price_table.read(tables, where))
    return found if usual is None else {**found, _TOTAL: usual.usd}


def entries(tables: Mapping[str, Any], where: str) -> list[tuple[str, Mapping[str, Any]]]:
    """(dotted path, table) of every fact and assumption as written. Raises SpecError for one that is no table with a value."""
    found = []
    for table in ("peak", "memory", "compute", "power", "price", "assumed"):
        found += [(f"{table}.{key}", entry) for key, entry in _table(tables, table, where).items()]
    for tier, link in _table(tables, "links", where).items():
        for key, entry in _table({tier: link}, tier, where).items():
            if key not in ("name", "topology"):
                found.append((f"links.{tier}.{key}", entry))
    for path, entry in found:
        if not isinstance(entry, Mapping) or "value" not in entry:
            raise SpecError(
                f"{where}: '{path}' must be {{ value = ..., {'reason' if path.startswith('assumed') else 'source'} = ... }}"
            )
        known = (*_OF_A_FACT, *prices.OF_A_PRICE) if path.startswith("price.") else _OF_A_FACT
        for key in entry:
            if key not in known:
                raise SpecError(f"{where}: unknown key '{path}.{key}'{nearest(key, known)}")
    return found


def _table(tables: Mapping[str, Any], name: str, where: str) -> Mapping[str, Any]:
    value = tables.get(name, {})
    if not isinstance(value, Mapping):
        raise SpecError(f"{where}: [{name}] must be a table")
    return value


def _si(value: Any, dimension: str, where: str, near: float = 0.0) -> Num:
    if dimension == settings.FLAG:
        found = _FLAGS.get(str(value).strip().lower())
        if found is None:
            raise SpecError(f"{where}: must be true or false (1 or 0), not {value!r}")
        return found
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise SpecError(f"{where}: {value!r} is not a quantity")
    return units.parse(str(value), dimension, where, near)


def override(path: str, value: Any, stated: Mapping[str, Num], where: str) -> Num:
    """The SI value of `hw.path=value`: a quantity with its unit, "x1.5" of what `stated` has, or an array of SI values. Raises
    SpecError for anything else, and for a value out of any plausible range."""
    if isinstance(value, np.ndarray):
        return value
    text, at = str(value).strip(), f"hw.{path}"
    kind = dimension(path, at)
    if text[:1] in ("x", "X", "*") and kind != settings.FLAG:
        if path not in stated:
            raise SpecError(f"{at}={text}: {where} has no value of '{path}' to multiply")
        found = stated[path] * units.parse(text[1:], "count", f"{at}: factor")
    else:
        found = _si(respelled(path, text), kind, at, float(np.max(np.asarray(stated.get(path, 0.0)))))
    return _plausible(found, kind, f"{at}={text}")


def _plausible(value: Num, kind: str, at: str) -> Num:
    if kind == settings.FLAG:
        return value
    low, high = units.PLAUSIBLE[kind]
    if not (low <= float(np.min(value)) and float(np.max(value)) <= high):
        allowed = "(0, 1]" if kind == "fraction" else f"{units.show(low, kind)} to {units.show(high, kind)}"
        raise SpecError(f"{at}: must be in {allowed}")
    return value


def _device(tables: Mapping[str, Any], facts: Mapping[str, Num], where: str) -> Device:
    if not isinstance(tables.get("title", ""), str):
        raise SpecError(f"{where}: 'title' must be a string, not {tables['title']!r}")
    for path in ("memory.capacity", "memory.bandwidth"):
        if path not in facts:
            raise SpecError(f"{where}: missing '{path}'")
    name = tables.get("name")
    if not isinstance(name, str) or not name:
        raise SpecError(f"{where}: missing 'name'")
    notes = tables.get("notes", [])
    if not isinstance(notes, list) or not all(isinstance(note, str) for note in notes):
        raise SpecError(f"{where}: 'notes' must be a list of strings")
    stated = _table(_table(tables, "links", where), "scaleup", where)
    return Device(
        plain(name),
        plain(tables.get("title", name)),
        {key[5:]: value for key, value in facts.items() if key.startswith("peak.")},
        facts["memory.capacity"],
        facts["memory.bandwidth"],
        links.scaleup(stated, facts, where),
        facts.get("links.scaleout.bandwidth"),
        facts.get("power.tdp"),
        None,
        _assumed(facts, where),
        where,
        shipped,
        tuple(str(note) for note in notes),
        facts.get("compute.l2"),
        sm_count=facts.get("compute.sm_count"),
        host=facts.get("links.host.bandwidth"),
        capacity_assumed=_assumed_capacity(tables, facts, where),
    )


def _assumed_capacity(tables: Mapping[str, Any], facts: Mapping[str, Num], where: str) -> str:
    """Why the stated capacity is no logged one; "" where it is, or where an override replaced it."""
    entry = tables["memory"]["capacity"]
    stated = _si(entry["value"], "bytes", where)
    return str(entry.get("assumed", "")) if np.all(np.asarray(facts["memory.capacity"]) == stated) else ""


def _assumed(facts: Mapping[str, Num], where: str) -> dict[str, Num]:
    """What is assumed of a device, whole: an assumption about a link is needed where the link is there."""
    found = {key[8:]: value for key, value in facts.items() if key.startswith("assumed.")}
    for key in ASSUMED:
        link = _NEEDS_LINK.get(key)
        needed = key not in _OF_ENERGY and (link is None or f"links.{link}.bandwidth" in facts)
        if needed and key not in found:
            raise SpecError(f"{where}: missing 'assumed.{key}'")
    return found
