"""The network between domains: bytes and hops by hand, and how two tiers become one time."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from toykit import ASSUMED, device

from simcost.cost.cost import Cost
from simcost.cost.network import SPREAD, between

START, FAR = ASSUMED["collective_latency"], ASSUMED["scaleout_hop_latency"]
TIME = st.floats(1e-9, 1e-2)


@pytest.mark.parametrize(("sent", "hops", "more"), [(1e6, 1.0, 0.0), (8e9, 14.0, 0.0), (1e3, 2.0, 14e-6)])
def test_the_network_takes_its_share_of_the_line_rate_and_every_hop(sent: float, hops: float, more: float) -> None:
    net = between(device(), sent, hops, "source", more)
    assert net.light_s == pytest.approx(sent * 1e-10)
    assert net.wire_s == pytest.approx(sent * 1e-10 / 0.8)
    assert net.hops_s == pytest.approx(hops * (FAR + more))


def test_where_nothing_is_sent_no_network_is_needed() -> None:
    net = between(device(scaleout=None), 0.0, 3.0, "source")
    assert (net.wire_s, net.light_s, net.hops_s) == (0.0, 0.0, 0.0)
    inside = Cost(wire_s=1.0, light_s=0.5)
    assert net.beside(inside) is inside


@given(inside=TIME, sent=st.floats(1.0, 1e8), hops=st.integers(1, 9).map(float))
def test_two_tiers_begin_once_then_the_slower_sets_the_rate(inside: float, sent: float, hops: float) -> None:
    net = between(device(), sent, hops, "source")
    both = net.beside(Cost(wire_s=inside, light_s=inside / 2))
    begun = min(START, inside)
    assert both.seconds == pytest.approx(begun + max(inside - begun, sent * 1.25e-10) + hops * FAR)
    assert both.seconds >= inside
    assert both.light_s == pytest.approx(max(inside / 2, sent * 1e-10))


def test_alone_on_the_network_a_start_comes_on_top_and_its_error_is_the_links() -> None:
    net = between(device(), 1e6, 2.0, "source")
    both = net.beside(Cost())
    assert both.seconds == pytest.approx(START + 1e6 * 1.25e-10 + 2 * FAR)
    assert both.spread["source"] == pytest.approx(SPREAD * both.seconds)
    assert both.datasheet_s == pytest.approx(1e6 * 1e-10)


def test_points_without_a_network_keep_what_they_take_inside() -> None:
    sent, inside = np.array([0.0, 1e6, 0.0]), Cost(wire_s=np.array([1e-5, 1e-5, 0.0]))
    both = between(device(), sent, 1.0, "source").beside(inside)
    assert np.asarray(both.seconds).tolist() == pytest.approx([1e-5, START + 1e6 * 1.25e-10 + FAR, 0.0])
