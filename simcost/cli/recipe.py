"""The recipe command: training stages in a row."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from simcost.cli import options as o
from simcost.cli.declared import Argument, Option
from simcost.cli.output import check, emit


def recipe(
    name: Annotated[str, Argument(help="A recipe that ships, or recipe.toml.", autocompletion=o.recipe_names)],
    hw: Annotated[str | None, Option("--hw", help="Device of all stages, instead of the recipe's own.", autocompletion=o.hardware_names)] = None,
    gpus: o.Gpus = None, price: o.Price = None,
    mtbf: o.Mtbf = None, restart: o.Restart = None, checkpoint_rate: o.CheckpointRate = None, checkpoint_interval: o.CheckpointInterval = None,
    set: Annotated[list[str] | None, Option("--set", help="A value of a stage, or of all that have it: rl.steps=4000, '*.plan.ep=16'.")] = None,
    ranges: Annotated[bool, Option("--ranges/--no-ranges", help="Also price each assumption at both ends of its range.")] = True,
    timeline: Annotated[Path | None, Option("--timeline", help="Draw the stages: .png, .svg, .pdf, a page as .html (extra 'plot'), or .trace.json for Perfetto.")] = None,
    format: o.Format = "", output: o.Out = None, strict: o.Strict = False, details: o.Details = False,
) -> int:  # fmt: skip
    """What a training recipe costs: GPU hours, $ and days of its stages, beside published figures, and the effect of its assumptions."""
    from simcost import api
    from simcost.scenarios.recipe.change import stated

    check(format, output)
    result = api.recipe(
        name, hw, gpus, stated(set or []), price, ranges, timeline, mtbf, restart, checkpoint_rate, checkpoint_interval
    )
    return emit(result, format, output, strict, details)
