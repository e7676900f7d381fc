"""A step of reinforcement learning, phase by phase: what each rests on, when it runs, and who waits meanwhile.

Times of a rollout that several steps share are those of the whole cycle; `Step.rounds` says how many steps it holds.
Most likely to be wrong: what the host does between phases. Source: docs/theory/rl-step.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from simcost.cost.cost import Cost
from simcost.frozen import frozen
from simcost.learning import algorithm, phases, reward, weights
from simcost.learning import stack as frameworks
from simcost.learning.phases import ALL, CPU, ROLLOUT, TRAINER, Phase, Timeline
from simcost.learning.stack import Framework
from simcost.model import count
from simcost.plan import Plan
from simcost.scenarios.rl.generate import in_flight
from simcost.scenarios.rl.host_link import host_rate
from simcost.scenarios.rl.known import Known
from simcost.scenarios.rl.question import Asked
from simcost.scenarios.rl.replay_table import bytes_of
from simcost.scenarios.rl.reward_model import scored
from simcost.scenarios.rl.sides import Sides, sides
from simcost.scenarios.rl.words import FULL, OFF, ONE_STEP, PARTIAL

KERNELS, DRAWS, LINKS, HOST = "engine kernels", "draws of lengths", "links of a transfer", "host assumed"
FRAMEWORK = "steps of a framework"


@frozen
class Step:
    """A priced step. `timeline`: of a cycle of `rounds` steps; `way`: how weights go."""

    asked: Asked
    sides: Sides
    timeline: Timeline
    rounds: int
    way: str

    @property
    def cost(self) -> Cost:
        """Of one step."""
        return self.timeline.cost * (1.0 / self.rounds)

    @property
    def seconds(self) -> float:
        """Of one step. [s]"""
        return self.timeline.seconds / self.rounds

    @property
    def wait_s(self) -> float:
        """What the pool that waits longer stands idle in a step. [s]"""
        return max(self.timeline.waits.values()) / self.rounds

    @property
    def staleness(self) -> float:
        """Updates between the policy that began an answer and the one that learns from it, on average: answers in
        flight over those of a step (Little's law), less the step itself where both sides take turns."""
        q = self.asked
        if q.mode == ONE_STEP:
            return 1.0
        if q.mode == OFF:
            return (q.rounds * q.updates - 1) / 2.0
        steps = in_flight(q) * q.kept / q.step_answers
        return steps if q.mode == FULL else max(steps - 1.0, 0.0)


def run(q: Asked, known: Known | None = None) -> Step:
    """Prices a step; `known`: what related questions found. Raises SpecError and Infeasible for what cannot be."""
    return of_sides(q, sides(q, {} if known is None else known))


def of_sides(q: Asked, both: Sides) -> Step:
    """The step of sides that are priced already."""
    host = q.framework
    way = q.sync or (weights.GATHER if q.colocated else weights.BROADCAST)
    found = rollout_phases(q, both, host), trainer_phases(q, both, host), sync_phases(q, both, host, way)
    made, learnt, sent = ([missed(one, host.step_spread) for one in each] for each in found)
    if q.mode in (OFF, PARTIAL):
        pools = (ALL,) if q.colocated else (ROLLOUT, TRAINER)
        line = phases.serial([*made, *learnt, *sent], pools)
    else:
        line = phases.beside(made, learnt, sent)
    return Step(q, both, line, q.rounds, way)


def missed(one: Phase, sigma: float) -> Phase:
    """A phase with what steps of a framework are missed by, all phases together."""
    return replace(one, cost=one.cost + Cost(spread={FRAMEWORK: sigma * one.seconds})) if sigma else one


def fitted_s(seconds: float) -> Cost:
    """Time of the host by fitted terms: what they are missed by is in `missed`."""
    return Cost(overhead_s=seconds, fitted_s=seconds)


def host_s(host: Framework, seconds: float) -> Cost:
    """Time of the host, as uncertain as its framework says."""
    return Cost(overhead_s=seconds, spread={HOST: host.host_spread * seconds})


def rollout_phases(q: Asked, both: Sides, host: Framework) -> Iterator[Phase]:
    """From prompts to rewards."""
    made, engine = both.rollout, both.engine
    if made is None or engine is None:
        return
    pool = ALL if q.colocated else ROLLOUT
    sigma = engine.sigma(max(made.running, 1.0))
    hosts = fitted_s(min(made.steps * host.host_decode_s, made.seconds))
    kernels = made.seconds - float(hosts.seconds)
    cost = Cost(memory_s=kernels, spread={KERNELS: sigma * kernels, DRAWS: made.deviation}) + hosts
    yield Phase(
        phases.GENERATE,
        pool,
        cost,
        f"{engine.replicas} replicas request by request, {engine.terms.engine} {engine.terms.version}",
    )
    if q.judges is not None:
        left = reward.exposed(q.judges, made.ends)
        yield Phase(phases.REWARD, CPU, Cost(overhead_s=left), f"{q.judges.workers} workers that begin as answers end")
    if q.reward_model is not None:
        yield Phase(phases.REWARD, pool, scored(q, both.lengths, both.longest), "prefill passes of the reward model")
    between = host_s(host, host.host_phase_s + host.host_answer_s * q.answers)
    yield Phase(phases.HOST, pool, between, "assumed: answers collected and batched")


def asks_old(q: Asked, host: Framework) -> bool:
    """Whether old log-probs are computed: where the ratio may differ from 1, or the framework always does."""
    one = algorithm.load(q.algorithm)
    needed = algorithm.needs_old(one, q.updates * q.rounds, q.mode != OFF)
    return bool(one.GENERATES) and (needed or (bool(one.CLIPS) and host.old_log_probs == frameworks.ALWAYS))


def trainer_phases(q: Asked, both: Sides, host: Framework) -> Iterator[Phase]:
    """From answers to new weights."""
    one = algorithm.load(q.algorithm)
    pool = ALL if q.colocated else TRAINER
    stack = both.trainer.job.stack.name
    moved = both.trainer_memory.moved(both.level)
    if moved:
        yield Phase(
            phases.OFFLOAD, pool, _copied(both, 2.0 * moved), f"states to the host and back, level {both.level}"
        )
    if q.replay:
        yield Phase(
            phases.REPLAY,
            pool,
            Cost(wire_s=replayed_s(q, both)),
            "routing masks to the trainer, over the hosts' links",
        )
    forward = both.trainer.forward().cost + fitted_s(host.host_kernel_s * both.trainer.forward_launches)
    if asks_old(q, host):
        yield Phase(phases.OLD, pool, forward, f"forward passes, stack {stack}")
    if q.reference:
        renewed = 0.0 if q.reference_every is None else 1.0 / q.reference_every
        swap = _copied(both, (2.0 + renewed) * both.trainer.held.parameters)
        yield Phase(
            phases.REFERENCE, pool, forward + swap, f"forward passes, stack {stack}; weights from the host and back"
        )
    if one.CRITIC:
        yield Phase(phases.CRITIC, pool, forward, f"forward passes of the critic, stack {stack}")
    yield Phase(phases.ADVANTAGE, pool, _advantage(both, host), "token by token on the host")
    updates = float(q.updates * q.rounds)
    launched = fitted_s(host.host_kernel_s * both.trainer.launches * updates)
    update = both.trainer.update.cost.cost * updates + launched
    if one.CRITIC:
        yield Phase(phases.CRITIC, pool, update, f"updates of the critic, stack {stack}")
    yield Phase(phases.UPDATE, pool, update, f"{updates:.0f} updates, stack {stack}")


def replayed_s(q: Asked, both: Sides) -> float:
    """Routing masks from the engine's GPUs to their hosts, and from the hosts to the trainer's. [s]"""
    size = bytes_of(both.trainer.job.model, both.lengths)
    return size / host_rate(both.trainer.job.device) * (1.0 / q.engine_gpus + 1.0 / q.trainer_gpus)


def _advantage(both: Sides, host: Framework) -> Cost:
    """Five passes over a number of each token, and a phase of the host."""
    device = both.trainer.job.device
    size = 5.0 * 4.0 * float(np.sum(both.lengths))
    return Cost(memory_s=size / float(device.bandwidth)) + host_s(host, host.host_phase_s)


def _copied(both: Sides, size: float) -> Cost:
    """Bytes over a GPU's link to its host."""
    seconds = size / host_rate(both.trainer.job.device)
    return Cost(wire_s=seconds, spread={LINKS: weights.SPREAD * seconds})


def sync_phases(q: Asked, both: Sides, host: Framework, way: str) -> Iterator[Phase]:
    """New weights in the engine."""
    if both.engine is None:
        return
    sent = sent_of(q, both)
    seconds = weights.seconds(way, sent, both.engine.workload.device)
    cost = Cost(wire_s=seconds, spread={LINKS: weights.SPREAD * seconds})
    tensors = host.host_tensor_s * (0.0 if way == weights.RESHARD else sent.tensors)
    yield Phase(
        phases.SYNC,
        ALL,
        cost + host_s(host, host.host_phase_s + tensors),
        f"{way} over links, tensors one by one by the host",
    )


def sent_of(q: Asked, both: Sides) -> weights.Sent:
    """What a transfer of all weights moves, in the trainer's format, or the engine's where that is narrower."""
    assert both.engine is not None
    w = both.engine.workload
    stored = float(count.weight_bytes(w.model, Plan(), w.view.storage))
    part = both.engine.held.weights
    tensors = sum(times * float(one.copies) for times, block in w.model.blocks() for one in block.weights(Plan()))
    gpus = q.gpus if q.colocated else q.engine_gpus + 1
    job = both.trainer.job
    copy = int(float(np.asarray(job.plan.stage * job.plan.pp)))
    return weights.Sent(stored, part, tensors, gpus, copy, job.recipe.zero_stage == 3)
