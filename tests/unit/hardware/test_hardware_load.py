"""Profiles: what stands in a file is what the device has, in SI, and every malformed file is one line that names the key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toykit import ASSUMED, profile

from simcost.errors import SpecError
from simcost.hardware import load as hardware
from simcost.hardware.profile import Device

LINKS = (
    "links.scaleup.name",
    "links.scaleup.topology",
    "links.scaleup.bandwidth",
    "links.scaleup.domain",
    "links.scaleout.bandwidth",
)
HOPS = ("assumed.link_efficiency", "assumed.hop_latency", "assumed.scaleout_efficiency", "assumed.scaleout_hop_latency")


def load(home: Path, changes: dict[str, Any] | None = None, without: tuple[str, ...] = (), **overrides: Any) -> Device:
    return hardware.load(str(profile(home / "toy", changes, without)), overrides.get("overrides"))


def test_a_profile_becomes_a_device_in_si(tmp_path: Path) -> None:
    toy = load(tmp_path, {"compute.l2": "{ value = '50 MB', source = 'book' }", "notes": '["one", "two"]'})
    assert toy.peaks == {"bf16": 1e15, "fp8": 2e15, "fp32": 1e14}
    assert (toy.capacity, toy.bandwidth, toy.tdp, toy.usd_per_hour) == (1e11, 1e12, 500.0, 3.6)
    assert (toy.scaleout, toy.l2, toy.sm_count, toy.notes) == (1e10, 5e7, None, ("one", "two"))
    assert toy.scaleup is not None
    assert (toy.scaleup.bandwidth, toy.scaleup.domain, toy.scaleup.topology) == (1e11, 8.0, "switch")
    assert {key: toy.assumption(key) for key in ASSUMED} == {
        key: pytest.approx(value) for key, value in ASSUMED.items()
    }
    assert (toy.multiprocessors, toy.base, toy.sibling, toy.capacity_assumed) == (132.0, None, None, "")


def test_a_device_without_links_needs_no_assumptions_about_them(tmp_path: Path) -> None:
    toy = load(tmp_path, without=(*LINKS, *HOPS, "power.tdp", "price.usd_per_hour"))
    assert (toy.scaleup, toy.scaleout, toy.tdp, toy.usd_per_hour) == (None, None, None, None)
    with pytest.raises(SpecError, match=r"missing 'assumed.link_efficiency'"):
        load(tmp_path / "one", without=("assumed.link_efficiency",))


FACT = "{ value = '1 TB/s', source = 'book' }"
MALFORMED: list[tuple[dict[str, Any], tuple[str, ...], str]] = [
    ({"colour": '"red"'}, (), "unknown key 'colour'"),
    ({"notess": "[]"}, (), "unknown key 'notess'; did you mean 'notes'?"),
    ({"name": "7"}, (), "missing 'name'"), ({}, ("name",), "missing 'name'"), ({"name": '""'}, (), "missing 'name'"),
    ({"notes": '"a text"'}, (), "'notes' must be a list"),
    ({}, ("memory.capacity",), "missing 'memory.capacity'"), ({}, ("memory.bandwidth",), "missing 'memory.bandwidth'"),
    ({}, ("memory.bandwidth", "memory.capacity"), "missing table [memory]"),
    ({}, ("sources.book",), "missing table [sources]"),
    ({}, ("peak.bf16", "peak.fp8", "peak.fp32"), "missing table [peak]"),
    ({}, tuple(f"assumed.{key}" for key in ASSUMED), "missing table [assumed]"),
    *[({}, (f"assumed.{key}",), f"missing 'assumed.{key}'") for key in ASSUMED if not key.startswith("power_")],
    ({"memory.bandwidth": "{ value = '1 TB/s', source = 'other' }"}, (), "'memory.bandwidth' has no source in [sources]"),
    ({"memory.bandwidth": "{ value = '1 TB/s' }"}, (), "'memory.bandwidth' has no source in [sources]"),
    ({"assumed.gemm_efficiency": "{ value = 0.5 }"}, (), "'assumed.gemm_efficiency' has no reason"),
    ({"assumed.gemm_efficiency": "{ value = 0.5, reason = ' ' }"}, (), "'assumed.gemm_efficiency' has no reason"),
    ({"assumed.gemm_efficiency": "0.5"}, (), "'assumed.gemm_efficiency' must be { value = ..., reason = ... }"),
    ({"memory.bandwidth": "'1 TB/s'"}, (), "'memory.bandwidth' must be { value = ..., source = ... }"),
    ({"memory.bandwidth": "{ source = 'book' }"}, (), "'memory.bandwidth' must be { value = ..., source = ... }"),
    ({"memory.bandwidth": "{ value = 1e12, source = 'book' }"}, (), "has no unit"),
    ({"memory.bandwidth": "{ value = true, source = 'book' }"}, (), "True is not a quantity"),
    ({"memory.bandwidth": "{ value = ['1 TB/s'], source = 'book' }"}, (), "is not a quantity"),
    ({"memory.bandwidth": "{ value = '1 TB', source = 'book' }"}, (), "unit 'TB'"),
    ({"memory.bandwidth": "{ value = '1 B/s', source = 'book' }"}, (), "must be in 1 MB/s to 1 EB/s"),
    ({"assumed.gemm_efficiency": "{ value = 1.01, reason = 'hope' }"}, (), "must be in (0, 1]"),
    ({"assumed.gemm_efficiency": "{ value = 0, reason = 'hope' }"}, (), "must be finite and greater than 0"),
    ({"assumed.kernel_overhead": "{ value = '2 m', reason = 'slip' }"}, (), "unit 'm'"),
    ({"peak.fp7": FACT}, (), "no hardware key 'peak.fp7'"), ({"memory.bandwith": FACT}, (), "did you mean 'memory.bandwidth'?"),
    ({"assumed.memory_reserve": "{ value = 0.1, reason = 'old' }"}, (), "'assumed.memory_reserve' no longer exists"),
    ({"links.scaleup.topology": '"star"'}, (), "'links.scaleup.topology' must be one of switch, mesh, torus, bridge, host, not 'star'"),
    ({"links.scaleup.colour": FACT}, (), "no hardware key 'links.scaleup.colour'"),
    ({"power": "700"}, ("power.tdp",), "[power] must be a table"), ({"price": "'3 USD/h'"}, ("price.usd_per_hour",), "[price] must be a table"),
    ({"links": "[]"}, LINKS, "[links] must be a table"), ({"links.scaleup": "3"}, LINKS, "[scaleup] must be a table"),
    ({"measurements.like": '"toy"'}, (), "'measurements.like' must name a shipped profile and come with a reason"),
    ({"measurements.like": '"h100"'}, (), "'measurements.like' must name a shipped profile and come with a reason"),
    ({"measurements.like": '"h100"', "measurements.reason": "'alike'"}, (), "'measurements.spread' = None must be a number in (0, 5]"),
    ({"measurements.like": '"h100"', "measurements.reason": "'alike'", "measurements.spread": "true"}, (), "'measurements.spread' = True"),
    ({"measurements.like": '"h100"', "measurements.reason": "'alike'", "measurements.spread": "5.5"}, (), "'measurements.spread' = 5.5"),
    ({"measurements.use": '"one"'}, (), "'measurements.use' = 'one' must be a list of names of runs"),
    ({"measurements.use": "[1]"}, (), "'measurements.use' = [1] must be a list of names of runs"),
    ({"measurements.use": '["gone"]'}, (), "no measurement run 'gone'"), ({"measurements.used": "[]"}, (), "did you mean 'use'?"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "without", "said"), MALFORMED)
def test_a_malformed_profile_is_one_line_that_names_file_and_key(
    tmp_path: Path, changes: dict[str, Any], without: tuple[str, ...], said: str
) -> None:
    with pytest.raises(SpecError) as error:
        load(tmp_path, changes, without)
    assert said in str(error.value)
    assert str(error.value).startswith(str(tmp_path / "toy" / "profile.toml"))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("body", "said"), [
    (b"name = ", "not valid TOML"), (b"\xff\xfe", "not a UTF-8 text file"), (b"a = 1\na = 2\n", "not valid TOML"),
    (b"", "schema must be 1"), (b"schema = 1\n", "missing table [peak]"),
])  # fmt: skip
def test_a_file_that_is_no_profile_is_one_line(tmp_path: Path, body: bytes, said: str) -> None:
    path = tmp_path / "profile.toml"
    path.write_bytes(body)
    with pytest.raises(SpecError) as error:
        hardware.load(str(path))
    assert str(error.value).startswith(str(path))
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_a_device_is_found_by_name_by_file_and_by_folder(tmp_path: Path) -> None:
    path = profile(tmp_path / "toy")
    assert hardware.find(str(path)) == hardware.find(str(path.parent)) == path
    assert hardware.find("H200") == hardware.find("h200")
    with pytest.raises(SpecError, match=r"unknown hardware 'mi300a'.*; did you mean 'mi300x'\?$"):
        hardware.find("mi300a")
    with pytest.raises(SpecError, match="unknown hardware"):
        hardware.find(str(tmp_path))


@pytest.mark.parametrize(("path", "value", "want"), [
    ("memory.bandwidth", "3 TB/s", 3e12), ("memory.bandwidth", "1 MB/s", 1e6), ("memory.bandwidth", "1 EB/s", 1e18), ("memory.bandwidth", "x1.5", 1.5e12), ("memory.bandwidth", "*2", 2e12),
    ("memory.capacity", " X0.5 ", 5e10), ("links.scaleout.bandwidth", "400 Gbit/s", 5e10), ("assumed.gemm_efficiency", "75 %", 0.75),
    ("peak.fp4", "4 PFLOP/s", 4e15), ("compute.sm_count", 78, 78.0),
])  # fmt: skip
def test_an_override_takes_units_or_a_multiple(tmp_path: Path, path: str, value: Any, want: float) -> None:
    stated = hardware.facts(hardware.read(str(profile(tmp_path / "toy")))[1], "toy")
    assert hardware.override(path, value, stated, "toy") == pytest.approx(want)


@pytest.mark.parametrize(("path", "value", "said"), [
    ("memory.bandwidth", "3", "hw.memory.bandwidth: '3' has no unit"), ("compute.l2", "x2", "has no value of 'compute.l2' to multiply"),
    ("memory.bandwidth", "xfast", "hw.memory.bandwidth: factor: cannot read 'fast'"), ("memory.bandwidth", "x1e9", "must be in"),
    ("memory.bandwidht", "3 TB/s", "did you mean 'memory.bandwidth'?"), ("assumed.gemm_efficiency", "x3", "must be in (0, 1]"),
])  # fmt: skip
def test_a_wrong_override_names_its_path(tmp_path: Path, path: str, value: str, said: str) -> None:
    with pytest.raises(SpecError) as error:
        load(tmp_path, overrides={path: value})
    assert said in str(error.value)
    assert f"hw.{path}" in str(error.value)


def test_an_overridden_device_remembers_the_stated_one(tmp_path: Path) -> None:
    toy = load(tmp_path, overrides={"memory.bandwidth": "x2"})
    assert (toy.bandwidth, toy.base and toy.base.bandwidth) == (2e12, 1e12)
    many = load(tmp_path, overrides={"memory.bandwidth": np.array([1e12, 4e12])})
    assert np.asarray(many.bandwidth).tolist() == [1e12, 4e12]


def test_an_assumed_capacity_is_said_until_somebody_states_another(tmp_path: Path) -> None:
    changes = {"memory.capacity": "{ value = '100 GB', source = 'book', assumed = 'no log' }"}
    assert load(tmp_path, changes).capacity_assumed == "no log"
    assert load(tmp_path, changes, overrides={"memory.capacity": "90 GB"}).capacity_assumed == ""
    assert load(tmp_path, changes, overrides={"memory.bandwidth": "2 TB/s"}).capacity_assumed == "no log"


def test_a_sibling_lends_its_rows_and_how_far_they_are_off(tmp_path: Path) -> None:
    like = {"measurements.like": '"h100"', "measurements.reason": "'alike'", "measurements.spread": "0.2"}
    toy = load(tmp_path, like)
    assert toy.sibling is not None
    assert (toy.sibling.name, toy.sibling_spread) == ("h100", 0.2)
    alone = load(tmp_path / "none", like, overrides={"measurements": "none"})
    assert (alone.sibling, alone.measurements, alone.tables) == (None, (), "")


@pytest.mark.parametrize(("path", "said"), [
    ("gpus_per_node", "; did you mean 'links.scaleup.domain'"), ("nvlink.bandwidth", "; did you mean 'links.scaleup.bandwidth'"),
    ("vram", "; did you mean 'memory.capacity'"), ("colour", "; `simcost keys hw` lists them"), ("memory.bandwith", "; did you mean 'memory.bandwidth'"),
])  # fmt: skip
def test_a_name_of_habit_leads_to_the_key(path: str, said: str) -> None:
    with pytest.raises(SpecError, match=rf"no hardware key '{path}'{said}"):
        hardware.dimension(path, "hw")
