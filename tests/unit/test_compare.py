"""compare: every design keeps a name of its own, and no replica idles in the prefill that sets the price of input."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import simcost
from simcost import metrics
from simcost.cost.cost import probability_less
from simcost.errors import SpecError
from simcost.estimate import step as steps
from simcost.model import load as models
from simcost.query import make, workload
from simcost.report.cells import cell
from simcost.scenarios import notes, variants
from simcost.units import show


@pytest.fixture
def folders(tmp_path: Path) -> list[str]:
    """Two configs of one file name, in folders whose name holds the word of a unit."""
    found = []
    for folder, name in (("share1", "llama-3.1-8b"), ("share2", "qwen2.5-7b")):
        home = tmp_path / folder / "model"
        home.mkdir(parents=True)
        shutil.copy(models.find(name)[1], home / "config.json")
        found.append(str(home))
    return found


def test_labels_are_unique_whatever_was_typed(folders: list[str]) -> None:
    assert variants.labels(["deepseek-v3", folders[0]]) == ["deepseek-v3", "model"]
    assert variants.labels(folders) == folders
    assert variants.labels(["DeepSeek-V3", "deepseek-v3"]) == ["DeepSeek-V3", "deepseek-v3"]
    assert variants.labels(["glm-4.5", "glm-4.5", "dbrx"]) == ["glm-4.5", "glm-4.5 (2)", "dbrx"]


@pytest.mark.parametrize("pick", ["file", "folders", "spellings"])
def test_every_design_has_its_column_in_every_table(pick: str, folders: list[str], tmp_path: Path) -> None:
    alone = tmp_path / "dense.json"
    shutil.copy(models.find("llama-3.1-8b")[1], alone)
    names = {"file": [str(alone), "llama-3.1-8b"], "folders": folders, "spellings": ["Qwen2.5-7B", "qwen2.5-7b"]}[pick]
    found = simcost.compare(names, "h200")
    designs = [row["design"] for row in found.tables["designs"]]
    assert designs == variants.labels([models.spelled(name) for name in names])
    moved = {row["design"] for row in found.tables["what measurements moved"]}
    assert moved == set(designs)
    for design in designs:
        assert any(row[f"{design}_s"] for row in found.tables["terms"])
        assert metrics.unit(f"{design}_s") == "seconds"
        assert cell(f"{design}_s", 0.001) == "1 ms"
        assert any(
            ": formats" in note and {design, "all designs"} & set(note.partition(": ")[0].split(", "))
            for note in found.warnings
        )
    if pick == "file":
        assert all(row["dense_s"] == row["llama-3.1-8b_s"] for row in found.tables["terms"])


def test_a_prefill_takes_one_prompt_a_replica_and_copy() -> None:
    names, sets = ["deepseek-v3", "kimi-k2"], {"plan.ep": 16, "plan.dp_attention": 16}
    found = simcost.compare(names, "h200", set=sets, gpus=32)
    alone = simcost.prefill("deepseek-v3", "h200", batch=32, set=sets, gpus=32).metrics
    row = found.tables["designs"][0]
    assert (row["prefill_batch"], found.inputs["prefill_batch"]) == (32, 32)
    assert row["usd_per_million_input_tokens"] == alone["usd_per_million_input_tokens"]
    one = simcost.compare(names, "h200", set=sets, gpus=32, prefill_batch=1).tables["designs"][0]
    assert one["prefill_batch"] == 1
    assert one["usd_per_million_input_tokens"] > 8 * row["usd_per_million_input_tokens"]
    with pytest.raises(SpecError, match="--prefill-batch"):
        simcost.compare(names, "h200", prefill_batch=0)


def test_routing_holds_for_both_steps() -> None:
    names, sets = ["deepseek-v3", "glm-4.5"], {"plan.ep": 8}
    plain = simcost.compare(names, "h200", set=sets).tables["designs"][0]
    skewed = simcost.compare(names, "h200", set={**sets, "routing": "zipf:1.0"}).tables["designs"][0]
    assert skewed["ttft_s"] > plain["ttft_s"]


def test_a_step_is_priced_once_and_once_more_without_measurements(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    run = steps.run

    def counted(w, checked=False):  # type: ignore[no-untyped-def]
        if w.device.tables:
            asked.append(w.model.name)
        return run(w, checked)

    monkeypatch.setattr(steps, "run", counted)
    simcost.compare(["llama-3.1-8b", "qwen2.5-7b"], "h200")
    assert sorted(asked) == ["llama-3.1-8b"] * 2 + ["qwen2.5-7b"] * 2


def test_a_design_that_cannot_run_keeps_its_reason(folders: list[str]) -> None:
    found = simcost.compare(folders, "h200", set={"plan.tp": 8})
    first, second = found.tables["designs"]
    assert first["feasible"]
    assert (second["feasible"], second["design"]) == (False, folders[1])
    assert "cannot be cut into 8" in second["reason"]
    json.dumps(found.to_dict())


def test_the_verdict_names_the_fastest_or_those_that_cannot_be_told_from_it() -> None:
    found = simcost.compare(["llama-3.1-70b", "llama-3.1-8b"], "h200", batch=16)
    tpot, ttft = (found.tables["designs"][1][name] for name in ("tpot_s", "ttft_s"))
    said = [
        f"{name.upper()}: llama-3.1-8b is the fastest, {show(value, 'seconds')}"
        for name, value in (("tpot", tpot), ("ttft", ttft))
    ]
    usd = found.tables["designs"][1]["usd_per_million_output_tokens"]
    said.append(f"price: llama-3.1-8b is the cheapest, {show(usd, 'usd')} per million output tokens")
    assert "llama-3.1-70b: the smallest plan that fits has 2 GPUs: tp=2" in found.warnings
    assert found.verdict == "; ".join(
        ["DOES NOT FIT or cannot be run: llama-3.1-70b; times are printed as if the memory sufficed", *said]
    )
    twice = simcost.compare(["llama-3.1-8b", "llama-3.1-8b"], "h200")
    assert "TPOT: llama-3.1-8b is tied with llama-3.1-8b (2)" in twice.verdict


def test_every_time_says_how_far_it_is_behind_the_best_and_how_surely() -> None:
    names = ["llama-3.1-8b", "qwen3-8b", "llama-3.1-70b"]
    found = simcost.compare(names, "h200", batch=16)
    asked = [workload(make(name, "h200", True, {"batch": 16, "context": 4096}, {}, {}, None)) for name in names]
    costs = [steps.run(w).cost for w in asked]
    best = min(costs, key=lambda cost: cost.seconds)
    for row, cost in zip(found.tables["designs"], costs, strict=True):
        assert row["tpot_versus_best"] == pytest.approx(row["tpot_s"] / best.seconds - 1.0, abs=1e-12)
        if cost is best:
            assert row["tpot_probability_slower"] is None
            assert row["ttft_best_or_tied"]
            continue
        slower = row["tpot_probability_slower"]
        assert slower == pytest.approx(probability_less(best, cost), abs=1e-9)
        assert row["tpot_best_or_tied"] is (slower < 0.95)
    shown = str(found)
    assert "TPOT versus best" in shown
    assert "> 99.9 %" in shown
    assert found.to_dict()["units"]["tpot_probability_slower"] == "fraction"


VLM = {
    "model_type": "mistral3", "multimodal_projector_bias": False, "spatial_merge_size": 2, "tie_word_embeddings": False, "torch_dtype": "bfloat16", "vision_feature_layer": -1,
    "text_config": {"model_type": "mistral", "hidden_size": 1024, "intermediate_size": 4096, "num_attention_heads": 16, "num_hidden_layers": 8, "num_key_value_heads": 8,
                    "head_dim": 64, "vocab_size": 32000},
    "vision_config": {"model_type": "pixtral", "hidden_size": 1024, "intermediate_size": 4096, "num_attention_heads": 16, "num_hidden_layers": 24, "patch_size": 14,
                      "image_size": 1540, "head_dim": 64},
}  # fmt: skip


def test_images_pass_the_towers_of_all_designs_that_have_one() -> None:
    sides = {"image_height": 448, "image_width": 448}
    found = simcost.compare([VLM, "gemma-3-4b", "qwen3-8b"], "h100", isl=2048, images=2, set=sides)
    own, fixed, none = found.tables["designs"]
    assert own["ttft_s"] == simcost.prefill(VLM, "h100", isl=2048, images=2, set=sides).metrics["ttft_s"]
    assert fixed["ttft_s"] == simcost.prefill("gemma-3-4b", "h100", isl=2048, images=2).metrics["ttft_s"]
    assert "no tower for images" in str(none["reason"])
    assert found.inputs["images"] == 2
    without = simcost.compare([VLM, "gemma-3-4b"], "h100", isl=2048).tables["designs"]
    assert [row["tpot_s"] for row in without] == [own["tpot_s"], fixed["tpot_s"]]
    assert without[0]["ttft_s"] < own["ttft_s"]


def test_images_are_given_once() -> None:
    with pytest.raises(SpecError, match="'images' is given twice"):
        simcost.compare(["gemma-3-4b"], "h100", images=2, set={"images": 1}, variants=["plan.tp=2"])


def test_a_note_of_several_designs_stands_once() -> None:
    config = dict(models.load_config("llama-3.1-8b")[2])
    config.pop("torch_dtype", None)
    found = simcost.compare([config], "h200", variants=["attention=mla", "attention=gqa:2"])
    assert "all designs: torch_dtype is absent: bf16 assumed" in found.warnings
    assert sum("torch_dtype" in note for note in found.warnings) == 1
    assert sum("formats:" in note for note in found.warnings) == 1


def test_notes_of_some_designs_have_their_names() -> None:
    assert notes.shared(["a: x", "b: x", "c: y", "x"], ["a", "b", "c"]) == ("x", "c: y")
    assert notes.shared(["a: x", "b: x", "c: y", "z"], ["a", "b", "c"]) == ("a, b: x", "c: y", "z")


def test_a_width_that_is_solved_for_does_not_stop_the_search_for_a_plan_that_fits() -> None:
    found = simcost.compare(["llama-3.1-70b"], "h200", set={"plan.tp": 4}, variants=["ffn=moe:64/6/2"])
    (line,) = [note for note in found.warnings if "the smallest plan that fits" in note]
    assert line.startswith("ffn=moe:64/6/2: ")
