"""A command line that is read at once: only the asked command is made, and simple values are read without the parser's type machinery.

Typer makes every command for every run, and reads values by a library that takes as long to import as numpy. Here texts, whole and
decimal numbers and paths are read directly; whatever else is typed goes to the parser, whose word and error text are final. Most likely to
be wrong: a later Typer that keeps types elsewhere; then everything goes to the parser.
"""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import typer

from simcost.cli.help import page

_WHOLE = re.compile(r"[+-]?\d{1,18}")
_DECIMAL = re.compile(r"[+-]?(\d{1,18}(\.\d{1,18})?|\.\d{1,18})(e[+-]?\d{1,2})?")
_UNREAD = object()


def command(app: typer.Typer, argv: list[str]) -> Any:
    """The parser of a command line: of the command that it names, or of all where it names none."""
    found = typer.main.get_command(_asked(app, argv))
    _each(found)
    return found


def _asked(app: typer.Typer, words: list[str]) -> typer.Typer:
    """The app with the one command or group that the first word names."""
    if not words:
        return app
    only = copy.copy(app)
    groups = [group for group in app.registered_groups if group.name == words[0]]
    only.registered_commands = [each for each in app.registered_commands if _name(each) == words[0]]
    if not groups and not only.registered_commands:
        return app
    only.registered_groups = []
    for group in groups:
        inner = group.typer_instance
        if inner is not None and words[1:2] and any(_name(each) == words[1] for each in inner.registered_commands):
            group, inner = copy.copy(group), copy.copy(inner)
            inner.registered_commands = [each for each in inner.registered_commands if _name(each) == words[1]]
            inner.registered_callback = inner.registered_callback or typer.models.TyperInfo(callback=_nothing)
            group.typer_instance = inner
        only.registered_groups.append(group)
    return only


def _nothing() -> None:
    """A callback makes a group of an app with one command."""


def _name(registered: Any) -> str:
    made = registered.callback.__name__.replace("_", "-") if registered.callback is not None else ""
    return registered.name or made


def _each(found: Any) -> None:
    """All parameters of a command and of those inside it, `--help` too, which is made when it is looked for."""
    for parameter in found.params:
        _plain(parameter)
    made = found.get_help_option

    def helped(context: Any) -> Any:
        option = made(context)
        if option is not None:
            _plain(option)
        return option

    found.get_help_option = helped
    page.attach(found)
    for inner in getattr(found, "commands", {}).values():
        _each(inner)


def _plain(parameter: Any) -> None:
    """Let an option read its simple values itself."""
    kind = getattr(getattr(parameter, "type_descriptor", None), "annotation", None)
    info = getattr(getattr(parameter, "type_descriptor", None), "parameter_info", None)
    checked = any(getattr(info, name, None) is not None for name in ("parser", "click_type", "min", "max")) or any(
        getattr(info, name, False) for name in ("exists", "resolve_path", "allow_dash")
    )
    several = bool(parameter.multiple or parameter.nargs != 1)
    if info is None or checked or kind not in (str, int, float, bool, Path, list[str]):
        return
    parse = parameter.process_value

    def process(context: Any, value: Any) -> Any:
        found = _read(kind, value, several)
        missing = found is None or (several and not found)
        if found is _UNREAD or (missing and parameter.required):
            return parse(context, value)
        return found if parameter.callback is None else parameter.callback(context, parameter, found)

    parameter.process_value = process


def _read(kind: Any, value: Any, several: bool) -> Any:
    """A value as its kind, or `_UNREAD`."""
    if several:
        if value is None:
            return ()
        good = kind == list[str] and isinstance(value, (list, tuple)) and all(isinstance(each, str) for each in value)
        return list(value) if good else _UNREAD
    if value is None or (isinstance(value, str) and kind is str):
        return value
    if isinstance(value, str):
        if kind is Path:
            return Path(value)
        if (kind is int and _WHOLE.fullmatch(value)) or (kind is float and _DECIMAL.fullmatch(value)):
            return kind(value)
        return _UNREAD
    return value if type(value) is kind else _UNREAD
