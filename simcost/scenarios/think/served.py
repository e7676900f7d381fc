"""Budgets at a load: the operating point of a fleet for each of them, and what a query takes there.

A query brings `width` requests that share its prompt: one computes it, the others find it in the prefix cache, and all hold it together. They come
at one moment, so that the last one's first token waits for the prompts of the others. With pools, prompts and the prefix cache are those of the prefill pool.
Most likely to be wrong: P50 and P95 of latency, which are those
of lengths at mean TTFT and TPOT; `events` runs requests one by one. Source: docs/theory/thinking.md.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from simcost.errors import Infeasible, SpecError, watched
from simcost.frozen import frozen
from simcost.hardware.engine_serving import ServingTerms
from simcost.num import Z90, Array, Num, exp
from simcost.scenarios import fitting
from simcost.scenarios.serve import simulated
from simcost.scenarios.serve.answer import Answer, Traffic, answer, load_of
from simcost.scenarios.serve.pools import Fleet
from simcost.scenarios.serve.pools import answer as answer_pools
from simcost.scenarios.serve.question import Asked, fleet, replica
from simcost.scenarios.serve.replica import Replica
from simcost.thinking.budget import Cut
from simcost.thinking.parallel import TREE, Parallel, Spread

MOST_RUNS = 64  # budgets that are run request by request
_SHARES = np.array([0.5, 0.95])


class Rates(NamedTuple):
    """What a query costs of something that the whole fleet spends: `fixed` of its prompts, `each` of a token. [budgets]"""

    fixed: Array
    each: Array

    def of(self, tokens: Spread) -> Spread:
        """Of a query with so many tokens."""
        return Spread(*(self.fixed + self.each * value for value in (tokens.mean, tokens.p50, tokens.p95)))


@frozen
class Served:
    """Operating points of all budgets, of a fleet whose requests are `width` a query. `replica`: of what decodes; `pools`: of prefill and decode, None: every instance does both."""

    asked: Asked
    replica: Replica
    terms: ServingTerms
    answer: Answer
    how: Parallel
    pools: Fleet | None = None

    @property
    def queries_per_s(self) -> Array:
        """Of the fleet. [budgets]"""
        a = self.answer
        return np.asarray(a.point.requests_per_s * a.busy / self.how.width)

    def spent(self, per_s: Num, decoding: Num | None = None) -> Rates:
        """By a fleet that spends so much a second and device, shared out by the time that prompts and answers take. `decoding`: by a device of the decode pool, where
        that differs."""
        a = self.answer
        each = np.asarray(a.devices) / self.queries_per_s
        prompt, cached, out = a.usage
        of_answers = each * (per_s if decoding is None else decoding) * np.asarray(out)
        return Rates(
            each * per_s * np.asarray(prompt + cached), of_answers / (self.how.width * np.asarray(a.traffic.osl))
        )

    def latency(self, longest: Spread) -> tuple[Spread, Array, Array]:
        """(seconds of a query, both ends of the interval of the mean) where so many tokens are made one after the other. [s]"""
        a, p = self.answer, self.answer.point
        first = np.asarray(p.ttft_s + (self.how.width - 1) * p.prompt_s)
        wide, wide_first = exp(Z90 * a.tpot_error), exp(Z90 * a.ttft_error)

        def of(tokens: Array, slower: float = 0.0) -> Array:
            return np.asarray(first * wide_first**slower + np.maximum(tokens - 1.0, 0.0) * p.tpot_s * wide**slower)

        found = Spread(*(of(tokens) for tokens in (longest.mean, longest.p50, longest.p95)))
        return found, of(longest.mean, -1.0), of(longest.mean, 1.0)


def served(q: Asked, answers: tuple[Cut, ...], how: Parallel) -> Served:
    """The fleet of a question about one budget (`q.osl` is not read) at all of them. Raises SpecError and Infeasible."""
    hit = q.hit + (1.0 - q.hit) * (1.0 - 1.0 / how.width)
    osl = np.array([each.mean for each in answers])
    osl2 = np.array([each.second_moment for each in answers])
    longest = int(np.argmax(osl2 / osl))
    loads = tuple(load * how.width for load in q.loads)
    most = replace(q, osl=answers[longest], hit=hit, loads=loads)
    pools: Fleet | None = None
    if q.pools is None:
        r, terms = replica(most)
    else:
        pools, terms = fleet(most)
        r = pools.decode
    load = np.full(len(osl), loads[0])
    traffic = Traffic(
        q.isl.mean, osl, q.isl.second_moment, osl2, None if q.open else load, load if q.open else None, hit, q.emitted, together=float(how.width)
    )  # fmt: skip
    found = answer(r, traffic) if pools is None else answer_pools(pools, traffic)
    if not np.all(found.fits):
        held = float(np.max(load_of(traffic)[1]))
        raise Infeasible(
            f"no memory for a request of {held:,.0f} tokens: {fitting.verdict(r.kept(held), timed=False)[0]}"
        )
    return Served(most, r, terms, found, how, pools)


def run(s: Served, answers: tuple[Cut, ...], requests: int | None, seed: int, warmup: float) -> Spread:
    """Latency of a query from a run request by request, a budget at a time; of several answers that of the longest of so many requests. Raises SpecError for
    many budgets, and for trees, whose levels wait for each other. [s]"""
    if s.how.kind == TREE:
        raise SpecError("--events cannot simulate a tree, whose levels wait for each other")
    if len(answers) > MOST_RUNS:
        raise SpecError(
            f"--events simulates each budget request by request: {len(answers):,} are asked for, at most {MOST_RUNS}"
        )
    q, found = s.asked, []
    users, rate = (None, q.loads[0]) if q.open else (q.loads[0], None)
    for each in watched(answers, "budgets"):
        trace = simulated.run(s.replica, q.isl, each, users, rate, requests, seed, q.hit, q.emitted)
        kept = (trace.last_token - trace.arrival)[int(warmup * len(trace.arrival)) :]
        shares = ((np.arange(len(kept)) + 0.5) / len(kept)) ** (1.0 / s.how.width)
        p50, p95 = np.quantile(kept, _SHARES ** (1.0 / s.how.width)).tolist()
        found.append((float(np.mean(np.quantile(kept, shares))), p50, p95))
    mean, half, late = np.array(found).T
    return Spread(mean, half, late)
