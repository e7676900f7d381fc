"""What an engine holds of weights beyond the checkpoint: padding, tables, towers, blocks of the allocator, by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from toykit import LAYER, PARAMETERS, design, engine, multimodal

from simcost.dtypes import dtype
from simcost.hardware.engine_memory import EngineMemory
from simcost.model import count, loaded
from simcost.model.loaded import Loaded
from simcost.model.spec import ModelSpec, from_config
from simcost.plan import Plan

BF16, MIB = dtype("bf16"), 2.0**20
H, F, V = 1024, 4096, 32000


def held(model: ModelSpec, plan: Plan | None = None, terms: EngineMemory | None = None) -> Loaded:
    plan, terms = plan or Plan(), terms or engine()
    found = Loaded()
    for n, block in model.blocks():
        found = found + loaded.of_blocks([block], plan, model.storage, BF16, terms) * n
    return found


def test_the_checkpoint_is_every_weight_in_its_format() -> None:
    found = held(design())
    assert found.checkpoint == 2 * PARAMETERS
    assert (found.vocabulary, found.experts, found.absorbed, found.rotary, found.tower) == (0, 0, 0, 0, 0)
    assert loaded.of_blocks(design().stacks[0][1], Plan(), design().storage, BF16, engine()).checkpoint == 2 * LAYER


@pytest.mark.parametrize(("vocabulary", "multiple", "tp", "rows"), [
    (32000, 64, 1, 0), (32001, 64, 1, 63), (32001, 64, 2, 16032 - 16001), (32001, 1, 1, 0), (32005, 64, 128, 0), (32005, 64, 8, 4008 - 4001),
])  # fmt: skip
def test_a_vocabulary_is_padded_to_whole_multiples_over_all_ranks(
    vocabulary: int, multiple: int, tp: int, rows: int
) -> None:
    model, terms = design(vocab_size=vocabulary), engine(vocabulary_multiple=float(multiple))
    for end in (model.embedding, model.head):
        found = loaded.of_blocks([end], Plan(tp=float(tp)), model.storage, BF16, terms)
        assert found.vocabulary == 2 * rows * H


@pytest.mark.parametrize(("megabytes", "more"), [
    (9.0, 0.0), (10.0, 0.0), (11.0, 1.0), (11.5, 0.5), (10.5, 0.0), (12.0, 0.0), (101.0, 1.0),
])  # fmt: skip
def test_large_blocks_are_whole_steps_unless_the_rest_is_worth_keeping(megabytes: float, more: float) -> None:
    assert loaded._rounding(megabytes * MIB) == more * MIB


def test_parts_of_what_is_held_add_up_and_scale() -> None:
    one, other = Loaded(1, 2, 3, 4, 5, 6, 7), Loaded(10, 20, 30, 40, 50, 60, 70)
    assert one.total == 28
    assert (one + other).total == 308
    assert (one * 3.0).rotary == 15
    chosen = one.choose(np.array([True, False]), other)
    assert np.asarray(chosen.absorbed).tolist() == [4, 40]
    assert np.asarray(chosen.total).tolist() == [28, 280]


@pytest.mark.parametrize(("change", "elements"), [
    ({}, 8192 * 128), ({"rope_scaling": {"rope_type": "linear", "factor": 4.0}}, 4 * 8192 * 128), ({"partial_rotary_factor": 0.5}, 8192 * 64),
    ({"max_position_embeddings": None}, 0), ({"rope_local_base_freq": 1e4}, 2 * 8192 * 128),
])  # fmt: skip
def test_a_table_of_every_position_stands_beside_the_weights(change: dict[str, Any], elements: int) -> None:
    assert loaded.rotary(design(**change)).rotary == 2 * elements


def test_learned_positions_take_the_place_of_rotary_ones() -> None:
    gpt = design(model_type="gpt2")
    assert gpt.embedding.positions == 8192.0
    assert loaded.rotary(gpt) == Loaded()


def test_every_rank_has_its_part_of_a_tower() -> None:
    vision = {
        "model_type": "pixtral",
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "head_dim": 4,
    }
    model = from_config(multimodal("mistral3", {"vision_config": vision}), "toy", "toy.json")
    assert loaded.tower(model, Plan(tp=4.0)).tower == count.parameters(model)["params_towers"] * 2 / 4 > 0.0
    assert loaded.tower(design(), Plan()).tower == 0.0


@pytest.mark.parametrize(("tp", "width"), [(1, 720), (2, 360), (4, 180)])
def test_experts_in_mxfp4_are_padded_to_the_tiles_of_their_kernels(tp: int, width: int) -> None:
    """Hidden 1,000 to a multiple of 256, a rank's part of 720 to one of 128; gate and up each. 4.25 bits an element."""
    config = {
        "hidden_size": 1000,
        "head_dim": 128,
        "model_type": "mixtral",
        "num_local_experts": 4,
        "num_experts_per_tok": 2,
    }
    model = design(**config, intermediate_size=720, quantization_config={"quant_method": "mxfp4"})
    found = loaded.of_blocks(
        model.stacks[0][1], Plan(tp=float(tp)), model.storage, BF16, engine(mxfp4_multiples=(256.0, 128.0))
    )
    padded = -(-width // 128) * 128

    def size(out: int, inner: int) -> float:
        return out * (inner / 2 + -(-inner // 32))

    held = 4 * (size(2 * padded, 1024) + size(1024, padded))
    plain = 4 * (size(2 * width, 1000) + size(1000, width))
    assert found.experts == pytest.approx(held - plain)
    assert found.vocabulary == 0.0
