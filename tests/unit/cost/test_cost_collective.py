"""Collectives inside a domain and between domains: the cheapest algorithm by hand, and the limits of small and large payloads."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from toykit import ASSUMED, device, link

from simcost.cost.collective import collective_cost, sent
from simcost.cost.nccl import MESSAGE
from simcost.ops.collective import Collective, Kind

START, HOP, SLOW = ASSUMED["collective_latency"], ASSUMED["hop_latency"], 1.0 / ASSUMED["link_efficiency"]
FAR, FAR_SLOW = ASSUMED["scaleout_hop_latency"], 1.0 / ASSUMED["scaleout_efficiency"]
BYTE, FAR_BYTE = 1e-11, 1e-10
REDUCES = device(scaleup=link(reduces=True))
KINDS: tuple[Kind, ...] = ("all_reduce", "all_gather", "reduce_scatter", "all_to_all", "p2p")
GROUPS = st.integers(2, 8).map(float)
SIZES = st.floats(1.0, 1e10)


def seconds(kind: Kind, size: float, group: float, reduces: bool = False) -> float:
    """The least over algorithms, each told step by step."""
    n = int(group)
    if kind in ("all_to_all", "p2p"):  # every rank sends its payload to its peers at once
        return START + size * BYTE * SLOW + HOP
    steps = (n - 1) * (2 if kind == "all_reduce" else 1)
    ring = sum(size / n * BYTE * SLOW + HOP for _ in range(steps))
    each = size if kind == "all_reduce" else size / n  # what a rank reads of every other one
    found = [ring, sum(each * BYTE * SLOW for _ in range(n - 1)) + HOP]
    if reduces and kind == "all_reduce":  # to the switch and back; no more than a ring sends
        found.append(min(size * (1 + 1 / n), 2 * (n - 1) / n * size) * BYTE * SLOW + 2 * HOP)
    return START + min(found)


@pytest.mark.parametrize("kind", KINDS)
@given(size=SIZES, group=GROUPS, reduces=st.booleans())
def test_the_cheapest_algorithm_sets_the_time_inside_a_domain(
    kind: Kind, size: float, group: float, reduces: bool
) -> None:
    if kind == "p2p":
        group = 2.0
    cost = collective_cost(Collective(kind, size, group), REDUCES if reduces else device())
    assert cost.seconds == pytest.approx(seconds(kind, size, group, reduces), rel=1e-9)
    assert cost.wire_s + cost.overhead_s == cost.seconds


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [0.0, 1.0, 1e9])
def test_a_group_of_one_moves_nothing(kind: Kind, size: float) -> None:
    cost = collective_cost(Collective(kind, size, 1.0), device())
    assert (cost.seconds, cost.light_s, cost.deviation) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize(("kind", "group", "share"), [
    ("all_reduce", 8.0, 14 / 8), ("all_reduce", 2.0, 1.0), ("all_gather", 8.0, 7 / 8), ("reduce_scatter", 4.0, 3 / 4),
    ("all_to_all", 8.0, 1.0),
])  # fmt: skip
def test_light_is_what_a_rank_must_send_at_the_datasheets_rate(kind: Kind, group: float, share: float) -> None:
    cost = collective_cost(Collective(kind, 1e9, group), device())
    assert cost.light_s == pytest.approx(share * 1e9 * BYTE)
    assert cost.datasheet_s == cost.light_s


def test_a_switch_that_reduces_spares_bytes_of_a_large_group_only() -> None:
    large = [collective_cost(Collective("all_reduce", 1e10, n), REDUCES).light_s / 1e10 / BYTE for n in (2.0, 4.0, 8.0)]
    assert large == pytest.approx([1.0, 1.25, 1.125])  # min(2 (n - 1)/n, 1 + 1/n)


@pytest.mark.parametrize(("kind", "near", "far"), [
    ("all_reduce", 2 * 7 / 8, 2 * 1 / 2 / 8), ("all_gather", 7 / 8, 1 / 2 / 8), ("reduce_scatter", 7 / 8, 1 / 2 / 8),
    ("all_to_all", 7 / 15, 8 / 15), ("p2p", 7 / 15, 8 / 15),
])  # fmt: skip
def test_a_rank_of_two_domains_sends_its_share_on_each_tier(kind: Kind, near: float, far: float) -> None:
    found = sent(Collective(kind, 240.0, 16.0), device())
    assert (found.near, found.far) == pytest.approx((240.0 * near, 240.0 * far))


@pytest.mark.parametrize("size", [1.0, 1e4, 1e6, 1e9])
def test_a_message_to_another_domain_takes_the_network_alone(size: float) -> None:
    cost = collective_cost(Collective("p2p", size, 2.0, stride=8.0), device())
    assert cost.seconds == pytest.approx(START + FAR + MESSAGE + size * FAR_BYTE * FAR_SLOW)
    assert cost.light_s == pytest.approx(size * FAR_BYTE)


@pytest.mark.parametrize("size", [1e3, 1e6, 1e8])
def test_the_slower_tier_sets_the_rate_of_all_to_all(size: float) -> None:
    cost = collective_cost(Collective("all_to_all", size, 16.0), device())
    inside = size * 7 / 15 * BYTE * SLOW + HOP
    outside = size * 8 / 15 * FAR_BYTE * FAR_SLOW
    assert cost.seconds == pytest.approx(START + max(inside, outside) + FAR + MESSAGE)


def test_a_fast_network_leaves_the_links_inside_as_what_sets_the_rate() -> None:
    fast = device(scaleout=1e15)
    cost = collective_cost(Collective("all_to_all", 1e9, 16.0), fast)
    assert cost.seconds == pytest.approx(START + 1e9 * 7 / 15 * BYTE * SLOW + HOP + FAR + MESSAGE)


@given(size=SIZES, kind=st.sampled_from(KINDS[:3]), nodes=st.integers(2, 16).map(float))
def test_a_group_over_domains_is_never_faster_than_one_of_them(size: float, kind: Kind, nodes: float) -> None:
    inside, across = (collective_cost(Collective(kind, size, n), device()).seconds for n in (8.0, 8.0 * nodes))
    assert across >= inside


def test_a_torus_has_no_messages_of_a_library() -> None:
    torus = device(scaleup=link(topology="torus"))
    op = Collective("p2p", 1e3, 2.0, stride=8.0)
    assert collective_cost(op, device()).seconds - collective_cost(op, torus).seconds == pytest.approx(MESSAGE)


def test_members_that_stand_apart_share_fewer_domains() -> None:
    near = collective_cost(Collective("all_reduce", 1e6, 4.0, stride=1.0), device()).seconds
    spread = [collective_cost(Collective("all_reduce", 1e6, 4.0, stride=s), device()).seconds for s in (2.0, 4.0, 8.0)]
    assert near == spread[0]  # 4 members two apart still stand in one domain of 8
    assert near < spread[1] < spread[2] * (1 + 1e-9)


def test_sizes_of_a_sweep_are_those_of_single_questions() -> None:
    sizes = 10.0 ** np.arange(0, 10)
    many = collective_cost(Collective("all_reduce", sizes, 8.0), REDUCES)
    assert np.asarray(many.seconds).tolist() == [
        collective_cost(Collective("all_reduce", float(size), 8.0), REDUCES).seconds for size in sizes
    ]
    assert np.all(np.diff(np.asarray(many.seconds)) > 0.0)


def test_a_mesh_reaches_a_group_by_the_links_to_its_members() -> None:
    mesh = device(scaleup=link(topology="mesh", pair=2e10))
    for group, reach in ((2.0, 2e10), (4.0, 6e10), (8.0, 1e11)):
        cost = collective_cost(Collective("all_to_all", 1e9, group), mesh)
        assert cost.light_s == pytest.approx(1e9 / reach)


def test_a_device_without_links_says_forever_rather_than_nothing() -> None:
    alone = replace(device(), scaleup=None, scaleout=None)
    assert collective_cost(Collective("p2p", 1e3, 2.0), alone).seconds == float("inf")
