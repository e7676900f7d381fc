"""Multi-matrix factorisation attention: Step-3's shapes, shares of ranks, a step by hand, and what a config must say."""

from __future__ import annotations

from typing import Any

import pytest
from blockkit import block, broken, model, ops, products, shapes, the_core, view

from simcost.blocks.attention.gqa import GQA
from simcost.blocks.attention.mfa import MFA
from simcost.errors import SpecError
from simcost.model import load
from simcost.model.spec import from_config
from simcost.ops.stream import Stream
from simcost.plan import Plan

STEP = block("step-3", "attention")
assert isinstance(STEP, MFA)


@pytest.mark.parametrize(("tp", "heads"), [(1, 64), (8, 8), (64, 1)])
def test_the_latent_is_whole_on_every_rank_and_heads_are_cut(tp: int, heads: int) -> None:
    plan = Plan(tp=float(tp))
    assert shapes(STEP.weights(plan)) == {
        "qkv_proj": (2048 + 2 * 256, 7168), "inter_norm": (2048,), "wq": (heads * 256, 2048), "o_proj": (7168, heads * 256)
    }  # fmt: skip
    assert STEP.state_elements(1000.0, plan) == 1000 * 2 * 256
    assert STEP.peak_elements(plan) == heads * 512 + 512 + 2048
    assert broken(STEP, plan) == []


def test_a_layer_has_the_published_number_of_parameters() -> None:
    """mixers of arXiv 2507.19427: d·qd + qd + qd·hD + 2·dD + hD·d."""
    assert sum(w.count for w in STEP.weights(Plan())) == 169_347_072
    assert sum(n for n, block in model("step-3").blocks() if isinstance(block, MFA)) == 61


def test_a_decode_step_by_hand() -> None:
    """Eight sequences of 1,000 tokens on four ranks of 16 heads."""
    program = STEP.program(view(8.0, 1.0, 999.0, Plan(tp=4.0), decode=True))
    assert list(ops(program)) == ["qkv_proj", "inter_norm", "wq", "rope", "kv write", "core", "o_proj", "all-reduce"]
    assert products(program) == {
        "qkv_proj": (1, 8, 2560, 7168), "wq": (1, 8, 16 * 256, 2048), "o_proj": (1, 8, 7168, 16 * 256)
    }  # fmt: skip
    elements = {tag: op.elements for tag, op in ops(program).items() if isinstance(op, Stream)}
    assert elements == {"inter_norm": 8 * 2048, "rope": 8 * 17 * 256, "kv write": 8 * 512}
    core = the_core(program)
    assert (core.heads, core.kv_heads, core.d_qk, core.d_v) == (16, 1, 256, 256)


def test_the_core_is_that_of_multi_query_attention() -> None:
    """What a kernel sees of MFA: 64 heads on one head of keys and values, 256 wide."""
    plain = GQA(7168.0, 64.0, 1.0, 256.0, 256.0)
    at = view(4.0, 16.0, 100.0)
    assert the_core(STEP.program(at)) == the_core(plain.program(at))
    assert STEP.core_width == plain.core_width


def _config(**changes: Any) -> dict[str, Any]:
    return {key: value for key, value in {**load.load_config("step-3")[2], **changes}.items() if value is not None}


def test_a_bias_is_as_wide_as_its_product() -> None:
    found = from_config(_config(attention_bias=True), "biased", "biased.json")
    mfa = next(b for _, b in found.blocks() if isinstance(b, MFA))
    assert shapes(mfa.weights(Plan()))["qkv_bias"] == (2048 + 512,)
    assert shapes(mfa.weights(Plan()))["o_bias"] == (7168,)


def test_a_config_that_says_mfa_must_say_how_wide_the_latent_is() -> None:
    with pytest.raises(SpecError, match="missing key 'share_q_dim'"):
        from_config(_config(share_q_dim=None), "x", "x.json")


def test_mfa_that_is_switched_off_is_grouped_attention() -> None:
    found = from_config(_config(use_mfa=False), "x", "x.json")
    assert type(next(b for _, b in found.blocks() if b.kind == "attention")) is GQA
    assert any("share_q_dim" in note for note in found.notes)


def test_layers_with_experts_are_listed_in_a_text() -> None:
    """Layers 0 to 3 and the last are dense."""
    found = model("step-3")
    kinds = [type(found.stacks[i][1][-1]).__name__ for i in found.order]
    assert kinds == ["Dense"] * 4 + ["MoE"] * 56 + ["Dense"]
    with pytest.raises(SpecError, match="moe_layers_enum"):
        from_config(_config(moe_layers_enum="4-59"), "x", "x.json")
