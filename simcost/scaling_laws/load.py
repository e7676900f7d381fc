"""Laws by name: every file of `workloads/scaling_laws`, read and checked. An unknown key, form or variable is an error that names the nearest."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from simcost.errors import SpecError, nearest
from simcost.files import folder, is_file
from simcost.scaling_laws.forms import FORMS
from simcost.scaling_laws.law import FITTED, PUBLISHED, VERIFIED, Coefficient, Compute, Law, Params, Range
from simcost.scaling_laws.ranges import VARIABLES
from simcost.texts import checked_keys, toml_table

CERTAINTIES = (VERIFIED, "incomplete", "remembered")
_COUNTS = ("total", "active", "flops")
_TABLES = (
    "schema",
    "title",
    "form",
    "certainty",
    "source",
    "definitions",
    "params",
    "compute",
    "coefficients",
    "error",
    "range",
)
_OPTIONAL = ("published", "dense")
_SCHEMA = 1


def home() -> Path:
    """The folder of the laws that ship."""
    return folder("workloads") / "scaling_laws"


def names() -> list[str]:
    """Names of the laws that ship, sorted."""
    return sorted(path.stem for path in home().glob("*.toml"))


def every() -> list[Law]:
    """All laws that ship, by name."""
    return [load(name) for name in names()]


def load(name: str) -> Law:
    """A law by name, or by the path of a file. Raises SpecError for an unknown name and a malformed file."""
    path = home() / f"{name.lower()}.toml"
    if os.path.isfile(path):
        return _shipped(path)
    path = Path(name)
    if not is_file(path):
        raise SpecError(
            f"unknown scaling law '{name}' (neither a name of 'simcost list scaling-laws' nor a file){nearest(name, names())}"
        )
    return read(toml_table(path), path.stem, str(path))


@cache
def _shipped(path: Path) -> Law:
    return read(toml_table(path), path.stem, path.name)


def read(table: Mapping[str, Any], name: str, where: str) -> Law:
    """The law of a table. Raises SpecError, which names file and key."""
    checked_keys(table, _TABLES, _OPTIONAL, where, "")
    if table["schema"] != _SCHEMA:
        raise SpecError(f"{where}: 'schema' = {table['schema']!r}, and this version reads {_SCHEMA}")
    certainty = _one_of(table["certainty"], CERTAINTIES, where, "certainty")
    source = _texts(table["source"], ("paper", "where", "checked"), ("note",), where, "source")
    ranges = {FITTED: _range(table["range"], where, "range")}
    if "published" in table:
        ranges[PUBLISHED] = _range(table["published"], where, "published")
    residual, said = _error(table["error"], where)
    form = _one_of(table["form"], FORMS, where, "form")
    compute, without = _compute(table["compute"], where)
    law = Law(
        name, str(table["title"]), form, certainty, source, _texts(table["definitions"], ("loss", "data", "tokens", "passes"), ("tokenizer",), where, "definitions"),
        _params(table["params"], where), compute, without, _coefficients(form, table["coefficients"], where, "coefficients"), residual, said, ranges,
    )  # fmt: skip
    return law if "dense" not in table else replace(law, dense=_dense(law, table["dense"], where))


def _dense(law: Law, table: Any, where: str) -> Law:
    """The law of dense models beside one of MoE: what it does not say is as there."""
    checked_keys(table, ("form", "coefficients", "range"), ("published",), where, "dense.")
    form = _one_of(table["form"], FORMS, where, "dense.form")
    ranges = {
        key: _range(table[name], where, f"dense.{name}")
        for key, name in ((FITTED, "range"), (PUBLISHED, "published"))
        if name in table
    }
    return replace(
        law,
        form=form,
        coefficients=_coefficients(form, table["coefficients"], where, "dense.coefficients"),
        ranges=ranges,
    )


def _one_of(value: Any, known: Iterable[str], where: str, key: str) -> str:
    words = list(known)
    if not isinstance(value, str) or value not in words:
        raise SpecError(f"{where}: '{key}' = {value!r} is not one of {', '.join(words)}{nearest(str(value), words)}")
    return value


def _texts(table: Any, needed: tuple[str, ...], optional: tuple[str, ...], where: str, name: str) -> dict[str, str]:
    checked_keys(table, needed, optional, where, f"{name}.")
    for key, value in table.items():
        if not isinstance(value, str) or not value.strip():
            raise SpecError(f"{where}: '{name}.{key}' must be a text, not {value!r}")
    return dict(table)


def _number(value: Any, where: str, key: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise SpecError(f"{where}: '{key}' must be a number, not {value!r}")
    return float(value)


def _positive(value: Any, where: str, key: str) -> float:
    found = _number(value, where, key)
    if found <= 0.0:
        raise SpecError(f"{where}: '{key}' must be above 0, not {value!r}")
    return found


def _coefficients(form: str, table: Any, where: str, name: str) -> dict[str, Coefficient]:
    checked_keys(table, FORMS[form].coefficients, FORMS[form].optional, where, f"{name}.")
    found = {}
    for key, entry in table.items():
        checked_keys(entry, ("value",), ("error",), where, f"{name}.{key}.")
        error = _positive(entry["error"], where, f"{name}.{key}.error") if "error" in entry else 0.0
        found[key] = Coefficient(_number(entry["value"], where, f"{name}.{key}.value"), error)
    return found


def _params(table: Any, where: str) -> Params:
    checked_keys(table, ("count", "vocabulary", "router", "why"), (), where, "params.")
    for key in ("vocabulary", "router"):
        if not isinstance(table[key], bool):
            raise SpecError(f"{where}: 'params.{key}' must be true or false, not {table[key]!r}")
    return Params(
        _one_of(table["count"], _COUNTS, where, "params.count"), table["vocabulary"], table["router"], str(table["why"])
    )


def _compute(table: Any, where: str) -> tuple[Compute | None, str]:
    if isinstance(table, Mapping) and "none" in table:
        return None, _texts(table, ("none",), (), where, "compute")["none"]
    checked_keys(table, ("flops_per_param", "why"), ("flops_per_router_param", "unit"), where, "compute.")
    numbers = [
        _positive(table[key], where, f"compute.{key}") if key in table else default
        for key, default in (("flops_per_param", 0.0), ("flops_per_router_param", 0.0), ("unit", 1.0))
    ]
    return Compute(numbers[0], numbers[1], numbers[2], str(table["why"])), ""


def _range(table: Any, where: str, name: str) -> Range:
    checked_keys(table, ("source",), VARIABLES, where, f"{name}.")
    bounds = {}
    for key, value in table.items():
        if key == "source":
            continue
        if not isinstance(value, list) or len(value) != 2:
            raise SpecError(f"{where}: '{name}.{key}' must be [least, most], not {value!r}")
        least, most = (_number(each, where, f"{name}.{key}") for each in value)
        if least > most:
            raise SpecError(f"{where}: '{name}.{key}' = {value!r}: the least is above the most")
        bounds[key] = (least, most)
    if not bounds:
        raise SpecError(f"{where}: '{name}' has no bounds, but a law needs the range in which it holds")
    return Range(bounds, str(table["source"]))


def _error(table: Any, where: str) -> tuple[float | None, str]:
    """(RMS residual, or None; who says so, or why there is none)."""
    if isinstance(table, Mapping) and "none" in table:
        return None, _texts(table, ("none",), (), where, "error")["none"]
    checked_keys(table, ("source",), ("fit", "held_out"), where, "error.")
    stated = [_positive(table[key], where, f"error.{key}") for key in ("held_out", "fit") if key in table]
    return max(stated, default=None), str(table["source"])
