"""loss, list scaling-laws, show scaling-law: what published scaling laws say."""

from __future__ import annotations

from typing import Annotated

from simcost.cli import options as o
from simcost.cli.declared import Argument, Option
from simcost.cli.output import emit


def _names(incomplete: str) -> list[str]:
    """Names of laws for shell completion."""
    from simcost.scaling_laws.load import names

    return [name for name in names() if name.startswith(incomplete)]


def listed(format: o.Format = "", output: o.Out = None, strict: o.Strict = False) -> int:
    """Published scaling laws: what they give, over which range they were fitted, their stated error."""
    from simcost import api

    return emit(api.list_scaling_laws(), format, output, strict)


def shown(
    name: Annotated[str, Argument(help="Name of a law, or a file.", autocompletion=_names)],
    format: o.Format = "", output: o.Out = None, strict: o.Strict = False,
) -> int:  # fmt: skip
    """A published scaling law: formula, coefficients with their errors, ranges, what it counts, source."""
    from simcost import api

    return emit(api.show_scaling_law(name), format, output, strict)


def loss(
    model: Annotated[str | None, Option("--model", help=o.MODEL, autocompletion=o.model_names)] = None,
    tokens: Annotated[str | None, Option("--tokens", help="Training tokens: 1.4T, 300B, 1.4e12.")] = None,
    training_flops: Annotated[str | None, Option("--training-flops", help="Training compute in FLOPs, instead of a model: 5.76e23.")] = None,
    isl: Annotated[str | None, Option("--isl", metavar="<count>", help="Tokens of a training sequence, where a law counts FLOPs of attention; default 4096.")] = None,
    range: Annotated[
        str, Option("--range", help="Range in which laws are used: fitted, or published (as far as their sources used them).", autocompletion=o.starting(("fitted", "published")))
    ] = "fitted",
    set: o.Set = None, format: o.Format = "", output: o.Out = None, strict: o.Strict = False,
) -> int:  # fmt: skip
    """Training loss and compute-optimal sizes by every published scaling law whose range covers the question."""
    from simcost import api, grammar

    result = api.loss(model, tokens, training_flops, isl, range, grammar.assignments(set or []))
    return emit(result, format, output, strict)
