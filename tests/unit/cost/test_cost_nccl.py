"""NCCL over nodes: its constants added up by hand for tiny payloads, its rates for huge ones, and the curve in between."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from toykit import ASSUMED, device, link

from simcost.cost.nccl import RING, SWITCH, TREE, Way, collective_cost, reached, several
from simcost.ops.collective import Collective, Kind

NET = ASSUMED["scaleout_hop_latency"]
INSIDE, OUTSIDE = 1e-11 / ASSUMED["link_efficiency"], 1e-10 / ASSUMED["scaleout_efficiency"]


def seconds(kind: Kind, size: float, group: float, reduces: bool = False, stride: float = 1.0) -> float:
    toy = device(scaleup=link(reduces=reduces))
    return float(collective_cost(Collective(kind, size, group, stride), toy, 0.0).seconds)


@pytest.mark.parametrize(("kind", "group", "microseconds"), [
    # tree LL: 6.8 + 2 x 7 hops inside of 0.6 + two levels of 5.0 and the network's 5
    ("all_reduce", 16.0, 6.8 + 14 * 0.6 + 2 * (5.0 + 5.0)),
    # four nodes: twice as many levels
    ("all_reduce", 32.0, 6.8 + 14 * 0.6 + 4 * (5.0 + 5.0)),
    # ring LL: 15 hops, one of them between nodes
    ("all_gather", 16.0, 6.6 + 14 * 0.6 + 1 * (2.7 + 5.0)), ("reduce_scatter", 32.0, 6.6 + 28 * 0.6 + 3 * (2.7 + 5.0)),
])  # fmt: skip
def test_a_tiny_payload_takes_the_constants_of_the_quickest_way(kind: Kind, group: float, microseconds: float) -> None:
    assert seconds(kind, 1e-3, group) == pytest.approx(microseconds * 1e-6, rel=1e-6)


@pytest.mark.parametrize(("kind", "group", "inside", "outside"), [
    ("all_reduce", 16.0, 2 * 7 / 8, 1 / 8), ("all_reduce", 32.0, 2 * 7 / 8, 2 / 8),  # trees: two pass through a node
    ("all_gather", 16.0, 15 / 16, 15 / 16 / 8), ("reduce_scatter", 64.0, 63 / 64, 63 / 64 / 8),
])  # fmt: skip
def test_a_huge_payload_takes_the_slower_tiers_rate(kind: Kind, group: float, inside: float, outside: float) -> None:
    size = 1e15
    assert seconds(kind, size, group) == pytest.approx(size * max(inside * INSIDE, outside * OUTSIDE), rel=1e-4)


def test_a_switch_that_reduces_halves_what_a_huge_all_reduce_sends_inside() -> None:
    size = 1e15
    assert seconds("all_reduce", size, 16.0, reduces=True) == pytest.approx(size * (1 + 1 / 8) * INSIDE, rel=1e-4)
    assert seconds("all_gather", size, 16.0, reduces=True) == seconds("all_gather", size, 16.0)


def test_ranks_alone_in_their_nodes_send_everything_over_the_network() -> None:
    size = 1e15
    lone = seconds("all_gather", size, 4.0, stride=8.0)
    assert lone == pytest.approx(size * 3 / 4 * OUTSIDE, rel=1e-4)


def test_flags_beside_every_word_cap_the_rate_of_ll() -> None:
    """At 4 MB over two nodes LL would send twice the bytes at a twelfth of the link: Simple or LL128 is taken."""
    size = 4e6
    ll = 6.6e-6 + 14 * 0.6e-6 + 7.7e-6 + size * 15 / 16 * INSIDE / 0.08
    line = 14e-6 + 14 * 1.9e-6 + 9.0e-6 + size * 15 / 16 * INSIDE * 128 / 120
    simple = 8.4e-6 + 14 * 3.4e-6 + 19e-6 + size * 15 / 16 * INSIDE
    assert seconds("all_gather", size, 16.0) == pytest.approx(min(ll, line, simple))
    assert ll > line


@given(st.floats(1.0, 1e12), st.sampled_from(["all_reduce", "all_gather", "reduce_scatter"]))
def test_more_bytes_never_take_less_by_one_part_in_a_hundred(size: float, kind: Kind) -> None:
    # Trees have a dip of their rate at middle sizes, so that twice the bytes may take no longer, but not much less.
    assert seconds(kind, 2.0 * size, 16.0) >= 0.99 * seconds(kind, size, 16.0)


@pytest.mark.parametrize("way", [*TREE, SWITCH])
def test_a_ways_rate_is_its_table_by_factors_of_two_and_holds_at_both_ends(way: Way) -> None:
    for i, share in enumerate(way.grows):
        assert reached(way, 64.0 * 2.0**i) == pytest.approx(share)
    assert reached(way, 1.0) == way.grows[0]
    assert reached(way, 1e30) == way.grows[-1] == 1.0
    between = 64.0 * 2.0**0.5 * 2.0**7
    assert reached(way, between) == pytest.approx((way.grows[7] + way.grows[8]) / 2)


def test_rings_reach_their_rate_at_any_size() -> None:
    assert {reached(way, size) for way in RING for size in (1.0, 1e9)} == {1.0}


@pytest.mark.parametrize(("kind", "group", "topology", "carried"), [
    ("all_reduce", 16.0, "switch", True), ("all_reduce", 8.0, "switch", False), ("all_reduce", 1.0, "switch", False),
    ("all_to_all", 16.0, "switch", False), ("p2p", 16.0, "switch", False), ("all_gather", 16.0, "torus", False),
    ("all_gather", 16.0, "mesh", True),
])  # fmt: skip
def test_the_library_carries_reductions_and_gathers_over_nodes(
    kind: Kind, group: float, topology: str, carried: bool
) -> None:
    assert bool(several(Collective(kind, 1.0, group), device(scaleup=link(topology=topology)))) is carried


def test_light_is_a_floor_and_what_the_datasheet_answers_for() -> None:
    cost = collective_cost(Collective("all_gather", 1e3, 16.0), device(), 1.0)
    assert (cost.light_s, cost.datasheet_s, cost.wire_s) == (1.0, 1.0, 1.0)
    assert math.isclose(cost.spread["network collective assumed"], 0.45 * cost.seconds)
