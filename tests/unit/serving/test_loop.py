"""The mean field of a closed and an open loop: laws that hold whatever the engine, on step times made by hand."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest

from simcost.num import Num
from simcost.serving import arrivals, lengths
from simcost.serving.events import simulate
from simcost.serving.loop import closed, open_loop
from simcost.serving.point import HOST_LINK, KV_CACHE, LIMITS, LOAD, PREFILL, SEQUENCES, Load, OperatingPoint, Room
from simcost.serving.policy import Policy

WIDE = Room(1e9, 1e9)
POLICIES = [Policy(name, 4096.0, 1e9, 1.0, 0.0, 0.0) for name in ("mixed", "prefill_first")]


def times(batch: Num, context: Num, tokens: Num, past: Num) -> Num:
    """10 ms, 0.02 ms a sequence, 20 ns a cached token, 0.04 ms a prompt token."""
    some = np.asarray((np.asarray(batch) > 0.0) | (np.asarray(tokens) > 0.0))
    return some * (10e-3 + 2e-5 * batch + 2e-8 * batch * context + 4e-5 * tokens + 1e-9 * tokens * past)


def load(isl: float = 1024.0, osl: float = 512.0) -> Load:
    return Load(isl, osl, isl + osl / 2.0)


def at(point: OperatingPoint, i: int) -> dict[str, float]:
    size = max(np.size(getattr(point, f.name)) for f in fields(point))
    return {f.name: float(np.broadcast_to(getattr(point, f.name), (size,))[i]) for f in fields(point)}


USERS = np.array([1.0, 2.0, 3.0, 8.0, 33.0, 128.0, 1000.0])


@pytest.mark.parametrize("policy", POLICIES, ids=lambda p: p.name)
def test_users_are_running_or_before_their_first_token_and_littles_law_holds(policy: Policy) -> None:
    found = closed(times, policy, load(), USERS, WIDE)
    assert np.allclose(found.running + found.waiting, USERS)
    whole = found.ttft_s + (512.0 - 1.0) * found.tpot_s
    assert np.allclose(found.requests_per_s * whole, USERS, rtol=1e-6)


@pytest.mark.parametrize("policy", POLICIES, ids=lambda p: p.name)
def test_more_users_never_get_less_done_nor_their_tokens_sooner(policy: Policy) -> None:
    found = closed(times, policy, load(), USERS, WIDE)
    assert np.all(np.diff(found.requests_per_s) > 0.0)
    assert np.all(np.diff(found.tpot_s) > 0.0)
    assert np.all(np.diff(found.ttft_s) > 0.0)
    assert np.all((found.utilisation > 0.0) & (found.utilisation <= 1.0))


@pytest.mark.parametrize("policy", POLICIES, ids=lambda p: p.name)
def test_a_single_user_is_held_up_by_nobody(policy: Policy) -> None:
    found = at(closed(times, policy, load(), 1.0, WIDE), 0)
    assert found["tpot_s"] == pytest.approx(times(found["running"], 1280.0, 0.0, 0.0), rel=1e-9)
    prompt = float(times(found["running"] if policy.name == "mixed" else 0.0, 1280.0, 1024.0, 0.0))
    assert prompt < found["ttft_s"] < prompt + 11e-3  # and at most the rest of a step


def test_the_parts_of_a_token_add_up_and_prompts_hold_decode_up_by_their_own_time() -> None:
    policy = replace(POLICIES[1], host_step_s=1e-3)
    found = at(closed(times, policy, load(), 64.0, WIDE), 0)
    assert found["decode_s"] + found["prefill_s"] + found["host_s"] == pytest.approx(found["tpot_s"])
    # One prompt of 63 others in each 511 steps, each 10 + 0.04 * 1024 + 1 ms.
    prompt = float(times(0.0, 0.0, 1024.0, 0.0)) + 1e-3
    assert found["prefill_s"] == pytest.approx(63.0 / 64.0 * found["running"] / 511.0 * prompt, rel=1e-9)


def test_the_pool_and_the_engine_s_setting_hold_back_who_runs() -> None:
    found = closed(times, POLICIES[0], load(), 300.0, Room(np.array([100.0, 1e9, 100.0]), np.array([1e9, 50.0, 40.0])))
    assert np.allclose(found.running, [100.0, 50.0, 40.0])
    assert [LIMITS[code] for code in found.limit] == ["kv cache", "max sequences", "max sequences"]
    assert found.kv_used_fraction[0] == pytest.approx(1.0)
    assert np.all(found.queueing_s > 0.9 * found.ttft_s - 1.0)
    assert closed(times, POLICIES[0], load(), 30.0, Room(100.0, 1e9)).limit == LOAD
    assert (KV_CACHE, SEQUENCES) == (1, 2)


def test_prompts_that_fill_every_step_set_the_pace() -> None:
    found = closed(times, POLICIES[0], load(isl=8192.0, osl=17.0), 500.0, WIDE)
    assert found.limit == PREFILL
    # Each step takes 4,096 tokens less those of decode: a prompt of 8,192 in two steps, and so a request.
    step = times(found.running, 8200.5, 4096.0 - found.running, 2048.0)
    assert found.requests_per_s == pytest.approx((4096.0 - found.running) / 8192.0 / step, rel=0.01)


@pytest.mark.parametrize("policy", POLICIES, ids=lambda p: p.name)
def test_an_open_loop_serves_what_comes_and_refuses_what_is_beyond_its_capacity(policy: Policy) -> None:
    room = Room(200.0, 1e9)
    capacity = float(np.ravel(closed(times, policy, load(), 5000.0, room).requests_per_s)[0])
    rates = capacity * np.array([0.001, 0.1, 0.5, 0.9, 0.99, 1.05])
    found = open_loop(times, policy, load(), rates, room)
    assert np.allclose(found.requests_per_s[:5], rates[:5])
    assert np.all(np.diff(found.ttft_s[:5]) > 0.0)
    assert np.isinf(found.ttft_s[5])
    assert found.requests_per_s[5] == pytest.approx(capacity, rel=0.02)
    assert np.allclose(found.capacity_per_s, capacity, rtol=0.02)
    # Little's law: those that decode.
    assert np.allclose(found.running[:5], rates[:5] * 511.0 * found.tpot_s[:5])


def test_lists_of_points_are_answered_as_each_alone() -> None:
    rng = np.random.default_rng(5)
    isl, osl, users = rng.uniform(10, 9000, 40), rng.uniform(2, 900, 40), rng.uniform(1, 600, 40)
    many = closed(times, POLICIES[0], Load(isl, osl, isl + osl / 2.0), users, Room(np.full(40, 80.0), np.full(40, 1e9)))
    for i in range(40):
        alone = closed(times, POLICIES[0], Load(isl[i], osl[i], isl[i] + osl[i] / 2.0), users[i], Room(80.0, 1e9))
        for name, value in at(many, i).items():
            assert value == pytest.approx(at(alone, 0)[name], rel=1e-5), name


def test_drafts_that_are_taken_shorten_an_answer() -> None:
    plain = at(closed(times, POLICIES[0], load(), 32.0, WIDE), 0)
    drafted = at(closed(times, POLICIES[0], replace(load(), emitted=2.5), 32.0, WIDE), 0)
    assert drafted["decode_s"] == pytest.approx(plain["decode_s"] / 2.5, rel=0.02)
    assert plain["requests_per_s"] < drafted["requests_per_s"] < 2.5 * plain["requests_per_s"]


def test_a_load_that_leaves_little_of_the_capacity_is_held_by_what_is_near() -> None:
    near = closed(times, POLICIES[0], load(), np.array([40.0, 99.0]), Room(100.0, 1e9))
    assert [LIMITS[code] for code in near.limit] == ["load", "kv cache"]
    assert near.running[1] < 100.0
    prompts = closed(times, POLICIES[1], load(osl=2.0), 64.0, WIDE)  # one step after each prompt of 51 ms
    assert LIMITS[int(prompts.limit)] == "prefill"


@pytest.mark.parametrize("policy", POLICIES, ids=lambda p: p.name)
def test_a_link_to_the_host_adds_its_time_and_feeds_no_more_than_it_passes(policy: Policy) -> None:
    bare, slow = load(), replace(load(), link_s=0.2)
    one = closed(times, policy, slow, 1.0, WIDE)
    assert float(one.ttft_s - closed(times, policy, bare, 1.0, WIDE).ttft_s) == pytest.approx(0.2, rel=0.02)
    many = closed(times, policy, slow, np.array([400.0, 800.0]), WIDE)
    assert np.allclose(many.requests_per_s, 1.0 / 0.2, rtol=1e-6)
    assert np.all(many.limit == HOST_LINK)
    assert np.allclose(many.requests_per_s * (many.ttft_s + 511.0 * many.tpot_s), [400.0, 800.0])
    rates = open_loop(times, policy, slow, np.array([1.0, 4.9, 5.1]), WIDE)
    assert np.allclose(rates.capacity_per_s, 5.0, rtol=1e-6)
    assert list(np.isfinite(rates.ttft_s)) == [True, True, False]
    assert rates.limit[2] == HOST_LINK


@pytest.mark.parametrize("policy", POLICIES, ids=lambda p: p.name)
def test_loads_from_the_host_take_as_long_as_the_event_path_says(policy: Policy) -> None:
    policy, cached = replace(policy, sequences=256.0), 512.0
    brought = replace(load(isl=512.0, osl=64.0), hit=cached, link_s=0.1)
    for rate in (2.0, 7.0):
        trace = simulate(
            times, policy, arrivals.Open(rate), lengths.constant(1024), lengths.constant(64), 4000, 1e9, 1,
            prefix_hit=0.5, link_token_s=0.1 / cached,
        )  # fmt: skip
        at_queue = float(np.mean((trace.queued - trace.arrival)[400:]))
        without = open_loop(times, policy, replace(brought, link_s=0.0), rate, WIDE)
        more = float(open_loop(times, policy, brought, rate, WIDE).ttft_s - without.ttft_s)
        assert more == pytest.approx(at_queue, rel=0.1), rate
