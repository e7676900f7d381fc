"""What every schedule says: ops in the order in which a rank runs them, and on which rank a stage of a micro-batch stands."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import ModuleType
from typing import NamedTuple

from simcost.num import Num

FORWARD, INPUT, WEIGHT, BACKWARD = (
    "F",
    "B",
    "W",
    "BW",
)  # forward, gradient of the input, of the weights, of both in one go


class Op(NamedTuple):
    """One pass of a micro-batch through a virtual stage. `beside`: the backward that runs together with this forward."""

    kind: str
    microbatch: int
    stage: int
    beside: tuple[int, int] | None = None  # (microbatch, stage) of a BACKWARD


class Placement(NamedTuple):
    """`stages` virtual stages, and the rank of (stage, micro-batch): DualPipe's two directions stand on other ranks."""

    stages: int
    rank: Callable[[int, int], int]


class Rule(NamedTuple):
    """What must hold for a schedule, and the nearest numbers that satisfy it."""

    holds: bool
    says: str


class Durations(NamedTuple):
    """Of one micro-batch through one virtual stage, all stages alike; scalars or arrays. [s] `pair`: a forward and a whole backward together; `hop`: an edge between two ranks."""

    forward: Num
    backward: Num
    weight: Num
    pair: Num
    hop: Num

    @property
    def whole(self) -> Num:
        """Both gradients."""
        return self.backward + self.weight


class Lengths(NamedTuple):
    """What the order of a searched schedule follows: by virtual stage the durations of its passes and the share `waits` of a micro-batch's tensors that stays from the input gradient to the weight gradient, and an edge between two ranks.
    [s]"""

    forward: Sequence[float]
    backward: Sequence[float]
    weight: Sequence[float]
    waits: Sequence[float]
    hop: float = 0.0


Orders = list[list[Op]]
PASSES = 400_000  # forward passes of a step that are run one by one, a quarter of a minute


def few(ranks: int, microbatches: int, vpp: int) -> Rule:
    """A step whose passes can be run one by one. Orders of fewer than 2 pp micro-batches are cut from those of so many (zb-v)."""
    passes = ranks * max(microbatches, 2 * ranks) * vpp
    said = f"{passes:,} passes (pp x micro-batches, 2 pp at least, x virtual stages per rank) are too many to run one by one (at most {PASSES:,})"
    return Rule(passes <= PASSES, said)


def no_rules(ranks: int, microbatches: int, vpp: int) -> list[Rule]:
    """Of a schedule that takes any numbers."""
    return []


def straight(ranks: int, microbatches: int = 1, vpp: int = 1) -> Placement:
    """One stage a rank, in order."""
    return Placement(ranks, lambda stage, _: stage)


def folded(ranks: int, microbatches: int = 1, vpp: int = 1) -> Placement:
    """Two virtual stages per rank: down the ranks, and up again."""
    return Placement(2 * ranks, lambda stage, _: stage if stage < ranks else 2 * ranks - 1 - stage)


def at_least(name: str, value: int, least: int) -> Rule:
    """A count that must be `least` or more."""
    return Rule(value >= least, f"{name} must be at least {least} (it is {value}): nearest {least}")


def multiple(name: str, value: int, of: int, why: str) -> Rule:
    """A count that must be a whole number of `of`."""
    below, above = value // of * of, -(-value // of) * of
    near = f"{above}" if below == 0 else f"{below} or {above}"
    return Rule(value % of == 0, f"{name} = {value} must be a multiple of {why}: nearest {near}")


def searched(module: ModuleType) -> bool:
    """Whether the order of a schedule follows the durations of a step."""
    return bool(getattr(module, "SEARCHED", False))


def orders_of(module: ModuleType, ranks: int, microbatches: int, vpp: int, lengths: Lengths | None = None) -> Orders:
    """The passes of each rank, in order. `lengths`: for a schedule that is searched; where they are not known, all passes are equally long and all tensors wait for weight gradients."""
    if not searched(module):
        return module.orders(ranks, microbatches, vpp)  # type: ignore[no-any-return]
    if lengths is None:
        equal = (1.0,) * module.placement(ranks, microbatches, vpp).stages
        lengths = Lengths(equal, equal, equal, equal)
    return module.orders(ranks, microbatches, vpp, lengths)  # type: ignore[no-any-return]
