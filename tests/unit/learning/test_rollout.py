"""Rollouts against closed forms, Monte Carlo and counts of tokens."""

from __future__ import annotations

import math

import numpy as np
import pytest

from simcost.errors import SpecError
from simcost.learning import rollout, rounds, turns
from simcost.learning.rollout import Answers, Engine
from simcost.serving import lengths
from simcost.serving.events import plug_in
from simcost.serving.policy import Policy
from simcost.serving.replica import Replica

STEP, TOKEN = 0.01, 1e-5
ONE = lengths.constant(1)


def flat(batch, context, tokens, past):
    """A step takes as long at any batch; each token of a prompt adds its own."""
    return STEP * (np.asarray(batch) > 0.0) + TOKEN * np.asarray(tokens, np.float64) + 0.0 * np.asarray(context)


def growing(batch, context, tokens, past):
    return 0.004 + 1e-4 * np.asarray(batch) + TOKEN * np.asarray(tokens, np.float64) + 0.0 * np.asarray(context)


def free(batch, context, tokens, past):
    """As `flat`, prompts for nothing."""
    return STEP * (np.asarray(batch) > 0.0) + 0.0 * np.asarray(context) + 0.0 * np.asarray(tokens)


def engine(times=flat, replicas=1, pool=1e9, sequences=4096, name="prefill_first", emitted=1.0):
    policy = Policy(name, 1e6, sequences, 1, 0.0, 0.0)
    return Engine(times, policy, pool, replicas, emitted)


def burst(one, isl, osl, prompts, samples, seeds=1, seed=1):
    return rollout.burst(one, lambda at: rollout.drawn(isl, osl, prompts, samples, at), seed, seeds)


def test_equal_lengths_are_the_closed_form() -> None:
    found = burst(engine(growing), lengths.constant(100), lengths.constant(50), 8, 1)
    prompts = 0.004 + TOKEN * 800
    assert found.seconds == pytest.approx(prompts + 49 * (0.004 + 8e-4))
    assert found.tokens == 8 * 50
    assert found.deviation == 0.0


def test_one_wave_lasts_as_long_as_its_longest_answer() -> None:
    osl = lengths.lognormal(200, 0.8)
    answers = rollout.drawn(ONE, osl, 64, 1, 1)
    found = burst(engine(), ONE, osl, 64, 1)
    assert found.seconds == pytest.approx(TOKEN * 64 + STEP * (int(np.max(answers.osl)) - 1))
    assert found.longest == np.max(answers.osl)


def test_the_slowest_replica_sets_the_wall_whichever_run() -> None:
    """Of 40 replicas 8 run: those that may be the slowest are among them."""
    osl = lengths.lognormal(200, 1.0)
    answers = rollout.drawn(ONE, osl, 400, 1, 3)
    found = burst(engine(replicas=40), ONE, osl, 400, 1, seed=3)
    assert found.seconds == pytest.approx(TOKEN * 10 + STEP * (int(np.max(answers.osl)) - 1))
    assert len(found.ends) == 400


def test_longest_of_many_agrees_with_monte_carlo() -> None:
    osl = lengths.lognormal(1000, 0.7).cap(16384)
    found = burst(engine(replicas=8), ONE, osl, 512, 1, seeds=40)
    rng = np.random.default_rng(7)
    many = np.exp(osl.mu + osl.sigma * rng.standard_normal((4000, 512)))
    longest = np.minimum(many, 16384).max(axis=1)
    assert found.longest == pytest.approx(longest.mean(), rel=4 * longest.std() / longest.mean() / math.sqrt(40))
    assert found.tokens == pytest.approx(512 * osl.mean, rel=0.02)
    assert found.deviation == pytest.approx(STEP * longest.std(), rel=0.4)


def test_samples_of_a_prompt_share_its_prefix() -> None:
    answers = rollout.drawn(lengths.constant(1000), lengths.constant(10), 4, 8, 1)
    trace = answers.run(engine(), rollout.table(engine(), [answers], 32))
    assert float(np.sum(trace.steps.tokens)) == 4 * 1000 + 4 * 7 * 1  # one token of each other sample, for its logits


def test_a_shared_prefix_stands_in_the_pool_once() -> None:
    isl, osl = lengths.constant(1000), lengths.constant(100)
    alone = rollout.drawn(isl, osl, 16, 1, 1)
    shared = rollout.drawn(isl, osl, 1, 16, 1)
    one = engine(pool=2700.0)
    waves = {len(each): each.run(one, rollout.table(one, [each], 16)).steps for each in (alone, shared)}[16]
    assert waves.batch.max() == 16  # 1,000 + 16 x 99 tokens fit; of prompts of their own two do
    assert alone.run(one, rollout.table(one, [alone], 16)).steps.batch.max() == 2


@pytest.mark.parametrize("pool", [1e9, 1500.0])
def test_a_shared_prefix_is_given_back_in_full(pool) -> None:
    """Whether or not sequences were preempted on the way."""
    one = engine(pool=pool)
    own, shared = rollout.with_prefixes(rollout.drawn(lengths.constant(400), lengths.uniform(50, 400), 2, 4, 1))
    times = rollout.table(one, [own], 8)
    run = Replica(
        times, plug_in(one.policy), one.policy, 8, pool, own.isl, own.osl, own.cached, np.zeros(8), shared=shared
    )
    run.run()
    assert (run.used, run.context, run.batch, run.done) == (0, 0, 0, 8)
    assert (run.preemptions > 0) == (pool < 1e9)


def test_speculative_steps_make_several_tokens() -> None:
    for osl, steps in ((101, 50), (100, 50), (2, 1), (1, 0)):  # the prompt's step makes one token, the others two
        fast = burst(engine(emitted=2.0), ONE, lengths.constant(osl), 4, 1).seconds
        assert fast == pytest.approx(TOKEN * 4 + STEP * steps), osl


@pytest.mark.parametrize("emitted", [1.0, 1.7, 2.0, 3.25])
def test_steps_are_the_fewest_that_make_all_tokens(emitted: float) -> None:
    one, tokens = engine(emitted=emitted), np.arange(1, 200)
    steps = one.steps(tokens)
    assert np.all(one.tokens(steps) >= tokens)
    assert np.all(one.tokens(steps - 1) < tokens)
    assert one.tokens(np.arange(3)).tolist() == [0, 1, math.floor(1.0 + emitted)]


def test_an_answer_beyond_the_pool_is_refused() -> None:
    with pytest.raises(SpecError, match="does not fit in the KV pool"):
        burst(engine(pool=100.0), lengths.constant(50), lengths.constant(100), 2, 1)


@pytest.mark.parametrize(
    ("osl", "cap", "share"),
    [
        (lengths.uniform(1, 100), 80, 0.21),
        (lengths.exponential(100), 100, 0.99**99),
        (lengths.lognormal(100, 1.0), 1e9, 0.0),
    ],
)
def test_capped_share(osl, cap, share) -> None:
    assert rollout.capped_share(osl, cap) == pytest.approx(share, abs=1e-6)


def test_dealt_keeps_neighbours_and_evens_numbers() -> None:
    shares = rollout.dealt(10, 4)
    assert [len(each) for each in shares] == [3, 3, 2, 2]
    assert np.concatenate(shares).tolist() == list(range(10))
    assert len(rollout.dealt(3, 8)) == 3  # the others have none


def test_rounds_run_at_littles_law() -> None:
    """With steps of one length an answer takes its tokens: so many in flight end at in_flight / mean a step. Where none
    joins, as many as at the start are left to a part exp(-t / mean)."""
    osl = lengths.exponential(200)
    found = rounds.steady(engine(free, replicas=4), ONE, osl, 8, 256, 1024, 1, refill=True)
    assert found.seconds == pytest.approx(256 / 1024 * 200 * STEP, rel=0.1)
    alone = rounds.steady(engine(free, replicas=4), ONE, osl, 8, 256, 1024, 1)
    assert alone.seconds == pytest.approx(-math.log(1.0 - 256 / 1024) * 200 * STEP, rel=0.1)
    assert len(found.ends) == 256
    assert np.all(np.diff(found.ends) >= 0.0)


def test_more_in_flight_never_take_longer_where_a_step_costs_the_same() -> None:
    osl = lengths.lognormal(200, 0.8)
    times = [rounds.steady(engine(), ONE, osl, 1, 64, many, 1).seconds for many in (64, 128, 512)]
    assert times == sorted(times, reverse=True)


def trajectory(made, tools, waits):
    n = len(made)
    return turns.Trajectories(
        np.full(n, 100), np.asarray(made), np.asarray(tools), np.asarray(waits, float), np.arange(n)
    )


def test_turns_follow_their_tools() -> None:
    one = engine()
    batch = trajectory([[11, 21, 31]], [[50, 60]], [[1.5, 2.5]])
    trace = batch.run(one, rollout.table(one, [batch], 1))
    decode = STEP * (10 + 20 + 30)
    prompts = TOKEN * (100 + 51 + 61)  # what a tool put out, and the last token of the answer before
    assert float(np.max(trace.last_token)) == pytest.approx(decode + prompts + 4.0)
    assert int(batch.lengths[0]) == 100 + 63 + 110


def test_caches_of_waiting_trajectories_give_way() -> None:
    made, tools, waits = [[50, 50]] * 8, [[10]] * 8, [[5.0]] * 8
    batch = trajectory(made, tools, waits)
    hits = []
    for pool in (1e9, 400.0):
        one = engine(pool=pool)
        trace = batch.run(one, rollout.table(one, [batch], 8))
        hits.append(rollout.hit_share([trace]))
    assert hits[0] > 0.4 > hits[1]


def test_turns_of_one_are_answers() -> None:
    osl, isl = lengths.lognormal(100, 0.5), lengths.constant(20)
    single = turns.drawn(isl, osl, turns.NO_TOOLS, 4, 4, 1)
    as_answers = Answers(single.isl, single.made[:, 0], np.zeros_like(single.isl), single.prompt)
    one = engine(growing)
    times = rollout.table(one, [as_answers], 16)
    assert np.array_equal(single.run(one, times).last_token, as_answers.run(one, times).last_token)
