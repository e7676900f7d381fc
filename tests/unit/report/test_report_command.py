"""The command at the end of a report, run as a shell runs it, gives the report's numbers."""

from __future__ import annotations

import re
import shlex
from html import unescape
from typing import Any

import pytest

import simcost
from simcost.cli import app  # noqa: F401  adds what runs a command line
from simcost.cli.answers import asking
from simcost.report.answer import command
from simcost.report.page.page import page
from simcost.report.text import as_markdown
from simcost.result import Result

QUESTIONS: dict[str, Any] = {
    "decode": lambda: simcost.decode(
        "llama-3.1-8b", "h200", 16, 2000,
        {"plan.tp": 2, "plan.kv_dtype": "fp8", "model.num_hidden_layers": 16, "hw.memory.bandwidth": "6 TB/s", "routing": "zipf:0.8"}, price=3.25,
    ),
    "solve": lambda: simcost.solve("llama-3.1-8b", "h200", "batch", "tpot<=20ms"),
    "compare": lambda: simcost.compare("llama-3.1-8b", "h200", 8, variants=["attention=mla", {"plan.tp": 2, "model.head_dim": 64}]),
    "sweep": lambda: simcost.sweep("llama-3.1-8b", "h200", vary={"batch": [1, 2, 3, 4], "plan.kv_dtype": ["bf16", "fp8"]}),
    "serve": lambda: simcost.serve("llama-3.1-8b", "h100", "lognormal:1024:0.8", 300, concurrency=[4, 16], prefix_hit=0.3, engine="vllm"),
    "train": lambda: simcost.train(
        "llama-3.1-8b", "h200", gpus=8, global_batch=64, tokens="1T", mtbf="5000h", restart="20min", checkpoint_interval="1h", set={"plan.tp": 2}, levers=False,
    ),
    "rl": lambda: simcost.rl(
        "llama-3.1-8b", "h200", 8, prompts=8, samples=2, isl="1k", osl="lognormal:200:0.5", max_osl=500, asynchrony="partial", rollout={"tp": 1}, kl=False, packing=False,
        train="tp=2,recompute=full", reward="0.5s:64", steps=10, mtbf="5000h", price="low", set={"engine": "vllm", "hw.memory.bandwidth": "x1.5"}, levers=False,
    ),
    "think of a fleet": lambda: simcost.think(
        "llama-3.1-8b", "h100", "lognormal:512:0.5", "lognormal:2000:0.6", budget=[1024, "4k"], rate="2/s", gpus=2, parallel="best:2", drafts=2, acceptance=0.7, draft_model="llama-3.2-1b",
        versus="qwen3-14b", versus_plan="tp=2,gpus=4", set={"engine": "vllm", "plan.kv_dtype": "fp8"}, price=3.5,
    ),
    "think of pools": lambda: simcost.think("llama-3.1-8b", "h100", 512, 1000, concurrency=16, prefill_pool="1:tp=1", decode_pool="2:tp=1", prefix_hit=0.25),
    "think of a list": lambda: simcost.think("gpt-oss-20b", isl=100, levels=["low", "medium"], benchmark="AIME 2025", usd_per_million=(0.1, 0.5, 0.02)),
    "distill": lambda: simcost.distill(
        "llama-3.1-8b", "llama-3.2-1b", "h200", 512, "lognormal:1000:0.5", samples=100_000, gpus=8, teacher_hw="h100", teacher_plan="tp=2", engine="vllm", cross_tokenizer=True,
        set={"plan.tp": 2}, price=2.5,
    ),
    "recipe": lambda: simcost.recipe("deepseek-r1-distill", gpus=64, set={"*.epochs": 1}, price=2.0, ranges=False, mtbf="5000h", checkpoint_interval=1800.0),
    "sensitivity": lambda: simcost.sensitivity("llama-3.1-8b", "h200", "prefill", "mfu", 0.1, "hw", isl=2000, batch=2, set={"plan.tp": 2}),
    "crossover": lambda: simcost.crossover("llama-3.1-8b", "h200", {"model.attention": "gqa:4", "plan.tp": 2}, "vllm"),
    "loss": lambda: simcost.loss("llama-3.1-8b", "1T", range="published", set={"model.num_hidden_layers": 16}),
    "show model": lambda: simcost.show_model("qwen3-8b", {"model.ffn": "moe:8/2/0/4096"}, isl=8192),
    "show hardware": lambda: simcost.show_hardware("h200", {"hw.memory.bandwidth": "x1.5"}),
    "show memory": lambda: simcost.show_memory("llama-3.1-8b", "h200", 8, 3000, {"plan.tp": 2, "plan.kv_dtype": "fp8"}, 4, engine="sglang"),
    "show scaling-law": lambda: simcost.show_scaling_law("hoffmann-2022"),
}  # fmt: skip


@pytest.mark.parametrize("name", QUESTIONS)
def test_the_printed_command_gives_the_same_numbers(name: str) -> None:
    found: Result = QUESTIONS[name]()
    block = re.search(r"## Command\n.*```\n(.*)\n```\n", as_markdown(found), re.DOTALL)
    assert block
    assert all(len(line) <= 100 for line in block[1].split("\n"))
    first, *words = shlex.split(block[1].replace("\\\n", ""))
    assert first == "simcost"
    again = asking.answer(words)
    asked, printed = found.to_dict(), again.to_dict()
    for document in (asked, printed):
        document.pop("inputs")  # a text may say there what was a number
    assert printed == asked
    assert sorted(command.words(again)) == sorted(words)


def test_the_page_ends_with_the_command_of_the_markdown() -> None:
    found = QUESTIONS["decode"]()
    shown = re.search(r"<h2>Command</h2>\n<pre>(.*?)</pre>", page(found, {}), re.DOTALL)
    assert shown
    assert unescape(shown[1]).split("\n") == command.lines(found)


def test_what_no_command_line_says_has_none() -> None:
    config = {**simcost.decode("llama-3.1-8b", "h200").inputs, "model": {"model_type": "llama"}}
    for inputs in (config, {**config, "model": "a\nb"}, {**config, "model": "x", "vary": {"hw": ["a,b", "c"]}}):
        found = Result("decode", inputs, {"tpot_s": 1.0})
        assert command.lines(found) == []
        assert "## Command" not in as_markdown(found)


def test_words_that_look_like_numbers_and_shells_metacharacters_come_back() -> None:
    told = {"model.name": "8", "model.other": "true", "model.third": "$(x) 'y' \"z\"", "plan.kv_dtype": "fp8"}
    inputs = {"model": "it's here/config.json", "hw": "h200", "set": told}
    words = shlex.split("\n".join(command.lines(Result("decode", inputs, {}))).replace("\\\n", ""))[1:]
    assert words[:3] == ["decode", "--model", "it's here/config.json"]
    from simcost.grammar import assignments

    assert assignments([words[at + 1] for at, word in enumerate(words) if word == "--set"]) == told
