"""The optimizer's step: bytes a parameter by hand, Newton-Schulz by its published count, and laws of what is shared
out."""

from __future__ import annotations

from dataclasses import replace

import pytest

from simcost import pipeline
from simcost.cost.kernel import Roofline
from simcost.hardware import load as hardware
from simcost.model import load
from simcost.model.spec import ModelSpec
from simcost.ops.collective import Collective
from simcost.ops.gemm import Gemm
from simcost.ops.stream import Stream
from simcost.ops.work import Work
from simcost.plan import Plan
from simcost.program import Call, Program, Serial, price
from simcost.training import optimizer, precision
from simcost.training.communication import optimizer_program
from simcost.training.optimizer import DUPLICATED, EMA
from simcost.training.parameters import Trained
from simcost.training.zero import Sharding

LLAMA, DEEPSEEK = load.load("llama-3.1-8b"), load.load("deepseek-v3")
COUNT = 8_030_261_248
PRECISION = {name: precision.load(name) for name in precision.names()}


def weighted(program: Program, times: float = 1.0) -> list[tuple[Call, float]]:
    if isinstance(program, Call):
        return [(program, times * float(program.repeat))]
    assert isinstance(program, Serial)
    return [found for part in program.parts for found in weighted(part, times * float(program.repeat))]


def program(
    model: ModelSpec,
    plan: Plan,
    kind: str,
    how: optimizer.Optimizer | str,
    zero_stage: int,
    stage: int = 0,
    **more: object,
) -> Serial:
    place = pipeline.stages(model, int(plan.pp), True)[stage]
    steps = optimizer.load(how) if isinstance(how, str) else how
    return optimizer_program(model, place, plan, PRECISION[kind], steps, zero_stage, **more)  # type: ignore[arg-type]


def work(found: Serial, *tags: str) -> Work:
    total = Work()
    for call, times in weighted(found):
        if not tags or call.tag in tags:
            total = total + call.op.work() * times
    return total


@pytest.mark.parametrize(
    ("kind", "how", "read", "written"),
    [
        # Gradient, master weight and states are read; master weight, states and the weight that is kept are written.
        ("bf16", "adamw", 4 + 4 + 8, 4 + 8 + 2),
        ("bf16", "adamw-bf16-moments", 4 + 4 + 4, 4 + 4 + 2),
        ("fp32", "adamw", 4 + 4 + 8, 4 + 8),
        ("fp16", "adamw", 4 + 4 + 8, 4 + 8 + 2),
        ("bf16", "sgd", 4 + 4 + 4, 4 + 4 + 2),
    ],
)
def test_the_update_reads_and_writes_each_tensor_once(kind: str, how: str, read: float, written: float) -> None:
    tag = optimizer.load(how).rule.kernel
    found = work(program(LLAMA, Plan(), kind, how, 0), tag)
    assert found.bytes_read == pytest.approx(read * COUNT)
    assert found.bytes_written == pytest.approx(written * COUNT)


def test_fsdp_writes_no_second_weight() -> None:
    found = work(program(LLAMA, Plan(dp=8.0), "bf16", "adamw", 3, sharding=Sharding(fsdp=True)), "adamw fused")
    assert found.bytes_written == pytest.approx(12.0 * COUNT / 8)


def test_gradients_are_read_for_their_norm_and_scaled() -> None:
    found = program(LLAMA, Plan(), "bf16", "adamw", 0)
    assert work(found, "gradient norm").bytes == pytest.approx(4.0 * COUNT)
    assert work(found, "gradient clip").bytes == pytest.approx(8.0 * COUNT)
    steps = replace(optimizer.load("adamw"), norm=False, clip=False)
    assert {call.tag for call, _ in weighted(program(LLAMA, Plan(), "bf16", steps, 0))} == {"adamw fused"}


def test_fp16_copies_and_unscales_its_gradients_first() -> None:
    tags = [call.tag for call, _ in weighted(program(LLAMA, Plan(), "fp16", "adamw", 0))]
    assert tags == [
        "copy gradients",
        "unscale gradients",
        "gradient norm",
        "sum of norms",
        "gradient clip",
        "adamw fused",
    ]


@pytest.mark.parametrize(
    ("tag", "read", "written", "flops"),
    [
        ("copy gradients", 2.0, 4.0, 0.0),
        ("unscale gradients", 4.0, 4.0, 2.0),  # a product, and whether it is finite
        ("gradient norm", 4.0, 0.0, 2.0),  # its square, the sum
        ("gradient clip", 4.0, 4.0, 1.0),
    ],
)
def test_each_pass_over_fp16_gradients_by_hand(tag: str, read: float, written: float, flops: float) -> None:
    """16-bit gradients become fp32 ones, over which the other passes go; of ZeRO's part alone where there is one."""
    for zero_stage, ranks in ((0, 1.0), (1, 8.0)):
        found = work(program(LLAMA, Plan(dp=8.0), "fp16", "adamw", zero_stage), tag)
        part = COUNT / ranks
        assert (found.bytes_read, found.bytes_written) == (pytest.approx(read * part), pytest.approx(written * part))
        assert found.flops == pytest.approx(flops * part)


@pytest.mark.parametrize(("zero_stage", "ranks"), [(0, 4.0 * 2.0), (1, 4.0 * 2.0 * 8.0), (3, 4.0 * 2.0 * 8.0)])
def test_norms_are_summed_over_all_that_have_parts(zero_stage: int, ranks: float) -> None:
    found = program(LLAMA, Plan(tp=4.0, pp=2.0, dp=8.0), "bf16", "adamw", zero_stage)
    (op,) = (call.op for call, _ in weighted(found) if call.tag == "sum of norms")
    assert op == Collective("all_reduce", 4.0, ranks)


@pytest.mark.parametrize(
    ("name", "plan"), [("llama-3.1-8b", Plan(dp=8.0)), ("deepseek-v3", Plan(ep=8.0, pp=4.0, dp=8.0))]
)
def test_what_is_shared_out_is_stepped_once(name: str, plan: Plan) -> None:
    """Dense weights over dp·cp, experts over whole copies."""
    model = load.load(name)
    whole, shared = (
        work(program(model, plan, "bf16", "adamw", zero_stage), "adamw fused").flops for zero_stage in (0, 1)
    )
    counts = pipeline.weights(model, pipeline.stages(model, int(plan.pp), True)[0], plan, True)
    experts = float(counts.get("experts", 0.0))
    dense = float(sum(counts.values())) - experts
    assert whole == pytest.approx(12.0 * (dense + experts))
    assert shared == pytest.approx(12.0 * (dense / float(plan.replicas * plan.copies) + experts / float(plan.copies)))


def casts(found: Serial) -> list[tuple[str, str, float, float]]:
    return [
        (call.op.x.name, call.op.out.name, float(call.op.writes), times * float(call.op.elements))
        for call, times in weighted(found)
        if isinstance(call.op, Stream) and "for products" in call.tag
    ]


INNER = 6144 * 4096 + 4096 * 4096 + 3 * 14336 * 4096


@pytest.mark.parametrize(
    ("kind", "wanted"),
    [
        ("bf16", []),
        ("fp8-row", []),
        ("fp8-tensor", [("fp8", "fp8", 1.0, 32.0 * INNER)]),
        ("mxfp8", [("bf16", "mxfp8", 2.0, 32.0 * INNER)]),
        ("nvfp4", [("bf16", "nvfp4", 2.0, 32.0 * INNER)]),
    ],
)
@pytest.mark.parametrize("zero_stage", [0, 1])
def test_new_weights_are_cast_to_the_copies_that_are_kept(
    kind: str, wanted: list[tuple[str, str, float, float]], zero_stage: int
) -> None:
    assert casts(program(LLAMA, Plan(dp=8.0), kind, "adamw", zero_stage)) == wanted


def test_of_gathered_weights_no_copy_is_kept() -> None:
    assert casts(program(LLAMA, Plan(dp=8.0), "mxfp8", "adamw", 3)) == []


def test_frozen_weights_are_not_stepped() -> None:
    found = program(LLAMA, Plan(), "mxfp8", "adamw", 0, trained=Trained(roles=("head",)))
    assert work(found, "adamw fused").flops == pytest.approx(12.0 * 128256 * 4096)
    assert casts(found) == []


def test_an_average_is_read_and_written_with_the_new_weights() -> None:
    """8 B read and 4 B written a parameter in fp32, of the rank's part; nothing where the host averages."""
    for zero_stage, ranks in ((0, 1.0), (1, 8.0)):
        found = work(program(LLAMA, Plan(dp=8.0), "bf16", "adamw", zero_stage, average=EMA["device"]), "moving average")
        assert (found.bytes_read, found.bytes_written) == (pytest.approx(8.0 * COUNT / ranks), pytest.approx(4.0 * COUNT / ranks))  # fmt: skip
    plain, away = (program(LLAMA, Plan(dp=8.0), "bf16", "adamw", 1, average=EMA[name]) for name in ("off", "host"))
    assert work(plain) == work(away)


# ---- Muon ------------------------------------------------------------------------------------------------------------------


def newton_schulz(found: Serial) -> float:
    return sum(times * float(call.op.work().flops) for call, times in weighted(found) if isinstance(call.op, Gemm))


def iteration(out: float, inner: float) -> float:
    """X of [n, m]: XXᵀ, A², BX."""
    n, m = sorted((out, inner))
    return 2 * n * n * m + 2 * n**3 + 2 * n * n * m


LAYER = [(6144, 4096), (4096, 4096), (28672, 4096), (4096, 14336)]


def test_newton_schulz_by_hand() -> None:
    """Jordan et al. 2024: five iterations, at most 6nm² FLOP each for an [n, m] with m the shorter side."""
    found = newton_schulz(program(LLAMA, Plan(), "bf16", "muon", 0))
    assert found == pytest.approx(5 * 32 * sum(iteration(*sides) for sides in LAYER))
    assert found <= 5 * 32 * sum(6 * max(sides) * min(sides) ** 2 for sides in LAYER)


def test_muon_moves_less_than_adamw_beside_its_products() -> None:
    """One state in place of two: 4 + 4 read, 4 + 2 written for the momentum, 2 + 4 read and 4 + 2 written for the
    update; 30 B of AdamW."""
    found = program(LLAMA, Plan(), "bf16", "muon", 0)
    matrices = 32 * sum(out * inner for out, inner in LAYER)
    assert work(found, "muon momentum", "muon update").bytes == pytest.approx((14 + 12) * matrices)
    assert work(found, "adamw fused").bytes == pytest.approx(30 * (COUNT - matrices))
    order = [call.tag for call, _ in weighted(found)]
    assert order.index("muon momentum") < order.index("qkv_proj: A") < order.index("muon update")


def test_half_of_muons_arithmetic_stands_before_its_products_and_half_after() -> None:
    matrices = 32 * sum(out * inner for out, inner in LAYER)
    rule = optimizer.load("muon").matrices.rule  # type: ignore[union-attr]
    found = program(LLAMA, Plan(), "bf16", "muon", 0)
    before, after = (work(found, f"{rule.kernel} {part}").flops for part in ("momentum", "update"))
    assert before == after
    assert before + after == pytest.approx(rule.flops * matrices)


@pytest.mark.parametrize(
    ("plan", "stride"),
    [
        (
            Plan(tp=2.0, cp=4.0, dp=2.0),
            2.0,
        ),  # first the context-parallel ranks of a stage, a tensor-parallel group apart
        (Plan(tp=2.0, pp=4.0, dp=8.0), 2.0 * 4.0),  # else whole copies, a pipeline apart
    ],
)
def test_a_cut_matrix_comes_from_the_nearest_ranks_that_have_parts(plan: Plan, stride: float) -> None:
    found = program(LLAMA, plan, "bf16", "muon", 1)
    (op,) = (call.op for call, _ in weighted(found) if call.tag == "matrices cut between ranks")
    assert isinstance(op, Collective)
    assert (op.group, op.stride) == (2.0, stride)


def test_cut_experts_come_from_other_copies_of_the_model_and_whole_ones_from_their_slices() -> None:
    """DeepSeek-V3, 64 ranks a stage, 16 stages: copies stand 1,024 ranks apart. EP16 of 64 ranks cuts each expert in
    four, dense matrices in eight."""
    plan, muon = Plan(tp=8.0, dp_attention=8.0, ep=16.0, etp=4.0, pp=16.0, dp=2.0), optimizer.load("muon")
    assert muon.matrices is not None
    both = replace(muon, matrices=replace(muon.matrices, tensor_parallel=DUPLICATED))
    calls = [call.op for call, _ in weighted(program(DEEPSEEK, plan, "bf16", both, 1, stage=7))]
    gathers = [op for op in calls if isinstance(op, Collective) and op.kind == "all_gather"]
    of_dense, dense_slices, of_experts, expert_slices = gathers
    assert (of_dense.stride, of_experts.stride) == (8.0, 64.0 * 16.0)
    assert (dense_slices.group, expert_slices.group) == (8.0, 4.0)
    # Four layers of 16 experts a rank, each of [4096, 7168] and [7168, 2048] once its slices are gathered: a mean one in
    # bf16 between copies; between slices the half of all that a rank steps.
    pair = 4096.0 * 7168.0 + 7168.0 * 2048.0
    assert of_experts.payload == pytest.approx(2.0 * pair / 2.0)
    assert expert_slices.payload == pytest.approx(2.0 * 4 * 16 * pair / 2.0)


@pytest.mark.parametrize("dp", [2.0, 8.0, 64.0, 100.0, 1000.0])
def test_ranks_share_whole_matrices(dp: float) -> None:
    """128 matrices: each rank has as many as any, one at least."""
    alone = newton_schulz(program(LLAMA, Plan(), "bf16", "muon", 0))
    shared = newton_schulz(program(LLAMA, Plan(dp=dp), "bf16", "muon", 1))
    assert shared == pytest.approx(alone * -(-128 // dp) / 128)


@pytest.mark.parametrize(("dp", "sharing"), [(1.0, 1.0), (8.0, 2.0), (64.0, 2.0), (512.0, 4.0)])
def test_a_cut_matrix_is_gathered_from_the_ranks_that_have_parts(dp: float, sharing: float) -> None:
    found = program(LLAMA, Plan(dp=dp), "bf16", "muon", 1)
    (op,) = (call.op for call, _ in weighted(found) if call.tag == "matrices cut between ranks")
    assert isinstance(op, Collective)
    assert op.group == sharing
    assert op.payload == pytest.approx(2.0 * sum(out * inner for out, inner in LAYER) / 4)


def test_tensor_parallel_ranks_step_their_parts_or_gather_them() -> None:
    """Megatron Core `muon_tp_mode`."""
    plan, muon = Plan(tp=4.0), optimizer.load("muon")
    assert muon.matrices is not None
    both = replace(muon, matrices=replace(muon.matrices, tensor_parallel=DUPLICATED))
    parts, whole = (program(LLAMA, plan, "bf16", how, 0) for how in (muon, both))
    cut = [(1536, 4096), (4096, 1024), (7168, 4096), (4096, 3584)]
    assert newton_schulz(parts) == pytest.approx(5 * 32 * sum(iteration(*sides) for sides in cut))
    assert newton_schulz(whole) == newton_schulz(program(LLAMA, Plan(), "bf16", "muon", 0))
    gathers = [call.op for call, _ in weighted(whole) if call.tag == "matrices cut by tensor parallelism"]
    assert gathers == [Collective("all_gather", 2.0 * 32 * INNER, 4.0)]


def test_muon_s_experts_are_matrices_each() -> None:
    """DeepSeek-V3 over EP64: four experts of [4096, 7168] and [7168, 2048] a rank in each of four layers."""
    found = program(DEEPSEEK, Plan(ep=64.0, pp=16.0), "bf16", "muon", 0, stage=7)
    products = [(call, times) for call, times in weighted(found) if call.tag.startswith("experts_")]
    flops = sum(times * float(call.op.work().flops) for call, times in products)
    assert flops == pytest.approx(5 * 4 * 4 * (iteration(4096, 7168) + iteration(7168, 2048)))


@pytest.mark.parametrize("how", optimizer.names())
@pytest.mark.parametrize("kind", precision.names())
@pytest.mark.parametrize("zero_stage", [0, 1, 3])
def test_every_optimizer_has_a_price_in_every_precision(how: str, kind: str, zero_stage: int) -> None:
    plan = Plan(ep=8.0, pp=4.0, dp=4.0)
    cost_of = Roofline(hardware.load("b200"))
    found = price(program(DEEPSEEK, plan, kind, how, zero_stage, stage=3), cost_of).cost
    assert 0.0 < found.seconds < 10.0
