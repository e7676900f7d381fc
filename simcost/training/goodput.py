"""How much of a run's time trains: failures of many GPUs, checkpoints, restarts, and the interval that loses least.

Failures come at random at a constant rate; a failure throws away what was computed since the last checkpoint, and a
restart takes its time, in which the next failure may come (Daly's complete model). Most likely to be wrong: the rate,
which differs between clusters and falls as one matures; a checkpoint that is written while training goes on blocks less
than `write_s`. Sources: Young 1974 (CACM 17, 530); Daly 2006 (FGCS 22, 303); Llama 3 (arXiv 2407.21783 §3.3.4).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from simcost.errors import SpecError
from simcost.frozen import frozen
from simcost.num import Num, every, exp, plain, sqrt, where

# Llama 3 405B: 419 unexpected interruptions in 54 days on 16,384 H100. Nodes, network and software are in it. [s]
LLAMA3_GPU_MTBF_S = 54.0 * 86400.0 * 16384.0 / 419.0


@frozen
class Goodput:
    """Of a run with failures. `share`: of the time that trains and is kept; the rest are checkpoints, restarts and work
    that is lost. `interval_s` between checkpoints; `mtbf_s` of the job; `lost_s`: work that a failure throws away;
    `availability`: share of the time in which the job is up, whatever it computes."""

    share: Num
    interval_s: Num
    mtbf_s: Num
    write_s: Num
    restart_s: Num
    lost_s: Num
    availability: Num


def job_mtbf(gpus: Num, gpu_mtbf_s: Num = LLAMA3_GPU_MTBF_S) -> Num:
    """Mean time between failures of a job that every GPU's failure stops. [s]"""
    require_positive((("gpus", gpus), ("gpu_mtbf_s", gpu_mtbf_s)))
    return gpu_mtbf_s / gpus


def write_seconds(size: Num, bytes_per_s: Num) -> Num:
    """Time to write a checkpoint of `size` [B] to a storage of that rate, all ranks together. [s]"""
    require_positive((("checkpoint bytes", size), ("storage rate", bytes_per_s)))
    return size / bytes_per_s


def young(write_s: Num, mtbf_s: Num) -> Num:
    """Young's interval between checkpoints, sqrt(2·C·M): the first order, for writes that are short beside M. [s]"""
    require_positive((("write_s", write_s), ("mtbf_s", mtbf_s)))
    return sqrt(2.0 * write_s * mtbf_s)


def daly(write_s: Num, mtbf_s: Num) -> Num:
    """Daly's interval, of higher order; M where a write takes 2·M or more. Training time between checkpoints. [s]"""
    first = young(write_s, mtbf_s)
    half = write_s / (2.0 * mtbf_s)
    return where(half < 1.0, first * (1.0 + sqrt(half) / 3.0 + half / 9.0) - write_s, mtbf_s)


def share(interval_s: Num, write_s: Num, mtbf_s: Num, restart_s: Num) -> Num:
    """Share of the time that trains and is kept: t / (M·e^(R/M)·(e^((t + C)/M) - 1)). Daly's complete model."""
    require_positive((("interval_s", interval_s), ("mtbf_s", mtbf_s)))
    segment = _expm1((interval_s + write_s) / mtbf_s)
    return interval_s / (mtbf_s * exp(restart_s / mtbf_s) * segment)


def lost_seconds(interval_s: Num, write_s: Num, mtbf_s: Num) -> Num:
    """What a failure is expected to throw away: the time since the last checkpoint, if it comes before the next.
    Half a segment where failures are rare. [s]"""
    segment = interval_s + write_s
    return mtbf_s - segment / _expm1(segment / mtbf_s)


def availability(mtbf_s: Num, restart_s: Num) -> Num:
    """Share of the time in which the job is up: M / (M + R)."""
    return mtbf_s / (mtbf_s + restart_s)


def goodput(
    gpus: Num, write_s: Num, restart_s: Num, gpu_mtbf_s: Num = LLAMA3_GPU_MTBF_S, interval_s: Num | None = None
) -> Goodput:
    """Of a job of so many GPUs. `restart_s`: from a failure to the next step, detection and loading in it;
    `interval_s`: training between checkpoints, Daly's where not stated. Raises SpecError for a time that is none."""
    mtbf_s = job_mtbf(gpus, gpu_mtbf_s)
    if not every(np.asarray(restart_s) >= 0.0):
        raise SpecError("restart_s must be a time, 0 s or more")
    chosen = daly(write_s, mtbf_s) if interval_s is None else interval_s
    return Goodput(
        share(chosen, write_s, mtbf_s, restart_s), chosen, mtbf_s, write_s, restart_s,
        lost_seconds(chosen, write_s, mtbf_s), availability(mtbf_s, restart_s),
    )  # fmt: skip


def _expm1(x: Num) -> Num:
    return plain(np.expm1(x))


def require_positive(named: Sequence[tuple[str, Num]]) -> None:
    """Raises SpecError with the first (name, number) that is not above 0 and finite at every point."""
    for name, value in named:
        if not every((np.asarray(value) > 0.0) & np.isfinite(value)):
            shown = f", not {value:g}" if np.ndim(value) == 0 else ""
            raise SpecError(f"{name} must be a number above 0{shown}")
