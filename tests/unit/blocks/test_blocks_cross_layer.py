"""Layers that read another layer's keys and values (Hunyuan-Large): shapes, cache, a step by hand, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from blockkit import broken, model, ops, products, shapes, the_core, view

import simcost
from simcost.blocks.attention.cross_layer import CrossLayer
from simcost.blocks.attention.gqa import GQA
from simcost.errors import SimcostError
from simcost.model import count, load
from simcost.model.spec import from_config
from simcost.ops.stream import Stream
from simcost.plan import Plan

NAME = "hunyuan-large"
READS = next(block for _, block in model(NAME).blocks() if isinstance(block, CrossLayer))
WRITES = next(block for _, block in model(NAME).blocks() if type(block) is GQA)


def _read(**changes: Any) -> Any:
    config = {key: value for key, value in {**load.load_config(NAME)[2], **changes}.items() if value is not None}
    return from_config(config, "x", "x.json")


@pytest.mark.parametrize(("factor", "own"), [(1, 64), (2, 32), (3, 22), (4, 16)])
def test_the_first_of_each_group_keeps_keys_and_values(factor: int, own: int) -> None:
    found = _read(cla_share_factor=factor)
    assert count.kv_elements(found)["kv_elements_per_token"] == own * 2 * 8 * 80
    saved = (64 - own) * 2 * 6400 * 8 * 80
    assert count.parameters(_read(use_cla=False))["params_total"] - count.parameters(found)["params_total"] == saved


@pytest.mark.parametrize("tp", [1, 8, 16])
def test_a_layer_that_reads_has_queries_alone(tp: int) -> None:
    plan = Plan(tp=float(tp))
    heads = 80 // tp
    assert shapes(READS.weights(plan)) == {
        "q_proj": (heads * 80, 6400), "o_proj": (6400, heads * 80), "qk_norm": (160,)
    }  # fmt: skip
    assert READS.state_elements(1000.0, plan) == 0
    assert READS.peak_elements(plan) == heads * 160
    assert broken(READS, plan) == []


def test_a_decode_step_by_hand() -> None:
    """Eight sequences of 1,000 tokens on four ranks: the core of the layer that writes, without a write."""
    at = view(8.0, 1.0, 999.0, Plan(tp=4.0), decode=True)
    program = READS.program(at)
    assert list(ops(program)) == ["q_proj", "qk_norm", "rope", "core", "o_proj", "all-reduce"]
    assert products(program) == {"q_proj": (1, 8, 20 * 80, 6400), "o_proj": (1, 8, 6400, 20 * 80)}
    elements = {tag: op.elements for tag, op in ops(program).items() if isinstance(op, Stream)}
    assert elements == {"qk_norm": 8 * 20 * 80, "rope": 8 * 20 * 80}
    assert the_core(program) == the_core(WRITES.program(at))


def test_memory_holds_the_caches_that_are_written() -> None:
    """Half of what the same design without sharing holds."""
    pages = [
        simcost.decode(NAME, "h200", batch=8, context=8192, set={"model.use_cla": on, "plan.tp": 8}).metrics["kv_bytes_per_gpu"]
        for on in (True, False)
    ]  # fmt: skip
    assert pages[1] == pytest.approx(2.0 * pages[0], rel=0.01)


@pytest.mark.parametrize(("changes", "says"), [
    ({"sliding_window": 4096}, "use_cla with windows"), ({"cla_share_factor": 0}, "cla_share_factor"), ({"use_mixed_mlp_moe": False}, "use_mixed_mlp_moe"),
])  # fmt: skip
def test_what_is_not_modelled_is_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(SimcostError, match=says):
        _read(**changes)
