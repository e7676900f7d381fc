"""An answer that was kept: a file of `--format json -o`, its document, or a Result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from simcost.errors import SpecError
from simcost.frozen import frozen
from simcost.result import SCHEMA_VERSION, Result, Row
from simcost.texts import json_value, text

Source: TypeAlias = "str | Path | Mapping[str, Any] | Result"
_NEEDED = {"command": str, "inputs": Mapping, "metrics": Mapping, "rows": Sequence, "references": Sequence}
_HINT = "write one with --format json -o FILE"


@frozen
class Answer:
    """What a later question reads of an answer. `name`: what to call it; `rows`: of all tables, each with its table's name where there are several."""

    name: str
    command: str
    inputs: Mapping[str, Any]
    metrics: Mapping[str, Any]
    rows: Sequence[Row]
    terms: Sequence[Row]
    references: Sequence[str]


def answer(source: Source, name: str = "") -> Answer:
    """Raises SpecError for a file that cannot be read, and for what is no answer of this version."""
    if isinstance(source, Result):
        return _of(source.to_dict(), name or "the answer")
    if isinstance(source, Mapping):
        return _of(source, name or "the answer")
    path = Path(source)
    return _of(json_value(text(path), str(path)), str(path))


def _of(document: Any, name: str) -> Answer:
    if not isinstance(document, Mapping) or "schema_version" not in document:
        raise SpecError(f"{name}: not a result of simcost: {_HINT}")
    if document["schema_version"] != SCHEMA_VERSION:
        raise SpecError(f"{name}: schema_version is {document['schema_version']!r}: this version reads {SCHEMA_VERSION}: run the command again")  # fmt: skip
    for key, kind in _NEEDED.items():
        if not isinstance(document.get(key), kind):
            raise SpecError(f"{name}: {key} is missing, or is not a {'text' if kind is str else 'table' if kind is Mapping else 'list'}: {_HINT}")  # fmt: skip
    for key in ("set", "vary", "plan"):
        if not isinstance(document["inputs"].get(key, {}), Mapping):
            raise SpecError(f"{name}: inputs.{key} is not a table: {_HINT}")
    rows, terms = list(document["rows"]), list(document.get("terms", ()))
    if not all(isinstance(row, Mapping) for row in (*rows, *terms)):
        raise SpecError(f"{name}: a row is not a table: {_HINT}")
    return Answer(
        name, document["command"], document["inputs"], document["metrics"], [dict(row) for row in rows], [dict(row) for row in terms],
        [str(line) for line in document["references"]],
    )  # fmt: skip
