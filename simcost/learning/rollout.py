"""A rollout: prompts times samples dealt over replicas of an engine, each run event by event; its wall is the longest
answer of the slowest replica.

Replicas are alike and share nothing, so that each runs alone; of many those with the longest answers and the most
tokens run, which set the wall, and some others, which stand for the rest. Lengths are drawn once a seed: the spread over
seeds is that of one step. Most likely to be wrong: how far lengths of one prompt's samples go together, which nobody
prints; a router that evens out work while answers run. Source: docs/theory/rl-step.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np

from simcost.errors import SpecError
from simcost.frozen import frozen
from simcost.num import Array, Ints, normal
from simcost.serving.events import plug_in
from simcost.serving.lengths import Lengths
from simcost.serving.policy import Policy
from simcost.serving.replica import Replica
from simcost.serving.step_table import Extent, StepTable, StepTimes
from simcost.serving.trace import Trace

SIMULATED = 8  # replicas of a rollout that run; half of them those that may be the slowest
SEEDS = 5  # draws of lengths
_BELOW_ONE = 1.0 - 2.0**-53  # lengths without an end have no longest


@frozen
class Engine:
    """Replicas of the engine that answers. `times` and `policy`: of one; `pool_tokens`: KV tokens that it holds;
    `emitted`: tokens of a step of a sequence, above 1 with speculative decoding."""

    times: StepTimes
    policy: Policy
    pool_tokens: float
    replicas: int
    emitted: float = 1.0

    def steps(self, tokens: Ints) -> Ints:
        """Steps that answers of so many tokens take, elementwise: that of the prompt makes one token, each after it
        `emitted`, in whole steps."""
        return 1 + np.ceil((tokens - 1) / self.emitted).astype(np.int64)

    def tokens(self, steps: Ints) -> Ints:
        """Whole tokens that so many steps make, elementwise; none in none."""
        return np.where(steps > 0, np.floor(1.0 + (steps - 1) * self.emitted), 0.0).astype(np.int64)


@frozen
class Answers:
    """Answers to be generated, prompt by prompt. `isl`, `osl`: tokens; `cached`: of each prompt, already there;
    `prompt`: whose answer it is."""

    isl: Ints
    osl: Ints
    cached: Ints
    prompt: Ints

    def __len__(self) -> int:
        return len(self.isl)

    def of(self, chosen: Ints) -> Answers:
        """Some of them."""
        return Answers(self.isl[chosen], self.osl[chosen], self.cached[chosen], self.prompt[chosen])

    @property
    def lengths(self) -> Ints:
        """Tokens of prompt and answer."""
        return self.isl + self.osl

    def run(self, engine: Engine, times: StepTable, stop: int | None = None) -> Trace:
        """Through one replica, all sent at once; `stop`: until so many have ended. Raises SpecError for an answer that
        the pool cannot hold."""
        own, shared = with_prefixes(self)
        osl = engine.steps(own.osl)
        checked(int(np.max(own.isl + osl)) - 1, engine)
        sent = np.zeros(len(own))
        one = Replica(
            times,
            plug_in(engine.policy),
            engine.policy,
            times.extent.batch,
            engine.pool_tokens,
            own.isl,
            osl,
            own.cached,
            sent,
            shared=shared,
        )
        one.run(stop)
        return one.trace(own.isl, osl)


class Batch(Protocol):
    """What a rollout generates: answers, or trajectories of several turns."""

    @property
    def isl(self) -> Ints:
        """Tokens of each prompt."""

    @property
    def osl(self) -> Ints:
        """Tokens that are made of each."""

    @property
    def lengths(self) -> Ints:
        """Tokens of each in all."""

    def __len__(self) -> int: ...

    def of(self, chosen: Ints) -> Batch:
        """Some of them."""

    def run(self, engine: Engine, times: StepTable, stop: int | None = None) -> Trace:
        """Through one replica."""


def checked(longest: int, engine: Engine) -> None:
    """Raises SpecError for a sequence that the pool cannot hold alone."""
    if longest > engine.pool_tokens:
        raise SpecError(
            f"an answer of {longest:,} tokens with its prompt does not fit in the KV pool of {engine.pool_tokens:,.0f} tokens"
        )


@frozen
class Rollout:
    """What a rollout takes. `seconds`: the mean wall over seeds, `deviation` one standard deviation of it [s]; `ends`:
    when answers end, of all replicas, ascending [s]; `running`: sequences of a replica on average; `half_s`: when half
    of the answers have ended [s]; `tokens`: of answers, the mean; `longest`: tokens of the longest answer, the mean
    over seeds; `preempted`: sequences that gave their KV back; `recomputed`: tokens that were computed again; `busy`:
    part of the time in which a replica runs anything; `hit`: part of the prompts' tokens that were in the cache;
    `steps`: of the engine until the wall."""

    seconds: float
    deviation: float
    ends: Array
    running: float
    half_s: float
    tokens: float
    longest: float
    preempted: int
    recomputed: int
    busy: float = 1.0
    hit: float = 0.0
    steps: float = 0.0


def shares(rng: np.random.Generator, prompt: Ints, each: int, alike: float) -> Array:
    """Uniform shares [n, each] of answers, `prompt` [n] whose they are, 0 up. Those of one prompt have normal scores of
    correlation `alike`, 0 to 1; each alone is uniform whatever that is (a Gaussian copula)."""
    if not alike:
        return np.asarray(rng.random((len(prompt), each)), np.float64)
    common = rng.standard_normal(int(prompt.max(initial=0)) + 1)[prompt, None]
    scores = math.sqrt(alike) * common + math.sqrt(1.0 - alike) * rng.standard_normal((len(prompt), each))
    return np.asarray(np.minimum(normal(scores), _BELOW_ONE), np.float64)


def drawn(isl: Lengths, osl: Lengths, prompts: int, samples: int, seed: int, alike: float = 0.0) -> Answers:
    """Answers of every prompt; `alike`: correlation of the lengths of one prompt's answers, as `shares`."""
    rng = np.random.default_rng([seed, 3])
    of = np.repeat(np.arange(prompts), samples)
    asked = np.floor(isl.quantile(rng.random(prompts)) + rng.random(prompts)).astype(np.int64)[of]
    made = np.floor(osl.quantile(shares(rng, of, 1, alike)[:, 0]) + rng.random(len(of))).astype(np.int64)
    return Answers(asked, made, np.zeros_like(asked), of)


def dealt(count: int, replicas: int) -> list[Ints]:
    """Which answers each replica takes: neighbours, so that samples of a prompt stay together as far as numbers allow,
    and as many on each as can be."""
    return [each for each in np.array_split(np.arange(count), replicas) if len(each)]


def with_prefixes(mine: Answers) -> tuple[Answers, Ints]:
    """(a replica's answers whose prompt another sample there brings as cached, tokens of each prompt whose KV others
    hold for it). The first sample of a prompt computes it; of its KV each holds an equal part."""
    prompts, first, counts = np.unique(mine.prompt, return_index=True, return_counts=True)
    owner = np.zeros(len(mine), bool)
    owner[first] = True
    known = np.maximum(mine.cached, mine.isl - 1)  # one token is computed, for its logits
    several = counts[np.searchsorted(prompts, mine.prompt)]
    shared = mine.isl - np.ceil(mine.isl / several).astype(np.int64)
    return Answers(mine.isl, mine.osl, np.where(owner, mine.cached, known), mine.prompt), shared


def table(engine: Engine, draws: Sequence[Batch], each: int) -> StepTable:
    """Step times of one replica for all that some draws ask; `each`: sequences of one replica."""
    lengths, isl = (np.concatenate([getattr(one, name) for one in draws]) for name in ("lengths", "isl"))
    most = max(float(np.max(lengths)) - 1.0, 1.0)
    sequences = max(int(min(engine.policy.sequences, each, engine.pool_tokens)), 1)
    extent = Extent(
        batch=sequences,
        tokens=int(min(engine.policy.tokens, sequences * most)),
        least=float(np.min(isl)),
        typical=float(np.mean(isl) + np.mean(lengths - isl) / 2.0),
        most=most,
    )
    return StepTable(engine.times, extent, float(engine.policy.host_step_s), plug_in(engine.policy).shares_step)


def burst(engine: Engine, draw: Callable[[int], Batch], seed: int, seeds: int = SEEDS) -> Rollout:
    """A whole batch, from the start to the end of the longest; `draw`: the batch of a seed. Raises SpecError as
    `Answers.run`."""
    draws = [draw(seed + i) for i in range(seeds)]
    shares = dealt(len(draws[0]), engine.replicas)
    times = table(engine, draws, max(map(len, shares)))
    found = [of_draw(engine, times, one, shares) for one in draws]
    return mean(found, np.asarray([one.seconds for one in found]))


def mean(found: Sequence[Rollout], walls: Array) -> Rollout:
    """The mean of several, with the spread of their walls; ends are those of the first, stretched to it."""

    def of(name: str) -> float:
        return float(np.mean([getattr(one, name) for one in found]))

    wall = float(np.mean(walls))
    return replace(
        found[0],
        seconds=wall,
        deviation=float(np.std(walls, ddof=1)) if len(walls) > 1 else 0.0,
        ends=found[0].ends * (wall / max(found[0].seconds, 1e-30)),
        **{name: of(name) for name in ("running", "half_s", "tokens", "longest", "busy", "hit", "steps")},
        preempted=sum(one.preempted for one in found),
        recomputed=sum(one.recomputed for one in found),
    )


def chosen(answers: Batch, shares: Sequence[Ints]) -> tuple[list[int], list[int]]:
    """(replicas that may be the slowest, some of the others, which stand for the rest); all, where there are few."""
    if len(shares) <= SIMULATED:
        return list(range(len(shares))), []
    extreme: list[int] = []
    for score in (np.max, np.sum):  # the longest answer, the most tokens
        scores = np.asarray([float(score(answers.osl[share])) for share in shares])
        order = np.argsort(-scores, kind="stable").tolist()
        extreme += [at for at in order if at not in extreme][: SIMULATED // 4]
    rest = [at for at in range(len(shares)) if at not in extreme]
    return extreme, rest[: SIMULATED - len(extreme)]


def of_draw(engine: Engine, times: StepTable, answers: Batch, shares: Sequence[Ints]) -> Rollout:
    """One draw of lengths."""
    extreme, others = chosen(answers, shares)
    traces = {at: answers.of(shares[at]).run(engine, times) for at in (*extreme, *others)}
    slowest = max(traces.values(), key=lambda trace: float(np.max(trace.last_token)))
    wall = float(np.max(slowest.last_token))
    # Of trajectories the last turn, which stands last.
    over = {at: trace.last_token[-len(shares[at]) :] for at, trace in traces.items()}
    ends = np.concatenate([over[at] for at in extreme])
    if others:
        rest = np.sort(np.concatenate([over[at] for at in others]))
        left = len(answers) - len(ends)
        ends = np.concatenate([ends, rest[((np.arange(left) + 0.5) / left * len(rest)).astype(np.int64)]])
    steps = [trace.steps for trace in traces.values()]
    busy = sum(float(np.sum(each.seconds)) for each in steps)
    ends = np.sort(ends)
    return Rollout(
        wall,
        0.0,
        ends,
        sum(float(np.sum(each.seconds * each.running)) for each in steps) / max(busy, 1e-30),
        float(ends[(len(ends) - 1) // 2]),
        float(np.sum(answers.osl)),
        float(np.max(answers.osl)),
        sum(trace.preemptions for trace in traces.values()),
        sum(trace.recomputed for trace in traces.values()),
        busy / (wall * len(traces)),
        hit_share(traces.values()),
        float(np.sum(slowest.steps.count)),
    )


def hit_share(traces: Iterable[Trace]) -> float:
    """Part of the prompts' tokens, those of later turns with their context, that were in the cache."""
    asked = computed = 0.0
    for trace in traces:
        asked += float(np.sum(trace.isl[trace.admitted >= 0.0]))
        computed += float(np.sum(trace.steps.tokens)) - trace.recomputed
    return max(1.0 - computed / asked, 0.0) if asked else 0.0


def capped_share(osl: Lengths, most: float) -> float:
    """Part of answers that a cap cuts: those that are as long as it, or would be longer."""
    low, high = 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2.0
        low, high = (low, middle) if float(osl.quantile(np.asarray([middle]))[0]) >= most else (middle, high)
    return 1.0 - high if high < 1.0 - _NOISE else 0.0


_NOISE = 1e-9
