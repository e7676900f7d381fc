"""Completion: one command installs it, and bash, zsh and fish are answered with names of commands, models, devices, keys and values."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from simcost.cli.tools.completion import joined, replies
from simcost.hardware.load import names as devices
from simcost.model.load import names as models

ROOT = Path(__file__).resolve().parents[2]


def environment(home: Path) -> dict[str, str]:
    """A home of its own, in which `simcost` is this tree's."""
    program = home / "bin" / "simcost"
    program.parent.mkdir(exist_ok=True)
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m simcost "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("_SIMCOST", "COMP_"))}
    return {**kept, "HOME": str(home), "PYTHONPATH": str(ROOT), "PATH": f"{program.parent}:{kept['PATH']}"}


def asked(home: Path, **said: str) -> list[str]:
    run = subprocess.run(
        ["simcost"], env={**environment(home), **said}, capture_output=True, text=True, check=True, cwd=home
    )
    return run.stdout.split("\n")


def test_bash_completes_after_one_command(tmp_path: Path) -> None:
    """The script that --install-completion leaves is sourced by a new bash, which asks as readline does: `=` is a word."""
    here = environment(tmp_path)
    asks = ["bash", "-c", "simcost --install-completion && true"]  # the shell that asks is the nearest one above
    subprocess.run(asks, env=here, check=True, capture_output=True, cwd=tmp_path)
    script = """
source ~/.bashrc
line() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=(); _simcost_completion simcost; echo "${COMPREPLY[*]}"; }
line simcost deco
line simcost decode --model llama-3.2
line simcost decode --model llama-3.1-8b --hw = h20
line simcost decode --hw h200 --set plan.mla_form = absorbed,e
line simcost decode --hw h200 --set plan.cp_m
"""
    run = subprocess.run(
        ["bash", "--noprofile", "--norc", "-c", script], env=here, capture_output=True, text=True, check=True
    )
    command, model, device, value, key = run.stdout.splitlines()
    assert command == "decode"
    assert model.split() == [name for name in models() if name.startswith("llama-3.2")]
    assert device.split() == [name for name in devices() if name.startswith("h20")]
    assert value == "absorbed,expanded"
    assert key == "plan.cp_method= plan.cp_method=<ring, all_gather, ulysses>"  # two: no space behind the "="


def test_zsh_and_fish_complete(tmp_path: Path) -> None:
    zsh = asked(tmp_path, _SIMCOST_COMPLETE="complete_zsh", _TYPER_COMPLETE_ARGS="simcost show hardware mi3")
    assert [name in "\n".join(zsh) for name in ("mi300x", "mi355x", "h200")] == [True, True, False]
    fish = asked(
        tmp_path, _SIMCOST_COMPLETE="complete_fish", _TYPER_COMPLETE_FISH_ACTION="get-args",
        _TYPER_COMPLETE_ARGS="simcost train --stack hai",
    )  # fmt: skip
    assert [line for line in fish if line.startswith("hai")]


@pytest.mark.parametrize(("words", "current", "whole", "before"), [
    (["simcost", "deco"], 1, ["simcost", "deco"], ""),
    (["simcost", "decode", "--set", "plan.tp", "="], 4, ["simcost", "decode", "--set", "plan.tp="], "plan.tp="),
    (["simcost", "decode", "--set", "plan.tp", "=", "8", "--hw", "h2"], 7, ["simcost", "decode", "--set", "plan.tp=8", "--hw", "h2"], ""),
    (["simcost", "decode", "--set", "=", "model.ffn", "=", "d"], 6, ["simcost", "decode", "--set=model.ffn=d"], "--set=model.ffn="),
    (["simcost", "compare", "--variant", "attention", "=", "gqa", ":", "8"], 7, ["simcost", "compare", "--variant", "attention=gqa:8"], "attention=gqa:"),
    (["simcost", "decode"], 2, ["simcost", "decode", ""], ""),
    (["simcost", "decode", "--hw", "h2", "--batch"], 3, ["simcost", "decode", "--hw", "h2"], ""),
])  # fmt: skip
def test_broken_words_are_put_together(words: list[str], current: int, whole: list[str], before: str) -> None:
    assert joined(words, current) == (whole, before)


def test_what_stands_before_the_break_is_not_repeated() -> None:
    assert replies(["plan.overlap=none", "plan.overlap=two_batch", ""], "plan.overlap=") == ["none", "two_batch"]
    assert replies(["batch="], "") == ["batch=", "batch=<whole number from 1>"]
    assert replies(["h20", "h200"], "") == ["h20", "h200"]
