"""torch's own FLOP counter, on meta tensors, as an independent count of every block's matrix products."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simcost.blocks.attention.gqa import GQA
from simcost.blocks.attention.mla import MLA
from simcost.blocks.ffn.dense import Dense
from simcost.blocks.ffn.moe import MoE
from simcost.dtypes import dtype
from simcost.ops.attention_core import AttentionCore, Mask
from simcost.ops.work import Op
from simcost.plan import Phase, Plan
from simcost.program import Call, Choice, Program, Serial, calls
from simcost.sharding.shard import ROLES, Block, View

torch = pytest.importorskip("torch")
flop_counter = pytest.importorskip("torch.utils.flop_counter")
FAMILIES = ("gemm", "grouped_gemm", "attention")
BF16 = dtype("bf16")
SETTINGS = settings(max_examples=25, deadline=None, derandomize=True)


def view(batch: int, q: int, past: int, form: str = "auto") -> View:
    every = dict.fromkeys(ROLES, BF16)
    return View(Plan(mla_form=form), Phase(float(batch), float(q), float(past)), BF16, BF16, every, every)


def uncausal(op: Op) -> Op:
    """torch's counter sees no mask: the same core with all pairs."""
    if not isinstance(op, AttentionCore):
        return op
    free = Mask(causal=False)
    return AttentionCore(
        op.batch, op.q_len, op.past, op.heads, op.kv_heads, op.d_qk, op.d_v, free, op.x, op.kv, op.compute, op.shared_kv
    )


def ops(program: Program) -> list[Op]:
    assert not any(isinstance(part, Choice) for part in getattr(program, "parts", ()))
    assert all(isinstance(part, (Call, Serial)) for part in getattr(program, "parts", ()))
    return [uncausal(call.op) for call in calls(program) if call.op.family in FAMILIES]


def forward(block: Block, at: View) -> float:
    return sum(float(op.work().flops) for op in ops(block.program(at)))


def backward(block: Block, at: View) -> float:
    """Adjoints; the flash backward's recomputed QK^T taken off, because plain products keep the scores."""
    total = 0.0
    for op in ops(block.program(at)):
        grads = [g for g in (*op.input_grad(), *op.weight_grad()) if g.family in FAMILIES]
        total += sum(float(g.work().flops) for g in grads)
        if isinstance(op, AttentionCore):
            total -= 2.0 * float(op.batch * op.heads * op.mask.pairs(op.q_len, op.past) * op.d_qk)
    return total


def meta(*shape: int) -> torch.Tensor:
    return torch.empty(*shape, device="meta", requires_grad=True)


def counted(run: Callable[[], torch.Tensor]) -> tuple[float, float]:
    """(forward, backward) FLOPs of torch."""
    with flop_counter.FlopCounterMode(display=False) as ahead:
        out = run()
    with flop_counter.FlopCounterMode(display=False) as back:
        out.sum().backward()
    return float(ahead.get_total_flops()), float(back.get_total_flops())


def agree(block: Block, at: View, run: Callable[[], torch.Tensor]) -> None:
    ahead, back = counted(run)
    assert forward(block, at) == ahead
    assert backward(block, at) == back


def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """[b*h, q, d] cores as two batched products."""
    return torch.bmm(torch.softmax(torch.bmm(q, k.transpose(1, 2)), -1), v)


def heads_first(x: torch.Tensor, b: int, s: int, h: int, d: int) -> torch.Tensor:
    return x.reshape(b, s, h, d).transpose(1, 2).reshape(b * h, s, d)


small = st.integers(1, 7)


@SETTINGS
@given(b=st.integers(1, 4), q=st.integers(2, 40), past=st.integers(0, 60), kv=small, group=st.integers(1, 4),
       d=st.integers(8, 200), qk=st.integers(4, 64), dv=st.integers(4, 64), data=st.booleans())  # fmt: skip
def test_gqa_matrix_flops_equal_torch_forward_and_backward_for_any_head_dim(
    b: int, q: int, past: int, kv: int, group: int, d: int, qk: int, dv: int, data: bool
) -> None:
    h = kv * group
    dv = qk if data else dv
    block = GQA(float(d), float(h), float(kv), float(qk), float(dv))

    def run() -> torch.Tensor:
        # Cached K and V are leaves, as in a step after `past` tokens; gradients flow to them as well.
        qkv = meta(b * q, d) @ meta(d, h * qk + kv * (qk + dv))
        one, two, three = qkv.split([h * qk, kv * qk, kv * dv], -1)
        keys = torch.cat([meta(b, past, kv, qk), two.reshape(b, q, kv, qk)], 1).repeat_interleave(group, 2)
        values = torch.cat([meta(b, past, kv, dv), three.reshape(b, q, kv, dv)], 1).repeat_interleave(group, 2)
        core = attend(
            heads_first(one, b, q, h, qk),
            keys.transpose(1, 2).reshape(b * h, past + q, qk),
            values.transpose(1, 2).reshape(b * h, past + q, dv),
        )
        joined = core.reshape(b, h, q, dv).transpose(1, 2).reshape(b * q, h * dv)
        return joined @ meta(h * dv, d)

    agree(block, view(b, q, past), run)


def mla(d: int, h: int, r: int, nope: int, rope: int, dv: int, lora: int | None) -> MLA:
    return MLA(float(d), float(h), float(r), float(nope), float(rope), float(dv), None if lora is None else float(lora))


MLA_SHAPES = {
    "b": st.integers(1, 3), "q": st.integers(2, 20), "past": st.integers(0, 40), "d": st.integers(8, 120), "h": st.integers(1, 8),
    "r": st.integers(4, 64), "nope": st.integers(4, 32), "rope": st.integers(2, 16), "dv": st.integers(4, 32),
    "lora": st.one_of(st.none(), st.integers(4, 64)),
}  # fmt: skip


def queries(b: int, q: int, d: int, h: int, width: int, lora: int | None, x: torch.Tensor) -> torch.Tensor:
    if lora is None:
        return x @ meta(d, h * width)
    return (x @ meta(d, lora)) @ meta(lora, h * width)


@SETTINGS
@given(**MLA_SHAPES)
def test_expanded_mla_matrix_flops_equal_torch_forward_and_backward(
    b: int, q: int, past: int, d: int, h: int, r: int, nope: int, rope: int, dv: int, lora: int | None
) -> None:
    s = past + q

    def run() -> torch.Tensor:
        x = meta(b * q, d)
        query = queries(b, q, d, h, nope + rope, lora, x)
        latent, rotary = (x @ meta(d, r + rope)).split([r, rope], -1)
        cached = torch.cat([meta(b, past, r), latent.reshape(b, q, r)], 1).reshape(b * s, r)
        turned = torch.cat([meta(b, past, rope), rotary.reshape(b, q, rope)], 1)
        k, v = (cached @ meta(r, h * (nope + dv))).reshape(b, s, h, nope + dv).split([nope, dv], -1)
        k = torch.cat([k, turned[:, :, None, :].expand(b, s, h, rope)], -1)
        core = attend(
            heads_first(query, b, q, h, nope + rope),
            k.transpose(1, 2).reshape(b * h, s, nope + rope),
            v.transpose(1, 2).reshape(b * h, s, dv),
        )
        return core.reshape(b, h, q, dv).transpose(1, 2).reshape(b * q, h * dv) @ meta(h * dv, d)

    agree(mla(d, h, r, nope, rope, dv, lora), view(b, q, past, "expanded"), run)


@SETTINGS
@given(**MLA_SHAPES)
def test_absorbed_mla_matrix_flops_equal_torch_forward_and_backward(
    b: int, q: int, past: int, d: int, h: int, r: int, nope: int, rope: int, dv: int, lora: int | None
) -> None:
    s = past + q

    def run() -> torch.Tensor:
        x = meta(b * q, d)
        query = queries(b, q, d, h, nope + rope, lora, x).reshape(b * q, h, nope + rope)
        plain, turned = query.split([nope, rope], -1)
        absorbed = torch.bmm(plain.transpose(0, 1), meta(h, nope, r))  # [h, b*q, r]
        wide = torch.cat([absorbed.transpose(0, 1), turned], -1)
        latent = torch.cat([meta(b, past, r + rope), (x @ meta(d, r + rope)).reshape(b, q, r + rope)], 1)
        keys = latent[:, None].expand(b, h, s, r + rope).reshape(b * h, s, r + rope)
        core = attend(heads_first(wide, b, q, h, r + rope), keys, keys[:, :, :r])
        out = core.reshape(b, h, q, r).transpose(0, 1).reshape(h, b * q, r)
        joined = torch.bmm(out, meta(h, r, dv)).transpose(0, 1).reshape(b * q, h * dv)
        return joined @ meta(h * dv, d)

    agree(mla(d, h, r, nope, rope, dv, lora), view(b, q, past, "absorbed"), run)


@SETTINGS
@given(b=st.integers(1, 5), q=st.integers(2, 50), d=st.integers(4, 300), f=st.integers(4, 300), gated=st.booleans())
def test_dense_ffn_matrix_flops_equal_torch_forward_and_backward(b: int, q: int, d: int, f: int, gated: bool) -> None:
    def run() -> torch.Tensor:
        x = meta(b * q, d)
        up = x @ meta(d, 2 * f if gated else f)
        inner = torch.nn.functional.silu(up[:, :f]) * up[:, f:] if gated else torch.relu(up)
        return inner @ meta(f, d)

    agree(Dense(float(d), float(f), gated), view(b, q, 0), run)


@SETTINGS
@given(each=st.integers(1, 6), experts=st.integers(2, 12), k=st.integers(1, 4), d=st.integers(4, 128),
       f=st.integers(4, 96), shared=st.sampled_from([0, 16, 40]), gated=st.booleans())  # fmt: skip
def test_moe_matrix_flops_equal_torch_loop_over_balanced_experts_forward_and_backward(
    each: int, experts: int, k: int, d: int, f: int, shared: int, gated: bool
) -> None:
    k = min(k, experts)
    tokens = experts * each  # every expert then gets each*k rows
    block = MoE(float(d), float(experts), float(k), float(f), float(shared), gated)

    def ffn(x: torch.Tensor, width: int) -> torch.Tensor:
        up = x @ meta(d, 2 * width if gated else width)
        inner = torch.nn.functional.silu(up[:, :width]) * up[:, width:] if gated else torch.relu(up)
        return inner @ meta(width, d)

    def run() -> torch.Tensor:
        x = meta(tokens, d)
        scores = (x @ meta(d, experts)).sum()
        parts = x.repeat(k, 1).split(each * k)
        assert len(parts) == experts
        out = torch.cat([ffn(part, f) for part in parts]).reshape(k, tokens, d).sum(0)
        return (out + ffn(x, shared) if shared else out) + scores

    agree(block, view(tokens, 1, 0), run)


@SETTINGS
@given(b=st.integers(1, 3), q=st.integers(1, 40), past=st.integers(0, 60), h=st.integers(1, 6),
       qk=st.integers(1, 64), dv=st.integers(1, 64))  # fmt: skip
def test_attention_core_backward_recomputes_scores_as_torch_counts_flash_attention(
    b: int, q: int, past: int, h: int, qk: int, dv: int
) -> None:
    s, f = past + q, float
    core = AttentionCore(f(b), f(q), f(past), f(h), f(h), f(qk), f(dv), Mask(causal=False), BF16, BF16, BF16)
    shapes = (b, h, q, qk), (b, h, s, qk), (b, h, s, dv)
    assert f(core.work().flops) == flop_counter.sdpa_flop_count(*shapes)
    (grad,) = core.input_grad()
    assert f(grad.work().flops) == flop_counter.sdpa_backward_flop_count((b, h, q, dv), *shapes)


def test_attention_core_backward_is_two_and_a_half_forwards_for_equal_widths() -> None:
    core = AttentionCore(2.0, 64.0, 0.0, 4.0, 4.0, 64.0, 64.0, Mask(), BF16, BF16, BF16)
    assert core.input_grad()[0].work().flops == 2.5 * core.work().flops
