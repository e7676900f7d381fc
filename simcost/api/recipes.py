"""Recipes: what a row of training stages costs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from simcost import grammar
from simcost.api.arguments import Count, Quantity, Sets, sets_of, unboxes
from simcost.api.learning import rl
from simcost.api.serving import serve
from simcost.api.training import failures_of, train
from simcost.files import write_whole
from simcost.result import Result

_OPTION = "--timeline"


@unboxes
def recipe(
    recipe: str, hw: str | None = None, gpus: Count | None = None, set: Sets | None = None, price: float | str | None = None,
    ranges: bool = True, timeline: str | Path | None = None, mtbf: Quantity | None = None, restart: Quantity | None = None, checkpoint_rate: Quantity | None = None,
    checkpoint_interval: Quantity | None = None,
) -> Result:  # fmt: skip
    """What a recipe costs: `recipe` ships (`workloads/recipes`) or is a file. `hw`, `gpus`: of all stages, instead of the recipe's own; `set`: "<stage>.<key>" to a value; `price`: USD per GPU hour. `ranges`: what
    GPU hours are at both ends of each assumption, which takes most of the time. `mtbf`, `restart`, `checkpoint_rate`, `checkpoint_interval`: of all stages that train, as `train` takes them. `timeline`: a
    picture (.png, .svg, .pdf), a page (.html) or a trace (.trace.json) to write. Raises SpecError for wrong input, Infeasible for a stage that cannot run."""
    from simcost.scenarios.recipe.result import result

    if timeline is not None:
        from simcost.report import timeline as draw

        draw.checked(Path(timeline), _OPTION)
    count: Any = None if gpus is None else grammar.read("plan.gpus", gpus)
    failures_of(mtbf, restart, checkpoint_rate, checkpoint_interval)  # refused here, not by a stage
    runs = {
        "mtbf": mtbf,
        "restart": restart,
        "checkpoint_rate": checkpoint_rate,
        "checkpoint_interval": checkpoint_interval,
    }
    commands: dict[str, Any] = {"train": train, "serve": serve, "rl": rl}
    found, stages = result(recipe, hw, count, sets_of(set), price, ranges, commands, runs)
    if timeline is not None:
        _write(Path(timeline), found, stages)
    return found


def _write(path: Path, found: Result, stages: Sequence[Any]) -> None:
    """The stages as a trace, a picture or a page. Raises SpecError where it cannot be written."""
    from simcost.report import timeline

    if not timeline.is_trace(path):
        from simcost.report.figures.timeline import charts

        timeline.write(path, charts(found), found, _OPTION)
        return
    from simcost.report.learning.spans import Span, trace

    spans = [Span(one.stage.name, one.stage.command, f"{one.cost.gpu_hours:,.0f} GPU hours", one.start_s, one.end_s) for one in stages]  # fmt: skip
    write_whole(path, json.dumps(trace(spans, found.verdict), separators=(",", ":")), f"{_OPTION} {path}")
