"""Which split of the GPUs between rollout and trainer is best: splits around the balanced one, each priced.

Where both sides run at once the balanced split gives both the same time; where they take turns the best gives each
GPUs as the square root of its work. Most likely to be wrong: plans of the two sides, which stay as they are. Source:
docs/theory/rl-step.md.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from simcost.errors import SimcostError
from simcost.learning.phases import CPU, ROLLOUT, TRAINER
from simcost.result import Row, number
from simcost.scenarios.rl.known import Known
from simcost.scenarios.rl.levers import stated
from simcost.scenarios.rl.step import Step, run
from simcost.scenarios.rl.words import OFF, PARTIAL

TRIED = 5  # splits beside the asked one


def busy(found: Step, pool: str) -> float:
    """Seconds that a pool works in a step. [s]"""
    whole = sum(
        one.phase.seconds
        for one in found.timeline.placed
        if one.phase.pool in (pool, *((CPU,) if pool == ROLLOUT else ()))
    )
    return whole / found.rounds


def candidates(found: Step) -> list[int]:
    """GPUs of the rollout that whole copies of both plans fill, those nearest to the balanced split."""
    q, both = found.asked, found.sides
    assert both.engine is not None
    engine, trainer = both.engine.workload.plan, both.trainer.job.plan
    unit, other = (int(float(np.asarray(one.stage * one.pp))) for one in (engine, trainer))
    able = [n for n in range(unit, q.gpus, unit) if (q.gpus - n) % other == 0]
    work, learn = busy(found, ROLLOUT) * q.rollout_gpus, busy(found, TRAINER) * q.trainer_gpus
    if q.mode in (OFF, PARTIAL):
        work, learn = math.sqrt(work), math.sqrt(learn)
    best = q.gpus * work / (work + learn)
    near = sorted(able, key=lambda n: abs(n - best))[:TRIED]
    return sorted({*near, q.rollout_gpus})


def table(found: Step, known: Known) -> list[Row]:
    """A row a split; those that cannot run with their reason."""
    rows: list[Row] = []
    q = stated(found)
    for gpus in candidates(found):
        row: Row = {"rollout_gpus": gpus, "trainer_gpus": q.gpus - gpus}
        try:
            one = found if gpus == q.rollout_gpus else run(replace(q, rollout_gpus=gpus), known)
        except SimcostError as refused:
            rows.append({**row, "feasible": False, "reason": str(refused)})
            continue
        rows.append(
            {
                **row,
                "feasible": True,
                "rollout_side_s": number(busy(one, ROLLOUT)),
                "trainer_side_s": number(busy(one, TRAINER)),
                "wait_s": number(one.wait_s),
                "step_s": number(one.seconds),
                "change_of_step": number(one.seconds / found.seconds - 1.0),
            }
        )
    return rows


def best(rows: list[Row]) -> Row | None:
    """The fastest split; None where none can run."""
    return min((row for row in rows if row["feasible"]), key=lambda row: float(row["step_s"]), default=None)
