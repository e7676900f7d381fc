"""The Result of a training step, with the run that it is one of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from simcost.errors import SpecError
from simcost.provenance import Kind, Note
from simcost.query import engine_of, settings_of
from simcost.result import Result, Row, number
from simcost.scenarios.inputs import sizes, stated
from simcost.scenarios.train import levers
from simcost.scenarios.train.answer import goes, metrics, ranks_table
from simcost.scenarios.train.question import Asked, job
from simcost.training import goodput, memory, run, step
from simcost.training.job import Job
from simcost.training.memory import Memory
from simcost.training.step import TrainStep
from simcost.units import show

# What a restart takes, from a failure to the next step, where nobody says: Llama 3 (arXiv 2407.21783 §3.3.4) reports over 90 % of effective training time at an interruption every three hours, without the time of one.
RESTART_S = 600.0
# Bytes a second that all ranks write of a checkpoint together, where nobody says: 2 TB/s is the sustained rate of Llama 3's storage (§3.3.1), for 16,384 GPUs.
STORAGE_PER_GPU = 2e12 / 16384


def result(
    q: Asked, convention: str = "reference", aim: Mapping[str, float] | None = None, with_levers: bool = True
) -> tuple[Result, TrainStep]:
    """The answer, and the priced step that pictures draw. `aim`: one of tokens, usd, days, for the run. Raises SpecError and Infeasible."""
    asked = job(q)
    found = step.run(asked)
    ranks = memory.of_ranks(found)
    usd = asked.device.usd_per_hour if q.usd_per_hour is None else q.usd_per_hour
    price = None if usd is None else float(usd)
    values = metrics(found, ranks, price, convention)
    tables: dict[str, list[Row]] = {"where the step goes": goes(found), "pipeline ranks": ranks_table(found, ranks)}
    if with_levers:
        tables["levers"] = levers.table(asked, found)
    if aim:
        values |= _run(asked, found, ranks, price, aim)
    most = memory.worst(ranks)
    notes = (*(Note(line) for line in q.said), *asked.notes, *_notes(found, most, tables.get("levers", [])))
    inputs = _inputs(q, asked, convention, aim, with_levers)
    answer = Result(
        "train", inputs, values, tables, notes, _references(asked), _verdict(found, values, most), bool(values["fits"])
    )  # fmt: skip
    return answer, found


def _inputs(
    q: Asked, asked: Job, convention: str, aim: Mapping[str, float] | None, with_levers: bool
) -> dict[str, Any]:
    """All that was asked: of a batch that nobody stated a note says what it became."""
    o, r = q.overrides, asked.recipe
    return {
        "model": stated(q.model), "hw": q.hw, "micro_batch": r.micro_batch, "seq": r.seq, **{key: value for key, value in o.phase.items() if value is not None},
        "engine": engine_of(o), "stack": r.stack, "flops_convention": convention, "levers": with_levers, **dict(aim or {}),
        **({} if q.usd_per_hour is None else {"usd_per_hour": q.usd_per_hour}),
        "plan": {
            **sizes(asked.plan), "vpp": asked.vpp, "schedule": asked.schedule.NAME, "recompute": r.recompute, "zero_stage": r.zero_stage,
            "precision": asked.precision.name, "optimizer": asked.optimizer.name, "sequence_parallel": asked.plan.sequence_parallel,
        },
        "set": {f"{root}.{key}": value for root in ("model", "hw", "plan", "stack") for key, value in getattr(o, root).items()}
        | {f"engine.{key}": value for key, value in settings_of(o).items()},
    }  # fmt: skip


def _run(
    asked: Job, found: TrainStep, ranks: tuple[Memory, ...], price: float | None, aim: Mapping[str, float]
) -> dict[str, object]:
    """Metrics of the run: of so many tokens, so much money, or so many days."""
    if len(aim) > 1:
        raise SpecError(f"--{' and --'.join(aim)}: a run is of one of them, the others follow")
    gpus = float(asked.plan.devices)
    low, high = found.interval
    one = run.Step(found.seconds, float(asked.tokens), gpus, low, high)
    saved = sum(float(each.state.parameters + each.state.optimizer) for each in ranks) * float(asked.plan.stage)
    kept = goodput.goodput(gpus, goodput.write_seconds(saved, STORAGE_PER_GPU * gpus), RESTART_S)
    rates = run.Rates(price, asked.device.tdp, float(kept.share))
    ((name, value),) = aim.items()
    whole = {
        "tokens": lambda: run.of_tokens(one, value, rates), "days": lambda: run.of_seconds(one, value * 86400.0, rates), "usd": lambda: run.of_usd(one, value, rates),
    }[name]()  # fmt: skip
    figures: dict[str, object] = {
        "run_tokens": number(whole.tokens), "run_steps": number(whole.steps), "run_s": number(whole.seconds), "run_gpu_hours": number(whole.gpu_hours),
        "run_gpu_hours_low": number(whole.gpu_hours_low), "run_gpu_hours_high": number(whole.gpu_hours_high), "run_gpu_hours_of_steps": number(whole.gpu_hours * kept.share),
    }  # fmt: skip
    if whole.usd is not None:
        figures |= {
            "run_usd": number(whole.usd),
            "run_usd_low": number(whole.usd_low),
            "run_usd_high": number(whole.usd_high),
        }
    if whole.joules is not None:
        figures["run_joules_assumed"] = number(whole.joules)
    return figures | {
        "goodput": number(kept.share), "mtbf_s": number(kept.mtbf_s), "checkpoint_interval_s": number(kept.interval_s), "checkpoint_bytes": number(saved),
    }  # fmt: skip


def _verdict(found: TrainStep, values: Mapping[str, Any], most: Memory) -> str:
    low, high = found.interval
    said = f"a step takes {show(found.seconds, 'seconds')} ({show(low, 'seconds')} to {show(high, 'seconds')}): MFU {float(values['mfu']):.1%}, {float(values['tokens_per_s_per_gpu']):,.0f} tokens/s per GPU"
    if most.short <= 0.0:
        return (
            f"{said}; fits: {show(most.used, 'memory')} of {show(most.capacity, 'memory')} on pipeline rank {most.rank}"
        )
    return f"{said}; does not fit: pipeline rank {most.rank} needs {show(most.used, 'memory')} of {show(most.capacity, 'memory')}"


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
    notes.append(
        Note(
            "gradients without rows of their own take their forward kernels' time by the ratio of work",
            Kind.TRANSFERRED,
        )
    )
    return tuple(notes)


def _references(asked: Job) -> tuple[str, ...]:
    return (
        f"schedule {asked.schedule.NAME}: {asked.schedule.SOURCE}",
        f"stack {asked.stack.name}: {asked.stack.title}",
        f"precision {asked.precision.name}: {asked.precision.title}",
    )
