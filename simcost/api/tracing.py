"""A trace of torch.profiler beside the prediction of the same step."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from simcost.api.arguments import Count, Model, Sets, unboxes
from simcost.api.steps import explain
from simcost.api.training import train
from simcost.errors import SpecError, nearest
from simcost.result import Result

PHASES = ("decode", "prefill", "train")


@unboxes
def trace(
    file: str | Path, model: Model, hw: str, phase: str = "decode", batch: Count | None = None, context: Count | None = None, isl: Count | None = None, past: Count | None = None,
    micro_batch: Count | None = None, global_batch: Count | None = None, seq: Count | None = None, stack: str | None = None, set: Sets | None = None, gpus: Count | None = None,
    nodes: Count | None = None, engine: str | None = None, steps: int | None = None, within: str = "", device: int | None = None, rules: str | Path | None = None,
    heard: Callable[[int], None] | None = None,
) -> Result:  # fmt: skip
    """Times of the kernels of a trace (`export_chrome_trace`, .json or .json.gz, of one rank) beside their predicted times, the largest difference first. `phase`: "decode" (with `batch`, `context`), "prefill" (`batch`, `isl`, `past`)
    or "train" (`micro_batch`, `global_batch`, `seq`, `stack`). Steps are those that torch.profiler marks, occurrences of the annotation `within`, or `steps`. `device`: of several in one file. `rules`: a file of your own
    rules for names of kernels. `heard` is called with the number of characters read. Raises SpecError for a file that is not a trace, and as `explain` and `train`."""
    from simcost.scenarios.profiled.result import Asked, checked, result

    serving = {"batch": batch, "context": context, "isl": isl, "past": past}
    training = {"micro-batch": micro_batch, "global-batch": global_batch, "seq": seq, "stack": stack}
    if phase not in PHASES:
        raise SpecError(f"--phase must be one of {', '.join(PHASES)}, not {phase!r}{nearest(str(phase), PHASES)}")
    _only(phase, serving if phase == "train" else training)
    checked(steps, device)
    if phase == "train":
        answer = train(
            model, hw, gpus, nodes, micro_batch, global_batch, seq, set=set, stack=stack, engine=engine, levers=False
        )
    else:
        answer = explain(model, hw, phase, batch, context, isl, past, set, None, gpus, nodes, engine, order="execution")
    asked = Asked(Path(file), phase, answer, steps, within, device, None if rules is None else Path(rules))
    return result(asked, heard or (lambda _: None))


def _only(phase: str, foreign: dict[str, Any]) -> None:
    """Raises SpecError for what another phase reads."""
    name = next((name for name, value in foreign.items() if value is not None), None)
    if name is not None:
        raise SpecError(f"--{name} does not apply to {phase}: leave it out")
