"""Laws of every batching policy: requests and KV tokens are conserved, time runs forward, the same seed gives the same
bytes, a jump is its steps."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import pytest

from simcost.frozen import frozen
from simcost.registry import discover
from simcost.serving import arrivals, lengths
from simcost.serving.arrivals import Arrivals
from simcost.serving.events import simulate
from simcost.serving.policy import Policy
from simcost.serving.summary import summary
from simcost.serving.trace import Trace

ARRIVALS: dict[str, Arrivals] = {
    "closed": arrivals.Closed(24),
    "poisson": arrivals.Open(4.0),
    "bursts": arrivals.Open(6.0, "deterministic", 8),
    "offline": arrivals.Offline(),
}
POLICIES = sorted(discover("simcost.serving.policies"))
POOL = 20_000


def bent(batch, context, tokens, past):  # type: ignore[no-untyped-def]
    """No line over anything, as kernels are. [s]"""
    return (
        2e-3
        + 1e-4 * np.sqrt(batch)
        + 1e-7 * batch * context**0.9
        + np.maximum(2e-5 * (batch + tokens), 1e-3)
        + 1e-9 * tokens * past
    )


@cache
def run(policy: str, sent: str, admission: str = "prompt", seed: int = 3, **more: float) -> Trace:
    made = Policy(policy, 1024.0, 20.0, 1.0, 2e-4, 1e-3, admission)
    return simulate(
        bent,
        made,
        ARRIVALS[sent],
        lengths.lognormal(700.0, 0.8).cap(6000),
        lengths.exponential(300.0).cap(3000),
        400,
        POOL,
        seed,
        **more,
    )


@pytest.mark.parametrize("admission", ["prompt", "whole"])
@pytest.mark.parametrize("sent", sorted(ARRIVALS))
@pytest.mark.parametrize("policy", POLICIES)
class TestEveryRun:
    def test_requests_are_conserved_and_time_runs_forward(self, policy: str, sent: str, admission: str) -> None:
        trace = run(policy, sent, admission)
        for before, after in (
            ("arrival", "queued"),
            ("queued", "admitted"),
            ("admitted", "first_token"),
            ("first_token", "printed"),
            ("printed", "last_token"),
        ):
            assert np.all(getattr(trace, before) <= getattr(trace, after)), (before, after)
        assert np.all(np.diff(trace.arrival) >= 0.0)
        assert np.all(np.diff(trace.steps.end) >= 0.0)
        assert np.all(trace.first_token[trace.osl == 1] == trace.last_token[trace.osl == 1])
        assert np.all(trace.steps.seconds > 0.0)

    def test_tokens_are_conserved(self, policy: str, sent: str, admission: str) -> None:
        """Every prompt token is computed once and every answer token made once, but for what preemption repeats."""
        trace = run(policy, sent, admission)
        steps = trace.steps
        assert np.sum(steps.tokens) == np.sum(trace.isl) + trace.recomputed + len(trace.stalls)
        assert np.sum(steps.batch * steps.made) == np.sum(trace.osl - 1) - len(trace.stalls)
        assert np.all(steps.batch <= steps.running)
        assert np.max(steps.running) <= 20
        assert (trace.preemptions > 0) == (admission == "prompt" and sent in ("closed", "offline"))

    def test_the_pool_is_never_overfull_and_empty_at_the_end(self, policy: str, sent: str, admission: str) -> None:
        trace = run(policy, sent, admission)
        steps = trace.steps
        after = steps.used + steps.growth * np.where(steps.made > 0.0, steps.count, 0.0)
        assert np.max(after) <= POOL
        assert np.min(steps.used) >= 0.0
        last = np.argmax(trace.last_token)
        assert after[-1] == trace.isl[last] + trace.osl[last] - 1
        assert 0.0 < summary(trace, 0).kv_used_fraction < 1.0

    def test_a_jump_is_its_steps(self, policy: str, sent: str, admission: str) -> None:
        jumps, steps = run(policy, sent, admission), run(policy, sent, admission, longest_jump=1)
        for name in ("arrival", "admitted", "first_token", "last_token"):
            assert getattr(jumps, name) == pytest.approx(getattr(steps, name), rel=1e-9)
        assert len(jumps.steps.end) < 0.25 * len(steps.steps.end)
        a, b = summary(jumps, 50), summary(steps, 50)
        for name in ("running", "queued", "kv_used_fraction", "busy_fraction", "output_tokens_per_s"):
            assert getattr(a, name) == pytest.approx(getattr(b, name), rel=1e-9)
        assert a.itl_s.mean == pytest.approx(b.itl_s.mean, rel=1e-6)
        assert a.itl_s.p99 == pytest.approx(b.itl_s.p99, rel=1e-2)  # later gaps of a jump count as their mean


@pytest.mark.parametrize("policy", POLICIES)
def test_the_same_seed_gives_the_same_bytes(policy: str) -> None:
    first, again, other = run(policy, "poisson"), run.__wrapped__(policy, "poisson"), run(policy, "poisson", seed=4)
    for name in Trace.__annotations__:
        if name != "steps":
            assert np.asarray(getattr(first, name)).tobytes() == np.asarray(getattr(again, name)).tobytes(), name
    assert first.steps.end.tobytes() == again.steps.end.tobytes()
    assert first.isl.tobytes() != other.isl.tobytes()


def test_a_change_of_answers_leaves_arrivals_and_prompts() -> None:
    made = Policy("mixed", 1024.0, 20.0, 1.0, 0.0, 0.0)
    a, b = (
        simulate(bent, made, arrivals.Open(4.0), lengths.exponential(700.0), osl, 100, math.inf, 1)
        for osl in (lengths.constant(100.0), lengths.exponential(300.0))
    )
    assert a.arrival.tobytes() == b.arrival.tobytes()
    assert a.isl.tobytes() == b.isl.tobytes()


@pytest.mark.parametrize("policy", POLICIES)
def test_more_of_everything_helps(policy: str) -> None:
    """A larger pool, prompts in the cache and a faster host never make a whole run longer here."""
    ends = [
        float(np.max(run(policy, "offline", **more).last_token))
        for more in ({}, {"prefix_hit": 0.5}, {"prefix_hit": 0.9})
    ]
    assert ends[0] > ends[1] > ends[2]


@pytest.mark.parametrize("policy", POLICIES)
def test_a_policy_says_what_a_step_takes(policy: str) -> None:
    module = discover("simcost.serving.policies")[policy]
    assert policy == module.NAME
    assert module.SOURCE
    taken = np.asarray([module.prompt_tokens(512.0, decoding) for decoding in (0.0, 100.0, 511.0)])
    assert np.all((taken >= 1.0) & (taken <= 512.0))
    assert np.all(np.diff(taken) <= 0.0)
    # Where prompts and decode share a step, they share its budget.
    assert (taken[1] + 100.0 == 512.0) == module.shares_step


@frozen
class Doubled:
    """Step times, all of them twice as long."""

    times: object

    def __call__(self, batch, context, tokens, past):  # type: ignore[no-untyped-def]
        return 2.0 * self.times(batch, context, tokens, past)  # type: ignore[operator]


@pytest.mark.parametrize("policy", POLICIES)
def test_steps_twice_as_long_take_twice_as_long(policy: str) -> None:
    made = Policy(policy, 1024.0, 20.0, 4.0, 0.0, 0.0)
    isl, osl = lengths.lognormal(700.0, 0.8), lengths.exponential(300.0)
    one, two = (
        simulate(times, made, arrivals.Closed(24), isl, osl, 100, math.inf, 1) for times in (bent, Doubled(bent))
    )
    assert two.printed == pytest.approx(2.0 * one.printed, rel=1e-9)
    assert two.last_token == pytest.approx(2.0 * one.last_token, rel=1e-9)
