"""Which commands have an option, for a line that names one in the wrong place."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import typer

_MOST = 5  # commands that a line names


def owners(app: typer.Typer, option: str) -> list[str]:
    """The commands that have this option, "train", "loss", the first few of many; [] where none has."""
    found = [
        name
        for name, command in _commands(typer.main.get_command(app), "")
        if any(option in one.opts for one in command.params)
    ]
    return found if len(found) <= _MOST else [*found[:_MOST], f"{len(found) - _MOST} more"]


def _commands(group: Any, before: str) -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _commands(command, f"{before}{name} ")
        else:
            yield f"{before}{name}", command
