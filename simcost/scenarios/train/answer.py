"""The answer of a training step: its metrics, where it goes, and what stands on every pipeline rank.

Where a step goes is told by its busiest rank: what it runs by kind of work, what it waits, and what follows once a step. Most likely to be wrong: see `training/step.py`. Source: docs/theory/training-step.md.
"""

from __future__ import annotations

from collections import Counter

from simcost.cost.cost import BASES
from simcost.model import flops
from simcost.model.flops.conventions import FULL, NONE, SELECTIVE, Convention
from simcost.result import Row, number
from simcost.scenarios.train.exposed import hop_waits, key, pass_cost
from simcost.training import memory
from simcost.training.chunks import BOTH, NOTHING
from simcost.training.chunks import FORWARD as OF_FORWARD
from simcost.training.job import Job
from simcost.training.memory import Memory
from simcost.training.parameters import frozen_share
from simcost.training.split import BUBBLE, DATA, OPTIMIZER, PIPELINE, WIRES, Split
from simcost.training.step import TrainStep, stages_of_ranks

_BILLION = 1_000_000_000.0  # tokens, of a price
_NOISE = 1e-9  # part of a step that floats leave over


def counts(job: Job, convention: str) -> Convention:
    """The convention that FLOPs are counted by. Raises SpecError for one that is none, NotModelled for one that does not define the model."""
    flops.flops_per_token(job.model, float(job.recipe.seq), convention, bool(job.model.mtp))
    return flops.named(convention)


def recomputed(job: Job) -> str:
    """What HFU counts of a recomputation: FULL where whole layers run again, SELECTIVE where cores do, NONE."""
    again = job.how.recompute
    if again.every:
        return FULL
    return SELECTIVE if "core_attn" in again.modules else NONE


def metrics(
    step: TrainStep, ranks: tuple[Memory, ...], usd_per_hour: float | None, convention: str
) -> dict[str, object]:
    """Metrics of a step by name, in SI."""
    job, low_high = step.job, step.interval
    gpus = float(job.plan.devices)
    mtp = bool(job.model.mtp)
    of_token = model_flops(job, convention)
    peak = float(job.device.peak(job.precision.forward.peak))
    speed = job.tokens / step.seconds
    most = memory.worst(ranks)
    found: dict[str, object] = {
        "step_s": number(step.seconds), "step_low_s": number(low_high[0]), "step_high_s": number(low_high[1]),
        "mfu": number(flops.mfu(of_token, speed, gpus, peak)),
    }  # fmt: skip
    if flops.named(convention).recomputed in (NONE, recomputed(job)):
        hardware = float(
            flops.hardware_flops_per_token(job.model, float(job.recipe.seq), recomputed(job), convention, mtp)
        )
        hardware -= (
            float(flops.flops_per_token(job.model, float(job.recipe.seq), convention, mtp)) - of_token
        )  # what is frozen
        found["hfu"] = number(flops.hfu(hardware, speed, gpus, peak))
    found |= {
        "tokens_per_s_per_gpu": number(speed / gpus), "flops_per_s_per_gpu": number(of_token * speed / gpus), "bubble_fraction": number(step.bubble),
        "exposed_communication": number(exposed(step) / step.seconds),
        "memory_peak_bytes": number(most.used), "memory_allocated_bytes": number(most.allocated), "memory_capacity_bytes": number(most.capacity),
        "fits": most.short <= 0.0,
        "gpus": number(gpus), "global_batch": job.global_batch, "micro_batches": job.microbatches, "tokens_per_step": job.tokens,
        "training_flops_per_token": number(of_token),
    }  # fmt: skip
    if host := max(float(one.state.host) for one in ranks):
        found["host_memory_bytes"] = number(host)
    if usd_per_hour is not None:
        found["usd_per_billion_tokens"] = number(_BILLION / speed * gpus * usd_per_hour / 3600.0)
    for name in BASES:
        found[f"share_{name}"] = number(float(getattr(step.cost.cost, f"{name}_s")) / step.seconds)
    return found


def model_flops(job: Job, convention: str) -> float:
    """Training FLOPs of a token by a convention, without the products that make gradients of frozen weights. [FLOP]"""
    seq, mtp = float(job.recipe.seq), bool(job.model.mtp)
    whole = float(flops.flops_per_token(job.model, seq, convention, mtp))
    frozen = frozen_share(job.model, job.how.trained)
    if frozen == 0.0:
        return whole
    cores = float(flops.hardware_flops_per_token(job.model, seq, SELECTIVE, "reference", mtp)) - float(flops.flops_per_token(job.model, seq, "reference", mtp))  # fmt: skip
    return whole - frozen * (whole / 3.0 - cores)  # a core's two products of a backward pass are both of inputs


def exposed(step: TrainStep) -> float:
    """Seconds of communication that nothing hides, of the busiest rank and once a step. [s]"""
    rows = goes(step)
    return sum(float(row["time_s"]) for row in rows if row["part"] in WIRES)


def goes(step: TrainStep) -> list[Row]:
    """Kinds of work of the rank that is busy longest, its waits, and what follows once a step; they add up to the step."""
    busy = step.timeline.busy_s()
    rank = max(range(len(busy)), key=lambda each: busy[each])
    total = _busy(step, rank)
    hops = sum(end - start for start, end in hop_waits(step, rank))
    waits = max(float(step.path.seconds) - busy[rank] - hops, 0.0)
    after = step.exposed_gradients + step.exposed_weights
    rows = {name: float(seconds) for name, seconds in total.by_kind.items()}
    for name, seconds in (
        (BUBBLE, waits), (DATA, float(after.seconds)), (OPTIMIZER, float(step.update.seconds)), (PIPELINE, hops),
    ):  # fmt: skip
        rows[name] = rows.get(name, 0.0) + seconds
    found = [
        {"part": name, "time_s": number(seconds), "share": number(seconds / step.seconds)}
        for name, seconds in rows.items()
        if seconds > _NOISE * step.seconds
    ]
    return sorted(found, key=lambda row: -float(row["time_s"]))


def _busy(step: TrainStep, rank: int) -> Split:
    """All that a rank runs in its passes."""
    total = NOTHING
    for of, times in Counter(key(run.op) for run in step.timeline.of_rank(rank)).items():
        total = total + pass_cost(step, of) * float(times)
    return total


def ranks_table(step: TrainStep, ranks: tuple[Memory, ...]) -> list[Row]:
    """What every pipeline rank holds, takes and keeps."""
    busy, held = step.timeline.busy_s(), stages_of_ranks(step.job, step.chunks)
    peaks = step.timeline.peaks()
    return [
        {
            "rank": one.rank, "virtual_stages": "; ".join(chunk.stage.name for chunk in held[one.rank].chunks),
            "forward_s": number(sum(float(chunk.costs[OF_FORWARD].seconds) for chunk in held[one.rank].chunks)),
            "backward_s": number(sum(float(chunk.costs[BOTH].seconds) for chunk in held[one.rank].chunks)),
            "bubble_fraction": number(1.0 - busy[one.rank] / step.timeline.end_s), "peak_inflight": peaks[one.rank],
            "parameter_bytes": number(float(one.state.parameters + one.state.gathered)), "gradient_bytes": number(float(one.state.gradients)),
            "optimizer_bytes": number(float(one.state.optimizer)), "activation_bytes": number(one.activations),
            "other_bytes": number(one.used - float(one.state.total) - one.activations), "memory_peak_bytes": number(one.used), "fits": one.short <= 0.0,
        }
        for one in ranks
    ]  # fmt: skip
