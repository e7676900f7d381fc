"""The sensitivity command, and --solve of decode and prefill."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from simcost.cli import options as o
from simcost.cli.declared import Option
from simcost.cli.output import emit
from simcost.cli.pictures.also import also, ready
from simcost.errors import SpecError
from simcost.result import Result

_ROOTS = ("hw", "plan", "phase", "model")


def sensitivity(
    model: o.Model, hw: o.Hw, phase: o.Phase = "decode",
    metric: Annotated[str | None, Option("--metric", help="Metric whose elasticity is computed: tpot, ttft, usd, mfu or a full name; default: the time of the step.")] = None,
    range: Annotated[str, Option("--range", help="How far each number is varied to either side.")] = "5%",
    only: Annotated[str | None, Option("--only", help="Only numbers of hw, plan, phase or model.", autocompletion=o.starting(_ROOTS))] = None,
    batch: o.Batch = None, context: o.OfDecode = None, isl: o.OfPrefill = None, past: o.PastOfPrefill = None,
    prefill_tokens: o.PrefillTokens = None, prefill_past: o.PrefillPast = None, engine: o.Engine = None, set: o.Set = None, price: o.Price = None,
    gpus: o.Gpus = None, nodes: o.Nodes = None, format: o.Format = "", output: o.Out = None, strict: o.Strict = False, details: o.Details = False,
    plot: o.Plot = None,
) -> int:  # fmt: skip
    """Which numbers of the device, the plan, the step and the model change a metric most, strongest first."""
    from simcost import api, grammar
    from simcost.scenarios.goals.sensitivity import share

    ready(plot)
    result = api.sensitivity(
        model, hw, phase, metric, share(range), only, batch, context, isl, past, grammar.assignments(set or [], engine), price, gpus, nodes,
        prefill_tokens=prefill_tokens, prefill_past=prefill_past,
    )  # fmt: skip
    also(result, plot, "sensitivity")
    return emit(result, format, output, strict, details)


def solved(
    solve: str | None, goal: str | None, vary: list[str] | None, ask: Callable[[str, str], Result]
) -> Result | None:
    """The answer of --solve and --for; None where neither is given. Raises SpecError for one without the other, and beside --vary."""
    if solve is None and goal is None:
        return None
    if solve is None or goal is None:
        raise SpecError("--solve and --for go together: --solve hw.memory.bandwidth --for tpot=20ms")
    if vary:
        raise SpecError("--solve takes one operating point: use --set instead of --vary")
    if "=" in solve:
        raise SpecError(f"--solve {solve}: give only the key of the number; state the goal with --for")
    return ask(solve, goal)
