"""Failures and checkpoints of a run: what is taken where nobody states it, and the share of the time that trains.

Most likely to be wrong: what a restart takes, which is rarely published, and failures of a young cluster. Source: docs/theory/training-run.md.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from simcost import pipeline
from simcost.errors import SpecError
from simcost.frozen import frozen
from simcost.plan import Plan
from simcost.provenance import Kind, Note
from simcost.result import Row, number
from simcost.training import goodput, state
from simcost.training.goodput import Goodput
from simcost.training.job import Job
from simcost.units import show

# From a failure to the next step, detection and loading in it: assumed. Llama 3 (arXiv 2407.21783 §3.3.4) trained above 90 % of 54 days with 466 interruptions, so that each cost less than 1,001 s, lost work and checkpoints in it.
RESTART_S = 600.0
# Bytes a second that a GPU writes of a checkpoint: the sustained 2 TB/s of Llama 3's storage for 16,384 GPUs (arXiv 2407.21783 §3.3.1).
STORAGE_PER_GPU = 2e12 / 16384
_HOUR = 3600.0
_NAMES = ("mtbf_s", "restart_s", "checkpoint_rate", "checkpoint_interval_s")


@frozen
class Failures:
    """What is said of failures: `mtbf_s` of one GPU, `restart_s`, `checkpoint_rate` [B/s, of all ranks together] and `checkpoint_interval_s`: the defaults of this module and Daly's interval where None."""

    mtbf_s: float | None = None
    restart_s: float | None = None
    checkpoint_rate: float | None = None
    checkpoint_interval_s: float | None = None

    def stated(self) -> dict[str, Any]:
        """All that was said, as an answer repeats it."""
        return {name: getattr(self, name) for name in _NAMES if getattr(self, name) is not None}

    def need(self, run: str) -> None:
        """Raises SpecError for what was said where there is no run. `run`: how to ask for one."""
        for name in self.stated():
            option = name.removesuffix("_s").replace("_", "-")
            raise SpecError(f"--{option} applies to a training run: state its length by {run}")


def kept(job: Job, f: Failures, gpus: float | None = None, step_s: float = 0.0) -> Goodput:
    """The goodput of a run of a job, on so many GPUs where others than the job's own stop it too. `step_s`: the least time between two checkpoints [s]. Raises SpecError for an interval below it."""
    own = float(job.plan.devices)
    rate = STORAGE_PER_GPU * own if f.checkpoint_rate is None else f.checkpoint_rate
    of_gpu = goodput.LLAMA3_GPU_MTBF_S if f.mtbf_s is None else f.mtbf_s
    restart = RESTART_S if f.restart_s is None else f.restart_s
    write = goodput.write_seconds(checkpoint(job), rate)
    if f.checkpoint_interval_s is not None and f.checkpoint_interval_s < step_s:
        raise SpecError(
            f"--checkpoint-interval = {f.checkpoint_interval_s:,.6g} s: a step takes {show(step_s, 'seconds')}, and checkpoints are written between steps"
        )
    found = goodput.goodput(own if gpus is None else gpus, write, restart, of_gpu, f.checkpoint_interval_s)
    if float(found.interval_s) >= step_s:
        return found
    return goodput.goodput(own if gpus is None else gpus, write, restart, of_gpu, step_s)


def checkpoint(job: Job) -> float:
    """Weights and optimizer of the whole model, each once, however ranks share them, without the copies that products read. [B]"""
    (whole,) = pipeline.stages(job.model, 1, True)
    precise = replace(job.precision, copies=(), transposed=())
    held = state.held(
        job.model, whole, Plan(), precise, job.optimizer, 0, trained=job.recipe.trained, average=job.average
    )
    return float(held.parameters + held.optimizer + held.host)


def metrics(found: Goodput, size: float) -> Row:
    """By name, in SI. `size`: of a checkpoint [B]."""
    return {
        "goodput": number(found.share), "mtbf_s": number(found.mtbf_s), "checkpoint_interval_s": number(found.interval_s),
        "checkpoint_write_s": number(found.write_s), "checkpoint_bytes": number(size), "restart_s": number(found.restart_s),
    }  # fmt: skip


def note(f: Failures, found: Goodput, job: Job) -> Note:
    """Every number behind the goodput that nobody stated, with its source."""
    rate = show(STORAGE_PER_GPU * float(job.plan.devices), "bytes_per_s")
    text = ", ".join(defaults(f, rate, f"every {float(found.interval_s):,.0f} s")) or "all its numbers were given"
    return Note(f"goodput {float(found.share):.1%}: {text}", Kind.ASSUMED)


def defaults(f: Failures, rate: str, interval: str) -> list[str]:
    """What is taken for each number that nobody stated. `rate`, `interval`: that of checkpoints in words."""
    found: list[str] = []
    if f.mtbf_s is None:
        found.append(f"a GPU fails every {show(goodput.LLAMA3_GPU_MTBF_S / _HOUR, 'count')} h (--mtbf; Llama 3, arXiv 2407.21783 §3.3.4)")  # fmt: skip
    if f.restart_s is None:
        found.append(f"a restart takes {RESTART_S:.0f} s (--restart; assumed)")
    if f.checkpoint_rate is None:
        found.append(f"checkpoints are written at {rate} (--checkpoint-rate; Llama 3's 2 TB/s for 16,384 GPUs, §3.3.1)")  # fmt: skip
    if f.checkpoint_interval_s is None:
        found.append(f"{interval} (--checkpoint-interval; Daly)")
    return found
