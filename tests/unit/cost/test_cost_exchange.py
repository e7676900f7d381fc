"""Tokens to experts: copies on each tier by counting subsets, the kernels that run, and their time by hand."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from toykit import ASSUMED, device, link

from simcost.cost.exchange import NOTIFY, SMS, all_to_all, forms, notify, resolved, safe, traffic_cost
from simcost.cost.kernel import Roofline
from simcost.ops.exchange import Exchange
from simcost.ops.traffic import Traffic
from simcost.routing.router import Router, Routing

START, HOP, FAR = ASSUMED["collective_latency"], ASSUMED["hop_latency"], ASSUMED["scaleout_hop_latency"]
EXPERTS, TOP_K, WIDTH = 64, 4, 7168.0


def op(mode: str = "normal", group: float = 16.0, tokens: float = 100.0, **more: Any) -> Exchange:
    """Every rank sends as many tokens, and every expert takes its exact share of them."""
    facts: dict[str, Any] = {
        "tokens": tokens, "all_tokens": tokens * group, "width_bytes": WIDTH, "group": group, "stride": 1.0,
        "router": Router(float(EXPERTS), float(TOP_K)), "routing": Routing("balanced"), "mode": mode, "direction": "dispatch",
    }  # fmt: skip
    return Exchange(**{**facts, **more})


def visited(parts: int) -> float:
    """Parts of the experts that hold some of a token's picks: by the subsets that miss a part."""
    return parts * (1 - math.comb(EXPERTS - EXPERTS // parts, TOP_K) / math.comb(EXPERTS, TOP_K))


@pytest.mark.parametrize(("group", "near", "far"), [(8.0, 7 / 8, 0.0), (16.0, 7 / 16, 8 / 16), (32.0, 7 / 32, 24 / 32)])
@pytest.mark.parametrize("mode", ["low_latency", "nccl"])
def test_one_by_one_every_pick_is_a_copy_to_its_own_rank(mode: str, group: float, near: float, far: float) -> None:
    found = resolved(op(mode, group), device())
    assert (found.near, found.far) == pytest.approx((TOP_K * near, TOP_K * far))
    assert found.near_bytes + found.far_bytes == pytest.approx(100.0 * WIDTH * TOP_K * (group - 1) / group)
    assert (found.nodes, found.group, found.sms, found.mode) == (math.ceil(group / 8), group, SMS, mode)


@pytest.mark.parametrize("group", [16.0, 32.0, 64.0])
def test_normal_kernels_send_a_copy_a_node_and_forward_it_to_every_rank(group: float) -> None:
    nodes = int(group / 8)
    found = resolved(op("normal", group), device())
    assert found.far == pytest.approx(visited(nodes) * (nodes - 1) / nodes)
    assert found.near == pytest.approx(visited(int(group)) * 7 / 8)
    assert found.far < resolved(op("low_latency", group), device()).far


def test_inside_one_node_normal_kernels_send_a_copy_a_rank() -> None:
    found = resolved(op("normal", 8.0), device())
    assert (found.near, found.far, found.nodes) == pytest.approx((visited(8) * 7 / 8, 0.0, 1.0))


def test_ranks_that_stand_apart_have_fewer_of_their_group_in_a_node() -> None:
    found = resolved(op("nccl", 8.0, stride=4.0), device())
    assert found.nodes == 4.0
    assert (found.near, found.far) == pytest.approx((TOP_K * 1 / 8, TOP_K * 6 / 8))


@pytest.mark.parametrize("mode", ["normal", "low_latency"])
def test_a_group_of_one_rank_moves_nothing(mode: str) -> None:
    found = resolved(op(mode, 1.0), device())
    assert (found.near, found.far) == (0.0, 0.0)
    assert traffic_cost(found, device()).seconds == 0.0


@pytest.mark.parametrize("factor", [1.0, 1.5, 4.0])
def test_padded_experts_move_so_many_times_the_mean_whoever_picks(factor: float) -> None:
    plain, skewed = op("nccl", 16.0), op("nccl", 16.0, routing=Routing("zipf", 1.0))
    for one in (plain, skewed):
        found = resolved(replace(one, padded=factor), device())
        assert found.near_bytes == pytest.approx(factor * 100.0 * WIDTH * TOP_K * 7 / 16)
        assert found.far_bytes == pytest.approx(factor * 100.0 * WIDTH * TOP_K * 8 / 16)
    assert resolved(skewed, device()).near_bytes > 1.2 * resolved(plain, device()).near_bytes


def test_the_busier_of_sender_and_receiver_sets_the_pace() -> None:
    """One rank that has all tokens sends them all; what others receive is less."""
    even, lopsided = op("low_latency", 8.0), op("low_latency", 8.0, all_tokens=100.0)
    assert resolved(lopsided, device()).near_bytes == pytest.approx(resolved(even, device()).near_bytes)


def test_nccl_moves_what_leaves_a_rank_as_one_all_to_all() -> None:
    found = all_to_all(op("nccl", 16.0), device())
    assert found.kind == "all_to_all"
    assert found.payload == pytest.approx(100.0 * WIDTH * TOP_K * 15 / 16)
    assert (found.group, found.stride) == (16.0, 1.0)


def traffic(near: float, far: float, group: float, nodes: float, **more: Any) -> Traffic:
    return Traffic(
        1000.0, 1000.0, near, far, group, nodes, SMS, more.pop("mode", "normal"), more.pop("direction", "dispatch")
    )


@pytest.mark.parametrize(("near", "far", "seconds"), [
    (3.5, 0.0, START + HOP + 3.5e6 * 2e-11), (3.5, 1.0, START + 1e6 * 1.25e-10 + FAR),
    (3.5, 0.1, START + HOP + 3.5e6 * 2e-11 + FAR), (0.0, 1.0, START + 1e6 * 1.25e-10 + FAR), (0.0, 0.0, 0.0),
])  # fmt: skip
def test_the_slower_tier_sets_the_rate_behind_one_start(near: float, far: float, seconds: float) -> None:
    cost = traffic_cost(traffic(near, far, 16.0, 2.0), device())
    assert cost.seconds == pytest.approx(seconds)
    assert cost.light_s == pytest.approx(max(near * 1e6 * 1e-11, far * 1e6 * 1e-10))


@pytest.mark.parametrize(("mode", "direction", "near", "far", "waits"), [
    ("normal", "dispatch", 1.0, 1.0, True), ("normal", "dispatch", 1.0, 0.0, False), ("normal", "combine", 1.0, 1.0, False),
    ("nccl", "dispatch", 1.0, 0.0, True), ("nccl", "dispatch", 0.0, 0.0, False), ("low_latency", "dispatch", 1.0, 1.0, False),
])  # fmt: skip
def test_counts_are_exchanged_before_a_dispatch_that_needs_them(
    mode: str, direction: str, near: float, far: float, waits: bool
) -> None:
    assert notify(traffic(near, far, 16.0, 2.0, mode=mode, direction=direction)).seconds == (NOTIFY if waits else 0.0)


@pytest.mark.parametrize(("domain", "group", "auto", "modes"), [
    (8.0, 8.0, True, ["normal"]), (72.0, 64.0, True, ["nvlink"]), (72.0, 144.0, True, ["normal"]), (72.0, 64.0, False, ["normal"]),
    (31.0, 8.0, True, ["normal"]), (32.0, 32.0, True, ["nvlink"]),
])  # fmt: skip
def test_a_rack_takes_the_kernels_of_its_links_as_far_as_they_reach(
    domain: float, group: float, auto: bool, modes: list[str]
) -> None:
    found = forms(op("normal", group, auto=auto), device(scaleup=link(domain=domain)))
    assert [form.mode for _, form in found] == modes
    assert not any(form.auto for _, form in found)


def test_groups_of_a_sweep_take_the_kernels_of_their_own() -> None:
    rack = device(scaleup=link(domain=72.0))
    groups = np.array([8.0, 64.0, 576.0])
    one_by_one = [float(Roofline(rack)(op("normal", float(g), auto=True)).seconds) for g in groups]
    many = op("normal", 8.0, auto=True)
    many = replace(many, group=groups, all_tokens=100.0 * groups)
    assert np.asarray(Roofline(rack)(many).seconds).tolist() == pytest.approx(one_by_one)
    as_nvlink = Roofline(rack)(op("nvlink", 64.0))
    assert one_by_one[1] == pytest.approx(as_nvlink.seconds)


def test_a_model_of_the_profile_alone_adds_the_wait_for_counts() -> None:
    exchange = op("normal", 16.0)
    whole = Roofline(device())(exchange).seconds
    assert whole - traffic_cost(resolved(exchange, device()), device()).seconds == pytest.approx(NOTIFY)
    back = replace(exchange, direction="combine")
    assert Roofline(device())(back).seconds == pytest.approx(traffic_cost(resolved(back, device()), device()).seconds)


@pytest.mark.parametrize("over", [True, False])
def test_masked_points_keep_numbers_that_have_a_logarithm(over: bool) -> None:
    found = safe(replace(traffic(0.0, 0.0, 1.0, 1.0), tokens=0.0), over)
    assert found.tokens > 0.0
    assert found.near > 0.0
    assert (found.nodes >= 2.0, found.far > 0.0) == (over, over)
    kept = traffic(2.0, 1.0, 16.0, 2.0)
    assert safe(kept, True) == kept


def test_a_sender_with_most_tokens_is_forwarded_by_one_rank_of_every_node() -> None:
    """One rank of sixteen has all tokens: in each node one rank forwards them to whoever needs them."""
    found = resolved(op("normal", 16.0, tokens=100.0, all_tokens=100.0), device())
    inside = 100.0 * visited(16) / visited(2) * 7 / 8  # copies of a token in a node that it visits
    outside = 100.0 * visited(2) / 2
    assert found.near_bytes == pytest.approx(inside * WIDTH)
    assert found.far_bytes == pytest.approx(outside * WIDTH)
