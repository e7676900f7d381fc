"""The event path against a scheduler written as plainly as can be: every step on its own, every sum anew, no table and
no jump."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simcost.serving import arrivals, lengths
from simcost.serving.events import simulate
from simcost.serving.policy import Policy
from simcost.serving.summary import SHARES, summary
from simcost.serving.trace import Trace

SETTINGS = settings(max_examples=60, deadline=None, derandomize=True)


@dataclass
class Request:
    """One request as it goes."""

    isl: int
    osl: int
    cached: int
    arrival: float
    ready: float
    held: int = 0
    computed: int = 0
    admitted: float = -1.0
    tokens: list[float] = field(default_factory=list)  # when each was made

    @property
    def prompt(self) -> int:
        """What has to be in the cache before the next token: after a preemption, the answer so far too."""
        return self.isl + len(self.tokens)


@dataclass
class Plain:
    """A replica without shortcuts."""

    policy: Policy
    pool: float
    requests: list[Request]
    users: int  # 0: requests come by themselves
    now: float = 0.0
    passed: float = 0.0  # when the front end has passed on all that came
    preemptions: int = 0
    since: int = 0  # decode steps since the last step with prompts
    running_s: float = 0.0
    queued_s: float = 0.0
    used_s: float = 0.0

    def __post_init__(self) -> None:
        self.waiting: list[Request] = []
        self.prefilling: list[Request] = []
        self.decoding: list[Request] = []
        self.coming = list(self.requests)
        self.mixed = self.policy.name == "mixed"
        self.grows = self.policy.admission == "prompt"

    @property
    def free(self) -> float:
        """KV tokens that nobody holds."""
        return self.pool - sum(each.held for each in self.prefilling + self.decoding)

    def make_room(self) -> None:
        """The newest back in front of the queue, until everybody has room for a token."""
        while self.grows and self.free < len(self.decoding):
            victim = (self.prefilling or self.decoding).pop()
            victim.held = victim.computed = 0
            self.waiting.insert(0, victim)
            self.preemptions += 1

    def next_in(self) -> Request | None:
        """The first in the queue, admitted where it fits and everybody has room for a step."""
        running = len(self.prefilling + self.decoding)
        if not self.waiting or running == self.policy.sequences:
            return None
        first = self.waiting[0]
        need = first.prompt if self.grows else first.isl + first.osl - 1
        if running and need + (running if self.grows else 0) > self.free:
            return None
        self.waiting.pop(0)
        first.held, first.computed = need, first.cached
        first.admitted = self.now if first.admitted < 0.0 else first.admitted
        self.prefilling.append(first)
        return first

    def chunks(self) -> list[tuple[Request, int]]:
        """Whose prompts the next step takes, and how many tokens of each."""
        left = self.policy.tokens - (len(self.decoding) if self.mixed else 0)
        found = []
        for one in [*self.prefilling, *([None] * int(left))]:
            each = one or (self.next_in() if left else None)
            if each is None:
                break
            found.append((each, int(min(left, each.prompt - each.computed))))
            left -= found[-1][1]
        return found

    def step(self, times) -> None:  # type: ignore[no-untyped-def]
        """One step of the engine."""
        looks = not self.decoding or self.since % self.policy.receive_interval == 0
        while looks and self.coming and self.coming[0].ready <= self.now:
            self.queued_s += self.now - self.coming[0].ready
            self.waiting.append(self.coming.pop(0))
        if self.mixed:
            self.make_room()
        chunks = self.chunks()
        if not chunks and not self.decoding:
            self.now = self.coming[0].ready
            return
        if not chunks:
            self.make_room()
        decoding = list(self.decoding) if self.mixed or not chunks else []
        pairs, tokens, complete = 0.0, 0, []
        for each, part in chunks:
            pairs += sum(each.computed + j + 0.5 for j in range(part))
            each.computed += part
            tokens += part
            if each.computed == each.prompt:
                complete.append(each)
        context = float(np.mean([each.prompt - 1 for each in decoding])) if decoding else 0.0
        past = pairs / tokens - tokens / 2.0 if tokens else 0.0
        self.since = 0 if chunks else self.since + 1
        seconds = times(float(len(decoding)), context, float(tokens), past) + self.policy.host_step_s
        for each in decoding:
            each.held += self.grows
        self.running_s += seconds * len(self.prefilling + self.decoding)
        self.queued_s += seconds * len(self.waiting)
        self.used_s += seconds * (self.pool - self.free)
        self.now += seconds
        for each in complete + decoding:
            each.tokens.append(self.now)
        for each in complete:
            self.prefilling.remove(each)
            self.decoding.append(each)
        for each in [one for one in self.decoding if len(one.tokens) == one.osl]:
            self.decoding.remove(each)
            each.held = 0
            self.send_next()

    def send_next(self) -> None:
        """A user whose answer has come sends the next request."""
        for each in self.requests:
            if self.users and math.isinf(each.ready):
                self.arrive(each, self.now)
                return

    def arrive(self, each: Request, at: float) -> None:
        """A request goes through the front end, which takes them in turn."""
        self.passed = max(self.passed, at) + self.policy.host_request_s + self.policy.host_token_s * each.isl
        each.arrival, each.ready = at, self.passed + self.policy.host_delay_s


def step_times(batch, context, tokens, past):  # type: ignore[no-untyped-def]
    """Linear along each axis, so that the table holds it exactly. [s]"""
    return 1e-3 + 2e-5 * batch + 3e-7 * batch * context + 4e-5 * tokens + 1e-7 * tokens * past


def flat_times(batch, context, tokens, past):  # type: ignore[no-untyped-def]
    """Without the context. [s]"""
    return 1e-3 + 2e-5 * batch + 4e-5 * tokens


def plainly(trace: Trace, policy: Policy, users: int, hit: float, times) -> Plain:  # type: ignore[no-untyped-def]
    """The same requests by hand."""
    requests = []
    for isl, osl in zip(trace.isl.tolist(), trace.osl.tolist(), strict=True):
        requests.append(Request(isl, osl, min(int(hit * isl), isl - 1), math.inf, math.inf))
    plain = Plain(policy, trace.pool_tokens, requests, users)
    for i, each in enumerate(requests):
        if not users or i < users:
            plain.arrive(each, 0.0 if users else float(trace.arrival[i]))
    while any(len(each.tokens) < each.osl for each in requests):
        plain.step(times)
    return plain


@st.composite
def cases(draw: st.DrawFn) -> tuple:  # type: ignore[type-arg]
    sequences = draw(st.integers(1, 8))
    policy = Policy(
        draw(st.sampled_from(["mixed", "prefill_first"])),
        float(draw(st.integers(sequences, 90))),
        float(sequences),
        float(draw(st.sampled_from([1, 2, 5, 40]))),
        draw(st.sampled_from([0.0, 3e-4])),
        draw(st.sampled_from([0.0, 2e-3])),
        draw(st.sampled_from(["prompt", "whole"])),
        host_token_s=draw(st.sampled_from([0.0, 3e-5])),
        host_delay_s=draw(st.sampled_from([0.0, 4e-3])),
        receive_interval=float(draw(st.sampled_from([1, 1, 3, 10]))),
    )
    least = draw(st.integers(1, 40))
    isl = lengths.uniform(least, least + draw(st.integers(0, 40)))
    osl = lengths.uniform(1, draw(st.integers(1, 40)))
    users = draw(st.integers(0, 9))
    spread, burst = draw(st.sampled_from(["poisson", "deterministic"])), draw(st.integers(1, 4))
    sent = arrivals.Closed(users) if users else arrivals.Open(draw(st.sampled_from([5.0, 40.0, 300.0])), spread, burst)
    pool = isl.most + osl.most + draw(st.sampled_from([0, 3, 60, 10**5]))
    return (
        policy,
        sent,
        isl,
        osl,
        draw(st.integers(1, 24)),
        pool,
        draw(st.integers(0, 99)),
        draw(st.sampled_from([0.0, 0.4, 1.0])),
    )


@SETTINGS
@given(case=cases())
def test_every_token_comes_when_plain_steps_say(case) -> None:  # type: ignore[no-untyped-def]
    policy, sent, isl, osl, requests, pool, seed, hit = case
    trace = simulate(step_times, policy, sent, isl, osl, requests, pool, seed, prefix_hit=hit)
    plain = plainly(trace, policy, getattr(sent, "users", 0), hit, step_times)
    sends = [each.tokens[min(int(policy.stream_interval), each.osl) - 1] for each in plain.requests]
    for got, want in (
        (trace.arrival, [each.arrival for each in plain.requests]),
        (trace.admitted, [each.admitted for each in plain.requests]),
        (trace.first_token, [each.tokens[0] for each in plain.requests]),
        (trace.printed, sends),
        (trace.last_token, [each.tokens[-1] for each in plain.requests]),
    ):
        assert got == pytest.approx(np.asarray(want), rel=1e-9, abs=1e-9)
    assert trace.preemptions == plain.preemptions
    found = summary(trace, 0)
    assert found.running == pytest.approx(plain.running_s / plain.now, rel=1e-9)
    assert found.queued == pytest.approx(plain.queued_s / plain.now, rel=1e-9, abs=1e-9)
    assert found.kv_used_fraction == pytest.approx(plain.used_s / plain.now / pool, rel=1e-9)
    one_by_one = simulate(step_times, policy, sent, isl, osl, requests, pool, seed, prefix_hit=hit, longest_jump=1)
    assert one_by_one.last_token == pytest.approx(trace.last_token, rel=1e-9)
    assert summary(one_by_one, 0).steps == found.steps


@SETTINGS
@given(case=cases())
def test_gaps_between_tokens_are_those_of_plain_steps(case) -> None:  # type: ignore[no-untyped-def]
    policy, sent, isl, osl, requests, _, seed, hit = case
    trace = simulate(flat_times, policy, sent, isl, osl, requests, 10**5, seed, prefix_hit=hit)
    plain = plainly(trace, policy, getattr(sent, "users", 0), hit, flat_times)
    gaps = np.concatenate([np.diff(each.tokens) for each in plain.requests])
    found = summary(trace, 0).itl_s
    if not len(gaps):
        assert math.isnan(found.mean)
        return
    assert found.mean == pytest.approx(np.mean(gaps), rel=1e-9)
    want = np.quantile(gaps, SHARES, method="inverted_cdf")
    assert [found.p50, found.p90, found.p99] == pytest.approx(want.tolist(), rel=1e-9)
