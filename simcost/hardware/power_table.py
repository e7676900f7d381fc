"""Ranges of the assumed shares of the TDP in a profile."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from simcost import units
from simcost.errors import SpecError
from simcost.hardware.profile import POWER


def ends(assumed: Mapping[str, Any], overrides: Mapping[str, Any], where: str) -> dict[str, tuple[float, float]]:
    """Both ends of the assumed shares of the TDP, of those that a profile states and no override replaced. Raises SpecError for ends that do not
    hold the share."""
    found: dict[str, tuple[float, float]] = {}
    for name in POWER:
        path = f"assumed.power_{name}"
        entry = assumed.get(f"power_{name}", {})
        if path in overrides or "low" not in entry or "high" not in entry:
            continue
        value, low, high = (
            units.parse(str(entry[end]), "fraction", f"{where}: '{path}.{end}'") for end in ("value", "low", "high")
        )
        if not low <= value <= high <= 1.0:
            raise SpecError(
                f"{where}: '{path}': low = {low}, value = {value}, high = {high} must be in this order: low <= value <= high"
            )
        found[name] = low, high
    return found
