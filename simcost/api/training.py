"""Training: a step, and the run that it is one of."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simcost import grammar, settings
from simcost.api.arguments import Count, Model, Quantity, Sets, cluster, quantity, sets_of, unboxes
from simcost.errors import SpecError
from simcost.result import Result

if TYPE_CHECKING:
    from simcost.scenarios.train.failures import Failures
    from simcost.scenarios.train.run import RunAsked

_OPTION = "--timeline"


@unboxes
def train(
    model: Model, hw: str, gpus: Count | None = None, nodes: Count | None = None, micro_batch: Count | None = None, global_batch: Count | None = None,
    seq: Count | None = None, tokens: Quantity | None = None, days: float | None = None, usd: float | None = None, set: Sets | None = None, stack: str | None = None,
    engine: str | None = None, price: float | str | None = None, flops_convention: str = "reference", levers: bool = True, timeline: str | Path | None = None,
    rampup: str | Sequence[Quantity] | None = None, scaling: Sequence[Count] | None = None, mtbf: Quantity | None = None, restart: Quantity | None = None,
    checkpoint_rate: Quantity | None = None, checkpoint_interval: Quantity | None = None,
) -> Result:  # fmt: skip
    """One training step: `global_batch` sequences of `seq` tokens (4,096), `micro_batch` (1) of a replica at a time. One of `tokens`, `days`, `usd`: the length of a run of such steps. `stack`: of `workloads/stacks`;
    `levers`: what single changes would do. `timeline`: a picture (.png, .svg, .pdf), a page (.html) or a trace (.trace.json) to write. `rampup`: (first batch, increment, samples) of a batch that grows, as Megatron-LM's --rampup-batch-size; `scaling`:
    numbers of GPUs for the same batch; of failures `mtbf` of one GPU, `restart` and `checkpoint_interval` ([s], or "5 h") and `checkpoint_rate` ([B/s], or "200 GB/s"). Raises SpecError for wrong settings, Infeasible
    for a plan that breaks a rule."""
    from simcost.scenarios.train.question import asked
    from simcost.scenarios.train.result import result

    if timeline is not None:
        from simcost.report import timeline as draw

        draw.checked(Path(timeline), _OPTION)
    sets = cluster(hw, sets_of(set, engine), gpus, nodes)
    failures = failures_of(mtbf, restart, checkpoint_rate, checkpoint_interval)
    of_run = _run(tokens, days, usd, rampup, scaling, failures)
    question = asked(
        model, hw, {"micro_batch": micro_batch, "global_batch": global_batch, "seq": seq}, sets, stack, price
    )
    found, step = result(question, flops_convention, of_run, levers)
    if timeline is not None:
        from simcost.report.training_timeline import charts

        draw.write(Path(timeline), charts(step), found, _OPTION)
    return found


def _run(tokens: Any, days: Any, usd: Any, rampup: Any, scaling: Any, failures: Failures) -> RunAsked:
    """What is asked of the run, in SI. Raises SpecError naming the option of what is no number."""
    from simcost.scenarios.train.run import RunAsked, scaled

    goal = {
        name: quantity(f"--{name}", value, "tokens" if name == "tokens" else "")
        for name, value in (("tokens", tokens), ("days", days), ("usd", usd))
        if value is not None
    }
    counts = () if scaling is None else scaled([int(settings.count("--scaling", grammar.read("plan.gpus", each))) for each in scaling])  # fmt: skip
    return RunAsked(goal, None if rampup is None else _ramp(rampup), counts, failures)


def failures_of(mtbf: Any, restart: Any, rate: Any, interval: Any) -> Failures:
    """What is said of failures and checkpoints, in SI. Raises SpecError naming the option of what is no number."""
    from simcost.scenarios.train.failures import Failures

    times = (
        None if value is None else quantity(f"--{name}", value, "duration", zero=name == "restart")
        for name, value in (("mtbf", mtbf), ("restart", restart), ("checkpoint-interval", interval))
    )
    of_gpu, again, between = times
    of_rate = None if rate is None else quantity("--checkpoint-rate", rate, "bytes_per_s")
    return Failures(of_gpu, again, of_rate, between)


def _ramp(given: Any) -> Any:
    """Three numbers, or "first:increment:samples". Raises SpecError for what is none."""
    from simcost.scenarios.train.run import Ramp

    parts = given.split(":") if isinstance(given, str) else list(given)
    if len(parts) != 3:
        raise SpecError(f"--rampup {given}: write first:increment:samples, as in 3072:1536:114.5M")
    first, increment = (int(settings.count("--rampup", grammar.read("plan.gpus", each))) for each in parts[:2])
    return Ramp(first, increment, quantity("--rampup", parts[2], "tokens"))
