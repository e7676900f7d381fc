"""A file of settings, `--plan file.toml`: the tables plan, phase, engine, hw, model and stack that `simcost keys --schema` describes, in TOML or JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from simcost import dtypes, grammar, settings, units
from simcost.errors import SpecError, nearest
from simcost.hardware import load as hardware
from simcost.texts import json_value, text, toml_table

_TABLES = (*settings.ROOTS, settings.STACK)


def read(path: Path) -> dict[str, Any]:
    """{path of a setting: value}. Raises SpecError naming the file for one that cannot be read, and the key for one that is unknown, is there
    twice, or has a value that it cannot have."""
    found: dict[str, Any] = {}
    for root, table in _tables(path).items():
        if root not in _TABLES:
            raise SpecError(f"{path}: unknown table '{root}' (one of {', '.join(_TABLES)}){nearest(root, _TABLES)}")
        if not isinstance(table, Mapping):
            raise SpecError(f"{path}: '{root}' must be a table, not {table!r}")
        for key, value in _keys(root, table):
            written = key if (root, key) == ("engine", "engine") else f"{root}.{key}"
            try:
                name = grammar.full(written)
                if name in found:
                    raise SpecError(f"'{name}' appears twice")
                found[name] = _checked(name, value)
            except SpecError as error:
                raise SpecError(f"{path}: {error}") from None
    return found


def _tables(path: Path) -> dict[str, Any]:
    if path.suffix.lower() == ".toml":
        return toml_table(path)
    if path.suffix.lower() != ".json":
        raise SpecError(f"{path}: the name of a file of settings must end in .toml or .json")
    found = json_value(text(path), str(path))
    if not isinstance(found, dict):
        raise SpecError(f"{path}: a file of settings must hold tables, not {type(found).__name__}")
    return found


def _keys(root: str, table: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """(key, value) of a table; those of a device may be tables inside: [hw.memory]."""
    for key, value in table.items():
        if root == "hw" and isinstance(value, Mapping):
            yield from ((f"{key}.{inner}", one) for inner, one in _keys(root, value))
        else:
            yield key, value


def _checked(path: str, value: Any) -> Any:
    """A value as `grammar.read`. Raises SpecError where the key cannot have it."""
    root, key = grammar.split(path)
    try:
        json.dumps(value)
    except TypeError:
        raise SpecError(f"{path} = {value}: a date or a time is not allowed") from None
    found = grammar.read(path, value)
    if root == "hw":
        return _of_device(key, found)
    if root == settings.STACK:
        if not isinstance(found, (bool, int, str)):
            raise SpecError(f"{path} must be a flag, a number or a name, not {found!r}")
        return found
    one = grammar.setting(root, key)
    multiple = isinstance(value, str) and value[:1] in ("x", "*") and value[1:2].isdigit()
    if one is None or (root == "model" and (value is None or multiple)):
        return found
    if one.kind == settings.FORMAT:
        return dtypes.dtype(found, path).name if isinstance(found, str) else settings.checked(one, found, path)
    if one.kind in (settings.FLAG, settings.LIST, settings.TABLE):
        kinds = {settings.FLAG: bool, settings.LIST: (list, int), settings.TABLE: dict}
        if not isinstance(found, kinds[one.kind]):  # type: ignore[arg-type]
            raise SpecError(f"{path} must be {one.takes}, not {found!r}")
        return found
    if one.kind == "number" and isinstance(found, str):  # a policy by its word
        return found
    if one.kind in ("fraction", "number"):
        if isinstance(found, bool) or not isinstance(found, (int, float)):
            raise SpecError(f"{path} must be a number, not {found!r}")
        return found
    checked = settings.checked(one, found, path)
    return int(checked) if one.kind in settings.WHOLE else checked


def _of_device(key: str, value: Any) -> Any:
    """A quantity with its unit, or a multiple of what the profile states."""
    path = f"hw.{key}"
    if key in hardware.CHOICES:
        if not isinstance(value, str):
            raise SpecError(f"{path} must be a name, not {value!r}")
        return value
    kind = hardware.dimension(key, path)
    if not isinstance(value, (str, int, float)) or (isinstance(value, bool) and kind != settings.FLAG):
        raise SpecError(f"{path} must be a quantity with its unit, not {value!r}")
    if kind != settings.FLAG and str(value)[:1] not in ("x", "X", "*"):
        units.parse(str(value), kind, path)
    return value
