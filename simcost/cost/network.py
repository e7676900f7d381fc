"""What crosses between scale-up domains, and how it joins what moves inside them.

Libraries cut a collective into chunks: while one crosses the network others move inside the nodes, so that the slower tier
sets the rate. A group over several domains does all that a group inside one of them does, and is never faster. Most likely to be
wrong: congestion of the network, which counts as free. Source: NCCL 2.27 (`src/graph/tuning.cc`).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from simcost.cost import tiers
from simcost.cost.cost import Cost
from simcost.frozen import frozen
from simcost.hardware.profile import Device
from simcost.num import Num, maximum, minimum, where

SPREAD = 0.45  # sigma of the log: see docs/theory/calibration.md, "What assumptions are worth"


def between(device: Device, sent: Num, hops: Num, source: str, more: float = 0.0) -> Network:
    """`sent` bytes of one rank over the profile's network, after so many hops, each with what a library takes for one (`more`);
    nothing where none are sent."""
    start, far = device.assumption("collective_latency"), np.asarray(sent > 0.0)
    if not far.any():
        zero = 0.0 * sent
        return Network(zero, zero, zero, start, source)
    net = tiers.outside(device)
    light = where(far, where(far, sent, 1.0) * net.byte, 0.0)
    return Network(light * net.slow, light, where(far, hops * (net.hop + more), 0.0), start, source)


@frozen
class Network:
    """What the members of several domains pass between them: seconds on the wire, at the datasheet's rate, and of hops; 0 inside
    one domain. `start_s`: what anything takes to begin; `source`: of its error."""

    wire_s: Num
    light_s: Num
    hops_s: Num
    start_s: Num
    source: str

    def beside(self, inside: Cost) -> Cost:
        """Both tiers together: a collective begins once, then the slower tier sets the rate, and the network's hops come on
        top. Never less than `inside` alone, of which it is a part."""
        far = np.asarray(self.wire_s > 0.0)
        if not far.any():
            return inside
        begun = inside.seconds > 0.0
        # The same start for every link, so that a faster one never makes the whole slower.
        share = where(begun, minimum(self.start_s / maximum(inside.seconds, 1e-30), 1.0), 0.0)
        wire = Cost(
            wire_s=self.wire_s,
            light_s=self.light_s,
            datasheet_s=self.light_s,
            spread={self.source: SPREAD * self.wire_s},
        )
        alpha = self.hops_s + where(begun, 0.0, self.start_s)
        both = inside * share + (inside * (1.0 - share)).beside(wire)
        both = replace(both, light_s=maximum(inside.light_s, self.light_s))
        return (both + Cost(overhead_s=alpha, spread={self.source: SPREAD * alpha})).where(far, inside)
