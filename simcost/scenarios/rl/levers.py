"""What each lever would change of a step: one change at a time, priced anew, fastest first.

Most likely to be wrong: changes that only pay together. Source: docs/theory/rl-step.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from simcost.errors import SimcostError
from simcost.learning import weights
from simcost.result import Row, number
from simcost.scenarios.rl import memory_table
from simcost.scenarios.rl.known import Known
from simcost.scenarios.rl.question import OVERSAMPLED, Asked
from simcost.scenarios.rl.step import Step, run
from simcost.scenarios.rl.words import FULL, OFF, ONE_STEP, PARTIAL

_ACCEPTED = 0.8  # chance of a draft in the lever of drafts, which its words say
_STALE = 2
_SHARED = 4  # steps that share a rollout in its lever


def table(found: Step, known: Known) -> list[Row]:
    """A row a lever: the step with it, what that changes; refused ones with their reason; fastest first."""
    rows: list[Row] = []
    for said, changed in levers(found):
        try:
            after = run(changed, known)
        except SimcostError as refused:
            rows.append({"change": said, "feasible": False, "reason": str(refused)})
            continue
        rows.append(
            {
                "change": said,
                "feasible": True,
                "step_s": number(after.seconds),
                "change_of_step": number(after.seconds / found.seconds - 1.0),
                "wait_s": number(after.wait_s),
                "memory_peak_bytes": number(memory_table.peak(after)),
            }
        )
    return sorted(rows, key=lambda row: (not row["feasible"], row.get("step_s", 0.0)))


def levers(found: Step) -> Iterator[tuple[str, Asked]]:
    """Changes that mean something to a step, as options say them."""
    q = stated(found)
    yield from _of_order(q)
    if found.sides.engine is not None:
        yield from _of_engine(found, q)
    yield from _of_trainer(found, q)


def stated(found: Step) -> Asked:
    """The question with its plans as they run."""
    plans = found.sides.plans
    return replace(
        found.asked,
        train=plans["train"],
        rollout=plans.get("rollout"),
        offload=found.sides.level if found.asked.offload != "auto" else "auto",
    )


def _of_order(q: Asked) -> Iterator[tuple[str, Asked]]:
    """Who runs when."""
    if q.rollout is None:
        return
    step = q.step_answers
    if q.mode == OFF and q.tools is None and q.rounds == 1:
        yield "--async partial", replace(q, mode=PARTIAL, answers=OVERSAMPLED * step)
        yield f"--rollout-batch {_SHARED * step}", replace(q, answers=_SHARED * step)
    if q.colocated:
        half = q.gpus // 2
        if half and q.tools is None and q.rounds == 1:
            pools = replace(q, rollout_gpus=half, mode=ONE_STEP, staleness=1, answers=step, rollout=None, train=None)
            yield f"--placement disaggregated:{half} --async one-step", pools
        return
    if q.mode == OFF and q.rounds == 1:
        yield "--async one-step", replace(q, mode=ONE_STEP, staleness=1)
    if q.mode != FULL and q.tools is None and q.rounds == 1:
        yield f"--async full:{_STALE}", replace(q, mode=FULL, staleness=_STALE, answers=step)


def _of_engine(found: Step, q: Asked) -> Iterator[tuple[str, Asked]]:
    """The rollout's plan and formats."""
    engine = found.sides.engine
    assert engine is not None
    w, plan = engine.workload, dict(q.rollout or {})

    def with_(**sizes: Any) -> Asked:
        return replace(q, rollout={**plan, **{f"plan.{name}": value for name, value in sizes.items()}})

    if w.view.kv.bits > 8:
        yield "--rollout kv_dtype=fp8", with_(kv_dtype="fp8")
    if w.view.storage["ffn"].bits > 8 and w.view.storage["experts"].bits > 8:
        yield "--rollout weight_dtype=fp8", with_(weight_dtype="fp8")
    tp = int(float(np.asarray(w.plan.tp)))
    if tp > 1:
        yield f"--rollout tp={tp // 2}", with_(tp=tp // 2)
    yield f"--rollout tp={2 * tp}", with_(tp=2 * tp)
    if w.model.mtp and not q.drafts:
        yield f"--drafts 1 --acceptance {_ACCEPTED:g}", replace(q, drafts=1, acceptance=_ACCEPTED)
    if found.way != weights.RESHARD:
        yield "--sync reshard", replace(q, sync=weights.RESHARD)


def _of_trainer(found: Step, q: Asked) -> Iterator[tuple[str, Asked]]:
    """The trainer's plan and passes."""
    plan = dict(q.train or {})
    again = "none" if found.sides.trainer.job.recipe.recompute == "full" else "full"
    yield f"--train recompute={again}", replace(q, train={**plan, "plan.recompute": again})
    if q.reference:
        yield "--no-kl", replace(q, reference=False)
    if q.minibatches > 1:
        yield "--minibatches 1", replace(q, minibatches=1)
    if found.sides.trainer.minibatch.micro_batches > 1:
        if q.micro_batch is not None:
            yield f"--micro-batch {2 * q.micro_batch}", replace(q, micro_batch=2 * q.micro_batch)
        else:
            room = 2 * found.sides.trainer.room
            yield f"--micro-batch-tokens {room}", replace(q, micro_tokens=room)
