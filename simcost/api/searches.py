"""Which plan, which number, which value: questions that try many."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from simcost import grammar, scale, settings
from simcost.api.arguments import (
    Axes,
    Count,
    Model,
    Quantity,
    Sets,
    check_lengths,
    cluster,
    counts_of,
    decode_query,
    prefill_query,
    quantity,
    sets_of,
    several,
    step_query,
    unboxes,
)
from simcost.api.serving import serve_plans
from simcost.errors import SpecError
from simcost.hardware import load as hardware
from simcost.pool import Progress, quiet
from simcost.result import Result


@unboxes
def plans(
    model: Model, hw: str | Sequence[str], gpus: Count | Sequence[Count] | None = None, nodes: Count | None = None, phase: str = "decode",
    batch: Sequence[Count] | None = None, context: Count | None = None, isl: Count | None = None, metric: str | None = None,
    tpot: float | str | None = None, ttft: float | str | None = None, cp: bool = False, set: Sets | None = None, price: float | str | None = None,
    engine: str | None = None, seq: Count | None = None, micro_batch: Count | None = None, global_batch: Count | None = None, stack: str | None = None,
    flops_convention: str | None = None, osl: Count | None = None, rate: float | str | None = None, slo: str | None = None, prefix_hit: float | None = None, prefix_from: str | None = None,
    tokens: Quantity | None = None,
) -> Result:  # fmt: skip
    """Every plan for `gpus` devices, or for each of several numbers of them, of one device or of several, ranked by `metric` (default: tokens
    per second and GPU) at the best of all batches that fit in memory, or of those in `batch`; `tpot` and `ttft` are limits ([s], or
    "50ms"); `cp`: split sequences too. phase="train": every plan of a training step of `global_batch` sequences of `seq` tokens, `micro_batch` of a
    replica at a time (None: 1, 2 and 4 are tried), by the training stack `stack`, and with `tokens` each one's run of them. phase="serve": fleets for `rate` requests per second ("20/s") of `isl` and `osl` tokens within
    `ttft` and `tpot` (`slo`: "ttft=2s,tpot=50ms"), `prefix_hit` of a prompt in the cache, by `prefix_from` in the GPUs' pool, in the host's memory ("host") or nowhere ("recompute"); `gpus`: the most that there are."""
    of_serving = {"osl": osl, "rate": rate, "slo": slo, "prefix_hit": prefix_hit, "prefix_from": prefix_from}
    of_training = {
        "seq": seq,
        "micro_batch": micro_batch,
        "global_batch": global_batch,
        "stack": stack,
        "flops_convention": flops_convention,
        "tokens": tokens,
    }
    if phase not in (*settings.STEPS, "train", "serve"):
        raise SpecError(f"--phase must be decode, prefill, train or serve, not {phase!r}")
    if phase == "serve":
        _refuse({**of_training, "batch": batch, "context": context}, phase)
        limits = {"ttft": ttft, "tpot": tpot}
        return serve_plans(model, hw, gpus, nodes, isl, limits, metric, cp, sets_of(set, engine), price, of_serving)
    _refuse(of_serving, phase)
    if phase == "train":
        _refuse({"batch": batch, "context": context, "isl": isl, "tpot": tpot, "ttft": ttft}, phase)
        return _train_plans(model, hw, gpus, nodes, metric, cp, sets_of(set, engine), price, of_training)
    _refuse(of_training, phase)
    check_lengths(phase, context, isl)
    from simcost.search import objective
    from simcost.search import plans as scenario

    sets = sets_of(set, engine)
    devices = several("--hw", [hardware.spelled(name) for name in ([hw] if isinstance(hw, str) else hw)])
    clusters = [scenario.Cluster(name, counts_of(name, sets, gpus, nodes)) for name in devices]
    sets = {path: value for path, value in sets.items() if grammar.full(path) != "plan.gpus"}
    decode_ = phase == "decode"
    stated = {name: value for name, value in (("tpot", tpot), ("ttft", ttft)) if value is not None}
    found = {name: objective.limit(f"--{name}", value) for name, value in stated.items()}
    wrong = "ttft" if decode_ else "tpot"
    if wrong in found:
        raise SpecError(f"a limit on {wrong} does not apply to {phase}")
    if "batch" in sets and batch is not None:
        raise SpecError(f"'batch' is given twice: batch={batch!r}, and in set")
    tried = [sets.pop("batch")] if "batch" in sets else batch
    batches = None if tried is None else tuple(settings.count("--batch", grammar.read("batch", one)) for one in tried)
    if batches == ():
        raise SpecError("--batch is empty: give at least one batch")
    ranked = objective.spelled(metric or f"{'output' if decode_ else 'input'}_tokens_per_s_per_gpu", decode_)
    wish = objective.Wish(ranked, {f"{name}_s": value for name, value in found.items()}, batches, cp)
    query = (
        decode_query(model, devices[0], None, context, sets, None, price)
        if decode_
        else prefill_query(model, devices[0], None, isl, None, sets, None, price)
    )
    return scenario.result(query, clusters, wish)


def _refuse(foreign: Mapping[str, Any], phase: str) -> None:
    """Raises SpecError for what another phase reads."""
    for name, value in foreign.items():
        if value is not None:
            raise SpecError(f"--{name.replace('_', '-')} does not apply to --phase {phase}: leave it out")


def _train_plans(
    model: Model, hw: str | Sequence[str], gpus: Any, nodes: Any, metric: str | None, cp: bool, sets: dict[str, Any], price: float | str | None, given: Mapping[str, Any],
) -> Result:  # fmt: skip
    from simcost.scenarios.train.question import asked
    from simcost.search import train_plans as scenario

    devices = several("--hw", [hardware.spelled(name) for name in ([hw] if isinstance(hw, str) else hw)])
    clusters = [scenario.Cluster(name, counts_of(name, sets, gpus, nodes)) for name in devices]
    sets = {path: value for path, value in sets.items() if grammar.full(path) != "plan.gpus"}
    phase = {key: given[key] for key in ("micro_batch", "global_batch", "seq")}
    tokens = None if given["tokens"] is None else quantity("--tokens", given["tokens"], "tokens")
    question = asked(model, devices[0], phase, sets, given["stack"], price)
    return scenario.result(question, clusters, cp, metric, given["flops_convention"] or "reference", tokens)


@unboxes
def sweep(
    model: Model | None = None, hw: str | None = None, phase: str = "decode", vary: Axes | None = None, pareto: Sequence[str] | None = None,
    batch: Count | None = None, context: Count | None = None, isl: Count | None = None, past: Count | None = None, set: Sets | None = None,
    price: float | str | None = None, gpus: Count | None = None, nodes: Count | None = None, engine: str | None = None,
    prefill_tokens: Count | None = None, prefill_past: Count | None = None, out: str | Path | None = None, progress: Progress = quiet,
) -> Result:  # fmt: skip
    """A map of designs: every point of the axes of `vary` with its sizes and metrics, and the points for which no other is better in the two metrics of `pareto`
    ("tpot", "params_total:more"). `out`: a .csv or .parquet file (extra `parquet`) that takes the rows, up to a billion, instead of the Result; after an
    interruption the same call continues from the parts beside it. `progress` is called with points done, points in all, and a few words."""
    from simcost.scenarios import design_map as scenario

    sets = cluster(hw, sets_of(set, engine), gpus, nodes, vary)
    query = step_query(phase, model, hw, batch, context, isl, past, sets, price, prefill_tokens, prefill_past, vary)
    if out is not None:
        from simcost.bulk import run

        return run.result(query, pareto, Path(out), run.Ways(scale.workers(), progress))
    return scenario.result(query, pareto)


@unboxes
def sensitivity(
    model: Model, hw: str, phase: str = "decode", metric: str | None = None, step: float = 0.05, only: str | None = None, batch: Count | None = None,
    context: Count | None = None, isl: Count | None = None, past: Count | None = None, set: Sets | None = None, price: float | str | None = None,
    gpus: Count | None = None, nodes: Count | None = None, engine: str | None = None, prefill_tokens: Count | None = None,
    prefill_past: Count | None = None,
) -> Result:  # fmt: skip
    """The elasticity of `metric` (default: the time of the step) to every number of the device, the plan, the step and the model, strongest
    first. `step`: how far to either side, as a share of the number; `only`: "hw", "plan", "phase" or "model"."""
    from simcost.scenarios.goals import sensitivity as scenario

    sets = cluster(hw, sets_of(set, engine), gpus, nodes)
    query = step_query(phase, model, hw, batch, context, isl, past, sets, price, prefill_tokens, prefill_past)
    return scenario.result(query, metric, step, only)


@unboxes
def solve(
    model: Model | None, hw: str | None, path: str, goal: str, phase: str = "decode", batch: Count | None = None, context: Count | None = None, isl: Count | None = None,
    past: Count | None = None, set: Sets | None = None, price: float | str | None = None, gpus: Count | None = None, nodes: Count | None = None,
    engine: str | None = None, prefill_tokens: Count | None = None, prefill_past: Count | None = None,
) -> Result:  # fmt: skip
    """The value of the number `path` ("hw.memory.bandwidth", "batch") at which `goal` ("tpot=20ms", "mfu>=0.4") is met, with the step there; or
    what prevents it."""
    from simcost.scenarios.goals import solve as scenario

    sets = sets_of(set, engine)
    if any(grammar.full(each) == grammar.full(path) for each in sets):
        raise SpecError(f"'{path}' is both set and solved for")
    sets = cluster(hw, sets, gpus, nodes)
    query = step_query(phase, model, hw, batch, context, isl, past, sets, price, prefill_tokens, prefill_past)
    return scenario.result(query, path, goal)
