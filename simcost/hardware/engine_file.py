"""`workloads/engines/<name>.toml`, read by release: a term holds from a release on until a later one restates it.

A file has two parts of the same form: `memory` (`engine_terms`) and `serving` (`engine_serving`). `[<part>.settings]`
says what the engine calls what a user may set, `[[<part>.from]]` holds the terms. Most likely to be wrong: a term
whose default moved in a release that no entry names.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Any

from simcost.errors import SpecError, nearest
from simcost.frozen import frozen
from simcost.hardware import engine_checks, engine_options, engines
from simcost.hardware.engines import ANY, TORCH
from simcost.texts import whole

OF_ANY = "vllm"  # whose terms stand for engine=any and engine=torch
MEMORY, SERVING = "memory", "serving"
VERSION = "version"
NEWEST = "newest"  # the version where none is stated
# What a user may set: of the memory part every engine names all; of the serving part those that it has.
SETTINGS = {
    MEMORY: ("share", "tokens", "sequences", "block"),
    SERVING: ("stream_interval", "receive_interval", "prefix_cache", "chunked", "mixed", "overlap", "reserved_output"),
}
OWN = (
    "host_step",
    "host_request",
    "host_token",
    "host_delay",
)  # no engine has an option for them: the same name stands for all
OPPOSITE = "disable_"  # names of flags that begin with it say the opposite
_TERMS = {
    MEMORY: (engine_checks.TERMS, engine_checks.OPTIONAL),
    SERVING: (engine_checks.SERVING, engine_checks.SERVING_OPTIONAL),
}
_HEAD = ("version", "models")


@frozen
class About:
    """What terms ask of a model: its `model_type`, whether it has routed experts, a vision tower, layers that keep a state in place of keys and values."""

    family: str = ""
    experts: bool = False
    tower: bool = False
    states: bool = False


def whose(engine: str) -> str:
    """The engine whose terms stand for an engine: its own, or those of `OF_ANY` for "any" and "torch"."""
    return OF_ANY if engine in (ANY, TORCH) else engine


def at(engine: str, part: str, version: str, about: About) -> tuple[dict[str, Any], dict[str, str]]:
    """(terms, sources) of a release ("newest": all entries): of each term the latest that is not newer. An entry may
    be of dense models alone."""
    found: dict[str, Any] = {}
    for entry in _part(engine, part)[1]:
        if entry.get("models") == "dense" and about.experts:
            continue
        if version == NEWEST or numbers(entry["version"]) <= numbers(version):
            found |= {name: term for name, term in entry.items() if name not in _HEAD}
    sources = {name: str(term.get("source") or f"assumed: {term['reason']}") for name, term in found.items()}
    return found, sources


def entries(engine: str, part: str) -> tuple[Mapping[str, Any], ...]:
    """The entries of a part in the order of their versions."""
    return _part(engine, part)[1]


def setting_names(engine: str, part: str = MEMORY) -> Mapping[str, str]:
    """Setting -> what the engine calls it."""
    own = {name: name for name in OWN} if part == SERVING else {}
    return {**{setting: _name(said) for setting, said in _part(engine, part)[0].items()}, **own}


def scale(engine: str, setting: str) -> Mapping[str, float] | None:
    """Word -> number of a setting of the serving part that takes words; None of one that takes a number or true and
    false."""
    said = _part(engine, SERVING)[0].get(setting)
    return said.get("words") if isinstance(said, Mapping) else None


def setting_of(name: str) -> str:
    """The setting that engines call so, or `name` where none does."""
    both = [(engine, part) for engine in engines.names() for part in SETTINGS]
    of = {said: setting for engine, part in both for setting, said in setting_names(engine, part).items()}
    return of.get(name, name)


def known_settings() -> tuple[str, ...]:
    """Every name that some engine has, and `version`."""
    both = [(engine, part) for engine in engines.names() for part in SETTINGS]
    return (VERSION, *dict.fromkeys(name for engine, part in both for name in setting_names(engine, part).values()))


def stated(asked: str, part: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """{setting: value as it was given} of the settings of one part, and `version`, checked. Raises SpecError for a
    name that the engine has in no part."""
    engine = whose(asked)
    of = {each: {name: setting for setting, name in setting_names(engine, each).items()} for each in SETTINGS}
    found: dict[str, Any] = {}
    for name, value in settings.items():
        if name == VERSION:
            found[VERSION] = checked_version(engine, value)
        elif name in of[part]:
            found[of[part][name]] = value
        elif not any(name in names for names in of.values()):
            allowed = (VERSION, *(known for names in of.values() for known in names))
            who = (
                engines.title(engine)
                if asked == engine
                else f"engine={asked} uses the settings of {engines.title(engine)}, which"
            )
            raise SpecError(f"{who} has no engine.{name} (it has {', '.join(allowed)}){nearest(name, allowed)}")
    return found


def checked_version(engine: str, value: Any) -> str:
    """A release as text. Raises SpecError where it does not begin with a number, or where that number is two or more
    above that of the `newest`: no engine leaves one out."""
    text = str(value).lower().removeprefix("v")
    if not re.match(r"\d{1,9}(?!\d)", text):
        raise SpecError(f"engine.version must begin with a number (0.19.0), not {value!r}")
    last = newest(engine)
    if numbers(text)[0] > numbers(last)[0] + 1:
        raise SpecError(
            f"engine.version: {engines.title(engine)} has no release {text}: the newest that is known is {last}"
        )
    return text


def newest(engine: str) -> str:
    """The newest release that the files of an engine name: of an entry, or of its options."""
    found = [str(entry["version"]) for part in SETTINGS for entry in entries(engine, part)]
    return max((*found, engine_options.load(engine).version), key=numbers)


def numbers(version: str) -> tuple[int, ...]:
    """(0, 10, 1) of "0.10.1rc2": what releases are ordered by."""
    found = []
    for part in version.split("."):
        digits = re.match(r"\d+", part)
        if digits is None or whole(digits[0]) is None:
            break
        found.append(int(digits[0]))
        if digits[0] != part:
            break
    return tuple(found)


def _name(said: Any) -> str:
    return str(said["name"] if isinstance(said, Mapping) else said)


@cache
def _part(engine: str, part: str) -> tuple[Mapping[str, Any], tuple[Mapping[str, Any], ...]]:
    """(names of settings, entries by release) of a part of an engine's file, checked. Raises SpecError naming file
    and key."""
    file, table = f"engines/{engine}.toml", engines.table(engine).get(part)
    if not isinstance(table, Mapping) or not isinstance(table.get("settings"), Mapping) or not table.get("from"):
        raise SpecError(f"{file}: needs [{part}.settings] and [[{part}.from]]")
    _check_names(table["settings"], part, file)
    terms, optional = _TERMS[part]
    found = tuple(table["from"])
    for entry in found:
        version = str(entry.get("version", ""))
        if not numbers(version):
            raise SpecError(f"{file}: an entry of {part}.from needs a version")
        if entry.get("models", "dense") != "dense":
            raise SpecError(f"{file}: {part} from {version}: models = {entry['models']!r} must be 'dense'")
        for name, term in entry.items():
            if name not in _HEAD:
                engine_checks.check(f"{file}: {part} from {version}: '{name}'", name, term, terms)
    if [numbers(entry["version"]) for entry in found] != sorted(numbers(entry["version"]) for entry in found):
        raise SpecError(f"{file}: entries of {part}.from must be in the order of their versions")
    missing = [name for name in terms if name not in found[0] and name not in optional]
    if missing:
        raise SpecError(f"{file}: the first entry of {part}.from has no {', '.join(missing)}")
    return table["settings"], found


def _check_names(named: Mapping[str, Any], part: str, file: str) -> None:
    """Raises SpecError for a setting that is unknown or, of memory, missing, and for a name that is none."""
    allowed = SETTINGS[part]
    if part == MEMORY and set(named) != set(allowed):
        raise SpecError(f"{file}: [memory.settings] must name {', '.join(allowed)}")
    for setting, said in named.items():
        if setting not in allowed:
            raise SpecError(f"{file}: [{part}.settings] '{setting}' is unknown{nearest(setting, allowed)}")
        if not isinstance(said, str):
            engine_checks.check_words(f"{file}: [{part}.settings] '{setting}'", said)
