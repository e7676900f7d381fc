"""Layers of recurrent and sparse mixers in torch: against float64 references, and against what their block counts."""

# ruff: noqa: E402 -- without torch the file is skipped before the rest is imported

from __future__ import annotations

from dataclasses import replace

import pytest

torch = pytest.importorskip("torch")

import mixerkit
from mixerkit import PHASES, RECURRENT, SHARED, SMALL, spec
from torch.utils.flop_counter import FlopCounterMode

from simcost.blocks._recurrent import States
from simcost.blocks.attention.mamba import Mamba
from simcost.dtypes import dtype
from simcost.errors import SpecError
from simcost.estimate.layer import listed
from simcost.measure import torch_index
from simcost.measure.torch_layers import build, time_cpu
from simcost.measure.torch_recurrent import Inputs, chunked, token_by_token
from simcost.ops.gemm import Gemm
from simcost.ops.recurrent import RULES, CausalConv, RecurrentCore
from simcost.plan import Plan

BOTH = pytest.mark.parametrize("phase", PHASES)
EACH = pytest.mark.parametrize("name", SMALL)
SPARSE = ("dsa", "block_sparse")


def layer(name: str, phase: str) -> build.TorchBlock:
    batch, q, past = PHASES[phase]
    return build.build(spec(SMALL[name], batch, q, past), copies=1)


def own(block: build.TorchBlock) -> dict[str, torch.Tensor]:
    """Weights and caches of the mixer before it ran, in float64."""
    found = block.copies[0].items()
    return {key.removeprefix("1."): value.detach().double() for key, value in found if key.startswith("1.")}


@pytest.mark.parametrize("name", [name for name in SMALL if name not in SPARSE])
@BOTH
def test_a_recurrent_layer_computes_its_rule_token_by_token(name: str, phase: str) -> None:
    block = layer(name, phase)
    w, mixer = own(block), SMALL[name]
    s = block.forward(0, block.inputs())
    got = s["1.out"].double().unflatten(0, (block.spec.phase.batch.__int__(), -1))
    x = s["0.normed"].double().unflatten(0, got.shape[:2])
    for i, one in enumerate(x):
        state, columns = (w[key][i].clone() if key in w else None for key in ("state", "columns"))
        wanted = RECURRENT[type(mixer)](mixer, w, one, state, columns)
        assert torch.allclose(got[i], wanted, rtol=2e-3, atol=2e-4)
        if state is not None and not isinstance(mixer, Mamba):  # which the reference has changed
            assert torch.allclose(block.copies[0]["1.state"][i].double(), state, rtol=1e-3, atol=1e-4)


@BOTH
def test_an_indexer_picks_the_best_keys_and_the_core_sees_no_other(phase: str) -> None:
    block = layer("dsa", phase)
    w, (batch, q, past) = own(block), (int(n) for n in PHASES[phase])
    s = block.forward(0, block.inputs())
    keys = block.copies[0]["1.index keys"].double() * block.copies[0]["1.index scales"].double().unsqueeze(-1)
    queries = s["1.index narrow"].double() * s["1.index scale"].double().unsqueeze(-1)
    weight = s["1.index weights"].double().view(batch, q, -1)
    for i in range(batch):
        for t in range(q):
            scores = (weight[i, t].unsqueeze(1) * (queries[i, t] @ keys[i, : past + t + 1].T).relu()).sum(0)
            best = set(scores.topk(min(4, len(scores))).indices.tolist())
            assert best == {int(key) for key in s["picks"][i, t] if key <= past + t}
        rows = slice(i * q, i * q + q)
        wanted = mixerkit.dsa(w, s["0.normed"][rows].double(), w["latent"][i], s["picks"][i], past)
        assert torch.allclose(s["1.out"][rows].double(), wanted, rtol=1e-3, atol=1e-4)


@BOTH
def test_blocks_are_picked_by_their_best_key_and_the_own_one_always(phase: str) -> None:
    block = layer("block_sparse", phase)
    w, (batch, q, past) = own(block), (int(n) for n in PHASES[phase])
    s = block.forward(0, block.inputs())
    keys, queries = block.copies[0]["1.index keys"].float(), s["1.index turned"].view(batch, q, 3, 8)
    for i in range(batch):
        for t in range(q):
            for head in range(2):
                products = keys[i, : past + t + 1] @ queries[i, t, head]
                best = torch.stack([part.max() for part in products.split(3)])
                best[-1] = torch.inf
                want = set(best.topk(min(2, len(best))).indices.tolist())
                assert want == {int(one) for one in s["1.blocks"][i, head, t] if one * 3 <= past + t}
        rows = slice(i * q, i * q + q)
        caches = w["K"][i], w["V"][i]
        wanted = mixerkit.block_sparse(w, s["0.normed"][rows].double(), caches, s["1.blocks"][i], past)
        assert torch.allclose(s["1.out"][rows].double(), wanted, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", SHARED)
@BOTH
def test_layers_that_share_keys_compute_what_their_class_does(name: str, phase: str) -> None:
    mixer, (batch, q, past) = SHARED[name], (int(n) for n in PHASES[phase])
    block = build.build(spec(mixer, *PHASES[phase]), copies=1)
    w = own(block)
    assert [section.name for section in block.sections] == [item.name for item in listed(block.spec)]
    assert sum(v.numel() for key, v in w.items() if key not in "KV") == sum(
        float(one.count) for one in mixer.weights(Plan())
    )
    if not mixer.reads_cache and q == 1:
        held = sum(block.copies[0][f"1.{key}"].nbytes for key in "KV")
        assert held == batch * float(mixer.state_bytes(past + q, Plan(), dtype("fp32")))
    s = block.forward(0, block.inputs())
    for i in range(batch):
        rows = slice(i * q, i * q + q)
        wanted = mixerkit.shared_kv(mixer, w, s["0.normed"][rows].double(), (w["K"][i], w["V"][i]), past)
        assert torch.allclose(s["1.out"][rows].double(), wanted, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", SHARED)
def test_a_training_step_gives_shared_keys_and_values_their_gradient(name: str) -> None:
    block, borrowed = build.build(spec(SHARED[name], backward=True), copies=1), SHARED[name].reads_cache
    block.backward(block.forward(0, block.inputs()))
    grads = {key: value.grad for key, value in block.copies[0].items() if value.requires_grad}
    assert all(grad is not None and grad.abs().sum() > 0 for grad in grads.values())
    assert ({"1.K", "1.V"} <= grads.keys()) == borrowed


def test_a_layer_without_an_indexer_reads_picks_of_another() -> None:
    block = build.build(spec(replace(SMALL["dsa"], indexer=False), 2.0, 5.0, 3.0), copies=1)
    picks = block.copies[0]["picks"]
    assert picks.shape == (2, 5, 4)
    assert all(len(set(row)) == 4 for row in picks.flatten(0, 1).tolist())
    assert (picks <= 3 + torch.arange(5).view(1, 5, 1)).all()
    assert block.output(block.forward(0, block.inputs())).isfinite().all()


def test_pieces_of_keys_and_queries_change_nothing(monkeypatch) -> None:
    q, k, weight = torch.randn(2, 5, 3, 8), torch.randn(2, 17, 8), torch.randn(2, 5, 3)
    heads, kv, picks = torch.randn(2, 4, 5, 8), torch.randn(2, 2, 17, 8), torch.randint(0, 12, (2, 2, 5, 6))

    def every() -> list[torch.Tensor]:
        return [
            torch_index.scores(q, k, weight), torch_index.block_scores(q, k, 3, 12),
            torch_index.attention(heads, kv, kv, picks, 12, 0, 0.3),
        ]  # fmt: skip

    whole = every()
    monkeypatch.setattr(torch_index, "_PIECE", 6)
    monkeypatch.setattr(torch_index, "_GATHERED", 1)
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(whole, every(), strict=True))


@EACH
@BOTH
def test_weights_and_state_are_those_of_the_block(name: str, phase: str) -> None:
    block, mixer = layer(name, phase), SMALL[name]
    batch, q, past = PHASES[phase]
    caches = build._sections(block.spec, block.device)[1][1].caches
    weights = {key: v for key, v in block.copies[0].items() if key.startswith("1.") and key not in caches}
    assert sum(v.numel() for v in weights.values()) == sum(float(w.count) for w in mixer.weights(Plan()))
    held = sum(block.copies[0][key].nbytes for key in caches)
    assert held == batch * float(mixer.state_bytes(past + q, Plan(), dtype("fp32")))


@EACH
@BOTH
def test_sections_are_the_calls_of_the_program(name: str, phase: str) -> None:
    block = layer(name, phase)
    assert [section.name for section in block.sections] == [item.name for item in listed(block.spec)]
    for _ in range(20):  # states that are changed in place stay of one size
        s = block.forward(0, block.inputs())
    assert block.output(s).isfinite().all()


def counted(block: build.TorchBlock) -> dict[str, float]:
    """FLOPs of matrix products by section, as torch counts them."""
    s, found = block.inputs(), {}
    for section in block.sections:
        with FlopCounterMode(display=False) as counter:
            section.run(block.copies[0], s)
        found[section.name] = float(counter.get_total_flops())
    return found


@EACH
@pytest.mark.parametrize("past", [24.0, 31.0])
def test_torch_counts_the_products_that_the_block_counts(name: str, past: float) -> None:
    """Whole chunks, and contexts of which every query picks as many keys as it may."""
    q = 8.0 if past == 24.0 else 1.0
    block = build.build(spec(SMALL[name], 2.0, q, past), copies=1)
    torchs = counted(block)
    for item in listed(block.spec):
        mine, theirs = float(item.op.work().flops), torchs[item.name]
        if isinstance(item.op, Gemm):
            assert theirs == mine
        elif isinstance(item.op, RecurrentCore):
            assert theirs == pytest.approx(seen_of(item.op))
        elif item.name.endswith("sparse core/core"):
            assert theirs == pytest.approx(products_of(item.op))
        elif item.name.endswith("index scores"):
            pairs = 2 * 8 * 32 if q == 8.0 else 2 * 32  # torch multiplies what is masked too
            assert theirs == pairs * item.op.heads * (2.0 * item.op.dim + (2.0 if name == "dsa" else 0.0))
        elif isinstance(item.op, CausalConv) and q > 1.0:
            assert theirs == 2.0 * item.op.width * item.op.channels * 2.0 * q  # without what its activation takes
        else:
            assert theirs == 0


def products_of(op) -> float:
    """Both products of an attention core over its pairs."""
    return 2.0 * float(op.batch * op.mask.pairs(op.q_len, op.past) * op.heads * (op.d_qk + op.d_v))


def seen_of(op: RecurrentCore) -> float:
    """What torch's counter sees of a core (tests/oracles/test_recurrent_flops.py): no elementwise product, no triangular solve, whole squares of chunks."""
    h, c, tokens = op.shape, float(op.chunk), float(op.tokens)
    if op.rule == "selective_scan" and op.q_len > 1.0:
        return 0.0
    if op.q_len == 1.0:
        products = 2 if op.rule in ("gated_delta", "kda") else 1
        return tokens * products * 2.0 * h.state
    less = {
        "gated_delta": h.heads * (2.0 * c * (h.d_k + h.d_v) + 2.0 / 3.0 * c * c),
        "ssd": 2.0 * h.d_k * h.heads * h.d_v / c, "lightning": -h.heads * c * (h.d_k + h.d_v),
    }  # fmt: skip
    shared = (
        2.0 * c * h.d_k * (h.heads - h.key_heads) if op.rule == "gated_delta" else 0.0
    )  # scores of heads that share a key
    return tokens * float(RULES[op.rule].chunked(h, c) - less["gated_delta" if op.rule == "kda" else op.rule] - shared)


@pytest.mark.parametrize("rule", RULES)
def test_chunks_of_every_rule_are_its_steps(rule: str) -> None:
    keys, of_a_channel = 3 if rule in ("kda", "lightning") else 1, rule in ("kda", "selective_scan")
    decay = -torch.rand((2, 37, 3, 8) if of_a_channel else (2, 37, 3))
    q, k = (torch.nn.functional.normalize(torch.randn(2, 37, keys, 8), dim=-1) for _ in range(2))
    gate = torch.randn(2, 37, 3, 4) if rule == "selective_scan" else None
    x = Inputs(q, k, torch.randn(2, 37, 3, 4), decay, torch.rand(2, 37, 3), gate)
    state = torch.randn(2, 3, 8, 4).double()
    wanted = token_by_token(rule, x.double(), last := state.clone())
    held = state.float()
    assert torch.allclose(chunked(rule, x, held, 16).double(), wanted, atol=1e-4)
    assert torch.allclose(held.double(), last, atol=1e-4)


@pytest.mark.parametrize("name", [name for name in SMALL if name not in SPARSE])
def test_a_training_step_reaches_every_weight(name: str) -> None:
    block = build.build(spec(SMALL[name], 2.0, 7.0, 0.0, backward=True), copies=1)
    s = block.forward(0, block.inputs())
    block.backward(s)
    grads = {key: value.grad for key, value in block.copies[0].items() if value.requires_grad}
    assert all(grad is not None and grad.isfinite().all() for grad in grads.values())
    assert "1.state" not in block.copies[0]
    ahead, back = time_cpu.measure(block, 0.01)
    assert [op.name for op in ahead.ops] == [item.name for item in listed(block.spec)]
    assert any("core" in op.name or "conv" in op.name for op in back.ops)


@pytest.mark.parametrize(("name", "q", "backend"), [
    ("gated_deltanet", 6.0, "torch chunks"), ("mamba2", 1.0, "torch recurrence"), ("mamba", 6.0, "torch scan"),
    ("dsa", 6.0, "torch products over picked keys"),
])  # fmt: skip
def test_every_section_gets_a_time_and_the_line_names_the_core(name: str, q: float, backend: str) -> None:
    (found,) = time_cpu.measure(build.build(spec(SMALL[name], 2.0, q, 5.0), copies=2), 0.01)
    assert [op.name for op in found.ops] == [item.name for item in listed(found.spec)]
    assert found.backend == backend


def test_what_no_layer_does_is_one_line() -> None:
    narrow = replace(SMALL["gated_deltanet"], states=States(dtype("fp8"), dtype("bf16")))
    for mixer, more, said in (
        (SMALL["dsa"], {"backward": True}, "a choice has no gradient"), (narrow, {}, "no torch block for states in fp8"),
        (replace(SMALL["dsa"], output_gate="latent"), {}, "a gate made of"),
    ):  # fmt: skip
        with pytest.raises(SpecError, match=said):
            build.build(spec(mixer, **more))


def test_states_and_columns_keep_their_own_formats() -> None:
    mixer = replace(SMALL["mamba2"], states=States(dtype("bf16"), dtype("fp16")))
    for q in (1.0, 6.0):
        block = build.build(spec(mixer, 2.0, q, 5.0, dtype="bf16"), copies=1)
        block.forward(0, block.inputs())
        w = block.copies[0]
        assert (w["1.state"].dtype, w["1.columns"].dtype) == (torch.bfloat16, torch.float16)
