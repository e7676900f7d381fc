"""Every number and flag of a config changed one at a time, and what the reader makes of each change.

A change must move an answer, or be named as without effect, or be refused with a line that names its key. Configs are read as a user's own are: as a mapping that is handed over.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping
from dataclasses import fields
from enum import StrEnum
from functools import cached_property
from typing import Any

from simcost import hf
from simcost.errors import SimcostError
from simcost.model import load
from simcost.model.classes.family import families
from simcost.model.given import given
from simcost.model.spec import ModelSpec
from simcost.provenance import Kind
from tests.mutation import answers

Path = tuple[str | int, ...]
NO_EFFECT = (Kind.UNUSED, Kind.NO_EFFECT)


class Verdict(StrEnum):
    """Of one change. The first three are as it should be."""

    MOVED = "moves an answer"
    NAMED = "is named, and moves none"
    REFUSED = "is refused by a line that names it"
    ASTRAY = "is refused by a line that does not name it"
    SILENT = "moves nothing, and nothing says so"
    DENIED = "is said to have no effect, and moves an answer"


FAULTS = (Verdict.DENIED, Verdict.ASTRAY, Verdict.SILENT)


def numbers(table: Any, every: bool, at: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Paths of all numbers, flags, and lists of them. Of lists of tables each one where `every`, else one of each set of keys and values' kinds."""
    items = table.items() if isinstance(table, Mapping) else enumerate(table)
    seen: set[str] = set()
    for key, value in items:
        path = (*at, key)
        if isinstance(value, (Mapping, list)) and isinstance(table, list) and not every:
            shape = re.sub(r"[\d.]+", "0", repr(value))
            if shape in seen:
                continue
            seen.add(shape)
        if isinstance(value, Mapping) or (isinstance(value, list) and any(isinstance(v, Mapping) for v in value)):
            yield from numbers(value, every, path)
        elif isinstance(value, (bool, int, float)) or (isinstance(value, list) and _leaves(value)):
            yield path, value


def _leaves(value: Any, at: Path = ()) -> list[Path]:
    """Places of the numbers in a nested list; the empty one of a plain number."""
    if isinstance(value, list):
        return [leaf for i, v in enumerate(value) for leaf in _leaves(v, (*at, i))]
    return [at] if isinstance(value, (bool, int, float)) else []


def changes(value: Any) -> Iterator[tuple[Path, Any]]:
    """(place in the value, other value): doubled, halved and one more, or the other truth value; of a list the first and the last number, one at a time."""
    places = _leaves(value)
    for place in dict.fromkeys((places[0], places[-1])):
        old = value
        for step in place:
            old = old[step]
        for new in dict.fromkeys(_others(old)):
            if new != old:
                yield place, new


def _others(old: Any) -> list[Any]:
    if isinstance(old, bool):
        return [not old]
    if isinstance(old, float):
        return [old * 2, old / 2] if old else [0.5]
    return [old * 2, old // 2, old + 1]


def changed(config: Mapping[str, Any], path: Path, value: Any) -> dict[str, Any]:
    """The config with one value replaced."""
    out: Any = copy.deepcopy(dict(config))
    table = out
    for key in path[:-1]:
        table = table[key]
    table[path[-1]] = value
    return out


def stands(config: Mapping[str, Any], path: Path) -> bool:
    """Whether a config states the key of a path."""
    table: Any = config
    for key in path:
        if isinstance(key, str) and not (isinstance(table, Mapping) and key in table):
            return False
        table = table[key]
    return True


class Base:
    """A config as it stands, and judgements of what changes in it."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.config = dict(config)
        self.spec = read(config)
        self.family = family(config)

    @cached_property
    def content(self) -> list[Any]:
        return content(self.spec)

    @cached_property
    def answers(self) -> answers.Answers:
        return answers.Answers(self.config, self.spec)

    def judge(self, path: Path, value: Any) -> Verdict:
        """What becomes of one change."""
        names = Names(path, self.family)
        config = changed(self.config, path, value)
        try:
            spec = read(config)
        except SimcostError as error:
            return Verdict.REFUSED if names.in_text(str(error)) else Verdict.ASTRAY
        same = content(spec) == self.content
        if same or not self.answers.differ(answers.Answers(config, spec)):
            return Verdict.NAMED if names.told(spec) or names.told(self.spec) else Verdict.SILENT
        denied = names.denied(spec) and (names.denied(self.spec) or not stands(self.config, path))
        return Verdict.DENIED if denied else Verdict.MOVED

    def pair(self, path: Path, value: Any, every: bool) -> dict[Verdict, Any]:
        """Verdicts on all changes of a value, each with a value that has it; unless `every` the first that moves an answer ends it."""
        found: dict[Verdict, Any] = {}
        for place, new in changes(value):
            verdict = self.judge((*path, *place), new)
            found.setdefault(verdict, new)
            if verdict is Verdict.MOVED and not every:
                break
        return found


def settled(found: Mapping[Verdict, Any]) -> Verdict:
    """One verdict of all changes of a value. One that passes in silence is no fault where another moves or is named: limits saturate, and a 2 is as true as a 1."""
    order = (Verdict.DENIED, Verdict.ASTRAY, Verdict.MOVED, Verdict.NAMED, Verdict.SILENT, Verdict.REFUSED)
    return next(verdict for verdict in order if verdict in found)


def family(config: Mapping[str, Any]) -> str:
    """The type of the language model of a config."""
    inner = next((config[name] for name in hf.MODELS if isinstance(config.get(name), Mapping)), config)
    return str(inner.get("model_type", config.get("model_type", "")))


def read(config: Mapping[str, Any]) -> ModelSpec:
    """A config as a user hands it over."""
    return load.load(given(config))


_APART = ("name", "notes", "unused", "scalar_keys", "read", "changes")  # of a spec: what no number is made of


def content(spec: ModelSpec) -> list[Any]:
    """All of a spec that answers are made of."""
    return [getattr(spec, f.name) for f in fields(spec) if f.name not in _APART]


class Names:
    """How answers may call a key: its own spelling or the reader's, alone or behind its tables."""

    def __init__(self, path: Path, family: str) -> None:
        words = [key for key in path if isinstance(key, str)]
        while len(words) > 1 and words[0] in hf.NESTED:
            words.pop(0)
        own = families().get(family, {}).get("renamed", {})
        table = hf.RENAMED.get(words[0], {})
        self.key = words[-1]
        last = {self.key, hf.canonical(self.key), table.get(self.key, self.key)}
        last |= {own[name] for name in last if name in own}
        self.spelled = last | {alias for name in last for alias in hf.ALIASES.get(name, ())}
        whole = {".".join((*words[:-1], name)) for name in self.spelled} | {table.get(self.key, words[0])}
        self.told_by = whole | {".".join(words[:i]) for i in range(1, len(words))}
        self.tables = words[:-1] if not table else []

    def in_text(self, text: str) -> bool:
        return any(re.search(rf"\b{re.escape(name)}\b", text) for name in self.spelled)

    def denied(self, spec: ModelSpec) -> bool:
        """Whether a model says that the key has no effect."""
        about = {key for note in spec.notes if note.kind in NO_EFFECT for key in note.about}
        return bool(self.told_by & {*spec.unused, *about})

    def told(self, spec: ModelSpec) -> bool:
        """Whether a model names the key, or a table that holds it, in what it says of keys."""
        about = {key for note in spec.notes for key in note.about}
        texts = [note for note in spec.notes if all(table in note for table in self.tables)]
        return self.denied(spec) or bool(self.told_by & about) or any(self.in_text(text) for text in texts)
