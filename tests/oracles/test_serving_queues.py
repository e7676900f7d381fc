"""The event path against queues with closed forms: step times are chosen so that a replica is an M/M/1, an M/D/1, an
M/G/1 or a processor-sharing queue.

Bands are statistical: four standard errors of independent runs, and what whole tokens add. A prefill pool's closed
form is an approximation, held against the event path. Sources: Kleinrock, Queueing
Systems I (Pollaczek-Khinchine, M/M/1) and II (processor sharing: the mean depends on the mean service alone); Little,
Operations Research 9 (1961).
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from simcost.serving import arrivals, lengths
from simcost.serving.disaggregated import Pool, Pools, open_loop
from simcost.serving.events import simulate
from simcost.serving.lengths import Lengths
from simcost.serving.point import Load, Room
from simcost.serving.policy import Policy
from simcost.serving.step_table import StepTimes
from simcost.serving.summary import Summary, summary

TOKEN_S = 1e-3
RUNS, REQUESTS, WARMUP = 12, 1500, 150
ANSWERS = {
    "exponential": lengths.exponential(200.0),
    "deterministic": lengths.constant(200.0),
    "lognormal": lengths.lognormal(200.0, 0.5),
}


def one_at_a_time(batch, context, tokens, past):  # type: ignore[no-untyped-def]
    """A token a step, whatever the batch. [s]"""
    return TOKEN_S


def shared(batch, context, tokens, past):  # type: ignore[no-untyped-def]
    """Every token of a step takes its turn. [s]"""
    return TOKEN_S * (batch + tokens)


def runs(times: StepTimes, sequences: float, load: float, answers: Lengths, prompt: int = 1) -> list[Summary]:
    """Independent runs at a load: a prompt takes one turn, so that a request takes as many as its answer has tokens."""
    policy = Policy("mixed", 10_000.0, sequences, 1.0, 0.0, 0.0)
    sent = arrivals.Open(load / (answers.mean * TOKEN_S))
    return [
        summary(simulate(times, policy, sent, lengths.constant(prompt), answers, REQUESTS, math.inf, seed), WARMUP)
        for seed in range(RUNS)
    ]


def agrees(found: list[float], want: float, power: float, off: float = 0.0) -> None:
    """Within four standard errors, which are small enough for the check to mean something, and `off`."""
    counts = want / math.sqrt(RUNS * (REQUESTS - WARMUP))  # what the number of Poisson arrivals alone adds
    error = max(float(np.std(found, ddof=1)) / math.sqrt(len(found)), counts)
    assert error < power * want
    assert abs(float(np.mean(found)) - want) < 4.0 * error + off * want


@pytest.mark.parametrize(
    ("name", "load"), [("exponential", 0.5), ("exponential", 0.75), ("deterministic", 0.7), ("lognormal", 0.6)]
)
def test_one_sequence_at_a_time_waits_as_pollaczek_and_khinchine_say(name: str, load: float) -> None:
    answers = ANSWERS[name]
    rate = load / (answers.mean * TOKEN_S)
    wait = rate * answers.second_moment * TOKEN_S**2 / (2.0 * (1.0 - load))
    found = runs(one_at_a_time, 1.0, load, answers, 256)
    agrees([each.queueing_s.mean for each in found], wait, 0.08)
    agrees([each.busy_fraction for each in found], load, 0.02)
    agrees([each.queued for each in found], rate * wait, 0.08)


def test_the_two_textbook_queues_are_among_them() -> None:
    """Squares of exponential answers are twice the squared mean, of equal ones once: M/M/1 and M/D/1."""
    assert ANSWERS["exponential"].second_moment == pytest.approx(2.0 * 200.0**2, rel=3e-3)
    assert ANSWERS["deterministic"].second_moment == 200.0**2


def test_percentiles_of_an_exponential_queue() -> None:
    """The time in an M/M/1 is exponential, of mean service / (1 - load)."""
    load = 0.6
    found = runs(one_at_a_time, 1.0, load, ANSWERS["exponential"], 256)
    mean = 200.0 * TOKEN_S / (1.0 - load)
    for name, share in (("p50", 0.5), ("p90", 0.9)):
        agrees([getattr(each.e2e_s, name) for each in found], -math.log1p(-share) * mean, 0.04)


@pytest.mark.parametrize("name", sorted(ANSWERS))
def test_sequences_that_share_steps_are_a_processor_sharing_queue(name: str) -> None:
    load = 0.7
    found = runs(shared, 1000.0, load, ANSWERS[name])
    # A request joins at the end of a step, which lasts as many turns as sequences run: 2.3 of 667.
    agrees([each.e2e_s.mean for each in found], 200.0 * TOKEN_S / (1.0 - load), 0.04, off=0.01)
    agrees([each.running + each.queued for each in found], load / (1.0 - load), 0.06, off=0.01)


@pytest.mark.parametrize("sent", [arrivals.Closed(24), arrivals.Open(3.0)], ids=["closed", "open"])
@pytest.mark.parametrize("policy", ["mixed", "prefill_first"])
def test_littles_law(policy: str, sent: arrivals.Arrivals) -> None:
    """L = lambda W over the whole run, exactly, and in its steady part within a band; L is an integral over steps, W a
    mean over requests."""
    trace = simulate(
        lambda batch, context, tokens, past: 5e-3 + 1e-4 * batch + 1e-8 * batch * context + 3e-5 * tokens,
        Policy(policy, 2048.0, 16.0, 1.0, 0.0, 0.0),
        sent,
        lengths.lognormal(900.0, 0.7),
        lengths.exponential(200.0),
        3000,
        math.inf,
        5,
    )
    whole, steady = summary(trace, 0), summary(trace, 500)
    assert whole.running + whole.queued == pytest.approx(whole.requests_per_s * whole.e2e_s.mean, rel=1e-9)
    assert whole.queued == pytest.approx(whole.requests_per_s * whole.queueing_s.mean, rel=1e-9)
    assert steady.running + steady.queued == pytest.approx(steady.requests_per_s * steady.e2e_s.mean, rel=0.02)
    if isinstance(sent, arrivals.Closed):
        assert steady.running + steady.queued == pytest.approx(sent.users, rel=0.02)
        assert steady.running == pytest.approx(16.0, rel=0.02)
    else:
        assert steady.requests_per_s == pytest.approx(sent.rate, rel=0.05)


def starting_together(batch, context, tokens, past):  # type: ignore[no-untyped-def]
    """A start that all prompts of a step share, and their tokens. [s]"""
    return 30e-3 + 1e-5 * tokens + 0.0 * past


@pytest.mark.parametrize("budget", [1024.0, 4096.0, 8192.0])
def test_a_prefill_pool_takes_prompts_together_as_the_event_path_does(budget: float) -> None:
    policy = Policy("prefill_first", budget, 256.0, 1.0, 3e-4, 0.0)
    pool = Pool(starting_together, policy, 1.0)
    pools = Pools(pool, replace(pool, replicas=100.0), 0.0, Room(kv=1e4, sequences=1e4))
    load = Load(isl=1024.0, osl=2.0, context=1025.0)
    capacity = budget / 1024.0 / (30.3e-3 + 1e-5 * budget)
    for share in (0.1, 0.5, 0.8):
        mean_field = open_loop(pools, load, share * capacity)
        assert mean_field.capacity_per_s == pytest.approx(capacity)
        sent = arrivals.Open(share * capacity)
        one = lengths.constant(1)
        trace = simulate(starting_together, policy, sent, lengths.constant(1024), one, 6000, math.inf, 1)
        followed = float(np.mean((trace.first_token - trace.arrival)[600:]))
        assert float(mean_field.ttft_s) == pytest.approx(followed, rel=0.05), share
