"""What is said beside the numbers: suggestions that help, limits that are passed, rows that stand in."""

from __future__ import annotations

import pytest

import simcost
from simcost.errors import SpecError, nearest
from simcost.model import load as models


@pytest.mark.parametrize(("name", "known", "found"), [
    ("nothing", ["ring-1t", "ling-1t"], ""), ("foo_bar", ["o_bias"], ""), ("zipf", ["zipf", "random"], ""),
    ("fp9", ["fp8", "bf16"], "fp8"), ("h20o", ["h200", "mi300x"], "h200"), ("absorb", ["absorbed", "auto"], "absorbed"),
    ("deepsek-v3", models.names(), "deepseek-v3"), ("kv_lora_rnk", ["kv_lora_rank", "q_lora_rank"], "kv_lora_rank"),
])  # fmt: skip
def test_a_suggestion_is_near_or_none(name: str, known: list[str], found: str) -> None:
    assert nearest(name, known) == (f"; did you mean '{found}'?" if found else "")


def test_two_blocks_that_claim_a_layer_say_by_which_keys() -> None:
    with pytest.raises(
        SpecError,
        match=r"layer 0: mla \(by kv_lora_rank\) and sliding_window \(by sliding_window\) claim the attention",
    ):
        models.load("deepseek-v3", {"sliding_window": 4096})


def test_memory_beyond_the_config_is_said() -> None:
    def said(notes: tuple[str, ...]) -> list[str]:
        return [note for note in notes if "memory allows a context of" in note]

    found = simcost.decode("llama-3.1-8b", "h200")
    assert said(found.warnings) == [
        f"llama-3.1-8b: memory allows a context of {found.metrics['max_context']:,}; the config allows max_position_embeddings = 131,072"
    ]
    assert not said(simcost.decode("llama-3.1-8b", "h200", batch=64).warnings)
    assert len(said(simcost.decode("llama-3.1-8b", "h200", vary={"batch": [1, 64]}).warnings)) == 1
    assert not said(simcost.decode("llama-3.1-8b", "h200", vary={"batch": [64, 65]}).warnings)
    assert len(said(simcost.compare(["llama-3.1-8b", "qwen2.5-7b"], "h200").warnings)) == 2
    assert not said(simcost.prefill("llama-3.1-8b", "h200").warnings)


@pytest.mark.parametrize(("hw", "said"), [
    ("mi300x", "the curves of h200 of another vendor stand in, expected off by 74% (P90)"),
    ("h800", "no rows of its own: the curves of h100 stand in, expected off by 8% (P90)"),
    ("b200", "kernels without rows of its own: the curves of"), ("h200", ""), ("gaudi2", ""),
])  # fmt: skip
def test_a_stand_in_says_how_far_off_it_is_expected(hw: str, said: str) -> None:
    notes = [note for note in simcost.decode("llama-3.1-8b", hw).warnings if "stand in" in note]
    assert len(notes) == bool(said)
    assert all(said in note for note in notes)


@pytest.mark.parametrize("key", ["scaleout_efficiency", "scaleout_hop_latency", "hop_latency", "gemm_efficiency"])
def test_an_assumption_that_rows_supersede_says_so(key: str) -> None:
    value = "5 us" if key.endswith("latency") else 0.5
    notes = simcost.decode("llama-3.1-8b", "h200", set={f"hw.assumed.{key}": value}).warnings
    assert any(f"assumed.{key} acts only on kernels without measured rows" in note for note in notes)
