"""What the parser refuses, with what was probably meant: the commands that have an option, the list that a word names."""

from __future__ import annotations

import re
from collections.abc import Sequence

from simcost.cli.declared import Argument, Commands, Parameter
from simcost.cli.question import parameters
from simcost.errors import nearest

_LISTED = {
    "models": "models", "model": "models", "hardware": "hardware", "devices": "hardware", "gpus": "hardware", "hw": "hardware", "engines": "engines",
}  # fmt: skip
_MOST = 5  # commands that a line names


def of(message: str, argv: Sequence[str], app: Commands) -> str:
    """The message of a command line that was refused, in one line."""
    if message.startswith("Got unexpected extra argument"):
        return (
            f"{message}: write a name after its option, as in --model NAME, and put a value that has spaces in quotes"
        )
    if found := re.match(r"No such option: (--[\w-]+)", message):
        if name := _argument(found[1].lstrip("-"), argv, app):
            return f"No such option: {found[1]} ({name.upper()} stands without an option: simcost {_asked(argv, app)[0]} {name.upper()})"
        having = [name for name in owners(app, found[1]) if name != argv[0]]
        return f"No such option: {found[1]} (it is an option of {', '.join(having)})" if having else message
    if found := re.match(r"No such command '([^']*)'", message):
        return f"no command '{found[1]}'{_meant(found[1], argv, app)}"
    if found := re.match(r"Missing (?:option|argument) '([^' ]+)", message):
        named = found[1] if found[1].startswith("-") else f"argument '{found[1]}'"
        return f"missing {named}{_wanted(found[1], argv, app)}"
    return message


def _meant(word: str, argv: Sequence[str], app: Commands) -> str:
    """The command that a word stands for, or the commands among which it was looked for."""
    if word in _LISTED:
        return f"; did you mean 'simcost list {_LISTED[word]}'?"
    before = list(argv[: argv.index(word)]) if word in argv else []
    for one in before:
        app = app.group(one) if one in app.groups else app
    known = [*app.commands, *app.groups]
    listed = f" (one of {', '.join(known)})" if before else " (simcost --help lists them)"
    return f"{listed}{nearest(word, known)}"


def _asked(argv: Sequence[str], app: Commands) -> tuple[str, list[Parameter]]:
    """(words of the command, its parameters) of a line; ("", []) where it names none."""
    said = f"{' '.join(argv)} "
    found = next(((name, one) for name, one in app.leaves() if said.startswith(f"{name} ")), None)
    return ("", []) if found is None else (found[0], parameters(found[1]))


def _argument(word: str, argv: Sequence[str], app: Commands) -> str:
    """The argument of the asked command that an option's word means, `models` for --model, `name` of `show hardware` for --hw; "" if none."""
    asked, given = _asked(argv, app)
    names = [one.name for one in given if isinstance(one.declared, Argument)]
    list_ = _LISTED.get(word)
    own = list_ is not None and _LISTED.get(asked.split(" ")[-1]) == list_
    return next((name for name in names if name in (word, f"{word}s") or (own and name == "name")), "")


def _wanted(option: str, argv: Sequence[str], app: Commands) -> str:
    """What a value that is missing means: the first sentence of its help."""
    for one in _asked(argv, app)[1]:
        how = one.declared.how
        if option in (*one.declared.names, how.get("metavar"), one.name, one.name.upper()) and how.get("help"):
            sentence = re.split(r"(?<=[a-z)])[.;:] ", str(how["help"]))[0].rstrip(".")
            return f": {sentence if sentence[:2].isupper() else sentence[:1].lower() + sentence[1:]}"
    return ""


def owners(app: Commands, option: str) -> list[str]:
    """The commands that have an option, "train", "loss", the first few of many; [] where none has."""
    found = [
        name
        for name, command in app.leaves()
        if any(option in word.split("/") for one in parameters(command) for word in one.declared.names)
    ]
    return found if len(found) <= _MOST else [*found[:_MOST], f"{len(found) - _MOST} more"]
