"""One model of a question: its rows of tokens, latency, USD, energy and accuracy. Two stand side by side where a larger model is asked about."""

from __future__ import annotations

from typing import Any

import numpy as np

from simcost.cost import power
from simcost.cost.price import with_range
from simcost.frozen import frozen
from simcost.num import Array, Num
from simcost.result import Row, number
from simcost.scenarios.serve.question import Asked, Simulation
from simcost.scenarios.serve.result import step_of
from simcost.scenarios.think.lengths import BUDGET, Answers
from simcost.scenarios.think.prices import Prices
from simcost.scenarios.think.served import Served, run, served
from simcost.serving.lengths import Lengths
from simcost.thinking import parallel
from simcost.thinking.accuracy import Accuracy
from simcost.thinking.parallel import ONE, Parallel, Spread

_HOUR = 3600.0


@frozen
class Question:
    """A model: its answers; where it is served, and its prices, one of which may be None; accuracy of a file."""

    name: str
    answers: Answers
    serve: Asked | None
    prices: Prices | None
    accuracy: Accuracy | None
    isl: Lengths
    hit: float
    how: Parallel


@frozen
class Side:
    """Figures of all rows. usd, joules, latency: None where nothing says them."""

    question: Question
    tokens: Spread
    served: Served | None
    latency: tuple[Spread, Array, Array] | None
    usd: Spread | None
    joules: Spread | None
    accuracy: Array | None
    p95_ends: tuple[Array, Array] | None

    @property
    def labels(self) -> tuple[Any, ...]:
        """What the rows are."""
        return self.question.answers.labels


def side(q: Question, events: Simulation | None = None) -> Side:
    """The figures of a model. Raises SpecError and Infeasible."""
    cuts = list(q.answers.lengths)
    tokens, longest = parallel.made(cuts, q.how), parallel.longest(cuts, q.how)
    point = None if q.serve is None else served(q.serve, q.answers.lengths, q.how)
    latency = usd = joules = None
    if point is not None:
        latency = point.latency(longest)
        if events is not None:
            latency = (run(point, q.answers.lengths, events.requests, events.seed, events.warmup), *latency[1:])
        hourly, watts = point.asked.query.price(point.replica.workload.device), watts_of(point)
        usd = None if hourly is None else point.spent(float(hourly) / _HOUR).of(tokens)
        joules = None if watts is None else point.spent(*watts).of(tokens)
    if q.prices is not None:
        usd = q.prices.spent(q.isl.mean, q.hit, q.how.width, len(cuts)).of(tokens)
    ends = None
    if q.answers.ends is not None:
        ends = (parallel.made(list(q.answers.ends[0]), q.how).p95, parallel.made(list(q.answers.ends[1]), q.how).p95)
    return Side(q, tokens, point, latency, usd, joules, _accuracy(q), ends)


def watts_of(point: Served) -> tuple[Num, Num] | None:
    """Power of a device (that prefills, that decodes), the same where every device does both: of arithmetic while prompts run, of a decode step at the first
    operating point while answers do, idle the rest of the time. None where the profile states none. [W, budgets]"""
    device, a = point.replica.workload.device, point.answer
    decode = power.drawn(device, step_of(point.asked, point.replica, a).cost)
    share = power.shares(device)
    if decode is None or share is None or device.tdp is None:
        return None
    arithmetic, idle = device.tdp * share["compute"], device.tdp * share["waiting"]

    def of(used: Num, busy: Num) -> Num:
        return used * busy + (1.0 - used) * idle

    used = np.minimum(a.point.utilisation * a.busy / a.replicas, 1.0)
    if point.pools is not None:
        prefilling = np.minimum(a.point.requests_per_s * a.point.prompt_s / a.prompt_replicas, 1.0)
        return of(prefilling, arithmetic), of(used, decode)
    prompt, cached, out = a.usage
    both = of(used, prompt * arithmetic + (cached + out) * decode)
    return both, both


def _accuracy(q: Question) -> Array | None:
    """By a file; else, of one answer, by the published rows of its levels."""
    if q.accuracy is not None:
        if q.answers.key == BUDGET:
            return q.accuracy.at_budgets(np.asarray(q.answers.labels, np.float64))
        return q.accuracy.at_levels(list(q.answers.labels))
    known = [row.accuracy for row in q.answers.rows]
    if q.how != ONE or q.answers.key == BUDGET or not any(known):
        return None
    return np.array([np.nan if share is None else share for share in known])


def columns(s: Side) -> dict[str, Array]:
    """Columns by name (`simcost.metrics`), in SI; money with its range where a fleet's price has one."""
    price = None
    if s.served is not None and s.question.prices is None:
        price = s.served.asked.query.paid(s.served.replica.workload.device)
    return with_range(_columns(s), price)


def _columns(s: Side) -> dict[str, Array]:
    found: dict[str, Array] = {**_spread("tokens_per_query", "", s.tokens)}
    if s.p95_ends is not None:
        low, high = s.p95_ends
        found |= {
            "tokens_per_query_p95_least": np.minimum(low, high),
            "tokens_per_query_p95_most": np.maximum(low, high),
        }
    found["cut_fraction"] = np.array([each.share for each in s.question.answers.lengths])
    if s.latency is not None:
        middle, low, high = s.latency
        found |= {
            "latency_s": middle.mean,
            "latency_low_s": low,
            "latency_high_s": high,
            "latency_p50_s": middle.p50,
            "latency_p95_s": middle.p95,
        }
    if s.usd is not None:
        found |= _spread("usd_per_query", "", s.usd)
    if s.joules is not None:
        found |= _spread("joules_per_query", "_assumed", s.joules)
    if s.accuracy is not None:
        found["accuracy"] = s.accuracy
        solved = np.where(s.accuracy > 0.0, s.accuracy, np.nan)
        found |= {} if s.usd is None else {"usd_per_solved_query": s.usd.mean / solved}
        found |= {} if s.joules is None else {"joules_per_solved_query_assumed": s.joules.mean / solved}
    if s.served is not None:
        p = s.served.answer.point
        utilisation = np.asarray(p.utilisation * s.served.answer.busy / s.served.answer.replicas)
        found |= {"queries_per_s": s.served.queries_per_s, "tpot_s": np.asarray(p.tpot_s), "utilisation": utilisation}
    return found


def _spread(name: str, ending: str, s: Spread) -> dict[str, Array]:
    return {f"{name}{ending}": s.mean, f"{name}_p50{ending}": s.p50, f"{name}_p95{ending}": s.p95}


def rows(s: Side) -> list[Row]:
    """A row a budget or level; null where a load is beyond the capacity, and where a file has no accuracy."""
    found = {name: np.broadcast_to(values, (len(s.labels),)).tolist() for name, values in columns(s).items()}
    key = s.question.answers.key
    return [
        {key: label, **{name: number(values[i]) for name, values in found.items()}} for i, label in enumerate(s.labels)
    ]
