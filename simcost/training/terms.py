"""Data files of training (`workloads/precisions`, `workloads/optimizers`): tables of terms, each a value with its
source, or with the reason for which it is assumed.

Most likely to be wrong: a term that a later release of a framework states otherwise; its source names the release or
the paper that it is of.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from simcost.dtypes import Dtype, dtype
from simcost.errors import SpecError, nearest
from simcost.files import folder, is_file
from simcost.frozen import frozen
from simcost.sharding.shard import ROLES
from simcost.texts import toml_table

SCHEMA = 1
NONE = "none"
_HEAD = ("schema", "name", "title")
T = TypeVar("T")
Reader = Callable[[Any, str], Any]


def names(kind: str) -> list[str]:
    """Names of the files of a kind ("precisions", "optimizers") that ship, sorted."""
    return sorted(path.stem for path in (folder("workloads") / kind).glob("*.toml"))


@frozen
class File:
    """A file's name and title, its terms and tables of terms, and what errors call it."""

    name: str
    title: str
    table: Mapping[str, Any]
    where: str


def find(kind: str, name: str) -> Path:
    """A file of a kind, by name or by path. Raises SpecError for an unknown name."""
    path = folder("workloads") / kind / f"{name.lower()}.toml"
    if not os.path.isfile(path):
        path = Path(name)
    if not is_file(path):
        known = names(kind)
        raise SpecError(f"unknown {kind[:-1]} '{name}' (one of {', '.join(known)}, or a file){nearest(name, known)}")
    return path


def file(kind: str, path: Path) -> File:
    """A file of a kind, read. Raises SpecError where the head is not as it must be."""
    table = toml_table(path)
    where = f"{kind}/{path.name}"
    if table.get("schema") != SCHEMA or table.get("name") != path.stem or not isinstance(table.get("title"), str):
        raise SpecError(f'{where}: needs schema = {SCHEMA}, name = "{path.stem}" and a title')
    body = {key: value for key, value in table.items() if key not in _HEAD}
    return File(path.stem, table["title"], body, where)


def read(
    table: Any, needed: Mapping[str, Reader], optional: Mapping[str, Reader], where: str
) -> tuple[dict[str, Any], dict[str, str]]:
    """(values, sources) of a table of terms, each read by the reader of its key. Raises SpecError, which names file and
    key, for a key that is unknown or missing, a term without source or reason, and a value that its reader refuses."""
    if not isinstance(table, Mapping):
        raise SpecError(f"{where} must be a table")
    readers = {**needed, **optional}
    values, sources = {}, {}
    for key, term in table.items():
        if key not in readers:
            raise SpecError(f"{where}: unknown key '{key}' (known: {', '.join(readers)}){nearest(key, readers)}")
        values[key], sources[key] = _term(term, readers[key], f"{where}: '{key}'")
    missing = [key for key in needed if key not in table]
    if missing:
        raise SpecError(f"{where}: has no {', '.join(missing)}")
    return values, sources


def _term(term: Any, reader: Reader, at: str) -> tuple[Any, str]:
    keys = set(term) if isinstance(term, Mapping) else set()
    if keys not in ({"value", "source"}, {"value", "reason"}):
        raise SpecError(f"{at} must be {{ value, source }}, or {{ value, reason }} where it is assumed")
    said = term.get("source", term.get("reason"))
    if not isinstance(said, str) or not said.strip():
        raise SpecError(f"{at}: its source or reason must be a text, not {said!r}")
    return reader(term["value"], at), said if "source" in term else f"assumed: {said}"


def format_of(value: Any, at: str) -> Dtype:
    """A number format by name."""
    return dtype(text(value, at), at)


def format_or_none(value: Any, at: str) -> Dtype | None:
    """A number format by name; None of "none"."""
    return None if value == NONE else format_of(value, at)


def several(reader: Callable[[Any, str], T]) -> Callable[[Any, str], tuple[T, ...]]:
    """A reader of lists, each entry by `reader`."""

    def read_all(value: Any, at: str) -> tuple[T, ...]:
        if not isinstance(value, list):
            raise SpecError(f"{at} must be a list, not {value!r}")
        return tuple(reader(each, at) for each in value)

    return read_all


def one_of(known: tuple[str, ...]) -> Callable[[Any, str], str]:
    """A reader of a word out of a few."""

    def read_one(value: Any, at: str) -> str:
        if value not in known:
            raise SpecError(f"{at} = {value!r} is not one of {', '.join(known)}{nearest(str(value), known)}")
        return str(value)

    return read_one


role = one_of(ROLES)


def text(value: Any, at: str) -> str:
    """A text that says something."""
    if not isinstance(value, str) or not value.strip():
        raise SpecError(f"{at} must be a text, not {value!r}")
    return value


def flag(value: Any, at: str) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise SpecError(f"{at} must be true or false, not {value!r}")
    return value


def whole(value: Any, at: str) -> int:
    """A whole number above 0."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise SpecError(f"{at} must be a whole number above 0, not {value!r}")
    return value


def number(value: Any, at: str) -> float:
    """A number above 0."""
    real = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not real or not math.isfinite(value) or value <= 0.0:
        raise SpecError(f"{at} must be a number above 0, not {value!r}")
    return float(value)
