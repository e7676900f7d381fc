"""Swaps of designs whose layers share keys and values or blocks, and of those without heads or FFNs: totals by hand, what is refused, what is said, the way back."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

import simcost
from simcost.errors import SpecError
from simcost.hf import flatten
from simcost.model import count, load, swaps
from simcost.model.spec import ModelSpec
from simcost.query import make, model_of

E2B = 1536  # hidden_size of Gemma 4 E2B: 35 layers, 15 with keys of their own, every fifth sees all
E2B_ATTENTION = (
    28 * (2 * 8 * 256 * E2B + 256) + 12 * (2 * 256 * E2B + 256) + 7 * (2 * 8 * 512 * E2B + 512) + 3 * (2 * 512 * E2B + 512)
)  # fmt: skip
ZAMBA2, FALCON, CODESTRAL = 3584, 4096, 4096


def design(name: str, **sets: Any) -> ModelSpec:
    return model_of(make(name, "h200", True, {"context": 4096}, {f"model.{k}": v for k, v in sets.items()}, {}, None))


def total(spec: ModelSpec) -> int:
    return int(count.parameters(spec)["params_language"])


def kinds(spec: ModelSpec) -> set[str]:
    return {type(block).__name__ for _, block in spec.blocks() if block.kind in ("attention", "ffn")}


def test_layers_that_shared_get_keys_and_values_of_their_own() -> None:
    """Gemma 3n E4B: 15 of 35 layers get k_proj, v_proj and a norm of keys, of two heads of 256; all else stays."""
    first, found = design("gemma-3n-e4b"), design("gemma-3n-e4b", attention="gqa:2")
    assert total(found) == total(first) + 15 * (2 * 2 * 256 * 2048 + 256)
    assert kinds(found) == {"GQA", "Dense", "GaussianTopK"}
    assert count.state_elements(found, 10_000.0) == 35 * 2 * 2 * 256 * 10_000
    assert (found.embedding, found.head) == (first.embedding, first.head)
    assert {"AltUp", "Laurel", "PerLayerInput"} <= {type(block).__name__ for _, block in found.blocks()}


@pytest.mark.parametrize(("swap", "layer", "kept"), [
    ("mha", E2B * 512 * (2 * 8 + 2 * 8) + 2 * 512, 2 * 8 * 512), ("gqa:2", E2B * 512 * (2 * 8 + 2 * 2) + 2 * 512, 2 * 2 * 512),
    ("mqa", E2B * 512 * (2 * 8 + 2) + 2 * 512, 2 * 512),
    ("mla:1024", E2B * (8 * (512 + 64) + 1024 + 64) + 1024 + 1024 * 8 * 1024 + 8 * 512 * E2B, 1024 + 64),
])  # fmt: skip
def test_a_swap_leaves_ffns_that_are_doubled(swap: str, layer: int, kept: int) -> None:
    """Gemma 4 E2B has heads of 512 where a layer sees all, and FFNs twice as wide in the 20 layers that share."""
    first, found = design("gemma-4-e2b"), design("gemma-4-e2b", attention=swap)
    assert total(found) == total(first) - E2B_ATTENTION + 35 * layer
    assert count.state_elements(found, 1.0) == 35 * kept
    widths = {float(b.intermediate_size): n for n, b in found.blocks() if b.kind == "ffn"}  # type: ignore[attr-defined]
    assert widths == {6144.0: 15, 12288.0: 20}


@pytest.mark.parametrize("swap", ["gdn", "kda", "mamba2", "mamba", "lightning"])
def test_a_recurrent_mixer_leaves_them_too(swap: str) -> None:
    first, found = design("gemma-4-e2b"), design("gemma-4-e2b", attention=swap)
    each = {type(b): sum(w.count for w in b.weights(_whole())) for _, b in found.blocks() if b.kind == "attention"}
    (mixer,) = each.values()
    assert total(found) == total(first) - E2B_ATTENTION + 35 * mixer
    assert not any(block.reads_cache for _, block in found.blocks())


def _whole() -> Any:
    from simcost.plan import Plan

    return Plan()


def test_a_pattern_of_mixers_and_a_window_are_of_every_layer() -> None:
    found = design("gemma-4-31b", attention="hybrid:3xgdn+1xgqa:4")
    assert [type(found.stacks[kind][1][1]).__name__ for kind in found.order] == (["GatedDeltaNet"] * 3 + ["GQA"]) * 15
    found = design("gemma-3n-e4b", attention="swa:1024")
    assert count.state_elements(found, 9000.0) == 35 * 2 * 2 * 256 * 1024


def test_ffns_are_swapped_and_attention_stays() -> None:
    """Experts on every layer: 8 of 1,024, a router of 8, in place of dense layers; keys and values are shared as before."""
    for name, hidden in (("gemma-3n-e4b", 2048), ("gemma-4-e2b", 1536)):
        first, found = design(name), design(name, ffn="moe:8/2/0/1024")
        dense = sum(n * w.count for n, b in first.blocks() if b.kind == "ffn" for w in b.weights(_whole()))
        assert total(found) == total(first) - dense + 35 * (8 * 3 * hidden * 1024 + 8 * hidden)
        assert kinds(found) == {"MoE", "SharedKV"}
        assert kinds(design(name, ffn="dense")) == {"Dense", "SharedKV"}
    both = design("gemma-4-26b-a4b", ffn="moe:64/4/0/512")
    assert kinds(both) == {"MoE", "SharedKV"}


def test_shared_blocks_go_with_their_ffns() -> None:
    """Zamba2-7B: 81 layers of attention, 32 heads of 224 over 8, and one norm each; with an FFN two."""
    d, ends = ZAMBA2, 32000 * ZAMBA2 + ZAMBA2
    layer = d * 224 * (2 * 32 + 2 * 8)
    found = design("zamba2-7b", attention="gqa:8")
    assert total(found) == ends + 81 * (layer + d)
    assert kinds(found) == {"GQA"}
    assert count.state_elements(found, 1.0) == 81 * 2 * 8 * 224
    found = design("zamba2-7b", attention="gqa:8", ffn="dense", intermediate_size=4096)
    assert total(found) == ends + 81 * (layer + 3 * d * 4096 + 2 * d)
    assert kinds(design("zamba-7b-v1", attention="gdn")) == {"GatedDeltaNet"}


@pytest.mark.parametrize(("swap", "layer"), [
    ("mha", 4 * FALCON**2), ("gqa:8", 2 * FALCON**2 + 2 * 8 * 128 * FALCON), ("swa:512", 4 * FALCON**2),
])  # fmt: skip
def test_pure_mamba_gets_heads_of_128_and_no_ffn(swap: str, layer: int) -> None:
    """32 heads of 128 in 64 layers, each behind one norm; tables of 65,024 and of 32,768 rows, twice."""
    for name, rows in (("falcon-mamba-7b", 65024), ("mamba-codestral-7b", 32768)):
        found = design(name, attention=swap)
        assert total(found) == 64 * (layer + FALCON) + 2 * rows * FALCON + FALCON
        assert len(kinds(found)) == 1
        heads = {one.key: one for one in found.changes}["num_attention_heads"]
        assert (heads.after, heads.why) == (32, "the first design has no heads: as many of 128 as make hidden_size")


def test_heads_that_are_stated_win() -> None:
    found = design("mamba-codestral-7b", attention="mha", num_attention_heads=16)
    (block,) = {id(b): b for _, b in found.blocks() if b.kind == "attention"}.values()
    assert (block.num_attention_heads, block.num_key_value_heads, block.head_dim) == (16, 16, 256)  # type: ignore[attr-defined]
    with pytest.raises(SpecError, match="to a divisor of hidden_size = 4096"):
        design("falcon-mamba-7b", attention="mha", num_attention_heads=7)


def test_mamba_layers_get_an_ffn_behind_each() -> None:
    """Falcon-Mamba calls its channels intermediate_size: they stay 8,192 where that is the FFN's width."""
    first, found = design("falcon-mamba-7b"), design("falcon-mamba-7b", ffn="dense", intermediate_size=1024)
    assert total(found) == total(first) + 64 * (3 * FALCON * 1024 + FALCON)
    found = design("mamba-codestral-7b", ffn="moe:4/1/0/256")
    assert total(found) == total(design("mamba-codestral-7b")) + 64 * (
        4 * 3 * CODESTRAL * 256 + 4 * CODESTRAL + CODESTRAL
    )


@pytest.mark.parametrize(("name", "sets", "says"), [
    ("zamba2-7b", {"ffn": "dense"}, "stand inside transformer blocks that several layers share"),
    ("zamba2-7b", {"attention": "gqa:8", "iso": "params"}, "no layer of the new design has an FFN whose width --iso params could solve for"),
    ("falcon-mamba-7b", {"attention": "gdn", "iso": "flops"}, "add model.ffn=dense, or use --iso kv"),
    ("falcon-mamba-7b", {"ffn": "dense"}, "no intermediate_size from 64 on gives equal active parameters"),
])  # fmt: skip
def test_what_has_no_meaning_is_refused_with_the_way_out(name: str, sets: dict[str, Any], says: str) -> None:
    with pytest.raises(SpecError, match=says):
        design(name, **sets)


@pytest.mark.parametrize(("name", "sets", "says"), [
    ("gemma-4-e2b", {"attention": "mha"}, "every layer of the new design has keys and values of its own: 20 of the first design's read another layer's"),
    ("hunyuan-large", {"attention": "mla"}, "32 of the first design's read another layer's"),
    ("zamba2-7b", {"attention": "mha"}, "the transformer blocks that layers shared are removed, with their FFNs"),
    ("falcon-mamba-7b", {"attention": "mha"}, "layers of the new design have no FFN, like the first design's: model.ffn=dense gives each one"),
])  # fmt: skip
def test_what_goes_is_said(name: str, sets: dict[str, Any], says: str) -> None:
    found = simcost.show_model(name, set={f"model.{key}": value for key, value in sets.items()})
    assert any(says in note for note in found.warnings)


@pytest.mark.parametrize(("name", "sets", "measure"), [
    ("gemma-3n-e4b", {"attention": "gqa:2", "iso": "params"}, "params_language"), ("gemma-4-e2b", {"attention": "mla", "iso": "active"}, "params_active_all"),
    ("zamba2-7b", {"attention": "gqa:2", "ffn": "dense", "iso": "params"}, "params_language"),
    ("mamba-codestral-7b", {"attention": "gqa:8", "ffn": "dense"}, "params_active_all"),
])  # fmt: skip
def test_equal_is_equal_to_half_a_step(name: str, sets: dict[str, Any], measure: str) -> None:
    """Half of 64 columns of three matrices in every layer; Gemma 4 E2B doubles 20 of its 35."""
    wanted, found = design(name), design(name, **sets)
    wide = sum(n * (2.0 if name == "gemma-4-e2b" and n == 20 else 1.0) for n, b in found.blocks() if b.kind == "ffn")
    off = count.parameters(found)[measure] - count.parameters(wanted)[measure]
    assert abs(off) <= 32 * 3 * float(found.hidden_size) * wide


def test_an_equal_cache_is_solved_for() -> None:
    """Zamba2-7B keeps 13 uses of 2·32·224 a token and states: 81 layers of 2·g·224 come nearest at g = 4."""
    found = design("zamba2-7b", attention="gqa", iso="kv")
    assert {one.key: one.after for one in found.changes}["num_key_value_heads"] == 4
    wanted = count.state_elements(design("zamba2-7b"), 4096.0)
    kept = {g: 81 * 2 * g * 224 * 4096.0 for g in (2, 4, 8)}
    assert min(kept, key=lambda g: abs(kept[g] - wanted)) == 4


UNDONE = [
    *(("zamba2-7b", {"attention": one}) for one in ("mha", "gqa:8", "mla", "gdn", "mamba2", "hybrid:3xgdn+1xgqa:8")),
    *(("zamba-7b-v1", {"attention": one}) for one in ("mfa", "swa:512", "mamba", "lightning")),
    *(("falcon-mamba-7b", {"attention": one}) for one in ("mha", "dsa", "gdn", "mamba2", "mamba")),
    *(("mamba-codestral-7b", {"attention": one}) for one in ("mqa", "mla", "kda", "mamba", "lightning")),
    ("zamba2-7b", {"attention": "gqa:8", "ffn": "dense"}), ("falcon-mamba-7b", {"attention": "gqa:8", "ffn": "moe:8/2/1"}),
    ("mamba-codestral-7b", {"attention": "mla", "ffn": "dense", "iso": "params"}), ("hunyuan-large", {"attention": "mla"}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "sets"), UNDONE, ids=str)
def test_undone_the_design_is_the_first(name: str, sets: dict[str, Any]) -> None:
    first, found = design(name), design(name, **sets)
    back = dict(swaps.undo(one).removeprefix("model.").split("=", 1) for one in found.changes if swaps.undo(one))
    values = {key: json.loads(text) for key, text in back.items()}
    beside = {key: value for key, value in sets.items() if key != "iso"}
    assert same(design(name, **beside, **values), first)
    changed = {**flatten(load.load_config(name)[2], name), **{one.key: one.after for one in found.changes}}
    assert same(swaps.checked(found, {**changed, **values}, values, name, f"{name}.json"), first)


def same(a: ModelSpec, b: ModelSpec) -> bool:
    blank: dict[str, Any] = {"notes": (), "unused": (), "read": frozenset(), "changes": (), "scalar_keys": frozenset()}
    return replace(a, **blank) == replace(b, **blank)


def test_designs_stand_beside_each_other() -> None:
    variants = ["attention=gqa:8", "attention=gqa:8,ffn=dense", "attention=gdn"]
    for name in ("zamba2-7b", "falcon-mamba-7b", "gemma-4-e2b"):
        found = simcost.compare([name], "h200", batch=4, variants=variants)
        assert [row["design"] for row in found.tables["designs"]] == [name, *variants]
        assert all(row["fits"] and row["tpot_s"] > 0.0 for row in found.tables["designs"])
