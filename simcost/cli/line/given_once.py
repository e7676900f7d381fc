"""An option with one value is given once: of two the parser would silently take the last."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from simcost.errors import SpecError


def check(argv: list[str], command: Any) -> None:
    """Raises SpecError for an option of the asked command that is given twice. What is no option is left to the parser."""
    rest = list(argv)
    while rest and rest[0] in getattr(command, "commands", {}):
        command = command.commands[rest.pop(0)]
    taking = {
        name: option.name for option in command.params for name in option.opts
        if name.startswith("-") and not getattr(option, "is_flag", False)
    }  # fmt: skip
    several = {option.name for option in command.params if getattr(option, "multiple", False)}
    seen: set[str] = set()
    for typed, name in _given(rest, taking):
        if name in seen and name not in several:
            raise SpecError(f"{typed} is given twice: it takes one value")
        seen.add(name)


def _given(words: list[str], taking: dict[str, str]) -> Iterable[tuple[str, str]]:
    """(as typed, name) of every option that takes a value."""
    skip = False
    for word in words:
        if skip:
            skip = False
            continue
        if word == "--":
            return
        typed, equals, _ = word.partition("=")
        if typed in taking:
            yield typed, taking[typed]
            skip = not equals
        elif word[:1] == "-" and word[:2] in taking:  # -ofile
            yield word[:2], taking[word[:2]]
