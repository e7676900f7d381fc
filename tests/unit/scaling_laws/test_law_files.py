"""Files of laws: all that ship are read, and what is wrong with one is said with file, key and the nearest name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from simcost.errors import SpecError
from simcost.scaling_laws import forms, load
from simcost.scaling_laws.law import FITTED, VERIFIED

TEXT = (load.home() / "besiroglu-2024.toml").read_text(encoding="utf-8")


def test_every_law_has_source_range_and_error():
    found = load.every()
    assert len(found) >= 14
    assert {law.form for law in found} == set(forms.FORMS) == set(forms.WRITTEN)
    for law in found:
        assert re.match(r"arXiv \d{4}\.\d{5}$", law.source["paper"]), law.name
        assert law.ranges[FITTED].bounds
        assert law.error_source
        assert law.certainty == VERIFIED or law.name == "abnar-2025"


def read(tmp_path: Path, old: str, new: str):
    path = tmp_path / "own.toml"
    assert old in TEXT
    path.write_text(TEXT.replace(old, new), encoding="utf-8")
    return load.load(str(path))


def test_a_file_of_ones_own(tmp_path):
    law = read(tmp_path, "value = 1.8172", "value = 1.5")
    assert law.name == "own"
    assert law.values["E"] == 1.5


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('form = "additive"', 'form = "aditive"', "'form' = 'aditive' is not one of .*did you mean 'additive'"),
        ('certainty = "verified"', 'certainty = "sure"', "'certainty' = 'sure'"),
        ("schema = 1", "schema = 2", "'schema' = 2"),
        ("schema = 1", "schema = 1\ncolour = 3", "unknown key 'colour'"),
        ("beta = {", "gamma = {", "unknown key 'coefficients.gamma'"),
        ("beta = { value = 0.3658, error = 0.02 }", "", "'coefficients.beta' is missing"),
        ("error = 0.03 }", "eror = 0.03 }", "unknown key 'coefficients.E.eror'.*did you mean 'error'"),
        ("value = 1.8172", 'value = "x"', "'coefficients.E.value' must be a number"),
        ("value = 1.8172", "value = nan", "a number must be finite, not nan"),
        ("error = 0.03 }", "error = -1 }", "'coefficients.E.error' must be above 0"),
        ('count = "total"', 'count = "all"', "'params.count' = 'all'"),
        ("vocabulary = true", 'vocabulary = "yes"', "'params.vocabulary' must be true or false"),
        ("tokens = [0.82e9, 318e9]", "tokens = [318e9, 0.82e9]", "'range.tokens'.*the least is above the most"),
        ("tokens = [0.82e9, 318e9]", "tokens = 318e9", "'range.tokens' must be"),
        ("tokens = [0.82e9, 318e9]", "tokns = [1, 2]", "unknown key 'range.tokns'.*did you mean 'tokens'"),
        ("params = [57.3e6, 16.2e9]\ntokens = [0.82e9, 318e9]\nexperts = [1, 1]\n", "", "'range' has no bounds"),
        ("flops_per_param = 6.0", "", "'compute.flops_per_param' is missing"),
        ('loss = "nats per token"', 'loss = ""', "'definitions.loss' must be a text"),
        ("schema = 1", "schema = = 1", "not valid TOML"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(tmp_path, old, new, said):
    with pytest.raises(SpecError, match=said) as raised:
        read(tmp_path, old, new)
    assert str(tmp_path / "own.toml") in str(raised.value)
    assert "\n" not in str(raised.value)


def test_an_unknown_law_names_the_nearest():
    with pytest.raises(SpecError, match="did you mean 'hoffmann-2022'"):
        load.load("hofmann-2022")
