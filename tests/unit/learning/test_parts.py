"""Packing, rewards, weight transfer, replay, phases, memory and files of frameworks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from simcost.cost.cost import Cost, interval
from simcost.errors import SpecError
from simcost.files import folder
from simcost.hardware import load as hardware
from simcost.learning import algorithm, memory, packing, phases, replay, reward, stack, weights
from simcost.model import load as models
from simcost.scenarios.rl.replay_table import routed
from simcost.texts import toml_table


@pytest.mark.parametrize(("ranks", "parts"), [(1, 1), (8, 1), (8, 4), (64, 2)])
def test_packing_keeps_all_tokens(ranks, parts) -> None:
    lengths = np.random.default_rng(1).integers(50, 4000, 2048)
    one = packing.packed(lengths, ranks, parts, 4096)
    slowest = one.micro_batch * one.seq * one.micro_batches
    assert one.tokens == lengths.sum()
    assert slowest == pytest.approx(one.tokens / parts / ranks * one.imbalance, rel=0.002)
    assert one.micro_batch * one.seq <= 4096 * 1.001
    assert 1.0 <= one.imbalance < 1.2


def test_equal_sequences_are_packed_as_they_are() -> None:
    one = packing.packed(np.full(64, 1000), 4, 2, 2000)
    assert (one.micro_batch, one.seq, one.micro_batches, one.imbalance, one.idle) == (2, 1000, 4, 1.0, 0)


@pytest.mark.parametrize("times", [2, 3, 16])
def test_a_micro_batch_of_more_room_leaves_fewer_of_them(times) -> None:
    lengths = np.random.default_rng(1).integers(50, 4000, 2048)
    one, more = (packing.packed(lengths, 8, 1, 4096 * each) for each in (1, times))
    assert more.micro_batches == -(-one.micro_batches // times)
    assert more.micro_batch * more.seq <= times * 4096 * 1.001
    assert (more.tokens, more.imbalance) == (one.tokens, one.imbalance)


def test_a_micro_batch_of_so_many_sequences_whatever_their_tokens() -> None:
    """Two parts of 32 sequences on four ranks: 8 each, 4 at a time; the last of 7 sequences stands alone."""
    lengths = np.random.default_rng(1).integers(50, 4000, 64)
    one = packing.packed(lengths, 4, 2, 10**6, 4)
    assert (one.micro_batches, one.tokens) == (2, lengths.sum())
    assert one.micro_batch * one.seq * 2 == pytest.approx(one.tokens / 2 / 4 * one.imbalance, rel=0.01)
    assert packing.fullest(np.array([1, 2, 3, 40, 5, 6, 7]), 3) == 51
    # 1, 1 and 4 tokens one by one: each as 2 tokens, of which a token sees 3.
    single = packing.packed(np.array([1, 1, 4]), 1, 1, 10**6, 1)
    assert (single.seq, single.micro_batches) == (2, 3)
    assert single.pairs == pytest.approx(2 / 3)
    assert packing.fullest(np.array([1, 2, 3]), 5) == 6


def test_fewer_sequences_than_ranks_leave_some_idle() -> None:
    one = packing.packed(np.full(4, 1000), 8, 1, 1000)
    assert (one.micro_batches, one.imbalance, one.idle) == (1, 2.0, 4)
    assert (one.micro_batch, one.seq) == (1, 1000)


def test_padded_sequences_are_as_long_as_the_longest() -> None:
    """Seven sequences in parts of four and three on two ranks: two each of the slower one, 50 tokens every time."""
    one = packing.padded(np.array([10, 20, 30, 40, 50, 7, 8]), 2, 2)
    assert (one.micro_batch, one.seq, one.micro_batches, one.tokens, one.idle) == (1, 50, 2, 350.0, 0)
    assert one.imbalance == pytest.approx(2 / (7 / 2 / 2))


def test_several_padded_sequences_a_micro_batch() -> None:
    one = packing.padded(np.arange(1, 65), 4, 2, 4)
    assert (one.micro_batch, one.seq, one.micro_batches, one.imbalance, one.idle) == (4, 64, 2, 1.0, 0)


def test_dealt_longest_first() -> None:
    assert sorted(packing.dealt(np.array([7, 6, 5, 4, 3, 2]), 3).tolist()) == [9.0, 9.0, 9.0]


def test_rewards_of_answers_that_end_together() -> None:
    judges = reward.Judges(0.5, 64)
    assert reward.exposed(judges, np.full(512, 10.0)) == pytest.approx(512 / 64 * 0.5)
    assert reward.exposed(judges, np.arange(512.0)) == pytest.approx(0.5)  # one ends a second: the last one alone waits
    assert reward.exposed(judges, np.arange(512.0), overlaps=False) == pytest.approx(4.0)


@pytest.mark.parametrize(
    ("model", "size"), [("deepseek-v3", 464), ("kimi-k2", 960), ("qwen3-30b-a3b", 384), ("gpt-oss-120b", 144)]
)
def test_bytes_of_routing_a_token(model, size) -> None:
    """Qwen3-30B-A3B: 384 B, as prime-rl states it; all: MoE layers x k x bytes of arXiv 2510.11370's masks."""
    assert routed(models.load(model)).token_bytes == size


def test_the_last_token_has_no_mask() -> None:
    one = replay.Routed(58, 8, 256)
    assert one.sequence_bytes(101) == 100 * 464
    assert replay.Routed(58, 8, 257).token_bytes == 928


def test_dense_designs_have_no_replay() -> None:
    with pytest.raises(SpecError, match="no layer of llama"):
        routed(models.load("llama-3.1-8b"))


def test_ways_of_weights() -> None:
    h100 = hardware.load("h100")
    inside, network, node = weights.rates(h100)
    assert (inside, network, node) == (450e9 * 0.75, 50e9 * 0.8, 8.0)
    sent = weights.Sent(640e9, 20e9, 1000.0, 64, copy=64)
    assert weights.seconds("reshard", sent, h100) == pytest.approx(20e9 / network)
    assert weights.seconds("broadcast", sent, h100) == pytest.approx(640e9 / network)
    assert weights.seconds("gather", sent, h100) == pytest.approx(640e9 / network)  # each GPU over its own link
    ring = replace(sent, sharded=True)
    assert weights.seconds("gather", ring, h100) == pytest.approx(640e9 / (8 * network) + 640e9 / inside)
    assert weights.seconds("gather", replace(sent, copy=8), h100) == pytest.approx(640e9 / inside)
    assert weights.seconds("gather", replace(sent, copy=1), h100) == pytest.approx(20e9 / h100.bandwidth)
    near = weights.Sent(16e9, 16e9, 300.0, 8, copy=4)
    assert weights.seconds("broadcast", near, h100) == pytest.approx(16e9 / inside)


def part(name, pool, seconds):
    return phases.Phase(name, pool, Cost(compute_s=seconds, spread={"x": 0.1 * seconds}))


def test_phases_in_turn_and_side_by_side() -> None:
    made, learnt, sent = (
        [part("rollout", "rollout", 6.0)],
        [part("update", "trainer", 4.0)],
        [part("weight sync", "all GPUs", 1.0)],
    )
    turn = phases.serial([*made, *learnt, *sent], ("rollout", "trainer"))
    assert (turn.seconds, turn.waits) == (11.0, {"rollout": 4.0, "trainer": 6.0})
    both = phases.beside(made, learnt, sent)
    assert (both.seconds, both.waits) == (7.0, {"rollout": 0.0, "trainer": 2.0})
    assert [(one.start, one.end) for one in both.placed] == [(0.0, 6.0), (0.0, 4.0), (6.0, 7.0)]
    assert [(one.start, one.end) for one in turn.placed] == [(0.0, 6.0), (6.0, 10.0), (10.0, 11.0)]
    assert both.of("update") == 4.0
    assert phases.serial([*made, *learnt, *made], ("rollout", "trainer")).of("rollout") == 12.0


def test_a_phase_is_as_uncertain_as_its_kernels_and_none_is_certain() -> None:
    low, high = phases.Phase("update", "trainer", Cost(compute_s=0.5, spread={"x": 0.1})).interval
    assert 0.0 < low < 0.5 < high
    assert (low, high) == tuple(map(float, interval(Cost(compute_s=0.5, spread={"x": 0.1}))))
    assert phases.Phase("reward", "CPUs", Cost()).interval == (0.0, 0.0)


def test_states_leave_by_levels() -> None:
    held = memory.Trainer(10.0, 20.0, 60.0, 30.0, 2.0)
    assert [held.resident(level) for level in memory.LEVELS] == [92.0, 92.0, 32.0, 2.0]
    assert [held.moved(level) for level in memory.LEVELS] == [0.0, 0.0, 60.0, 70.0]
    engine = memory.Engine(weights=20.0, activations=5.0, stays=3.0, reserve=8.0, pool=92.0)
    assert engine.left(held.resident("optimizer")) == 92.0 - 24.0
    assert memory.level_for(held, engine, 128.0, 60.0) == "optimizer"
    assert memory.level_for(held, engine, 128.0, 5.0) == "engine"  # at none training would not fit beside the weights
    assert memory.level_for(held, engine, 200.0, 5.0) == "none"
    assert memory.level_for(held, engine, 128.0, 1e9) == "all"


@pytest.mark.parametrize(
    ("name", "updates", "stale", "needed"),
    [
        ("grpo", 1, False, False),
        ("grpo", 4, False, True),
        ("grpo", 1, True, True),
        ("rloo", 1, True, False),
        ("dpo", 1, False, False),
    ],
)
def test_old_log_probs_where_the_ratio_may_differ(name, updates, stale, needed) -> None:
    assert algorithm.needs_old(algorithm.load(name), updates, stale) is needed


@pytest.mark.parametrize("name", sorted(algorithm.known()))
def test_algorithms_say_all(name) -> None:
    one = algorithm.load(name)
    assert all(isinstance(getattr(one, field), bool) for field in algorithm.FIELDS)
    assert name == one.NAME
    assert one.SOURCE


@pytest.mark.parametrize("name", stack.names())
def test_frameworks_refuse_a_missing_key_and_an_unknown_one(name) -> None:
    table = toml_table(folder("workloads") / "rl-stacks" / f"{name}.toml")
    assert stack.read(table, name, "f").host_phase_s > 0.0
    for key in set(table) - {stack.FIT}:
        with pytest.raises(SpecError, match=f"'{key}' is missing"):
            stack.read({k: v for k, v in table.items() if k != key}, name, "f")
    with pytest.raises(SpecError, match="unknown key 'host'"):
        stack.read({**table, "host": 1}, name, "f")
    for key in stack.TERMS:
        with pytest.raises(SpecError, match=key):
            stack.read({**table, key: {"value": 1.0}}, name, "f")


def test_fitted_terms_say_on_what() -> None:
    table = toml_table(stack.home() / "nemo-rl.toml")
    one = stack.read(table, "nemo-rl", "f")
    assert one.fit is not None
    assert "fitted on" in one.rests
    with pytest.raises(SpecError, match="'host_decode_s' is marked as fitted, but no table"):
        stack.read({key: value for key, value in table.items() if key != stack.FIT}, "nemo-rl", "f")
    with pytest.raises(SpecError, match=r"f: \[fitted\] has command"):
        stack.read({**table, stack.FIT: {"n": 3}}, "nemo-rl", "f")
    with pytest.raises(SpecError, match=r"'fitted\.n' = 'many' must be of type int"):
        stack.read({**table, stack.FIT: {**table[stack.FIT], "n": "many"}}, "nemo-rl", "f")
    plain = toml_table(stack.home() / "plain.toml")
    with pytest.raises(SpecError, match="no term is marked as fitted"):
        stack.read({**plain, stack.FIT: table[stack.FIT]}, "plain", "f")


def test_terms_of_another_framework() -> None:
    nemo, verl = stack.load("nemo-rl"), stack.load("verl")
    for key in stack.FITTED:
        assert getattr(verl, key) == getattr(nemo, key) > 0.0
        assert verl.says[key] != stack.FIT
    table = toml_table(stack.home() / "verl.toml")
    with pytest.raises(SpecError, match=r"'host_decode_s\.like' = 'nemo' is not a known framework.*nemo-rl"):
        stack.read({**table, "host_decode_s": {"like": "nemo", "reason": "r"}}, "verl", "f")
    with pytest.raises(SpecError, match=r"'host_decode_s\.like' = 'verl' has no value of its own"):
        stack.read({**table, "host_decode_s": {"like": "verl", "reason": "r"}}, "verl", "f")
