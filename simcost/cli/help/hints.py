"""What the parser refuses, with what was probably meant: the commands that have an option, the list that a word names."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import typer

_LISTED = {
    "models": "models", "model": "models", "hardware": "hardware", "devices": "hardware", "gpus": "hardware", "hw": "hardware", "engines": "engines",
}  # fmt: skip
_MOST = 5  # commands that a line names


def of(message: str, argv: Sequence[str], app: typer.Typer) -> str:
    """The message of a command line that was refused, in one line."""
    if message.startswith("Got unexpected extra argument"):
        return (
            f"{message}: write a name after its option, as in --model NAME, and put a value that has spaces in quotes"
        )
    if found := re.match(r"No such option: (--[\w-]+)", message):
        having = [name for name in owners(app, found[1]) if name != argv[0]]
        return f"No such option: {found[1]} (it is an option of {', '.join(having)})" if having else message
    if (found := re.match(r"No such command '([\w-]+)'", message)) and found[1] in _LISTED:
        return f"No such command '{found[1]}'; did you mean 'simcost list {_LISTED[found[1]]}'?"
    return message


def owners(app: typer.Typer, option: str) -> list[str]:
    """The commands that have an option, "train", "loss", the first few of many; [] where none has."""
    found = [
        name
        for name, command in _commands(typer.main.get_command(app), "")
        if any(option in (*one.opts, *one.secondary_opts) for one in command.params)
    ]
    return found if len(found) <= _MOST else [*found[:_MOST], f"{len(found) - _MOST} more"]


def _commands(group: Any, before: str) -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _commands(command, f"{before}{name} ")
        else:
            yield f"{before}{name}", command
