"""Laws of collectives by the best model of every device: beyond a node, beyond the measured group, and against the link."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from simcost.cost import calibrated
from simcost.cost.collective import collective_cost
from simcost.hardware import load as hardware
from simcost.hardware.load import names
from simcost.hardware.profile import Device
from simcost.num import Array
from simcost.ops.collective import Collective

BYTES = np.geomspace(1e3, 1e9, 25)
GROUPS = (2.0, 4.0, 8.0, 16.0, 32.0, 64.0)
RACK = (72.0, 144.0, 288.0, 576.0)
DIP = {"all_reduce": 0.9, "all_gather": 0.8, "reduce_scatter": 0.8, "all_to_all": 0.78}  # what fits leave over
KINDS = ("all_reduce", "all_gather", "reduce_scatter", "all_to_all")
ROUNDS = {"all_reduce": 2.0, "all_gather": 1.0, "reduce_scatter": 1.0}


def seconds(device: Device, kind: Any, group: float, payload: Any = BYTES) -> Array:
    return np.asarray(calibrated.model(device)(Collective(kind, payload, group)).seconds, np.float64)


def reachable(device: Device, group: float) -> bool:
    return device.scaleout is not None or float(device.nodes(group)) <= 1.0


def groups(device: Device) -> list[float]:
    most = (*GROUPS, *(RACK if device.scaleup is not None and device.scaleup.rack else ()))
    return [g for g in most if reachable(device, g)]


@pytest.mark.parametrize("hw", names())
@pytest.mark.parametrize("kind", KINDS[:3])  # of All2All less stays on the fast link, the more nodes there are
def test_beyond_a_node_nothing_gets_cheaper(hw: str, kind: Any) -> None:
    device = hardware.load(hw)
    near = 1.0 if device.scaleup is None else float(device.node(1024.0))
    times = [seconds(device, kind, g) for g in groups(device) if float(device.nodes(g)) > 1.0]
    inside = [seconds(device, kind, near)] if near > 1.0 else []
    for smaller, larger in zip([*inside, *times], [*inside, *times][1:], strict=False):
        assert np.all(larger >= smaller * (1 - 1e-9)), np.min(larger / smaller)


@pytest.mark.parametrize("hw", names())
@pytest.mark.parametrize("kind", ["all_reduce", "all_gather", "reduce_scatter"])
def test_no_collective_outruns_its_link(hw: str, kind: Any) -> None:
    device = hardware.load(hw)
    if device.scaleup is None:
        return
    for group in groups(device):
        bus = ROUNDS[kind] * (group - 1.0) / group * BYTES / seconds(device, kind, group)
        most = float(device.scaleup.reach(device.node(group)))
        if device.scaleup.reduces and kind == "all_reduce":  # the switch spares a rank some bytes that the bus counts
            near = float(device.node(group))
            most *= ROUNDS[kind] * (group - 1.0) / group / min(1.0 + 1.0 / near, 2.0 * (near - 1.0) / near)
        assert np.all(bus <= most * (1 + 1e-9)), (hw, group, float(np.max(bus)) / 1e9)


@pytest.mark.parametrize("hw", names())
def test_a_small_all_reduce_over_nodes_takes_what_nccl_takes(hw: str) -> None:
    """Eight bytes over two nodes of eight: NCCL's 25 us and two hops; on the slowest InfiniBand cluster 62."""
    device = hardware.load(hw)
    torus = device.scaleup is not None and device.scaleup.topology == "torus"
    if device.scaleout is None or torus or float(device.node(16.0)) != 8.0:
        return
    hop = float(np.asarray(device.assumption("scaleout_hop_latency")))
    assert seconds(device, "all_reduce", 16.0, np.asarray([8.0]))[0] == pytest.approx(25.2e-6 + 2 * hop, rel=0.01)


@pytest.mark.parametrize("hw", names())
@pytest.mark.parametrize("kind", KINDS)
def test_more_bytes_inside_a_node_cost_less_only_where_rows_say_so(hw: str, kind: Any) -> None:
    """Measured rows dip, by up to half, where a library changes its protocol too late (B200: 25 us at 256 KB, 18 at 1 MB)."""
    device = hardware.load(hw)
    for group in groups(device):
        times = seconds(device, kind, group, np.geomspace(1.0, 4e9, 100))
        assert np.all(times >= DIP[kind] * np.maximum.accumulate(times)), (
            group,
            np.min(times / np.maximum.accumulate(times)),
        )


@pytest.mark.parametrize("hw", ["h100", "a100", "mi300x", "b200", "gaudi3"])
@pytest.mark.parametrize("kind", ["all_reduce", "all_gather", "reduce_scatter"])
def test_time_over_nodes_rises_with_bytes(hw: str, kind: Any) -> None:
    device = hardware.load(hw)
    for group in (16.0, 24.0, 64.0):
        assert np.all(np.diff(seconds(device, kind, group, np.geomspace(1.0, 4e9, 200))) >= 0)


def test_a_siblings_larger_group_answers_before_the_own_largest_is_held() -> None:
    """GB200 has rows of two and four ranks; eight were measured on its sibling, and take longer."""
    gb200, b200 = (hardware.load(name) for name in ("gb200", "b200"))
    small = np.asarray([4096.0])
    four, eight, wide = (seconds(gb200, "all_reduce", g, small)[0] for g in (4.0, 8.0, 64.0))
    assert eight >= 0.999 * max(four, seconds(b200, "all_reduce", 8.0, small)[0])
    assert wide >= 0.999 * eight


@pytest.mark.parametrize("hw", names())
@pytest.mark.parametrize("kind", KINDS)
def test_no_borrowed_curve_outruns_what_the_profile_states_of_links_of_another_kind(hw: str, kind: Any) -> None:
    """A switch that reduces says nothing of a mesh: eight MI300X reach 313 GB/s, not the 445 that H200's rows would make of 448."""
    device = hardware.load(hw)
    link, lender = device.scaleup, device.sibling
    if link is None or lender is None or lender.scaleup is None or device.measurements:
        return
    if link.topology == lender.scaleup.topology and link.reduces >= lender.scaleup.reduces:
        return
    for group in (g for g in groups(device) if float(device.nodes(g)) <= 1.0):
        stated = np.asarray(collective_cost(Collective(kind, BYTES, group), device).seconds)
        assert np.all(seconds(device, kind, group) >= stated * (1 - 1e-9))
