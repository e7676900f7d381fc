"""What a table holds or lacks as a whole: the models of experts, the group sizes of a collective; nothing for other families."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from simcost.num import Array

FAMILIES = ("experts", "collective")


def part_of(family: str, numbers: Mapping[str, Array]) -> Array:
    """[rows]: a number for the part that each row belongs to; one for all where a family has no parts."""
    if family == "collective":
        return numbers["group"]
    if family == "experts":
        top_k = np.round(numbers["copies"] / numbers["tokens"], 6)
        return np.asarray(
            (numbers["hidden"] * 65536.0 + numbers["experts"]) * 256.0 + top_k
        )  # fewer experts and copies than that
    return np.zeros(len(next(iter(numbers.values()))))
