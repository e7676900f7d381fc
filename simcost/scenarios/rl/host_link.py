"""The link between a GPU and the memory of its host, as a profile states it."""

from __future__ import annotations

import numpy as np

from simcost import units
from simcost.errors import SpecError
from simcost.query import facts_of
from simcost.scenarios.rl.engine import query_of
from simcost.scenarios.rl.question import Asked

_KEY, _GENERATION = "links.host.bandwidth", "links.pcie.generation"
_FIRST = units.parse("4 GB/s", "bytes_per_s")  # 16 lanes of PCIe 1.0, a direction; each generation doubles it (PCI-SIG)


def host_bandwidth(q: Asked) -> float:
    """Of a GPU and direction, by its own key or its generation of PCIe with 16 lanes. Raises SpecError for a profile
    that states neither. [B/s]"""
    facts = facts_of(query_of(q, {}, q.gpus))
    if _KEY in facts:
        return float(np.max(np.asarray(facts[_KEY])))
    if _GENERATION in facts:
        return float(_FIRST * 2.0 ** (float(np.max(np.asarray(facts[_GENERATION]))) - 1.0))
    raise SpecError(
        f"{q.hw}: the profile states no link to the host: nothing can leave the GPUs (--offload engine, --no-kl)"
    )
