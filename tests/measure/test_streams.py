"""Torch layers with several residual streams, copies of the stream, per-layer inputs, zero experts and shared blocks: what their classes compute, and what their blocks count."""

# ruff: noqa: E402 -- without torch the file is skipped before the rest is imported

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from layerkit import (
    NORMS,
    SMALL_FFN,
    SMALL_GQA,
    SMALL_MLA,
    SMALL_MOE,
    D,
    ref_dense,
    ref_glu,
    ref_gqa,
    ref_norm,
)
from torch.utils.flop_counter import FlopCounterMode

from simcost.blocks._recurrent import States
from simcost.blocks.attention.kda import KDA
from simcost.blocks.attention.mamba2 import Mamba2
from simcost.blocks.attention.shared_kv import SharedKV
from simcost.blocks.attention.shared_transformer import Joint, SharedAttention, SharedFFN, SharedNorm
from simcost.blocks.embed.per_layer import PerLayerInput
from simcost.blocks.ffn.dense_beside_experts import ScaledMoE
from simcost.blocks.ffn.gaussian_topk import GaussianTopK
from simcost.blocks.ffn.zero_experts import ZeroExperts
from simcost.blocks.norm.altup import AltUp, Laurel
from simcost.blocks.norm.attention_residual import AttentionResidual
from simcost.blocks.norm.hyper_connection import HyperConnection
from simcost.blocks.norm.norm import Norm
from simcost.dtypes import dtype
from simcost.estimate.layer import BlockSpec, listed
from simcost.measure import torch_ops as ops
from simcost.measure.torch_layers import build, time_cpu
from simcost.ops.gemm import Gemm
from simcost.ops.grouped_gemm import GroupedGemm
from simcost.ops.stream import Stream
from simcost.plan import Phase, Plan

W = float(D)
FP32 = States(dtype("fp32"), dtype("fp32"))
FFN_NORM, INNER = Norm("ffn_norm", W), (Norm("attention_norm", W, 1.0, False), Norm("ffn_norm", W, 1.0, False))
SHARED = SharedKV(W, 4.0, 2.0, 8.0, 8.0, window=4.0)


def residual(attention, ffn, *copies: float):
    sides = (
        AttentionResidual(name, W, copies=n) for name, n in zip(("attention_norm", "ffn_norm"), copies, strict=True)
    )
    return next(sides), attention, next(sides), ffn


def connected(mixes: bool, attention=SMALL_GQA):
    sides = [
        HyperConnection(f"{n}_hc", W, 4.0, before, mixes) for n in ("attention", "ffn") for before in (True, False)
    ]
    return sides[0], INNER[0], attention, sides[1], sides[2], INNER[1], SMALL_FFN, sides[3]


def sandwich(ffn, low=()):
    first, second = (Norm(f"post_{name}_norm", W, 1.0, False) for name in ("attention", "ffn"))
    return NORMS[0], SHARED, first, *low, FFN_NORM, ffn, second


def zamba(uses: float, adapter: bool = True, adapters: bool = False):
    """A hybrid layer that holds the block, or borrows it; `adapters`: of its attention."""
    held = uses > 0.0
    attention = SharedAttention(W, 4.0, 4.0, 16.0, 16.0, rotary=1.0, uses=uses, adapter_rank=8.0, adapted=adapters)
    ffn = SharedFFN(W, 48.0, True, False, uses=uses, adapter_rank=8.0, adapted=adapter)
    norms = SharedNorm("concat_norm", 2 * W, 1.0, False, held), SharedNorm("pre_ff_norm", W, 1.0, False, held)
    own = Mamba2(W, 4.0, 6.0, 2.0, 8.0, 4.0, 4.0, FP32)
    return Norm("norm", W), norms[0], attention, norms[1], ffn, Joint(W), own


def beside():
    """Gemma 4's dense layer beside experts."""
    first, second, third = (
        Norm(f"{name}", W, 1.0, False) for name in ("post_ffn_norm_1", "pre_ffn_norm_2", "post_ffn_norm")
    )
    experts = ScaledMoE(W, 4.0, 2.0, 24.0), Norm("post_ffn_norm_2", W, 1.0)
    return *sandwich(SMALL_FFN)[:-1], first, second, *experts, third


ZERO = ZeroExperts(W, 4.0, 2.0, 24.0, zero_experts=2.0, picks=3.0)
LAYERS = {
    "attention residuals": residual(SMALL_GQA, SMALL_FFN, 2.0, 2.0),
    "attention residuals, a block's first": residual(KDA(W, 4.0, 8.0, 4.0, FP32), SMALL_MOE, 1.0, 2.0),
    "attention residuals, the first": residual(SMALL_MLA, SMALL_FFN, 0.0, 1.0),
    "hyper-connections": connected(True),
    "hyper-connections, apart": connected(False),
    "altup": (AltUp("altup_predict", W, 4.0, True), *sandwich(GaussianTopK(W, 48.0), (Laurel(W, 8.0),)),
              AltUp("altup_correct", W, 4.0, False), PerLayerInput(W, 16.0, 3.0)),
    "per-layer inputs": (*sandwich(SMALL_FFN), PerLayerInput(W, 16.0)),
    "zero experts, shortcut": (NORMS[0], SMALL_MLA, NORMS[1], ZERO, SMALL_FFN),
    "shortcut alone": (NORMS[0], SMALL_GQA, NORMS[1], ZeroExperts(W, 4.0, 2.0, 24.0, picks=2.0), SMALL_FFN),
    "zero experts alone": (NORMS[0], SMALL_GQA, NORMS[1], ZeroExperts(W, 4.0, 2.0, 24.0, zero_experts=2.0, picks=3.0, shortcut=False)),
    "shared block, held": zamba(3.0),
    "shared block, borrowed": zamba(0.0),
    "shared block, bare": zamba(1.0, False),
    "shared block, adapters": zamba(3.0, adapters=True),
    "shared block, borrowed, adapters": zamba(0.0, adapters=True),
    "dense beside experts": beside(),
}  # fmt: skip
PHASES = {"prompt": (2.0, 7.0, 0.0), "chunk": (2.0, 6.0, 9.0), "decode": (3.0, 1.0, 11.0)}
EACH = pytest.mark.parametrize("name", LAYERS)


def made(name: str, phase: str = "prompt", **more) -> build.TorchBlock:
    return build.build(
        BlockSpec("small", tuple(LAYERS[name]), Phase(*PHASES[phase]), **{"dtype": "fp32", **more}), copies=1
    )


@EACH
@pytest.mark.parametrize("phase", PHASES)
def test_sections_are_the_calls_of_the_program_and_run_again_alike(name: str, phase: str) -> None:
    block = made(name, phase)
    assert [section.name for section in block.sections] == [item.name for item in listed(block.spec)]
    s = block.forward(0, block.inputs())
    again = block.forward(0, block.inputs(s))
    assert block.output(s).isfinite().all()
    assert block.output(again).isfinite().all()
    assert block.output(again).shape == block.output(s).shape


@EACH
def test_weights_are_those_of_the_blocks(name: str) -> None:
    block = made(name)
    _, sites, *_ = build._sections(block.spec, block.device)
    apart = {key for site in sites for key in (*site.caches, *site.shared)}
    held = sum(value.numel() for key, value in block.copies[0].items() if key not in apart)
    assert held == sum(float(w.count) for part in block.spec.layer for w in part.weights(Plan()))


@EACH
def test_torch_counts_the_products_that_the_blocks_count(name: str, monkeypatch) -> None:
    """Of a fused kernel torch sees at most its matrix products. Its counter knows no grouped product, so that experts take turns."""
    monkeypatch.setattr(ops, "takes_groups", lambda x, w: False)
    block = made(name)
    s = block.inputs()
    for section, item in zip(block.sections, listed(block.spec), strict=True):
        with FlopCounterMode(display=False) as counter:
            section.run(block.copies[0], s)
        theirs, mine = float(counter.get_total_flops()), float(item.op.work().flops)
        if isinstance(item.op, (Gemm, GroupedGemm)):
            assert theirs == mine, item.name
        elif isinstance(item.op, Stream):
            assert theirs <= mine, item.name


def test_torch_counts_the_products_of_streams() -> None:
    """14 tokens of 32 elements: of a hyper-connection of 4 streams 24 products over all of them, and 4 x 4 between them; of AltUp its router, and 4 x 4 of the streams."""
    found = {}
    for name in ("hyper-connections", "hyper-connections, apart", "altup"):
        block = made(name)
        s = block.inputs()
        for section in block.sections:
            with FlopCounterMode(display=False) as counter:
                section.run(block.copies[0], s)
            found[name, section.name] = counter.get_total_flops()
    rows = 14
    assert found["hyper-connections", "ffn_hc"] == rows * 2 * 24 * 4 * D
    assert found["hyper-connections", "ffn_hc after"] == rows * 2 * 16 * D
    assert found["hyper-connections, apart", "ffn_hc"] == rows * 2 * 8 * 4 * D
    assert found["hyper-connections, apart", "ffn_hc after"] == 0
    assert found["altup", "altup_predict"] == rows * 2 * (4 * D + 64 + 16 * D)
    assert found["altup", "altup_correct"] == rows * 2 * (4 * D + 16)


@EACH
def test_a_training_step_reaches_every_weight(name: str) -> None:
    block = made(name, backward=True)
    block.backward(block.forward(0, block.inputs()))
    grads = {key: value.grad for key, value in block.copies[0].items() if value.requires_grad}
    assert all(grad is not None and grad.isfinite().all() for grad in grads.values())
    assert "borrowed" not in name or {"2.qkv_proj", "3.pre_ff_norm", "4.down_proj"} <= grads.keys()
    ahead, back = time_cpu.measure(block, 0.01)
    assert [op.name for op in ahead.ops] == [item.name for item in listed(block.spec)]
    assert back.ops


# ---- references: float64, of the first copy's weights ------------------------------------------------------------------


def parts(block: build.TorchBlock):
    """(weights by block, value by name in float64, after a run)."""
    own = {key: value.detach().double() for key, value in block.copies[0].items()}
    s = block.forward(0, block.inputs())
    found = [
        {key.split(".", 1)[1]: v for key, v in own.items() if key.startswith(f"{i}.")}
        for i in range(len(block.spec.layer))
    ]
    return found, own, s


@pytest.mark.parametrize("name", [name for name in LAYERS if name.startswith("attention residuals")])
def test_a_sublayer_reads_the_softmax_of_stream_and_copies(name: str) -> None:
    block = made(name)
    w, own, s = parts(block)
    stream = block.start[0].double() + block.start[1].double()
    copies = list(own["residual copies"]) if "residual copies" in own else []
    for site in (0, 2):
        one = block.spec.layer[site]
        if site:
            stream = stream + s["1.out"].double()
            copies = copies + [stream] * (int(one.copies) - len(copies))
        rows = torch.stack([*copies, stream])
        gain, vector = w[site][f"{one.name}_score"].split(D)
        scores = torch.stack([ref_norm(row, gain) @ vector for row in rows])
        mean = (torch.softmax(scores, 0).unsqueeze(-1) * rows).sum(0)
        assert len(rows) == one.copies + 1
        assert torch.allclose(s[f"{site}.normed"].double(), ref_norm(mean, w[site][one.name]), atol=1e-4)
    assert torch.allclose(block.output(s), stream + s["3.out"].double(), atol=1e-4)


@pytest.mark.parametrize("mixes", [True, False])
def test_hyper_connections_mix_the_streams_around_both_sublayers(mixes: bool) -> None:
    block = made("hyper-connections" if mixes else "hyper-connections, apart")
    w, _, s = parts(block)
    x = block.start[0].double()
    for at, sublayer in ((0, lambda v: ref_gqa(SMALL_GQA, w[2], v, [], block.spec.phase)), (4, lambda v: ref_dense(SMALL_FFN, w[6], v, [], None))):  # fmt: skip
        name = block.spec.layer[at].name
        flat = ref_norm(x.flatten(1), None)
        product = flat @ w[at][f"{name}_fn"].view(-1, 4 * D).T
        base, scale = w[at][f"{name}_base"][: product.shape[1]], w[at][f"{name}_base"][product.shape[1] :]
        enter = torch.sigmoid(product[:, :4] * scale[0] + base[:4])
        leave = 2 * torch.sigmoid(product[:, 4:8] * scale[1] + base[4:8])
        y = sublayer(ref_norm((enter.unsqueeze(-1) * x).sum(1), w[at + 1][block.spec.layer[at + 1].name]))
        kept = x
        if mixes:
            mix = torch.exp(product[:, 8:] * scale[2] + base[8:]).view(-1, 4, 4)
            for _ in range(20):
                mix = mix / mix.sum(-1, keepdim=True)
                mix = mix / mix.sum(-2, keepdim=True)
            assert torch.allclose(mix.sum(-1), torch.ones(len(mix), 4, dtype=torch.float64), atol=1e-4)
            kept = mix @ x
        x = kept + leave.unsqueeze(-1) * y.unsqueeze(1)
    assert torch.allclose(block.output(s), x, atol=2e-4)


def test_altup_predicts_and_corrects_and_the_vectors_enter_all_streams_but_the_first() -> None:
    block = made("altup")
    w, own, s = parts(block)
    x = block.start[0].double()

    def coefficients(stream, name):
        routed = torch.tanh(ref_norm(stream, w[0]["router_norm"]) / D @ w[0]["modality_router"].view(4, D).T)
        return routed @ w[0][name].view(-1, 4).T

    predicted = x + coefficients(x[:, 0], "prediction_coefs").view(-1, 4, 4) @ x
    active = predicted[:, 0]
    normed = ref_norm(active, w[1]["attention_norm"])
    low = ref_norm(normed @ w[4]["linear_left"].T @ w[4]["linear_right"].T, w[4]["post_laurel_norm"])
    attended = (active + s["3.normed"].double() + normed + low) / 2**0.5
    seen = ref_norm(attended, w[5]["ffn_norm"])
    gate, up = (seen @ w[6]["gate_up_proj"].T).split(48, -1)
    limit = gate.mean(-1, keepdim=True) + 1.6448536 * gate.std(-1, keepdim=True, correction=0)
    kept = (gate - limit).clamp(min=0)
    out = (kept / (1 + torch.exp(-kept)) * up) @ w[6]["down_proj"].T
    learnt = attended + ref_norm(out, w[7]["post_ffn_norm"])
    corrected = predicted + (coefficients(learnt, "correction_coefs") + 1).unsqueeze(-1) * (learnt - active).unsqueeze(
        1
    )
    entering = corrected[:, 0] * w[0]["correct_output_scale"] @ w[9]["per_layer_input_gate"].T
    inner = torch.nn.functional.gelu(entering, approximate="tanh") * own["per-layer vectors"]
    added = ref_norm(inner @ w[9]["per_layer_projection"].T, w[9]["post_per_layer_input_norm"])
    wanted = torch.cat((corrected[:, :1], corrected[:, 1:] + added.unsqueeze(1)), 1)
    assert torch.allclose(block.output(s), wanted, atol=2e-4)


def test_experts_beside_a_dense_layer_read_the_stream_by_a_norm_of_their_own() -> None:
    """Gemma 4: a router by scales of its elements, weights by scales of the experts, each branch normed, and their sum."""
    block = made("dense beside experts")
    w, _, s = parts(block)
    stream = block.start[0].double() + block.start[1].double() + s["2.normed"].double()
    dense = ref_norm(ref_dense(SMALL_FFN, w[4], ref_norm(stream, w[3]["ffn_norm"]), [], None), w[5]["post_ffn_norm_1"])
    x, out = ref_norm(stream, w[6]["pre_ffn_norm_2"]), torch.zeros_like(stream)
    scale, each = w[7]["router_scale"].split((D, 4))
    weights = torch.softmax(ref_norm(stream, scale) * D**-0.5 @ w[7]["router"].T, -1)
    for i, token in enumerate(x):
        best = weights[i].topk(2).indices.tolist()
        for expert in best:
            share = weights[i, expert] / weights[i, best].sum() * each[expert]
            out[i] += share * ref_glu(token, w[7]["experts_up"][expert], w[7]["experts_down"][expert], True)
    both = dense + ref_norm(out, w[8]["post_ffn_norm_2"])
    assert torch.allclose(block.output(s), stream + ref_norm(both, w[9]["post_ffn_norm"]), atol=2e-4)


def test_zero_experts_give_the_token_back_and_the_shortcut_joins_the_stream() -> None:
    block = made("zero experts, shortcut")
    w, _, s = parts(block)
    stream = block.start[0].double() + block.start[1].double() + s["1.out"].double()
    x = ref_norm(stream, w[2]["ffn_norm"])
    scores = torch.softmax(x @ w[3]["router"].T, -1)
    out = torch.zeros_like(x)
    for i, token in enumerate(x):
        real, zero = scores[i, :4].topk(2).indices.tolist(), [4 + int(scores[i, 4:].argmax())]
        whole = scores[i, real + zero].sum()
        for expert in real:
            out[i] += scores[i, expert] / whole * ref_glu(token, w[3]["experts_up"][expert], w[3]["experts_down"][expert], True)  # fmt: skip
        out[i] += scores[i, zero[0]] / whole * token
    wanted = stream + out + ref_dense(SMALL_FFN, w[4], x, [], None)
    assert torch.allclose(block.output(s), wanted, atol=2e-4)


@pytest.mark.parametrize("name", ["held", "borrowed", "adapters", "borrowed, adapters"])
def test_a_shared_block_reads_the_embedding_and_its_product_enters_the_mixer(name: str) -> None:
    block = made(f"shared block, {name}")
    w, own, s = parts(block)
    stream = block.start[0].double() + block.start[1].double()
    normed = ref_norm(stream, w[0]["norm"])
    if "adapters" in name:
        more = [up @ down for up, down in zip(w[2]["qkv_adapter_up"], w[2]["qkv_adapter_down"], strict=True)]
        w[2]["qkv_proj"] = w[2]["qkv_proj"] + torch.cat(more)
    x = ref_norm(torch.cat((stream, own["embedding rows"]), -1), w[1]["concat_norm"])
    plain = SMALL_GQA.__class__(2 * W, 4.0, 4.0, 16.0, 16.0)
    x = ref_norm(ref_gqa(plain, w[2], x, [], block.spec.phase), w[3]["pre_ff_norm"])
    up = w[4]["gate_up_proj"] + w[4]["gate_up_adapter_up"] @ w[4]["gate_up_adapter_down"]
    x = ref_glu(x, up, w[4]["down_proj"], True)
    assert torch.allclose(s["5.sum"].double(), normed + x @ w[5]["linear"].T, atol=2e-4)
    assert block.flow.pending == ["6.out"]
