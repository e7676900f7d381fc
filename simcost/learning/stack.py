"""`workloads/rl-stacks/<name>.toml`: what a framework of reinforcement learning adds to its passes, as numbers with a
source or a reason.

Most likely to be wrong: all of them: they are orders of magnitude from how such a framework works, and fitted on no
row.
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
TERMS = ("host_phase_s", "host_answer_s", "host_tensor_s", "host_spread")


@frozen
class Framework:
    """Times of the host [s]: of a phase, of each answer of a step, of each tensor that is sent; `host_spread`: sigma of
    their log. `says`: source or reason of each. `old_log_probs`: "always", or "needed": left out where one update follows fresh answers."""

    name: str
    title: str
    host_phase_s: float
    host_answer_s: float
    host_tensor_s: float
    host_spread: float
    says: Mapping[str, str]
    old_log_probs: str = NEEDED


def names() -> list[str]:
    """Those that ship."""
    return sorted(path.stem for path in (folder("workloads") / "rl-stacks").glob("*.toml"))


def load(name: str) -> Framework:
    """A framework by name, or by the path of a file. Raises SpecError for an unknown name and a malformed file."""
    path = folder("workloads") / "rl-stacks" / f"{name}.toml"
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
        if key not in known:
            raise SpecError(f"{where}: unknown key '{key}' (known: {', '.join(known)}){nearest(key, known)}")
    for key in known:
        if key not in table:
            raise SpecError(f"{where}: '{key}' is missing")
    if table["schema"] != SCHEMA:
        raise SpecError(f"{where}: 'schema' = {table['schema']!r}, and this version reads {SCHEMA}")
    values, says = {}, {}
    for key in (*TERMS, "old_log_probs"):
        entry = table[key]
        said = entry.get("source", entry.get("reason")) if isinstance(entry, Mapping) else None
        if not isinstance(said, str) or not said.strip() or "value" not in entry:
            raise SpecError(f"{where}: '{key}' must be {{ value = ..., reason = ... }}, or source = ...")
        value, says[key] = entry["value"], said
        if key not in TERMS:
            if value not in OLD:
                raise SpecError(f"{where}: '{key}.value' = {value!r} must be one of {', '.join(OLD)}")
            continue
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0.0 <= value < float("inf"):
            raise SpecError(f"{where}: '{key}.value' = {value!r} must be a number, not negative")
        values[key] = float(value)
    return Framework(
        name=name, title=str(table["title"]), says=says, old_log_probs=table["old_log_probs"]["value"], **values
    )
