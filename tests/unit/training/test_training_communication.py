"""What training sends: volumes of the ZeRO paper, what travels once a step and what every micro-batch."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from simcost import pipeline
from simcost.cost.collective import sent
from simcost.cost.kernel import Roofline
from simcost.dtypes import dtype
from simcost.hardware import load as hardware
from simcost.model import load
from simcost.model.spec import ModelSpec
from simcost.ops.collective import Collective
from simcost.ops.stream import Stream
from simcost.plan import Plan
from simcost.program import Call, Program, Serial, calls, price
from simcost.training import communication, precision
from simcost.training.communication import StepPrograms
from simcost.training.parameters import Trained
from simcost.training.precision import Precision
from simcost.training.zero import Sharding

LLAMA, DEEPSEEK = load.load("llama-3.1-8b"), load.load("deepseek-v3")
BF16 = precision.load("bf16")
SIXTEEN = replace(BF16, reduced=dtype("bf16"))  # as the ZeRO paper counts: both ways 2 B
DP = Plan(dp=8.0)
H100 = hardware.load("h100")


def weighted(program: Program | None, times: float = 1.0) -> list[tuple[Call, float]]:
    if program is None:
        return []
    if isinstance(program, Call):
        return [(program, times * float(program.repeat))]
    assert isinstance(program, Serial)
    return [found for part in program.parts for found in weighted(part, times * float(program.repeat))]


def wire(*programs: Program | None) -> float:
    """Bytes that a rank sends."""
    total = 0.0
    for program in programs:
        for call, times in weighted(program):
            if isinstance(call.op, Collective):
                moved = sent(call.op, H100)
                total += times * float(moved.near + moved.far)
    return total


def step(
    model: ModelSpec, plan: Plan, kind: Precision, zero_stage: int, stage: int = 0, **more: object
) -> StepPrograms:
    place = pipeline.stages(model, int(plan.pp), True)[stage]
    return communication.step_program(model, place, plan, kind, zero_stage, **more)  # type: ignore[arg-type]


def layers(model: ModelSpec, kind: Precision, zero_stage: int, reshard: bool = True, **more: object) -> list[float]:
    """What each of the three programs of all modules sends in a micro-batch."""
    found = [0.0, 0.0, 0.0]
    (stage,) = pipeline.stages(model, 1, True)
    for count, blocks in pipeline.units(model, stage, True):
        programs = communication.layer_programs(blocks, DP, kind, zero_stage, reshard, **more)  # type: ignore[arg-type]
        for i, program in enumerate(programs):
            found[i] += count * wire(program)
    return found


PSI = (
    2.0 * 7 / 8 * 8_030_261_248
)  # one gather, or one scattered sum, of all parameters of Llama-3.1-8B in 2 B over eight ranks


def test_volumes_are_those_of_the_zero_paper() -> None:
    """arXiv 1910.02054 §7: 2 Psi of an all-reduce, as much with stage 1 and 2, 3 Psi with stage 3, here for one
    micro-batch."""
    found = []
    for zero_stage in (0, 1, 2, 3):
        once = step(LLAMA, DP, SIXTEEN, zero_stage)
        found.append(wire(once.gradients, once.weights) + sum(layers(LLAMA, SIXTEEN, zero_stage)))
    assert found == pytest.approx([2 * PSI, 2 * PSI, 2 * PSI, 3 * PSI])


def test_zero_3_gathers_twice_unless_weights_stay() -> None:
    assert layers(LLAMA, SIXTEEN, 3) == pytest.approx([PSI, PSI, PSI])
    assert layers(LLAMA, SIXTEEN, 3, reshard=False) == pytest.approx([PSI, 0.0, PSI])
    (stage,) = pipeline.stages(LLAMA, 1, True)
    for _, blocks in pipeline.units(LLAMA, stage, True):
        assert communication.layer_programs(blocks, DP, BF16, 1) == (None, None, None)


@pytest.mark.parametrize(
    ("zero_stage", "late", "once", "each"),
    [
        (0, None, True, False),
        (1, None, True, False),
        (2, None, False, True),
        (3, None, False, True),
        (0, True, False, True),
        (2, False, True, False),
        (3, False, True, False),
    ],
)
def test_gradients_are_summed_once(zero_stage: int, late: bool | None, once: bool, each: bool) -> None:
    """Megatron's distributed optimizer once a step; DeepSpeed's stages 2 and FSDP every micro-batch, unless they are
    told not to."""
    sharding = Sharding(every_microbatch=late)
    assert (step(LLAMA, DP, BF16, zero_stage, sharding=sharding).gradients is not None) == once
    assert (layers(LLAMA, BF16, zero_stage, sharding=sharding)[2] > 0.0) == each


def test_gradients_travel_in_their_format_and_weights_in_theirs() -> None:
    found = step(LLAMA, DP, precision.load("fp8-tensor"), 1)
    assert wire(found.gradients) == pytest.approx(2 * PSI)  # fp32
    inner = 32 * (6144 * 4096 + 4096 * 4096 + 3 * 14336 * 4096)  # matrices of layers in one byte, the rest in two
    assert wire(found.weights) == pytest.approx(7 / 8 * (inner + 2.0 * (8_030_261_248 - inner)))


def test_gradients_come_from_the_last_layer_to_the_first_and_weights_the_other_way() -> None:
    found = step(LLAMA, DP, BF16, 1)
    order = [
        [float(call.op.payload) for call, _ in weighted(program) if isinstance(call.op, Collective) and call.op.payload]
        for program in (found.gradients, found.weights)
    ]
    head, table = 128256 * 4096 + 4096, 128256 * 4096
    assert order[0][0] == 4.0 * head
    assert order[1][0] == order[1][1] == 2.0 * table
    assert 2.0 * order[1][-1] == order[0][0]


def test_experts_travel_between_copies_alone() -> None:
    plan = Plan(ep=64.0, pp=16.0, dp=2.0)
    found = step(DEEPSEEK, plan, BF16, 1, stage=7)
    groups = {
        call.tag: float(call.op.group) for call, _ in weighted(found.gradients) if isinstance(call.op, Collective)
    }
    assert (groups["gradients of experts"], groups["gradients inside a stage"]) == (2.0, 64.0)
    payload = sum(
        times * float(call.op.payload)
        for call, times in weighted(found.gradients)
        if call.tag == "gradients of experts" and isinstance(call.op, Collective)
    )
    assert payload == pytest.approx(4.0 * 4 * 4 * 3 * 7168 * 2048)  # four layers, four experts each


def test_alone_nothing_travels() -> None:
    assert step(LLAMA, Plan(), BF16, 1) == StepPrograms(None, None)
    assert step(LLAMA, Plan(), BF16, 0) == StepPrograms(None, None)


def test_both_ends_sum_the_gradients_of_the_table_that_they_share() -> None:
    """DeepSeek-V3's MTP module reads the embedding on the last stage, Llama-3.2-1B's head is tied; Llama-3.1-8B shares
    nothing."""
    tag = "gradients of shared weights"
    for name, rows, width in (("deepseek-v3", 129280, 7168), ("llama-3.2-1b", 128256, 2048), ("llama-3.1-8b", 0, 0)):
        model, plan = load.load(name), Plan(pp=4.0, dp=2.0)
        for stage in range(4):
            found = [call.op for call, _ in weighted(step(model, plan, BF16, 1, stage).gradients) if call.tag == tag]
            wanted = [Collective("all_reduce", 4.0 * rows * width, 2.0, 3.0)] if rows and stage in (0, 3) else []
            assert found == wanted
            ends = step(model, plan, BF16, 1, stage, shares_ends=True)
            assert not [call for call, _ in weighted(ends.gradients) if call.tag == tag]


def test_stages_sum_the_gradients_of_the_blocks_that_they_share() -> None:
    """Zamba2-7B: both blocks of 2·d·3·h·D + h·D·d + 3·d·f + 3·d parameters are used on both of two stages, and the table;
    two virtual stages a rank stand on the same ranks."""
    d, f, width, model = 3584, 14336, 32 * 224, load.load("zamba2-7b")
    block = 2 * d * 3 * width + width * d + 3 * d * f + 3 * d
    wanted = [Collective("all_reduce", 4.0 * count, 2.0, 1.0) for count in (block, block, 32000 * d)]
    for stages, stage in ((2, 0), (2, 1), (4, 0)):
        place = pipeline.stages(model, stages, True)[stage]
        found = communication.step_program(model, place, Plan(pp=2.0, vpp=stages / 2.0), BF16, 1)
        assert [call.op for call, _ in weighted(found.gradients) if call.tag == "gradients of shared weights"] == wanted


@pytest.mark.parametrize(("sequence_parallel", "group"), [("off", 1.0), ("on", 4.0)])
def test_norms_are_summed_over_ranks_that_see_parts_of_a_sequence(sequence_parallel: str, group: float) -> None:
    """Megatron `finalize_model_grads.py`: norms and biases that every tensor-parallel rank holds; 65 norms of 4096."""
    found = step(LLAMA, Plan(tp=4.0, dp=2.0, sequence_parallel=sequence_parallel), BF16, 1)
    (op,) = (call.op for call, _ in weighted(found.gradients) if "tensor-parallel" in call.tag)
    assert op == Collective("all_reduce", 4.0 * 65 * 4096, group)


def test_adapters_alone_travel() -> None:
    lora = Trained(roles=(), lora_rank=16.0)
    whole, found = step(LLAMA, DP, BF16, 1), step(LLAMA, DP, BF16, 1, trained=lora)
    share = 32 * 16 * (10240 + 8192 + 32768 + 18432) / 8_030_261_248
    assert wire(found.gradients) == pytest.approx(share * wire(whole.gradients))
    assert wire(found.weights) == pytest.approx(share * wire(whole.weights))


def casts(program: Program | None) -> list[tuple[str, str, float]]:
    """(format read, format written, copies) of every cast."""
    return [
        (call.op.x.name, call.op.out.name, call.op.writes)
        for call, _ in weighted(program)
        if isinstance(call.op, Stream)
    ]


@pytest.mark.parametrize(
    ("name", "reshard", "ahead", "behind"),
    [
        ("bf16", True, [], []),
        ("fp8-tensor", True, [], [("fp8", "fp8", 1.0)]),
        ("fp8-tensor", False, [("fp8", "fp8", 1.0)], []),
        ("mxfp8", True, [("bf16", "mxfp8", 1.0)], [("bf16", "mxfp8", 1.0)]),
        ("mxfp8", False, [("bf16", "mxfp8", 1.0)] * 2, []),
        ("fp8-row", True, [("bf16", "fp8", 1.0)], [("bf16", "fp8", 1.0)]),
    ],
)
def test_gathered_weights_are_cast_to_what_products_read(
    name: str, reshard: bool, ahead: list[tuple[str, str, float]], behind: list[tuple[str, str, float]]
) -> None:
    layer = LLAMA.stacks[0][1]
    found = communication.layer_programs(layer, DP, precision.load(name), 3, reshard)
    assert [casts(program) for program in found] == [ahead, behind, []]


def test_fsdp_casts_its_part_before_it_gathers() -> None:
    layer = LLAMA.stacks[0][1]
    ahead, _, _ = communication.layer_programs(layer, DP, BF16, 3, sharding=Sharding(fsdp=True))
    first = weighted(ahead)[0][0].op
    assert isinstance(first, Stream)
    assert (first.x.name, first.out.name, first.elements) == ("fp32", "bf16", 218_112_000 / 8)


def test_products_that_cast_their_weights_do_so_whatever_is_shared() -> None:
    layer = LLAMA.stacks[0][1]
    found = communication.layer_programs(layer, Plan(), precision.load("fp8-row"), 0)
    assert [casts(program) for program in found] == [[("bf16", "fp8", 1.0)], [("bf16", "fp8", 1.0)], []]


def test_more_ranks_in_a_group_send_more_weights_and_fewer_gradients() -> None:
    """HSDP trades gathers for sums."""
    found = [layers(LLAMA, BF16, 3, sharding=Sharding(group=group)) for group in (1.0, 2.0, 4.0, 8.0)]
    for one, other in pairwise(found):
        assert other[0] > one[0]
        assert other[2] < one[2]
    assert found[-1] == pytest.approx(layers(LLAMA, BF16, 3))


def test_all_of_it_has_a_price() -> None:
    cost_of = Roofline(H100)
    plan = Plan(ep=8.0, pp=4.0, dp=2.0)
    for zero_stage in (0, 1, 2, 3):
        once = step(DEEPSEEK, plan, precision.load("fp8-block"), zero_stage, stage=3)
        layer = communication.layer_programs(DEEPSEEK.stacks[-1][1], plan, precision.load("fp8-block"), zero_stage)
        for program in (once.gradients, once.weights, *layer):
            if program is not None:
                assert list(calls(program))
                assert price(program, cost_of).cost.seconds > 0.0
