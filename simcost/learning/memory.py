"""Memory of a GPU phase by phase: where policy, trainer and engine share GPUs the most of all phases counts; on pools
of their own each pool has its sum.

Between phases states move to the host's memory and back, by levels: `none`: nothing moves, the engine frees its cache
alone; `engine`: its weights are dropped too, since a transfer brings new ones; `optimizer`: the optimizer's states
leave during the rollout; `all`: weights and gradients of the trainer too. Most likely to be wrong: what allocators and
CUDA graphs of the sleeping side keep. Sources: vLLM sleep mode; verl `free_cache_engine`, `optimizer_offload`,
`param_offload`.
"""

from __future__ import annotations

from simcost.errors import SpecError, nearest
from simcost.frozen import frozen

NONE, ENGINE, OPTIMIZER, ALL = LEVELS = ("none", "engine", "optimizer", "all")
AUTO = "auto"


@frozen
class Trainer:
    """Bytes of the fullest trainer rank. `passing`: activations, buffers, slack of the training phase; `runtime`:
    what stays outside PyTorch whatever runs. A critic's states count with the policy's. [B]"""

    parameters: float
    gradients: float
    optimizer: float
    passing: float
    runtime: float

    def resident(self, level: str) -> float:
        """What stays on the GPU while the engine runs. [B]"""
        kept = self.runtime
        if level != ALL:
            kept += self.parameters + self.gradients
        if level in (NONE, ENGINE):
            kept += self.optimizer
        return kept

    def moved(self, level: str) -> float:
        """Bytes that go to the host before a rollout and come back after it; gradients are made anew. [B]"""
        return (self.optimizer if level in (OPTIMIZER, ALL) else 0.0) + (self.parameters if level == ALL else 0.0)

    @property
    def used(self) -> float:
        """In the training phase. [B]"""
        return self.parameters + self.gradients + self.optimizer + self.passing + self.runtime


@frozen
class Engine:
    """Bytes of the fullest engine rank. `activations`; `stays`: CUDA graphs and what lies outside PyTorch, which no
    sleep frees; `reserve`: what the engine leaves of the device; `pool`: for caches, where nothing else stands
    beside it. [B]"""

    weights: float
    activations: float
    stays: float
    reserve: float
    pool: float

    def left(self, resident: float) -> float:
        """The pool beside so many bytes of others: what they take beyond the engine's own reserve. [B]"""
        return self.pool - max(resident - self.reserve, 0.0)

    def asleep(self, level: str) -> float:
        """What stays while the trainer runs, its weights at level none alone. [B]"""
        return self.stays + (self.weights if level == NONE else 0.0)


def level_named(name: str) -> str:
    """A level as it is spelled. Raises SpecError for an unknown one."""
    if name not in (AUTO, *LEVELS):
        raise SpecError(f"--offload {name}: unknown (one of {', '.join((AUTO, *LEVELS))}){nearest(name, LEVELS)}")
    return name


def level_for(trainer: Trainer, engine: Engine, capacity: float, wanted: float) -> str:
    """The least level at which training fits and the pool holds `wanted` bytes; where none does, the one with the
    largest pool. [B]"""
    for level in LEVELS:
        if trainer.used + engine.asleep(level) <= capacity and engine.left(trainer.resident(level)) >= wanted:
            return level
    return ALL
