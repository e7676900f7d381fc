"""Context parallelism of Gated DeltaNet: tokens swapped for heads, as Megatron Core does."""

from __future__ import annotations

import pytest
from blockkit import view

import simcost
from simcost.errors import SimcostError
from simcost.model import load as models
from simcost.ops.collective import Collective
from simcost.ops.recurrent import CausalConv, RecurrentCore
from simcost.plan import Plan
from simcost.program import runs

MODEL = "qwen3.5-35b-a3b"  # 16 heads of keys and 32 of values, 128 wide, a hidden size of 2,048


def gdn():
    found = {type(block).__name__: block for _, block in models.load(MODEL).blocks()}
    return found["GatedDeltaNet"]


def calls(cp: float) -> dict[str, tuple[object, float]]:
    """Calls of one layer by name, of a prompt of 8,192 tokens."""
    plan = Plan(tp=2.0, cp=cp, cp_method="ulysses")
    return {call.tag: (call.op, float(times)) for call, times in runs(gdn().program(view(1.0, 8192.0, 0.0, plan)))}


def test_a_rank_has_all_tokens_of_a_part_of_the_heads() -> None:
    one, four = calls(1.0), calls(4.0)
    core = [each["core"][0] for each in (one, four)]
    conv = [each["causal conv"][0] for each in (one, four)]
    assert all(isinstance(each, RecurrentCore) for each in core)
    assert all(isinstance(each, CausalConv) for each in conv)
    assert core[0].flops() == pytest.approx(4 * core[1].flops())
    assert conv[0].channels == pytest.approx(4 * conv[1].channels)


def test_what_is_exchanged() -> None:
    """Of 8,192 tokens a rank has a quarter, and sends three quarters of it: queries, keys, values, gates, decays and learning
    rates of its half of the heads there, outputs back."""
    four = calls(4.0)
    there, back = four["heads for tokens"][0], four["tokens for heads"][0]
    assert isinstance(there, Collective)
    rows = 8192 / 4 * 3 / 4
    keys, values, heads = 8 * 128, 16 * 128, 16
    assert there.payload == pytest.approx(rows * 2 * (2 * keys + 2 * values + 2 * heads))
    assert back.payload == pytest.approx(rows * 2 * values)
    assert (there.group, there.stride) == (4.0, 2.0)
    assert "heads for tokens" not in calls(1.0)


def test_weights_are_whole_and_states_are_cut() -> None:
    whole, cut = Plan(tp=2.0), Plan(tp=2.0, cp=4.0, cp_method="ulysses")
    assert gdn().weights(whole) == gdn().weights(cut)
    assert gdn().state_elements(1.0, whole) == 4 * gdn().state_elements(1.0, cut)


@pytest.mark.parametrize(
    ("sets", "says"),
    [
        ({"plan.cp": 2}, "cp must be 1, or cp_method=ulysses, which swaps tokens for heads"),
        ({"plan.cp": 16, "plan.tp": 2, "plan.cp_method": "ulysses"}, r"linear_num_key_heads \(ulysses splits them over tp·cp\)"),
    ],
)  # fmt: skip
def test_what_heads_cannot_be_swapped_is_refused(sets, says) -> None:
    with pytest.raises(SimcostError, match=says):
        simcost.train(MODEL, "h100", 64, global_batch=64, seq=8192, set=sets, levers=False)


def test_a_step_takes_the_exchanges() -> None:
    """Twice the ranks of a sequence halve its tokens a rank; what they exchange is context parallel."""
    sets = {"plan.tp": 2, "plan.ep": 8, "plan.cp": 2, "plan.cp_method": "ulysses", "plan.sequence_parallel": "on"}
    found = simcost.train(
        MODEL, "h100", 16, global_batch=8, seq=8192, set={**sets, "plan.recompute": "full"}, levers=False
    )
    kinds = {row["part"]: row["time_s"] for rows in found.tables.values() for row in rows if "part" in row}
    assert any("context" in name for name in kinds), kinds
