"""The Result of a step of reinforcement learning, and of the run that it is one of.

Most likely to be wrong: see `step.py`. Source: docs/theory/rl-step.md.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from simcost.cost.cost import interval
from simcost.cost.price import paid, with_range
from simcost.hardware.price_use import stated as price_stated
from simcost.learning import algorithm, phases, rollout
from simcost.provenance import Kind, Note
from simcost.result import Result, Row, number
from simcost.scenarios import price_notes
from simcost.scenarios.inputs import stated
from simcost.scenarios.rl import memory_table, replay_table, split
from simcost.scenarios.rl.engine import plan_words
from simcost.scenarios.rl.known import Known
from simcost.scenarios.rl.levers import table as lever_rows
from simcost.scenarios.rl.passes import Trained
from simcost.scenarios.rl.question import Asked
from simcost.scenarios.rl.step import Step, asks_old, run
from simcost.scenarios.train import failures
from simcost.training.goodput import Goodput
from simcost.units import show

_HOUR = 3600.0
_ROUNDED = 0.1  # of attention's work, by which equal sequences in whole numbers may differ without a word
_NAMES = {
    phases.GENERATE: "rollout_s",
    phases.REWARD: "reward_s",
    phases.OLD: "old_logprob_s",
    phases.REFERENCE: "reference_s",
    phases.CRITIC: "critic_s",
    phases.UPDATE: "update_s",
    phases.SYNC: "sync_s",
    phases.OFFLOAD: "offload_s",
    phases.HOST: "host_s",
    phases.ADVANTAGE: "advantage_s",
    phases.REPLAY: "replay_s",
}


def result(q: Asked, levers: bool = True) -> tuple[Result, Step]:
    """The answer, and the priced step that pictures draw. Raises SpecError and Infeasible."""
    known: Known = {}
    found = run(q, known)
    values = metrics(found)
    tables: dict[str, list[Row]] = {"phases": phases_table(found), "memory by phase": memory_table.rows(found)}
    if q.replay:
        tables["routing replay"] = _replay(found)
    if levers:
        if not q.colocated:
            tables["split"] = split.table(found, known)
        tables["levers"] = lever_rows(found, known)
    notes = _notes(found)
    if (near := split.best(tables.get("split", []))) is not None and near["rollout_gpus"] != q.rollout_gpus:
        notes.insert(
            0,
            Note(
                f"--placement disaggregated:{near['rollout_gpus']} is faster: {show(float(near['step_s']), 'seconds')}",
                Kind.SAID,
            ),
        )
    answer = Result(
        "rl",
        _inputs(q, found, levers),
        values,
        tables,
        tuple(notes),
        _references(found),
        _verdict(found, values),
        bool(values["fits"]),
    )
    return answer, found


def metrics(found: Step) -> dict[str, Any]:
    """Metrics of a step by name, in SI."""
    q, both, line = found.asked, found.sides, found.timeline
    low, high = interval(found.cost)
    times = {name: number(line.of(phase) / found.rounds) for phase, name in _NAMES.items()}
    tokens = float(np.mean(both.lengths)) * q.step_answers
    made = both.rollout
    hours = found.seconds * q.gpus / _HOUR
    values: dict[str, Any] = {
        "step_s": number(found.seconds),
        "step_low_s": number(float(low)),
        "step_high_s": number(float(high)),
        **times,
        "wait_s": number(found.wait_s),
        "staleness_updates": number(found.staleness),
        "tokens_per_step": number(tokens),
        "tokens_per_s_per_gpu": number(tokens / found.seconds / q.gpus),
        "tokens_per_gpu_hour": number(tokens / hours),
        "gpu_hours_per_step": number(hours),
        "mean_osl": number(q.osl.mean),
        "longest_osl": number(float(q.osl.longest) if made is None else made.longest),
        "capped_fraction": number(0.0 if q.max_osl is None else rollout.capped_share(q.uncapped, float(q.max_osl))),
        "memory_peak_bytes": number(memory_table.peak(found)),
        "fits": not both.short,
        "micro_batches": both.trainer.minibatch.micro_batches,
        "mean_micro_batch_tokens": number(both.trainer.minibatch.micro_batch * both.trainer.minibatch.seq),
        "gpus": q.gpus,
    }
    price = paid(both.trainer.job.device.price, price_stated(q.usd_per_hour)[0])
    if price is not None:
        values["usd_per_step"] = number(hours * float(price.usd))
    if made is not None:
        values |= {
            "rollout_busy_fraction": number(made.busy),
            "rollout_half_s": number(made.half_s / found.rounds),
            "prefix_hit": number(made.hit),
        }
    if q.steps is not None:
        kept = goodput(found)
        part = q.steps / float(kept.share)
        values |= {"steps": q.steps, "gpu_hours": number(hours * part), "days": number(found.seconds * part / 86400.0)}
        if price is not None:
            values["usd"] = number(hours * float(price.usd) * part)
        values |= failures.metrics(kept, failures.checkpoint(both.trainer.job))
    return with_range(values, price)


def goodput(found: Step) -> Goodput:
    """Of a run of such steps: a failure of any GPU of both pools stops it, and the trainer writes a checkpoint between two steps. Raises SpecError."""
    q = found.asked
    return failures.kept(found.sides.trainer.job, q.failures, float(q.gpus), found.seconds)


def phases_table(found: Step) -> list[Row]:
    """A row a phase, in order of time; of a rollout that several steps share the whole cycle."""
    rows = []
    for one in sorted(found.timeline.placed, key=lambda each: each.start):
        low, high = one.phase.interval
        rows.append(
            {
                "phase": one.phase.name,
                "pool": one.phase.pool,
                "start_s": number(one.start),
                "end_s": number(one.end),
                "time_s": number(one.phase.seconds),
                "low_s": number(low),
                "high_s": number(high),
                "share": number(one.phase.seconds / found.timeline.seconds),
                "rests_on": one.phase.rests,
            }
        )
    return rows


def _replay(found: Step) -> list[Row]:
    """What the routing masks take and save."""
    both = found.sides
    assert both.engine is not None
    resident = both.trainer_memory.resident(both.level) if found.asked.colocated else 0.0
    kept = both.engine.replica.kept(float(np.ceil(both.engine.context)))
    bytes_ = both.engine.token_bytes - replay_table.routed(kept.workload.model).token_bytes
    return replay_table.rows(
        both.trainer.update,
        both.lengths,
        both.trainer.passes,
        bytes_,
        both.engine.pool(resident),
        found.timeline.of(phases.REPLAY),
    )


def _inputs(q: Asked, found: Step, levers: bool) -> dict[str, Any]:
    """All that was asked, and what was found of what was not."""
    given: dict[str, Any] = {
        "model": stated(q.model),
        "hw": q.hw,
        "gpus": q.gpus,
        "prompts": q.prompts,
        "samples": q.samples,
        "max_osl": q.max_osl,
        **q.said,
        **({"micro_batch": q.micro_batch} if q.micro_tokens is None else {"micro_batch_tokens": q.micro_tokens}),
        **{side: plan_words(plan) for side, plan in (("rollout", q.rollout), ("train", q.train)) if plan is not None},
        "kl": q.reference,
        "levers": levers,
        "usd_per_hour": q.usd_per_hour,
        "plan": {
            **{side: plan_words(plan) for side, plan in found.sides.plans.items()},
            "offload": found.sides.level,
            "sync": found.way,
        },
        "set": {**q.both, **q.serving, **q.training},
    }
    given.pop("price", None)
    if q.reward_model is not None:
        given["reward_model"] = stated(q.reward_model)
    return {key: value for key, value in given.items() if value is not None}


def _notes(found: Step) -> list[Note]:
    q, both = found.asked, found.sides
    notes = [
        Note(
            f"--{side} {plan_words(both.plans[side])}: not stated, so the smallest plan that fits is used",
            Kind.ASSUMED,
        )
        for side in both.found
    ]
    notes.append(_micro_note(q, both.trainer))
    if both.short:
        notes.append(Note(both.short, Kind.LIMIT))
    host = q.framework
    notes.append(Note(f"framework {host.name}: {host.title}; {host.rests} (workloads/rl-stacks)", Kind.ASSUMED))
    if found.rounds > 1:
        notes.append(
            Note(
                f"a rollout of {q.answers:,} answers serves {found.rounds} steps: phases are those of all together",
                Kind.SAID,
            )
        )
    one = algorithm.load(q.algorithm)
    if one.GENERATES and not asks_old(q, host):
        notes.append(
            Note(
                "the step computes no old log-probs, because it makes one update of fresh answers or its algorithm uses no ratio",
                Kind.SAID,
            )
        )
    if both.engine is not None:
        if idle := q.engine_gpus - both.engine.gpus:
            notes.append(
                Note(f"{idle:,} GPUs of the rollout are not used: no whole copy of its plan fits on them", Kind.CHANGED)
            )
        if both.rollout is not None and both.rollout.preempted:
            notes.append(
                Note(
                    f"{both.rollout.preempted:,} sequences of the simulated replicas were preempted, because the pool is too small",
                    Kind.LIMIT,
                )
            )
        if q.judges is None and q.reward_model is None:
            notes.append(
                Note(
                    "rewards are assumed to be rules that the host checks without extra time (--reward or --reward-model sets a time)",
                    Kind.ASSUMED,
                )
            )
    if q.steps is not None:
        notes.append(failures.note(q.failures, goodput(found), both.trainer.job))
    imbalance = both.trainer.minibatch.imbalance
    if imbalance > 1.05:
        notes.append(
            Note(
                f"the slowest trainer rank has {imbalance:.2f} times the mean of tokens: few sequences per rank",
                Kind.SAID,
            )
        )
    price = paid(both.trainer.job.device.price, price_stated(q.usd_per_hour)[0])
    priced = price_notes.of(both.trainer.job.device.name, price, price_stated(q.usd_per_hour)[0] is not None)
    return [*notes, *priced, *both.trainer.job.notes]


def _micro_note(q: Asked, trainer: Trained) -> Note:
    """How large a micro-batch may be, and why."""
    batch = trainer.minibatch
    stated = (q.micro_batch or 1) > 1 or q.micro_tokens is not None
    if not q.packing:
        size = f"{batch.micro_batch:,} sequence{'s' * (batch.micro_batch > 1)} padded to {batch.seq:,} tokens"
    elif q.micro_batch is not None:
        size = f"{q.micro_batch:,} sequence{'s' * (q.micro_batch > 1)} without padding, {trainer.room:,} tokens at most"
    else:
        size = f"packed with up to {trainer.room:,} tokens{', the longest sequence' * (q.micro_tokens is None)}"
    text = f"trainer: a micro-batch of a data-parallel rank is {size}{'' if stated else ' (the smallest; --micro-batch sets another)'}; {batch.micro_batches:,} in an update"
    if abs(batch.pairs - 1.0) > _ROUNDED:
        text += (
            f"; as {batch.micro_batch:,} of {batch.seq:,} tokens, which is {batch.pairs:.0%} of the work of attention"
        )
    return Note(text, Kind.SAID if stated else Kind.ASSUMED)


def _references(found: Step) -> tuple[str, ...]:
    one = algorithm.load(found.asked.algorithm)
    job = found.sides.trainer.job
    return (f"algorithm {one.NAME}: {one.SOURCE}", f"stack {job.stack.name}: {job.stack.title}")


def _verdict(found: Step, values: dict[str, Any]) -> str:
    low, high = (show(float(values[f"step_{end}_s"]), "seconds") for end in ("low", "high"))
    said = f"a step takes {show(found.seconds, 'seconds')} ({low} to {high})"
    most = max(found.timeline.placed, key=lambda one: one.phase.seconds).phase
    share = most.seconds / found.timeline.seconds
    speed = f"{float(values['tokens_per_s_per_gpu']):,.0f} tokens/s per GPU"
    return f"{said}: {most.name} {share:.0%}, {speed}"
