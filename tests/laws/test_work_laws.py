"""Laws of work over every block and model of the zoo: additivity, sharding, lower bounds, inert tags."""

from __future__ import annotations

import dataclasses
import random
from typing import Any

import pytest
from lawkit import MATRICES, SOME, ZOO, blocks, family_flops, model, model_work, run, view, weighted, work

from simcost.blocks.attention.block_sparse import BlockSparse
from simcost.blocks.attention.gqa import GQA
from simcost.blocks.attention.mamba2 import Mamba2
from simcost.blocks.attention.mfa import MFA
from simcost.cost.kernel import Roofline
from simcost.lower import checks, step
from simcost.num import every
from simcost.plan import Plan
from simcost.program import Call, Choice, Program, price
from simcost.registry import discover
from simcost.sharding.shard import Block, Plain, Weight

BLOCKS = blocks()
EACH = pytest.mark.parametrize("block", [pytest.param(b, id=f"{n}-{i}") for i, (n, b) in enumerate(BLOCKS)])
EPS = 1e-12
# Held whole by every tensor-parallel rank.
REPLICATED = {
    "kv_a_proj", "qkv_a_proj", "q_a_norm", "kv_a_norm", "inter_norm", "bias", "router", "router_bias", "correction_bias", "shared_gate",
    "o_bias", "down_bias", "embed_positions", "embed_norm", "final_norm", "eh_proj", "mtp_norms", "attention_norm",
    "ffn_norm", "post_attention_norm", "post_ffn_norm", "norm", "gated_norm", "inner_norms", "latent_down", "latent_up",
    "forget_gate_down", "output_gate_down", "index_wq_b", "index_wk", "index_k_norm", "index_weights_proj", "kv_norm", "compressor",
    "compressor_bias", "compressor_norm", "index_compressor", "index_bias", "index_norm", "hc_head", "attention_hc_fn",
    "attention_hc_base", "ffn_hc_fn", "ffn_hc_base", "per_layer_projection_norm", "per_layer_input_gate", "per_layer_projection",
    "post_per_layer_input_norm", "modality_router", "prediction_coefs", "correction_coefs", "router_norm", "correct_output_scale", "post_laurel_norm",
    "post_ffn_norm_1", "pre_ffn_norm_2", "post_ffn_norm_2", "router_scale", "linear", "concat_norm", "pre_ff_norm",
    "index_pool_gate", "index_pool_bias", "index_q_norm", "index_q_scales", "index_qk_proj", "index_norms", "ngram_key_proj", "ngram_value_proj", "ngram_norms",
    "ngram_conv", "attention_residual_gate", "ffn_residual_gate", "latent_norms", "rotary_scales",
    "attention_norm_score", "ffn_norm_score", "residual_score", "latent_norm", "rotary_key_norm", "attention_norm_gate_down", "attention_norm_gate_up",
    "ffn_norm_gate_down", "ffn_norm_gate_up",
    *(f"{site}_{part}" for site in ("attention_hc", "ffn_hc", "last_mix") for part in ("norm", "down", "up", "inject")),
}  # fmt: skip
EXPERTS = {"experts_up", "experts_down"}
PADDED = {"embed_tokens", "embed_tokens_per_layer", "lm_head", "lm_head_bias"}


def close(a: float, b: float) -> bool:
    return abs(a - b) <= EPS * max(abs(a), abs(b))


# No published config of LFM2, Inkling and ERNIE 4.5 VL is at hand: tests/unit/blocks and tests/unit/model have small ones.
UNSHIPPED = ("short_conv", "relative_bias", "sink_experts", "block_residual", "loop", "modal_experts")


def test_the_zoo_exercises_every_discovered_block() -> None:
    found = {type(block).__module__ for _, block in BLOCKS}
    for package in ("attention", "ffn", "norm", "embed"):
        for module in discover(f"simcost.blocks.{package}").values():
            own = [one for one in vars(module).values() if isinstance(one, type) and one.__module__ == module.__name__]
            elsewhere = module.__name__.rpartition(".")[2] in UNSHIPPED
            built = (
                elsewhere or module.__name__ in found or not any(issubclass(one, Plain) for one in own)
            )  # it reads for others
            assert built, f"no model of the zoo has a {module.__name__}"


@EACH
@pytest.mark.parametrize("q", [1.0, 17.0])
def test_flops_are_additive_in_sequences_at_fixed_context(block: Block, q: float) -> None:
    one, two, both = (work(block.program(view(b, q, 300.0))).flops for b in (3.0, 61.0, 64.0))
    assert close(one + two, both)


@EACH
@pytest.mark.parametrize("q", [1.0, 17.0])
def test_bytes_are_sub_additive_in_batch(block: Block, q: float) -> None:
    one, two, both = (work(block.program(view(b, q, 300.0))).bytes for b in (3.0, 61.0, 64.0))
    assert both <= (one + two) * (1 + EPS)
    assert both >= max(one, two)


@EACH
def test_flops_of_prefill_chunks_add_up_to_the_whole_prefill(block: Block) -> None:
    if block.kind == "head":
        pytest.skip("the head sees the last token of each chunk")
    first, second, whole = (view(2.0, 100.0, 500.0), view(2.0, 45.0, 600.0), view(2.0, 145.0, 500.0))
    parts = work(block.program(first)).flops + work(block.program(second)).flops
    assert close(parts, work(block.program(whole)).flops)


@EACH
def test_bytes_of_prefill_chunks_are_never_fewer_than_of_the_whole(block: Block) -> None:
    first, second, whole = (view(2.0, 100.0, 500.0), view(2.0, 45.0, 600.0), view(2.0, 145.0, 500.0))
    parts = work(block.program(first)).bytes + work(block.program(second)).bytes
    assert parts * (1 + EPS) >= work(block.program(whole)).bytes


def plans(block: Block) -> list[Plan]:
    every_plan = [Plan(float(t), float(e), mla_form="absorbed") for t in (1, 2, 4, 8, 16) for e in (1, 2, 4, 8, 16, 32)]
    moe = any("expert" in w.name for w in block.weights(Plan()))
    legal = [p for p in every_plan if (p.tp % p.ep == 0 or p.ep % p.tp == 0) and (moe or p.ep == 1)]
    return [p for p in legal if all(every(c.ok) for c in block.checks(p))]


def expected(whole: Weight, block: Block, plan: Plan) -> float:
    """Elements of all ranks together: the whole and the replication that the plan declares."""
    size, devices, replicas = float(whole.count), float(plan.devices), float(plan.replicas)
    name = whole.name
    if name in EXPERTS:
        return size
    if name == "expert_bias":  # the down bias stands on every slice
        sliced = size - float(whole.copies) * float(block.hidden_size)  # type: ignore[attr-defined]
        return sliced + float(whole.copies * block.hidden_size) * float(plan.expert_slices)  # type: ignore[attr-defined]
    if name in REPLICATED or (name == "qk_norm" and getattr(block, "qk_norm", "") == "head"):
        return size * devices
    if isinstance(block, Mamba2) and name in ("in_proj", "conv1d") and block.mamba_n_groups < plan.tp:
        each = float(block.hidden_size) if name == "in_proj" else float(block.conv_kernel) + 1.0 * block.conv_bias
        copied = 2.0 * float((plan.tp - block.mamba_n_groups) * block.ssm_state_size) * each
        return (size + copied) * replicas
    if isinstance(block, MFA) and name in ("qkv_proj", "qkv_bias") and block.num_key_value_heads == 1.0:
        return size * devices
    if isinstance(block, BlockSparse) and name == "index_wq":  # a head for each KV head of a rank
        return size * max(float(plan.tp / block.num_key_value_heads), 1.0) * replicas
    if (
        isinstance(block, GQA)
        and name in ("qkv_proj", "qk_proj", "qkv_bias", "qk_norm")
        and block.num_key_value_heads < plan.tp
    ):
        copies = float(plan.tp / block.num_key_value_heads) - 1.0
        width = block.head_dim + (0.0 if name in ("qk_norm", "qk_proj") else block.v_head_dim)
        inner = 1.0 if whole.inner is None else whole.inner
        return (size + float(copies * block.num_key_value_heads * width * inner)) * replicas
    return size * replicas


@EACH
def test_weights_of_all_shards_are_the_whole_plus_declared_replication(block: Block) -> None:
    if block.kind == "mtp":
        pytest.skip("the blocks of its layer are tested alone")
    for plan in plans(block):
        for whole, part in zip(block.weights(Plan()), block.weights(plan), strict=True):
            assert whole.name == part.name
            total, want = float(part.count * plan.devices), expected(whole, block, plan)
            if whole.name in PADDED:
                pad = float(plan.tp) * float(whole.inner or 1.0) * float(plan.replicas)
                assert want <= total < want + pad
            else:
                assert close(total, want), f"{whole.name} at tp={plan.tp}, ep={plan.ep}"


@EACH
def test_flops_of_all_shards_are_the_whole_plus_declared_replication(block: Block) -> None:
    if block.kind in ("mtp", "head", "embedding"):
        pytest.skip("tested by its weights and its layer")
    q, tokens = 3.0, 64.0 * 3.0
    whole = family_flops(block.program(view(64.0, q, 50.0)))
    for plan in plans(block):
        part = family_flops(block.program(view(64.0, q, 50.0, plan)))
        for family in ("grouped_gemm", "attention"):
            assert close(part[family] * float(plan.devices), whole[family]), (family, plan)
        extra = sum(
            2.0 * tokens * (expected(w, block, plan) / float(plan.replicas) - float(w.count))
            for w in block.weights(plan.__class__())
            if w.inner is not None and w.role != "experts"
        )
        assert close(part["gemm"] * float(plan.devices), whole["gemm"] + extra), plan


@pytest.mark.parametrize("name", ZOO)
def test_matrix_flops_equal_twice_the_active_matrix_parameters_times_tokens(name: str) -> None:
    spec, tokens = model(name), 40.0
    found = family_flops(step(spec, view(tokens, 1.0, 100.0)))
    active = sum(
        n * float(w.count) * float(w.active) * float(w.uses)
        for n, block in spec.blocks()
        for w in block.weights(Plan())
        if w.inner is not None and w.role != "embedding"
    )
    head = float(spec.hidden_size * spec.vocab_size) if spec.head.tied else 0.0
    assert close(found["gemm"] + found["grouped_gemm"], 2.0 * tokens * (active + head))
    assert sum(found[f] for f in MATRICES) >= 2.0 * tokens * active


@pytest.mark.parametrize("name", ["qwen3-30b-a3b", "mixtral-8x7b"])
def test_matrix_flops_cover_a_gated_shared_expert(name: str) -> None:
    from simcost.model import load

    spec = load.load(name, {"model_type": "qwen2_moe", "shared_expert_intermediate_size": 512})
    found = family_flops(step(spec, view(7.0, 1.0, 10.0)))
    matrices = [
        (n, w) for n, b in spec.blocks() for w in b.weights(Plan()) if w.inner is not None and w.role != "embedding"
    ]
    active = sum(n * float(w.count) * float(w.active) for n, w in matrices)
    assert found["gemm"] + found["grouped_gemm"] >= 2.0 * 7.0 * active * (1 - EPS)


@pytest.mark.parametrize("name", ZOO)
def test_a_step_that_touches_every_expert_reads_every_matrix_once(name: str) -> None:
    spec = model(name)
    total = 0.0
    for call, times in weighted(step(spec, view(1e6, 1.0, 0.0))):
        op = call.op
        if op.family in ("gemm", "grouped_gemm"):
            copies = float(getattr(op, "batch", 1.0)) * float(getattr(op, "experts", 1.0))
            total += times * copies * float(op.n) * float(op.k)  # type: ignore[attr-defined]
    stored = sum(n * float(w.count) * float(w.uses) for n, b in spec.blocks() for w in b.weights(Plan())
                 if w.inner is not None and w.role != "embedding")  # fmt: skip
    stored += float(spec.hidden_size * spec.vocab_size) if spec.head.tied else 0.0
    assert abs(total - stored) <= 1e-9 * stored


@pytest.mark.parametrize("name", ZOO)
def test_a_window_or_chunk_never_adds_work(name: str) -> None:
    for n, block in model(name).blocks():
        if type(block).__name__ != "SlidingWindow":
            continue
        names = {f.name for f in dataclasses.fields(GQA)}
        full = GQA(**{k: getattr(block, k) for k in names})
        for q, past in ((1.0, 5.0), (1.0, 9000.0), (3000.0, 0.0), (3000.0, 7000.0)):
            bound, free = work(block.program(view(2.0, q, past))), work(full.program(view(2.0, q, past)))
            assert bound.flops <= free.flops
            assert bound.bytes <= free.bytes
        assert n >= 1


@pytest.mark.parametrize("name", ZOO)
def test_model_work_is_the_sum_over_its_layers(name: str) -> None:
    spec, at = model(name), view(5.0, 2.0, 77.0)
    alone = [work(block.program(at)) * n for n, block in spec.blocks()]
    whole = model_work(name, at)
    assert close(sum(float(w.flops) for w in alone), float(whole.flops))
    assert close(sum(float(w.bytes) for w in alone), float(whole.bytes))
    assert sum(n for n, _ in spec.stacks) == len(spec.order)


def shuffled(program: Program, rng: random.Random) -> Program:
    tag = "".join(rng.choices("abcxyz gemm-all reduce", k=rng.randrange(12)))
    if isinstance(program, Call):
        return dataclasses.replace(program, tag=tag)
    if isinstance(program, Choice):
        return dataclasses.replace(program, tag=tag, options=tuple((f"{tag}{i}", shuffled(p, rng)) for i, (_, p) in
                                                                   enumerate(program.options)))  # fmt: skip
    return dataclasses.replace(program, tag=tag, parts=tuple(shuffled(p, rng) for p in program.parts))


@pytest.mark.parametrize("name", SOME)
def test_tags_are_inert(name: str) -> None:
    w = run(name, "b200", False, {"batch": 4, "isl": 512}).workload
    program, rng = step(w.model, w.view), random.Random(1)
    before: Any = price(program, Roofline(w.device)).cost
    for _ in range(3):
        assert price(shuffled(program, rng), Roofline(w.device)).cost == before


@pytest.mark.parametrize("name", ZOO)
def test_the_whole_on_one_device_is_always_legal(name: str) -> None:
    assert all(every(check.ok) for check in checks(model(name), Plan()))
