"""Figures of plans: which GPU, where several are asked about, and fronts told apart by device."""

from __future__ import annotations

from typing import Any

import pytest

import simcost
from simcost.report.figures import designs, pareto, style
from simcost.report.question import asked
from simcost.result import Result

DEVICES = ["h100", "h200"]


@pytest.fixture(scope="module")
def fleets() -> Result:
    return simcost.plans(
        "llama-3.1-8b", DEVICES, phase="serve", isl=512, osl=128, rate=20.0, slo="ttft=1s,tpot=30ms", set={"plan.pp": 1}
    )


def test_plans_of_several_devices_are_drawn_a_device_a_row() -> None:
    found = simcost.plans("llama-3.1-8b", DEVICES, [1, 2], tpot="30ms", metric="usd")
    drawn = designs.panels(found)
    names = [one.name for one in drawn["usd_per_million_output_tokens"]]
    rows = found.tables["best per device"]
    assert names == [f"{row['gpus']} x {row['hw']}, {row['plan']}, batch {row['batch']:,}" for row in rows]
    assert [one.name for one in drawn["tpot_s"]] == names  # one order in all panels


def test_fleets_say_how_many_gpus_each_takes(fleets: Result) -> None:
    names = [one.name for one in designs.panels(fleets)["fleet_usd_per_hour"]]
    assert names == [f"{row['gpus']} x {row['hw']}: {row['plan']}" for row in fleets.tables["best per device"]]
    assert asked(fleets).startswith("llama-3.1-8b on h100 / h200: rate 20")  # the number is that of the best alone


def test_a_device_has_one_colour_and_its_pools_are_dashed(fleets: Result) -> None:
    drawn: Any = pareto.draw(fleets, style.STYLES["slide"])
    lines = {line.get_label(): line for line in drawn.axes[0].get_lines()}
    for hw in DEVICES:
        both, pools = lines[f"{hw}, aggregated"], lines[f"{hw}, disaggregated"]
        assert both.get_color() == pools.get_color()
        assert (both.get_linestyle(), pools.get_linestyle()) == ("-", "--")
    assert lines["h100, aggregated"].get_color() != lines["h200, aggregated"].get_color()


def test_a_key_holds_names_in_full() -> None:
    slide = style.STYLES["slide"]
    assert [style.beside(["x" * n], slide) for n in (20, 40, 200)] == [3, 2, 1]
    assert style.beside(["x"], style.STYLES["column"]) == 1
