"""The trainer's passes: answers packed into micro-batches, forward passes alone, and updates, all of one plan.

Most likely to be wrong: see `training/step.py`. Source: docs/theory/rl-step.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from simcost import grammar
from simcost.errors import Infeasible, SpecError
from simcost.frozen import frozen
from simcost.learning import launches
from simcost.learning import memory as phases_memory
from simcost.learning.packing import Packed, fullest, packed, padded
from simcost.num import Ints
from simcost.scenarios.rl.question import Asked
from simcost.scenarios.train.question import asked, job
from simcost.training import memory, step
from simcost.training.job import Job
from simcost.training.memory import RUNTIME_BYTES, Memory
from simcost.training.split import Split
from simcost.training.step import TrainStep


@frozen
class Trained:
    """A priced trainer. `minibatch`: one update; `passes`: micro-batches of all answers of a rollout on the slowest
    rank; `room`: tokens that a micro-batch of a data-parallel rank holds at most, of those that pack; `peak`: memory of the fullest rank
    where a micro-batch is full."""

    update: TrainStep
    minibatch: Packed
    passes: int
    room: int
    peak: Memory

    @property
    def job(self) -> Job:
        """What is trained."""
        return self.update.job

    def forward(self) -> Split:
        """Log-probs of all answers of a rollout."""
        return step.forward(self.update, self.passes)

    @property
    def launches(self) -> float:
        """Kernels that one update launches in turn."""
        return launches.of_step(self.update)

    @property
    def forward_launches(self) -> float:
        """Kernels of log-probs of all answers of a rollout."""
        return launches.of_forward(self.update, self.passes)

    @property
    def held(self) -> phases_memory.Trainer:
        """Memory of the fullest rank by what may leave it."""
        one, s = self.peak, self.peak.state
        parameters, gradients, optimizer = float(s.parameters), float(s.gradients), float(s.optimizer)
        passing = one.used - parameters - gradients - optimizer - RUNTIME_BYTES
        return phases_memory.Trainer(parameters, gradients, optimizer, passing, RUNTIME_BYTES)


def ranks_of(plan: Mapping[str, Any], gpus: int) -> int:
    """Data-parallel ranks of a plan. Raises Infeasible where copies do not fill the GPUs."""
    sets = {grammar.split(path)[1]: value for path, value in plan.items()}
    made = grammar.plan_of({**sets, "gpus": gpus})
    unit = float(np.asarray(made.stage * made.pp))
    if gpus % unit or gpus < unit:
        raise Infeasible(f"trainer: {gpus:,} GPUs cannot be divided into copies of its plan, {unit:,.0f} GPUs each")
    return int(gpus / float(np.asarray(made.tp * made.cp * made.pp)))


def trained(q: Asked, plan: Mapping[str, Any], gpus: int, lengths: Ints, longest: int) -> Trained:
    """The trainer on so many GPUs. `lengths`: of all answers of a rollout with their prompts; `longest`: that may come.
    Raises SpecError and Infeasible for what cannot be."""
    ranks = ranks_of(plan, gpus)
    parts = q.minibatches * q.rounds
    room = room_of(q, lengths, longest)
    _divided(q, ranks)
    batch, whole = (
        packed(lengths, ranks, each, room, q.micro_batch)
        if q.packing
        else padded(lengths, ranks, each, q.micro_batch or 1)
        for each in (parts, 1)
    )
    update = step.run(job_of(q, plan, gpus, batch.micro_batch, batch.seq, batch.micro_batches * ranks))
    worst = memory.worst(memory.of_ranks(update))
    full = max(min(room, -(-len(lengths) // (parts * ranks)) * longest), longest)  # or all that a rank has
    if batch.micro_batch * batch.seq < full:
        many = -(-full // longest)
        peak = step.run(job_of(q, plan, gpus, many, full // many, batch.micro_batches * ranks))
        worst = max(worst, memory.worst(memory.of_ranks(peak)), key=lambda one: one.used)
    tokens = batch.micro_batch * batch.seq
    passes = max(round(whole.tokens / ranks * whole.imbalance / tokens), 1)
    return Trained(update, batch, passes, room, worst)


def room_of(q: Asked, lengths: Ints, longest: int) -> int:
    """Most tokens of a micro-batch of a data-parallel rank. Raises SpecError where the longest sequence is longer."""
    if q.micro_tokens is None:
        return longest if q.micro_batch is None else max(fullest(lengths, q.micro_batch), longest)
    if q.micro_tokens < longest:
        raise SpecError(
            f"--micro-batch-tokens {q.micro_tokens:,}: the longest sequence has {longest:,} tokens, and a micro-batch must hold it"
        )
    return q.micro_tokens


def _divided(q: Asked, ranks: int) -> None:
    """Raises Infeasible where minibatches cannot be cut into the micro-batches that are stated."""
    each = ranks * (q.micro_batch or 1)
    if each > ranks and q.step_answers % (q.minibatches * each):
        raise Infeasible(
            f"trainer: --micro-batch {q.micro_batch}: the {q.step_answers / q.minibatches:,.6g} answers of a minibatch must be a multiple of {each:,} "
            f"(micro-batch x {ranks:,} data-parallel ranks)"
        )


def job_of(q: Asked, plan: Mapping[str, Any], gpus: int, micro: int, seq: int, cuts: int) -> Job:
    """One update of `cuts` micro-batches of all ranks. Raises SpecError and Infeasible with the side that is
    refused."""
    phase = {"micro_batch": micro, "global_batch": micro * cuts, "seq": seq}
    sets = {**q.both, **q.training, **plan, "plan.gpus": gpus}
    try:
        return job(asked(q.model, q.hw, phase, sets, q.stack, q.usd_per_hour))
    except Infeasible as refused:
        raise Infeasible(f"trainer: {str(refused).removeprefix('plan: ')}") from None
