"""Rollouts of an engine that never runs dry: so many answers are in flight, a step takes those that end, the others go
on in the next one.

Where both sides take turns a round starts with all of them and nothing joins it; where they run at once a new answer
starts when one ends (`refill`).

Between two steps weights change, so that the cache of what goes on is computed anew. Answers in flight at a random
moment are longer than the mean and in part done; the first round starts from such ones. Most likely to be wrong:
engines that keep the old cache and mix policies. Sources: arXiv 2509.18521 (APRIL), arXiv 2505.24298 (AReaL), Kimi
k1.5, arXiv 2501.12599 §2.6.2.
"""

from __future__ import annotations

import numpy as np

from simcost.frozen import frozen
from simcost.learning.rollout import Answers, Engine, Rollout, hit_share, mean, table
from simcost.num import Array, Ints
from simcost.serving.lengths import Lengths
from simcost.serving.step_table import StepTable
from simcost.serving.trace import Trace

WARM, COUNTED = 2, 6  # rounds of one replica
_RARE = 1e-9
_NO_PROMPT = -1  # of an answer that goes on: it shares no prompt


@frozen
class Flying:
    """Answers of one replica, some of them in part done. `made`: tokens that are there already."""

    answers: Answers
    made: Ints


def steady(
    engine: Engine, isl: Lengths, osl: Lengths, samples: int, ends: int, in_flight: int, seed: int, refill: bool = False
) -> Rollout:
    """One step's worth of `ends` answers while `in_flight` are under way, both of all replicas. Raises SpecError for an
    answer that the pool cannot hold."""
    each = max(round(in_flight / engine.replicas), 1)
    mine = max(round(ends / engine.replicas), 1)
    scale = ends / engine.replicas / mine
    rng = np.random.default_rng([seed, 4])
    isl, osl = _bounded(isl), _bounded(osl)
    flying = _under_way(isl, osl, each, rng)
    old = flying.answers
    bound = Answers(
        np.append(old.isl, int(isl.longest)),
        np.append(old.osl, int(osl.longest)),
        np.append(old.cached, 0),
        np.append(old.prompt, 0),
    )
    times = table(engine, [bound], each)
    many = each + (mine if refill else 0)  # those beyond `each` wait for a place
    flying = _refilled(flying, isl, osl, samples, many, rng)
    found: list[Rollout] = []
    for at in range(WARM + COUNTED):
        done, flying = _round(engine, times, flying, mine)
        flying = _refilled(flying, isl, osl, samples, many, rng)
        if at >= WARM:
            found.append(done)
    walls = np.asarray([one.seconds for one in found]) * scale
    result = mean(found, walls)
    spread = np.sort(np.concatenate([one.ends / max(one.seconds, 1e-30) for one in found]))
    at_ends = spread[((np.arange(ends) + 0.5) / ends * len(spread)).astype(np.int64)] * result.seconds
    # Of all replicas together ends come evenly: their mean has less spread than one replica's rounds.
    return _with(result, at_ends, result.deviation / engine.replicas**0.5, float(ends) * osl.mean, scale)


def _with(one: Rollout, ends: Array, deviation: float, tokens: float, scale: float) -> Rollout:
    return Rollout(
        one.seconds,
        deviation,
        ends,
        one.running,
        one.seconds / 2.0,
        tokens,
        one.longest,
        one.preempted,
        one.recomputed,
        one.busy,
        one.hit,
        one.steps * scale,
    )


def _under_way(isl: Lengths, osl: Lengths, count: int, rng: np.random.Generator) -> Flying:
    """Answers at a random moment: chosen by their length, and done to a random part."""
    many = np.floor(osl.quantile(rng.random(64 * count)) + rng.random(64 * count)).astype(np.int64)
    length = rng.choice(many, count, p=many / np.sum(many))
    made = np.floor(rng.random(count) * length).astype(np.int64)
    asked = np.floor(isl.quantile(rng.random(count)) + rng.random(count)).astype(np.int64)
    zeros = np.zeros(count, np.int64)
    return Flying(Answers(asked, length, zeros, np.full(count, _NO_PROMPT)), made)


def _bounded(of: Lengths) -> Lengths:
    """The same without the billionth part that is longest: tables of step times need an end."""
    return of.cap(float(np.ceil(of.quantile(np.asarray([1.0 - _RARE]))[0])) + 1.0)


def _fresh(isl: Lengths, osl: Lengths, samples: int, count: int, rng: np.random.Generator) -> Answers:
    prompts = -(-count // samples)
    asked = np.repeat(np.floor(isl.quantile(rng.random(prompts)) + rng.random(prompts)).astype(np.int64), samples)
    made = np.floor(osl.quantile(rng.random(count)) + rng.random(count)).astype(np.int64)
    of = np.repeat(np.arange(prompts), samples)[:count]
    return Answers(asked[:count], made, np.zeros(count, np.int64), of)


def _refilled(flying: Flying, isl: Lengths, osl: Lengths, samples: int, count: int, rng: np.random.Generator) -> Flying:
    """With new answers in place of those that ended."""
    old = flying.answers
    new = _fresh(isl, osl, samples, count - len(old), rng)
    isl_, osl_, cached = (np.concatenate([getattr(old, name), getattr(new, name)]) for name in ("isl", "osl", "cached"))
    return Flying(
        Answers(isl_, osl_, cached, np.concatenate([np.full(len(old), _NO_PROMPT), new.prompt])),
        np.concatenate([flying.made, np.zeros(len(new), np.int64)]),
    )


def _round(engine: Engine, times: StepTable, flying: Flying, ends: int) -> tuple[Rollout, Flying]:
    """(a step's worth of answers, those that go on). What is done already is computed again as a prompt."""
    old, made = flying.answers, flying.made
    alone = np.where(old.prompt == _NO_PROMPT, -1 - np.arange(len(old)), old.prompt)  # each the only one of its prompt
    asked = Answers(old.isl + made, np.maximum(old.osl - made, 1), np.minimum(old.cached, 0), alone)
    trace = asked.run(engine, times, min(ends, len(asked)))
    end = float(trace.steps.end[-1])
    more = np.floor(_made(trace) * engine.emitted).astype(np.int64)
    on = trace.last_token < 0.0
    ended = ~on
    steps = trace.steps
    rolled = Rollout(
        end,
        0.0,
        np.sort(trace.last_token[ended]),
        float(np.sum(steps.seconds * steps.running) / np.sum(steps.seconds)),
        end / 2.0,
        float(np.sum(old.osl[ended])),
        float(np.max(old.osl[ended])),
        trace.preemptions,
        trace.recomputed,
        float(np.sum(steps.seconds)) / end,
        hit_share([trace]),
        float(np.sum(steps.count)),
    )
    left = np.minimum(made + more, old.osl - 1)
    return rolled, Flying(old.of(np.flatnonzero(on)), left[on])


def _made(trace: Trace) -> Array:
    """Tokens that each answer has when the run stops: one at the end of its prompt, one a decode step since."""
    done = np.append(0.0, np.cumsum(trace.steps.made))
    first = done[np.searchsorted(trace.steps.end, trace.first_token, side="left") + 1]
    return np.where(trace.first_token >= 0.0, 1.0 + done[-1] - first, 0.0)
