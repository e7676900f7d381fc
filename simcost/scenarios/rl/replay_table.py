"""Rollout routing replay in numbers: what the engine's choices take beside the cache, on the way and in the trainer,
and the choice that they save.

Most likely to be wrong: engines that send ids as text, or keep four bytes of each. Source:
docs/theory/routing-replay.md.
"""

from __future__ import annotations

import numpy as np

from simcost.errors import SpecError
from simcost.learning.replay import Routed
from simcost.model.spec import ModelSpec
from simcost.num import Ints
from simcost.ops.router import Router as Choice
from simcost.program import runs
from simcost.result import Row, number
from simcost.training.chunks import FORWARD
from simcost.training.split import stacked
from simcost.training.step import TrainStep, stages_of_ranks


def routed(model: ModelSpec) -> Routed:
    """The choices of a design; layers of several kinds by the widest. Raises SpecError for one without experts."""
    found = [(times, block.router) for times, block in model.blocks() if block.router is not None]
    if not found:
        raise SpecError(f"--routing-replay: no layer of {model.name} has experts")
    experts = max(int(np.max(np.asarray(router.experts))) for _, router in found)
    picks = {int(router.top_k) for _, router in found}
    return Routed(int(sum(times for times, _ in found)), max(picks), experts)


def bytes_of(model: ModelSpec, lengths: Ints) -> float:
    """Of all sequences of a step. [B]"""
    one = routed(model)
    return float(np.sum(np.maximum(lengths - 1, 0))) * one.token_bytes


def saved_s(step: TrainStep, passes: int) -> float:
    """The most that is saved of one forward pass of so many micro-batches: the choice of the slowest rank, scores with
    it. [s]"""
    job = step.job
    price = stacked(job.device, job.engine, job.factors, job.older)
    choice = {
        key: sum(
            float(price(call.op).seconds) * times
            for call, times in runs(part.programs.forward)
            if isinstance(call.op, Choice)
        )
        for key, part in step.parts.items()
    }
    ranks = [
        sum(choice[key] * count for one in rank.chunks for key, count in one.stage.held)
        for rank in stages_of_ranks(job, step.chunks)
    ]
    return float(max(ranks)) * passes


def rows(step: TrainStep, lengths: Ints, passes: int, kv_bytes: float, pool_tokens: float, sent_s: float) -> list[Row]:
    """One row: what replay of a step stores, sends and saves."""
    one = routed(step.job.model)
    forward = max(
        sum(float(each.costs[FORWARD].seconds) for each in rank.chunks)
        for rank in stages_of_ranks(step.job, step.chunks)
    )
    saved = saved_s(step, passes)
    return [
        {
            "moe_layers": one.layers,
            "experts_per_token": one.top_k,
            "routed_experts": one.experts,
            "index_bytes": one.width,
            "mask_bytes_per_token": one.token_bytes,
            "mask_over_kv": number(one.token_bytes / kv_bytes),
            "mask_pool_bytes": number(one.token_bytes * pool_tokens),
            "mask_step_bytes": number(bytes_of(step.job.model, lengths)),
            "mask_sent_s": number(sent_s),
            "choice_s": number(saved),
            "choice_share": number(saved / (forward * passes)),
        }
    ]
