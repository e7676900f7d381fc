"""Parameters of a rank, module by module: by hand of Llama and DeepSeek-V3, adapters, shares that do not learn."""

from __future__ import annotations

import pytest

from simcost import pipeline
from simcost.model import load
from simcost.plan import Plan
from simcost.sharding.shard import ROLES, Weight
from simcost.training.parameters import KEPT, Parameter, Trained, frozen_share, of_blocks, total, units

LLAMA, TIED, DEEPSEEK = (load.load(name) for name in ("llama-3.1-8b", "llama-3.2-1b", "deepseek-v3"))
LAYER = 4096 * (6144 + 4096 + 28672 + 14336)  # matrices of a layer of Llama-3.1-8B
LORA = Trained(roles=(), lora_rank=8.0)


def test_units_of_a_stage_have_the_keys_of_their_modules() -> None:
    """The first of four stages of DeepSeek-V3 has the embedding and no head; the last the head, the final norm and the MTP
    module, whose table and head are copies of others'."""
    stages = pipeline.stages(DEEPSEEK, 4, True)
    first, last = (units(DEEPSEEK, stage, Plan(pp=4.0)) for stage in (stages[0], stages[3]))
    assert [unit.key for unit in first][:1] == ["embedding"]
    assert "head" not in [unit.key for unit in first]
    keys = [unit.key for unit in last]
    assert "head" in keys
    assert any(key.startswith("mtp") for key in keys)
    named = [key for key in keys if key]
    assert len(set(named)) == len(named)
    every = [unit for stage in stages for unit in units(DEEPSEEK, stage, Plan(pp=4.0))]
    assert sum(unit.count for unit in every if unit.key.startswith("stack")) == 61
    copies = [unit for unit in last if unit.key == ""]
    assert total(tuple(copies)) == 129280.0 * 7168.0  # the table, which MTP reads on the last stage too


def test_all_parameters_learn_or_do_not() -> None:
    (stage,) = pipeline.stages(LLAMA, 1, True)
    for trained in (Trained(), Trained(roles=("head",)), LORA):
        every = units(LLAMA, stage, Plan(), trained)
        assert total(every) == total(every, True) + total(every, False)
    assert total(units(LLAMA, stage, Plan(), Trained(roles=("attention",))), True) == 32 * 4096 * (6144 + 4096)
    assert total(units(LLAMA, stage, Plan())) == 8_030_261_248


@pytest.mark.parametrize("tp", [1.0, 4.0])
def test_adapters_stand_beside_each_matrix_as_it_is_cut(tp: float) -> None:
    """Rank 8 beside W [out, inner]: A [8, inner], B [out, 8]. Of qkv tensor parallelism cuts `out`, of o_proj `inner`."""
    blocks = LLAMA.stacks[0][1]
    found = [one for one in of_blocks(blocks, Plan(tp=tp), LORA) if one.adapter]
    sides = {one.part.name: (one.part.out, one.part.inner) for one in found}
    assert sides["qkv_proj_lora_a"] == (8.0, 4096.0)
    assert sides["qkv_proj_lora_b"] == (6144.0 / tp, 8.0)
    assert sides["o_proj_lora_a"] == (8.0, 4096.0 / tp)
    assert sides["o_proj_lora_b"] == (4096.0, 8.0)
    wholes = {one.whole.name: (one.whole.out, one.whole.inner) for one in found}
    assert wholes["qkv_proj_lora_b"] == (6144.0, 8.0)
    assert all(one.learns for one in found)
    # Where tensor parallelism leaves a side whole, every rank holds all of that adapter.
    assert [one.part.name for one in found if one.replicated and one.part.name.startswith(("qkv", "o_"))] == (
        ["qkv_proj_lora_a", "o_proj_lora_b"]
        if tp > 1.0
        else [one.part.name for one in found if one.part.name.startswith(("qkv", "o_"))]
    )


def test_matrices_of_layers_alone_are_kept_narrow_and_norms_stay() -> None:
    kept = Trained(roles=("norm",), lora_rank=8.0, kept=KEPT["nf4"])
    found = of_blocks(LLAMA.stacks[0][1], Plan(), kept)
    narrow = {one.part.role for one in found if one.kept is not None}
    assert narrow == {"attention", "ffn"}
    assert all(one.kept is None for one in found if one.learns)


def test_a_share_of_the_products_does_not_learn() -> None:
    """Of Llama-3.1-8B: 32 layers of 218.1 M and a head of 525.3 M a token; the table is looked up, and multiplies nothing."""
    head = 128256 * 4096
    every = 32 * LAYER + head
    assert frozen_share(LLAMA, Trained()) == 0.0
    assert frozen_share(LLAMA, LORA) == 1.0
    for role, count in (
        ("attention", 32 * 4096 * (6144 + 4096)),
        ("ffn", 32 * 4096 * (28672 + 14336)),
        ("head", head),
        ("embedding", 0),
    ):
        less = Trained(roles=tuple(each for each in ROLES if each != role))
        assert frozen_share(LLAMA, less) == pytest.approx(count / every, rel=1e-12)


def test_a_tied_head_is_frozen_with_its_table() -> None:
    """Llama-3.2-1B: 16 layers of 60.8 M, of which 2,048 x (3,072 + 2,048 + 16,384 + 8,192), and a head of 262.7 M."""
    head = 128256 * 2048
    every = 16 * 2048 * (3072 + 2048 + 16384 + 8192) + head
    without = {role: Trained(roles=tuple(each for each in ROLES if each != role)) for role in ("embedding", "head")}
    assert frozen_share(TIED, without["embedding"]) == pytest.approx(head / every, rel=1e-12)
    assert frozen_share(TIED, without["head"]) == 0.0


def test_of_experts_those_of_a_token_multiply() -> None:
    """DeepSeek-V3: 58 layers of eight routed experts of 3 x 7,168 x 2,048 a token, of 256."""
    less = Trained(roles=tuple(each for each in ROLES if each != "experts"))
    routed = 58 * 8 * 3 * 7168 * 2048
    attention = 61 * (7168 * 1536 + 1536 * 128 * 192 + 7168 * 576 + 512 * 128 * 256 + 128 * 128 * 7168)
    dense, shared = 3 * 3 * 7168 * 18432, 58 * 3 * 7168 * 2048
    every = routed + attention + dense + shared + 58 * 256 * 7168 + 129280 * 7168
    assert frozen_share(DEEPSEEK, less) == pytest.approx(routed / every, rel=1e-9)


def test_experts_are_never_counted_as_replicated() -> None:
    weight = Weight("up", "experts", 2048.0, 7168.0)
    assert Parameter(weight, weight, True).is_expert
    assert not Parameter(weight, weight, True).replicated
    norm = Weight("norm", "norm", 7168.0, None)
    assert Parameter(norm, norm, True).replicated
