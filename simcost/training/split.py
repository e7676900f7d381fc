"""A cost that remembers of which kinds of work its seconds are: what a training step's table, and the coefficients of a stack, go by.

Where things run side by side the longest one's kinds count: what hides costs nothing. Most likely to be wrong: kernels that a stack fuses across kinds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import field
from typing import Any

import numpy as np

from simcost.cost import calibrated
from simcost.cost.calibrated import MOST
from simcost.cost.cost import Cost
from simcost.cost.older_attention import Older
from simcost.estimate.memo import Once, key_of
from simcost.frozen import frozen
from simcost.hardware.profile import Device
from simcost.num import Mask, Num, every, maximum, where
from simcost.ops.attention_core import AttentionCore
from simcost.ops.collective import Collective
from simcost.ops.cross_entropy import CrossEntropy
from simcost.ops.exchange import Exchange
from simcost.ops.fused import Fused, FusedGrad
from simcost.ops.gemm import Gemm
from simcost.ops.grouped_gemm import GroupedGemm, GroupedWeightGrad
from simcost.ops.work import Op

PRODUCTS, ATTENTION, EXPERTS, MIXERS = "matrix products", "attention cores", "experts", "other mixers"
ELEMENTWISE, LOSS, HOST = "elementwise", "cross entropy", "launches"
TENSOR, EXPERT, CONTEXT, PIPELINE, DATA, OPTIMIZER, BUBBLE = (
    "tensor parallel", "expert parallel", "context parallel", "pipeline hops", "data parallel", "optimizer", "bubble",
)  # fmt: skip
BETWEEN = " between nodes"  # behind the kind of an exchange whose ranks stand in several scale-up domains
# The coefficient of a stack (`stack.COEFFICIENTS`) that multiplies each kind; what has none is as it is. Between nodes it is NETWORK.
COEFFICIENT = {
    PRODUCTS: "kernels", ATTENTION: "kernels", EXPERTS: "experts", MIXERS: "kernels", ELEMENTWISE: "elementwise", LOSS: "cross_entropy",
    TENSOR: "communication", EXPERT: "communication", CONTEXT: "communication", PIPELINE: "communication", DATA: "communication", HOST: "host",
}  # fmt: skip
WIRES = (TENSOR, EXPERT, CONTEXT, PIPELINE, DATA)
NETWORK = "network"


def coefficient(name: str) -> str:
    """The coefficient of a kind, "" where it has none."""
    return NETWORK if name.endswith(BETWEEN) else COEFFICIENT.get(name, "")


def kind(op: Op) -> str:
    """The kind of work of a kernel."""
    if isinstance(op, FusedGrad):
        return kind(op.forward)
    if isinstance(op, Fused):
        return EXPERTS if op.kernel == "experts" else kind(op.main)
    if isinstance(op, Exchange):
        return EXPERT
    if isinstance(op, Collective):
        if op.kind == "p2p":
            return PIPELINE
        return CONTEXT if op.shares == "sequence" else TENSOR
    for of, name in (
        (AttentionCore, ATTENTION),
        ((GroupedGemm, GroupedWeightGrad), EXPERTS),
        (Gemm, PRODUCTS),
        (CrossEntropy, LOSS),
    ):
        if isinstance(op, of):
            return name
    return ELEMENTWISE if op.peak == "vector" else MIXERS


@frozen
class Split:
    """`cost` and its seconds by kind, whose sum it is; exchanges between nodes apart, with BETWEEN behind their kind. [s]"""

    cost: Cost = Cost()
    kinds: Mapping[str, Num] = field(default_factory=dict)

    @property
    def seconds(self) -> Num:
        """The whole time. [s]"""
        return self.cost.seconds

    @property
    def by_kind(self) -> dict[str, Num]:
        """Seconds by kind, wherever its ranks stand."""
        found: dict[str, Num] = {}
        for name, seconds in self.kinds.items():
            name = name.removesuffix(BETWEEN)
            found[name] = found[name] + seconds if name in found else seconds
        return found

    def __add__(self, other: Split) -> Split:
        kinds = dict(self.kinds)
        for name, seconds in other.kinds.items():
            kinds[name] = kinds[name] + seconds if name in kinds else seconds
        return Split(self.cost + other.cost, kinds)

    def __mul__(self, factor: Num) -> Split:
        return Split(self.cost * factor, {name: seconds * factor for name, seconds in self.kinds.items()})

    def slowed(self, factor: Num) -> Split:
        """As `Cost.slowed`."""
        return Split(self.cost.slowed(factor), {name: seconds * factor for name, seconds in self.kinds.items()})

    def beside(self, other: Split) -> Split:
        """As `Cost.beside`: the kinds of the longer one."""
        return self._either(other, np.asarray(self.seconds >= other.seconds), self.cost.beside(other.cost))

    def among(self, other: Split) -> Split:
        """As `Cost.among`: the kinds of both, as long as they are together."""
        both = self + other
        whole = self.cost.among(other.cost)
        share = whole.seconds / maximum(both.seconds, 1e-30)
        return Split(whole, {name: seconds * share for name, seconds in both.kinds.items()})

    def cheapest(self, other: Split, settled: Mask = False) -> tuple[Split, Num]:
        """As `Cost.cheapest`."""
        best, won = self.cost.cheapest(other.cost, settled)
        return self._either(other, np.asarray(won) == 0.0, best), won

    def named(self, name: str) -> Split:
        """All of it as one kind."""
        if not any(each.endswith(BETWEEN) for each in self.kinds):
            return Split(self.cost, {name: self.seconds})
        far = sum(seconds for each, seconds in self.kinds.items() if each.endswith(BETWEEN))
        near = sum(seconds for each, seconds in self.kinds.items() if not each.endswith(BETWEEN))
        kinds = {name: near, name + BETWEEN: far}
        return Split(self.cost, {each: seconds for each, seconds in kinds.items() if not every(seconds == 0.0)})

    def _either(self, other: Split, mine: Mask, cost: Cost) -> Split:
        names = dict.fromkeys((*self.kinds, *other.kinds))
        kinds = {name: where(mine, self.kinds.get(name, 0.0), other.kinds.get(name, 0.0)) for name in names}
        return Split(cost, kinds)


class Stacked:
    """A cost model whose costs know their kinds, each as much longer as a stack's coefficients say. `factors`: by coefficient, 1 where it has none; `older`: attention kernels that are slower than those measured."""

    def __init__(
        self, device: Device, model: Callable[[Op], Cost], factors: Mapping[str, float], older: Older | None = None
    ) -> None:
        self._device, self._model, self._factors, self._older = device, model, dict(factors), older
        self._known: dict[Any, Split] = {}
        self.multiprocessors = model.multiprocessors  # type: ignore[attr-defined]
        if hasattr(model, "knows"):
            self.knows = model.knows

    def __call__(self, op: Op) -> Split:
        key: Any = op
        try:
            found = self._known.get(op)
        except TypeError:  # of arrays
            key = key_of(op)
            found = self._known.get(key)
        if found is None:
            if len(self._known) >= MOST:
                self._known.clear()
            found = self._known[key] = self._priced(op)
        return found

    def _priced(self, op: Op) -> Split:
        name = kind(op)
        far = self._device.nodes(op.group, op.stride) > 1.0 if isinstance(op, (Collective, Exchange)) else False
        if isinstance(far, np.ndarray) and far.any() and not far.all():  # plans of a grid, some within a node
            found = self._model(op)
            cost = (found * self._factor(name + BETWEEN)).where(far, found * self._factor(name))
            kinds = {name: where(far, 0.0, cost.seconds), name + BETWEEN: where(far, cost.seconds, 0.0)}
            return Split(cost, kinds)
        if np.any(far):
            name += BETWEEN
        cost = self._model(op) * self._factor(name)
        if self._older is not None and name == ATTENTION:
            cost = self._older.slowed(cost, bool(op.gradient))
        return Split(cost, {name: cost.seconds})

    def _factor(self, name: str) -> float:
        return self._factors.get(coefficient(name), 1.0)


class Seconds(Stacked):
    """The same of times alone, without what they rest on: of many plans at once that is most of the work."""

    def __init__(
        self, device: Device, model: Callable[[Op], Cost], factors: Mapping[str, float], older: Older | None = None
    ) -> None:
        super().__init__(device, model, factors, older)
        self._seen: dict[int, tuple[Op, Split]] = {}  # by identity: to compare arrays takes long

    def __call__(self, op: Op) -> Split:
        if id(op) not in self._seen:
            self._seen[id(op)] = op, super().__call__(op)
        return self._seen[id(op)][1]

    def _priced(self, op: Op) -> Split:
        cost = super()._priced(op).cost
        return Split(
            Cost(cost.compute_s + cost.memory_s + cost.wire_s, overhead_s=cost.overhead_s, light_s=cost.light_s)
        )


_MODELS: dict[tuple[Any, ...], tuple[Device, Stacked]] = {}
_KEPT = 16  # models: of devices, engines and coefficients


def stacked(device: Device, engine: str, factors: Mapping[str, float], older: Older | None = None) -> Stacked:
    """The cost model of a stack on a device. The same for the same device and coefficients, so that steps that run equal kernels price them once."""
    key = id(device), engine, tuple(sorted(factors.items())), older
    found = _MODELS.get(key)
    if found is None or found[0] is not device:
        if len(_MODELS) >= _KEPT:
            _MODELS.clear()
        found = _MODELS[key] = device, Stacked(device, Once(calibrated.model(device, engine)), factors, older)
    return found[1]
