"""`plan.stages=time`: layers of every virtual stage such that the longest takes as little time as it can.

A stage's time is that of a forward pass and both gradients, with what recomputation runs again; the embedding stands on
the first stage, MTP modules and the head with its loss on the last. Most likely to be wrong: schedules that pair a
forward with gradients (DualPipe) hide more of some stages than of others. Source: `sharding/placement.py`.
"""

from __future__ import annotations

from dataclasses import replace

from simcost.lower import EMBEDDING
from simcost.provenance import Kind, Note
from simcost.sharding import placement
from simcost.sharding.placement import Times
from simcost.training.chunks import BOTH, FORWARD, Part, priced_parts
from simcost.training.job import Job


def balanced(job: Job) -> Job:
    """The job with its layers placed by time where `plan.stages` asks for that, and a note of where they stand; any
    other as it is. Raises Infeasible where layers cannot fill the virtual stages."""
    if job.recipe.stages != placement.TIME:
        return job
    layers, parts = len(job.model.order), job.placed.stages
    found = placement.parse(job.recipe.stages, layers, parts, pp=job.pp, times=times(job))
    said = f"plan.stages={placement.TIME}: layers of the virtual stages are {','.join(map(str, found))}"
    return replace(job, layers=found, notes=(*job.notes, Note(said, Kind.ASSUMED)))


def times(job: Job) -> Times:
    """Seconds of every layer of a job for one micro-batch, in order, and of what stands beside layers on the ends."""
    parts = priced_parts(job)
    again = 1.0 if job.how.recompute.layers(float(len(job.model.order))) == len(job.model.order) else 0.0

    def seconds(part: Part) -> float:
        rerun = again * float(part.again.seconds) if part.layer else 0.0
        return float(part.costs[FORWARD].seconds) + float(part.costs[BOTH].seconds) + rerun

    known = {key: seconds(part) for key, part in parts.items()}
    last = sum(known[key] for key, part in parts.items() if not part.layer and key != EMBEDDING)
    return Times(tuple(known[f"stack {stack}"] for stack in job.model.order), known[EMBEDDING], last)
