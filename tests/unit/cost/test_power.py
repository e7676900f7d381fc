"""Power of a device: shares of the TDP by what binds a step, with their ranges."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from toykit import device, profile

import simcost
from simcost.cost import power
from simcost.cost.cost import Cost
from simcost.errors import SpecError
from simcost.hardware import load as hardware


def test_each_bound_draws_its_share_and_the_range_holds_it() -> None:
    toy = replace(device(), power_ends={"memory": (0.25, 0.75)})  # 500 W: 0.9, 0.5, 0.2
    cost = Cost(compute_s=1.0, memory_s=2.0, wire_s=0.5, overhead_s=0.5)
    assert power.drawn(toy, cost) == pytest.approx(500 * (0.9 + 2 * 0.5 + 0.2) / 4)
    assert power.drawn(toy, cost, 0) == pytest.approx(500 * (0.9 + 2 * 0.25 + 0.2) / 4)
    assert power.drawn(toy, cost, 1) == pytest.approx(500 * (0.9 + 2 * 0.75 + 0.2) / 4)
    assert power.drawn(replace(toy, tdp=None), cost) is None
    lacking = {name: value for name, value in toy.assumed.items() if name != "power_waiting"}
    assert power.drawn(replace(toy, assumed=lacking), cost) is None


@pytest.mark.parametrize("name", hardware.names())
def test_shipped_shares_have_ranges_and_rise_from_waiting_to_arithmetic(name: str) -> None:
    shipped = hardware.load(name)
    found = power.shares(shipped)
    assert (found is None) == (shipped.tdp is None)
    if found is not None:
        assert found["waiting"] < found["memory"] <= found["compute"]
        for bound, (low, high) in shipped.power_ends.items():
            assert low < found[bound] < high <= 1.0
        assert set(shipped.power_ends) == set(found)


def test_an_override_has_no_range_and_energy_follows_it() -> None:
    halved = hardware.load("h200", {"assumed.power_memory": "0.225"})
    assert set(halved.power_ends) == {"compute", "waiting"}
    ask = {"model": "llama-3.1-8b", "hw": "h200", "batch": 16, "context": 4096}
    before, after = (simcost.decode(**ask, set=sets).metrics for sets in ({}, {"hw.assumed.power_memory": "x0.5"}))  # type: ignore[arg-type]
    name = "joules_per_output_token_assumed"
    moved = before["tpot_s"] * before["share_memory"] * 700.0 * 0.225 / 16
    assert before[name] - after[name] == pytest.approx(moved)
    assert {k: v for k, v in before.items() if k != name} == {k: v for k, v in after.items() if k != name}


def test_a_profile_without_a_share_has_no_energy_and_says_so(tmp_path: Path) -> None:
    file = str(profile(tmp_path, without=("assumed.power_memory",)))
    found = simcost.decode("llama-3.1-8b", file, batch=4, context=512)
    assert "joules_per_output_token_assumed" not in found.metrics
    assert any("no energy: the profile states no assumed.power_memory" in note for note in found.warnings)


def test_ends_out_of_order_are_one_line(tmp_path: Path) -> None:
    text = "{ value = 0.5, low = 0.6, high = 0.7, reason = 'a guess' }"
    with pytest.raises(SpecError, match=r"'assumed.power_memory': low = 0.6, value = 0.5"):
        hardware.load(str(profile(tmp_path, {"assumed.power_memory": text})))
