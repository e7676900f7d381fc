"""Every shipped hardware profile: physically sane, every fact sourced, every assumption reasoned, nothing defaulted."""

from __future__ import annotations

import copy
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from simcost.errors import SimcostError, SpecError
from simcost.hardware import load as hardware
from simcost.hardware.prices import KINDS

NAMES = hardware.names()
EACH = pytest.mark.parametrize("name", NAMES)


def toml(value: Any) -> str:
    """TOML of what a profile holds."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
    if isinstance(value, dict):
        return "{ " + ", ".join(f'"{k}" = {toml(v)}' for k, v in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(toml(v) for v in value) + "]"
    return repr(value)


def write(folder: Path, tables: dict[str, Any]) -> str:
    path = folder / "profile.toml"
    path.write_text("\n".join(f'"{k}" = {toml(v)}' for k, v in tables.items()) + "\n", encoding="utf-8")
    return str(path)


def tables(name: str) -> dict[str, Any]:
    return hardware.read(name)[1]


@EACH
def test_the_profile_loads_and_states_bf16_memory_and_a_name(name: str) -> None:
    device = hardware.load(name)
    assert device.name == name
    assert device.peaks.get("bf16", 0.0) > 0 or device.peaks.get("fp16", 0.0) > 0
    assert device.capacity > 1e9
    assert device.bandwidth > 1e10


@EACH
def test_the_fp8_rate_is_one_to_two_times_the_bf16_rate(name: str) -> None:
    peaks = hardware.load(name).peaks
    if "fp8" in peaks:
        assert 1.0 <= peaks["fp8"] / peaks["bf16"] <= 2.1


@EACH
def test_the_ridge_lies_between_20_and_1000_flops_a_byte(name: str) -> None:
    device = hardware.load(name)
    peak = device.peaks.get("bf16") or device.peaks["fp16"]
    assert 20.0 <= peak / device.bandwidth <= 1000.0


@EACH
def test_links_are_slower_than_memory_and_nics_than_links(name: str) -> None:
    device = hardware.load(name)
    if device.scaleup is not None:
        assert 1e9 <= device.scaleup.bandwidth < device.bandwidth
        if device.scaleup.pair is not None:
            assert device.scaleup.pair <= device.scaleup.bandwidth
        if device.scaleout is not None:
            assert device.scaleout <= device.scaleup.bandwidth
    if device.scaleout is not None:
        assert device.scaleout < device.bandwidth
    if device.host is not None:
        assert 1e10 <= device.host < device.bandwidth


@EACH
def test_every_fact_has_a_source_and_every_assumption_a_reason(name: str) -> None:
    where, found = hardware.read(name)
    used = set()
    for path, entry in hardware.entries(found, where):
        if path.startswith("assumed."):
            assert len(entry["reason"].split()) >= 3, path
            assert "source" not in entry, f"{path}: an assumption is no fact"
        else:
            assert found["sources"][entry["source"]].strip(), path
            used.add(entry["source"])
    assert used


@EACH
def test_assumed_efficiencies_are_fractions_and_overheads_microseconds(name: str) -> None:
    for key, value in hardware.load(name).assumed.items():
        if hardware.dimension(f"assumed.{key}", "") == "fraction":
            assert 0.0 < value <= 1.0, key
        else:
            assert 1e-8 <= value <= 1e-2, key


@EACH
def test_a_price_has_a_kind_a_date_and_ends_that_hold_it(name: str) -> None:
    device = hardware.load(name)
    for key, price in device.prices.items():
        assert key in KINDS, "no shipped profile states a price without its kind"
        assert price.kind == key
        assert re.search(r"20\d\d", price.date)
        assert price.source
        assert (price.low is None) == (price.high is None)
        if price.low is not None:
            assert price.low <= price.usd <= price.high
            assert price.low < price.high, "one price alone has no range"
    first = next((key for key in KINDS if key in device.prices), None)
    assert device.price == (None if first is None else device.prices[first])


def required(name: str) -> list[tuple[str, ...]]:
    """Paths whose removal must be an error."""
    found = tables(name)
    paths: list[tuple[str, ...]] = [("name",), ("peak",), ("memory",), ("sources",), ("assumed",)]
    paths += [("memory", "capacity"), ("memory", "bandwidth")]
    paths += [("assumed", key) for key in found["assumed"] if not key.startswith("power_")]  # no energy without them
    for table in ("peak", "memory", "assumed"):
        for key in found[table]:
            paths += [(table, key, "value"), (table, key, "reason" if table == "assumed" else "source")]
    paths += [("sources", key) for key in {entry["source"] for entry in found["peak"].values()}]
    return paths


@pytest.mark.parametrize("name", ["h100", "mi300x", "gb200", "rtx-4090", "tpu-v5e"])
def test_removing_any_required_key_is_an_error_naming_file_and_key(name: str, tmp_path: Path) -> None:
    for path in required(name):
        changed = copy.deepcopy(tables(name))
        table = changed
        for key in path[:-1]:
            table = table[key]
        del table[path[-1]]
        file = write(tmp_path, changed)
        with pytest.raises(SpecError) as error:
            hardware.load(file)
        said = str(error.value)
        assert file in said, path
        assert "\n" not in said
        words = [path[-1]] if path[-1] not in ("value", "source", "reason") else [path[-2]]
        words = ["source"] if path[0] == "sources" else words
        assert any(word in said for word in words), (path, said)


@EACH
def test_a_profile_survives_a_round_trip_through_text(name: str, tmp_path: Path) -> None:
    file = write(tmp_path, tables(name))
    assert tomllib.loads(Path(file).read_text(encoding="utf-8")) == tables(name)
    again, before = hardware.load(file), hardware.load(name)
    assert (again.peaks, again.assumed, again.scaleup) == (before.peaks, before.assumed, before.scaleup)


@pytest.mark.parametrize("value", ["x2", "1.5", "150 %", "0", "-0.5", "nan"])
def test_an_efficiency_cannot_be_set_outside_zero_to_one(value: str) -> None:
    with pytest.raises(SimcostError, match="gemm_efficiency"):
        hardware.load("h100", {"assumed.gemm_efficiency": value})


@pytest.mark.parametrize(("path", "value"), [
    ("memory.bandwith", "x2"), ("memory.bandwidth", "6 TB"), ("memory.bandwidth", "6"), ("peak.fp17", "1 TFLOP/s"),
    ("memory.capacity", "inf B"), ("peak.bf16", "x-1"), ("peak.bf16", "x0"), ("assumed", "1"), ("links", "2"),
])  # fmt: skip
def test_a_bad_hardware_override_is_an_error_that_names_its_path(path: str, value: str) -> None:
    with pytest.raises(SimcostError) as error:
        hardware.load("h100", {path: value})
    assert path in str(error.value)
    assert "\n" not in str(error.value)
