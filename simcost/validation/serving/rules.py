"""`workloads/validation/serving/rules.toml`: how rows of the silicon sample are read, as rules with reasons.

A rule has a name, a match, what it gives and why. A match holds where each of its keys fits one of the values
that a measurement has for it: copies of one measurement in several files may state several. Most likely to be
wrong: a rule whose evidence is that times agree.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any

from simcost.errors import SpecError, nearest
from simcost.files import folder
from simcost.frozen import frozen
from simcost.texts import toml_table

SCHEMA = 1
FAMILIES = ("dense", "GQA-MoE", "MLA", "hybrid/sparse")
UNSTATED, CONTRADICTORY, SUSPECT = "unstated", "contradictory", "suspect"
KINDS = (UNSTATED, CONTRADICTORY, SUSPECT)
# What the rules of a section give, and of which type.
SECTIONS: Mapping[str, Mapping[str, type]] = {
    "model": {"model": str, "family": str},
    "checkpoint": {"format": str, "set": dict},
    "cache": {"kv_dtype": str},
    "plan": {"tp": int, "ep": int, "dp_attention": int},
    "version": {"version": str},
    "lengths": {"shortest": float, "per_request": int},
    "launch": {"tokens": dict, "sequences": dict, "share": float, "stream": int},
    "receive": {"steps": int},
    "speculative": {"tokens": int},
    "apart": {"kind": str},
    "ttft": {},
    "peer": {"path": str, "modes": dict},
    "story": {},
}
SIZES = ("isl", "osl", "concurrency", "plus", "least")  # terms of a size of a launch
COLUMN = "tp"  # as a size of a plan: what the column tp_size says
_MAY_LACK = ("set", "modes", "sequences", "share", "stream", "launch.tokens")
_WORDS = {("model", "family"): FAMILIES, ("apart", "kind"): KINDS}
# What a measurement has for a match: columns of the file, parts of its note, and what earlier sections decided.
# `pools`: stated or unstated; `pool`: of which a plan is, prefill or decode.
KEYS = (
    "path", "engine", "version", "image", "day", "config", "source", "system", "precision", "gemm", "mode", "isl",
    "osl", "concurrency", "columns", "pools", "pool", "model", "family", "format", "tp", "ep", "dp_attention",
)  # fmt: skip

Facts = Mapping[str, Sequence[Any]]


@frozen
class Rule:
    """match: by key; gives: by key of its section."""

    section: str
    name: str
    match: Mapping[str, Any]
    gives: Mapping[str, Any]
    why: str

    def holds(self, facts: Facts) -> bool:
        """Whether every key of the match fits one of a measurement's values."""
        return all(any(_fits(want, value) for value in facts.get(key, ("",))) for key, want in self.match.items())


Rules = Mapping[str, tuple[Rule, ...]]


def home() -> Path:
    """The folder of the data that ships."""
    return folder("workloads") / "validation" / "serving"


@cache
def shipped() -> Rules:
    """The rules that ship."""
    return read(home() / "rules.toml")


@cache
def stories() -> tuple[Rule, ...]:
    """Stories of rows that predictions miss, by rules that say of which."""
    return read(home() / "stories.toml")["story"]


def read(path: Path) -> Rules:
    """The rules of a file by section. Raises SpecError naming file, section and rule."""
    table = toml_table(path)
    if table.pop("schema", None) != SCHEMA:
        raise SpecError(f"{path.name}: schema must be {SCHEMA}")
    for name in table:
        if name not in SECTIONS:
            raise SpecError(f"{path.name}: unknown section '{name}'{nearest(name, SECTIONS)}")
    return {name: _section(path.name, name, table.get(name, [])) for name in SECTIONS}


def found(rules: Rules, section: str, facts: Facts) -> Rule | None:
    """The first rule of a section that holds."""
    return next((rule for rule in rules[section] if rule.holds(facts)), None)


def _section(file: str, section: str, tables: Any) -> tuple[Rule, ...]:
    if not isinstance(tables, list) or not all(isinstance(each, dict) for each in tables):
        raise SpecError(f"{file}: write each rule as [[{section}]]")
    rules = tuple(_rule(file, section, dict(each)) for each in tables)
    names = [rule.name for rule in rules]
    if twice := {name for name in names if names.count(name) > 1}:
        raise SpecError(f"{file}: [[{section}]] has two rules named '{min(twice)}'")
    return rules


def _rule(file: str, section: str, table: dict[str, Any]) -> Rule:
    at = f"{file}: [[{section}]] {table.get('name', '')!r}"
    name, match, why = (table.pop(key, None) for key in ("name", "match", "why"))
    if not (name and isinstance(name, str)) or not (why and isinstance(why, str)) or not isinstance(match, dict):
        raise SpecError(f"{at}: a rule has a name, a match and a why")
    for key in match:
        if key not in KEYS:
            raise SpecError(f"{at}: unknown key '{key}' of match{nearest(key, KEYS)}")
    asked = SECTIONS[section]
    for key in table:
        if key not in asked:
            raise SpecError(f"{at}: unknown key '{key}' (keys: {', '.join(asked) or 'none'}){nearest(key, asked)}")
    for key, kind in asked.items():
        if key not in table and {key, f"{section}.{key}"} & {*_MAY_LACK}:
            continue
        value = table.get(key)
        if type(value) is not kind and (section, value) != ("plan", COLUMN):
            raise SpecError(f"{at}: {key} = {value!r} must be of type {kind.__name__}")
        if section == "launch" and isinstance(value, dict):
            _check_size(value, f"{at}: {key}")
        words = _WORDS.get((section, key))
        if words and value not in words:
            raise SpecError(f"{at}: {key} = {value!r} is not one of {', '.join(words)}{nearest(str(value), words)}")
    return Rule(section, name, match, table, why)


def _check_size(form: Mapping[str, Any], at: str) -> None:
    for key, value in form.items():
        if key not in SIZES:
            raise SpecError(f"{at} has no '{key}' ({', '.join(SIZES)}){nearest(key, SIZES)}")
        if isinstance(value, bool) or not isinstance(value, (int, float)) or value < 0:
            raise SpecError(f"{at}: {key} = {value!r} must be a number, 0 or more")


def _fits(want: Any, value: Any) -> bool:
    if isinstance(want, list):
        return any(_fits(each, value) for each in want)
    if isinstance(want, dict):
        low, high = (want.get(key) for key in ("from", "to"))
        return not isinstance(value, str) and (low is None or value >= low) and (high is None or value <= high)
    if isinstance(want, str) and isinstance(value, str):
        return fnmatchcase(value, want)
    return bool(want == value)


def size(form: Mapping[str, Any], of: Mapping[str, float]) -> float:
    """A size of a launch: what `plus` says and so many times each of `of`, at least `least`."""
    terms = (float(form.get(key, 0)) * value for key, value in of.items())
    return max(float(form.get("plus", 0)) + sum(terms), float(form.get("least", 0)))


def counts(rules: Rules, used: Callable[[str, str], int]) -> list[tuple[Rule, int]]:
    """Every rule with how many measurements it decided, by `used(section, name)`."""
    return [(rule, used(section, rule.name)) for section, each in rules.items() for rule in each]
