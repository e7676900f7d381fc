"""Memory of a training step: sums of parts, what is in flight, laws of recomputation, ZeRO and pipelines."""

from __future__ import annotations

from dataclasses import replace

import pytest
from trainkit import SEQ, job, kept_per_token, small

from simcost.dtypes import dtype
from simcost.ops.collective import Copied
from simcost.ops.exchange import Exchange
from simcost.ops.gemm import Gemm
from simcost.ops.stream import Stream
from simcost.plan import Plan
from simcost.program import Call, Serial, calls
from simcost.routing.router import Router, Routing
from simcost.scenarios.train.answer import ranks_table
from simcost.training import memory, step
from simcost.training.job import known_schedules
from simcost.training.memory import RUNTIME_BYTES, SLACK, Memory
from simcost.training.state import State

SCHEDULES = sorted(known_schedules())


def fullest(**recipe: object) -> Memory:
    return memory.worst(memory.of_ranks(small(**recipe)))  # type: ignore[arg-type]


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_parts_add_up(schedule: str) -> None:
    one = small(schedule)
    for mine, row in zip(memory.of_ranks(one), ranks_table(one, memory.of_ranks(one)), strict=True):
        assert mine.allocated == float(mine.state.total) + mine.activations + mine.temporary + mine.buffers
        assert mine.used == pytest.approx(mine.allocated * (1.0 + SLACK) + RUNTIME_BYTES)
        columns = ("parameter_bytes", "gradient_bytes", "optimizer_bytes", "activation_bytes", "other_bytes")
        assert sum(float(row[name]) for name in columns) == pytest.approx(mine.used, rel=1e-9)
        assert row["memory_peak_bytes"] == pytest.approx(mine.used, rel=1e-9)
        assert row["fits"] == (mine.used <= mine.capacity)
        assert 0.0 <= mine.peak_s <= one.timeline.end_s


def test_1f1b_keeps_as_many_micro_batches_as_stages_are_left() -> None:
    """Rank r of p keeps min(m, p - r) micro-batches of its layers (arXiv 2104.04473 §2.2)."""
    one = small()
    layer = kept_per_token(one.job) * one.job.recipe.seq
    for rank, mine in enumerate(memory.of_ranks(one)[:-1]):
        layers = one.chunks[rank].layers
        assert mine.activations == pytest.approx((4 - rank) * layers * layer, rel=2e-3)  # and rank 0's embedding


def test_gpipe_keeps_all_micro_batches() -> None:
    layer = kept_per_token(small("gpipe").job) * 2048
    mine = memory.of_ranks(small("gpipe"))[1]
    assert mine.activations == pytest.approx(16 * small("gpipe").chunks[1].layers * layer, rel=1e-6)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize(
    "again", ["layernorm", "core_attn", "mlp", "layernorm+activation", "block:2", "full:2", "full"]
)
def test_recomputation_never_raises_the_peak(schedule: str, again: str) -> None:
    plain, less = (memory.of_ranks(small(schedule, recompute=text)) for text in ("none", again))
    for one, other in zip(plain, less, strict=True):
        assert other.activations <= one.activations * (1 + 1e-9)


def test_zero_shares_out_more_with_each_stage() -> None:
    found = []
    for zero in (0, 1, 2, 3):
        one = step.run(job("llama-3-8b", Plan(tp=2.0, gpus=16.0), zero_stage=zero, seq=2048))
        found.append(memory.worst(memory.of_ranks(one)))
    totals = [float(one.state.total) for one in found]
    assert totals == sorted(totals, reverse=True)
    assert len(set(totals)) == 4
    assert len({one.activations for one in found}) == 1


def test_a_longer_micro_batch_keeps_more_and_sequence_parallelism_less() -> None:
    plan = Plan(tp=8.0, gpus=8.0)
    one, two, cut = (
        memory.worst(memory.of_ranks(step.run(job("llama-3-70b", each, micro_batch=size, seq=2048)))).activations
        for each, size in ((plan, 1), (plan, 2), (Plan(tp=8.0, gpus=8.0, sequence_parallel="on"), 1))
    )
    assert two == pytest.approx(2.0 * one, rel=1e-9)
    assert cut < 0.7 * one


def test_the_runtime_and_what_an_allocator_keeps_are_uncertain() -> None:
    """Of 50 GB that PyTorch has given out: 6 % more are reserved, give or take 4 %, and 2 GB, give or take 1, are the
    runtime's. The two are independent: the root of (0.04 x 50)² + 1² is that of 5, in GB."""
    mine = Memory(0, State(30e9, 5e9, 5e9), 6e9, 3e9, 1e9, 0.5, 80e9)
    assert mine.allocated == 50e9
    assert mine.used == pytest.approx(55e9)
    assert mine.short == pytest.approx(-25e9)
    assert mine.spread == pytest.approx(5.0**0.5 * 1e9)


def test_nothing_is_kept_where_nothing_runs() -> None:
    assert memory.peak((), ()) == (0.0, 0.0)


def test_what_a_backward_pass_makes_for_a_while_is_that_of_its_largest_kernel() -> None:
    """A product has the gradients of its result and of its input alive, an elementwise kernel all that it reads and
    writes, an exchange rows as they leave and as they come; kernels run one after the other, so the most of them."""
    bf16 = dtype("bf16")
    product = Call(Gemm(512.0, 4096.0, 1024.0, bf16, bf16, bf16, bf16), "product")
    stream = Call(Stream("activation", 512.0 * 1024.0, 2.0, 1.0, 4.0, bf16, bf16), "activation")
    router = Router(64.0, 4.0)
    exchange = Call(Exchange(512.0, 4096.0, 2048.0, 8.0, 1.0, router, Routing("balanced"), "nccl", "dispatch"), "away")
    assert memory.temporary(Serial((product,))) == product.op.workspace_bytes()
    assert memory.temporary(Serial((stream,))) == 3.0 * 512.0 * 1024.0 * 2.0
    # 4 rows of 2,048 B a token leave; as many come, to the rank that has most.
    rows = 512.0 * 4.0 * 2048.0
    assert memory.temporary(Serial((exchange,))) == 2.0 * rows
    assert memory.temporary(Serial((product, stream, exchange))) == max(
        float(memory.temporary(Serial((one,)))) for one in (product, stream, exchange)
    )
    assert memory.temporary(Serial(())) == 0.0


def test_placeholders_of_weight_gradients_where_the_stack_has_them() -> None:
    with_, without = (
        memory.of_ranks(step.run(job("llama-3-8b", Plan(gpus=1.0), flags={"dummy_weight_gradients": said})))[0].buffers
        for said in ("on", "off")
    )
    # A tensor of each distinct shape in 2 B: qkv, o, gate and up, down, and the head.
    shapes = 6144 * 4096 + 4096 * 4096 + 2 * 14336 * 4096 + 4096 * 14336 + 128256 * 4096
    assert with_ - without == 2.0 * shapes


def test_the_curve_ends_where_it_began() -> None:
    for schedule in SCHEDULES:
        one = small(schedule)
        for rank in range(one.timeline.ranks):
            levels = memory.curve(one.timeline, rank, one.chunks)
            highest = max(level for _, level in levels)
            assert levels[-1][1] == pytest.approx(0.0, abs=1e-6 * highest)
            assert min(level for _, level in levels) >= -1e-6 * highest


def test_losses_in_parts_keep_no_logits() -> None:
    """Of 2 x 4,096 tokens of Llama-3-8B, beside the residual stream and the product's input: fused, logits in 16 bits;
    plain, in fp32; chunked, the gradient of the table; cut, 4 B a token."""
    tokens = 2.0 * SEQ
    kept, beside, seconds = {}, {}, {}
    for loss in ("plain", "fused", "chunked", "cut"):
        one = step.run(job("llama-3-8b", Plan(gpus=8.0), micro_batch=2, recompute="full", loss=loss))
        head = one.parts["head"]
        kept[loss] = float(head.kept) - 2.0 * 2.0 * tokens * 4096
        beside[loss], seconds[loss] = float(memory.temporary(head.programs.forward)), one.seconds
    assert kept == {"plain": 4.0 * tokens * 128256, "fused": 2.0 * tokens * 128256, "chunked": 2.0 * 128256 * 4096, "cut": 4.0 * tokens}  # fmt: skip
    assert beside["plain"] > beside["fused"] > 7.0 * beside["chunked"] == 7.0 * beside["cut"]  # of these the norm's
    assert seconds["cut"] > seconds["fused"]  # a product more


def test_buffers_of_deepep_stand_outside_the_allocator() -> None:
    """0.75 GB on 64 ranks of DeepSeek-V3, once for all layers of a rank; NCCL's are a part of the runtime."""
    plan = Plan(ep=64.0, pp=2.0, gpus=128.0)
    found = {}
    for mode in ("normal", "nccl"):
        one = step.run(
            job("deepseek-v3", replace(plan, all_to_all=mode), hw="h800", recompute="full", global_batch=512)
        )
        found[mode] = memory.of_ranks(one)
    for mine in found["normal"]:
        assert mine.exchanges == pytest.approx(746.3e6, rel=1e-3)
        assert mine.used == pytest.approx(mine.allocated * (1.0 + SLACK) + RUNTIME_BYTES + mine.exchanges)
    assert {mine.exchanges for mine in found["nccl"]} == {0.0}


def test_without_sums_in_between_a_rank_keeps_whole_gradients_as_they_travel() -> None:
    """PyTorch FSDP2, `set_requires_gradient_sync(False)`: of bf16 gradients that travel in fp32, 4 B of each weight until
    the last micro-batch, and one sum a step in place of one for each of them; else a part of 2 B."""
    plan = Plan(gpus=8.0)
    each, last = (
        step.run(job("llama-3-8b", plan, stack="torchtitan", zero_stage=3, precision="bf16-pure", global_batch=32, flags={"no_sync": said}))
        for said in ("off", "on")
    )  # fmt: skip
    kept = [memory.of_ranks(one)[0].state for one in (each, last)]
    assert float(kept[1].gradients) == 16.0 * float(kept[0].gradients)
    assert kept[1].parameters == kept[0].parameters
    assert last.seconds < each.seconds


def test_gathered_logits_stand_whole_on_every_tensor_parallel_rank() -> None:
    """Log-probabilities in fp32 of 128,256 words on each of four ranks, where a loss that is shared keeps a quarter; the
    gradient of the gather sends nothing."""
    plan = Plan(tp=4.0, gpus=4.0, sequence_parallel="on")
    shared, whole = (step.run(job("llama-3-8b", plan, loss=loss)).parts["head"] for loss in ("plain", "gathered"))
    assert float(whole.kept - shared.kept) == 4.0 * SEQ * 128256 * 3.0 / 4.0
    (gather,) = [call.op for call in calls(whole.programs.forward) if call.tag == "gather logits"]
    assert isinstance(gather, Copied)
    assert gather.payload == 2.0 * SEQ * 128256
    assert gather.input_grad() == ()


def test_a_bucket_of_another_format_is_what_the_stack_sends_at_a_time() -> None:
    """Sums in bf16 sent in fp32 by two replicas of Llama-3-8B: the largest module, the head with its norm, where the stack names no size, else as many as it says; a buffer of its own
    under ZeRO-0 and 1 alone, and none on one replica."""
    names = {"bucket_parameters": "0", "bucket_parameters_per_dp": "0", "main_grads": "same", "reduce_dtype": "fp32"}

    def buffers(gpus: float = 2.0, zero: int = 1, **flags: str) -> float:
        one = job("llama-3-8b", Plan(gpus=gpus), zero_stage=zero, global_batch=2, flags={**names, **flags})
        return memory.worst(memory.of_ranks(step.run(one))).buffers

    plain = buffers(gpus=1.0)
    assert buffers() - plain == 4.0 * (128_256 + 1) * 4096
    assert buffers(zero=0) == buffers()
    assert buffers(bucket_parameters="40000000") - plain == 4.0 * 40e6
    assert buffers(bucket_parameters="40000000", bucket_parameters_per_dp="30000000") - plain == 4.0 * 60e6
    assert buffers(bucket_parameters="99000000000") - plain == 4.0 * 8_030_261_248
    assert buffers(zero=2) == plain == buffers(reduce_dtype="same")


def test_what_publications_call_memory() -> None:
    """max_memory_allocated, max_memory_reserved and nvidia-smi, by a hand-made rank: 50 GB with 6 % of slack and 2 GB outside PyTorch."""
    one = Memory(0, State(20e9, 10e9, 10e9), 8e9, 1.5e9, 0.5e9, 0.0, 54e9)
    assert (one.allocated, one.reserved, one.used) == (50e9, 53e9, 55e9)
    assert one.spread == pytest.approx(5.0**0.5 * 1e9)  # 4 % of 50 GB, and 1 GB
    assert (one.short, one.may_fit) == (1e9, True)
    assert not replace(one, capacity=51e9).may_fit  # 55 - 1.645 x 2.24 = 51.3 GB
