"""Quantities at the door: decimal prefixes are powers of 1000, binary ones of 1024, and nothing without its unit."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simcost.errors import UnitError
from simcost.units import parse, show


@pytest.mark.parametrize(("text", "dimension", "want"), [
    ("3.35 TB/s", "bytes_per_s", 3.35e12), ("400 Gbit/s", "bytes_per_s", 50e9), ("80 GiB", "bytes", 80 * 2**30),
    ("80 GB", "bytes", 80e9), ("50 MB", "bytes", 50e6), ("989 TFLOP/s", "flops_per_s", 989e12),
    ("1979 TOP/s", "flops_per_s", 1979e12), ("1 PFLOP/s", "flops_per_s", 1e15), ("2 us", "seconds", 2e-6),
    ("300 us", "seconds", 3e-4), ("1980 MHz", "hertz", 1.98e9), ("700 W", "watts", 700.0), ("1.4 kW", "watts", 1400.0),
    ("2.95 USD/h", "usd_per_hour", 2.95), ("0.7", "fraction", 0.7), ("70 %", "fraction", 0.7), ("8", "count", 8.0),
    ("1_000", "count", 1000.0), ("1e3", "count", 1000.0), (" 6TB/s ", "bytes_per_s", 6e12), ("1 TiB", "bytes", 2.0**40),
])  # fmt: skip
def test_a_quantity_reads_to_si(text: str, dimension: str, want: float) -> None:
    assert math.isclose(parse(text, dimension), want, rel_tol=1e-15)


@pytest.mark.parametrize(("text", "dimension"), [
    ("3.35", "bytes_per_s"), ("3.35 TB", "bytes_per_s"), ("3.35 TB/s", "bytes"), ("80", "bytes"), ("80 gb", "bytes"),
    ("80 Gb", "bytes"), ("989 TFLOPS", "flops_per_s"), ("0 B", "bytes"), ("-1 B", "bytes"), ("nan B", "bytes"),
    ("inf B", "bytes"), ("1e999 B", "bytes"), ("", "bytes"), ("B", "bytes"), ("1 2 B", "bytes"), ("1,5 GB", "bytes"),
    ("2 m", "seconds"), ("700", "watts"), ("x2", "count"), ("\n", "count"), ("1 GB\n2", "bytes"), ("0", "fraction"),
])  # fmt: skip
def test_a_wrong_or_missing_unit_is_one_line_that_names_where(text: str, dimension: str) -> None:
    with pytest.raises(UnitError) as error:
        parse(text, dimension, "file.toml: 'key'")
    assert str(error.value).startswith("file.toml: 'key'")
    assert "\n" not in str(error.value)


def test_decimal_and_binary_prefixes_differ_by_the_known_ratio() -> None:
    assert parse("1 GiB", "bytes") / parse("1 GB", "bytes") == 1.073741824
    assert parse("1 TB/s", "bytes_per_s") == 1e12
    assert parse("8 bit/s", "bytes_per_s") == 1.0


@given(st.floats(1e-3, 1e17, allow_nan=False), st.sampled_from(["bytes", "bytes_per_s", "flops_per_s", "watts"]))
def test_what_is_shown_reads_back_to_the_same_number(value: float, dimension: str) -> None:
    assert math.isclose(parse(show(value, dimension, digits=17), dimension), value, rel_tol=1e-12)


@given(st.text(max_size=20))
def test_any_text_is_a_positive_number_or_a_unit_error(text: str) -> None:
    try:
        found = parse(text, "bytes")
    except UnitError:
        return
    assert 0 < found < math.inf


@pytest.mark.parametrize(("value", "dimension", "want"), [
    (0.0123, "change", "+1.2 %"), (-0.05, "change", "-5.0 %"), (0.25, "change", "+25 %"), (11.0, "change", "+1,100 %"), (0.0, "change", "0 %"),
    (0.5, "probability", "50 %"), (0.954, "probability", "95 %"), (0.9952, "probability", "99.5 %"), (0.99999, "probability", "> 99.9 %"), (1.0, "probability", "> 99.9 %"),
    (0.0, "bytes", "0 B"), (80e9, "bytes", "80 GB"), (1234.0, "count", "1,234"), (0.5, "fraction", "50.0 %"),
    (2e-6, "seconds", "2 us"), (0.0123, "seconds", "12.3 ms"), (671.03e9, "parameters", "671.03 B"),
    (math.inf, "count", "never"), (math.nan, "seconds", "n/a"),
])  # fmt: skip
def test_a_number_is_shown_for_people(value: float, dimension: str, want: str) -> None:
    assert show(value, dimension) == want


@pytest.mark.parametrize(("text", "dimension", "hint"), [
    ("4e15", "flops_per_s", "'4e15' has no unit: add one, e.g. 4 PFLOP/s"),
    ("8e12", "bytes_per_s", "'8e12' has no unit: add one, e.g. 8 TB/s"),
    ("8", "bytes_per_s", "'8' has no unit: add one of MB/s, GB/s, TB/s"),
    ("700", "watts", "'700' has no unit: add one, e.g. 700 W"), ("0", "bytes", "'0' has no unit: add one of"),
])  # fmt: skip
def test_a_bare_number_is_told_which_unit_it_lacks(text: str, dimension: str, hint: str) -> None:
    with pytest.raises(UnitError) as error:
        parse(text, dimension)
    assert str(error.value).startswith(f"value: {hint}")
