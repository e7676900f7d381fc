"""A question as plain data, as it travels to other processes, and a digest of the files that it reads.

Most likely to be wrong: a file that a model or a profile leads to and that no digest here knows. Source: `simcost.report.identity`, which digests the same.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from simcost import grammar
from simcost.errors import SimcostError, SpecError
from simcost.files import folder
from simcost.hardware import load as hardware
from simcost.model import load as models
from simcost.model.given import Given
from simcost.query import Query
from simcost.settings import ROOTS, STACK

_RANGE, _CONFIG, _LONG = "range", "config", 8  # values from which an axis of equal steps travels as its ends


def packed(query: Query) -> str:
    """A question as JSON. Raises SpecError for a value that JSON does not bring back as it is."""
    overrides = {root: getattr(query.overrides, root) for root in (*ROOTS, STACK)}
    said = {
        "model": _out(query.model), "hw": query.hw, "decode": query.decode, "overrides": overrides, "usd_per_hour": query.usd_per_hour,
        "axes": {path: _axis(values) for path, values in query.axes.items()}, "said": list(query.said),
    }  # fmt: skip
    try:
        text = json.dumps(said, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise SpecError(f"the question holds a value that cannot be sent to workers: {error}") from None
    if read(text) != query:
        raise SpecError("the question holds a value that JSON cannot hold, so it cannot be sent to workers")
    return text


@lru_cache(maxsize=4)
def read(text: str) -> Query:
    """The question of a text of `packed`."""
    said: dict[str, Any] = json.loads(text)
    axes = {path: _values(each) for path, each in said["axes"].items()}
    overrides = grammar.Overrides(**said["overrides"])
    return Query(
        _in(said["model"]), said["hw"], said["decode"], overrides, axes, said["usd_per_hour"], tuple(said["said"])
    )


def _out(value: Any) -> Any:
    """A config that was handed over by its text, so that it is the same config there."""
    return {_CONFIG: value.text, "name": value.name} if isinstance(value, Given) else value


def _in(value: Any) -> Any:
    return Given(value["name"], value[_CONFIG]) if isinstance(value, Mapping) and _CONFIG in value else value


def _axis(values: list[Any]) -> Any:
    if len(values) >= _LONG and all(type(value) is int for value in values):
        step = values[1] - values[0]
        if step > 0 and values == list(range(values[0], values[-1] + 1, step)):
            return {_RANGE: [values[0], values[-1], step]}
    return [_out(value) for value in values]


def _values(said: Any) -> list[Any]:
    if isinstance(said, Mapping):
        first, last, step = said[_RANGE]
        return list(range(first, last + 1, step))
    return [_in(value) for value in said]


def files_of(query: Query) -> str:
    """Digest of the configs, profiles and measured rows that a question reads beside what the package ships."""
    found = hashlib.blake2b(digest_size=16)
    only = {path: value for path, value in query.overrides.hw.items() if path == "measurements"}
    for name in query.axes.get("model", [query.model]):
        found.update(_said(lambda name: models.load_config(name)[2], name))
    for name in query.axes.get("hw", [query.hw]):
        found.update(_said(lambda name: hardware.read(name)[1], name))
        for path in _rows(name, only):
            found.update(path.name.encode("utf-8", "surrogateescape") + path.read_bytes())
    return found.hexdigest()


def _said(reads: Callable[[Any], Any], name: Any) -> bytes:
    """What a file holds, or why it cannot be read, which is the reason of a row."""
    try:
        held = reads(name)
    except SimcostError as error:
        held = str(error)
    return json.dumps(held, sort_keys=True, default=str).encode()


def _rows(name: str, only: Mapping[str, Any]) -> Iterator[Path]:
    """The files of measured rows of a user's profile; those that ship are digested with the package."""
    try:
        device = hardware.load(name, only)
    except SimcostError:
        return
    for home in (Path(home) for home in (*device.measurements, *([device.tables] if device.tables else []))):
        if folder("hwprofiles") not in home.parents and home.is_dir():
            yield from sorted(path for path in home.rglob("*") if path.is_file())
