"""Rollouts of an engine that never runs dry: so many answers are in flight, a step takes those that end, the others go
on in the next one.

Where both sides take turns a round starts with all of them and nothing joins it; where they run at once a new answer
starts when one ends (`refill`). An answer is a trajectory of one turn; one of an agent is in flight while its tool runs
too, and keeps its turn, what is made of it and what is left of its tool's time from one round to the next.

Between two steps weights change, so that the cache of what goes on is computed anew. Answers in flight at a random
moment are longer than the mean and in part done; the first round starts from such ones. Most likely to be wrong:
engines that keep the old cache and mix policies; tools whose time goes on while the trainer works, which here stands
still. Sources: arXiv 2509.18521 (APRIL), arXiv 2505.24298 (AReaL), Kimi k1.5, arXiv 2501.12599 §2.6.2.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from simcost.frozen import frozen
from simcost.learning.rollout import Engine, Rollout, hit_share, mean, shares, table
from simcost.learning.turns import NO_TOOLS, Tools, Trajectories
from simcost.num import Array, Ints
from simcost.serving.lengths import Lengths
from simcost.serving.step_table import StepTable

WARM, COUNTED = 2, 6  # rounds of one replica
TOGETHER = 48  # counted where samples of a prompt go together: a replica's round then has few draws
_RARE = 1e-9
_CHOICE = 64  # turns of which one is chosen to be under way
_TRIES = 20


@frozen
class Flying:
    """Trajectories of one replica, some of them in part done: `turn` [n] is the one that each stands at, `made` [n] the
    tokens of it that are there already, `wait` [n] what is left of the tool before it [s]."""

    all: Trajectories
    turn: Ints
    made: Ints
    wait: Array


@frozen
class Source:
    """Where trajectories come from: lengths of prompts and of each turn, tools, samples of a prompt, and the correlation
    of their lengths (`rollout.shares`)."""

    isl: Lengths
    osl: Lengths
    tools: Tools
    samples: int
    alike: float = 0.0

    def made_of(self, prompt: Ints, rng: np.random.Generator) -> Ints:
        """Tokens of the turns of trajectories. [n, turns]"""
        drawn = self.osl.quantile(shares(rng, prompt, self.tools.turns, self.alike))
        return np.floor(drawn + rng.random(drawn.shape)).astype(np.int64)

    def with_tools(self, isl: Ints, made: Ints, prompt: Ints, rng: np.random.Generator) -> Trajectories:
        """Trajectories of these answers."""
        shape = (len(isl), self.tools.turns - 1)
        put = np.floor(self.tools.tokens.quantile(rng.random(shape)) + rng.random(shape)).astype(np.int64)
        return Trajectories(isl, made, put, self.tools.waits(rng.random(shape)), prompt)

    @property
    def longest(self) -> Trajectories:
        """One trajectory that none is longer than."""
        turns = self.tools.turns
        made, put = (
            np.full((1, n), int(each.longest)) for n, each in ((turns, self.osl), (turns - 1, self.tools.tokens))
        )
        return Trajectories(
            np.asarray([int(self.isl.longest)]), made, put, np.zeros((1, turns - 1)), np.zeros(1, np.int64)
        )


def steady(
    engine: Engine,
    isl: Lengths,
    osl: Lengths,
    samples: int,
    ends: int,
    in_flight: int,
    seed: int,
    refill: bool = False,
    tools: Tools = NO_TOOLS,
    alike: float = 0.0,
) -> Rollout:
    """One step's worth of `ends` answers while `in_flight` are under way, both of all replicas. Raises SpecError for an
    answer that the pool cannot hold."""
    each = max(round(in_flight / engine.replicas), 1)
    mine = max(round(ends / engine.replicas), 1)
    scale = ends / engine.replicas / mine
    rng = np.random.default_rng([seed, 4])
    source = Source(_bounded(isl), _bounded(osl), replace(tools, tokens=_bounded(tools.tokens)), samples, alike)
    flying = _under_way(source, each, _token_s(engine, source, each), rng)
    times = table(engine, [flying.all.joined(source.longest)], each)
    many = each + (mine if refill else 0)  # those beyond `each` wait for a place
    flying = _refilled(flying, source, many, rng)
    found: list[Rollout] = []
    for at in range(WARM + (TOGETHER if alike else COUNTED)):
        done, flying = _round(engine, times, flying, mine, each)
        flying = _refilled(flying, source, many, rng)
        if at >= WARM:
            found.append(done)
    walls = np.asarray([one.seconds for one in found]) * scale
    result = mean(found, walls)
    spread = np.sort(np.concatenate([one.ends / max(one.seconds, 1e-30) for one in found]))
    at_ends = spread[((np.arange(ends) + 0.5) / ends * len(spread)).astype(np.int64)] * result.seconds
    return replace(
        result,
        # Of all replicas together ends come evenly: their mean has less spread than one replica's rounds.
        deviation=result.deviation / engine.replicas**0.5,
        ends=at_ends,
        half_s=result.seconds / 2.0,
        tokens=float(ends) * source.osl.mean * tools.turns,
        steps=result.steps * scale,
    )


def _token_s(engine: Engine, source: Source, count: int) -> float:
    """About what a token takes while so many trajectories are under way, some of which wait for tools [s]."""
    tools, turns = source.tools, source.tools.turns
    if turns == 1:
        return 1.0  # nothing stands beside it
    tokens, waits = turns * source.osl.mean, (turns - 1) * float(np.mean(tools.waits((np.arange(1000) + 0.5) / 1000)))
    context = source.isl.mean + tokens / 2.0 + (turns - 1) / 2.0 * tools.tokens.mean
    most = min(float(engine.policy.sequences), max(engine.pool_tokens / context, 1.0))
    share = seconds = 1.0
    for _ in range(_TRIES):
        batch, context_ = (np.asarray([each]) for each in (min(max(count * share, 1.0), most), context))
        step = float(np.asarray(engine.times(batch, context_, np.zeros(1), np.zeros(1)))[0])
        seconds = (step + float(engine.policy.host_step_s)) / engine.emitted
        share = tokens * seconds / (tokens * seconds + waits)
    return seconds


def _under_way(source: Source, count: int, token_s: float, rng: np.random.Generator) -> Flying:
    """Trajectories at a random moment: chosen by how long they take, and done to a random part."""
    turns = source.tools.turns
    many = max(_CHOICE // turns, 4) * count
    made = source.made_of(np.arange(many), rng)
    # Times in tokens: turn, tool, turn, tool, ..., turn.
    every = source.with_tools(np.ones(many, np.int64), made, _alone(many), rng)
    spans = np.zeros((many, 2 * turns - 1))
    spans[:, ::2], spans[:, 1::2] = made, every.waits / token_s
    length = np.sum(spans, axis=1)
    chosen = rng.choice(many, count, p=length / np.sum(length))
    spans = spans[chosen]
    at = rng.random(count) * length[chosen]
    asked = np.floor(source.isl.quantile(rng.random(count)) + rng.random(count)).astype(np.int64)
    ends = np.cumsum(spans, axis=1)
    span = np.minimum(np.sum(ends <= at[:, None], axis=1), 2 * turns - 2)
    past = at - (ends - spans)[np.arange(count), span]
    in_tool = span % 2 == 1
    wait = np.where(in_tool, (spans[np.arange(count), span] - past) * token_s, 0.0)
    begun = np.where(in_tool, 0, np.floor(past)).astype(np.int64)
    return Flying(replace(every.of(chosen), isl=asked), (span + 1) // 2, begun, wait)


def _alone(count: int) -> Ints:
    """Prompts of trajectories that go on: they share them with none."""
    return -1 - np.arange(count)


def _bounded(of: Lengths) -> Lengths:
    """The same without the billionth part that is longest: tables of step times need an end."""
    return of.cap(float(np.ceil(of.quantile(np.asarray([1.0 - _RARE]))[0])) + 1.0)


def _fresh(source: Source, count: int, rng: np.random.Generator) -> Trajectories:
    prompts = -(-count // source.samples)
    asked = np.floor(source.isl.quantile(rng.random(prompts)) + rng.random(prompts)).astype(np.int64)
    of = np.repeat(np.arange(prompts), source.samples)[:count]
    return source.with_tools(asked[of], source.made_of(of, rng), of, rng)


def _refilled(flying: Flying, source: Source, count: int, rng: np.random.Generator) -> Flying:
    """With new trajectories in place of those that ended."""
    old = replace(flying.all, prompt=_alone(len(flying.all)))
    new = _fresh(source, count - len(old), rng)
    none = np.zeros(len(new), np.int64)
    turn, made = (np.append(each, none) for each in (flying.turn, flying.made))
    return Flying(old.joined(new), turn, made, np.append(flying.wait, np.zeros(len(new))))


def _round(engine: Engine, times: StepTable, flying: Flying, ends: int, places: int) -> tuple[Rollout, Flying]:
    """(a step's worth of trajectories, those that go on). What is done already is computed again as a prompt."""
    old = flying.all
    run = old.sent(engine, times, flying.turn, flying.made, flying.wait, places)
    run.run(min(ends, len(old)))
    trace = run.trace(run.prompts, run.answers)
    steps = trace.steps
    end = float(steps.end[-1])
    last = trace.last_token[-len(old) :]  # of the last turns
    ended, on = last >= 0.0, np.flatnonzero(last < 0.0)
    seconds = float(np.sum(steps.seconds))
    rolled = Rollout(
        end,
        0.0,
        np.sort(last[ended]),
        float(np.sum(steps.seconds * steps.running)) / seconds,
        end / 2.0,
        float(np.sum(old.osl[ended])),
        float(np.max(old.osl[ended])),
        trace.preemptions,
        trace.recomputed,
        seconds / end,
        hit_share([trace]),
        float(np.sum(steps.count)),
    )
    turns, steps_made, waits = run.standing()
    turn, more = turns[on], engine.tokens(steps_made[on])
    begun = np.where(turn == flying.turn[on], flying.made[on], 0) + more
    left = old.of(on)
    return rolled, Flying(left, turn, np.minimum(begun, left.made[np.arange(len(on)), turn] - 1), waits[on])
