"""Tiers: what a byte and a hop cost on each, and which plans a profile has no links for."""

from __future__ import annotations

import pytest
from toykit import ASSUMED, device, link

from simcost.cost import tiers
from simcost.errors import SpecError
from simcost.hardware.profile import Device
from simcost.num import every
from simcost.plan import Plan

FAR = ASSUMED["scaleout_hop_latency"]


@pytest.mark.parametrize(("group", "reach"), [(1.0, 3e10), (2.0, 3e10), (3.0, 6e10), (5.0, 1e11), (8.0, 1e11)])
def test_in_a_mesh_only_links_to_members_count(group: float, reach: float) -> None:
    toy = device(scaleup=link(topology="mesh", pair=3e10))
    assert tiers.inside(toy, group).byte == pytest.approx(1.0 / reach)
    assert tiers.inside(device(), group).byte == pytest.approx(1e-11)


def test_a_tier_has_its_own_efficiency_and_hop() -> None:
    near, far = tiers.inside(device(), 8.0), tiers.outside(device())
    assert (near.slow, near.hop) == (2.0, ASSUMED["hop_latency"])
    assert (far.byte, far.slow, far.hop) == (pytest.approx(1e-10), 1.25, FAR)
    assert tiers.outside(device(scaleout=None)).byte == float("inf")


def test_an_assumption_that_is_missing_is_named_with_its_file() -> None:
    lacking = device(assumed={k: v for k, v in ASSUMED.items() if k != "link_efficiency"})
    with pytest.raises(SpecError, match=r"^toy/profile.toml: no 'assumed.link_efficiency'$"):
        tiers.inside(lacking, 8.0)


@pytest.mark.parametrize(("toy", "devices", "ok", "said"), [
    (device(), 512.0, True, ""), (device(scaleout=None), 8.0, True, "no 'links.scaleout"),
    (device(scaleout=None), 9.0, False, "toy/profile.toml: no 'links.scaleout.bandwidth'"),
    (device(scaleout=None, scaleup=None), 2.0, False, "no 'links.scaleup' and no 'links.scaleout.bandwidth'"),
    (device(scaleout=None, scaleup=None), 1.0, True, "no 'links.scaleup' and no"),
])  # fmt: skip
def test_a_plan_beyond_the_links_of_a_profile_is_refused(toy: Device, devices: float, ok: bool, said: str) -> None:
    checks = tiers.link_checks(toy, devices)
    assert all(every(check.ok) for check in checks) is ok
    assert all(said in check.reason for check in checks)


@pytest.mark.parametrize(("toy", "plan", "ok"), [
    (device(), Plan(ep=8.0, all_to_all="nvlink"), True), (device(), Plan(ep=16.0, all_to_all="nvlink"), False),
    (device(), Plan(ep=16.0, all_to_all="normal"), True), (device(scaleup=None), Plan(ep=2.0, all_to_all="nvlink"), False),
    (device(scaleup=link(topology="mesh")), Plan(ep=2.0, all_to_all="nvlink"), False),
    (device(scaleup=link(topology="mesh")), Plan(tp=2.0, all_to_all="nvlink"), True),  # nothing travels
    (device(scaleup=link(domain=72.0)), Plan(ep=64.0, all_to_all="nvlink"), True),
])  # fmt: skip
def test_kernels_of_one_switch_reach_no_further_than_it(toy: Device, plan: Plan, ok: bool) -> None:
    assert all(every(check.ok) for check in tiers.exchange_checks(toy, plan)) is ok
