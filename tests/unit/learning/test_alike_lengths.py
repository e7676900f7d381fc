"""Lengths of one prompt's answers that go together: each alone as before, groups and replicas apart."""

from __future__ import annotations

import numpy as np
import pytest
from test_rollout import ONE, engine, free

from simcost import api
from simcost.errors import SpecError
from simcost.learning import rollout, rounds, turns
from simcost.learning.turns import NO_TOOLS, Tools
from simcost.num import normal
from simcost.serving import lengths

OSL = lengths.lognormal(1000, 0.8).cap(8000)
OF = np.repeat(np.arange(4000), 4)


def scores(shares):
    """Normal scores of uniform shares, by table."""
    grid = np.linspace(-6.0, 6.0, 4001)
    return np.interp(shares, np.asarray(normal(grid)), grid)


@pytest.mark.parametrize("alike", [0.0, 0.4, 1.0])
def test_shares_are_uniform_and_correlate_within_a_prompt_alone(alike) -> None:
    shares = rollout.shares(np.random.default_rng(1), OF, 1, alike)[:, 0]
    assert np.quantile(shares, [0.1, 0.5, 0.9]) == pytest.approx([0.1, 0.5, 0.9], abs=0.03)
    found = scores(shares).reshape(-1, 4)
    within = np.corrcoef(found[:, 0], found[:, 1])[0, 1]
    across = np.corrcoef(found[:-1, 0], found[1:, 0])[0, 1]
    assert within == pytest.approx(alike, abs=0.05)
    assert across == pytest.approx(0.0, abs=0.05)


def test_without_correlation_draws_are_as_they_were() -> None:
    rng = np.random.default_rng(3)
    assert np.array_equal(rollout.shares(rng, OF, 2, 0.0), np.random.default_rng(3).random((len(OF), 2)))


def test_the_longest_of_a_group_falls_and_the_fullest_replica_rises() -> None:
    """64 prompts of 16 answers on 16 replicas, prompt by prompt: the mean stays."""
    mean, longest, fullest = [], [], []
    for alike in (0.0, 0.5, 0.9):
        drawn = [rollout.drawn(ONE, OSL, 64, 16, seed, alike).osl.reshape(64, 16) for seed in range(40)]
        mean.append(np.mean(drawn))
        longest.append(np.mean([each.max(axis=1) for each in drawn]))
        shares = [each.reshape(16, 64).sum(axis=1) for each in drawn]
        fullest.append(np.mean([each.max() / each.mean() for each in shares]))
    assert mean[1:] == pytest.approx([mean[0]] * 2, rel=0.05)
    assert longest == sorted(longest, reverse=True)
    assert fullest == sorted(fullest)
    assert longest[0] > 1.8 * longest[2]
    assert fullest[2] > 1.4 * fullest[0]


def test_a_whole_batch_waits_for_its_fullest_replica() -> None:
    """A step that takes as long as its batch: the wall is the work of the fullest replica."""

    def by_batch(batch, context, tokens, past):
        return 1e-3 * np.asarray(batch) + 0.0 * np.asarray(context) + 0.0 * np.asarray(tokens)

    apart, alike = (
        rollout.burst(engine(by_batch, replicas=16), lambda seed, a=a: rollout.drawn(ONE, OSL, 64, 16, seed, a), 1)
        for a in (0.0, 0.9)
    )
    assert alike.seconds > 1.3 * apart.seconds
    assert alike.tokens == pytest.approx(apart.tokens, rel=0.15)


def test_rounds_keep_their_pace() -> None:
    """Little's law knows means alone."""
    found = [
        rounds.steady(engine(free), ONE, OSL, 16, 128, 256, 1, True, NO_TOOLS, alike).seconds for alike in (0.0, 0.9)
    ]
    assert found[1] == pytest.approx(found[0], rel=0.12)


def test_turns_of_a_prompt_go_together() -> None:
    drawn = turns.drawn(ONE, OSL, Tools(3, 0.0, ONE), 400, 2, 1, 0.8)
    by_prompt = np.log(drawn.made).reshape(400, 2, 3)
    assert np.corrcoef(by_prompt[:, 0, 0], by_prompt[:, 1, 2])[0, 1] == pytest.approx(0.8, abs=0.08)


@pytest.mark.parametrize("value", [-0.1, 1.5, True])
def test_a_correlation_is_a_share(value) -> None:
    with pytest.raises(SpecError, match=r"--length-correlation = .* must be a share from 0 to 1"):
        api.rl("llama-3.1-8b", "h100", 8, prompts=8, samples=2, isl=8, osl=8, length_correlation=value)
