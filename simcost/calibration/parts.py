"""What a table holds or lacks as a whole: the models of experts, the group sizes of a collective; nothing for other families."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import numpy as np

from simcost.calibration.family import families
from simcost.num import Array


def has_parts(family: str) -> bool:
    """Whether rows of a family belong to parts."""
    return hasattr(families()[family], "part")


def part_of(family: str, numbers: Mapping[str, Array]) -> Array:
    """[rows]: a number for the part that each row belongs to; one for all where a family has no parts."""
    if has_parts(family):
        return np.asarray(cast(Any, families()[family]).part(numbers))
    return np.zeros(len(next(iter(numbers.values()))))
