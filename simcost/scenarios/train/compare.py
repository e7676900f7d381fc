"""compare --phase train: designs that are trained side by side on one batch, what each keeps beside its cache in serving, and the terms in which they differ, largest first.

Designs are ranked by tokens per second and GPU, so that plans of several sizes compare. Most likely to be wrong: what two designs owe the same error (`cost.ratio_deviation`). Source: docs/theory/training-step.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from simcost import grammar
from simcost.cost.cost import Cost, probability_less, tied
from simcost.cost.price import paid, unsure, with_range
from simcost.dtypes import dtype
from simcost.errors import SimcostError, SpecError
from simcost.frozen import frozen
from simcost.hardware.price_use import stated as price_stated
from simcost.model import count, flops
from simcost.model.given import Name
from simcost.num import Num
from simcost.pool import Piece, mapped
from simcost.provenance import Note
from simcost.result import Result, Row, number
from simcost.scenarios import price_notes
from simcost.scenarios.inputs import dimensions, sizes, stated
from simcost.scenarios.train.answer import counts, goes, metrics
from simcost.scenarios.train.question import Asked, asked, job
from simcost.scenarios.train.run import Priced, of_row, said_of_rows
from simcost.scenarios.variants import Side, sides
from simcost.training import memory, step
from simcost.training.job import Job
from simcost.training.step import TrainStep
from simcost.units import show

SPEED = "tokens_per_s_per_gpu"
_USD = "usd_per_billion_tokens"
_SHOWN = (
    "step_s", "step_low_s", "step_high_s", SPEED, "mfu", "bubble_fraction", "exposed_communication", _USD,
)  # fmt: skip
_OF_PRICE = (f"{_USD}_price_low", f"{_USD}_price_high")
_SIZES = ("training_flops_per_token", "gpus", "global_batch", "micro_batches")
# Correlation of the errors of two steps of one stack and device, of public steps predicted without coefficients: 0.82 of other models (800 pairs: SimuMax, Korthikanti, NeMo, Megatron Bridge), 0.93 of one model (4,253 pairs).
ALIKE_STEPS = 0.82
_OF_ALL = "kernels in a step"  # of `cost.COMMON`: wholly alike on one device
# The best of each: whether more is better.
_BEST = {
    SPEED: True,
    _USD: False,
    "memory_peak_bytes": False,
    "kv_bytes_per_token": False,
    "training_flops_per_token": False,
}


@frozen
class Question:
    """What all designs answer; `phase`: micro_batch, global_batch, seq as they were stated; `tokens`: of a run that is priced too."""

    hw: str
    phase: Mapping[str, Any]
    sets: Mapping[str, Any]
    stack: str | None
    usd_per_hour: float | str | None
    convention: str
    tokens: float | None = None


class Trained(NamedTuple):
    """A design that can be run."""

    label: str
    job: Job
    step: TrainStep

    @property
    def cost(self) -> Cost:
        """Of its step, to be compared: how far kernels in a step are missed is in part the stack's on its device, in part the design's own."""
        spread = dict(self.step.cost.cost.spread)
        if (whole := spread.pop(step.TOGETHER, None)) is not None:
            spread |= {
                _OF_ALL: ALIKE_STEPS**0.5 * whole,
                f"{step.TOGETHER}: {self.label}": (1.0 - ALIKE_STEPS) ** 0.5 * whole,
            }
        return replace(self.step.cost.cost, spread=spread).on(self.job.device.name)

    @property
    def gpu_seconds_per_token(self) -> float:
        """What ranks it. [s]"""
        return self.step.seconds * float(self.job.plan.devices) / self.job.tokens


def result(models: Sequence[Name], variants: Sequence[str | Mapping[str, Any]], q: Question) -> Result:
    """The table of designs and that of terms. A design that cannot be run is a row with its reason. Raises SpecError for a question that is none, and where none can be run."""
    flops.named(q.convention)
    found: list[tuple[Side, Trained | str]] = []
    said: dict[str, list[str]] = {}  # a note -> designs of which it is
    for side, each, answered in _answered(sides(models, variants, q.hw), q):
        found.append((side, answered))
        own = answered.job.notes if isinstance(answered, Trained) else ()
        for line in dict.fromkeys((*each.said, *own)):
            said.setdefault(line, []).append(side.label)
    every = [one for _, one in found if isinstance(one, Trained)]
    if not every:
        raise SpecError(f"no design can be run: {found[0][1]}")
    best = min(every, key=lambda one: one.gpu_seconds_per_token)
    alike = [one.label for one in every if one is not best and tied(one.cost, best.cost, _ratio(one, best))]
    rows = [_row(side, one, q) if isinstance(one, Trained) else _refused(side, one) for side, one in found]
    rows = [_placed(row, one, best, alike) for row, (_, one) in zip(rows, found, strict=True)]
    fits = all(row.get("fits", False) for row in rows)
    ties = {SPEED: alike, _USD: _cheap(every, rows, q)}
    values: dict[str, object] = {"designs": len(rows), **_winners(rows)} | {
        f"tied_{name}": ", ".join(labels) for name, labels in ties.items() if labels
    }
    return Result(
        "compare", _inputs(models, variants, q, every[0]), values, {"designs": rows, "terms": _terms(every)},
        (*_notes(said, len(every)), *(() if q.tokens is None else (said_of_rows(q.tokens),)), *_price_notes(every, q)), _references(every, q.convention), f"{_memory(rows)}; {_fastest(every, best, alike)}", fits,
        tuple(row for one in every for row in dimensions(one.job.model, one.label)),
    )  # fmt: skip


def _price_notes(every: Sequence[Trained], q: Question) -> tuple[Note, ...]:
    usd = price_stated(q.usd_per_hour)[0]
    devices = {one.job.device.name: one.job.device for one in every}
    return tuple(
        note for name, one in devices.items() for note in price_notes.of(name, paid(one.price, usd), usd is not None)
    )


def _answered(every: Sequence[Side], q: Question) -> Iterator[tuple[Side, Asked, Trained | str]]:
    """Every design with its question and its answer. The batch that nobody states is that of the first which can be run: one question for all."""
    batch, at = q.phase.get("global_batch"), 0
    while batch is None and at < len(every):
        each, answered = _one(every[at], q, None)
        yield every[at], each, answered
        batch, at = answered.job.global_batch if isinstance(answered, Trained) else None, at + 1
    pieces = [Piece((side, q, batch), side.label, 1.0) for side in every[at:]]
    for side, (each, answered) in zip(every[at:], mapped(_one, pieces), strict=True):
        yield side, each, answered


def _one(side: Side, q: Question, batch: Any) -> tuple[Asked, Trained | str]:
    each = _asked(side, q, batch)
    return each, _trained(side, each, q.convention)


def _asked(side: Side, q: Question, batch: Any) -> Asked:
    sets = {**grammar.taken(q.sets)[0], **side.sets}
    one = asked(side.model, side.hw, {**q.phase, "global_batch": batch}, sets, q.stack, q.usd_per_hour)
    return one._replace(said=(*one.said, *side.said))


def _trained(side: Side, q: Asked, convention: str) -> Trained | str:
    """A priced design, or why there is none."""
    try:
        one = job(q)
        counts(one, convention)
        one = replace(one, model=replace(one.model, name=side.label))
        return Trained(side.label, one, step.run(one))
    except SimcostError as error:
        return str(error).removeprefix("plan: ")


def _notes(said: Mapping[str, Sequence[str]], designs: int) -> tuple[str, ...]:
    """Notes, those of some designs alone with their names."""
    found = []
    for line, labels in said.items():
        text = line if len(labels) >= designs else f"{', '.join(labels)}: {line}"
        found.append(line.worded(text) if isinstance(line, Note) else text)
    return tuple(found)


def _row(side: Side, one: Trained, q: Question) -> Row:
    ranks = memory.of_ranks(one.step)
    most = memory.worst(ranks)
    price = paid(one.job.device.price, price_stated(q.usd_per_hour)[0])
    usd = None if price is None else float(price.usd)
    values = with_range(metrics(one.step, ranks, usd, q.convention), price)
    run = {} if q.tokens is None else of_row(Priced(one.step, usd).of_run, one.job, q.tokens, usd)
    return {
        **_identity(side), "feasible": True, **{name: values[name] for name in (*_SHOWN, *_OF_PRICE) if name in values}, **with_range(run, price),
        "memory_peak_bytes": number(most.used), "parameter_bytes": number(float(most.state.parameters + most.state.gathered)),
        "gradient_bytes": number(float(most.state.gradients)), "optimizer_bytes": number(float(most.state.optimizer)), "activation_bytes": number(most.activations),
        "other_bytes": number(most.used - float(most.state.total) - most.activations), "fits": most.short <= 0.0,
        "activation_bytes_per_token_per_layer": number(_kept(one)), "kv_bytes_per_token": number(_cached(one.job)), **_counts(one.job),
        **{name: values[name] for name in _SIZES},
    }  # fmt: skip


def _identity(side: Side) -> Row:
    plan = [f"{path.removeprefix('plan.')}={value}" for path, value in side.sets.items() if path.startswith("plan.")]
    return {"design": side.label, "model": str(side.model), "hw": side.hw, "plan": ", ".join(plan)}


def _refused(side: Side, reason: str) -> Row:
    return {**_identity(side), "feasible": False, "reason": reason}


def _kept(one: Trained) -> float:
    """Bytes that a rank keeps of a token in a layer for backward passes, the mean over layers; embedding and head are none. [B]"""
    kept: Num = 0.0
    layers = 0
    for chunk in one.step.chunks:
        ends = sum(n * one.step.parts[key].kept for key, n in chunk.stage.held if not one.step.parts[key].layer)
        kept, layers = kept + chunk.kept - ends, layers + chunk.layers
    return float(kept) / layers / (one.job.recipe.micro_batch * one.job.recipe.seq)


def _cached(one: Job) -> float:
    """What serving caches of a token, in the plan's format, else the config's, else bf16. [B]"""
    quantised = None if one.model.quantisation is None else one.model.quantisation.kv
    kv = dtype(one.plan.kv_dtype) if one.plan.kv_dtype else quantised or dtype("bf16")
    return float(kv.tensor_bytes(count.kv_elements(one.model)["kv_elements_per_token"]))


def _counts(one: Job) -> Row:
    found = count.parameters(one.model)
    return {name: number(found[name]) for name in ("params_total", "params_active_no_embedding")}


def _ratio(one: Trained, other: Trained) -> float:
    return one.gpu_seconds_per_token / other.gpu_seconds_per_token


def _placed(row: Row, one: Trained | str, best: Trained, alike: list[str]) -> Row:
    """The row with its place behind its speed: how far it lies behind the fastest, how surely, and whether it is that or tied with it."""
    if isinstance(one, str):
        return row
    behind = None if one is best else number(probability_less(best.cost, one.cost, _ratio(best, one)))
    place = {
        "speed_versus_best": number(_ratio(best, one) - 1.0), "speed_probability_behind": behind, "speed_best_or_tied": one is best or one.label in alike,
    }  # fmt: skip
    found: Row = {}
    for name, value in row.items():
        found[name] = value
        if name == SPEED:
            found |= place
    return found


def _winners(rows: Sequence[Row]) -> Row:
    found: Row = {}
    for name, more in _BEST.items():
        able = [row for row in rows if row.get(name) is not None]
        if able:
            found[f"best_{name}"] = (max if more else min)(able, key=lambda row: row[name])["design"]
    return found


def _cheap(every: Sequence[Trained], rows: Sequence[Row], q: Question) -> list[str]:
    """Designs that cannot be told from the one with the least USD for its tokens, for the error of their steps or the range of their prices."""
    usd = {str(row["design"]): float(row[_USD]) for row in rows if row.get(_USD) is not None}
    hourly = price_stated(q.usd_per_hour)[0]
    costs = {
        one.label: unsure(one.cost, one.job.device.name, paid(one.job.device.price, hourly))
        for one in every
        if one.label in usd
    }
    least = min(usd, key=lambda name: usd[name], default="")
    return [name for name, cost in costs.items() if name != least and tied(cost, costs[least], usd[name] / usd[least])]


def _terms(every: Sequence[Trained]) -> list[Row]:
    """Seconds of the step by kind of work of each design's busiest rank, largest difference first."""
    times = {one.label: {row["part"]: float(row["time_s"]) for row in goes(one.step)} for one in every}
    rows = []
    for term in dict.fromkeys(part for mine in times.values() for part in mine):
        each = [mine.get(term, 0.0) for mine in times.values()]
        row: Row = {"term": term, **{f"{label}_s": mine.get(term) for label, mine in times.items()}}
        rows.append({**row, "spread_s": max(each) - min(each)})
    return sorted(rows, key=lambda row: -float(row["spread_s"]))


def _memory(rows: Sequence[Row]) -> str:
    misfits = [row["design"] for row in rows if not row.get("fits", False)]
    if not misfits:
        return "all designs fit"
    return f"DOES NOT FIT or cannot be run: {', '.join(misfits)}; times are printed as if the memory sufficed"


def _fastest(every: Sequence[Trained], best: Trained, alike: list[str]) -> str:
    """Who trains most tokens per second and GPU, by how much more than the next, and how surely."""
    said = f"training: {best.label} is the fastest, {1.0 / best.gpu_seconds_per_token:,.0f} tokens/s per GPU"
    others = [one for one in every if one is not best]
    if not others:
        return said
    second = min(others, key=lambda one: one.gpu_seconds_per_token)
    sure = float(probability_less(best.cost, second.cost, _ratio(best, second)))
    more = show(_ratio(second, best) - 1.0, "change").lstrip("+")
    with_others = f"; tied with {', '.join(alike)}" if alike else ""
    return f"{said}, {more} more than {second.label} (probability {show(sure, 'probability')}){with_others}"


def _inputs(
    models: Sequence[Name], variants: Sequence[str | Mapping[str, Any]], q: Question, first: Trained
) -> dict[str, Any]:
    """What was asked, of the first design where variants differ in it."""
    named: dict[str, Any] = {"models": [stated(name) for name in models]}
    if variants:
        named["variants"] = [one if isinstance(one, str) else dict(one) for one in variants]
    r = first.job.recipe
    return {
        **named, "hw": q.hw, "phase": "train", "micro_batch": r.micro_batch, "global_batch": first.job.global_batch, "seq": r.seq, "stack": r.stack, **({} if q.tokens is None else {"tokens": q.tokens}),
        "engine": first.job.engine, "flops_convention": counts(first.job, q.convention).name,
        **({} if q.usd_per_hour is None else {"usd_per_hour": q.usd_per_hour}), "plan": {**sizes(first.job.plan), "vpp": first.job.vpp},
        "set": {path: value for path, value in grammar.taken(q.sets)[0].items() if grammar.split(path)[0] != "phase"},
    }  # fmt: skip


def _references(every: Sequence[Trained], convention: str) -> tuple[str, ...]:
    how = counts(every[0].job, convention)
    stacks = dict.fromkeys(f"stack {one.job.stack.name}: {one.job.stack.title}" for one in every)
    return (f"FLOPs by convention {how.name}: {how.words} ({how.source})", *stacks)
