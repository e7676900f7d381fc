"""Seconds of new weights on links of round numbers: one GPU, one node, several, with and without either kind of link."""

from __future__ import annotations

from dataclasses import replace

import pytest
from toykit import device, link

from simcost.errors import SpecError
from simcost.learning.weights import BROADCAST, GATHER, RESHARD, WAYS, Sent, rates, seconds

# 100 GB/s at 0.5 inside 8 devices, 10 GB/s at 0.8 beyond.
INSIDE, NETWORK = 50e9, 8e9
TOY = device()
SENT = Sent(model=400e9, part=8e9, tensors=100.0, gpus=2, copy=2)


def test_rates_of_links_and_what_stands_in_for_one_that_is_missing() -> None:
    assert rates(TOY) == (INSIDE, NETWORK, 8.0)
    assert rates(device(scaleout=None)) == (INSIDE, INSIDE, 8.0)
    assert rates(device(scaleup=None)) == (NETWORK, NETWORK, 1.0)
    assert rates(device(scaleup=link(domain=None))) == (INSIDE, NETWORK, float("inf"))
    with pytest.raises(SpecError, match=r"toy/profile\.toml: no links"):
        rates(device(scaleup=None, scaleout=None))


@pytest.mark.parametrize("way", WAYS)
def test_one_gpu_copies_and_needs_no_link(way: str) -> None:
    alone = replace(SENT, gpus=1, copy=1)
    assert seconds(way, alone, device(scaleup=None, scaleout=None)) == pytest.approx(8e9 / 1e12)


@pytest.mark.parametrize("gpus", [2, 8])
def test_inside_a_node_everything_goes_over_its_links(gpus: int) -> None:
    here = replace(SENT, gpus=gpus, copy=gpus)
    assert seconds(RESHARD, here, TOY) == pytest.approx(8e9 / INSIDE)
    assert seconds(BROADCAST, here, TOY) == seconds(GATHER, here, TOY) == pytest.approx(400e9 / INSIDE)
    assert seconds(GATHER, replace(here, sharded=True), TOY) == pytest.approx(400e9 / INSIDE)


def test_beyond_a_node_each_way_takes_its_own() -> None:
    far = replace(SENT, gpus=9, copy=9)
    assert seconds(RESHARD, far, TOY) == pytest.approx(8e9 / NETWORK)
    assert seconds(BROADCAST, far, TOY) == seconds(GATHER, far, TOY) == pytest.approx(400e9 / NETWORK)
    assert seconds(GATHER, replace(far, copy=8), TOY) == pytest.approx(
        400e9 / INSIDE
    )  # a copy of the trainer in each node
    assert seconds(BROADCAST, replace(far, copy=8), TOY) == pytest.approx(400e9 / NETWORK)
    ring = replace(far, copy=8, sharded=True)
    assert seconds(GATHER, ring, TOY) == pytest.approx(400e9 / (8 * NETWORK) + 400e9 / INSIDE)


def test_a_copy_on_each_gpu_has_nothing_to_gather_unless_it_is_sharded() -> None:
    far = replace(SENT, gpus=16, copy=1)
    assert seconds(GATHER, far, TOY) == pytest.approx(8e9 / 1e12)
    assert seconds(GATHER, replace(far, sharded=True), TOY) == pytest.approx(400e9 / (8 * NETWORK) + 400e9 / INSIDE)


def test_a_network_that_is_faster_than_the_links_inside_is_held_up_by_them() -> None:
    fast = device(scaleout=1e12)
    assert seconds(BROADCAST, replace(SENT, gpus=16, copy=16), fast) == pytest.approx(400e9 / INSIDE)
