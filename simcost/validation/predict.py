"""What simcost says of one decoder layer, op by op: forward from its program, backward from the adjoints of its ops.

Without torch. Most likely to be wrong: the backward pass as a list of adjoints, nothing of it fused. Source: the program
of the layer and `input_grad`, `weight_grad` of its ops.
"""

from __future__ import annotations

from dataclasses import dataclass

from simcost.calibration.family import families
from simcost.cost import calibrated
from simcost.cost.calibrated import Calibrated
from simcost.cost.cost import Cost, interval
from simcost.cost.kernel import Roofline
from simcost.errors import SpecError
from simcost.estimate.layer import DIRECTIONS, BlockSpec, adjoints, listed
from simcost.hardware.profile import Device
from simcost.ops.gemm import Gemm
from simcost.ops.work import Op
from simcost.program import leaves, price

Model = Roofline | Calibrated


@dataclass(frozen=True, slots=True)
class Part:
    """One op of the layer, or a class that is priced as a whole."""

    name: str
    cost: Cost


@dataclass(frozen=True, slots=True)
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
    parts = forward(spec, model) if direction == "forward" else backward(spec, model)
    total = parts[0].cost
    for part in parts[1:]:
        total = total + part.cost
    return Prediction(tuple(parts), total)


def forward(spec: BlockSpec, model: Model) -> list[Part]:
    """Costs of the ops of a layer in running order; ops that take no time (collectives of one device) are left out."""
    priced = price(spec.program, model)
    found = [Part("/".join(path), cost * weight) for path, _, cost, weight in leaves(priced)]
    return [part for part in found if float(part.cost.seconds) > 0]


def backward(spec: BlockSpec, model: Model) -> list[Part]:
    """Costs of the gradients of a layer: the last op first, its input gradient before its weight gradient."""
    found = []
    for item in reversed(listed(spec)):
        for what, parts in zip(("input", "weight"), adjoints(item), strict=True):
            found += [Part(part.name, adjoint_cost(part.op, what, model) * part.repeat) for part in parts]
    return found


def adjoint_cost(op: Op, what: str, model: Model) -> Cost:
    """Cost of a gradient op; `what`: "input" or "weight". A GEMM is priced by the curve of such gradients where one was measured,
    else as a forward GEMM."""
    if isinstance(model, Calibrated) and isinstance(op, Gemm) and float(op.batch) == 1.0:
        labels = families()["gemm"].labels(op)
        found = None if labels is None else model.as_family(op, "gemm_variant", {"what": what, **labels})
        if found is not None:
            return found
    return model(op)
