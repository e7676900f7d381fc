"""The event path on runs small enough to be worked out by hand, and what it refuses."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest

from simcost.errors import SpecError
from simcost.serving import arrivals, lengths
from simcost.serving.arrivals import Arrivals
from simcost.serving.events import simulate
from simcost.serving.policy import Policy
from simcost.serving.step_table import Extent, StepTable
from simcost.serving.summary import spread, summary
from simcost.serving.trace import Trace

A, B, C, D, E = 1e-3, 2e-5, 3e-8, 4e-5, 1e-9


def step_times(batch, context, tokens, past):  # type: ignore[no-untyped-def]
    """[s]"""
    return A + B * batch + C * batch * context + D * tokens + E * tokens * past


TWO_USERS = arrivals.Closed(2)
MIXED, FIRST = (Policy(name, 512.0, 64.0, 1.0, 0.0, 0.0) for name in ("mixed", "prefill_first"))


def run(
    policy: Policy = MIXED,
    sent: Arrivals = TWO_USERS,
    isl: float = 100.0,
    osl: float = 11.0,
    requests: int = 2,
    pool: float = math.inf,
    seed: int = 0,
    **more: float,
) -> Trace:
    return simulate(
        step_times, policy, sent, lengths.constant(isl), lengths.constant(osl), requests, pool, seed, **more
    )


@pytest.mark.parametrize("policy", [MIXED, FIRST])
def test_a_wave_is_one_prefill_and_its_decode_steps(policy: Policy) -> None:
    trace = run(policy)
    # Two prompts of 100 in one step see the pairs of 200 tokens with a past of -50.
    prefill = A + D * 200 + E * 200 * -50.0
    decode = sum(A + B * 2 + C * 2 * (100 + j) for j in range(10))
    assert trace.first_token == pytest.approx([prefill, prefill], rel=1e-12)
    assert trace.last_token == pytest.approx([prefill + decode] * 2, rel=1e-12)
    found = summary(trace, 0)
    assert found.ttft_s.mean == pytest.approx(prefill)
    assert found.tpot_s.p99 == pytest.approx(decode / 10)
    assert found.itl_s.mean == pytest.approx(decode / 10)
    assert found.e2e_s.p50 == pytest.approx(prefill + decode)
    assert found.output_tokens_per_s == pytest.approx(22 / (prefill + decode))
    assert (found.steps, found.running, found.queued, found.busy_fraction) == (
        11,
        pytest.approx(2.0),
        0.0,
        pytest.approx(1.0),
    )


def test_decode_goes_on_beside_a_prompt_or_waits_for_it() -> None:
    """The second prompt comes while the first answer is made."""
    sent = arrivals.Open(1.0 / 8e-3, "deterministic")
    mixed, first = (run(policy, sent, isl=200.0) for policy in (MIXED, FIRST))
    start = A + D * 200
    alone = [A + B + C * (200 + j) for j in range(10)]
    assert start < 8e-3 + sum(alone[:1])
    # 9 ms of prefill are over after the arrival at 8 ms: the next step takes the second prompt.
    with_prompt = A + B + C * 200 + D * 200
    assert mixed.first_token == pytest.approx([start, start + with_prompt])
    assert first.first_token == pytest.approx([start, start + A + D * 200])
    both = [A + 2 * B + C * (200 + j + 200 + j + 1) for j in range(9)]
    assert mixed.last_token[0] == pytest.approx(start + with_prompt + sum(both))
    assert summary(mixed, 0).itl_s.p99 == pytest.approx(with_prompt)
    # The first answer waits for the second prompt; the second's own gaps are of decode steps.
    together = A + 2 * B + C * 400
    assert summary(first, 0).itl_s.p99 == pytest.approx(A + D * 200 + together)


def test_a_long_prompt_passes_in_chunks() -> None:
    trace = run(isl=1100.0, osl=1.0, requests=1)
    chunks = [A + D * n + E * n * past for n, past in ((512, 0), (512, 512), (76, 1024))]
    assert trace.first_token == pytest.approx([sum(chunks)])
    assert trace.steps.tokens.tolist() == [512.0, 512.0, 76.0]
    assert math.isnan(summary(trace, 0).tpot_s.mean)


def test_cached_prefixes_are_not_computed_but_take_their_place() -> None:
    hit = run(requests=1, sent=arrivals.Closed(1), prefix_hit=0.75)
    assert hit.first_token == pytest.approx([A + D * 25 + E * 25 * 75])
    assert hit.steps.used[0] == 100
    everything = run(requests=1, sent=arrivals.Closed(1), prefix_hit=1.0)
    assert everything.steps.tokens[0] == 1.0  # the last token of a prompt is computed for its logits


def test_a_stream_interval_delays_the_first_token_that_is_sent() -> None:
    ten = Policy("mixed", 512.0, 64.0, 10.0, 0.0, 0.0)
    trace, every = run(ten, osl=31.0), run(osl=31.0)
    assert trace.first_token.tolist() == every.first_token.tolist()
    nine = sum(A + 2 * B + C * 2 * (100 + j) for j in range(9))
    assert trace.printed - trace.first_token == pytest.approx([nine, nine])
    assert summary(trace, 0).ttft_s.mean > summary(every, 0).ttft_s.mean
    assert summary(trace, 0).tpot_s.mean < summary(every, 0).tpot_s.mean  # as benchmarks divide
    short = run(ten, osl=4.0)
    assert short.printed.tolist() == short.last_token.tolist()


def test_a_front_end_takes_requests_in_turn() -> None:
    """2 ms a request and 10 us a token of its prompt: two that come at once stand 2 ms and a prompt's tokens apart."""
    slow = Policy("mixed", 512.0, 64.0, 1.0, 0.0, 2e-3, host_token_s=1e-5)
    trace = run(slow, requests=4)
    each = 2e-3 + 1e-5 * trace.isl[0]
    assert trace.queued[:2] == pytest.approx([each, 2.0 * each])
    alone, bare = run(slow, arrivals.Closed(1), requests=1), run(MIXED, arrivals.Closed(1), requests=1)
    assert alone.first_token[0] == pytest.approx(bare.first_token[0] + each)


def test_a_delay_is_no_queue() -> None:
    """4 ms of each request, whether it comes alone or while another is in the front end."""
    late = Policy("mixed", 512.0, 64.0, 1.0, 0.0, 2e-3, host_delay_s=4e-3)
    soon = Policy("mixed", 512.0, 64.0, 1.0, 0.0, 2e-3)
    for sent in (arrivals.Closed(1), arrivals.Open(1e3, "deterministic")):
        with_it, without = run(late, sent), run(soon, sent)
        waits = (with_it.queued - with_it.arrival) - (without.queued - without.arrival)
        assert waits == pytest.approx([4e-3, 4e-3])


def test_new_requests_are_received_some_decode_steps_apart() -> None:
    """The second comes 8 ms after the first, in its third decode step of 2.5 ms: looks are five steps apart, counted from the first prompt."""
    sent = arrivals.Open(1.0 / 8e-3, "deterministic")
    rare = Policy("mixed", 512.0, 64.0, 1.0, 0.0, 0.0, receive_interval=5.0)
    trace = run(rare, sent, osl=40.0)
    steps = [A + B + C * (100 + j) for j in range(5)]
    assert trace.admitted[1] - trace.first_token[0] == pytest.approx(sum(steps))
    assert trace.arrival[1] < trace.first_token[0] + sum(steps[:4])
    assert run(MIXED, sent, osl=40.0).admitted[1] < trace.admitted[1]


def test_a_step_that_is_prepared_delays_a_request_by_one() -> None:
    ahead = Policy("mixed", 512.0, 64.0, 1.0, 5e-4, 0.0, overlap=1.0)
    plain = Policy("mixed", 512.0, 64.0, 1.0, 5e-4, 0.0)
    late, soon = (run(policy, arrivals.Closed(1), requests=1) for policy in (ahead, plain))
    gap = late.first_token[0] - soon.first_token[0]
    typical = late.isl[0] + late.osl[0] / 2.0
    assert gap == pytest.approx(float(step_times(1.0, typical, 0.0, 0.0)) + 5e-4)


def test_the_newest_is_preempted_and_computed_anew() -> None:
    """Room for both prompts and 20 tokens more: after ten steps of two the second gives way, and comes back when the
    first has ended."""
    trace = run(osl=31.0, pool=220.0)
    prefill = A + D * 200 - E * 200 * 50
    both = sum(A + 2 * B + C * 2 * (100 + j) for j in range(10))
    alone = sum(A + B + C * (110 + j) for j in range(20))
    again = A + D * 111
    rest = sum(A + B + C * (111 + j) for j in range(19))
    assert trace.last_token == pytest.approx([prefill + both + alone, prefill + both + alone + again + rest])
    assert (trace.preemptions, trace.recomputed) == (1, 110)
    assert trace.stalls == pytest.approx([alone + again])
    assert summary(trace, 0).itl_s.p99 == pytest.approx(alone + again)
    whole = run(Policy("mixed", 512.0, 64.0, 1.0, 0.0, 0.0, "whole"), osl=31.0, pool=220.0)
    assert whole.preemptions == 0
    assert whole.admitted[1] == whole.last_token[0]


def test_arrivals() -> None:
    assert arrivals.times(arrivals.Closed(3), 5, 0).tolist() == [0.0] * 3
    assert arrivals.times(arrivals.Offline(), 5, 0).tolist() == [0.0] * 5
    assert arrivals.times(arrivals.Open(4.0, "deterministic"), 4, 0).tolist() == [0.0, 0.25, 0.5, 0.75]
    assert arrivals.times(arrivals.Open(4.0, "deterministic", 2), 5, 0).tolist() == [0.0, 0.0, 0.5, 0.5, 1.0]
    gaps = np.diff(arrivals.times(arrivals.Open(4.0), 20_000, 1))
    assert float(np.mean(gaps)) == pytest.approx(0.25, rel=0.03)
    assert float(np.std(gaps)) == pytest.approx(0.25, rel=0.03)


def test_offline_throughput_is_that_of_the_largest_batch() -> None:
    """All at once, 64 sequences at a time, prompts of a step each wave: ten waves."""
    trace = run(Policy("prefill_first", 6400.0, 64.0, 1.0, 0.0, 0.0), arrivals.Offline(), requests=640)
    wave = A + D * 6400 + E * 6400 * (50.0 - 3200.0) + sum(A + 64 * B + C * 64 * (100 + j) for j in range(10))
    assert trace.last_token.max() == pytest.approx(10 * wave, rel=1e-9)
    found = summary(trace, 0)
    assert found.output_tokens_per_s == pytest.approx(64 * 11 / wave, rel=1e-9)
    assert summary(trace, 64).output_tokens_per_s == pytest.approx(64 * 11 / wave, rel=1e-9)
    assert found.queueing_s.p50 == pytest.approx(4 * wave, rel=1e-9)


def test_a_table_answers_as_its_callable() -> None:
    table = StepTable(step_times, Extent(200, 4096, 64.0, 1000.0, 5000.0), 5e-4, True)
    for batch, context in itertools.product((1, 7, 64, 65, 200), (64, 65, 1000, 4999, 5000)):
        starts, slopes = table.line(batch)
        bits = context.bit_length()
        assert starts[bits] + slopes[bits] * context == pytest.approx(
            step_times(batch, context, 0, 0) + 5e-4, rel=1e-12
        )
    for batch, tokens in itertools.product((0, 1, 3, 100, 200), (1, 5, 333, 4096)):
        base, per_context, per_past = table.plane(batch, tokens)
        found = base + per_context * 700.0 + per_past * 90.0
        assert found == pytest.approx(step_times(batch, 700.0, tokens, 90.0) + 5e-4, rel=1e-12)


def test_a_table_follows_a_curve_between_its_points() -> None:
    """A floor of memory and a slope of compute, which meet between points."""

    def kernel(batch, context, tokens, past):  # type: ignore[no-untyped-def]
        return np.maximum(6e-3, 2e-5 * (batch + tokens)) + 1e-9 * batch * context

    table = StepTable(kernel, Extent(64, 8192, 64.0, 1000.0, 4000.0), 0.0, True)
    for batch, tokens in itertools.product((0, 10, 48, 64), (1, 100, 280, 300, 333, 700, 8000)):
        base, per_context, _ = table.plane(batch, tokens)
        assert base + per_context * 1000.0 == pytest.approx(kernel(batch, 1000.0, tokens, 0.0), rel=0.04)


def test_nothing_is_asked_for_that_cannot_be_reached() -> None:
    """Five users, and a pool for three of the shortest prompts: larger batches need have no time."""
    asked: list[float] = []

    def noted(batch, context, tokens, past):  # type: ignore[no-untyped-def]
        asked.append(float(np.max(batch)))
        assert np.max(context) <= 130 - 1
        assert np.max(tokens) <= 512
        return step_times(batch, context, tokens, past)

    isl, osl = lengths.uniform(100, 120), lengths.constant(10.0)
    trace = simulate(noted, MIXED, arrivals.Closed(5), isl, osl, 40, 330.0, 0)
    assert max(asked) == 3.0
    assert np.max(trace.steps.running) == 3.0


def test_percentiles_are_the_least_values_that_a_share_does_not_exceed() -> None:
    one = spread(np.arange(1.0, 101.0))
    assert (one.mean, one.p50, one.p90, one.p99) == (50.5, 50.0, 90.0, 99.0)
    heavy = spread(np.array([1.0, 2.0]), np.array([99.0, 1.0]))
    assert (heavy.mean, heavy.p50, heavy.p99) == (pytest.approx(1.01), 1.0, 1.0)


def changed(**fields: object) -> dict[str, object]:
    values: dict[str, Any] = {name: getattr(MIXED, name) for name in Policy.__annotations__}
    return {"policy": Policy(**{**values, **fields})}


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (changed(name="mixd"), "unknown policy 'mixd' (one of mixed, prefill_first); did you mean 'mixed'?"),
        (
            changed(admission="hole"),
            "policy mixed: unknown admission 'hole' (one of prompt, whole); did you mean 'whole'?",
        ),
        (
            changed(tokens=32.0),
            "policy mixed: sequences = 64 with tokens = 32: a step must have at least one token per sequence",
        ),
        (changed(sequences=0.0), "policy mixed: sequences = 0 is out of range (at least 1)"),
        (changed(host_step_s=-1.0), "policy mixed: host_step_s = -1 is out of range (at least 0)"),
        (changed(stream_interval=math.nan), "policy mixed: stream_interval = nan is out of range (at least 1)"),
        ({"requests": math.inf}, "requests = inf is out of range (a whole number, at least 1)"),
        ({"pool": math.nan}, "a request of 110 tokens does not fit in the KV pool of nan tokens"),
        ({"requests": 0}, "requests = 0 is out of range (a whole number, at least 1)"),
        ({"seed": -1}, "seed = -1 is out of range (a whole number, at least 0)"),
        ({"prefix_hit": 1.5}, "prefix_hit = 1.5 is out of range (0 to 1)"),
        ({"pool": 109.0}, "a request of 110 tokens does not fit in the KV pool of 109 tokens"),
    ],
)
def test_what_cannot_run_is_one_line(more: dict[str, object], said: str) -> None:
    with pytest.raises(SpecError) as caught:
        run(**more)  # type: ignore[arg-type]
    assert str(caught.value) == said


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: arrivals.Closed(0), "concurrency = 0 must be a whole number, 1 or more"),
        (lambda: arrivals.Closed(math.inf), "concurrency = inf must be a whole number"),  # type: ignore[arg-type]
        (lambda: arrivals.Open(0.0), "rate = 0 must be above 0 requests per second"),
        (lambda: arrivals.Open(math.nan), "rate = nan must be above 0"),
        (lambda: arrivals.Open(1.0, "gamma"), "spread = 'gamma' is unknown (one of poisson, deterministic)"),
        (lambda: arrivals.Open(1.0, "poisson", 0), "burst = 0 must be a whole number, 1 or more"),
        (lambda: summary(run(), 2), "warm-up = 2 must be a whole number from 0 to 1, of 2 requests"),
    ],
)
def test_what_nobody_can_send_is_one_line(make, said: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(SpecError) as caught:
        make()
    assert said in str(caught.value)


def test_a_step_without_a_time_is_named() -> None:
    def broken(batch, context, tokens, past):  # type: ignore[no-untyped-def]
        return np.where(np.asarray(batch) > 1.0, math.inf, 1e-3) + 0.0 * context

    with pytest.raises(
        SpecError, match=r"a step of batch = 2, context = \d+, tokens = 1, past = 0 has no time \(inf s\)"
    ):
        simulate(broken, MIXED, arrivals.Closed(2), lengths.constant(100.0), lengths.constant(5.0), 2, math.inf, 0)
