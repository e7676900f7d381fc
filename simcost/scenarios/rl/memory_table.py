"""Memory of a GPU phase by phase, term by term."""

from __future__ import annotations

import numpy as np

from simcost.learning import phases
from simcost.result import Row, number
from simcost.scenarios.rl.step import Step


def rows(found: Step) -> list[Row]:
    """A row a phase that holds memory of its own, of the fullest GPU of its pool."""
    q, both = found.asked, found.sides
    capacity = float(np.asarray(both.trainer.job.device.capacity))
    held = both.trainer_memory
    made: list[Row] = []
    if both.engine is not None:
        e = both.engine.held
        resident = held.resident(both.level) if q.colocated else 0.0
        pool = max(e.left(resident), 0.0)
        level_all = both.level == "all"
        made.append(
            _row(
                phases.GENERATE,
                phases.ALL if q.colocated else phases.ROLLOUT,
                capacity,
                engine_weight_bytes=e.weights,
                kv_pool_bytes=pool,
                parameter_bytes=held.parameters if q.colocated and not level_all else 0.0,
                gradient_bytes=held.gradients if q.colocated and not level_all else 0.0,
                optimizer_bytes=held.optimizer if q.colocated and both.level in ("none", "engine") else 0.0,
                other_bytes=e.activations + e.stays + (held.runtime if q.colocated else 0.0),
            )
        )
    asleep = both.engine.held if both.engine is not None and q.colocated else None
    made.append(
        _row(
            phases.UPDATE,
            phases.ALL if q.colocated else phases.TRAINER,
            capacity,
            engine_weight_bytes=asleep.weights if asleep is not None and both.level == "none" else 0.0,
            kv_pool_bytes=0.0,
            parameter_bytes=held.parameters,
            gradient_bytes=held.gradients,
            optimizer_bytes=held.optimizer,
            other_bytes=held.passing + held.runtime + (0.0 if asleep is None else asleep.stays),
        )
    )
    return made


def _row(phase: str, pool: str, capacity: float, **terms: float) -> Row:
    used = sum(terms.values())
    return {
        "phase": phase,
        "pool": pool,
        **{name: number(size) for name, size in terms.items()},
        "memory_peak_bytes": number(used),
        "memory_capacity_bytes": number(capacity),
        "fits": used <= capacity,
    }


def peak(found: Step) -> float:
    """The most of all phases. [B]"""
    return max(float(row["memory_peak_bytes"]) for row in rows(found))
