"""How much longer attention takes in a stack that runs FlashAttention-2 on Hopper, whose measured kernels are newer.

FlashAttention-2 uses Ampere's tensor instructions, which reach about two thirds of the rate of Hopper's own. Engines' tables of H100 and H200 hold FlashAttention-3 and cuDNN. PyTorch's scaled_dot_product_attention ran FlashAttention-2 there
until it put cuDNN first. Most likely to be wrong: short sequences, which gain less. Source: arXiv 2407.08608, abstract and figures 5 and 6: FlashAttention-3 is 1.5 to 2.0 times as fast forward, 1.5 to 1.75 times backward.
"""

from __future__ import annotations

import math

from simcost.cost.cost import Cost
from simcost.frozen import frozen
from simcost.hardware.profile import Device
from simcost.hardware.siblings import BLACKWELL, HOPPER, architecture
from simcost.num import Z90
from simcost.provenance import Kind, Note

FORWARD, GRADIENT = (1.5, 2.0), (1.5, 1.75)
NAME = "an older attention kernel"


@frozen
class Older:
    """Factors of the seconds of attention, forward and of its gradients, each with one standard deviation of its log."""

    forward: float
    forward_spread: float
    gradient: float
    gradient_spread: float

    def slowed(self, cost: Cost, gradient: bool) -> Cost:
        """The cost of an attention core with the older kernel."""
        factor, spread = (self.gradient, self.gradient_spread) if gradient else (self.forward, self.forward_spread)
        return (cost * factor).unsure(NAME, spread)


def _between(low: float, high: float) -> tuple[float, float]:
    """(the middle of a range of ratios, one standard deviation of its log), the range taken as 90 %."""
    return math.sqrt(low * high), math.log(high / low) / 2.0 / Z90


ON_HOPPER = Older(*_between(*FORWARD), *_between(*GRADIENT))


def of(device: Device) -> Older | None:
    """What FlashAttention-2 changes on a device; None where it is what was measured, or nothing is known."""
    return ON_HOPPER if architecture(device) == HOPPER else None


def note(device: Device) -> Note | None:
    """What a reader should know of a stack that runs it there."""
    if of(device) is not None:
        said = f"attention runs FlashAttention-2: {ON_HOPPER.forward:.2f} times the newest kernel's time forward, {ON_HOPPER.gradient:.2f} backward (arXiv 2407.08608; stack.attention=flash-2)"
        return Note(said, Kind.TRANSFERRED)
    if architecture(device) == BLACKWELL:
        return Note(
            f"attention runs FlashAttention-2, and no source says how much slower that is on {device.name}: it is priced as the newest kernel",
            Kind.ASSUMED,
        )
    return None
