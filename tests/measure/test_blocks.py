"""Torch blocks against float64 references written from the papers, and against simcost's own program of the layer."""

# ruff: noqa: E402 -- without torch the file is skipped before the rest is imported

from __future__ import annotations

from dataclasses import replace

import pytest

torch = pytest.importorskip("torch")

from layerkit import NORMS, SMALL_FFN, SMALL_GQA, SMALL_MFA, SMALL_MLA, SMALL_MOE, D, reference, spec

from simcost.blocks.attention.gqa import GQA
from simcost.blocks.attention.sliding_window import SlidingWindow
from simcost.blocks.attention.window_mla import WindowMLA
from simcost.blocks.ffn.dense import Dense
from simcost.blocks.norm.norm import Norm
from simcost.errors import SpecError
from simcost.estimate.layer import BlockSpec, listed, of_model, random_blocks
from simcost.measure import torch_ops as ops
from simcost.measure.torch_layers import build
from simcost.model import load as models
from simcost.plan import Phase


def close(one: BlockSpec) -> None:
    block = build.build(one, copies=1)
    wanted = reference(block)
    s = block.forward(0, block.inputs())
    assert torch.allclose(block.output(s).detach(), wanted, rtol=2e-4, atol=2e-4)


LAYERS = {
    "mha": spec(GQA(float(D), 4.0, 4.0, 8.0, 8.0)),
    "gqa": spec(SMALL_GQA),
    "gqa decode": spec(SMALL_GQA, q=1.0, past=6.0),
    "gqa chunk": spec(SMALL_GQA, q=3.0, past=4.0),
    "bias": spec(replace(SMALL_GQA, qkv_bias=True, o_bias=True), replace(SMALL_FFN, bias=True)),
    "qk-norm": spec(replace(SMALL_GQA, qk_norm="head")),
    "qk-norm full": spec(replace(SMALL_GQA, qk_norm="full")),
    "half rope": spec(replace(SMALL_GQA, rotary=0.5)),
    "no rope": spec(replace(SMALL_GQA, rotary=0.0)),
    "narrow v": spec(replace(SMALL_GQA, v_head_dim=4.0)),
    "window": spec(SlidingWindow(float(D), 4.0, 2.0, 8.0, 8.0, window=3.0), q=7.0),
    "window decode": spec(SlidingWindow(float(D), 4.0, 2.0, 8.0, 8.0, window=3.0), q=1.0, past=6.0),
    "window chunk": spec(SlidingWindow(float(D), 4.0, 2.0, 8.0, 8.0, window=3.0), q=4.0, past=6.0),
    "chunked": spec(SlidingWindow(float(D), 4.0, 2.0, 8.0, 8.0, chunk=4.0), q=7.0),
    "chunked decode": spec(SlidingWindow(float(D), 4.0, 2.0, 8.0, 8.0, chunk=4.0), q=1.0, past=6.0),
    "mfa": spec(SMALL_MFA),
    "mfa decode": spec(SMALL_MFA, q=1.0, past=6.0),
    "mfa chunk": spec(SMALL_MFA, q=3.0, past=4.0),
    "mfa bias, qk-norm": spec(replace(SMALL_MFA, qkv_bias=True, o_bias=True, qk_norm="head")),
    "mfa no rope": spec(replace(SMALL_MFA, rotary=0.0)),
    "mfa training": spec(SMALL_MFA, backward=True),
    "mla": spec(SMALL_MLA),
    "mla decode": spec(SMALL_MLA, q=1.0, past=6.0),
    "mla chunk": spec(SMALL_MLA, q=3.0, past=4.0),
    "mla absorbed prefill": spec(SMALL_MLA, mla_form="absorbed"),
    "mla expanded decode": spec(SMALL_MLA, q=1.0, past=6.0, mla_form="expanded"),
    "mla no q lora, bias": spec(replace(SMALL_MLA, q_lora_rank=None, bias=True)),
    "mla bias": spec(replace(SMALL_MLA, bias=True)),
    "mla no rope": spec(replace(SMALL_MLA, rotated=False), q=3.0, past=4.0),
    "mla no rope decode": spec(replace(SMALL_MLA, rotated=False), q=1.0, past=6.0),
    "mla gate": spec(replace(SMALL_MLA, output_gate="full")),
    "mla gate of heads": spec(replace(SMALL_MLA, output_gate="head"), q=1.0, past=6.0),
    "window mla": spec(WindowMLA(float(D), 4.0, 16.0, 8.0, 8.0, 12.0, 24.0, window=3.0), q=7.0),
    "window mla decode": spec(WindowMLA(float(D), 4.0, 16.0, 8.0, 8.0, 12.0, 24.0, window=3.0), q=1.0, past=6.0),
    "window mla chunk": spec(WindowMLA(float(D), 4.0, 16.0, 8.0, 8.0, 12.0, 24.0, window=3.0), q=4.0, past=6.0),
    "gate": spec(replace(SMALL_GQA, output_gate="full", qkv_bias=True)),
    "gate of heads": spec(replace(SMALL_GQA, output_gate="head", output_gate_bias=True), q=1.0, past=6.0),
    "gate training": spec(replace(SMALL_GQA, output_gate="full"), backward=True),
    "sinks": spec(replace(SMALL_GQA, sinks=True)),
    "sinks decode": spec(replace(SMALL_GQA, sinks=True), q=1.0, past=6.0),
    "sinks window": spec(SlidingWindow(float(D), 4.0, 2.0, 8.0, 8.0, window=3.0, sinks=True), q=4.0, past=6.0),
    "sinks narrow v": spec(replace(SMALL_GQA, sinks=True, v_head_dim=4.0)),
    "sinks training": spec(replace(SMALL_GQA, sinks=True), backward=True),
    "sinks mla": spec(replace(SMALL_MLA, sinks=True)),
    "sinks mla decode": spec(replace(SMALL_MLA, sinks=True), q=1.0, past=6.0),
    "sinks mla training": spec(replace(SMALL_MLA, sinks=True), backward=True),
    "moe latent": spec(SMALL_GQA, replace(SMALL_MOE, moe_latent_size=16.0)),
    "moe latent, normed": spec(SMALL_GQA, replace(SMALL_MOE, moe_latent_size=16.0, latent_norm=True, shared_width=0.0)),
    "plain ffn": spec(SMALL_GQA, Dense(float(D), 48.0, gated=False)),
    "moe": spec(SMALL_GQA, SMALL_MOE),
    "moe sigmoid groups": spec(
        SMALL_GQA, replace(SMALL_MOE, n_routed_experts=8.0, scoring_func="sigmoid", correction_bias=True, n_group=4.0, topk_group=2.0)
    ),
    "moe gate": spec(SMALL_GQA, replace(SMALL_MOE, shared_gate=True, router_bias=True)),
    "moe bias, plain": spec(SMALL_GQA, replace(SMALL_MOE, expert_bias=True, gated=False, shared_width=0.0)),
    "moe odd width": spec(SMALL_GQA, replace(SMALL_MOE, moe_intermediate_size=21.0)),
    "mla + moe": spec(SMALL_MLA, SMALL_MOE),
    "layer norm": spec(SMALL_GQA, norms=(Norm("a", float(D), 2.0), Norm("b", float(D), 2.0))),
    "bare norm": spec(SMALL_GQA, norms=(Norm("a", float(D), 0.0), Norm("b", float(D), 0.0))),
    "parallel": spec(SMALL_GQA, norms=(Norm("norm", float(D)),)),
    "sandwich": BlockSpec(
        "small", (NORMS[0], SMALL_GQA, Norm("post_attention_norm", float(D), 1.0, False), NORMS[1], SMALL_FFN,
                  Norm("post_ffn_norm", float(D), 1.0, False)), Phase(2.0, 5.0, 0.0), "fp32",
    ),
    "training": spec(SMALL_GQA, backward=True),
    "training mla": spec(SMALL_MLA, backward=True),
    "training moe": spec(SMALL_GQA, SMALL_MOE, backward=True),
    "one of two ranks": spec(SMALL_GQA, tp=2.0),
}  # fmt: skip


@pytest.mark.parametrize("name", [name for name in LAYERS if name != "one of two ranks"])
def test_a_block_computes_what_its_paper_says(name: str) -> None:
    close(LAYERS[name])


@pytest.mark.parametrize("one", [pytest.param(one, id=name) for name, one in LAYERS.items()])
def test_sections_are_the_calls_of_the_program(one: BlockSpec) -> None:
    block = build.build(one, copies=1)
    assert [s.name for s in block.sections] == [item.name for item in listed(one)]
    assert len({s.name for s in block.sections}) == len(block.sections)
    ran = block.forward(0, block.inputs())
    assert block.output(ran).isfinite().all()


def test_every_layer_of_every_shipped_model_can_be_built() -> None:
    """Sections alone: nothing large is allocated."""
    names = models.names()
    for name in names:
        model = models.load(name)
        for phase in (Phase(1.0, 64.0, 0.0), Phase(4.0, 1.0, 63.0)):
            for one in of_model(model, phase):
                assert len(build._sections(one, torch.device("cpu"))[0]) == len(listed(one))
    assert len(names) > 150


def test_ranks_share_heads_and_width() -> None:
    one, two = (build.build(spec(SMALL_GQA, tp=n), copies=1).copies[0] for n in (1.0, 2.0))
    assert two["1.qkv_proj"].shape[0] * 2 == one["1.qkv_proj"].shape[0]
    assert two["3.down_proj"].shape[1] * 2 == one["3.down_proj"].shape[1]


@pytest.mark.parametrize("attention", [SMALL_GQA, SMALL_MLA], ids=["gqa", "mla"])
@pytest.mark.parametrize("ffn", [SMALL_FFN, SMALL_MOE], ids=["dense", "moe"])
def test_splitting_the_two_gradients_changes_neither(attention, ffn) -> None:
    block = build.build(spec(attention, ffn, backward=True), copies=1)
    found = []
    for stamp in (None, lambda name: None):
        block.kit.stamp = stamp
        block.forget(0)
        s = block.forward(0, block.inputs())
        block.backward(s)
        weights = {key: value.grad for key, value in block.copies[0].items() if value.requires_grad}
        assert all(grad is not None for grad in weights.values())
        found.append({**weights, "x": s["in.branch"].grad})
    assert all(torch.allclose(found[0][key], found[1][key], rtol=1e-4, atol=1e-5) for key in found[0])


def test_a_loop_stands_in_where_grouped_products_take_no_such_sizes() -> None:
    x, w, ends = torch.randn(6, 7), torch.randn(3, 5, 7), torch.tensor([2, 2, 6], dtype=torch.int32)
    assert not ops.takes_groups(x, w)
    assert torch.allclose(ops.grouped(x, w, ends)[2:], x[2:] @ w[2].T, atol=1e-5)


def test_the_latent_attention_of_a_device_equals_that_of_a_cpu(monkeypatch) -> None:
    q, latent = torch.randn(2, 4, 3, 24), torch.randn(2, 9, 24)
    mask = ops.lower_right(3, 9, q.device, q.dtype)
    here = ops.latent_attention(q, latent, 16, mask, False, 0.3)
    monkeypatch.setattr(torch.Tensor, "is_cuda", True, raising=False)
    assert torch.allclose(ops.latent_attention(q, latent, 16, mask, False, 0.3), here, atol=1e-5)


def test_what_does_not_fit_is_one_line_before_anything_is_allocated() -> None:
    one = of_model(models.load("deepseek-v3"), Phase(64.0, 1.0, 8191.0))[1]
    with pytest.raises(SpecError, match=r"needs .*GB and may take 1 GB: choose a smaller") as found:
        build.build(one, limit=1e9)
    assert "\n" not in str(found.value)


@pytest.mark.parametrize(
    ("act", "said"),
    [
        (lambda: build.build(spec(SMALL_GQA), "cuda:7"), "CUDA devices"),
        (lambda: build.build(spec(SMALL_GQA), "tpu"), "must be cpu or cuda"),
        (lambda: build.build(spec(replace(SMALL_GQA, head_dim=8.5))), "one whole number"),
        (lambda: spec(SMALL_GQA, dtype="fp8"), "the format must be one of fp32, bf16, fp16"),
        (lambda: spec(SMALL_GQA, past=3.0, backward=True), "no cached tokens"),
    ],
)  # fmt: skip
def test_a_users_mistake_is_one_line(act, said: str) -> None:
    with pytest.raises(SpecError, match=said):
        act()


def test_copies_make_weights_cold_and_never_share_them() -> None:
    one = random_blocks(4)[3]
    block = build.build(one)
    each = build.needed_bytes(one, build._sections(one, torch.device("cpu"))[1])[0]
    assert len(block.copies) > 1
    assert len(block.copies) * each >= build.ROTATED or len(block.copies) == build.MOST_COPIES
    assert len({copy["1.qkv_proj"].data_ptr() for copy in block.copies}) == len(block.copies)
    assert all(value.float().std() > 0 for copy in block.copies for key, value in copy.items() if "proj" in key)


def test_random_blocks_are_the_same_every_time_and_any_prefix_is_a_design() -> None:
    many = random_blocks(60, seed=3)
    assert random_blocks(7, seed=3) == many[:7]
    assert random_blocks(7, seed=4) != many[:7]
    assert len({one.name for one in many}) == 60
    for n in (15, 30, 60):
        for what in ("kind", "stage"):
            counts = [
                sum(getattr(one, what) == value for one in many[:n]) for value in {getattr(one, what) for one in many}
            ]
            assert min(counts) >= n / 6
    for one in many:
        tokens, context = float(one.phase.q_len), float(one.phase.context)
        assert 512 <= context <= 2048 if one.decode else 128 <= tokens <= 1024
