"""Prices of devices: kinds in a profile, ends of their range, tables of a user's own, and $ told apart or tied."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toykit import profile

import simcost
from simcost.cost.cost import Cost, tied
from simcost.cost.price import HIGH, LOW, ONE_PRICE, OTHER_KIND, is_money, sigma, unsure, with_range
from simcost.errors import SpecError
from simcost.hardware import load as hardware
from simcost.hardware import price_use
from simcost.hardware.prices import KINDS, USUAL, Price
from simcost.num import Z90

LLAMA: dict[str, Any] = {"model": "llama-3.1-8b", "batch": 16, "context": 4096}
NEO = "{ value = '4 USD/h', low = '3 USD/h', high = '6 USD/h', date = '2026-01', source = 'book' }"
SPOT = "{ value = '1.5 USD/h', date = '2026-02', source = 'book' }"
USD = "usd_per_million_output_tokens"


def toy(home: Path, **tables: str) -> str:
    changes = {f"price.{key}": text for key, text in tables.items()}
    return str(profile(home, changes, without=("price.usd_per_hour",)))


def test_the_first_kind_answers_and_its_range_comes_with_it(tmp_path: Path) -> None:
    device = hardware.load(toy(tmp_path, marketplace=SPOT, on_demand_neocloud=NEO))
    assert list(device.prices) == ["on_demand_neocloud", "marketplace"]
    assert device.price == Price(4.0, 3.0, 6.0, USUAL, KINDS[USUAL], "2026-01", "a book")
    assert device.usd_per_hour == 4.0
    alone = hardware.load(toy(tmp_path / "spot", marketplace=SPOT))
    assert alone.price is not None
    assert (alone.price.kind, alone.price.usd, alone.price.low) == ("marketplace", 1.5, None)


@pytest.mark.parametrize(("use", "usd"), [("low", 3.0), ("typical", 4.0), ("high", 6.0), ("marketplace", 1.5)])
def test_an_end_or_another_kind_can_be_asked_for(use: str, usd: float, tmp_path: Path) -> None:
    device = hardware.load(toy(tmp_path, marketplace=SPOT, on_demand_neocloud=NEO), {"price.use": use})
    assert device.price is not None
    assert device.price.usd == usd
    assert (device.price.low is None) == (use != "typical")  # an end has no range of its own


@pytest.mark.parametrize(("key", "text", "said"), [
    ("on_demand_neocloud", "{ value = '4 USD/h', source = 'book' }", "has no date"),
    ("on_demand_neocloud", "{ value = '4 USD/h', low = '5 USD/h', high = '6 USD/h', date = '2026', source = 'book' }", "must be in this order"),
    ("on_demand_neocloud", "{ value = '4 USD/h', low = '3 USD/h', date = '2026', source = 'book' }", "must be given together"),
    ("on_demand_neocloud", "{ value = '4 W', date = '2026', source = 'book' }", "is not a unit of usd_per_hour"),
    ("on_demand_neocloud", "{ value = '4 USD/h', date = '2026', source = 'paper' }", "no source in [sources]"),
    ("on_demand_neocloud", "{ value = '4 USD/h', dat = '2026', source = 'book' }", "did you mean 'date'"),
    ("spot", "{ value = '4 USD/h', date = '2026', source = 'book' }", "no hardware key 'price.spot'"),
])  # fmt: skip
def test_a_bad_price_is_one_line_that_names_file_and_key(key: str, text: str, said: str, tmp_path: Path) -> None:
    file = toy(tmp_path, **{key: text})
    with pytest.raises(SpecError) as error:
        hardware.load(file)
    assert said in str(error.value)
    assert f"price.{key}" in str(error.value)
    assert "\n" not in str(error.value)


def test_money_scales_with_the_price_and_nothing_else_moves() -> None:
    price = {end: simcost.decode(hw="h100", price=end, **LLAMA).metrics for end in ("low", "typical", "high")}
    known = hardware.load("h100").price
    assert known is not None
    assert known.low is not None
    assert price["low"][USD] / price["typical"][USD] == pytest.approx(known.low / known.usd)
    assert price["typical"][USD + LOW] == pytest.approx(price["low"][USD])
    assert price["typical"][USD + HIGH] == pytest.approx(price["high"][USD])
    assert {k: v for k, v in price["low"].items() if "usd" not in k} == {
        k: v for k, v in price["high"].items() if "usd" not in k
    }
    assert USD + LOW not in price["low"]
    stated = simcost.decode(hw="h100", price="2.5", **LLAMA)
    assert stated.metrics == simcost.decode(hw="h100", price=2.5, **LLAMA).metrics
    assert USD + LOW not in stated.metrics


def test_a_table_of_the_user_prices_devices_by_any_of_their_names(tmp_path: Path) -> None:
    file = tmp_path / "mine.csv"
    file.write_text(
        "device,usd_per_hour,low,high,kind,date,source\nH100 SXM,2,1.5,3,contract,2026-06,mail\nt4,0.3,,,,,\n"
    )
    one = simcost.decode(hw="h100", price=str(file), **LLAMA)
    assert one.metrics[USD] == pytest.approx(simcost.decode(hw="h100", price=2.0, **LLAMA).metrics[USD])
    assert one.metrics[USD + HIGH] == pytest.approx(1.5 * one.metrics[USD])
    assert any("2 USD per GPU hour, from 1.5 to 3 (contract, 2026-06" in note for note in one.warnings)
    assert hardware.load("t4", {"price.use": str(file)}).usd_per_hour == 0.3
    with pytest.raises(SpecError, match=r"no row for a100 \(it has h100, t4\)"):
        hardware.load("a100", {"price.use": str(file)})


@pytest.mark.parametrize(("text", "said"), [
    ("", "needs a column 'device'"), ("device,usd_per_hour\n", "has no price in it"), ("device,usd\nh100,2\n", "unknown column 'usd'"),
    ("device,usd_per_hour\nh100,x\n", "line 2: usd_per_hour = 'x' must be a number"), ("device,usd_per_hour\nh100,2\nh100 sxm,3\n", "h100 appears twice"),
    ("device,usd_per_hour\nh100,-2\n", "above 0"), ("device,usd_per_hour,low\nh100,2,1\n", "low and high must be given together"),
    ("device,usd_per_hour\nh100\n", "not as many cells"), ("device,usd_per_hour\nh100,\n", "has no usd_per_hour"),
])  # fmt: skip
def test_a_bad_table_is_one_line_that_names_the_file(text: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.csv"
    file.write_text(text)
    with pytest.raises(SpecError) as error:
        hardware.load("h100", {"price.use": str(file)})
    assert said in str(error.value)
    assert str(file) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("price", "said"), [
    ("lwo", "did you mean 'low'"), ("no.csv", "no.csv: no such file"), ("reserved_1y", "gh200 has no price of this kind"),
    ("0", "above 0"), (float("nan"), "above 0"), (True, "must be USD"), ("2\n3", "write USD per device"),
])  # fmt: skip
def test_what_is_no_price_is_one_line(price: Any, said: str) -> None:
    with pytest.raises(SpecError) as error:
        simcost.decode(hw="gh200", price=price, **LLAMA)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("path", ["hw.price.use", "hw.price.usd_per_hour"])
def test_two_prices_are_refused(path: str) -> None:
    with pytest.raises(SpecError, match=r"both set the price of a device|given twice"):
        simcost.decode(hw="h100", price="low", set={path: "high" if path.endswith("use") else "2 USD/h"}, **LLAMA)


def test_another_kind_one_price_alone_and_no_price_are_said() -> None:
    kinds = {hw: simcost.decode(hw=hw, **LLAMA).warnings for hw in ("h100", "rtx-4090", "gh200", "h100-96gb")}
    assert not any("of another kind" in line or "one price" in line for line in kinds["h100"])
    assert any("rtx-4090: its price is of another kind" in line and "marketplace" in line for line in kinds["rtx-4090"])
    assert any("gh200: one price found" in line for line in kinds["gh200"])
    assert any("h100-96gb: no price with a source, so no $" in line for line in kinds["h100-96gb"])


def test_the_range_of_a_price_is_the_interval_of_a_log_normal_and_cancels_on_one_device() -> None:
    ranged = Price(2.0, 1.0, 4.0, USUAL)
    assert sigma(ranged) == pytest.approx(math.log(4.0) / (2.0 * Z90))
    assert sigma(Price(2.0, kind=USUAL)) == pytest.approx(math.log(ONE_PRICE) / (2.0 * Z90))
    assert sigma(Price(2.0, 1.9, 2.1, "marketplace")) == pytest.approx(math.log(OTHER_KIND) / (2.0 * Z90))
    assert sigma(Price(2.0, 1.0, 4.0, "marketplace", asked="kind")) == pytest.approx(sigma(ranged))
    assert sigma(Price(1.0, kind=USUAL, asked="end")) == 0.0
    assert sigma(Price(2.0)) == sigma(None) == 0.0
    one, other = (Cost(memory_s=1.0, spread={f"{name}: gemm fitted": 0.01}) for name in ("a", "b"))
    assert not tied(one, other, 1.5)
    assert tied(unsure(one, "a", ranged), unsure(other, "b", ranged), 1.5)
    assert not tied(unsure(one, "a", ranged), unsure(other, "a", ranged), 1.5)
    assert not tied(unsure(one, "a", ranged), unsure(other, "b", ranged), 8.0)


def test_money_has_ends_and_what_is_none_has_not() -> None:
    assert [name for name in ("usd", "run_usd", USD, "fleet_usd_per_hour", "run_usd_low", "joules", "mfu") if is_money(name)] == [
        "usd", "run_usd", USD, "fleet_usd_per_hour",
    ]  # fmt: skip
    found = with_range({"mfu": 0.5, "usd": np.array([2.0, 4.0]), "best_usd": "a"}, Price(2.0, 1.0, 3.0))
    assert list(found) == ["mfu", "usd", "usd_price_low", "usd_price_high", "best_usd"]
    assert found["usd_price_low"].tolist() == [1.0, 2.0]
    assert found["usd_price_high"].tolist() == [3.0, 6.0]


def test_rankings_by_money_mark_devices_whose_prices_overlap() -> None:
    ask: dict[str, Any] = {"hw": ["h100", "h200"], "gpus": 1, "batch": [16], "metric": USD}
    rows = simcost.plans("llama-3.1-8b", **ask).tables["plans"]
    assert [row["best_or_tied"] for row in rows] == [True, True]
    assert rows[0][USD + LOW] < rows[1][USD] < rows[0][USD + HIGH] or rows[1][USD + LOW] < rows[0][USD]
    exact = simcost.plans("llama-3.1-8b", price=3.0, **ask).tables["plans"]
    assert [row["best_or_tied"] for row in exact] == [True, False]  # by time alone they are told apart


def test_a_stated_price_is_a_number_or_a_choice() -> None:
    assert price_use.stated(None) == (None, {})
    assert price_use.stated("2.5") == price_use.stated(np.float32(2.5)) == (2.5, {})
    assert price_use.stated(" low ") == (None, {"hw.price.use": "low"})


COMMANDS: dict[str, Any] = {
    "prefill": lambda: simcost.prefill("llama-3.1-8b", "h100", isl=512),
    "serve": lambda: simcost.serve("llama-3.1-8b", "h100", 512, 128, concurrency=8),
    "train": lambda: simcost.train("llama-3.2-1b", "h100", gpus=8, tokens=1e9, levers=False),
    "compare": lambda: simcost.compare(["llama-3.1-8b", "llama-3.2-1b"], "h100"),
    "plans": lambda: simcost.plans("llama-3.2-1b", "h100", 2, batch=[8]),
    "plans serve": lambda: simcost.plans(
        "llama-3.1-8b", "h100", phase="serve", isl=512, osl=64, rate=4, gpus=2, set={"plan.pp": 1}
    ),
    "think": lambda: simcost.think(
        "llama-3.1-8b", isl=256, hw="h100", osl="lognormal:500:0.5", budget="512,1k", concurrency=4
    ),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_money_of_every_command_has_its_range(command: str) -> None:
    known = hardware.load("h100").price
    assert known is not None
    assert known.low is not None
    found = COMMANDS[command]()
    ranged = 0
    for row in (found.metrics, *(row for table in found.tables.values() for row in table)):
        for name, value in row.items():
            if is_money(name) and isinstance(value, (int, float)):
                assert row[name + LOW] == pytest.approx(value * known.low / known.usd), name
                assert row[name + HIGH] == pytest.approx(value * known.high / known.usd), name
                ranged += 1
    assert ranged


def test_a_best_that_is_priced_by_another_kind_names_the_best_that_compares() -> None:
    asked = {"gpus": 1, "batch": [8], "context": 512, "metric": "usd"}
    found = simcost.plans("llama-3.1-8b", ["h200", "h20"], **asked)
    assert found.tables["plans"][0]["hw"] == "h20"
    assert "priced by another kind of price (estimate in a paper); best on demand: 1 x h200, batch 8" in found.verdict
    assert "another kind" not in simcost.plans("llama-3.1-8b", ["h200", "h20"], **asked, price=2.0).verdict
    assert "another kind" not in simcost.plans("llama-3.1-8b", ["h200", "h100"], **asked).verdict
