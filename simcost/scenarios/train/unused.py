"""Settings of a training step that change nothing for its design, device or groups: a note each, with the reason.

What serving has too is in `estimate/unused_settings.py`. Most likely to be wrong: a setting that a stack ignores.
Source: where `simcost/training` reads each.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from simcost.estimate import unused_settings
from simcost.frozen import frozen
from simcost.lower import has_experts
from simcost.model.spec import ModelSpec
from simcost.num import every
from simcost.passes.operators import OPERATORS
from simcost.plan import Phase, Plan
from simcost.provenance import Kind, Note
from simcost.routing.router import Routing
from simcost.scenarios.train.question import Asked
from simcost.sharding import copies
from simcost.sharding.shard import View
from simcost.training.job import Job
from simcost.training.step import TrainStep


@frozen
class _Seen:
    """A job as `unused_settings` looks at a workload."""

    model: ModelSpec
    plan: Plan
    view: View
    phase: Phase


def notes(q: Asked, step: TrainStep) -> list[Note]:
    """One line a stated setting that has no effect. Of several values joined by + one line for each without effect."""
    job, stated = step.job, q.overrides.plan
    # A stack may overlap otherwise where what was asked has nothing to hide.
    plan = replace(job.plan, overlap=str(stated.get("overlap") or job.plan.overlap).lower())
    seen = _Seen(job.model, plan, job.view, job.view.phase)
    found = unused_settings.notes(seen, {key for key, value in stated.items() if value is not None})
    for key, why in _REASONS.items():
        if stated.get(key) is not None and (reason := why(job)):
            found.append(_note(f"plan.{key}", reason))
    found += [_note(f"plan.recompute={name}", why) for name, why in _recomputed(step) if "recompute" in stated]
    found += [_note(f"plan.frozen={role}", why) for role, why in _frozen(job) if "frozen" in stated]
    if job.recipe.routing != Routing() and not has_experts(job.model):
        found.append(_note("routing", f"{job.model.name} has no experts"))
    return found


def _note(what: str, why: str) -> Note:
    return Note(f"{what} has no effect: {why}", Kind.NO_EFFECT)


def _pipeline(job: Job) -> str:
    return "plan.pp is 1: one stage has all layers" if job.pp == 1 else ""


def _alone(job: Job) -> str:
    """Why nothing can be shared out."""
    every_copy = [copies.parts(of(job.plan)) for of in (copies.dense, copies.experts)]
    return "no other rank holds the same weights" if all(every(each == 1.0) for each in every_copy) else ""


def _zero(job: Job) -> str:
    return _alone(job) if job.recipe.zero_stage in (1, 2) else ""  # stage 3 keeps other formats and gathers them


def _group(job: Job) -> str:
    dense = copies.parts(copies.dense(job.plan))
    same = job.recipe.group is not None and every(dense == float(job.recipe.group))
    return _alone(job) or ("the ranks that hold the same weights already form one group" if same else "")


def _reshard(job: Job) -> str:
    if job.recipe.reshard:
        return ""
    if job.recipe.zero_stage != 3:
        return f"plan.zero_stage is {job.recipe.zero_stage}: weights are not shared out"
    return _alone(job)


def _mla(job: Job) -> str:
    has = any(block.forms for _, block in job.model.blocks())
    return "training runs MLA expanded" if has else ""  # without MLA the settings say so


_REASONS: dict[str, Callable[[Job], str]] = {
    "stages": _pipeline, "zero_stage": _zero, "zero_group": _group, "reshard": _reshard, "mla_form": _mla,
}  # fmt: skip


def _recomputed(step: TrainStep) -> list[tuple[str, str]]:
    """Modules of which no layer has one."""
    layers = [part for part in step.parts.values() if part.layer]
    made = {name for part in layers for one in part.programs.kept for name in one.made_by}
    wanted = [name for name in step.job.how.recompute.modules if name != OPERATORS]
    return [(name, f"no layer of {step.job.model.name} has one") for name in wanted if name not in made]


def _frozen(job: Job) -> list[tuple[str, str]]:
    """Roles without weights."""
    held = {one.role for _, block in job.model.blocks() for one in block.weights(Plan())}
    roles = [role for role in _named(job) if role not in held]
    tied = "the head shares the embedding's table, which plan.frozen=embedding freezes"
    none = f"{job.model.name} has no such weights"
    return [(role, tied if role == "head" and job.model.head.tied else none) for role in roles]


def _named(job: Job) -> tuple[str, ...]:
    """Roles that were frozen by name."""
    return job.recipe.trained.frozen if job.recipe.trained.lora_rank is None else ()
