"""What simcost says of one decoder layer, op by op: of its program, and of its backward pass (`passes/backward.py`).

Without torch. Most likely to be wrong: elementwise gradients, which training stacks fuse.
"""

from __future__ import annotations

from simcost.cost import calibrated
from simcost.cost.calibrated import Calibrated
from simcost.cost.cost import Cost, interval
from simcost.cost.kernel import Roofline
from simcost.errors import SpecError
from simcost.estimate.layer import DIRECTIONS, BlockSpec
from simcost.frozen import frozen
from simcost.hardware.profile import Device
from simcost.program import Program, leaves, price

Model = Roofline | Calibrated


@frozen
class Part:
    """One op of the layer, or a class that is priced as a whole."""

    name: str
    cost: Cost


@frozen
class Prediction:
    """One direction of one layer: its parts, and the sum of their costs."""

    parts: tuple[Part, ...]
    cost: Cost

    @property
    def seconds(self) -> float:
        """Predicted time. [s]"""
        return float(self.cost.seconds)

    @property
    def interval(self) -> tuple[float, float]:
        """(low, high) ends of the 90 % interval. [s]"""
        low, high = interval(self.cost)
        return float(low), float(high)


def predict(spec: BlockSpec, device: Device, direction: str = "forward") -> Prediction:
    """What the best cost model of this device says of one direction of a layer. Raises SpecError for an unknown direction."""
    model = calibrated.model(device)
    if direction not in DIRECTIONS:
        raise SpecError(f"direction must be one of {', '.join(DIRECTIONS)}, not {direction!r}")
    program = spec.program if direction == "forward" else spec.backward_program
    parts = priced_parts(program, model)
    total = parts[0].cost
    for part in parts[1:]:
        total = total + part.cost
    return Prediction(tuple(parts), total)


def priced_parts(program: Program, model: Model) -> list[Part]:
    """In running order; what takes no time (collectives of one device) is left out."""
    priced = price(program, model)
    found = [Part("/".join(path), cost * weight) for path, _, cost, weight in leaves(priced)]
    return [part for part in found if float(part.cost.seconds) > 0]
