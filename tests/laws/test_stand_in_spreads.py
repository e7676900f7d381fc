"""One rule sets from which device a profile borrows, and how far that is expected off (docs/theory/calibration.md, "Leave one device out")."""

from __future__ import annotations

from pathlib import Path

import pytest

from simcost.hardware import load as hardware
from simcost.hardware.profile import Device

PAGE = Path(__file__).parents[2] / "docs" / "validation" / "stand-ins.md"
GENERATION = {"a100": 0, "h100": 1, "h200": 1, "b200": 2, "gb200": 2, "b300": 2, "gb300": 2}
# kind of pair -> its spread, and the profiles that borrow so
KINDS = {
    "links": (0.05, {"h800"}),
    "memory or clocks": (0.14, {
        "a100-40gb", "a100-pcie", "a100-pcie-40gb", "a800", "b100", "gh200", "gh200-144gb", "h100-96gb", "h100-nvl", "h100-pcie", "rtx-6000-ada",
    }),
    "less arithmetic or another die": (0.25, {"h20", "h20-141gb", "l20", "rtx-4090", "l4"}),
    "generation or vendor": (0.45, {
        "a10", "a10g", "a40", "rtx-3090", "rtx-a6000", "rtx-5090", "rtx-pro-6000", "rtx-pro-6000-ws", "v100", "v100-16gb", "mi250x", "mi300x", "mi325x",
        "mi350x", "mi355x",
    }),
    "two steps": (0.60, {"t4", "gb10", "mi308x"}),
}  # fmt: skip
OF_GDDR = {
    "a10", "a10g", "a40", "rtx-3090", "rtx-a6000", "rtx-5090", "rtx-pro-6000", "rtx-pro-6000-ws", "rtx-6000-ada", "rtx-4090", "l4", "l20", "t4", "gb10",
}  # fmt: skip


def pairs() -> dict[tuple[str, str], float]:
    """(device, the one whose curves price its rows) -> spread, as the page of `calibrate transfer` has it."""
    rows = [line.split("|")[1:-1] for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    known = {*GENERATION, "l40s"}
    return {(a.strip(), b.strip()): float(row[0]) for a, b, _, _, *row in rows if {a.strip(), b.strip()} <= known}


def borrowing() -> dict[str, Device]:
    return {name: device for name in hardware.names() if (device := hardware.load(name)).sibling is not None}


def test_every_profile_that_borrows_is_of_one_kind_and_has_its_spread() -> None:
    kinds = {name: spread for spread, names in KINDS.values() for name in names}
    measured = pairs()
    for name, device in borrowing().items():
        assert device.sibling is not None
        if name in GENERATION:  # measured itself: the pair's own figure
            assert device.sibling_spread == pytest.approx(measured[name, device.sibling.name], abs=0.006), name
        else:
            assert device.sibling_spread == kinds[name], name
    assert {*kinds} == {*borrowing()} - {*GENERATION}


def test_the_measured_pairs_say_what_the_kinds_rest_on() -> None:
    by_step: dict[int, list[float]] = {}
    for (one, other), spread in pairs().items():
        if "l40s" not in (one, other):
            by_step.setdefault(abs(GENERATION[one] - GENERATION[other]), []).append(spread)
    assert max(by_step[0]) == KINDS["memory or clocks"][0]
    assert max(by_step[0]) < KINDS["less arithmetic or another die"][0] < min(by_step[1])
    assert max(by_step[1]) < KINDS["generation or vendor"][0] <= 1.25 * max(by_step[1])
    assert max(by_step[2]) < KINDS["two steps"][0] <= min(of_class())


def of_class() -> list[float]:
    return [spread for (one, other), spread in pairs().items() if "l40s" in (one, other)]


def test_cards_borrow_from_the_card_because_class_counts_for_more_than_generation() -> None:
    steps = [
        spread
        for (one, other), spread in pairs().items()
        if "l40s" not in (one, other) and abs(GENERATION[one] - GENERATION[other]) == 1
    ]
    assert max(steps) < min(of_class())
    for name, device in borrowing().items():
        assert device.sibling is not None
        assert (device.sibling.name == "l40s") == (name in OF_GDDR), name
