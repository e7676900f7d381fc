"""What layers keep for their backward passes: published bytes a token, and laws of shards and recomputation."""

from __future__ import annotations

import pytest
from trainkit import ATTENTION, FFN, SEQ, job, kept_per_token, passes

from simcost.ops.gemm import Gemm
from simcost.passes.saved import MODULES, Saved, kept_bytes
from simcost.plan import Plan
from simcost.program import calls, runs
from simcost.routing.read import parse as routing

SOME = ["llama-3-8b", "deepseek-v3", "mixtral-8x7b", "qwen3-30b-a3b", "gpt3-175b", "gemma-2-9b", "qwen3-next-80b-a3b", "zamba2-7b"]  # fmt: skip
CLASSIC = {"attention": "unfused", "dropout": "on"}  # flags of a stack without FlashAttention


@pytest.mark.parametrize(
    ("name", "bytes_"),
    [
        # 8h + 4h_q + 4h_kv + 6f + 4a of a layer with RMSNorm, SwiGLU and FlashAttention (Korthikanti et al. §4.1, tensor by tensor)
        ("llama-3-8b", 139_392.0),
        ("llama-3-70b", 274_688.0),
        ("llama-3.1-405b", 520_704.0),
        ("qwen3-32b", 231_680.0 + 2.0 * (8192.0 + 1024.0)),  # and the inputs of the norms of its queries and keys
        ("deepseek-v3", 456_320.0),
    ],
)
def test_bytes_of_a_token_in_a_layer(name: str, bytes_: float) -> None:
    assert kept_per_token(job(name)) == bytes_


@pytest.mark.parametrize(("again", "bytes_"), [((), 201_344.0), (("mla_up_proj",), 70_272.0)])
def test_mla_keeps_less_without_what_its_up_projections_make(again: tuple[str, ...], bytes_: float) -> None:
    """DeepSeek-V3 §3.2.3: 4h + 4q_r + 2(k_r + d_r) + 2k_r + 4a(d_n + d_r) + 4a·d_v + 4a; one norm before it."""
    assert kept_per_token(job("deepseek-v3"), again, ATTENTION) == bytes_


def test_routed_rows_are_kept_as_often_as_they_are_routed() -> None:
    """4h + 4E + k(2h + 6f_e) + 6f_s of DeepSeek-V3's MoE, E = 256, k = 8, f_e = f_s = 2048."""
    h, experts, k, f = 7168.0, 256.0, 8.0, 2048.0
    assert kept_per_token(job("deepseek-v3"), part=FFN) == 4.0 * h + 4.0 * experts + k * (2.0 * h + 6.0 * f) + 6.0 * f


@pytest.mark.parametrize(
    ("plan", "shared", "whole"),
    [(Plan(), 34.0, 0.0), (Plan(tp=8.0), 24.0, 10.0), (Plan(tp=8.0, sequence_parallel="on"), 34.0, 0.0)],
)
def test_a_classic_layer_as_korthikanti_counts_it(plan: Plan, shared: float, whole: float) -> None:
    """s·b·h(10 + 24/t) + 5·a·s²·b/t without, s·b·h·34/t + 5·a·s²·b/t with sequence parallelism (arXiv 2205.05198, equations 1, 2 and 4); the scores
    leave with selective recomputation (equation 5)."""
    s, b, h, a = 2048.0, 2.0, 12288.0, 96.0
    found = passes(job("gpt3-175b", plan, seq=2048, micro_batch=2, flags=CLASSIC)).kept
    rest = s * b * h * (whole + shared / plan.tp)
    assert kept_bytes(found) == pytest.approx(rest + 5.0 * a * s * s * b / plan.tp, rel=1e-12)
    assert kept_bytes(found, ("core_attn",)) == pytest.approx(rest, rel=1e-12)


def test_without_dropout_the_softmax_alone_stays() -> None:
    s, h, a = 2048.0, 12288.0, 96.0
    found = passes(job("gpt3-175b", seq=2048, flags={"attention": "unfused"})).kept
    assert kept_bytes(found) == s * h * 32.0 + 2.0 * a * s * s


def test_what_weight_gradients_need_as_zero_bubble_counts_it() -> None:
    """M_W = 32·s·b·h: the inputs of the four products and the gradients of their outputs (arXiv 2401.10241, table 1)."""
    found = passes(job("gpt3-175b", seq=2048, flags=CLASSIC))
    inputs = sum(float(one.bytes) for one in found.kept if one.product)
    assert inputs + float(found.gradients) == 32.0 * 2048.0 * 12288.0


@pytest.mark.parametrize("name", ["llama-3-70b", "gpt3-175b", "qwen3-32b"])
@pytest.mark.parametrize("tp", [2.0, 8.0])
def test_sequence_parallelism_divides_all_of_it(name: str, tp: float) -> None:
    whole, cut = (kept_per_token(job(name, plan)) for plan in (Plan(), Plan(tp=tp, sequence_parallel="on")))
    assert cut == pytest.approx(whole / tp, rel=1e-12)
    assert kept_per_token(job(name, Plan(tp=tp))) > cut
    if (name, tp) == ("llama-3-70b", 8.0):
        assert cut == 34_336.0


@pytest.mark.parametrize(("name", "ep"), [("llama-3-8b", 1.0), ("qwen3-30b-a3b", 4.0)])
def test_context_parallelism_divides_all_of_it(name: str, ep: float) -> None:
    even = routing("balanced")  # else the busiest rank of experts keeps more
    whole, cut = (kept_per_token(job(name, plan, routing=even)) for plan in (Plan(), Plan(cp=4.0, ep=ep)))
    assert cut == pytest.approx(whole / 4.0, rel=1e-12)


@pytest.mark.parametrize("name", SOME)
def test_recomputation_never_raises_what_is_kept(name: str) -> None:
    found = passes(job(name)).kept
    before = kept_bytes(found)
    assert before > 0.0
    for module in MODULES:
        assert kept_bytes(found, (module,)) <= before
    assert kept_bytes(found, MODULES) <= min(float(kept_bytes(found, (module,))) for module in MODULES)


@pytest.mark.parametrize("name", SOME)
def test_it_is_proportional_to_micro_batches_and_to_tokens(name: str) -> None:
    one, two, longer = (
        float(kept_bytes(passes(job(name, **sizes)).kept)) for sizes in ({}, {"micro_batch": 2}, {"seq": 2 * SEQ})
    )
    assert two == pytest.approx(2.0 * one, rel=1e-9)
    assert longer == pytest.approx(2.0 * one, rel=2e-2)  # states of recurrent layers grow by chunks


def test_a_narrow_format_keeps_inputs_of_products_narrow() -> None:
    """DeepSeek-V3 §3.3.3: inputs of products as fp8, the output of the core in 12 bits, the input of SwiGLU in fp8."""
    narrow, plain = (kept_per_token(job("deepseek-v3", hw="h800", precision=name)) for name in ("fp8-block", "bf16"))
    assert 0.5 < narrow / plain < 0.8


def test_made_by_any_of_its_modules_a_tensor_goes() -> None:
    found = (Saved(1.0, "a"), Saved(2.0, "b", ("mlp",)), Saved(4.0, "c", ("activation", "mlp")))
    assert [kept_bytes(found, names) for names in ((), ("mlp",), ("activation",), ("moe",))] == [7.0, 1.0, 3.0, 7.0]


def test_gradients_of_outputs_wait_in_the_format_in_which_products_multiply() -> None:
    """FP8 with a scale for 128 numbers, 1.031 B in place of 2, of all products but the router's."""
    narrow, plain = (
        float(passes(job("deepseek-v3", hw="h800", precision=name)).gradients) for name in ("fp8-block", "bf16")
    )
    router = 2.0 * 256.0 * SEQ
    assert narrow - router == pytest.approx((plain - router) * (1.0 + 4.0 / 128.0) / 2.0, rel=1e-6)


@pytest.mark.parametrize("method", ["ring", "all_gather", "ulysses"])
@pytest.mark.parametrize("name", ["deepseek-v3", "llama-3-8b"])
def test_context_parallel_ranks_keep_what_their_own_tokens_make(name: str, method: str) -> None:
    """MLA expands the tokens of a rank, not the latents that it gathers: four ranks keep and multiply as much as one, and
    send keys and values of all heads (Megatron Core, multi_latent_attention.py)."""
    alone = passes(job(name), ATTENTION)
    cut = passes(job(name, Plan(cp=4.0, gpus=4.0, cp_method=method)), ATTENTION)
    assert 4.0 * kept_bytes(cut.kept) == kept_bytes(alone.kept)
    flops = [
        sum(
            float(call.op.work().flops) * float(times) for call, times in runs(one.forward) if isinstance(call.op, Gemm)
        )
        for one in (cut, alone)
    ]
    assert 4.0 * flops[0] == flops[1]
    if method != "ulysses":
        gathers = [call.op for call in calls(cut.forward) if getattr(call.op, "kind", "") == "all_gather"]
        (sent,) = [op for op in gathers if op.group > 1.0]  # type: ignore[attr-defined]
        per_token = {"deepseek-v3": 128 * (192 + 128) * 2.0, "llama-3-8b": 8 * 2 * 128 * 2.0}[name]
        assert sent.payload == SEQ * per_token  # type: ignore[attr-defined]
