"""The `[links.scaleup]` table of a profile -> Link."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from simcost.errors import SpecError
from simcost.hardware.profile import Link
from simcost.num import Num

TOPOLOGIES = ("switch", "mesh", "torus", "bridge", "host")


def scaleup(stated: Mapping[str, Any], facts: Mapping[str, Num], where: str) -> Link | None:
    """The link inside a node; None where the profile states no bandwidth of one. `stated`: its table. Raises SpecError."""
    if "links.scaleup.bandwidth" not in facts:
        if stated:
            raise SpecError(f"{where}: missing 'links.scaleup.bandwidth': the rest of the table needs it")
        return None
    topology = stated.get("topology", "switch")
    if topology not in TOPOLOGIES:
        raise SpecError(f"{where}: 'links.scaleup.topology' must be one of {', '.join(TOPOLOGIES)}, not {topology!r}")
    return Link(
        str(stated.get("name", "scale-up")),
        topology,
        facts["links.scaleup.bandwidth"],
        facts.get("links.scaleup.pair_bandwidth"),
        facts.get("links.scaleup.domain"),
        bool(np.max(np.asarray(facts.get("links.scaleup.reduces", 0.0))) > 0),
    )
