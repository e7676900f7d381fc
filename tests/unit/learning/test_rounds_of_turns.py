"""Agents whose rollouts are cut by rounds: laws, a plain engine beside, and counts of tokens."""

from __future__ import annotations

import numpy as np
import pytest
from test_rollout import ONE, STEP, TOKEN, engine, free

from simcost.learning import rollout, rounds, turns
from simcost.learning.rollout import Answers
from simcost.learning.turns import NO_TOOLS, Tools
from simcost.serving import lengths

LENGTHS = lengths.lognormal(100, 0.5).cap(600)
WAITS = lengths.exponential(4000)  # of milliseconds


def source(tools=NO_TOOLS):
    return rounds.Source(ONE, LENGTHS, tools, 1)


def by_batch(batch, context, tokens, past):
    """Every running sequence adds as much: work waits for nobody."""
    return 1e-3 * np.asarray(batch) + 0.0 * np.asarray(context) + 0.0 * np.asarray(tokens)


def steady(one, ends, in_flight, refill, tools=NO_TOOLS, osl=LENGTHS, samples=4):
    return rounds.steady(one, ONE, osl, samples, ends, in_flight, 1, refill, tools)


@pytest.mark.parametrize("pool", [1e9, 1500.0])
def test_a_round_of_single_turns_is_the_plain_engine(pool) -> None:
    """The same answers, in part done, stopped at the same end: times of all, and what is left of each."""
    one, rng = engine(pool=pool), np.random.default_rng(2)
    flying = rounds._under_way(source(), 32, 1.0, rng)
    times = rollout.table(one, [flying.all], 32)
    _, after = rounds._round(one, times, flying, 8, 32)
    plain = Answers(
        flying.all.isl + flying.made,
        flying.all.osl - flying.made,
        np.zeros(32, np.int64),
        np.arange(32),
    ).run(one, times, 8)
    on = np.flatnonzero(plain.last_token < 0.0)
    assert np.array_equal(after.all.osl, flying.all.osl[on])
    if pool < 1e9:
        assert plain.preemptions > 0
        return
    steps = float(np.sum(plain.steps.made))  # all prompts are computed in the first step, with a token of each
    assert np.array_equal(after.made, flying.made[on] + 1 + steps)


def test_waits_for_tools_hide_behind_other_samples() -> None:
    """An engine that is always busy takes as long with tools that run as with tools that take no time."""
    quick, slow = (steady(engine(by_batch), 128, 256, True, Tools(3, wait, ONE)) for wait in (0.0, WAITS))
    assert quick.busy > 0.999 < slow.busy * 1.001
    assert slow.seconds == pytest.approx(quick.seconds, rel=0.03)
    assert slow.seconds == pytest.approx(1e-3 * 128 * 3 * 100, rel=0.05)  # its work alone
    assert slow.running < 0.97 * quick.running  # some of those in flight wait


@pytest.mark.parametrize("wait", [0.5, 3.0])
def test_trajectories_run_at_littles_law(wait) -> None:
    """A trajectory takes its tokens and its tools; so many in flight end at in_flight / that a second."""
    found = steady(engine(free), 64, 256, True, Tools(4, wait, ONE), lengths.exponential(100))
    assert found.seconds == pytest.approx(64 / 256 * (4 * 100 * STEP + 3 * wait), rel=0.1)
    assert found.tokens == pytest.approx(64 * 400)


@pytest.mark.parametrize("times", [free, by_batch])
def test_rounds_never_take_longer_than_the_whole_batch(times) -> None:
    """Steps of so many trajectories: with others in flight, and with new ones where one ends, no slower than alone."""
    tools = Tools(3, WAITS, ONE)
    alone = rollout.burst(engine(times), lambda seed: turns.drawn(ONE, LENGTHS, tools, 16, 4, seed), 1)
    partial, ahead = (steady(engine(times), 64, many, on, tools) for many, on in ((128, False), (64, True)))
    assert max(partial.seconds, ahead.seconds) < alone.seconds


@pytest.mark.parametrize("refill", [False, True])
def test_tokens_are_conserved_from_round_to_round(refill) -> None:
    """What an engine makes is in the trajectories that ended, or more in those that go on."""
    tools = Tools(3, WAITS, lengths.constant(20))
    one, rng, of = engine(), np.random.default_rng(2), source(tools)
    flying = rounds._refilled(rounds._under_way(of, 24, STEP, rng), of, 32, rng)
    times = rollout.table(one, [of.longest, flying.all], 24 if refill else 32)
    for _ in range(5):
        run = flying.all.sent(one, times, flying.turn, flying.made, flying.wait, 24 if refill else 32)
        run.run(8)
        trace = run.trace(run.prompts, run.answers)
        begun = int(np.sum(trace.first_token >= 0.0))
        engine_made = begun + float(np.sum(trace.steps.made * trace.steps.batch))
        _, after = rounds._round(one, times, flying, 8, 24 if refill else 32)
        over = len(flying.all) - len(after.all)
        assert over >= 8
        assert len(after.all) + over == 32
        before, left = _there(flying), _there(after)
        ended = int(np.sum(flying.all.osl)) - int(np.sum(after.all.osl))
        assert engine_made == left + ended - before
        assert np.all(after.made < after.all.made[np.arange(len(after.all)), after.turn])
        assert np.any(after.wait > 0.0)
        flying = rounds._refilled(after, of, 32, rng)


def _there(flying) -> int:
    """Tokens that are made already."""
    before = np.arange(flying.all.turns) < flying.turn[:, None]
    return int(np.sum(flying.all.made * before) + np.sum(flying.made))


def test_no_more_are_in_flight_than_a_mode_allows() -> None:
    """Of 12 trajectories 4 places: while their tools run nobody else starts."""
    n, one = 12, engine()
    batch = turns.Trajectories(
        np.full(n, 10), np.full((n, 2), 50), np.full((n, 1), 5), np.full((n, 1), 30.0), np.arange(n)
    )
    none = np.zeros(n, np.int64)
    run = batch.sent(one, rollout.table(one, [batch], n), none, none, np.zeros(n), 4)
    run.run(n)
    trace = run.trace(run.prompts, run.answers)
    first, last = trace.first_token[:n], trace.last_token[n:]
    starts = np.sort(first)
    for at in starts:
        assert np.sum((first <= at) & (last > at)) <= 4
    assert starts[4] > np.min(last)


def test_what_is_left_of_a_tool_is_waited_for_in_the_next_round() -> None:
    """Two of one turn and one whose tool runs for 5 s when they end."""
    one = engine()
    batch = turns.Trajectories(
        np.asarray([10, 10]), np.asarray([[2, 11], [40, 30]]), np.asarray([[5], [5]]), np.asarray([[9.0], [0.0]]),
        np.arange(2),
    )  # fmt: skip
    times = rollout.table(one, [batch], 2)
    flying = rounds.Flying(batch, np.asarray([0, 1]), np.asarray([0, 10]), np.zeros(2))
    done, after = rounds._round(one, times, flying, 1, 2)
    assert (after.turn.tolist(), after.made.tolist()) == ([1], [0])
    began = STEP + TOKEN * (10 + 10 + 40 + 5 + 10)  # both prompts' step, then one decode step: the tool starts
    assert float(after.wait[0]) == pytest.approx(9.0 - (done.seconds - began), abs=2 * STEP)
    rest, _ = rounds._round(one, times, after, 1, 2)
    assert rest.seconds == pytest.approx(float(after.wait[0]) + TOKEN * (10 + 2 + 5) + 10 * STEP, abs=STEP)
