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
    assert (again.command, again.metrics, again.rows) == (found.command, found.metrics, found.rows)


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
