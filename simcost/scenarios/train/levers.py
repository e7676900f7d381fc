"""What each lever would change of a training step: one change at a time, priced anew, fastest first; and the nearest change that fits where the step does not.

Most likely to be wrong: changes that only pay together. Source: docs/theory/training-step.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

from simcost.errors import SimcostError
from simcost.ops.cross_entropy import CHUNKED, FUSED, GATHERED, PLAIN, named
from simcost.passes.operators import OPERATORS
from simcost.plan import Plan
from simcost.result import Row, number
from simcost.scenarios.train.question import of
from simcost.sharding.placement import TIME
from simcost.training import memory, precision, step
from simcost.training.job import Job, Recipe
from simcost.training.passes import How, of_layer

_SELECTIVE = "layernorm+activation"


class Lever(NamedTuple):
    """One change: `said` as it is written after --set."""

    said: str
    plan: dict[str, Any]
    recipe: dict[str, Any]


def levers(job: Job) -> Iterator[Lever]:
    """Changes that mean something to a job."""
    r, plan = job.recipe, job.plan
    for again in ("none", *selective(job), OPERATORS, "full"):
        if set(again.split("+")) != set(r.recompute.split("+")):
            yield Lever(f"plan.recompute={again}", {}, {"recompute": again})
    if job.pp > 1:
        for name in ("1f1b", "zb-h1", "zb-v", "dualpipev"):
            if name != job.schedule.NAME:
                yield Lever(f"plan.schedule={name}", {"vpp": 1.0}, {"schedule": name})
        for vpp in (2, 4):
            if (job.schedule.NAME, job.vpp) != ("interleaved", vpp) and job.pp * vpp <= len(job.model.order):
                yield Lever(f"plan.vpp={vpp}", {"vpp": float(vpp)}, {"schedule": "interleaved"})
        if r.stages != TIME:
            yield Lever(f"plan.stages={TIME}", {}, {"stages": TIME})
    for name in ("bf16", "fp8-block", "mxfp8", "nvfp4"):
        if (
            name != r.precision
            and precision.load(name).forward.peak in job.device.peaks
            and (name != "mxfp8" or r.precision != "fp8-block")
        ):
            yield Lever(f"plan.precision={name}", {}, {"precision": name})
    if named(job.view.phase.loss)[0] in (PLAIN, GATHERED, FUSED):  # which keep logits
        yield Lever(f"plan.loss={CHUNKED}", {}, {"loss": CHUNKED})
    if r.zero_stage != 3:
        yield Lever("plan.zero_stage=3", {}, {"zero_stage": 3})
    if plan.tp > 1.0 and not plan.shards_sequence:
        yield Lever("plan.sequence_parallel=on", {"sequence_parallel": "on"}, {})
    if not job.stack.flags["ep_overlap"] and not job.schedule.PAIRS and plan.ep > 1.0:
        yield Lever("stack.ep_overlap=on", {}, {"flags": {**r.flags, "ep_overlap": "on"}})
    if r.micro_batch > 1 and r.micro_batch % 2 == 0:
        yield Lever(f"micro_batch={r.micro_batch // 2}", {}, {"micro_batch": r.micro_batch // 2})
    elif job.microbatches % 2 == 0 and job.microbatches > 2 * job.pp:
        yield Lever(f"micro_batch={2 * r.micro_batch}", {}, {"micro_batch": 2 * r.micro_batch})


def selective(job: Job) -> tuple[str, ...]:
    """Recomputations of modules that keep much and take little, the one of most modules last."""
    kept = (one for _, layer in job.model.stacks for one in of_layer(layer, job.view, How(None)).kept)
    latent = any("mla_up_proj" in one.made_by for one in kept)
    return (_SELECTIVE, *([f"mla_up_proj+{_SELECTIVE}"] if latent else []))


def table(job: Job, before: step.TrainStep) -> list[Row]:
    """A row a lever: the step with it, what that changes, and its memory; refused ones with their reason; fastest first of those that fit."""
    found: list[Row] = []
    for lever in levers(job):
        row: Row = {"change": lever.said}
        try:
            after, most = _priced(job, lever)
        except SimcostError as refused:
            found.append({**row, "feasible": False, "reason": str(refused).removeprefix("plan: ")})
            continue
        found.append(
            {
                **row, "feasible": True, "step_s": number(after), "change_of_step": number(after / before.seconds - 1.0), "memory_peak_bytes": number(most.used),
                "fits": most.short <= 0.0,
            }
        )  # fmt: skip
    return sorted(found, key=lambda row: (not row["feasible"], not row.get("fits", False), row.get("step_s", 0.0)))


def _priced(job: Job, lever: Lever) -> tuple[float, memory.Memory]:
    plan: Plan = replace(job.plan, mla_form="auto", **lever.plan)
    stages = {"stages": "even"} if "vpp" in lever.plan else {}
    changes: dict[str, Any] = {"global_batch": job.global_batch, **stages, **lever.recipe}
    recipe: Recipe = replace(job.recipe, **changes)
    one = step.run(of(job.model, job.device, plan, recipe, job.engine))
    return one.seconds, memory.worst(memory.of_ranks(one))
