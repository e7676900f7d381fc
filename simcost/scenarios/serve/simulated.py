"""A load request by request, through one replica that stands for all: what `serve --events` and the judges of serving ask.

Most likely to be wrong: replicas of a fleet that get unlike shares of the load. Source: docs/theory/serving-events.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from simcost.errors import SpecError
from simcost.result import Row
from simcost.scenarios.serve.answer import Traffic, load_of
from simcost.scenarios.serve.replica import Replica
from simcost.serving import events
from simcost.serving.arrivals import Arrivals, Closed, Open
from simcost.serving.lengths import Lengths
from simcost.serving.speculative import InSteps
from simcost.serving.step_times import StepTimes, Stretched
from simcost.serving.summary import Spread, Summary
from simcost.serving.trace import Trace
from simcost.units import show

WAVES = 10  # requests of each user of a closed loop, where nobody says how many: what public benchmarks send
LEAST, MOST = 1_000, 400_000  # requests of one replica in an open loop, and in any: a quarter of a minute
STEADY = 20  # requests of an open loop for each that is in flight: a tenth, the warm-up, is two lives of a request
FIGURES = ("ttft", "tpot", "itl", "e2e", "queueing")
RATES = ("run_requests_per_s", "run_output_tokens_per_s")
SHARES = ("p50", "p90", "p99")


def run(
    r: Replica, isl: Lengths, osl: Lengths, users: float | None, rate: float | None, requests: int | None, seed: int, hit: float, emitted: float, host: bool = False,
) -> Trace:  # fmt: skip
    """The share of one replica of a closed loop of `users`, or of an open one at `rate` [1/s]; `requests` of the
    whole fleet; `host`: cached tokens come from the host's memory. Raises SpecError for a number
    of requests out of range, and for a request that the pool cannot hold."""
    replicas, count = _replicas(r), requests_of(r, users, requests)
    arrivals: Arrivals = Open(rate / replicas) if rate is not None else Closed(max(round((users or 0.0) / replicas), 1))
    t = Traffic(isl.mean, osl.mean, isl.second_moment, osl.second_moment, hit=hit, emitted=emitted)
    _, held = load_of(t, r.policy.admission)
    pool = float(np.asarray(r.room(np.ceil(held)).kv)) * float(held)
    cached = isl.mean * hit
    link = float(np.asarray(r.link_s(np.ceil(cached)))) / np.ceil(cached) if host else 0.0
    times: StepTimes = r
    if (
        emitted > 1.0
    ):  # answers are counted in steps: each brings several tokens to the context, and takes room for as many
        times, osl = Stretched(r, isl.mean, emitted), InSteps(osl, emitted)
        pool *= (isl.mean + (float(held) - isl.mean) / emitted) / float(held)
    return events.simulate(times, r.policy, arrivals, isl, osl, count, pool, seed, prefix_hit=hit, link_token_s=link)


def requests_of(r: Replica, users: float | None, requests: int | None) -> int:
    """Requests of one replica in a run. Raises SpecError for more than `MOST`."""
    replicas = _replicas(r)
    if users is not None:
        count = max(round((WAVES * users if requests is None else requests) / replicas), round(users / replicas), 1)
    else:
        count = max(round(LEAST if requests is None else requests / replicas), 1)
    if count > MOST:
        raise SpecError(f"{count:,} requests of one replica: at most {MOST:,} (--requests)")
    return count


def lasting(r: Replica, running: float) -> int:
    """Requests of the whole fleet, where nobody says how many, for an open loop with so many requests in flight: in a
    shorter run most are answered before the load has grown to what it stays at."""
    most = MOST * _replicas(r)
    return round(min(max(LEAST * _replicas(r), STEADY * running if running < most else most), most))


def _replicas(r: Replica) -> float:
    return float(np.asarray(r.workload.plan.replicas * r.workload.plan.copies))


def mean(runs: Sequence[Summary]) -> Summary:
    """The first run, with the means of all as its figures: of one run its own."""
    if len(runs) == 1:
        return runs[0]
    every = {f"{name}_s": [getattr(run, f"{name}_s") for run in runs] for name in FIGURES}
    fields = ("mean", *SHARES)
    found: dict[str, Any] = {name: float(np.mean([getattr(run, name) for run in runs])) for name in RATES} | {
        name: Spread(*(float(np.mean([getattr(one, field) for one in spreads])) for field in fields))
        for name, spreads in every.items()
    }
    return replace(runs[0], **found)


def columns(found: Summary, emitted: float) -> Row:
    """Percentiles by name: "ttft_p99_s". TPOT of a step that makes several tokens is a part of it."""
    return {
        f"{name}_{share}_s": getattr(spread, share) for name, spread in _spreads(found, emitted) for share in SHARES
    }


def rates(found: Summary, r: Replica, users: float | None, emitted: float, ends: tuple[float, float]) -> Row:
    """What the whole fleet answers a second, from the start of the run to its last answer. `ends`: of the 90 % interval of the rate in the steady state,
    over that rate. The replica stands for all that serve somebody."""
    busy = _replicas(r) if users is None else min(_replicas(r), users)
    tokens = found.run_output_tokens_per_s * busy * emitted
    return {
        "run_requests_per_s": found.run_requests_per_s * busy,
        "run_output_tokens_per_s": tokens,
        **{f"run_output_tokens_per_s_{name}": tokens * end for name, end in zip(("low", "high"), ends, strict=True)},
    }


def said(rates: Row, figures: Sequence[Row]) -> str:
    """The means of a run in words."""
    means = {each["figure"]: float(each["mean_s"]) for each in figures}
    times = [f"{name.upper()} {show(means[name], 'seconds')}" for name in ("ttft", "tpot") if np.isfinite(means[name])]
    return ", ".join([*times, f"{rates['run_output_tokens_per_s']:,.0f} output tokens/s"])


def table(found: Summary, emitted: float) -> Sequence[Row]:
    """A row a figure."""
    return [
        {"figure": name, "mean_s": spread.mean, **{f"{share}_s": getattr(spread, share) for share in SHARES}}
        for name, spread in _spreads(found, emitted)
    ]


def _spreads(found: Summary, emitted: float) -> list[tuple[str, Spread]]:
    every = [(name, getattr(found, f"{name}_s")) for name in FIGURES]
    part = {"tpot": 1.0 / emitted}
    return [
        (name, Spread(*(getattr(one, field) * part.get(name, 1.0) for field in ("mean", *SHARES))))
        for name, one in every
    ]
