"""cite: which sources an answer rests on, against the files that state them; BibTeX that parses."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

import simcost
from simcost.errors import SpecError
from simcost.files import folder
from simcost.report.answer.bibtex import escaped
from simcost.scenarios.answers.cited import papers


@pytest.fixture(scope="module")
def found() -> Any:
    return simcost.cite(simcost.decode("deepseek-v3", "h200", batch=64, set={"plan.tp": 8}))


def of_kind(found: Any, kind: str) -> list[dict[str, Any]]:
    return [row for row in found.tables["sources"] if row["source_kind"] == kind]


def test_papers_are_those_of_the_blocks(found: Any) -> None:
    rows = {row["arxiv"]: row for row in of_kind(found, "paper")}
    assert set(rows) == {"1909.08053", "1910.07467", "2405.04434", "2002.05202", "2401.06066"}
    assert rows["1909.08053"]["cited_for"] == "Embedding, Head"
    assert rows["2405.04434"]["source"].startswith("DeepSeek-V2: A Strong")


def test_every_fact_of_the_profile_is_cited_once_or_assumed(found: Any) -> None:
    with (folder("hwprofiles") / "h200" / "profile.toml").open("rb") as file:
        profile = tomllib.load(file)
    cited = [key for row in (*of_kind(found, "hardware"), *of_kind(found, "price")) for key in row["cited_for"].removeprefix("h200: ").split(", ")]  # fmt: skip
    assert len(cited) == len(set(cited))
    for table in ("peak", "memory", "power"):
        assert {f"hw.{table}.{key}" for key in profile[table]} <= set(cited)
    assumed = {row["key"] for row in found.tables["assumptions"]}
    assert {f"hw.assumed.{key}" for key in profile["assumed"]} <= assumed
    assert profile["sources"]["nvidia-h200"] in {row["source"] for row in of_kind(found, "hardware")}


def test_a_fact_that_was_set_by_hand_has_no_source() -> None:
    changed = simcost.cite(simcost.decode("llama-3.1-8b", "h200", set={"hw.memory.bandwidth": "6 TB/s"}))
    assert not any("hw.memory.bandwidth" in row["cited_for"] for row in of_kind(changed, "hardware"))


@pytest.mark.parametrize(("question", "kinds"), [
    ({}, ["on_demand_neocloud"]), ({"price": "low"}, ["on_demand_neocloud"]), ({"price": "reserved_1y"}, ["reserved_1y"]), ({"price": 3}, []),
    ({"set": {"hw.price.usd_per_hour": "3 USD/h"}}, []), ({"vary": {"hw.price.use": ["high", "marketplace"]}}, ["on_demand_neocloud", "marketplace"]),
])  # fmt: skip
def test_a_price_is_cited_where_the_answer_rests_on_it(question: dict[str, Any], kinds: list[str]) -> None:
    rows = of_kind(simcost.cite(simcost.decode("llama-3.1-8b", "h200", **question)), "price")
    assert [row["cited_for"] for row in rows] == [f"h200: hw.price.{kind}" for kind in kinds]


def test_a_price_of_a_users_own_table_is_cited_with_its_source(tmp_path: Path) -> None:
    file = tmp_path / "prices.csv"
    file.write_text(
        "device,usd_per_hour,low,high,kind,date,source\nh200,3.9,3.7,4.1,quote,2026-06,offer 12 of Example Cloud\nh100,1.9,,,,,\n",
        encoding="utf-8",
    )
    ask: dict[str, Any] = {"model": "llama-3.1-8b", "price": str(file)}
    trained = {"gpus": 8, "prompts": 8, "samples": 4, "isl": 100, "osl": 100, "levers": False}
    taught: dict[str, Any] = {
        "teacher": "llama-3.1-8b",
        "student": "llama-3.2-1b",
        "isl": 100,
        "osl": 100,
        "samples": 1000,
        "gpus": 8,
        "price": 2.0,
    }
    answers = [
        simcost.decode(hw="h200", **ask), simcost.rl(hw="h200", **ask, **trained), simcost.think(hw="h200", **ask, isl=100, osl=100, concurrency=1),
        simcost.distill(hw="h200", **{**taught, "price": str(file)}), simcost.distill(hw="h100", teacher_hw="h200", teacher_price=str(file), **taught),
    ]  # fmt: skip
    for found in answers:
        (row,) = of_kind(simcost.cite(found), "price")
        assert row["cited_for"] == "h200: hw.price.use"
        assert row["source"] == f"offer 12 of Example Cloud; {file}: 3.9 USD per GPU hour (3.7 to 4.1), quote, 2026-06"
    (bare,) = of_kind(simcost.cite(simcost.decode(hw="h100", **ask)), "price")
    assert bare["source"] == f"no source stated; {file}: 1.9 USD per GPU hour"
    assert not of_kind(
        simcost.cite(simcost.distill(hw="h100", **taught)), "price"
    )  # a price that was stated as a number
    file.unlink()
    gone = simcost.cite(answers[0])
    assert not of_kind(gone, "price")
    assert any("h200: its price cannot be read" in note for note in gone.warnings)


def test_prices_of_variants_are_cited_and_none_without_usd() -> None:
    both = simcost.cite(simcost.compare("llama-3.1-8b", "h200", variants=["hw.price.use=marketplace"]))
    assert {row["cited_for"] for row in of_kind(both, "price")} == {"h200: hw.price.on_demand_neocloud", "h200: hw.price.marketplace"}  # fmt: skip
    memory = simcost.cite(simcost.show_memory("llama-3.1-8b", "h200"))
    assert of_kind(memory, "hardware")
    assert not of_kind(memory, "price")


def test_measurements_are_the_tables_with_a_say(found: Any) -> None:
    rows = of_kind(found, "measurements")
    assert {row["bibtex_key"] for row in rows} == {"rows-h200-nccl-2-29-2", "rows-h200-sglang-0-5-14", "rows-h200-trtllm-1-3-0rc20", "rows-h200-vllm-0-24-0"}  # fmt: skip
    assert all(row["licence"] == "Apache-2.0" and row["package"] == "aiconfigurator-core 0.12.0" for row in rows)
    one = simcost.cite(simcost.decode("llama-3.1-8b", "h200", engine="sglang"))
    assert not any("vllm" in row["bibtex_key"] for row in of_kind(one, "measurements"))


@pytest.mark.parametrize("question", ["train", "serve", "loss", "compare"])
def test_any_question_has_sources(question: str) -> None:
    asked: dict[str, Any] = {
        "train": lambda: simcost.train("llama-3.1-8b", "h200", set={"plan.gpus": 8}, levers=False),
        "serve": lambda: simcost.serve("llama-3.1-8b", "h200", isl=512, osl=64, concurrency=4),
        "loss": lambda: simcost.loss("llama-3.2-1b", tokens="100B"),
        "compare": lambda: simcost.compare(["llama-3.1-8b"], "h200", variants=["hw=mi300x"]),
    }
    rows = simcost.cite(asked[question]()).tables["sources"]
    assert any(row["source_kind"] == "paper" for row in rows)
    if question == "compare":
        assert {"h200", "mi300x"} == {row["cited_for"].partition(":")[0] for row in rows if row["source_kind"] == "hardware"}  # fmt: skip
    if question in ("train", "serve", "compare"):
        assert any(row["source_kind"] == "measurements" for row in rows)


def test_devices_of_rows_and_their_siblings_are_cited() -> None:
    stages = [{"table": "stages", "hw": "h800"}, {"table": "stages", "hw": "h800"}]
    rows = simcost.cite({
        "schema_version": 1, "command": "recipe", "inputs": {"recipe": "mine"}, "metrics": {}, "rows": stages, "references": ["mine: arXiv 2412.19437 §3"],
    }).tables["sources"]  # fmt: skip
    assert any(row["cited_for"].startswith("h800: hw.peak") for row in rows)
    assert any("times of kernels on h100" in row["cited_for"] for row in rows if row["source_kind"] == "measurements")


def test_bibtex_has_an_entry_a_source_with_keys_and_braces_that_balance(found: Any) -> None:
    text = simcost.bibtex(simcost.decode("deepseek-v3", "h200", batch=64, set={"plan.tp": 8}))
    entries = text.split("\n\n")
    assert len(entries) == len(found.tables["sources"])
    keys = [re.match(r"@misc\{([^,]+),\n", entry)[1] for entry in entries]  # type: ignore[index]
    assert len(set(keys)) == len(keys)
    assert all(re.fullmatch(r"[a-z0-9-]+", key) for key in keys)
    assert all(entry.count("{") - entry.count("}") == entry.count(r"\{") - entry.count(r"\}") == 0 for entry in entries)
    mla = next(entry for entry in entries if "2405.04434" in entry)
    assert "  author = {{DeepSeek-AI}},\n  year = {2024},\n  eprint = {2405.04434},\n  archivePrefix = {arXiv}" in mla


def test_texts_are_escaped() -> None:
    assert escaped("a_b & 50 % of $1 {x} #1 ~^\\") == (
        r"a\_b \& 50 \% of \$1 \{x\} \#1 \textasciitilde{}\textasciicircum{}\textbackslash{}"
    )


def test_papers_that_ship_named_are_whole() -> None:
    for number, row in papers().items():
        assert re.fullmatch(r"\d{4}\.\d{4,5}", number)
        assert row["authors"]
        assert row["title"]


def test_what_is_no_answer_is_refused(tmp_path: Any) -> None:
    for source, says in (({"a": 1}, "not a result of simcost"), (tmp_path / "none.json", "No such file"), (simcost.schedule(["gpipe"], pp=2, microbatches=4, forward=1.0), "")):  # fmt: skip
        if says:
            with pytest.raises(SpecError, match=says):
                simcost.cite(source)
        else:
            assert simcost.cite(source).tables["sources"]
    with pytest.raises(SpecError, match="has no sources"):
        simcost.cite({"schema_version": 1, "command": "x", "inputs": {}, "metrics": {}, "rows": [], "references": []})
