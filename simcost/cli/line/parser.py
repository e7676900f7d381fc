"""The parser of command lines, Typer's, made of the commands that a line names: help, completion, error texts and whatever is not simple.

Typer makes every command for every run, and reads values by a library that takes as long to import as numpy. Here the asked commands are made, for a
page that lists commands none of their options, and texts, whole and decimal numbers and paths are read directly. Most likely to
be wrong: a later Typer that keeps types elsewhere; then it reads all values itself.
"""

from __future__ import annotations

import copy
import inspect
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from simcost import settings
from simcost.cli import question
from simcost.cli.declared import Argument, Command, Commands, Function, Parameter, Rest
from simcost.cli.help import page
from simcost.cli.line import given_once
from simcost.cli.line.direct import UNREAD, read
from simcost.cli.pictures import pictured
from simcost.settings import SIZES

HELP = ("-h", "--help")


def run(commands: Commands, words: list[str]) -> Any:
    """What the command of a line answers. Raises its errors and the parser's."""
    found = command(commands, words)
    given_once.check(words, found)
    return found.main(words, standalone_mode=False, prog_name="simcost")


def command(commands: Commands, words: list[str]) -> Any:
    """The parser of a command line: of the command that it names, or of all where it names none."""
    found = typer.main.get_command(_app(commands, words, "simcost"))
    _each(found)
    return found


def whole(commands: Commands) -> Any:
    """The parser of all commands."""
    return command(commands, [])


class Pictured(TyperCommand):
    """A command whose answer -o may draw."""

    def __init__(self, *words: Any, params: list[Any], **more: Any) -> None:
        super().__init__(*words, params=_with(params, _pictures()), **more)

    def invoke(self, ctx: Any) -> Any:
        """Raises SpecError as `pictured.drawn` does."""
        with pictured.drawn(ctx):
            return super().invoke(ctx)


class Question(Pictured):
    """Adds the options of a plan to a command that has --set, and leaves their values there."""

    def __init__(self, *words: Any, params: list[Any], **more: Any) -> None:
        self.added = _with(params, _plans())[len(params) :]
        super().__init__(*words, params=[*params, *self.added], **more)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """The options, then the plan's in a section of their own: sizes share a line."""
        every, added = self.params, self.added
        self.params = [one for one in every if one not in added]
        super().format_options(ctx, formatter)
        self.params = every
        sizes = ", ".join(one.opts[0] for one in added if one.name in SIZES)
        lines = [
            (f"{sizes} <count>", "Sizes of the plan: --tp 8 is --set plan.tp=8."),
            *(
                (f"--set model.{key}=...", question.sentence(settings.of("model")[key].meaning))
                for key in question.SWAPS
            ),
            *(one.get_help_record(ctx) for one in added if one.name not in SIZES),
        ]
        with formatter.section("Plan and swaps"):
            formatter.write_dl(lines)

    def invoke(self, ctx: Any) -> Any:
        """Raises SpecError as `question.settled` does."""
        with question.settled(ctx, [one.name for one in self.added]):
            return super().invoke(ctx)


def _with(params: list[Any], added: list[Any]) -> list[Any]:
    own = {one.name for one in params}
    return [*params, *(copy.copy(one) for one in added if one.name not in own)]


@cache
def _pictures() -> list[Any]:
    return _parsed(pictured.options())


@cache
def _plans() -> list[Any]:
    return _parsed(question.options())


def _parsed(parameters: list[Parameter]) -> list[Any]:
    """The parser's own objects for options: those of a command that has these alone."""

    def alone(**_: Any) -> None:
        pass

    app = typer.Typer(add_completion=False)
    app.command()(_typed(alone, parameters))
    return list(typer.main.get_command(app).params)


def _app(commands: Commands, words: list[str], name: str) -> typer.Typer:
    """An app of the one command or group that the first word names, of all where it names none."""
    settings_of = {"help_option_names": list(HELP), "max_content_width": page.WIDEST}
    app = typer.Typer(
        name=name, no_args_is_help=True, help=commands.help, pretty_exceptions_enable=False, rich_markup_mode=None,
        context_settings=settings_of if name == "simcost" else None,
    )  # fmt: skip
    if name == "simcost":
        app.callback()(_main)
    first = words[0] if words else ""
    named = first in commands.commands or first in commands.groups
    listed = first in HELP  # a page of names: options are not needed
    for word, one in commands.commands.items():
        if not named or word == first:
            app.command(word, cls=_class(one, listed), **one.how)(_function(one, listed))
    for word, (_, how) in commands.groups.items():
        if not named or word == first:
            app.add_typer(_app(commands.group(word), words[1:] if named else words, word), name=word, **how)
    return app


def _main(
    version: Annotated[
        bool,
        typer.Option("--version", callback=lambda value: _version(value), is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    pass


def _version(value: bool) -> None:
    if value:
        from simcost import __version__

        typer.echo(f"simcost {__version__}")
        raise typer.Exit


def _class(one: Command, listed: bool) -> type[TyperCommand] | None:
    if listed or not one.pictured:
        return None
    return Question if one.planned else Pictured


def _function(one: Command, listed: bool) -> Function:
    """A command's function as Typer reads it."""
    return _typed(one.function, [] if listed else one.parameters())


def _typed(function: Function, parameters: list[Parameter]) -> Function:
    """A function with Typer's own declarations."""

    def called(**values: Any) -> Any:
        return function(**values)

    kind = inspect.Parameter.KEYWORD_ONLY
    signature = [
        inspect.Parameter(
            one.name,
            kind,
            default=inspect.Parameter.empty if one.default is ... else one.default,
            annotation=_hint(one),
        )
        for one in parameters
    ]
    rest = [name for name, hint in getattr(function, "__annotations__", {}).items() if hint == Rest.__name__]
    signature += [inspect.Parameter(name, kind, annotation=typer.Context) for name in rest if parameters]
    called.__signature__ = inspect.Signature(signature)  # type: ignore[attr-defined]
    called.__name__, called.__doc__ = function.__name__, function.__doc__
    called.__wrapped__ = function  # type: ignore[attr-defined]
    called.__annotations__ = {}
    return called


def _hint(one: Parameter) -> Any:
    made = typer.Argument if isinstance(one.declared, Argument) else typer.Option
    return Annotated[one.hint.__origin__, made(*one.declared.names, **one.declared.how)]


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
        found = read(kind, value, several)
        missing = found is None or (several and not found)
        if found is UNREAD or (missing and parameter.required):
            return parse(context, value)
        return found if parameter.callback is None else parameter.callback(context, parameter, found)

    parameter.process_value = process
