"""Training: a step, and the run that it is one of."""

from __future__ import annotations

from pathlib import Path

from simcost import units
from simcost.api.arguments import Count, Model, Sets, cluster, sets_of, unboxes
from simcost.errors import SpecError
from simcost.result import Result

_OPTION = "--timeline"


@unboxes
def train(
    model: Model, hw: str, gpus: Count | None = None, nodes: Count | None = None, micro_batch: Count | None = None, global_batch: Count | None = None,
    seq: Count | None = None, tokens: float | str | None = None, days: float | None = None, usd: float | None = None, set: Sets | None = None, stack: str | None = None,
    engine: str | None = None, price: float | None = None, flops_convention: str = "reference", levers: bool = True, timeline: str | Path | None = None,
) -> Result:  # fmt: skip
    """One training step: `global_batch` sequences of `seq` tokens (4,096), `micro_batch` (1) of a replica at a time. One of `tokens`, `days`, `usd`: of the run that it is one of. `stack`: of `workloads/stacks`;
    `levers`: what single changes would do. `timeline`: a picture (.png, .svg, .html) or a trace (.trace.json) to write. Raises SpecError for settings that are none, Infeasible for a plan that breaks a rule."""
    from simcost.scenarios.train.question import asked
    from simcost.scenarios.train.result import result

    if timeline is not None:
        from simcost.report import timeline as draw

        draw.checked(Path(timeline), _OPTION)
    sets = cluster(hw, sets_of(set, engine), gpus, nodes)
    if isinstance(tokens, str):
        tokens = units.parse(tokens, "tokens", "--tokens")
    aim = {name: value for name, value in (("tokens", tokens), ("days", days), ("usd", usd)) if value is not None}
    for name, value in aim.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0.0 < value < 1e18:
            raise SpecError(f"{name} = {value!r} must be a number above 0")
    question = asked(
        model, hw, {"micro_batch": micro_batch, "global_batch": global_batch, "seq": seq}, sets, stack, price
    )
    found, step = result(question, flops_convention, aim, levers)
    if timeline is not None:
        from simcost.report import timeline as draw
        from simcost.report.training_timeline import charts

        draw.write(Path(timeline), charts(step), found, _OPTION)
    return found
