"""What a profile states beside the point, or cannot mean, is one line and never passed over."""

from __future__ import annotations

from pathlib import Path

import pytest

from simcost.errors import SpecError
from simcost.files import folder
from simcost.hardware import engines
from simcost.hardware import load as hardware

WHOLE = (folder("hwprofiles") / "h100" / "profile.toml").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("schema = 1", "schema = 99", "schema must be 1, not 99"),
        ("schema = 1", "", "schema must be 1, not None"),
        ('title = "', 'title = 7 # "', "'title' must be a string, not 7"),
    ],
)
def test_a_head_that_is_wrong_is_refused(tmp_path: Path, old: str, new: str, said: str) -> None:
    assert old in WHOLE
    path = tmp_path / "profile.toml"
    path.write_text(WHOLE.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(SpecError, match=said):
        hardware.load(str(path))


def test_half_a_multiprocessor_is_none(tmp_path: Path) -> None:
    path = tmp_path / "profile.toml"
    lines = [line.replace("132", "131.5") if line.startswith("sm_count") else line for line in WHOLE.splitlines()]
    path.write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(SpecError, match=r"'compute\.sm_count' = 131\.5 must be a whole number"):
        hardware.load(str(path))


def test_links_without_a_bandwidth_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "profile.toml"
    kept, inside = [], False
    for line in WHOLE.splitlines():
        inside = line == "[links.scaleup]" if line.startswith("[") else inside
        if not (inside and line.startswith("bandwidth")):
            kept.append(line)
    path.write_text("\n".join(kept), encoding="utf-8")
    with pytest.raises(SpecError, match=r"missing 'links\.scaleup\.bandwidth'"):
        hardware.load(str(path))


def test_versions_sort_as_they_were_released() -> None:
    released = [
        "nightly",
        "0.9.2",
        "0.10.0",
        "0.20.0rc1",
        "0.20.0rc9",
        "0.20.0rc20",
        "0.20.0",
        "0.20.0.post2",
        "0.20.1",
        "1.3.0rc9",
    ]
    backwards = released[::-1]
    assert sorted(backwards, key=engines.version_order) == released


@pytest.mark.parametrize(("value", "reduces"), [("0", False), (0, False), ("false", False), (1, True), ("true", True)])
def test_a_switch_that_reduces_is_turned_off_and_on(value: object, reduces: bool) -> None:
    link = hardware.load("h200", {"links.scaleup.reduces": value}).scaleup
    assert link is not None
    assert link.reduces is reduces


@pytest.mark.parametrize("value", ["x2", "0.5", "maybe", 2])
def test_a_switch_reduces_or_does_not(value: object) -> None:
    with pytest.raises(SpecError, match=r"hw\.links\.scaleup\.reduces: must be true or false"):
        hardware.load("h200", {"links.scaleup.reduces": value})
