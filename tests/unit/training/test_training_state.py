"""Bytes of weights, gradients and optimizer: published bytes a parameter, and laws of what is shared out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from trainkit import job

from simcost import pipeline
from simcost.dtypes import dtype
from simcost.errors import Infeasible, SpecError
from simcost.model import load
from simcost.model.spec import ModelSpec
from simcost.plan import Plan
from simcost.sharding.shard import Weight
from simcost.training import optimizer, precision, state
from simcost.training.optimizer import EMA, Average
from simcost.training.parameters import KEPT, Parameter, Trained, total, units
from simcost.training.precision import Precision
from simcost.training.state import DENSE, EXPERTS, State
from simcost.training.zero import Sharding

ADAMW, BF16_MOMENTS = optimizer.load("adamw"), optimizer.load("adamw-bf16-moments")
BF16, FP16, FP32 = (precision.load(name) for name in ("bf16", "fp16", "fp32"))
SIXTEEN = replace(BF16, gradient=dtype("bf16"))  # gradients of 16 bits, as the ZeRO paper counts
LLAMA, COUNT = load.load("llama-3.1-8b"), 8_030_261_248
ALONE = Sharding(prefetch=0.0)


def held(model: ModelSpec, plan: Plan, kind: Precision, zero_stage: int, stage: int = 0, **more: object) -> State:
    place = pipeline.stages(model, int(plan.pp), True)[stage]
    return state.held(model, place, plan, kind, ADAMW, zero_stage, **more)  # type: ignore[arg-type]


def each(kind: Precision, zero_stage: int, ranks: float) -> float:
    """Bytes a parameter of Llama-3.1-8B, without what is gathered for a while."""
    found = held(LLAMA, Plan(dp=ranks), kind, zero_stage)
    (stage,) = pipeline.stages(LLAMA, 1, True)
    return float((found.total - found.gathered) / total(units(LLAMA, stage, Plan())))


@pytest.mark.parametrize("d", [1.0, 8.0, 64.0])
@pytest.mark.parametrize(
    ("kind", "zero_stage", "whole", "shared"),
    [
        # Megatron Core docs/user-guide/features/dist_optimizer.md
        (BF16, 0, 18.0, 0.0),
        (BF16, 1, 6.0, 12.0),
        (FP16, 0, 20.0, 0.0),
        (FP16, 1, 4.0, 16.0),
        (FP32, 0, 16.0, 0.0),
        (FP32, 1, 8.0, 8.0),
        # ZeRO, arXiv 1910.02054 §5
        (SIXTEEN, 0, 16.0, 0.0),
        (SIXTEEN, 1, 4.0, 12.0),
        (SIXTEEN, 2, 2.0, 14.0),
        (SIXTEEN, 3, 0.0, 16.0),
        # DeepSpeed stage_1_and_2.py and stage3.py, estimators of memory
        (FP16, 2, 2.0, 18.0),
        (BF16, 3, 0.0, 18.0),
    ],
)
def test_bytes_a_parameter_are_as_published(
    kind: Precision, zero_stage: int, whole: float, shared: float, d: float
) -> None:
    assert each(kind, zero_stage, d) == pytest.approx(whole + shared / d)


def test_zero_of_a_7_5b_model_is_as_published() -> None:
    """arXiv 1910.02054 figure 1: 120 GB alone, 31.4, 16.6 and 1.9 GB over 64 devices."""
    found = [7.5 * each(SIXTEEN, zero_stage, 64.0) for zero_stage in (0, 1, 2, 3)]
    assert found == pytest.approx([120.0, 31.4, 16.6, 1.9], abs=0.05)


def test_deepspeed_gathers_four_bytes_of_the_largest_layer() -> None:
    """stage3.py: 4 B a parameter of the largest layer: here the head, with the final norm."""
    largest = (128256 * 4096 + 4096) * 4.0
    assert held(LLAMA, Plan(dp=8.0), BF16, 3, sharding=ALONE).gathered == pytest.approx(largest)


def test_fsdp_keeps_the_part_of_the_master_weights_alone() -> None:
    """torchtitan: parameters, gradients and two moments in fp32: 16 B over all ranks; two layers gathered in bf16,
    one's gradients."""
    found = held(LLAMA, Plan(dp=8.0), BF16, 3, sharding=Sharding(fsdp=True))
    (stage,) = pipeline.stages(LLAMA, 1, True)
    count = float(total(units(LLAMA, stage, Plan())))
    assert float(found.parameters + found.gradients + found.optimizer) == pytest.approx(16.0 / 8 * count)
    assert found.gathered == pytest.approx((2 * 2.0 + 2.0) * (128256 * 4096 + 4096))
    kept = held(LLAMA, Plan(dp=8.0), BF16, 3, sharding=Sharding(fsdp=True), reshard=False)
    assert kept.gathered == pytest.approx(2.0 * count + 2.0 * (128256 * 4096 + 4096))


def test_deepseek_v3_s_experts_take_thirteen_to_fourteen_bytes() -> None:
    """arXiv 2412.19437 §3.3.3: fp32 master and gradients, bf16 moments, fp8 weights once or, transposed, twice; ZeRO-1
    6 + 8/d."""
    model, kind = load.load("deepseek-v3"), precision.load("fp8-block")
    stages = pipeline.stages(model, 16, True)
    for copies, least in (((dtype("fp8_block"),), 14.0), ((), 13.0)):
        for dp in (1.0, 2.0):
            plan = Plan(ep=64.0, pp=16.0, dp=dp)
            found = state.by_part(model, stages[7], plan, replace(kind, transposed=copies), BF16_MOMENTS, 1)[EXPERTS]
            count = float(pipeline.weights(model, stages[7], plan, True)["experts"])
            assert float(found.total) / count == pytest.approx(least - 8.0 + 8.0 / dp, abs=0.001)  # scales


SHARED = [("llama-3.1-8b", Plan(tp=2.0, pp=2.0, cp=2.0, dp=4.0)), ("deepseek-v3", Plan(ep=64.0, pp=16.0, dp=2.0))]


@pytest.mark.parametrize(
    "kind",
    [BF16, FP16, precision.load("fp8-tensor"), precision.load("mxfp8"), precision.load("nvfp4")],
    ids=lambda kind: kind.name,
)
@pytest.mark.parametrize(("name", "plan"), SHARED)
def test_a_further_stage_never_keeps_more(name: str, plan: Plan, kind: Precision) -> None:
    for stage in (0, int(plan.pp) - 1):
        found = [held(load.load(name), plan, kind, zero_stage, stage) for zero_stage in (0, 1, 2, 3)]
        steady = [float(one.total - one.gathered) for one in found]
        assert steady == sorted(steady, reverse=True)
        assert len(set(steady)) == 4
        assert [float(one.gathered) > 0.0 for one in found] == [False, False, False, True]


@pytest.mark.parametrize(("name", "plan"), SHARED)
def test_parts_of_all_ranks_that_share_are_the_whole(name: str, plan: Plan) -> None:
    model = load.load(name)
    stage = pipeline.stages(model, int(plan.pp), True)[0]
    whole, shared = (state.by_part(model, stage, plan, BF16, ADAMW, zero_stage) for zero_stage in (0, 3))
    ranks = {DENSE: plan.replicas * plan.cp * plan.copies, EXPERTS: plan.copies}
    for part, count in ranks.items():
        for field in ("parameters", "gradients", "optimizer"):
            assert getattr(shared[part], field) * count == pytest.approx(getattr(whole[part], field))
    counts = pipeline.weights(model, stage, plan, True)
    assert float(whole[EXPERTS].total) == pytest.approx(18.0 * float(counts.get("experts", 0.0)))
    assert float(whole[DENSE].total) == pytest.approx(18.0 * float(sum(counts.values()) - counts.get("experts", 0.0)))


def test_groups_keep_more_than_all_ranks_and_less_than_each_alone() -> None:
    """HSDP over 8 of 64 ranks keeps what FSDP over 8 does."""
    plan = Plan(dp=64.0)
    steady = [
        float(one.total - one.gathered)
        for one in (held(LLAMA, plan, BF16, 3, sharding=Sharding(group=group)) for group in (None, 8.0, 1.0))
    ]
    assert steady == sorted(steady)
    assert steady[1] == pytest.approx(steady[0] * 8)
    assert steady[2] == pytest.approx(steady[0] * 64)


def test_gradients_stay_whole_where_they_are_summed_at_the_end() -> None:
    late = held(LLAMA, Plan(dp=8.0), BF16, 2, sharding=Sharding(every_microbatch=False))
    assert late.gradients == held(LLAMA, Plan(dp=8.0), BF16, 1).gradients
    assert late.gradients == pytest.approx(8 * held(LLAMA, Plan(dp=8.0), BF16, 2).gradients)


def test_a_tied_head_on_another_stage_is_a_copy_of_the_table() -> None:
    model = load.load("llama-3.2-1b")
    assert model.head.tied
    plan = Plan(pp=2.0)
    last = pipeline.stages(model, 2, True)[1]
    table = 128256 * 2048
    apart, together = (state.held(model, last, plan, BF16, ADAMW, 0, shares_ends=ends) for ends in (False, True))
    assert float(apart.total - together.total) == pytest.approx(18.0 * table)


def test_an_average_on_the_host_is_shared_by_all_that_hold_the_weights() -> None:
    (stage,) = pipeline.stages(LLAMA, 1, True)
    count = float(total(units(LLAMA, stage, Plan())))
    for zero_stage in (0, 1):
        plain, found = (
            held(LLAMA, Plan(dp=8.0), BF16, zero_stage, average=one) for one in (None, Average(dtype("bf16"), True))
        )
        assert (plain.host, plain.host_traffic) == (0.0, 0.0)
        assert (found.host, found.host_traffic) == (pytest.approx(2.0 * count / 8), pytest.approx(4.0 * count / 8))
        assert found.total == plain.total


def test_an_average_beside_the_states_is_shared_out_as_they_are() -> None:
    (stage,) = pipeline.stages(LLAMA, 1, True)
    count = float(total(units(LLAMA, stage, Plan())))
    for zero_stage, ranks in ((0, 1.0), (1, 8.0)):
        plain, found = (held(LLAMA, Plan(dp=8.0), BF16, zero_stage, average=EMA[name]) for name in ("off", "device"))
        assert float(found.optimizer - plain.optimizer) == pytest.approx(4.0 * count / ranks)
        assert (found.host, found.host_traffic) == (0.0, 0.0)


def test_adapters_alone_have_gradients_and_states() -> None:
    """LoRA (arXiv 2106.09685) of rank 16 beside qkv [6144, 4096], o [4096, 4096], gate and up [28672, 4096], down
    [4096, 14336] of 32 layers."""
    sides = (6144 + 4096) + (4096 + 4096) + (28672 + 4096) + (4096 + 14336)
    adapters = 32 * 16 * sides
    found = held(LLAMA, Plan(), BF16, 0, trained=Trained(roles=(), lora_rank=16.0))
    base = held(LLAMA, Plan(), BF16, 0).parameters
    assert found.gradients == pytest.approx(4.0 * adapters)
    assert found.optimizer == pytest.approx(12.0 * adapters)
    assert found.parameters == pytest.approx(float(base) + 2.0 * adapters)


@pytest.mark.parametrize(
    ("kind", "kept", "copies"),
    [
        ("bf16", 2.0, 0.0),
        ("fp8-tensor", 1.0, 1.0),  # kept narrow, and once more transposed
        (
            "mxfp8",
            2.0,
            2.0 * (1.0 + 1.0 / 32.0),
        ),  # a scale of a byte for each 32 elements, along rows and along columns
    ],
)
def test_copies_are_of_weights_that_products_read_narrow_alone(kind: str, kept: float, copies: float) -> None:
    """Of a matrix of 4,096 x 4,096. Adapters are multiplied in bf16, a frozen matrix in its own format is widened: of
    these no copies are kept."""
    weight, formats, count = Weight("o_proj", "attention", 4096.0, 4096.0), precision.load(kind), 4096.0**2
    plain = Parameter(weight, weight, True)
    assert state.kept_bytes(plain, formats) == pytest.approx(kept * count, rel=1e-6)
    assert state.copied_bytes(plain, formats) == pytest.approx(copies * count, rel=1e-6)
    adapter, narrow = replace(plain, adapter=True), replace(plain, learns=False, kept=KEPT["nf4"])
    assert [state.copied_bytes(each, formats) for each in (adapter, narrow)] == [0.0, 0.0]
    assert state.kept_bytes(adapter, formats) == 2.0 * count
    assert state.kept_bytes(narrow, formats) == (0.5 + 4.0 / 64.0) * count  # 32 bits of scale for 64 elements


def test_copies_stand_where_a_rank_has_whole_weights_and_are_made_anew_where_it_gathers() -> None:
    """Llama-3.1-8B in MXFP8 on 8 ranks: 2 B and two copies of 33/32 B of each matrix of a layer, up to ZeRO-2; an eighth
    of the 2 B alone where ZeRO-3 shares weights out."""
    layers = 32 * 4096 * (6144 + 4096 + 28672 + 14336)
    kind = precision.load("mxfp8")
    found = [float(held(LLAMA, Plan(dp=8.0), kind, zero_stage).parameters) for zero_stage in (0, 1, 2, 3)]
    assert found[0] == found[1] == found[2] == pytest.approx(2.0 * COUNT + 2.0 * 33.0 / 32.0 * layers, rel=1e-6)
    assert found[3] == pytest.approx(2.0 * COUNT / 8.0, rel=1e-6)


@pytest.mark.parametrize(
    ("sharding", "each"),
    [
        (Sharding(), 2.0),
        (Sharding(every_microbatch=False), 2.0),  # DeepSpeed adds up in the format of the gradients
        (Sharding(fsdp=True), 2.0 / 8.0),  # summed after each micro-batch: a part is left
        (Sharding(fsdp=True, every_microbatch=False), 4.0),  # FSDP2 adds whole gradients up as they will travel
    ],
)
def test_gradients_add_up_in_the_wider_format_where_fsdp_puts_their_sum_off(sharding: Sharding, each: float) -> None:
    """bf16 gradients that travel in fp32, on 8 ranks."""
    kind = replace(precision.load("bf16-pure"), reduced=dtype("fp32"))
    zero_stage = 3 if sharding.fsdp else 1
    assert held(LLAMA, Plan(dp=8.0), kind, zero_stage, sharding=sharding).gradients == pytest.approx(each * COUNT)


def test_frozen_weights_are_shared_out_too() -> None:
    """ZeRO-3 over 8 ranks with nothing but adapters that learn: an eighth of 2 B a weight, and of 16 + 2 B an adapter."""
    adapters = 32 * 16 * (10240 + 8192 + 32768 + 18432)
    found = held(LLAMA, Plan(dp=8.0), BF16, 3, trained=Trained(roles=(), lora_rank=16.0))
    assert found.parameters == pytest.approx(2.0 * (COUNT + adapters) / 8.0)
    assert found.optimizer == pytest.approx(12.0 * adapters / 8.0)


def test_what_is_gathered_by_hand() -> None:
    """Of Llama-3.1-8B in bf16 the largest module is the embedding, or the head, of 128,256 x 4,096 (the head's norm with
    it); a layer has 218 M. Gathered: it and one more ahead, or all of it where nothing is let go; and its gradients."""
    (stage,) = pipeline.stages(LLAMA, 1, True)
    every = units(LLAMA, stage, Plan())
    whole = state.whole(every, False, BF16)
    head = 128256.0 * 4096.0 + 4096.0
    assert (whole.largest, whole.every, whole.gradients) == (2.0 * head, 2.0 * COUNT, 2.0 * head)
    assert state.whole(every, True, BF16) == state.Whole(0.0, 0.0, 0.0)  # it has no experts
    frozen = units(LLAMA, stage, Plan(), Trained(roles=("norm",)))
    assert state.whole(frozen, False, BF16).gradients == 2.0 * 2.0 * 4096.0  # both norms of a layer
    for reshard, weights in ((True, 2.0 * 2.0 * head), (False, 2.0 * COUNT)):
        assert state.gathered(whole, 1.0, 1.0, reshard, Sharding()) == weights + 2.0 * head
        assert state.gathered(whole, 1.0, 0.0, reshard, Sharding()) == weights  # its gradients stay whole anyway
        assert state.gathered(whole, 0.0, 1.0, reshard, Sharding()) == 2.0 * head
    assert state.gathered(whole, 1.0, 0.0, True, Sharding(prefetch=1e3)) == 2.0 * COUNT  # never more than there is


def test_frozen_parts_have_weights_alone() -> None:
    found = held(LLAMA, Plan(), BF16, 0, trained=Trained(roles=("head",)))
    assert found.gradients == pytest.approx(4.0 * 128256 * 4096)
    assert found.parameters == held(LLAMA, Plan(), BF16, 0).parameters


@pytest.mark.parametrize(
    ("zero_stage", "more", "error", "said"),
    [
        (4, {}, SpecError, "zero_stage = 4 is not one of 0, 1, 2, 3"),
        (True, {}, SpecError, "zero_stage = True is not one of"),
        (1, {"sharding": Sharding(fsdp=True)}, SpecError, "FSDP shards weights too"),
        (0, {"sharding": Sharding(group=8.0)}, SpecError, "shards nothing"),
        (3, {"sharding": Sharding(group=3.0)}, Infeasible, "a sharding group must divide"),
    ],
)
def test_what_cannot_be_is_refused(zero_stage: int, more: dict[str, object], error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        held(LLAMA, Plan(dp=8.0), BF16, zero_stage, **more)


def test_what_cannot_learn_is_refused() -> None:
    with pytest.raises(SpecError, match=r"roles: 'expert' is not one of .*did you mean 'experts'"):
        Trained(roles=("expert",))
    with pytest.raises(SpecError, match="nothing is left to train"):
        Trained(roles=())
    with pytest.raises(SpecError, match="lora_rank must be at least 1, not 0"):
        Trained(lora_rank=0.0)


@pytest.mark.parametrize("zero_stage", [0, 1, 2, 3])
def test_plans_in_an_array_are_plans_one_by_one(zero_stage: int) -> None:
    sizes = [(1.0, 1.0), (2.0, 8.0), (8.0, 64.0)]
    tp, dp = (np.array(column) for column in zip(*sizes, strict=True))
    kind = precision.load("fp8-tensor")
    many = held(LLAMA, Plan(tp=tp, dp=dp), kind, zero_stage)
    for at, (t, d) in enumerate(sizes):
        one = held(LLAMA, Plan(tp=t, dp=d), kind, zero_stage)
        for field in ("parameters", "gradients", "optimizer", "gathered", "total"):
            assert np.broadcast_to(getattr(many, field), 3)[at] == getattr(one, field), field


@pytest.mark.parametrize(("step", "each"), [("adamw-bf16-moments", 8.0), ("adamw-8bit", 6.0)])
def test_pure_bf16_holds_no_wider_copy(step: str, each: float) -> None:
    """2 B of weight, 2 of gradient and the moments: 14 + 42 GB of a 7B model (GaLore, arXiv 2403.03507 section 1), a
    quarter less with moments in 8 bits."""
    pure = precision.load("bf16-pure")
    found = state.held(LLAMA, pipeline.stages(LLAMA, 1, True)[0], Plan(), pure, optimizer.load(step), 0)
    total = found.parameters + found.gradients + found.optimizer
    assert total == pytest.approx(each * 8_030_261_248, rel=1e-9)


@pytest.mark.parametrize("stack", ["torchtitan", "megatron-core-te"])
def test_gradients_of_pure_bf16_are_as_wide_as_its_weights_in_every_stack(stack: str) -> None:
    one = job("llama-3.1-8b", precision="bf16-pure", stack=stack)
    assert (one.precision.gradient.name, one.precision.main_gradient) == ("bf16", None)
