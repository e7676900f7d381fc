"""What is said beside the numbers: suggestions that help, limits that are passed, rows that stand in."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

import simcost
from simcost.errors import SpecError, nearest
from simcost.files import folder
from simcost.model import load as models
from simcost.scenarios.calibrate.imports import import_csv


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
    ("mi300x", "mi300x: not measured; its times are estimated from h200 (another vendor): 90 % of such estimates are within a factor of 2.10"),
    ("h800", "h800: not measured; its times are estimated from h100: 90 % of such estimates are within a factor of 1.09"),
    ("b200", "b200: some kernels were not measured; their times are estimated from"), ("h200", ""), ("gaudi2", ""),
])  # fmt: skip
def test_a_stand_in_says_how_far_off_it_is_expected(hw: str, said: str) -> None:
    notes = [note for note in simcost.decode("llama-3.1-8b", hw).warnings if "such estimates are within" in note]
    assert len(notes) == bool(said)
    assert all(said in note for note in notes)


@pytest.mark.parametrize("key", ["scaleout_efficiency", "scaleout_hop_latency", "hop_latency", "gemm_efficiency"])
def test_an_assumption_that_rows_supersede_says_so(key: str) -> None:
    value = "5 us" if key.endswith("latency") else 0.5
    notes = simcost.decode("llama-3.1-8b", "h200", set={f"hw.assumed.{key}": value}).warnings
    assert any(f"assumed.{key} changes only kernels without measurements" in note for note in notes)


@pytest.mark.parametrize("engine", ["vllm", "any"])
@pytest.mark.parametrize(("hw", "sets", "answers"), [
    ("gaudi2", {}, "the roofline is used"), ("h200", {"hw.measurements": "none"}, "the roofline is used"),
    ("mi300x", {}, ""), ("h200", {}, ""), ("h800", {}, ""),
])  # fmt: skip
def test_an_engine_without_tables_says_that_it_does_nothing(
    hw: str, sets: dict[str, str], answers: str, engine: str
) -> None:
    said = f"{hw}: engine={engine} changes memory but not times: this device has no tables of engines; {answers}"
    for found in (
        simcost.decode("llama-3.1-8b", hw, set=sets, engine=engine),
        simcost.plans("llama-3.1-8b", hw, gpus=1, set=sets, engine=engine),
    ):
        notes = [note for note in found.warnings if "engine=" in note]
        assert notes == ([said] if answers and engine != "any" else [])


def test_of_a_sweep_over_engines_those_without_tables_are_named() -> None:
    notes = simcost.decode("llama-3.1-8b", "gaudi2", vary={"engine": ["any", "vllm", "sglang"]}).warnings
    assert [note.split()[1] for note in notes if "engine=" in note] == ["engine=vllm", "engine=sglang"]


@pytest.mark.parametrize(
    ("like", "said"), [("", True), ('[measurements]\nlike = "h100"\nspread = 0.1\nreason = "one die"\n', False)]
)
def test_a_profile_of_ones_own_without_rows_says_what_answers_for_an_engine(
    like: str, said: bool, tmp_path: Path
) -> None:
    text = (folder("hwprofiles") / "h200" / "profile.toml").read_text()
    (tmp_path / "profile.toml").write_text(f"{text}\n{like}")
    notes = simcost.decode("llama-3.1-8b", str(tmp_path), engine="vllm").warnings
    assert (
        "h200: engine=vllm changes memory but not times: this device has no tables of engines; the roofline is used"
        in notes
    ) == said


def test_rows_of_ones_own_that_make_an_engine_moot_are_named(tmp_path: Path) -> None:
    ships = folder("hwprofiles") / "h200"
    shutil.copytree(ships, tmp_path / "h200")
    lines = (ships / "tables/vllm/0.24.0/gemm/bf16-bf16-bf16.csv").read_text().splitlines()
    shapes = [",bf16,bf16,bf16,".join(line.rpartition(",")[::2]) for line in lines[1:]]
    rows = tmp_path / "rows.csv"
    rows.write_text("\n".join(["batch,m,n,k,x,w,compute,seconds", *shapes, ""]))
    import_csv(rows, "gemm", "h200", tmp_path / "h200/measurements/mine", "mine", "me", 100)

    def said(**options: Any) -> list[str]:
        found = simcost.decode("llama-3.1-8b", str(tmp_path / "h200"), **options).warnings
        return [note for note in found if "engine=" in note]

    (note,) = said(engine="vllm")
    assert "engine=vllm has no effect on gemm bf16-bf16-bf16: imported rows of h200/mine are used first" in note
    assert note in simcost.explain("llama-3.1-8b", str(tmp_path / "h200"), engine="vllm").warnings
    assert said() == said(engine="vllm", set={"hw.measurements": "tables"}) == []


@pytest.mark.parametrize(("hw", "engine"), [("h200", "any"), ("b300", "vllm"), ("mi355x", "trtllm"), ("gaudi2", "any")])
def test_an_answer_rests_on_the_tables_that_its_kernels_use(hw: str, engine: str) -> None:
    found = simcost.explain("llama-3.1-8b", hw, engine=engine)
    used = {name for row in found.rows if "how" in row for name in row["table"].split(" + ")}
    said = [line.partition(": ")[2] for line in found.references if line.startswith("tables")]
    named = {
        table.replace(":", "/") if ":" in table else f"{line.split()[0]}/{table}"
        for line in said
        for table in line.partition(" ")[2].split(", ")
    }
    assert named == used
    assert not any("nccl" in name for name in named)  # one GPU
    assert simcost.decode("llama-3.1-8b", hw, engine=engine).references == found.references
    both = simcost.compare(["llama-3.1-8b", "llama-3.1-70b"], hw, engine=engine).references
    assert len([line for line in both if line.startswith("tables")]) == len(said)
