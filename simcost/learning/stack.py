"""`workloads/rl-stacks/<name>.toml`: what a framework of reinforcement learning adds to its passes, as numbers with a
source or a reason, or fitted on published steps by `simcost validate recipes --write`.

Most likely to be wrong: terms that no step of a framework measured alone: they are orders of magnitude from how such a
framework works. Source: docs/theory/rl-step.md.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from simcost.errors import SpecError, nearest
from simcost.files import folder, is_file, state
from simcost.frozen import frozen
from simcost.texts import toml_table

SCHEMA = 1
NEEDED, ALWAYS = OLD = ("needed", "always")
FITTED = ("host_decode_s", "host_kernel_s", "step_spread")  # what `simcost validate recipes --write` writes
TERMS = ("host_phase_s", "host_answer_s", "host_tensor_s", "host_spread", *FITTED)
_SAYS = {"command": str, "version": str, "rows": str, "n": int, "families": int, "error": float, "unfitted": float,
         "coverage": float}  # fmt: skip
FIT = "fitted"


@frozen
class Fit:
    """What fitted terms rest on. `rows`: hash of their rows and predictions; `n` steps of so many `families` of models;
    `error`: median |error| of steps by the terms of the other families, `unfitted` without any; `coverage`: share of
    steps inside the 90 % interval of those."""

    command: str
    version: str
    rows: str
    n: int
    families: int
    error: float
    unfitted: float
    coverage: float


@frozen
class Framework:
    """Times of the host [s]: of a phase, of each answer of a step, of each tensor that is sent, of each step of the
    engine, of each kernel that the trainer launches; `host_spread`: sigma of the log of the first three; `step_spread`: by
    which steps differ from predicted ones. `says`: source or reason of each. `old_log_probs`: "always", or "needed": left out where one update follows fresh
    answers. `fit`: of the terms that are fitted."""

    name: str
    title: str
    host_phase_s: float
    host_answer_s: float
    host_tensor_s: float
    host_decode_s: float
    host_kernel_s: float
    host_spread: float
    step_spread: float
    says: Mapping[str, str]
    old_log_probs: str = NEEDED
    fit: Fit | None = None

    @property
    def rests(self) -> str:
        """What its host times rest on, in words."""
        if self.fit is None:
            return "its host times are assumed"
        one = self.fit
        return (
            f"host times of decode and of the trainer's kernels are fitted on {one.n} steps of {one.families} families of"
            f" models (median error of a family by the others {one.error:.0%}, unfitted {one.unfitted:.0%}), the rest assumed"
        )


def home() -> Path:
    """The folder of those that ship."""
    return folder("workloads") / "rl-stacks"


def names() -> list[str]:
    """Those that ship."""
    return sorted(path.stem for path in home().glob("*.toml"))


def load(name: str) -> Framework:
    """A framework by name, or by the path of a file. Raises SpecError for an unknown name and a malformed file."""
    path = home() / f"{name}.toml"
    if not os.path.isfile(path):
        path = Path(name)
    if not is_file(path):
        raise SpecError(f"--framework {name}: unknown (one of {', '.join(names())}, or a file){nearest(name, names())}")
    return _read(path, state(path))


@lru_cache(maxsize=64)
def _read(path: Path, content: tuple[int, ...]) -> Framework:
    """`content`: what tells it from what the file was before."""
    return read(toml_table(path), path.stem, str(path))


def read(table: Mapping[str, Any], name: str, where: str) -> Framework:
    """The framework of a table. Raises SpecError, which names file and key."""
    known = ("schema", "title", *TERMS, "old_log_probs")
    for key in table:
        if key not in (*known, FIT):
            raise SpecError(f"{where}: unknown key '{key}' (known: {', '.join(known)}){nearest(key, known)}")
    for key in known:
        if key not in table:
            raise SpecError(f"{where}: '{key}' is missing")
    if table["schema"] != SCHEMA:
        raise SpecError(f"{where}: 'schema' = {table['schema']!r}, and this version reads {SCHEMA}")
    fit = _fit(table[FIT], where) if FIT in table else None
    values, says = {}, {}
    for key in (*TERMS, "old_log_probs"):
        value, says[key] = _entry(table[key], key, where)
        if says[key] == FIT and (key not in FITTED or fit is None):
            raise SpecError(f"{where}: '{key}' is marked as fitted, but no table [{FIT}] states on which data")
        if key not in TERMS:
            if value not in OLD:
                raise SpecError(f"{where}: '{key}.value' = {value!r} must be one of {', '.join(OLD)}")
            continue
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0.0 <= value < float("inf"):
            raise SpecError(f"{where}: '{key}.value' = {value!r} must be a number, not negative")
        values[key] = float(value)
    if fit is not None and not any(says[key] == FIT for key in FITTED):
        raise SpecError(f"{where}: [{FIT}] states the data of fitted terms, but no term is marked as fitted")
    title, old = str(table["title"]), table["old_log_probs"]["value"]
    return Framework(name=name, title=title, says=says, old_log_probs=old, fit=fit, **values)


def _entry(entry: Any, key: str, where: str) -> tuple[Any, str]:
    """(value, source or reason); of `like`: that of another framework that ships."""
    said = entry.get("source", entry.get("reason")) if isinstance(entry, Mapping) else None
    named = [name for name in ("value", "like") if isinstance(entry, Mapping) and name in entry]
    if not isinstance(said, str) or not said.strip() or len(named) != 1:
        raise SpecError(
            f"{where}: '{key}' must be {{ value = ..., reason = ... }}, or source = ...; or like = another framework"
        )
    if named == ["value"]:
        return entry["value"], said
    other = entry["like"]
    if key not in TERMS or other not in names():
        raise SpecError(f"{where}: '{key}.like' = {other!r} is not a known framework{nearest(str(other), names())}")
    table = toml_table(home() / f"{other}.toml")
    if "value" not in table[key]:
        raise SpecError(f"{where}: '{key}.like' = {other!r} has no value of its own")
    return table[key]["value"], said


def _fit(table: Any, where: str) -> Fit:
    if not isinstance(table, Mapping) or set(table) != set(_SAYS):
        raise SpecError(f"{where}: [{FIT}] has {', '.join(_SAYS)}")
    for key, kind in _SAYS.items():
        if type(table[key]) is not kind:
            raise SpecError(f"{where}: '{FIT}.{key}' = {table[key]!r} must be of type {kind.__name__}")
    return Fit(**table)
