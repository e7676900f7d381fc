"""A training step as a measurement states it, and what a prediction of it holds: what the scorer asks, and what the
predictor answers.

Most likely to be wrong: what a source does not print and its framework's default decides; a row says so in `why`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import field
from typing import Any, TypeAlias

from simcost.frozen import frozen


@frozen
class Question:
    """A step. model: a name of the zoo or the path of a config; hw: a profile; seq [tokens]; micro_batch,
    global_batch [sequences]; zero: ZeRO's stage, 3 for FSDP; recompute: none, full, full:n (every n-th layer) or
    selective:a+b (Megatron's modules; op: torchtitan's list); schedule: "" without pipeline stages; stack: a name of
    `workloads/stacks`, whose flags `flags` change; sets: paths of models and devices (`model.n_layer`,
    `hw.links.scaleout.bandwidth`) with their values, as after --set."""

    model: str
    hw: str
    gpus: int
    precision: str
    seq: int
    micro_batch: int
    global_batch: int
    stack: str
    tp: int = 1
    pp: int = 1
    vpp: int = 1
    cp: int = 1
    ep: int = 1
    etp: int = 1
    zero: int = 0
    recompute: str = "none"
    sequence_parallel: bool = False
    schedule: str = ""
    flags: Mapping[str, str] = field(default_factory=dict)
    sets: Mapping[str, Any] = field(default_factory=dict)

    @property
    def dp(self) -> int:
        """Data-parallel ranks."""
        return self.gpus // (self.tp * self.pp * self.cp)

    @property
    def micro_batches(self) -> int:
        """Micro-batches of a replica in a step."""
        return self.global_batch // (self.micro_batch * self.dp)


# What a rank does: a forward, gradients (of inputs, or both), gradients of weights, a forward beside gradients, waits,
# and what follows once a step.
PARTS = FORWARD, BACKWARD, WEIGHT, BOTH, BUBBLE, OPTIMIZER = ("F", "B", "W", "FB", "bubble", "optimizer")


# Which memory a publication prints: the most that PyTorch gave out at a time (max_memory_allocated), or kept of the device (max_memory_reserved), or what the device shows (nvidia-smi).
MEASURES = ALLOCATED, RESERVED, DEVICE = ("allocated", "reserved", "device")


@frozen
class Prediction:
    """step_s with its 90 % interval [s]; memory_bytes: of the worst rank, allocated; memory: the same by MEASURES [B]; terms: seconds of the step by the names of
    `stack.COEFFICIENTS`, and whatever else is not fitted; memory_by_stage: of each pipeline stage, where it is known
    [B]; parts: by PARTS the mean over ranks, where it is known [s]."""

    step_s: float
    low: float
    high: float
    memory_bytes: float
    terms: Mapping[str, float] = field(default_factory=dict)
    memory_by_stage: tuple[float, ...] = ()
    parts: Mapping[str, float] = field(default_factory=dict)
    memory: Mapping[str, float] = field(default_factory=dict)


# A step and coefficients by name (missing: 1; None: those that ship with its stack, or stand in for them) -> the prediction. Raises SimcostError for what it cannot predict.
Predictor: TypeAlias = Callable[[Question, Mapping[str, float] | None], Prediction]
