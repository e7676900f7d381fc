"""train: a training step: time, MFU, memory per stage, bubbles, what is exposed, price; and a published step as a question.

Most likely to be wrong: see `training/step.py`. Source: docs/theory/training-step.md.
"""

from __future__ import annotations

from collections.abc import Mapping

from simcost import grammar
from simcost.hardware import load as hardware
from simcost.model import load as models
from simcost.plan import Plan
from simcost.schedules._order import BACKWARD as BACKWARD_PASS
from simcost.schedules._order import FORWARD as F
from simcost.schedules._order import INPUT
from simcost.schedules._order import WEIGHT as W
from simcost.training import memory, step
from simcost.training.job import Job, Recipe, build
from simcost.training.question import (
    ALLOCATED,
    BACKWARD,
    BOTH,
    BUBBLE,
    DEVICE,
    FORWARD,
    OPTIMIZER,
    PARTS,
    RESERVED,
    WEIGHT,
    Prediction,
    Question,
)  # fmt: skip
from simcost.training.split import coefficient
from simcost.training.step import TrainStep

REST = "rest"  # terms that no coefficient multiplies


def job_of(q: Question, factors: Mapping[str, float] | None = None) -> Job:
    """The job of a published step. Raises SpecError and Infeasible for what cannot be."""
    over = grammar.Overrides().merged(q.sets)
    model = models.load(q.model, over.model)
    device = hardware.load(q.hw, over.hw)
    plan = Plan(
        tp=float(q.tp), pp=float(q.pp), cp=float(q.cp), ep=float(q.ep), etp=None if q.etp == 1 and q.ep == 1 else float(q.etp), vpp=float(q.vpp), gpus=float(q.gpus),
        sequence_parallel="on" if q.sequence_parallel else "off",
    )  # fmt: skip
    recipe = Recipe(
        q.micro_batch, q.global_batch, q.seq, q.schedule, _recompute(q.recompute), q.zero, precision=q.precision.replace("_", "-"), stack=q.stack, flags=q.flags,
        factors=factors,
    )  # fmt: skip
    return build(model, device, plan, recipe)


def _recompute(text: str) -> str:
    """As `plan.recompute` says it."""
    kind, _, rest = text.partition(":")
    if kind != "selective":
        return text
    names = ["activation" if name == "moe_act" else name for name in rest.split("+")]
    return "+".join(dict.fromkeys(names))


def predict(q: Question, factors: Mapping[str, float] | None = None) -> Prediction:
    """A published step as simcost predicts it. Raises SpecError and Infeasible for what it cannot."""
    found = step.run(job_of(q, factors))
    ranks = memory.of_ranks(found)
    low, high = found.interval
    worst = memory.worst(ranks)
    terms = _terms(found)
    return Prediction(
        found.seconds,
        low,
        high,
        worst.allocated,
        terms,
        tuple(one.allocated for one in ranks),
        _parts(found),
        {ALLOCATED: worst.allocated, RESERVED: worst.reserved, DEVICE: worst.used},
    )


def _parts(found: TrainStep) -> dict[str, float]:
    """Seconds of a step by what ranks do, the mean over them."""
    names = {F: FORWARD, INPUT: BACKWARD, BACKWARD_PASS: BACKWARD, W: WEIGHT}
    parts = dict.fromkeys(PARTS, 0.0)
    ranks = found.timeline.by_rank()
    for run in (run for runs in ranks for run in runs):
        name = BOTH if run.op.beside is not None else names[run.op.kind]
        parts[name] += (run.end - run.start) / len(ranks)
    parts[BUBBLE] = found.timeline.end_s - sum(parts.values())
    parts[OPTIMIZER] = found.seconds - found.timeline.end_s
    return parts


def _terms(found: TrainStep) -> dict[str, float]:
    """Seconds by coefficient of a stack, and the rest."""
    terms: dict[str, float] = {}
    for kind, seconds in found.cost.kinds.items():
        name = coefficient(kind) or REST
        terms[name] = terms.get(name, 0.0) + float(seconds)
    return terms
