"""The record of a run, `run.toml`: who measured what, how; written by imports and by measuring runs."""

from __future__ import annotations

from typing import Any

from simcost.texts import toml_text


def to_toml(record: dict[str, Any]) -> str:
    """A record of strings, numbers, lists of strings and tables of them as TOML."""
    lines = [f"{key} = {_value(value)}" for key, value in record.items() if not isinstance(value, dict)]
    for key, value in record.items():
        if isinstance(value, dict):
            for name, table in value.items():
                if isinstance(table, dict):
                    lines += ["", f'[{key}."{name}"]', *(f"{k} = {_value(v)}" for k, v in table.items())]
            plain = {k: v for k, v in value.items() if not isinstance(v, dict)}
            if plain:
                lines += ["", f"[{key}]", *(f"{k} = {_value(v)}" for k, v in plain.items())]
    return "\n".join(lines) + "\n"


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_value(item) for item in value) + "]"
    return toml_text(str(value))
