"""Torch layers over compressed keys (DeepSeek-V4): what their class computes, token by token in float64, and what their blocks count."""

# ruff: noqa: E402 -- without torch the file is skipped before the rest is imported

from __future__ import annotations

from dataclasses import replace

import pytest

torch = pytest.importorskip("torch")

from layerkit import D, ref_core, ref_norm, ref_rope
from mixerkit import SMALL, spec
from torch.utils.flop_counter import FlopCounterMode

from simcost.blocks.attention.compressed import CSA, HCA, WindowMQA
from simcost.dtypes import dtype
from simcost.errors import SpecError
from simcost.estimate.layer import listed
from simcost.measure import torch_index
from simcost.measure.torch_layers import build, time_cpu
from simcost.ops.gemm import Gemm
from simcost.plan import Plan

W = float(D)
LAYERS = {
    "csa": CSA(W, 4.0, 16.0, 12.0, 8.0, 2.0, 8.0, 5.0, 4.0, 3.0, 10.0, 2.0),
    "window": WindowMQA(W, 4.0, 16.0, 12.0, 8.0, 2.0, 8.0, 5.0, 0.0),
    "hca": HCA(W, 4.0, 16.0, 12.0, 8.0, 2.0, 8.0, 5.0, 3.0),
}
PHASES = {"prompt": (2.0, 14.0, 0.0), "short": (2.0, 2.0, 0.0), "chunk": (2.0, 9.0, 10.0), "decode": (3.0, 1.0, 11.0), "within": (3.0, 1.0, 13.0)}  # fmt: skip
EACH, BOTH = pytest.mark.parametrize("name", LAYERS), pytest.mark.parametrize("phase", PHASES)


def made(name: str, phase: str, **more) -> build.TorchBlock:
    return build.build(spec(LAYERS[name], *PHASES[phase], **more), copies=1)


def turned(x, position):
    """x [heads, d] of one token, its last eight elements rotated."""
    return torch.cat((x[:, :-8], ref_rope(x[:, -8:], position, 8)), 1)


def entries(w, names, values, gates, held, first, ratio, d):
    """Entries of one sequence by their number. `values`, `gates` [tokens, width]: of positions from `held` on."""
    bias, found = w[names[0]].view(ratio, -1), {}
    for number in range(first, (held + len(values)) // ratio):
        logits, tokens = [], []
        for position in range((number - 1) * ratio if names[2] > 1 else number * ratio, (number + 1) * ratio):
            if position >= 0:  # the window before gives its first half, the own one its second
                part = slice(0, d) if position < number * ratio else slice((names[2] - 1) * d, names[2] * d)
                logits.append((gates[position - held] + bias[position % ratio])[part])
                tokens.append(values[position - held][part])
        weights = torch.softmax(torch.stack(logits), 0)
        mean = (weights * torch.stack(tokens)).sum(0)
        found[number] = turned(ref_norm(mean, w[names[1]]).unsqueeze(0), number * ratio)[0]
    return found


def compressed(block, w, x, i, whose, names, past, d):
    """Entries that the new tokens of sequence i end, of the layer or of its indexer."""
    ratio, weight = int(block.compress_ratio), w["index_compressor" if whose else "compressor"]
    both, lead, back = x @ weight.T, past % ratio, ratio * (names[2] - 1)
    held = past
    if past:
        old = back + lead if past >= ratio else lead
        both = torch.cat((w[f"{whose}buffer"][i, back + lead - old : back + lead], both))
        held = past - old
    return entries(w, names, *both.chunk(2, 1), held, past // ratio, ratio, d)


@EACH
@BOTH
def test_a_query_sees_its_window_and_entries_whose_windows_ended(name: str, phase: str) -> None:
    block, mixer = made(name, phase), LAYERS[name]
    batch, t, past = (int(n) for n in PHASES[phase])
    ratio, wide = int(mixer.compress_ratio), 2 if name == "csa" else 1
    w = {key[2:]: v.detach().double() for key, v in block.copies[0].items() if key.startswith("1.")}
    s = block.forward(0, block.inputs())
    inside = {key[2:]: v.double() for key, v in block.copies[0].items() if key.startswith("1.")}
    for i in range(batch):
        rows = slice(i * t, i * t + t)
        x = s["0.normed"][rows].double()
        a = x @ w["qkv_a_proj"].T
        low = ref_norm(a[:, :12], w["q_a_norm"])
        query = (low @ w["q_b_proj"].T).view(t, 4, 16)
        key = ref_norm(a[:, 12:], w["kv_norm"])
        window = min(past + t, 5 + t - 1)
        near = torch.stack([turned(key[n : n + 1], past + n)[0] for n in range(t)])
        near = torch.cat((w["latent"][i, : window - t], near))
        far = {}
        if ratio:
            far = {n: w["latent"][i, window + n] for n in range(past // ratio)}
            far |= compressed(mixer, w, x, i, "", ("compressor_bias", "compressor_norm", wide), past, 16)
            assert sorted(far) == list(range((past + t) // ratio))
        if name == "csa":
            keys = inside["index keys"][i] * inside["index scales"][i].unsqueeze(1)
            made_keys = compressed(mixer, w, x, i, "index ", ("index_bias", "index_norm", 2), past, 10)
            for n, one in made_keys.items():  # fp8 with a scale: 6 % of an element
                assert torch.allclose(keys[n], one, rtol=0.07, atol=0.02)
        out = []
        for n in range(t):
            q = turned(ref_norm(query[n], None), past + n)
            seen = list(range((past + n + 1) // ratio)) if ratio else []
            if name == "csa":
                index = (s["1.index narrow"][i, n].double() * s["1.index scale"][i, n].double().unsqueeze(1)).unsqueeze(
                    1
                )
                rough = turned((low[n] @ w["index_wq_b"].T).view(3, 10), past + n)
                assert torch.allclose(index[:, 0], rough, rtol=0.07, atol=0.02)
                scores = torch.stack([((index[:, 0] @ keys[e]).relu() * (w["index_weights_proj"] @ x[n])).sum() for e in seen]) if seen else torch.zeros(0)  # fmt: skip
                seen = scores.topk(min(2, len(seen))).indices.tolist()
                assert set(seen) == {int(e) for e in s["1.picks"][i, n]} - {-1}
            own = window - t + n
            stack = torch.cat((near[max(own - 4, 0) : own + 1], *[far[e].unsqueeze(0) for e in seen])).unsqueeze(1)
            found = ref_core(q.unsqueeze(0), stack, stack, [len(stack)], 0, 0.25, w["sinks"])
            low_out = torch.einsum("gk,grk->gr", found.reshape(2, -1), w["o_a_proj"]).flatten()
            out.append(w["o_b_proj"] @ low_out)
        assert torch.allclose(s["1.out"][rows].double(), torch.stack(out), rtol=1e-3, atol=2e-4)


@EACH
@BOTH
def test_weights_sections_and_state_are_those_of_the_block(name: str, phase: str) -> None:
    """The indexer's keys alone take more than in the block's MXFP4: a byte an element, and a scale of four."""
    block, mixer = made(name, phase), LAYERS[name]
    batch, q, past = PHASES[phase]
    assert [section.name for section in block.sections] == [item.name for item in listed(block.spec)]
    caches = build._sections(block.spec, block.device)[1][1].caches
    weights = {key: v for key, v in block.copies[0].items() if key.startswith("1.") and key not in caches}
    assert sum(v.numel() for v in weights.values()) == sum(float(w.count) for w in mixer.weights(Plan()))
    bytes_ = {key: block.copies[0][key].nbytes for key in caches}
    index = sum(bytes_.pop(f"1.index {key}", 0) for key in ("keys", "scales"))
    entries = (past + q) // mixer.compress_ratio if mixer.compress_ratio else 0.0
    assert index == (batch * entries * (10.0 + 4.0) if name == "csa" else 0.0)
    if q == 1.0:  # a prompt sees more than the window that stays
        wanted = float(mixer.state_bytes(past + q, Plan(), dtype("fp32")))
        assert sum(bytes_.values()) == batch * (wanted - entries * float(mixer._index_bytes()))
    for _ in range(3):
        s = block.forward(0, block.inputs())
    assert block.output(s).isfinite().all()


@EACH
@pytest.mark.parametrize("q", [12.0, 1.0])
def test_torch_counts_the_products_that_the_block_counts(name: str, q: float) -> None:
    """12 or more tokens after 84: every query picks as many entries as it may."""
    block = build.build(spec(LAYERS[name], 2.0, q, 84.0 if q > 1.0 else 95.0), copies=1)
    s, left = block.inputs(), 0
    for section, item in zip(block.sections, listed(block.spec), strict=True):
        with FlopCounterMode(display=False) as counter:
            section.run(block.copies[0], s)
        theirs, mine = float(counter.get_total_flops()), float(item.op.work().flops)
        if isinstance(item.op, Gemm):
            assert theirs == mine, item.name
        elif item.name == "attention/core" and name == "csa":
            assert theirs == 2.0 * q * (5 + 2) * 4 * 2 * 2 * 16
        elif item.name == "attention/index scores":
            assert theirs == 2.0 * q * 24 * 3 * (2 * 10 + 2)
        else:
            left += 1
    assert left == len(block.sections) - sum(isinstance(item.op, Gemm) for item in listed(block.spec)) - (2 if name == "csa" else 0)  # fmt: skip


@pytest.mark.parametrize("name", ["window", "hca"])
def test_a_training_step_reaches_every_weight(name: str) -> None:
    block = made(name, "prompt", backward=True)
    block.backward(block.forward(0, block.inputs()))
    grads = {key: value.grad for key, value in block.copies[0].items() if value.requires_grad}
    assert all(grad is not None and grad.isfinite().all() for grad in grads.values())
    assert not any("latent" in key or "buffer" in key for key in block.copies[0])
    ahead, back = time_cpu.measure(block, 0.01)
    assert [op.name for op in ahead.ops] == [item.name for item in listed(block.spec)]
    assert back.ops


def test_a_training_step_of_a_layer_that_picks_entries_is_refused() -> None:
    with pytest.raises(SpecError, match="a choice has no gradient"):
        made("csa", "prompt", backward=True)


@pytest.mark.parametrize(("name", "q", "backend"), [
    ("csa", 6.0, "torch products over picked keys"), ("window", 6.0, "sdpa flash (CPU) on the latent"), ("hca", 6.0, "sdpa flash (CPU) on the latent"),
    ("hca", 1.0, "torch products with sinks"),
])  # fmt: skip
def test_every_section_gets_a_time_and_the_line_names_the_core(name: str, q: float, backend: str) -> None:
    (found,) = time_cpu.measure(build.build(spec(LAYERS[name], 2.0, q, 9.0), copies=2), 0.01)
    assert [op.name for op in found.ops] == [item.name for item in listed(found.spec)]
    assert found.backend == backend


@pytest.mark.parametrize("name", ["dsa", "block_sparse"])
def test_a_sink_takes_its_share_of_the_softmax_beside_picked_keys(name: str) -> None:
    """Sinks far below every score change nothing; sinks far above leave nothing."""
    block = build.build(spec(replace(SMALL[name], sinks=True), 2.0, 6.0, 5.0), copies=1)
    sinks, plain = block.copies[0]["1.sinks"], build.build(spec(SMALL[name], 2.0, 6.0, 5.0), copies=1)
    plain.copies[0] |= {key: block.copies[0][key].clone() for key in plain.copies[0]}
    wanted = plain.forward(0, plain.inputs())["1.out"]
    sinks.fill_(-60.0)
    assert torch.allclose(block.forward(0, plain.inputs())["1.out"], wanted, atol=1e-5)
    sinks.fill_(60.0)
    assert torch.allclose(block.forward(0, plain.inputs())["1.out"], torch.zeros(()), atol=1e-5)


def test_picks_of_minus_one_are_left_out() -> None:
    q, k = torch.randn(2, 4, 3, 8), torch.randn(2, 1, 6, 8)
    picks = torch.tensor([5, -1, 2]).expand(2, 1, 3, 3)
    both = [torch_index.attention(q, k, None, chosen, 6, 8, 0.3) for chosen in (picks, picks[..., ::2])]
    assert torch.allclose(*both, atol=1e-6)
