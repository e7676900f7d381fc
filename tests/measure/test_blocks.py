"""Torch blocks against float64 references written from the papers, and against simcost's own program of the layer."""

# ruff: noqa: E402 -- without torch the file is skipped before the rest is imported

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch")

from simcost.blocks.attention.gqa import GQA
from simcost.blocks.attention.mamba import Mamba
from simcost.blocks.attention.mfa import MFA
from simcost.blocks.attention.mla import MLA
from simcost.blocks.attention.sliding_window import SlidingWindow
from simcost.blocks.attention.window_mla import WindowMLA
from simcost.blocks.ffn.dense import Dense
from simcost.blocks.ffn.moe import MoE
from simcost.blocks.norm.norm import Norm
from simcost.calibration import rows as tables
from simcost.calibration.family import families
from simcost.errors import SpecError
from simcost.estimate.layer import BlockSpec, fused, listed, of_model, random_blocks
from simcost.measure import torch_ops as ops
from simcost.measure.points.design import Rates
from simcost.measure.session import layers
from simcost.measure.timing import deadline
from simcost.measure.timing.cpu import Timing
from simcost.measure.torch_layers import bounds, build, time_cpu, time_cuda
from simcost.measure.torch_layers import rows as blocks_rows
from simcost.measure.torch_layers.times import BlockTime, OpTime
from simcost.model import load as models
from simcost.plan import Phase
from simcost.sharding.shard import Block

D = 32
NORMS = Norm("attention_norm", float(D)), Norm("ffn_norm", float(D))
SMALL_GQA = GQA(float(D), 4.0, 2.0, 8.0, 8.0)
SMALL_MLA = MLA(float(D), 4.0, 16.0, 8.0, 8.0, 12.0, 24.0)
SMALL_MFA = MFA(float(D), 4.0, 1.0, 8.0, 8.0, share_q_dim=12.0)
SMALL_FFN = Dense(float(D), 48.0)
SMALL_MOE = MoE(float(D), 4.0, 2.0, 24.0, 40.0)


def spec(attention, ffn=SMALL_FFN, batch=2.0, q=5.0, past=0.0, norms=NORMS, **more) -> BlockSpec:
    layer = (norms[0], attention, norms[1], ffn) if len(norms) == 2 else (*norms, attention, ffn)
    return BlockSpec("small", layer, Phase(batch, q, past), **{"dtype": "fp32", **more})


# ---- references: float64, loops, no shared code ------------------------------------------------------------------------


def ref_norm(x, w, mean=False, bias=None):
    x = x - x.mean(-1, keepdim=True) if mean else x
    out = x / torch.sqrt((x * x).mean(-1, keepdim=True) + 1e-5)
    out = out if w is None else out * w
    return out if bias is None else out + bias


def ref_rope(x, position, width):
    """x [heads, d] of one token; the first `width` turned."""
    half, out = width // 2, x.clone()
    for i in range(half):
        angle = position * 10000.0 ** (-2.0 * i / width)
        a, b = x[:, i], x[:, i + half]
        out[:, i] = a * math.cos(angle) - b * math.sin(angle)
        out[:, i + half] = b * math.cos(angle) + a * math.sin(angle)
    return out


def sees(row, column, window=None, chunk=None):
    if column > row or (window and column <= row - window):
        return False
    return not chunk or row // chunk == column // chunk


def ref_core(q, k, v, positions, first, scale, **mask):
    """q [t, h, d], k [s, h_kv, d], v [s, h_kv, dv]; key j stands at position first + j."""
    out = torch.zeros(q.shape[0], q.shape[1], v.shape[2], dtype=torch.float64)
    group = q.shape[1] // k.shape[1]
    for t, row in enumerate(positions):
        seen = [j for j in range(k.shape[0]) if sees(row, first + j, **mask)]
        for head in range(q.shape[1]):
            scores = torch.stack([q[t, head] @ k[j, head // group] for j in seen]) * scale
            out[t, head] = torch.softmax(scores, 0) @ v[seen, head // group]
    return out


def ref_gqa(block, w, x, caches, phase):
    b, t, past = int(phase.batch), int(phase.q_len), int(phase.past)
    h, kv, d, dv = (
        int(n) for n in (block.num_attention_heads, block.num_key_value_heads, block.head_dim, block.v_head_dim)
    )
    qkv = x @ w["qkv_proj"].T + w.get("qkv_bias", 0.0)
    if isinstance(block, MFA):  # the first columns are the queries' latent
        rank = int(block.share_q_dim)
        qkv = torch.cat((ref_norm(qkv[:, :rank], w["inter_norm"]) @ w["wq"].T, qkv[:, rank:]), 1)
    out = torch.zeros(b * t, h * dv, dtype=torch.float64)
    mask = {"window": block.mask.window, "chunk": block.mask.chunk}
    gate = qkv[:, h * d + kv * (d + dv) :] + w.get("gate_bias", 0.0)
    for seq in range(b):
        rows = qkv[seq * t : seq * t + t]
        q, k, v = (
            rows[:, : h * d].view(t, h, d),
            rows[:, h * d : (h + kv) * d].view(t, kv, d),
            rows[:, (h + kv) * d : h * d + kv * (d + dv)],
        )
        if block.qk_norm == "head":
            q, k = ref_norm(q, w["qk_norm"][:d]), ref_norm(k, w["qk_norm"][d:])
        if block.qk_norm == "full":
            q = ref_norm(q.reshape(t, -1), w["qk_norm"][: h * d]).view(t, h, d)
            k = ref_norm(k.reshape(t, -1), w["qk_norm"][h * d :]).view(t, kv, d)
        turn = int(block.head_dim * block.rotary)
        q = torch.stack([ref_rope(q[i], past + i, turn) for i in range(t)])
        k = torch.stack([ref_rope(k[i], past + i, turn) for i in range(t)])
        keys, values = k, v.reshape(t, kv, dv)
        first = past
        if caches:
            old = caches[0].shape[2] - t
            keys = torch.cat((caches[0][seq, :, :old].transpose(0, 1), keys))
            values = torch.cat((caches[1][seq, :, :old].transpose(0, 1), values))
            first = past - old
        found = ref_core(q, keys, values, range(past, past + t), first, d**-0.5, **mask)
        out[seq * t : seq * t + t] = found.reshape(t, -1)
    if block.output_gate != "none":
        out = out * (1 / (1 + torch.exp(-gate))).repeat_interleave(h * dv // gate.shape[1], 1)
    return out @ w["o_proj"].T + w.get("o_bias", 0.0)


def ref_mla(block, w, x, caches, phase):
    """The expanded form, whatever the block ran: both give the same."""
    b, t, past = int(phase.batch), int(phase.q_len), int(phase.past)
    h, r, nope, turn = (
        int(n) for n in (block.num_attention_heads, block.kv_lora_rank, block.qk_nope_head_dim, block.qk_rope_head_dim)
    )
    dv, out, ref_turn = int(block.v_head_dim), [], ref_rope if block.rotated else lambda x, *_: x
    first = int(block.q_lora_rank or 0)
    cut = [first + int(block.latent), int(block.hidden_size)]
    biases = torch.split(w["bias"], cut) if block.bias else (0.0, 0.0)
    raw = x @ w["qkv_a_proj" if first else "kv_a_proj"].T + biases[0]
    query = ref_norm(raw[:, :first], w["q_a_norm"]) @ w["q_b_proj"].T if first else x @ w["q_proj"].T
    raw = raw[:, first:]
    for seq in range(b):
        rows = slice(seq * t, seq * t + t)
        q = query[rows].view(t, h, nope + turn)
        q = torch.cat((q[..., :nope], torch.stack([ref_turn(q[i, :, nope:], past + i, turn) for i in range(t)])), -1)
        latent = ref_norm(raw[rows, :r], w["kv_a_norm"])
        rotary = torch.cat([ref_turn(raw[rows][i : i + 1, r:], past + i, turn) for i in range(t)])
        both = torch.cat((latent, rotary), -1)
        if caches:
            both = torch.cat((caches[0][seq, : caches[0].shape[1] - t], both))
        kv = (both[:, :r] @ w["kv_b_proj"].T).view(len(both), h, nope + dv)
        k = torch.cat((kv[..., :nope], both[:, None, r:].expand(-1, h, -1)), -1)
        scale, first_key = (nope + turn) ** -0.5, past + t - len(both)
        found = ref_core(q, k, kv[..., nope:], range(past, past + t), first_key, scale, window=block.mask.window)
        out.append(found.reshape(t, -1))
    core = torch.cat(out)
    if "output_gate" in w:
        gate = 1 / (1 + torch.exp(-x @ w["output_gate"].T))
        core = core * gate.repeat_interleave(h * dv // gate.shape[1], 1)
    return core @ w["o_proj"].T + biases[1]


def ref_glu(x, up, down, gated, up_bias=None, down_bias=None):
    y = x @ up.T if up_bias is None else x @ up.T + up_bias
    half = y.shape[-1] // 2
    silu = y[..., :half] if gated else y
    inner = silu / (1 + torch.exp(-silu)) * (y[..., half:] if gated else 1.0)
    return inner @ down.T if down_bias is None else inner @ down.T + down_bias


def ref_dense(block, w, x, caches, phase):
    up = w["gate_up_proj" if block.gated else "up_proj"]
    return ref_glu(x, up, w["down_proj"], block.gated, w.get("up_bias"), w.get("down_bias"))


def ref_moe(block, w, x, caches, phase):
    out, k, bias = torch.zeros_like(x), int(block.num_experts_per_tok), w.get("expert_bias")
    up = w["experts_up"].shape[1]
    routed = torch.zeros(len(x), w["experts_down"].shape[1], dtype=torch.float64)
    for i, token in enumerate(x):
        logits = w["router"] @ token + w.get("router_bias", 0.0)
        scores = torch.softmax(logits, 0) if block.scoring_func == "softmax" else 1 / (1 + torch.exp(-logits))
        choice = scores + w.get("correction_bias", 0.0)
        groups = int(block.n_group)
        if groups > 1:
            size = len(choice) // groups
            best = sorted(range(groups), key=lambda g: -float(sum(sorted(choice[g * size : g * size + size])[-2:])))
            for g in best[int(block.topk_group) :]:
                choice[g * size : g * size + size] = -math.inf
        chosen = sorted(range(len(choice)), key=lambda e: -float(choice[e]))[:k]
        whole = sum(scores[e] for e in chosen)
        for e in chosen:
            offsets = (None, None) if bias is None else (bias[e][:up], bias[e][up:])
            seen = w["latent_down"] @ token if "latent_down" in w else token
            y = ref_glu(seen, w["experts_up"][e], w["experts_down"][e], block.gated, *offsets)
            routed[i] += y * scores[e] / whole
        back = ref_norm(routed[i], w["latent_norm"]) if "latent_norm" in w else routed[i]
        out[i] = w["latent_up"] @ back if "latent_up" in w else back
        if block.has_shared:
            shared = ref_glu(token, w["shared_up"], w["shared_down"], block.gated)
            out[i] += shared * (1 / (1 + torch.exp(-(w["shared_gate"] @ token))) if block.shared_gate else 1.0)
    return out


def reference(block: build.TorchBlock):
    """The layer's output in float64, from the first copy's weights."""
    own = {key: value.detach().double() for key, value in block.copies[0].items()}
    residual, branches = block.start[0].double(), [block.start[1].double()]
    x = branches[0]
    for index, part in enumerate(block.spec.layer):
        w = {key.split(".", 1)[1]: value for key, value in own.items() if key.startswith(f"{index}.")}
        if isinstance(part, Norm):
            gain = w.get(part.name)
            width, mean = int(part.width), part.vectors != 1.0
            bias = gain[width:] if part.vectors == 2.0 else None
            gain = None if gain is None else gain[:width]
            if part.residual:
                residual, branches = residual + sum(branches), []
                x = ref_norm(residual, gain, mean, bias)
            else:
                branches[-1] = ref_norm(branches[-1], gain, mean, bias)
            continue
        kind = next(
            ref
            for type_, ref in ((GQA, ref_gqa), (MLA, ref_mla), (Dense, ref_dense), (MoE, ref_moe))
            if isinstance(part, type_)
        )
        caches = [w[key] for key in ("K", "V", "latent") if key in w]
        branches.append(kind(part, w, x, caches, block.spec.phase))
    return residual + sum(branches)


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


def test_every_shipped_model_can_be_built_or_says_why_not() -> None:
    """Sections alone: nothing large is allocated."""
    built, refused = set(), set()
    for name in models.names():
        model = models.load(name)
        for phase in (Phase(1.0, 64.0, 0.0), Phase(4.0, 1.0, 63.0)):
            for one in of_model(model, phase):
                if any(map(is_beyond_torch, one.layer)):
                    with pytest.raises(SpecError, match=r"no torch block|no sinks"):
                        build._sections(one, torch.device("cpu"))
                    refused.add(name)
                else:
                    assert len(build._sections(one, torch.device("cpu"))[0]) == len(listed(one))
                    built.add(name)
    assert len(built) > 100
    assert {
        "deepseek-v3.2",
        "qwen3-next-80b-a3b",
        "minimax-m3",
        "minimax-text-01",
        "falcon-mamba-7b",
    } <= built - refused
    assert {"gpt-oss-120b", "deepseek-v4-flash", "zamba-7b-v1"} <= refused


def is_beyond_torch(block: Block) -> bool:
    """Whether a block is, or has, what no layer in torch builds."""
    several = isinstance(block, Mamba) and float(block.heads) != 1.0
    return type(block) not in build._BUILDERS or several or getattr(block, "sinks", False)


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
        (lambda: build.build(spec(replace(SMALL_GQA, sinks=True))), "no sinks"),
        (lambda: build.build(spec(SMALL_GQA), "cuda:7"), "CUDA devices"),
        (lambda: build.build(spec(SMALL_GQA), "tpu"), "must be cpu or cuda"),
        (lambda: build.build(spec(replace(SMALL_GQA, head_dim=8.5))), "one whole number"),
        (lambda: spec(SMALL_GQA, dtype="fp8"), "blocks run in"),
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


# ---- timing and rows ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ffn", [SMALL_FFN, SMALL_MOE], ids=["dense", "moe"])
@pytest.mark.parametrize("backward", [False, True], ids=["forward", "training"])
def test_every_op_of_the_program_gets_a_time(ffn, backward: bool) -> None:
    one = spec(SMALL_GQA, ffn, backward=backward)
    found = time_cpu.measure(build.build(one, copies=2), 0.01)
    ahead = found[0]
    assert [op.name for op in ahead.ops] == [item.name for item in listed(one)]
    assert [op.name for op in ahead.fused] == [item.name for item in fused(one)]
    assert ahead.whole.samples >= 1  # clean ones: a busy machine leaves few
    if not backward:
        assert all(op.isolated_s is not None for op in ahead.ops)
        return
    back = found[1]
    learnt = [item for item in reversed(listed(one)) if item.op.input_grad()]
    wanted = [f"{item.name}:input_grad" for item in learnt]
    assert [op.name for op in back.ops if op.variant == "input"] == wanted
    split = {op.name for op in back.ops if op.variant == "weight"}
    assert {f"{s}:weight_grad" for s in ("attention/qkv_proj", "attention/o_proj")} <= split


def test_experts_are_filed_as_they_ran() -> None:
    block = build.build(spec(SMALL_GQA, replace(SMALL_MOE, n_routed_experts=8.0), batch=1.0, q=2.0), copies=1)
    touched, load = time_cpu.as_run(block)
    assert 1 <= touched <= 4
    assert 2.0 <= load <= 4.0  # two tokens' four copies: the busiest of eight experts has one or two
    up = next(op for op in time_cpu.measure(block, 0.01)[0].ops if op.name.endswith("experts_up"))
    assert (up.op.experts, up.op.load) == (touched, load)


def test_rows_load_and_resume_adds_what_is_missing(tmp_path) -> None:
    ones = [spec(SMALL_GQA), spec(SMALL_MLA, SMALL_MOE, q=1.0, past=5.0), spec(SMALL_GQA, SMALL_MOE, backward=True)]
    ones = [replace(one, name=f"block-{i}") for i, one in enumerate(ones)]
    events = list(layers.measure_in_situ("cpu", ones[:2], tmp_path, seconds=0.01))
    assert [event.done for event in events] == [0, 1, 1, 2]  # before a block and after it
    with pytest.raises(SpecError, match="--resume"):
        list(layers.measure_in_situ("cpu", ones, tmp_path))
    for path in (tmp_path / "blocks.csv", tmp_path / "gemm" / "fp32-fp32-fp32.csv"):
        with path.open("a", encoding="utf-8") as file:
            file.write("1,2,3")  # what an interrupted write leaves behind
    events = list(layers.measure_in_situ("cpu", ones, tmp_path, resume=True, seconds=0.01))
    assert [event.note for event in events[:2]] == ["measured before"] * 2
    assert tables.load_run(tmp_path).title.startswith("kernels timed inside running layers")
    lines = blocks_rows.read_blocks(tmp_path)
    assert [(line["block"], line["direction"]) for line in lines] == [
        ("block-0", "forward"), ("block-1", "forward"), ("block-2", "forward"), ("block-2", "backward"),
    ]  # fmt: skip
    read = {path.parent.name: len(tables.read(path, families()[path.parent.name])) for path in tmp_path.glob("*/*.csv")}
    assert {"gemm", "attention_prefill", "attention_decode", "batched_gemm", "experts"} <= set(read)
    assert read["gemm_variant"] == 5  # qkv, o, router, shared up and down; "input" and "weight" have a file each


def test_the_record_of_blocks_says_how_it_went_over_all_sessions(tmp_path, monkeypatch) -> None:
    real = layers.measure_block

    def busy(*args, **kwargs):
        return [replace(one, whole=replace(one.whole, dirty=0.75)) for one in real(*args, **kwargs)]

    ones = [replace(spec(SMALL_GQA), name=f"block-{i}") for i in range(3)]
    monkeypatch.setattr(layers, "measure_block", busy)
    asked = {"mode": "quick", "seed": 3}
    for _ in layers.measure_in_situ("cpu", ones[:2], tmp_path, seconds=0.01, asked=asked):
        running = tables.load_run(tmp_path).record
    assert running["state"] == "running"
    first = tables.load_run(tmp_path).record
    assert (first["state"], first["quality"], first["dirty_share"]) == ("complete", "poor", 0.75)
    assert first["disturbed"] == ["block-0 forward: 75% of its samples", "block-1 forward: 75% of its samples"]
    assert (first["environment"]["mode"], first["environment"]["seed"]) == ("quick", 3)
    assert first["kinds"]["gemm/fp32-fp32-fp32"]["rows"] > 0
    assert first["started"] <= first["ended"]
    assert len(first["sentinel_product_s"]) == 2
    calm = [replace(one.whole, dirty=0.0) for one in real(ones[2], seconds=0.01)]
    monkeypatch.setattr(layers, "measure_block", lambda *a, **k: [replace(real(*a, **k)[0], whole=calm[0])])
    list(layers.measure_in_situ("cpu", ones, tmp_path, budget_s=60.0, resume=True, seconds=0.01))
    both = tables.load_run(tmp_path).record
    assert (both["visits"], both["dirty_share"], both["disturbed"]) == (3, 0.5, first["disturbed"])
    assert both["started"] == first["started"]
    assert both["sentinel_product_s"][:2] == first["sentinel_product_s"]


def test_a_block_that_does_not_fit_stops_no_run(tmp_path) -> None:
    ones = [replace(spec(SMALL_GQA), name=f"block-{i}") for i in range(2)]
    events = list(layers.measure_in_situ("cpu", ones, tmp_path, seconds=0.01, limit=1000.0))
    assert [event.done for event in events] == [0, 1, 1, 2]
    assert all(event.note.startswith("left out: block-") for event in events[1::2])
    assert blocks_rows.read_blocks(tmp_path) == []


def test_a_budget_ends_in_good_order_and_a_foreign_file_is_refused(tmp_path, monkeypatch) -> None:
    ones = [replace(spec(SMALL_GQA), name=f"block-{i}") for i in range(5)]
    real, clock = layers.measure_block, []

    def slow(*args, **kwargs):
        clock.append(1)
        return real(*args, **kwargs)

    monkeypatch.setattr(layers, "measure_block", slow)
    monkeypatch.setattr(layers.time, "monotonic", lambda: 0.6 * len(clock))  # a block takes 0.6 s
    events = list(layers.measure_in_situ("cpu", ones, tmp_path, budget_s=1.0, seconds=0.01))
    monkeypatch.undo()
    assert events[-1].note == "budget spent after 1 of 5 blocks"
    assert tables.load_run(tmp_path).record["state"] == "budget reached"
    assert len(blocks_rows.read_blocks(tmp_path)) == 1
    (tmp_path / "blocks.csv").write_text("what,is,this\n1,2,3\n", encoding="utf-8")
    with pytest.raises(SpecError, match="columns must be block"):
        list(layers.measure_in_situ("cpu", ones, tmp_path, resume=True))


def late(seconds: float, monkeypatch) -> deadline.Deadline:
    """A clock that only blocks move: both of this module's and of blocks_time's."""
    monkeypatch.setattr(deadline.time, "monotonic", lambda: CLOCK[0])
    monkeypatch.setattr(time_cpu, "now", lambda: CLOCK[0])
    monkeypatch.setattr(time_cpu, "switches", lambda: 0)  # whoever else runs here
    CLOCK[0] = 100.0
    return deadline.Deadline(100.0 + seconds)


CLOCK = [0.0]


def slow(seconds: float, monkeypatch) -> tuple[build.TorchBlock, list[int]]:
    """A block whose passes take so long, and how often it ran forward."""
    block, seen = build.build(spec(SMALL_GQA), copies=1), []
    real = build.TorchBlock.forward

    def forward(self, copy, s):
        seen.append(copy)
        CLOCK[0] += seconds
        return real(self, copy, s)

    def section_pass(block, book):
        forward(block, 0, block.inputs())
        for section in block.sections:
            book.situ[section.name].append((seconds, False))

    monkeypatch.setattr(build.TorchBlock, "forward", forward)
    monkeypatch.setattr(time_cpu, "_situ_pass", section_pass)
    return block, seen


def test_a_long_block_is_warm_after_one_pass_and_ends_in_time(monkeypatch) -> None:
    said: list[str] = []
    until = late(20.0, monkeypatch)
    block, seen = slow(3.0, monkeypatch)
    (found,) = time_cpu.measure(block, 2.0, False, until, said.append)
    assert len(seen) == 1 + 2 * 2 + 1  # a pass to warm up, two rounds of two, and a look at its experts: 3 s each
    assert found.whole.samples == 2  # of five, without a deadline
    assert said[0].endswith("1 copies; warming up")
    assert "round 2 of 5, 6 s each" in said[-1]


def test_sections_alone_are_the_first_to_go_and_what_cannot_end_in_time_is_refused(monkeypatch) -> None:
    until = late(11.0, monkeypatch)
    block, seen = slow(3.0, monkeypatch)
    (found,) = time_cpu.measure(block, 2.0, True, until)
    assert found.isolated_s is None
    assert len(seen) == 1 + 2 + 1
    until = late(8.0, monkeypatch)
    with pytest.raises(SpecError, match="small: a round takes 6 s, 5 s are left"):
        time_cpu.measure(block, 2.0, True, until)


def test_a_disturbed_block_is_not_tried_again_past_its_deadline(monkeypatch) -> None:
    until, tries = late(10.0, monkeypatch), []

    def disturbed(block, seconds, isolated, until, say):
        tries.append(1)
        CLOCK[0] += 4.0
        return [BlockTime(spec(SMALL_GQA), "forward", Timing(1.0, 1.0, 1.0, 5, 0.9))]

    monkeypatch.setattr(time_cpu, "measure", disturbed)
    monkeypatch.setattr(bounds, "refuse_late", lambda spec, until: None)
    layers.measure_block(spec(SMALL_GQA), seconds=0.01, until=until)
    assert len(tries) == 2
    layers.measure_block(spec(SMALL_GQA), seconds=0.01)
    assert len(tries) == 2 + 1 + layers.RETRIES


def test_a_layer_that_cannot_fit_is_refused_before_it_is_built(monkeypatch) -> None:
    large = of_model(models.load("llama-3.1-70b"), Phase(1.0, 512.0, 0.0))[0]
    monkeypatch.setattr(build, "build", lambda *a, **k: pytest.fail("built"))
    monkeypatch.setattr(bounds, "_host", lambda dtype: Rates({"bf16": 1e12}, 1e10))
    with pytest.raises(SpecError, match=r"takes 2\.\d+ s or more, 2 s are left"):
        bounds.refuse_late(large, late(2.0, monkeypatch))
    bounds.refuse_late(large, late(4.0, monkeypatch))
    bounds.refuse_late(large, deadline.NEVER)


@pytest.mark.parametrize(("attention", "q", "backend"), [
    (SMALL_GQA, 5.0, "sdpa flash (CPU)"), (SMALL_MLA, 5.0, "sdpa flash (CPU)"),
    (SMALL_MLA, 1.0, "sdpa flash (CPU) on the latent"),
])  # fmt: skip
def test_a_blocks_line_names_what_ran_its_attention(tmp_path, attention, q, backend) -> None:
    one = spec(attention, q=q, past=4.0 if q == 1.0 else 0.0)
    blocks_rows.write(tmp_path, layers.measure_block(one, seconds=0.01))
    assert [row["backend"] for row in blocks_rows.read_blocks(tmp_path)] == [backend]


def test_a_table_of_before_backends_were_named_is_read_and_added_to(tmp_path) -> None:
    path, old = tmp_path / "blocks.csv", blocks_rows.COLUMNS[:-1]
    path.write_text(",".join(old) + "\n" + ",".join(["a", *["1"] * (len(old) - 1)]) + "\n1,2", encoding="utf-8")
    assert [row["block"] for row in blocks_rows.read_blocks(tmp_path)] == ["a"]
    blocks_rows.write(tmp_path, layers.measure_block(spec(SMALL_GQA), seconds=0.01))
    assert [(row["block"], row["backend"]) for row in blocks_rows.read_blocks(tmp_path)] == [
        ("a", ""), ("small", "sdpa flash (CPU)"),
    ]  # fmt: skip


class FakeEvent:
    """A CUDA event on a clock of its own: every stamp is a millisecond later."""

    clock = 0.0

    def __init__(self) -> None:
        FakeEvent.clock += 1.0
        self.at = FakeEvent.clock

    def elapsed_time(self, end: FakeEvent) -> float:
        return end.at - self.at


def test_the_cuda_paths_run_with_a_stand_in_clock(monkeypatch) -> None:
    """Nothing of it has met a device: this only holds the wiring."""
    monkeypatch.setattr(time_cuda, "stamp", FakeEvent)
    monkeypatch.setattr(time_cuda, "warmed", lambda play, board: play())
    monkeypatch.setattr(torch.cuda, "synchronize", lambda *a: None)
    one = spec(SMALL_GQA)
    whole = time_cuda._eager(build.build(one, copies=2), 1.0)
    assert whole.seconds == pytest.approx(1e-3)
    ahead, back = time_cuda._training(build.build(replace(one, backward=True), copies=2))
    assert ahead.in_situ_s == pytest.approx(ahead.whole.seconds)
    assert [op.name for op in ahead.ops] == [item.name for item in listed(one)]
    assert back.in_situ_s is not None
    assert 0 < back.in_situ_s <= back.whole.seconds * (1 + 1e-9)


class SleepyEvent(FakeEvent):
    """An event of a device that wakes up, or that is still asleep when it is asked."""

    awake = False

    def query(self) -> bool:
        return SleepyEvent.awake


@pytest.fixture
def asleep(monkeypatch):
    """Seconds that the device was told to sleep."""
    told = []
    monkeypatch.setattr(time_cuda, "stamp", SleepyEvent)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda *a: None)
    monkeypatch.setattr(torch.cuda, "_sleep", lambda cycles: told.append(cycles / time_cuda._CYCLES))
    monkeypatch.setattr(SleepyEvent, "awake", False)
    return told


BOARD = SimpleNamespace(clock=lambda: None, top=lambda: None)


def test_sections_are_stamped_while_the_device_sleeps(asleep, monkeypatch) -> None:
    block = build.build(spec(SMALL_MLA, q=1.0, past=6.0), copies=2)
    ran = []
    for section in block.sections:  # two milliseconds of kernels in each, wherever they were launched from

        def run(w, s, section=section):
            section.run(w, s)
            ran.append(section.name)
            FakeEvent.clock += 2.0

        object.__setattr__(section, "run", partial(run, section=replace(section)))
    found = time_cuda._sections(block, BOARD)
    assert list(found) == [section.name for section in block.sections]
    assert all(one.seconds == pytest.approx(2e-3) for one in found.values())  # a stamp's own millisecond is taken off
    assert set(asleep) == {time_cuda.SLEEP}


def test_where_the_host_never_gets_ahead_no_section_has_a_time(asleep, monkeypatch) -> None:
    monkeypatch.setattr(SleepyEvent, "awake", True)
    assert time_cuda._sections(build.build(spec(SMALL_GQA), copies=2), BOARD) == {}
    assert max(asleep) == time_cuda._LONGEST  # it was given ever more time


def test_a_section_faster_than_light_is_no_row_and_no_sum() -> None:
    """What the profiler made of MLA's core: its torch.cat, without the kernel that reads the cache."""
    one = of_model(models.load("deepseek-v3"), Phase(64.0, 1.0, 4095.0))[0]
    probed = Rates({"bf16": 7e14}, 4e12)
    core = next(item for item in listed(one) if item.name == "attention/core")
    true = Timing(100e-6, 99e-6, 101e-6, 9, 0.0)
    found = BlockTime(
        one, "forward", true, (OpTime("attention/o_proj", core.op, true), OpTime(core.name, core.op, true))
    )
    assert bounds.credible(found, probed) == found
    short = replace(found, ops=(found.ops[0], OpTime(core.name, core.op, replace(true, seconds=6e-6))))
    left = bounds.credible(short, probed)
    assert left.refused == ("attention/core",)
    assert [op.name for op in left.ops] == ["attention/o_proj"]
    assert left.in_situ_s is None
    assert layers._said([left], 1) == "1 rows, faster than the device can be: attention/core"


def test_a_class_with_an_impossible_section_is_no_row_either() -> None:
    one = spec(SMALL_GQA, SMALL_MOE)
    found = time_cpu.measure(build.build(one, copies=1), 0.01)[0]
    assert bounds.credible(found, Rates({"fp32": 1e15}, 1e15)) == found
    left = bounds.credible(found, Rates({"fp32": 1.0}, 1.0))
    assert left.ops == left.fused == ()
    assert len(left.refused) == len(found.ops)


def test_the_host_describes_itself_in_a_valid_profile(tmp_path, monkeypatch) -> None:
    from simcost.hardware import load as hardware
    from simcost.measure.machine import cpu_profile

    monkeypatch.setattr(cpu_profile, "_LARGE", 128)
    monkeypatch.setattr(cpu_profile, "_COPY", float(1 << 22))
    (tmp_path / "profile.toml").write_text(cpu_profile.profile_text(), encoding="utf-8")
    device = hardware.load(str(tmp_path))
    assert set(device.peaks) == {"bf16", "fp32"}
    assert device.bandwidth > 0
    assert 0 < device.assumption("attention_efficiency") <= 1
    assert hardware.read(str(tmp_path))[1]["peak"]["bf16"]["source"] == "measured"
