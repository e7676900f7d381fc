"""Kernels that a host launches in turn: of a training step and of forward passes alone."""

from __future__ import annotations

from functools import cache

from trainkit import job

from simcost.learning import launches
from simcost.plan import Plan
from simcost.program import runs
from simcost.training import step
from simcost.training.chunks import FORWARD
from simcost.training.job import Job
from simcost.training.step import TrainStep


@cache
def moe() -> TrainStep:
    """DeepSeek-V2-Lite on 16 GPUs: 2 pipeline stages of EP8."""
    return step.run(job("deepseek-v2-lite", Plan(pp=2.0, ep=8.0, gpus=16.0), global_batch=64, seq=2048))


@cache
def alone() -> TrainStep:
    """Llama-3-8B on 8 GPUs without a pipeline: FSDP."""
    return step.run(fsdp(elementwise="fused"))


def fsdp(recompute: str = "none", **flags: str) -> Job:
    return job(
        "llama-3-8b", Plan(gpus=8.0), zero_stage=3, global_batch=16, stack="torchtitan", recompute=recompute, flags=flags
    )  # fmt: skip


def test_launches_of_a_step_without_a_pipeline() -> None:
    """Of 32 equal layers, an embedding and a head: each micro-batch launches all of them, forward and backward."""
    one = alone()
    parts = {key: part.programs for key, part in one.parts.items()}

    def kernels(*names: str) -> float:
        whole = 0.0
        for key, part in parts.items():
            copies = sum(count for held, count in one.chunks[0].stage.held if held == key)
            for name in names:
                whole += copies * sum(float(times) for _, times in runs(getattr(part, name)))
        return whole

    assert len(one.chunks) == 1
    assert launches.of_step(one) == one.job.microbatches * kernels("forward", "both")
    assert launches.of_forward(one, 5) == 5 * kernels("forward")
    assert 32 * 8 < kernels("forward") < 32 * 20
    again = step.run(fsdp("full", elementwise="fused"))
    layers = 32 * sum(
        float(times) for _, times in runs(next(p for p in again.parts.values() if p.layer).programs.forward)
    )
    assert launches.of_step(again) == launches.of_step(one) + one.job.microbatches * layers


def test_operators_of_eager_mode_count_as_the_kernel_that_they_are_of() -> None:
    """Terms of frameworks are times of kernels as simcost counts them: of an eager step too."""
    eager = step.run(fsdp(elementwise="eager"))
    sums = eager.job.microbatches * 2 * 65  # a residual sum and a norm, where one kernel does both, forward and back
    assert 0.0 <= launches.of_step(eager) - launches.of_step(alone()) <= sums


def test_a_pipeline_launches_in_its_bubble_too() -> None:
    """A rank of two passes as many kernels as its own micro-batches have, and once those of the other."""
    one = moe()
    assert launches.of_forward(one, 2) > launches.of_forward(one, 1)
    whole = sum(launches.of_chunk(one.job, each, one.parts)[FORWARD] for each in one.chunks)
    assert launches.of_forward(one, 1) == whole
    assert launches.of_step(one) > launches.of_forward(one, one.job.microbatches)
