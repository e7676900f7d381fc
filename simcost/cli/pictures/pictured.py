"""A command whose answer -o may draw: --figure and --width, declared once for all of them."""

from __future__ import annotations

import copy
import inspect
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from simcost import files
from simcost.cli.output import PICTURES, drawing
from simcost.errors import SpecError

NAMES = (
    "against", "calibration", "errors", "crossover", "sensitivity", "timeline", "budget", "stages", "variants", "laws", "latency", "sweep", "designs", "pareto", "breakdown",
    "roofline", "memory",
)  # fmt: skip
WIDTHS = ("slide", "column")


class Pictured(TyperCommand):
    """Adds --figure and --width to a command that has -o."""

    def __init__(self, *words: Any, params: list[Any], **more: Any) -> None:
        own = {one.name for one in params}
        added = [copy.copy(one) for one in _options() if "output" in own and one.name not in own]
        super().__init__(*words, params=[*params, *added], **more)

    def invoke(self, ctx: Any) -> Any:
        """Raises SpecError, before the work, for a picture that the command's answers do not have."""
        name, width = ctx.params.pop("figure", None), ctx.params.pop("width", None)
        out = ctx.params.get("output")
        suffix = out.suffix.lower() if isinstance(out, Path) else ""
        for option, value in (("--figure", name), ("--width", width)):
            if value is not None and suffix not in PICTURES:
                raise SpecError(
                    f"{option} {value} applies to a picture only: use -o with a name that ends in {', '.join(PICTURES)}"
                )
        if suffix in PICTURES:
            from simcost.report.figures import kinds

            kinds.check(ctx.command_path.partition(" ")[2], name or "", width or WIDTHS[0], f"-o {out}")
            files.check(out, f"-o {out}")
        with drawing(name or "", width or WIDTHS[0]):
            return super().invoke(ctx)


@cache
def _options() -> list[Any]:

    def starting(words: tuple[str, ...]) -> Any:
        return lambda incomplete: [word for word in words if word.startswith(incomplete)]

    figure = typer.Option("--figure", help=f"Which picture -o x.png (.svg, .pdf) draws: {', '.join(NAMES)}; default: the first that the result has.", autocompletion=starting(NAMES))  # fmt: skip
    width = typer.Option("--width", help="Width of the picture: slide (the default), or column (3.3 inches, for a paper).", autocompletion=starting(WIDTHS))  # fmt: skip
    return parsed({"figure": Annotated[str | None, figure], "width": Annotated[str | None, width]})


def parsed(declared: dict[str, Any]) -> list[Any]:
    """The parser's own objects for options by name, each None where a line does not state it: those of a command that has these alone."""

    def command(**_: Any) -> None:
        pass

    kind = inspect.Parameter.KEYWORD_ONLY
    parameters = [inspect.Parameter(name, kind, default=None, annotation=hint) for name, hint in declared.items()]
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    app = typer.Typer(add_completion=False)
    app.command()(command)
    return list(typer.main.get_command(app).params)


def offered(app: typer.Typer) -> None:
    """Every command of an app that has -o, and of the groups inside it, offers pictures."""
    for command in app.registered_commands:
        if command.callback is not None and "output" in inspect.signature(command.callback).parameters:
            command.cls = command.cls if command.cls is not None and issubclass(command.cls, Pictured) else Pictured
    for group in app.registered_groups:
        if group.typer_instance is not None:
            offered(group.typer_instance)
