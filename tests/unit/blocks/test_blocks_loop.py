"""Attention residuals and looped layers: how many states each sublayer sees, what passes count, gates by hand, and plans that cannot be."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from blockkit import broken, ops, products, view

from simcost.blocks.attention.relative_bias import RelativeBias
from simcost.blocks.norm.block_residual import BlockResidual, BlockResidualHead
from simcost.blocks.norm.loop import MessageGate, looped
from simcost.dtypes import dtype
from simcost.errors import NotModelled
from simcost.model import count
from simcost.model.load import overridden
from simcost.model.spec import ModelSpec, from_config
from simcost.ops.stream import Stream
from simcost.passes.contention import exchanges
from simcost.passes.two_batch import overlapped
from simcost.plan import Plan
from simcost.program import Serial, calls

CONFIG: dict[str, Any] = {
    "model_type": "inkling2_loop_text", "hidden_size": 96, "num_hidden_layers": 12, "num_attention_heads": 6, "num_key_value_heads": 2, "head_dim": 16,
    "swa_num_attention_heads": 4, "swa_num_key_value_heads": 4, "swa_head_dim": 8, "sliding_window_size": 32, "d_rel": 4, "rel_extent": 64, "vocab_size": 512,
    "unpadded_vocab_size": 500, "n_routed_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 24, "n_layers_per_attn_res_block": 3,
    "loop_layer_index_start": 3, "loop_layer_index_end": 9, "loop_num_passes": 3, "loop_gate_rank": 8,
}  # fmt: skip


def _read(**changes: Any) -> ModelSpec:
    return from_config({**CONFIG, **changes}, "x", "x.json")


def _layer(model: ModelSpec, at: int) -> tuple[Any, ...]:
    return model.stacks[model.order[at]][1]


def _states(model: ModelSpec, at: int) -> list[tuple[str, float, float]]:
    return [(b.name, b.states, b.queries) for b in _layer(model, at) if b.kind == "norm" and hasattr(b, "states")]


def test_a_sublayer_sees_the_blocks_before_it_and_the_running_sum() -> None:
    """Blocks of three layers: layer 3 puts the sum aside, so its FFN sees one state more than its attention."""
    plain = {key: value for key, value in CONFIG.items() if not key.startswith("loop_")}
    model = from_config({**plain, "model_type": "inkling2_text"}, "x", "x.json")
    assert _states(model, 0) == [("ffn_input", 2, 1)]
    assert _states(model, 1) == [("attention_input", 2, 1), ("ffn_input", 2, 1)]
    assert _states(model, 3) == [("attention_input", 2, 1), ("ffn_input", 3, 1)]
    assert _states(model, 4) == [("attention_input", 3, 1), ("ffn_input", 3, 1)]
    assert _states(model, 5) == [("attention_input", 3, 3), ("ffn_input", 3, 1)]
    assert _states(model, 11) == [("attention_input", 5, 3), ("ffn_input", 5, 1)]
    assert isinstance(model.head, BlockResidualHead)
    assert model.head.states == 5


def test_a_mean_reads_all_states_once() -> None:
    found = ops(BlockResidual("x", 96.0, 5.0, 3.0).program(view(4.0, 1.0, 9.0)))["x"]
    assert isinstance(found, Stream)
    assert (found.elements, found.reads, found.writes, found.flops) == (4 * 96, 5, 3, 5 * 16)


def test_a_loop_has_messages_and_each_pass_a_cache() -> None:
    """Two blocks of the loop: messages are means over one state put aside in the pass before and its end."""
    model = _read()
    assert _states(model, 3) == [("message_input", 2, 4), ("attention_input", 2, 1), ("ffn_input", 3, 1)]
    assert _states(model, 9) == [("attention_input", 4, 1), ("ffn_input", 5, 1)]
    inside = next(b for b in _layer(model, 5) if b.kind == "attention")
    outside = next(b for b in _layer(model, 11) if b.kind == "attention")
    assert type(inside).__name__ == "LoopedRelativeBias"
    assert isinstance(outside, RelativeBias)
    kind, plan = dtype("bf16"), Plan(tp=2.0)
    for what in ("state_elements", "core_flops"):
        arguments = (100.0, plan) if what == "state_elements" else (5.0, 100.0)
        assert getattr(inside, what)(*arguments) == 3 * getattr(outside, what)(*arguments)
    assert inside.token_bytes(plan, kind) == 3 * outside.token_bytes(plan, kind)
    assert inside.state_formula == "K + V: 3 passes x (2 heads x (16 + 16))"
    assert (inside.mask, inside.num_key_value_heads) == (outside.mask, 2)


def test_weights_are_held_once_and_passed_as_often() -> None:
    once, thrice = _read(loop_num_passes=1), _read()
    assert count.parameters(once)["params_total"] == count.parameters(thrice)["params_total"]
    block = looped(RelativeBias(96.0, 6.0, 2.0, 16.0, 16.0), 3.0)
    assert {w.name: w.uses for w in block.weights(Plan())} == {
        "qkv_proj": 3,
        "o_proj": 3,
        "r_proj": 3,
        "rel_logits_proj": 18,
    }
    program = block.program(view(4.0, 1.0, 9.0))
    assert isinstance(program, Serial)
    assert program.repeat == 3


def test_flops_of_a_token_by_hand() -> None:
    """What a second further pass adds: products and vectors of the looped layers, once more."""
    two, three = (_read(loop_num_passes=n) for n in (2, 3))
    more = count.flops_per_token(three, 1.0, 99.0, 1.0) - count.flops_per_token(two, 1.0, 99.0, 1.0)
    layers = list(range(3, 9))
    passed = 0.0
    for at in layers:
        for block in _layer(_read(loop_num_passes=1), at):
            scale = (
                1.0 if not (isinstance(block, MessageGate) or getattr(block, "name", "") == "message_input") else 0.0
            )
            passed += 2.0 * scale * sum(w.count * w.active * w.uses for w in block.weights(Plan()))
            passed += scale * block.core_flops(1.0, 99.0)
    gates = 6 * (4 * 96 + 4 * (2 * 96 * 8 + 2 * 8 * 96))
    assert more == pytest.approx(passed + 2.0 * gates, rel=1e-12)


def test_gates_by_hand() -> None:
    gate = MessageGate(96.0, 8.0, 2.0, 2.0)
    program = gate.program(view(4.0, 1.0, 9.0))
    assert isinstance(program, Serial)
    assert program.repeat == 2
    assert products(program) == {"message_gate_down": (4, 4, 8, 192), "message_gate_up": (4, 4, 192, 8)}
    assert list(ops(program)) == [
        "message norms",
        "message_gate_down",
        "message_gate_up",
        "message mix",
        "norms of inputs",
    ]
    full = next(b for b in _layer(_read(), 5) if isinstance(b, MessageGate))
    assert (full.norms, full.runs) == (0, 2)


def test_passes_stay_in_one_stage() -> None:
    block = looped(RelativeBias(96.0, 6.0, 2.0, 16.0, 16.0), 3.0)
    assert any("need pp = 1" in reason for reason in broken(block, Plan(pp=2.0)))
    assert broken(block, Plan(tp=2.0)) == []


def test_two_batches_exchange_once_a_pass() -> None:
    experts = next(b for b in _layer(_read(), 4) if b.kind == "ffn")
    program = experts.program(view(16.0, 1.0, 9.0, Plan(ep=4.0, dp_attention=4.0)))
    assert exchanges(program)
    found = overlapped(Serial((program,)))
    repeats = [part.repeat for part in _serials(found) if exchanges(part)]
    assert 3.0 in repeats


def _serials(program: Any) -> list[Serial]:
    own = [program] if isinstance(program, Serial) else []
    return own + [each for part in getattr(program, "parts", ()) for each in _serials(part)]


def test_sizes_of_a_loop_can_be_swept() -> None:
    widths = np.array([96.0, 192.0])
    swept = from_config(overridden(CONFIG, {"hidden_size": widths}, "x"), "x", "x.json")
    each = [count.parameters(_read(hidden_size=int(width)))["params_total"] for width in widths]
    assert list(np.asarray(count.parameters(swept)["params_total"])) == each


def test_every_op_has_a_name() -> None:
    for at in (0, 5, 11):
        for block in _layer(_read(), at):
            assert all(call.tag for call in calls(block.program(view(4.0, 1.0, 9.0))))


def test_another_family_has_no_loop() -> None:
    with pytest.raises(NotModelled, match="a key of loop, and no layer of this config is one"):
        from_config({**CONFIG, "model_type": "inkling2_text"}, "x", "x.json")
