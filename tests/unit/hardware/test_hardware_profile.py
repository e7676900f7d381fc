"""A device: who shares a domain, what a mesh reaches, and facts that are absent."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from toykit import device, link

from simcost.errors import SpecError
from simcost.hardware.profile import RACK


@given(group=st.integers(1, 40), stride=st.sampled_from([1, 2, 3, 4, 8, 16]), domain=st.sampled_from([2, 4, 8, 72]))
def test_members_of_a_domain_are_those_whose_ranks_stand_in_it(group: int, stride: int, domain: int) -> None:
    toy = device(scaleup=link(domain=float(domain)))
    first = [rank for rank in range(0, group * stride, stride) if rank < max(domain // stride, 1) * stride]
    assert toy.node(float(group), float(stride)) == len(first)
    assert toy.nodes(float(group), float(stride)) == -(-group // len(first))


@pytest.mark.parametrize(("scaleup", "group", "near", "nodes"), [
    (None, 4.0, 1.0, 4.0), (None, 1.0, 1.0, 1.0), (link(domain=None), 4.0, 4.0, 1.0),
])  # fmt: skip
def test_without_a_link_each_device_stands_alone_and_without_a_bound_none_does(
    scaleup: Any, group: float, near: float, nodes: float
) -> None:
    toy = device(scaleup=scaleup)
    assert (toy.node(group), toy.nodes(group)) == (near, nodes)


@pytest.mark.parametrize(
    ("group", "reach"), [(1.0, 3e10), (2.0, 3e10), (3.0, 6e10), (4.0, 9e10), (5.0, 1e11), (8.0, 1e11)]
)
def test_a_mesh_reaches_by_the_links_to_members_and_a_switch_by_its_own(group: float, reach: float) -> None:
    assert link(topology="mesh", pair=3e10).reach(group) == reach
    assert link().reach(group) == 1e11


@pytest.mark.parametrize(("domain", "topology", "rack"), [
    (RACK - 1, "switch", False), (RACK, "switch", True), (72.0, "switch", True), (72.0, "torus", False), (None, "switch", False),
])  # fmt: skip
def test_a_rack_is_one_large_switch(domain: float | None, topology: str, rack: bool) -> None:
    assert bool(link(domain=domain, topology=topology).rack) is rack


def test_groups_of_a_list_are_placed_each_by_itself() -> None:
    groups, strides = np.array([4.0, 8.0, 16.0, 64.0]), np.array([1.0, 4.0, 1.0, 2.0])
    toy = device()
    for act in (toy.node, toy.nodes):
        found = np.asarray(act(groups, strides))
        assert found.tolist() == [act(float(g), float(s)) for g, s in zip(groups, strides, strict=True)]


def test_absent_facts_are_errors_that_name_file_and_key() -> None:
    with pytest.raises(SpecError, match=r"^toy/profile.toml: no 'peak.fp4' \(toy states fp32, bf16, fp8\)$"):
        device().peak("fp4")
    with pytest.raises(SpecError, match=r"^toy/profile.toml: no 'assumed.colour'$"):
        device().assumption("colour")
    assert device(sm_count=78.0).multiprocessors == 78.0
