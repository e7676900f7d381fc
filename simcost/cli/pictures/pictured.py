"""A command whose answer -o may draw: --figure and --width, declared once for all of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Annotated, Any

from simcost import files
from simcost.cli.declared import Option, Parameter
from simcost.cli.output import PICTURES, drawing
from simcost.errors import SpecError

NAMES = (
    "against", "calibration", "errors", "crossover", "sensitivity", "timeline", "budget", "stages", "variants", "laws", "latency", "sweep", "designs", "pareto", "breakdown",
    "roofline", "memory",
)  # fmt: skip
WIDTHS = ("slide", "column")


@contextmanager
def drawn(ctx: Any) -> Iterator[None]:
    """A context in which a command runs: --figure and --width leave `ctx.params`. `ctx`: the parser's context, or a `Line`. Raises SpecError,
    before the work, for a picture that the command's answers do not have."""
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
        yield


@cache
def options() -> list[Parameter]:
    """--figure and --width, each None where a line does not state it."""

    def starting(words: tuple[str, ...]) -> Any:
        return lambda incomplete: [word for word in words if word.startswith(incomplete)]

    figure = Option("--figure", help=f"Which picture -o x.png (.svg, .pdf) draws: {', '.join(NAMES)}; default: the first that the result has.", autocompletion=starting(NAMES))  # fmt: skip
    width = Option("--width", help="Width of the picture: slide (the default), or column (3.3 inches, for a paper).", autocompletion=starting(WIDTHS))  # fmt: skip
    return [
        Parameter(name, Annotated[str | None, one], one, None) for name, one in (("figure", figure), ("width", width))
    ]
