"""The Result of a training step, with the run that it is one of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from simcost.cost.price import paid, with_range
from simcost.model.flops.conventions import Convention
from simcost.provenance import Kind, Note
from simcost.query import engine_of, settings_of
from simcost.result import Result, Row
from simcost.scenarios import price_notes
from simcost.scenarios.inputs import sizes, stated
from simcost.scenarios.train import levers, run, unused
from simcost.scenarios.train.answer import counts, goes, metrics, ranks_table
from simcost.scenarios.train.question import Asked, job
from simcost.scenarios.train.run import RunAsked, checked
from simcost.training import memory, step
from simcost.training.job import Job
from simcost.training.memory import Memory
from simcost.training.step import TrainStep
from simcost.units import show


def result(
    q: Asked, convention: str = "reference", aim: RunAsked | None = None, with_levers: bool = True
) -> tuple[Result, TrainStep]:
    """The answer, and the priced step that pictures draw. `aim`: what is asked of the run. Raises SpecError and Infeasible."""
    of_run = checked(aim or RunAsked({}))
    asked = job(q)
    counted = counts(asked, convention)  # a convention that does not define the model is refused before the work
    found = step.run(asked)
    ranks = memory.of_ranks(found)
    cost = paid(asked.device.price, q.usd_per_hour)
    price = None if cost is None else float(cost.usd)
    values = metrics(found, ranks, price, convention)
    tables: dict[str, list[Row]] = {"where the step goes": goes(found), "pipeline ranks": ranks_table(found, ranks)}
    if with_levers:
        tables["levers"] = levers.table(asked, found)
    figures, more, said = run.figures(run.Priced(found, price), of_run)
    values = with_range(values | figures, cost)
    tables |= more
    most = memory.worst(ranks)
    notes = (
        *(Note(line) for line in q.said),
        *asked.notes,
        *said,
        *price_notes.of(asked.device.name, cost, q.usd_per_hour is not None),
        *(price_notes.energy(asked.device) if "run_joules_assumed" in values else ()),
        *unused.notes(q, found),
        *_notes(found, most, tables.get("levers", [])),
    )
    inputs = _inputs(q, asked, counted, of_run, with_levers)
    answer = Result(
        "train", inputs, values, tables, notes, _references(asked, counted), _verdict(found, values, most), bool(values["fits"])
    )  # fmt: skip
    return answer, found


def _inputs(q: Asked, asked: Job, counted: Convention, aim: RunAsked, with_levers: bool) -> dict[str, Any]:
    """All that was asked: of a batch that nobody stated a note says what it became."""
    o, r = q.overrides, asked.recipe
    return {
        "model": stated(q.model), "hw": q.hw, "micro_batch": r.micro_batch, "seq": r.seq, **{key: value for key, value in o.phase.items() if value is not None},
        "engine": engine_of(o), "stack": r.stack, "flops_convention": counted.name, "levers": with_levers, **aim.stated(),
        **({} if q.usd_per_hour is None else {"usd_per_hour": q.usd_per_hour}),
        "plan": {
            **sizes(asked.plan), "vpp": asked.vpp, "schedule": asked.schedule.NAME, "recompute": r.recompute, "zero_stage": r.zero_stage,
            "precision": asked.precision.name, "optimizer": asked.optimizer.name, "sequence_parallel": asked.plan.sequence_parallel,
        },
        "set": {f"{root}.{key}": value for root in ("model", "hw", "plan", "stack") for key, value in getattr(o, root).items()}
        | {f"engine.{key}": value for key, value in settings_of(o).items()},
    }  # fmt: skip


def _verdict(found: TrainStep, values: Mapping[str, Any], most: Memory) -> str:
    low, high = found.interval
    said = f"a step takes {show(found.seconds, 'seconds')} ({show(low, 'seconds')} to {show(high, 'seconds')}): MFU {float(values['mfu']):.1%}, {float(values['tokens_per_s_per_gpu']):,.0f} tokens/s per GPU"
    if most.short <= 0.0:
        return (
            f"{said}; fits: {show(most.used, 'memory')} of {show(most.capacity, 'memory')} on pipeline rank {most.rank}"
        )
    needs = f"pipeline rank {most.rank} needs {show(most.used, 'memory')} of {show(most.capacity, 'memory')}"
    if most.may_fit:
        return (
            f"{said}; may not fit: {needs}, {show(most.low, 'memory')} at the low end of its 90 % interval, which fits"
        )
    return f"{said}; does not fit: {needs}"


def _notes(found: TrainStep, most: Memory, changes: list[Row]) -> tuple[Note, ...]:
    notes: list[Note] = []
    if most.short > 0.0:
        fitting = [row for row in changes if row.get("fits")]
        near = (
            f": nearest change that fits: {fitting[0]['change']} (step {show(float(fitting[0]['step_s']), 'seconds')})"
            if fitting
            else (": no single change of the levers fits" if changes else "")
        )
        notes.append(Note(f"pipeline rank {most.rank} lacks {show(most.short, 'memory')}{near}", Kind.LIMIT))
    elif most.short + 1.645 * most.spread > 0.0:
        notes.append(
            Note(
                f"memory is close: {show(most.used, 'memory')} with a 90 % interval of ±{show(1.645 * most.spread, 'memory')}",
                Kind.LIMIT,
            )
        )
    device, formats = found.job.device, found.job.precision
    narrow, wide = formats.forward.peak, formats.activation.peak
    if narrow != wide:
        times = float(device.peak(narrow)) / float(device.peak(wide))
        notes.append(Note(f"mfu is relative to the {narrow} peak; relative to that of {wide}, as some reports state it, it is {times:.3g} times as much", Kind.SAID))  # fmt: skip
    if sent := float(most.state.host_traffic):
        notes.append(Note(f"plan.ema=host: each GPU sends {show(sent, 'memory')} of new weights to its host once a step; a link of {show(sent / found.seconds, 'bytes_per_s')} hides that beside the next one", Kind.ASSUMED))  # fmt: skip
    notes.append(
        Note(
            "times of backward kernels without measurements are those of the forward kernel, scaled by the ratio of work",
            Kind.SCOPE,
        )
    )
    return tuple(notes)


def _references(asked: Job, counted: Convention) -> tuple[str, ...]:
    return (
        f"FLOPs by convention {counted.name}: {counted.words} ({counted.source})",
        f"schedule {asked.schedule.NAME}: {asked.schedule.SOURCE}",
        f"stack {asked.stack.name}: {asked.stack.title}",
        f"precision {asked.precision.name}: {asked.precision.title}",
    )
