"""`workloads/validation/recipes/rules.toml`: which rows judge what, and what is assumed where a source prints nothing.

Most likely to be wrong: a plan of a recipe file that is not the one of the run. Source: the `why` of each rule.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any

from simcost.errors import SpecError, nearest
from simcost.frozen import frozen
from simcost.texts import toml_table
from simcost.validation.recipes.rows import COLUMNS, Row, home

SCHEMA = 1
STEP, HELD, ORDER, NOTHING = JUDGES = ("step", "held-out", "order", "nothing")
_TEXT, _COUNT, _SHARE, _FLAG, _PLAN = (str,), (int,), (int, float), (bool,), (dict,)
# What an assumption may set, and of which type.
SETS: Mapping[str, tuple[type, ...]] = {
    "framework": _TEXT, "kl": _FLAG, "prompt_len": _COUNT, "prompts": _COUNT, "samples": _COUNT, "minibatches": _COUNT,
    "placement": _TEXT, "asynchrony": _TEXT, "rollout_gpus": _COUNT, "rollout_share": _SHARE, "mean_osl": _COUNT,
    "mean_share_of_cap": _SHARE, "osl_sigma": _SHARE, "rollout": _PLAN, "train": _PLAN, "set": _TEXT, "drop": _TEXT,
    "engine_version": _TEXT, "packing": _FLAG, "micro_batch": _COUNT, "micro_batch_tokens": _COUNT, "stack": _TEXT,
    "gen_holds": _TEXT, "old_logprob_holds": _TEXT, "sync_holds": _TEXT,
}  # fmt: skip
_SECTIONS = ("judge", "assume", "story")


@frozen
class Rule:
    """`judges`: of [[judge]]; `sets`: of [[assume]]."""

    section: str
    name: str
    match: Mapping[str, Any]
    judges: str
    sets: Mapping[str, Any]
    why: str

    def holds(self, row: Row) -> bool:
        """Whether every key of the match fits the row's cell."""
        return all(_fits(want, row.cells[key]) for key, want in self.match.items())


@frozen
class Rules:
    """The rules of a file, in its order."""

    judge: Sequence[Rule]
    assume: Sequence[Rule]
    story: Sequence[Rule]

    def of(self, row: Row) -> Rule:
        """What a row judges. Raises SpecError where no rule holds."""
        found = next((rule for rule in self.judge if rule.holds(row)), None)
        if found is None:
            raise SpecError(f"{row.id}: no rule says what it judges")
        return found

    def assumed(self, row: Row) -> dict[str, tuple[Any, Rule]]:
        """By key: what is assumed of a row, and the rule that says so."""
        found: dict[str, tuple[Any, Rule]] = {}
        for rule in self.assume:
            if rule.holds(row):
                found = {**{key: (value, rule) for key, value in rule.sets.items()}, **found}
        return found

    def told(self, row: Row) -> str:
        """Why predictions miss a row, where somebody found it out."""
        return next((rule.why for rule in self.story if rule.holds(row)), "")


@cache
def shipped() -> Rules:
    """The rules that ship."""
    return read(home() / "rules.toml")


def read(path: Path) -> Rules:
    """The rules of a file. Raises SpecError naming file, section and rule."""
    table = toml_table(path)
    if table.pop("schema", None) != SCHEMA:
        raise SpecError(f"{path.name}: schema must be {SCHEMA}")
    for name in table:
        if name not in _SECTIONS:
            raise SpecError(f"{path.name}: unknown section '{name}'{nearest(name, _SECTIONS)}")
    return Rules(*(tuple(_rule(path.name, name, dict(each)) for each in table.get(name, [])) for name in _SECTIONS))


def _rule(file: str, section: str, table: dict[str, Any]) -> Rule:
    name, match, why = (table.pop(key, None) for key in ("name", "match", "why"))
    at = f"{file}: [[{section}]] {name!r}"
    if not (name and isinstance(name, str)) or not (why and isinstance(why, str)) or not isinstance(match, dict):
        raise SpecError(f"{at}: a rule has a name, a match and a why")
    for key in match:
        if key not in COLUMNS:
            raise SpecError(f"{at}: unknown column '{key}' of match{nearest(key, COLUMNS)}")
    judges = table.pop("judges", "") if section == "judge" else ""
    if section == "judge" and judges not in JUDGES:
        raise SpecError(f"{at}: judges = {judges!r} is not one of {', '.join(JUDGES)}{nearest(str(judges), JUDGES)}")
    sets = table.pop("set", {}) if section == "assume" else {}
    if table:
        raise SpecError(f"{at}: unknown key '{min(table)}'")
    for key, value in sets.items():
        if key not in SETS:
            raise SpecError(f"{at}: unknown key '{key}' of set{nearest(key, SETS)}")
        if type(value) not in SETS[key]:
            raise SpecError(f"{at}: {key} = {value!r} must be of type {SETS[key][-1].__name__}")
    return Rule(section, name, match, judges, sets, why)


def _fits(want: Any, cell: str) -> bool:
    if isinstance(want, list):
        return any(_fits(each, cell) for each in want)
    return fnmatchcase(cell, str(want))
