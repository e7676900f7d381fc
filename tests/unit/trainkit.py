"""Jobs, layers and steps that tests of training share."""

from __future__ import annotations

from collections.abc import Collection
from functools import cache
from typing import Any

from simcost.hardware import load as hardware
from simcost.model import load
from simcost.passes.saved import kept_bytes
from simcost.plan import Plan
from simcost.training import step
from simcost.training.job import Job, Recipe, build
from simcost.training.passes import Passes, of_layer
from simcost.training.step import TrainStep

SEQ = 4096
ALL, ATTENTION, FFN = slice(None), slice(0, 2), slice(2, 4)  # blocks of a layer, each with its norm
H200 = hardware.load("h200")


def job(name: str, plan: Plan = Plan(), hw: str = "h200", **recipe: Any) -> Job:  # noqa: B008 -- frozen
    return build(load.load(name), H200 if hw == "h200" else hardware.load(hw), plan, Recipe(**{"seq": SEQ, **recipe}))


def passes(one: Job, part: slice = ALL) -> Passes:
    """Of a layer of the last stack, or of some of its blocks."""
    return of_layer(one.model.stacks[-1][1][part], one.view, one.how)


def kept_per_token(one: Job, recomputed: Collection[str] = (), part: slice = ALL) -> float:
    """Bytes that one rank keeps of a token in a layer, or in some of its blocks. [B]"""
    return float(kept_bytes(passes(one, part).kept, recomputed)) / (one.recipe.micro_batch * one.recipe.seq)


@cache
def small(schedule: str = "1f1b", pp: int = 4, batch: int = 16, **recipe: Any) -> TrainStep:
    """A step of Llama-3-8B on pp x 2 GPUs of tensor parallelism, one replica."""
    plan = Plan(tp=2.0, pp=float(pp), gpus=2.0 * pp, sequence_parallel="on")
    return step.run(job("llama-3-8b", plan, schedule=schedule, global_batch=batch, seq=2048, **recipe))
