"""A rollout: prompts times samples dealt over replicas of an engine, each run event by event; its wall is the longest answer of the slowest replica.

Replicas are alike and share nothing, so that each runs alone; of many those with the longest answers and the most
tokens run, which set the wall, and some others, which stand for the rest. Lengths are drawn apart from each other, once
a seed: the spread over seeds is that of one step. Most likely to be wrong: samples of one prompt have lengths that go
together; a router that evens out work while answers run. Source: docs/theory/rl-step.md.
"""

from __future__ import annotations

import math

import numpy as np

from simcost.errors import SpecError
from simcost.frozen import frozen
from simcost.num import Array, Ints
from simcost.serving.events import plug_in
from simcost.serving.lengths import Lengths
from simcost.serving.policy import Policy
from simcost.serving.replica import Replica
from simcost.serving.step_table import Extent, StepTable, StepTimes
from simcost.serving.trace import Trace

SIMULATED = 8  # replicas of a rollout that run; half of them those that may be the slowest
SEEDS = 5  # draws of lengths


@frozen
class Engine:
    """Replicas of the engine that answers. `times` and `policy`: of one; `pool_tokens`: KV tokens that it holds;
    `emitted`: tokens of a step of a sequence, above 1 with speculative decoding."""

    times: StepTimes
    policy: Policy
    pool_tokens: float
    replicas: int
    emitted: float = 1.0


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


@frozen
class Rollout:
    """What a rollout takes. `seconds`: the mean wall over seeds, `deviation` one standard deviation of it [s]; `ends`:
    when answers end, of all replicas, ascending [s]; `running`: sequences of a replica on average; `half_s`: when half
    of the answers have ended [s]; `tokens`: of answers, the mean; `longest`: tokens of the longest answer, the mean
    over seeds; `preempted`: sequences that gave their KV back; `recomputed`: tokens that were computed again."""

    seconds: float
    deviation: float
    ends: Array
    running: float
    half_s: float
    tokens: float
    longest: float
    preempted: int
    recomputed: int


def drawn(isl: Lengths, osl: Lengths, prompts: int, samples: int, seed: int) -> Answers:
    """Answers of every prompt, each length drawn alone."""
    rng = np.random.default_rng([seed, 3])

    def lengths(of: Lengths, n: int) -> Ints:
        return np.floor(of.quantile(rng.random(n)) + rng.random(n)).astype(np.int64)

    asked = np.repeat(lengths(isl, prompts), samples)
    made = lengths(osl, prompts * samples)
    return Answers(asked, made, np.zeros_like(asked), np.repeat(np.arange(prompts), samples))


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
    cached = np.where(
        owner, mine.cached, np.maximum(mine.cached, mine.isl - 1)
    )  # one token is computed, for its logits
    several = counts[np.searchsorted(prompts, mine.prompt)]
    return Answers(mine.isl, mine.osl, cached, mine.prompt), mine.isl - np.ceil(mine.isl / several).astype(np.int64)


def table(engine: Engine, answers: Answers, each: int) -> StepTable:
    """Step times of one replica for all that a rollout asks; `each`: answers of one replica."""
    most = float(np.max(answers.lengths)) - 1.0
    sequences = max(int(min(engine.policy.sequences, each, engine.pool_tokens)), 1)
    extent = Extent(
        batch=sequences,
        tokens=int(min(engine.policy.tokens, sequences * most)),
        least=float(np.min(answers.isl)),
        typical=float(np.mean(answers.isl) + np.mean(answers.osl) / 2.0),
        most=max(most, 1.0),
    )
    return StepTable(engine.times, extent, float(engine.policy.host_step_s), plug_in(engine.policy).shares_step)


def replica(engine: Engine, times: StepTable, mine: Answers, stop: int | None = None) -> Trace:
    """One replica's share, all sent at once; `stop`: until so many have ended. Raises SpecError for an answer that the
    pool cannot hold."""
    own, shared = with_prefixes(mine)
    osl = np.ceil(own.osl / engine.emitted).astype(np.int64)
    longest = int(np.max(own.isl + osl)) - 1
    if longest > engine.pool_tokens:
        raise SpecError(
            f"an answer of {longest:,} tokens with its prompt does not fit the KV pool of {engine.pool_tokens:,.0f} tokens"
        )
    run = Replica(
        times,
        plug_in(engine.policy),
        engine.policy,
        times.extent.batch,
        engine.pool_tokens,
        own.isl,
        osl,
        own.cached,
        np.zeros(len(own)),
        shared=shared,
    )
    run.run() if stop is None else run.run(stop)
    return run.trace(own.isl, osl)


def burst(
    engine: Engine, isl: Lengths, osl: Lengths, prompts: int, samples: int, seed: int, seeds: int = SEEDS
) -> Rollout:
    """All answers of a batch, from the start to the end of the longest. Raises SpecError as `replica`."""
    draws = [drawn(isl, osl, prompts, samples, seed + i) for i in range(seeds)]
    whole = Answers(
        *(np.concatenate([getattr(one, name) for one in draws]) for name in ("isl", "osl", "cached", "prompt"))
    )
    shares = dealt(prompts * samples, engine.replicas)
    times = table(engine, whole, max(map(len, shares)))
    found = [_of_draw(engine, times, one, shares) for one in draws]
    walls = np.asarray([one.seconds for one in found])
    return Rollout(
        float(np.mean(walls)),
        float(np.std(walls, ddof=1)) if seeds > 1 else 0.0,
        found[0].ends * (float(np.mean(walls)) / max(found[0].seconds, 1e-30)),
        float(np.mean([one.running for one in found])),
        float(np.mean([one.half_s for one in found])),
        float(np.mean([one.tokens for one in found])),
        float(np.mean([one.longest for one in found])),
        sum(one.preempted for one in found),
        sum(one.recomputed for one in found),
    )


def chosen(answers: Answers, shares: list[Ints]) -> tuple[list[int], list[int]]:
    """(replicas that may be the slowest, some of the others, which stand for the rest); all, where there are few."""
    if len(shares) <= SIMULATED:
        return list(range(len(shares))), []
    longest = [int(np.max(answers.osl[share])) for share in shares]
    most = [int(np.sum(answers.osl[share])) for share in shares]
    extreme: list[int] = []
    for scores in (longest, most):
        order = sorted(range(len(shares)), key=lambda at, of=scores: -of[at])  # type: ignore[misc]
        extreme += [at for at in order if at not in extreme][: SIMULATED // 4]
    rest = [at for at in range(len(shares)) if at not in extreme]
    return extreme, rest[: SIMULATED - len(extreme)]


def _of_draw(engine: Engine, times: StepTable, answers: Answers, shares: list[Ints]) -> Rollout:
    """One draw of lengths."""
    extreme, others = chosen(answers, shares)
    traces = {at: replica(engine, times, answers.of(shares[at])) for at in (*extreme, *others)}
    walls = [float(np.max(trace.last_token)) for trace in traces.values()]
    ends = np.concatenate([traces[at].last_token for at in extreme])
    if others:
        rest = np.sort(np.concatenate([traces[at].last_token for at in others]))
        left = len(answers) - len(ends)
        ends = np.concatenate(
            [ends, rest[np.minimum((np.arange(left) + 0.5) / left * len(rest), len(rest) - 1).astype(int)]]
        )
    steps = [trace.steps for trace in traces.values()]
    busy = sum(float(np.sum(each.seconds)) for each in steps)
    ends = np.sort(ends)
    return Rollout(
        max(walls),
        0.0,
        ends,
        sum(float(np.sum(each.seconds * each.running)) for each in steps) / max(busy, 1e-30),
        float(ends[(len(ends) - 1) // 2]),
        float(np.sum(answers.osl)),
        float(np.max(answers.osl)),
        sum(trace.preemptions for trace in traces.values()),
        sum(trace.recomputed for trace in traces.values()),
    )


def capped_share(osl: Lengths, most: float) -> float:
    """Part of answers that a cap cuts: those whose length is the cap or would be longer."""
    low, high = 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2.0
        low, high = (low, middle) if float(osl.quantile(np.asarray([middle]))[0]) >= most else (middle, high)
    return 0.0 if math.isinf(most) else 1.0 - high if high < 1.0 - 1e-9 else 0.0
