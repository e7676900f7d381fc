"""Frozen parts and adapters: which gradients, which tensors and which FLOPs are left."""

from __future__ import annotations

from dataclasses import replace

import pytest
from test_layer_passes import products
from trainkit import ATTENTION, FFN, SEQ, job, kept_per_token, passes

from simcost.errors import SpecError
from simcost.passes import learning
from simcost.plan import Plan
from simcost.program import Program, runs
from simcost.scenarios.train.answer import model_flops
from simcost.scenarios.train.question import asked
from simcost.scenarios.train.question import job as asked_job
from simcost.sharding.shard import ROLES
from simcost.training import memory, step
from simcost.training.memory import Memory
from simcost.training.parameters import KEPT, Trained, of_blocks

RANK = 16.0
LORA = Trained(roles=(), lora_rank=RANK)


def without(*roles: str) -> Trained:
    return Trained(roles=tuple(role for role in ROLES if role not in roles))


@pytest.mark.parametrize(
    ("name", "plan"),
    [
        ("llama-3-8b", Plan()),
        ("llama-3-8b", Plan(tp=4.0, sequence_parallel="on")),
        ("qwen3-next-80b-a3b", Plan()),
        ("deepseek-v3", Plan()),
    ],
)
def test_adapters_multiply_as_often_as_they_are_counted(name: str, plan: Plan) -> None:
    """2 FLOPs a parameter and token, of experts a row; forward, and both gradients twice that."""
    plain, found = (passes(job(name, plan, trained=trained)) for trained in (without(), LORA))
    blocks = job(name, plan).model.stacks[-1][1]
    held = [one for one in of_blocks(blocks, plan, LORA) if one.adapter]
    assert {one.part.role for one in held} >= {"attention"}
    dense = sum(float(one.part.count) for one in held if not one.is_expert)
    experts = sum(float(one.part.count / one.part.copies) for one in held if one.is_expert)
    rows = float(job(name).model.blocks()[-2][1].num_experts_per_tok) if experts else 0.0  # type: ignore[attr-defined]
    flops = 2.0 * SEQ * (dense + rows * experts)
    assert products(found.forward) - products(plain.forward) == pytest.approx(flops, rel=1e-9)
    assert products(found.input) - products(plain.input) == pytest.approx(flops, rel=1e-9)
    assert products(found.weight) == pytest.approx(flops, rel=1e-9)


def test_adapters_keep_their_result_of_low_rank_and_what_their_matrix_reads() -> None:
    """Four matrices of a layer of Llama: 4 x 16 numbers of 2 B a token beside the 139,392 B of a layer that learns; of
    products in fp8 the input in bf16 in place of the narrow copy."""
    assert kept_per_token(job("llama-3-8b", trained=LORA)) == 139_392.0 + 4.0 * RANK * 2.0
    narrow, wide = (job("llama-3-8b", hw="h100", precision=p, trained=LORA) for p in ("fp8-tensor", "bf16"))
    assert kept_per_token(narrow) == kept_per_token(wide)
    assert kept_per_token(job("llama-3-8b", trained=LORA), ("mlp",), FFN) == kept_per_token(
        job("llama-3-8b"), ("mlp",), FFN
    )


def test_a_frozen_part_has_no_gradients_of_weights_and_keeps_no_inputs_of_its_own() -> None:
    """The input of q, k and v is the norm's output, 2·4096 B a token, which nothing else reads; o reads the core's
    output, which the core keeps."""
    plain, found = passes(job("llama-3-8b")), passes(job("llama-3-8b", trained=without("attention")))
    attention = products(passes(job("llama-3-8b"), ATTENTION).weight)
    assert products(plain.weight) - products(found.weight) == pytest.approx(attention)
    assert products(found.input) == products(plain.input)
    assert kept_per_token(job("llama-3-8b", trained=without("attention"))) == 139_392.0 - 2.0 * 4096.0


def test_parts_of_a_mixture_are_told_apart() -> None:
    """DeepSeek-V3's MoE: 8 routed experts of 3·7168·2048, a shared one, a router of 256·7168."""
    one = job("deepseek-v3")
    whole = products(passes(one, FFN).weight)
    matrix = 3.0 * 7168.0 * 2048.0
    for role, parameters in (("experts", 8.0 * matrix), ("shared_experts", matrix), ("router", 256.0 * 7168.0)):
        left = products(passes(job("deepseek-v3", trained=without(role)), FFN).weight)
        assert whole - left == pytest.approx(2.0 * SEQ * parameters, rel=1e-6)


def test_what_cannot_be_told_apart_is_refused() -> None:
    block = job("deepseek-v3").model.stacks[-1][1][3]
    learns = learning.learner(block, Plan(), ("experts",))
    (strange, inside) = next(
        learning.products(job("llama-3-8b").model.stacks[-1][1][1].program(job("llama-3-8b").view))
    )
    with pytest.raises(SpecError, match=r"plan.frozen: a product of MoE holds several parts: freeze all of experts"):
        learns(strange, inside)


def test_model_flops_leave_out_gradients_of_frozen_weights() -> None:
    """6N of what learns, 4N of what does not, beside three passes of the cores."""
    whole, found, lora = (
        model_flops(job("llama-3-8b", trained=trained), "reference") for trained in (without(), without("ffn"), LORA)
    )
    assert whole - found == pytest.approx(2.0 * 32 * 3 * 4096 * 14336, rel=1e-4)  # 6N counts norms too
    assert whole - lora == pytest.approx(2.0 * (8_030_261_248 - 128256 * 4096 - 65 * 4096), rel=1e-4)


def test_a_tied_head_learns_as_its_table() -> None:
    one = job("llama-3.2-1b", trained=without("embedding"))
    assert "head" not in one.how.trained.roles
    head = one.model.head
    from simcost.training.passes import of_layer

    assert of_layer((head,), one.view, one.how, False).weight is None
    assert of_layer((head,), one.view, job("llama-3.2-1b", trained=without("head")).how, False).weight is not None


def test_frozen_layers_take_less_time_and_memory() -> None:
    whole, found = (step.run(job("llama-3-8b", Plan(gpus=8.0), trained=one)) for one in (without(), without("ffn")))
    assert found.seconds < whole.seconds
    assert memory.worst(memory.of_ranks(found)).used < memory.worst(memory.of_ranks(whole)).used


@pytest.mark.parametrize(
    ("sets", "said"),
    [
        ({"plan.frozen": "embeding"}, "did you mean 'embedding'"),
        ({"plan.frozen": "attention", "plan.lora_rank": 8}, "already freezes all weights of the model"),
        ({"plan.frozen": "+".join(role for role in ROLES if role != "tower")}, "nothing is left to train"),
        ({"plan.ema": "gpu"}, "plan.ema must be one of off, device, host"),
    ],
)
def test_refusals(sets: dict[str, object], said: str) -> None:
    with pytest.raises(SpecError, match=said):
        asked_job(asked("llama-3-8b", "h200", {}, sets, None, None))


def _asked(**sets: object) -> Memory:
    given = {f"plan.{key}": value for key, value in {"lora_rank": 8, "precision": "bf16-pure", **sets}.items()}
    q = asked("llama-2-7b", "a100-40gb", {"global_batch": 8, "seq": 1024}, given, None, None)
    return memory.worst(memory.of_ranks(step.run(asked_job(q))))


_NARROW = (("nf4", 4.0 + 32.0 / 64.0), ("nf4-dq", 4.0 + 8.0 / 64.0 + 32.0 / (64.0 * 256.0)), ("int8", 8.0))


@pytest.mark.parametrize(("kept", "bits"), _NARROW)
def test_frozen_matrices_of_layers_are_kept_narrow(kept: str, bits: float) -> None:
    """QLoRA, arXiv 2305.14314: a scale of 32 bits for 64 elements, or of 8 bits with one of 32 for 256 scales. The
    embedding, the head, norms and adapters stay in bf16; what the backward pass needs is the same."""
    wide, narrow = _asked(), _asked(frozen_dtype=kept)
    matrices = 32.0 * (4.0 * 4096.0**2 + 3.0 * 4096.0 * 11_008.0)
    assert float(wide.state.parameters - narrow.state.parameters) == pytest.approx(
        matrices * (16.0 - bits) / 8.0, rel=1e-9
    )
    assert narrow.activations == wide.activations


def test_narrow_weights_are_widened_before_each_product() -> None:
    """Of each of seven matrices one pass forward and one for the gradient of its input: 2 bytes written, 4.5 bits read."""
    trained = Trained(roles=(), lora_rank=RANK)
    plain, found = (passes(job("llama-3-8b", trained=one)) for one in (trained, replace(trained, kept=KEPT["nf4"])))
    block = 4096.0 * (2.0 * 4096.0 + 2.0 * 1024.0 + 3.0 * 14_336.0)
    for one, other in ((plain.forward, found.forward), (plain.input, found.input)):
        assert read_and_written(other) - read_and_written(one) == pytest.approx(block * (2.0 + 4.5 / 8.0), rel=1e-9)
        assert products(other) == products(one)


def read_and_written(program: Program | None) -> float:
    assert program is not None
    work = [(call.op.work(), times) for call, times in runs(program)]
    return float(sum((one.bytes_read + one.bytes_written) * times for one, times in work))


@pytest.mark.parametrize(
    ("sets", "says"), [({"lora_rank": None}, "no matrix of a layer is frozen"), ({"zero_stage": 3}, "zero_stage=2")]
)
def test_a_format_of_frozen_weights_needs_some_that_stay_whole(sets: dict[str, object], says: str) -> None:
    with pytest.raises(SpecError, match=says):
        _asked(frozen_dtype="nf4", **sets)
