"""A simple line, read at once: known options with simple values. Any other line (help, completion, a word that is not known, a value that is missing or odd) is
the parser's, whose word and error text are final; its import alone takes a tenth of a question's time.

Most likely to be wrong: a spelling that the parser reads and this refuses, which costs time alone.
"""

from __future__ import annotations

import re
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from simcost.cli import question
from simcost.cli.declared import REQUIRED, Argument, Command, Commands, Parameter
from simcost.cli.pictures import pictured

UNREAD = object()
_WHOLE = re.compile(r"[+-]?\d{1,18}")
_DECIMAL = re.compile(r"[+-]?(\d{1,18}(\.\d{1,18})?|\.\d{1,18})(e[+-]?\d{1,2})?")
_HOW = {"help", "metavar", "autocompletion"}  # words that do not change what a value means


class Line:
    """A command with its values, by the names that the parser's own context has."""

    def __init__(self, command: Command, command_path: str, values: dict[str, Any], lists: set[str]) -> None:
        self.command, self.command_path, self.params = command, command_path, values
        self.info_name = command_path.rpartition(" ")[2]
        self._lists = lists

    def __call__(self) -> Any:
        """What the command answers. Raises SpecError as it does."""
        with ExitStack() as held:
            if self.command.planned:
                held.enter_context(question.settled(self, [one.name for one in question.added(self.command)]))
            if self.command.pictured:
                held.enter_context(pictured.drawn(self))
            # A list that no word filled is none, as the parser has it.
            given = {name: (value or None) if name in self._lists else value for name, value in self.params.items()}
            return self.command.function(**given)


def line(commands: Commands, words: list[str]) -> Line | None:
    """The command that a simple line asks for; None for a line that is not simple."""
    path, rest = ["simcost"], list(words)
    while rest and rest[0] in commands.groups:
        path.append(rest.pop(0))
        commands = commands.group(path[-1])
    command = commands.commands.get(rest[0]) if rest else None
    if command is None or command.how.get("context_settings"):
        return None
    path.append(rest.pop(0))
    parameters = question.parameters(command)
    values = _values(parameters, rest)
    lists = {one.name for one in parameters if one.several}
    return None if values is None else Line(command, " ".join(path), values, lists)


def _values(parameters: list[Parameter], words: list[str]) -> dict[str, Any] | None:
    """Values by name; None where a word is not simple."""
    # Of a flag that is written as a pair neither name is known.
    known = {name: one for one in parameters for name in one.declared.names if "/" not in name}
    values: dict[str, Any] = {}
    placed: list[str] = []
    left = iter(words)
    for word in left:
        if word[:1] != "-":
            placed.append(word)
            continue
        name, equals, text = word.partition("=")
        one = known.get(name)
        if equals and not word.startswith("--"):  # -o=x is a file "=x"
            return None
        if one is None or not one.declared.how.keys() <= _HOW or (one.name in values and not one.several):
            return None
        if one.kind is bool:
            if equals:
                return None
            values[one.name] = True
            continue
        text = text if equals else next(left, "")
        if not text or (text[0] == "-" and text != "-"):
            return None
        if one.several:
            values.setdefault(one.name, []).append(text)
            continue
        value = read(one.kind, text, False)
        if value is UNREAD:
            return None
        values[one.name] = value
    return _placed(parameters, placed, values)


def _placed(parameters: list[Parameter], words: list[str], values: dict[str, Any]) -> dict[str, Any] | None:
    """The same with the values that stand by their place, and with defaults."""
    places = [one for one in parameters if isinstance(one.declared, Argument)]
    if len(words) != len(places) or not all(words):
        return None
    for one, word in zip(places, words, strict=True):
        values[one.name] = [word] if one.several else read(one.kind, word, False)
    stated = {one.name: values.get(one.name, one.default) for one in parameters}
    simple = all(value is not UNREAD and value is not REQUIRED for value in stated.values())
    return stated if simple else None


def read(kind: Any, value: Any, several: bool) -> Any:
    """A value as its kind, or `UNREAD`."""
    if several:
        if value is None:
            return ()
        good = kind == list[str] and isinstance(value, (list, tuple)) and all(isinstance(each, str) for each in value)
        return list(value) if good else UNREAD
    if value is None or (isinstance(value, str) and kind is str):
        return value
    if isinstance(value, str):
        if kind is Path:
            return Path(value)
        if (kind is int and _WHOLE.fullmatch(value)) or (kind is float and _DECIMAL.fullmatch(value)):
            return kind(value)
        return UNREAD
    return value if type(value) is kind else UNREAD
