"""Commands, options and arguments as data: the parser's own objects are made of them only for a line that needs the parser.

Most likely to be wrong: a word that is handed on to the parser (`how`) and changes what a value means; `direct` reads only lines whose
words it knows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, get_type_hints

from simcost.frozen import frozen

LOOSE = {"allow_extra_args": True, "ignore_unknown_options": True}  # Typer's words for a line with `Rest`
REQUIRED: Any = ...  # the default of a parameter that a line must state
Function = Callable[..., Any]


class Option:
    """An option by its names ("-o", "--output"; "--yes/--no" of a flag that is on by default); `how`: Typer's words."""

    def __init__(self, *names: str, **how: Any) -> None:
        self.names, self.how = names, how


class Argument(Option):
    """A value that stands by its place on the line."""


class Rest:
    """A parameter of this kind gets the words that no option takes, as `args`."""

    args: list[str]


@frozen
class Parameter:
    """A parameter of a command's function: what it takes (`kind`, of `several` values), how a line states it, what it is where none does."""

    name: str
    hint: Any
    declared: Option
    default: Any

    @property
    def several(self) -> bool:
        """Whether it takes a list."""
        return bool(self.kind == list[str])

    @property
    def kind(self) -> Any:
        """str, int, float, bool, Path or list[str]."""
        of = self.hint.__origin__
        each = [one for one in getattr(of, "__args__", ()) if one is not type(None)]
        return of if of in (str, int, float, bool, Path, list[str]) else each[0] if len(each) == 1 else of


@frozen
class Command:
    """`source`: its function, or "module:name", which is loaded when the command is asked for; `planned`: whether it takes the options of a
    plan; `how`: Typer's words."""

    name: str
    source: Function | str
    planned: bool
    how: dict[str, Any]

    @property
    def function(self) -> Function:
        """What answers."""
        found: Function = _loaded(self.source)
        return found

    def parameters(self) -> list[Parameter]:
        """Those of its function, in their order. A parameter of kind `Rest` is none."""
        return parameters(self.function)

    @property
    def pictured(self) -> bool:
        """Whether -o may draw its answer."""
        return self.planned or "output" in names(self.function)


def names(function: Function) -> tuple[str, ...]:
    """The parameters of a function by name."""
    return function.__code__.co_varnames[: function.__code__.co_argcount]


def parameters(function: Function) -> list[Parameter]:
    """What a line may state of a function."""
    every, values = names(function), function.__defaults__ or ()
    defaults = dict(zip(every[len(every) - len(values) :], values, strict=True))
    hints = _hints(function)
    return [
        Parameter(name, hints[name], hints[name].__metadata__[0], defaults.get(name, REQUIRED))
        for name in every
        if hints[name] is not Rest
    ]


def _loaded(source: Any) -> Any:
    if not isinstance(source, str):
        return source
    module, _, name = source.partition(":")
    return getattr(import_module(module), name)


def _hints(function: Function) -> dict[str, Any]:
    """Annotations by name. One of the form module.name is looked up: to evaluate thirty costs a hundredth of a question."""
    found = {}
    for name, text in function.__annotations__.items():
        module, _, word = str(text).partition(".")
        home = function.__globals__.get(module)
        if name != "return" and not hasattr(home, word):
            return get_type_hints(function, include_extras=True)
        found[name] = getattr(home, word, None)
    return found


class Commands:
    """Commands by name, and groups of them."""

    def __init__(self, help: str) -> None:
        self.help = help
        self.commands: dict[str, Command] = {}
        self.groups: dict[str, tuple[Commands | str, dict[str, Any]]] = {}

    def command(self, name: str = "", planned: bool = False, **how: Any) -> Callable[[Function], Function]:
        """A decorator: the function becomes a command, by its own name or another."""

        def add(function: Function) -> Function:
            self.later(name or function.__name__.replace("_", "-"), function, planned, **how)
            return function

        return add

    def later(self, name: str, source: Function | str, planned: bool = False, **how: Any) -> None:
        """A command by its function, or by "module:name"."""
        self.commands[name] = Command(name, source, planned, how)

    def add(self, name: str, group: Commands | str, **how: Any) -> None:
        """Puts a group, or "module:name" of one, below a word."""
        self.groups[name] = group, how

    def group(self, name: str) -> Commands:
        """The group below a word."""
        found: Commands = _loaded(self.groups[name][0])
        return found

    def leaves(self, before: str = "") -> Iterator[tuple[str, Command]]:
        """(words of the line, command) of all commands."""
        for name, command in self.commands.items():
            yield f"{before}{name}", command
        for name in self.groups:
            yield from self.group(name).leaves(f"{before}{name} ")
