"""JSON Schemas (draft 2020-12) of what simcost prints as JSON, and of the files of settings that it reads.

That of a result is made of `simcost/metrics`, that of a plan of `simcost/settings`; docs/schema holds both, written by docs/generate.py. Names of designs, formats
and lengths inside a column's name, and the axes of a sweep, are the user's words: such columns are of no stated kind.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from simcost import metrics, settings, units
from simcost.errors import SpecError, nearest
from simcost.hardware.engine_file import known_settings, setting_of
from simcost.provenance import Kind
from simcost.result import SCHEMA_VERSION

RESULT, PLAN = "result", "plan"
NAMES = (RESULT, PLAN)
Schema = dict[str, Any]
_DRAFT = "https://json-schema.org/draft/2020-12/schema"
_VALUE = {"$ref": "#/$defs/value"}
_IN_WORDS = ("half_width",)  # of `validate kernels` also a class of it: "up to 30%"
_TEXTS = {"type": "array", "items": {"type": "string"}}


def schema(name: str = RESULT) -> Schema:
    """The schema of a result as JSON, or of a plan file. Raises SpecError for another name."""
    if name not in NAMES:
        raise SpecError(f"no schema '{name}' (one of {', '.join(NAMES)}){nearest(name, NAMES)}")
    return _result() if name == RESULT else plan()


def plan(groups: Iterable[str] = ()) -> Schema:
    """The schema of a file of settings of these groups, of all if none is named. Raises SpecError for an unknown group."""
    engines = {name: setting_of(name) for name in known_settings()}
    return {"$id": "urn:simcost:schema:plan", **settings.schema(settings.groups(groups), engines)}


def _result() -> Schema:
    """The document of `--format json` and `Result.to_dict`."""
    required = (
        "schema_version", "command", "verdict", "fits", "inputs", "metrics", "units", "rows", "warnings", "notes", "references",
    )  # fmt: skip
    note = {
        "type": "object", "required": ["kind", "text"], "additionalProperties": False,
        "properties": {"kind": {"enum": [str(kind) for kind in Kind]}, "text": {"type": "string"}},
    }  # fmt: skip
    return {
        "$id": f"urn:simcost:schema:result:{SCHEMA_VERSION}",
        "$schema": _DRAFT,
        "title": "simcost result",
        "description": "A result of simcost: what --format json prints and Result.to_dict() returns. Values are SI; null is a number that is not known.",
        "type": "object",
        "required": list(required),
        "additionalProperties": False,
        "properties": {
            "schema_version": {"const": SCHEMA_VERSION},
            "command": {"type": "string", "description": "which question was asked"},
            "verdict": {"type": "string", "description": "one sentence that sums up the result"},
            "fits": {"type": "boolean", "description": "false: the design does not fit; --strict fails"},
            "inputs": {"$ref": "#/$defs/question"},
            "metrics": {"$ref": "#/$defs/values"},
            "units": {
                "type": "object", "description": "SI unit of every metric and column that has one",
                "additionalProperties": {"enum": sorted({symbol for one in _every() if (symbol := units.symbol(one.unit))})},
            },
            "rows": {"type": "array", "items": {"$ref": "#/$defs/values"}, "description": "rows of all tables; where there are several, `table` names the table of a row"},
            "warnings": {**_TEXTS, "description": "notes as texts"},
            "notes": {"type": "array", "items": note, "description": "the same with their kinds"},
            "references": {**_TEXTS, "description": "sources"},
            "dimensions": {"type": "array", "items": {"type": "object"}, "description": "config keys that swaps changed: before, after and why"},
            "terms": {"type": "array", "items": {"$ref": "#/$defs/values"}, "description": "terms of a step, longest first"},
        },
        "$defs": {"value": _any(), "values": {"type": "object", "properties": _columns(), "additionalProperties": _VALUE}, "question": _question()},
    }  # fmt: skip


def _any() -> Schema:
    return {"type": ["number", "string", "boolean", "null", "array", "object"]}


def _question() -> Schema:
    """Inputs of a result: what `simcost.ask(command, inputs)` takes."""
    path = {
        "type": "object",
        "propertyNames": {"pattern": f"^({'|'.join((*settings.ROOTS, settings.STACK))})(\\.|$)|^[a-z_]+$"},
    }
    return {
        "type": "object",
        "description": "the question, defaults included: simcost.ask(command, inputs) asks it again",
        "properties": {
            "model": {"type": ["string", "object", "array"], "description": "a name, or a config by its content"},
            "hw": {"type": ["string", "array"]},
            "plan": {"type": "object"},
            "set": {**path, "description": "path of a setting: its value"},
            "vary": {**path, "additionalProperties": {"type": "array", "minItems": 1}, "description": "path of a setting: its values"},
        },
    }  # fmt: skip


def _every() -> list[metrics.Metric]:
    return [one for section in metrics.SECTIONS for one in section.metrics]


def _columns() -> Schema:
    """Every name of `simcost/metrics` that is no pattern, and the ends of intervals."""
    found: Schema = {}
    for one in _every():
        if "*" in one.name:
            continue
        found[one.name] = _column(metrics.NUMBER if one.name in _IN_WORDS else one.unit, one.meaning)
        for end in ("low", "high") if one.error else ():
            known = metrics.find(f"{one.name}_{end}")
            if known is not None:
                found.setdefault(known.name, _column(known.unit, known.meaning))
    return dict(sorted(found.items()))


def _column(unit: str, meaning: str) -> Schema:
    kinds: dict[str, Schema] = {
        metrics.TEXT: {"type": ["string", "integer", "null"]},  # among the metrics their count
        metrics.FLAG: {"type": ["boolean", "integer", "null"]},
        metrics.NUMBER: {"$ref": "#/$defs/value"},  # a count, or a value of any kind, as of a key
    }
    symbol = units.symbol(unit)
    return {
        **kinds.get(unit, {"type": ["number", "null"]}),
        "description": f"{meaning} [{symbol}]" if symbol else meaning,
    }
