"""An option with one value is given once: of two the parser would silently take the last. What is solved for is not given."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from simcost.errors import SpecError


def check(argv: list[str], command: Any) -> None:
    """Raises SpecError for an option of the asked command that is given twice, or that gives what --solve asks for. What is no option is left to
    the parser."""
    rest = list(argv)
    while rest and rest[0] in getattr(command, "commands", {}):
        command = command.commands[rest.pop(0)]
    taking = {
        name: option.name for option in command.params for name in option.opts
        if name.startswith("-") and not getattr(option, "is_flag", False)
    }  # fmt: skip
    several = {option.name for option in command.params if getattr(option, "multiple", False)}
    seen: dict[str, str] = {}
    for typed, name in _given(rest, taking):
        if name in seen and name not in several:
            raise SpecError(f"{typed} is given twice: it takes one value")
        seen[name] = typed
    if "solve" in seen:
        _check_solved(_value(rest, "--solve"), seen)


_SAME = {"gpus": "plan.gpus", "price": "hw.price.usd_per_hour"}  # options that say what a path says


def _check_solved(path: str, seen: dict[str, str]) -> None:
    from simcost import settings

    steps = settings.spelled("phase")
    name = steps.get(path.removeprefix("phase."), path)
    for option, typed in seen.items():
        if name == _SAME.get(option, option):
            raise SpecError(f"{typed} gives what --solve {path} asks for: leave one out")


def _value(words: list[str], option: str) -> str:
    """What stands after an option, or behind its "="; "" where nothing does."""
    for word, after in zip(words, [*words[1:], ""], strict=True):
        if word.partition("=")[0] == option:
            return word.partition("=")[2] or after
    return ""


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
