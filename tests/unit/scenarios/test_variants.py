"""compare --variant: what a text says, what stands in the columns, and what is refused."""

from __future__ import annotations

import re
from typing import Any

import pytest

import simcost
from simcost.cli.app import run
from simcost.errors import SpecError
from simcost.report.text import as_console
from simcost.scenarios import variants

PLAN = {"plan.tp": 8}


@pytest.mark.parametrize(("text", "paths"), [
    ("attention=gqa:8", {"model.attention": "gqa:8"}),
    ("attention=gqa:8, ffn=moe:64/6/2", {"model.attention": "gqa:8", "model.ffn": "moe:64/6/2"}),
    ("hw=h20,plan.tp=16", {"hw": "h20", "plan.tp": 16}),
    ("plan.tensor_parallel_size=2", {"plan.tp": 2}),
    ("engine=vllm,hw.memory.bandwidth=6 TB/s", {"engine": "vllm", "hw.memory.bandwidth": "6 TB/s"}),
    ("num_hidden_layers=32,iso=params", {"model.num_hidden_layers": 32, "model.iso": "params"}),
    ('layer_types=["full_attention", "full_attention"],head_dim=64', {
        "model.layer_types": ["full_attention", "full_attention"], "model.head_dim": 64,
    }),
    ("model=mixtral-8x7b", {"model": "mixtral-8x7b"}),
    ("kv_lora_rank=null", {"model.kv_lora_rank": None}),
])  # fmt: skip
def test_pairs_of_a_variant(text: str, paths: dict[str, Any]) -> None:
    assert variants.parsed(text) == paths


def test_a_mapping_says_the_same_as_a_text() -> None:
    assert variants.parsed({"attention": "gqa:8", "plan.tp": 16}) == variants.parsed("attention=gqa:8,plan.tp=16")


@pytest.mark.parametrize(("text", "says"), [
    ("attention", "write key=value"), ("attention=", "write key=value"), ("", "write key=value"), ("=8", "write key=value"),
    ("plan.batch=8", "did you mean 'batch'"), ("phase.batch=8", "which is the same for all designs"), ("phase.context=8", "which is the same for all designs"),
    ("head_dim=64,head_dim=128", "'model.head_dim' is set twice"), ("plan.tp=1,plan.tensor_parallel_size=2", "'plan.tp' is set twice"),
    ("attention=mha,tp=8", "'tp' belongs to the plan: write plan.tp="), ("batch=8", "which is the same for all designs: write --set batch="),
    ("plan.tq=8", "unknown path 'plan.tq'"),
    ({}, "write key=value"), (8, "write key=value"),
])  # fmt: skip
def test_what_is_no_variant_is_refused(text: Any, says: str) -> None:
    with pytest.raises(SpecError) as error:
        variants.parsed(text)
    assert says in str(error.value)


@pytest.mark.parametrize(("variant", "says"), [
    ("hw=h2000", "unknown"), ("engine=vlm", "did you mean 'vllm'"), ("model=lama", "unknown model"), ("colour=red", "no config key 'colour'"),
    ("attention=gqa:7", "must divide"), ("kv_lora_rank=null", "model.attention=mha"),
])  # fmt: skip
def test_a_variant_that_cannot_be_built_is_refused(variant: str, says: str) -> None:
    with pytest.raises(SpecError) as error:
        simcost.compare(["deepseek-v3"], "h200", set=PLAN, variants=[variant])
    assert says in str(error.value)


def test_the_base_is_column_one_and_each_variant_is_the_question_with_its_settings() -> None:
    found = simcost.compare(
        ["deepseek-v3"], "h200", batch=8, set=PLAN,
        variants=["attention=gqa:8", "hw=h20,plan.tp=16", "engine=vllm", {"model": "mixtral-8x7b", "plan.tp": 4}],
    )  # fmt: skip
    rows = found.tables["designs"]
    assert [row["design"] for row in rows] == [
        "deepseek-v3",
        "attention=gqa:8",
        "hw=h20,plan.tp=16",
        "engine=vllm",
        "model=mixtral-8x7b,plan.tp=4",
    ]
    alone = [
        simcost.decode("deepseek-v3", "h200", batch=8, set=PLAN),
        simcost.decode("deepseek-v3", "h200", batch=8, set={**PLAN, "model.attention": "gqa:8"}),
        simcost.decode("deepseek-v3", "h20", batch=8, set={"plan.tp": 16}),
        simcost.decode("deepseek-v3", "h200", batch=8, set=PLAN, engine="vllm"),
        simcost.decode("mixtral-8x7b", "h200", batch=8, set={"plan.tp": 4}),
    ]
    assert [row["tpot_s"] for row in rows] == [one.metrics["tpot_s"] for one in alone]
    assert [(row["model"], row["hw"], row["engine"], row["plan"]) for row in rows] == [
        ("deepseek-v3", "h200", "any", "tp=8"), ("deepseek-v3", "h200", "any", "tp=8"), ("deepseek-v3", "h20", "any", "tp=16"),
        ("deepseek-v3", "h200", "vllm", "tp=8"), ("mixtral-8x7b", "h200", "any", "tp=4"),
    ]  # fmt: skip
    assert {row["design"] for row in found.dimensions} == {"attention=gqa:8"}


def test_models_and_variants_may_be_mixed() -> None:
    found = simcost.compare(["llama-3.1-8b", "qwen3-8b"], "h100", variants=["attention=mla"])
    assert [row["design"] for row in found.tables["designs"]] == [
        "llama-3.1-8b",
        "qwen3-8b",
        "llama-3.1-8b: attention=mla",
    ]


def test_every_design_has_a_prompt_a_replica_of_its_own_plan() -> None:
    found = simcost.compare(["llama-3.1-8b"], "h100", variants=["plan.dp=4"])
    assert [row["prefill_batch"] for row in found.tables["designs"]] == [1, 4]


def test_one_design_is_no_comparison(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["compare", "deepseek-v3", "--hw", "h200"]) == 2
    assert "compare needs two designs: a second model, or --variant attention=gqa:8" in capsys.readouterr().err


def test_equal_active_width_is_one_that_the_plan_can_cut() -> None:
    """fp8 in blocks of 128 on 8 ranks: a dense width of DeepSeek-V3 that engines accept, at most half a step off."""
    found = simcost.compare(["deepseek-v3"], "h200", set=PLAN, variants=["ffn=dense"])
    assert all(row["feasible"] for row in found.tables["designs"])
    (width,) = [row for row in found.dimensions if row["key"] == "intermediate_size"]
    assert width["after"] == 18432
    assert "a multiple of 1,024, of which tp = 8 cuts whole blocks of scales" in width["why"]


@pytest.mark.parametrize(
    "variant", ["attention=mfa", "attention=gqa:8,ffn=dense,iso=params", "ffn=moe:16/4/1,attention=mla"]
)
def test_a_variant_with_what_undoes_it_is_the_base(variant: str) -> None:
    """As the terminal prints it."""
    found = simcost.compare(["mixtral-8x7b"], "h200", set=PLAN, variants=[variant])
    back = re.findall(r"add to the variant (.*)", as_console(found, 100_000, details=True))
    assert len(back) == 1
    assert ("leave out iso" in as_console(found, 100_000, details=True)) == ("iso=" in variant)
    undone = f"{variant.removesuffix(',iso=params')},{back[0].strip(chr(39))}"
    first, second = simcost.compare(["mixtral-8x7b"], "h200", set=PLAN, variants=[undone]).tables["designs"]
    assert all(second[key] == first[key] for key in ("params_total", "kv_bytes_per_token", "tpot_s", "ttft_s"))


@pytest.mark.parametrize("width", [80, 120])
def test_every_choice_of_every_design_has_its_reason_at_any_width(width: int) -> None:
    asked = ["attention=mfa", "attention=gqa:8,ffn=dense,iso=params", "ffn=moe:60/4/1,plan.tp=4"]
    found = simcost.compare(["deepseek-v3"], "h200", set=PLAN, variants=asked)
    shown = as_console(found, width=width).partition("attention=mfa: dimensions that swaps chose")[2]
    words = " ".join(shown.replace("\n", " ").split())
    for design in asked[1:]:
        assert f"{design}: dimensions that swaps chose" in words
    for reason in ("as Step-3", "one for all query heads", "8 groups do not divide", "equal parameters to"):
        assert reason in words
    assert "not shown at this width" not in shown


def test_columns_say_the_plan_in_whole_numbers() -> None:
    found = simcost.compare(["llama-3.1-8b"], "h200", nodes=1, variants=["plan.tp=4"])
    assert [row["plan"] for row in found.tables["designs"]] == ["gpus=8", "gpus=8, tp=4"]


def test_a_variant_needs_a_model() -> None:
    with pytest.raises(SpecError, match="it needs a model"):
        simcost.compare([], "h200", variants=["attention=mha", "attention=gqa:8"])


def test_nodes_of_several_devices_are_no_number_of_gpus() -> None:
    with pytest.raises(SpecError, match="use --gpus"):
        simcost.compare(["llama-3.1-8b"], "h200", nodes=1, variants=["hw=gb200"])


def test_a_comparison_can_be_asked_again() -> None:
    found = simcost.compare(["llama-3.1-8b"], "h200", variants=["attention=mla,iso=params", "hw=h20"])
    again = simcost.ask("compare", found.to_dict()["inputs"])
    assert again.tables == found.tables
    assert again.dimensions == found.dimensions


def test_one_variant_given_twice_is_refused_however_it_is_written() -> None:
    with pytest.raises(SpecError, match=r"^--variant model\.attention=mha: it is given twice$"):
        simcost.compare(["deepseek-v3"], "h200", set=PLAN, variants=["attention=mha", "model.attention=mha"])
