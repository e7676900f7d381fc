"""Stacks: every flag of a file has a value and a source, and a fault in one is a line that names it."""

from __future__ import annotations

from pathlib import Path

import pytest

import simcost
from simcost.errors import SpecError
from simcost.training import stack as stacks
from simcost.validation.training import judge, rows

FITTED = """
[coefficients.a100]
factors = { kernels = 1.17, communication = 0.9 }
command = "simcost validate training vtrain-multi --write"
version = "0.1.0"
rows = "0123456789abcdef"
n = 48
error = 0.037
half_width = 0.11
"""


@pytest.mark.parametrize("name", stacks.names())
def test_a_stack_says_each_flag_with_its_source(name: str) -> None:
    found = stacks.load(name)
    assert set(found.flags) == set(stacks.FLAGS)
    assert set(found.sources) == {*stacks.FLAGS, *(f"defaults.{key}" for key in found.defaults)}
    assert all(len(source) > 5 for source in found.sources.values())


def test_stacks_differ_where_their_frameworks_do() -> None:
    old, core = stacks.load("megatron-2021"), stacks.load("megatron-core-te")
    assert (old.flags["attention"], core.flags["attention"]) == ("unfused", "flash")
    assert core.flags["tp_overlap"]
    assert not old.flags["tp_overlap"]
    assert (core.flags["bucket_parameters"], core.flags["bucket_parameters_per_dp"]) == (40_000_000, 1_000_000)
    assert stacks.load("hai-llm").flags["dispatcher"] == "deepep"


def _file(tmp_path: Path, old: str = "", new: str = "", more: str = "") -> Path:
    text = (stacks.home() / "megatron-2021.toml").read_text(encoding="utf-8").partition("\n[coefficients.")[0]
    assert old in text + more
    path = tmp_path / "own.toml"
    path.write_text((text + more).replace(old, new, 1) if old else text + more, encoding="utf-8")
    return path


def test_coefficients_belong_to_a_device(tmp_path: Path) -> None:
    found = stacks.load(str(_file(tmp_path, more=FITTED)))
    assert found.name == "own"
    assert found.factors("a100") == {"kernels": 1.17, "communication": 0.9}
    assert found.factors("h100") == {}
    made = found.fitted["a100"]
    assert (made.n, made.error, made.half_width) == (48, 0.037, 0.11)


def test_coefficients_of_a_stack_are_of_steps_of_its_own_releases() -> None:
    """SimuMax's layer-trimmed steps are of another program: with their coefficients Megatron Bridge's 14 steps on B200 were 27 % too long (median)."""
    made = {one.command for one in stacks.load("megatron-core-te").fitted.values()}
    assert made == {"simcost validate training nemo2407 megatron-bridge --write"}


@pytest.mark.parametrize(("hw", "of"), [("h200", "h100"), ("h20", "h100"), ("gh200", "h100"), ("b100", "b200")])
def test_a_part_of_the_same_architecture_stands_in(hw: str, of: str) -> None:
    found = simcost.train("llama-3.1-8b", hw, gpus=8, set={"plan.tp": 2}, levers=False)
    assert any(
        f"no coefficients for {hw}: those of megatron-core-te on {of} are used" in line for line in found.warnings
    )


def test_what_stands_in_is_nearer_to_a_published_step_of_h200_than_nothing() -> None:
    """torchtitan's, which made no coefficients."""
    row = next(row for row in rows.every() if row.question.hw == "h200")
    assert row.step_s is not None
    cold, lent = (judge.shipped()(row.question, factors).step_s / row.step_s for factors in ({}, None))
    assert cold < 0.85 < 0.9 < lent < 1.1


def test_a_stack_may_have_the_flags_of_another(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    text = 'schema = 1\ntitle = "own"\nbase = "hai-llm"\n[flags]\ndispatcher = { value = "alltoall", reason = "a trial" }\n'
    path.write_text(text, encoding="utf-8")
    base, found = stacks.load("hai-llm"), stacks.load(str(path))
    assert found.flags == {**base.flags, "dispatcher": "alltoall"}
    assert found.sources == {**base.sources, "dispatcher": "a trial"}
    assert (found.defaults, found.fitted) == (base.defaults, {})
    for wrong in ('"hai-lm"', "3"):
        path.write_text(text.replace('"hai-llm"', wrong), encoding="utf-8")
        with pytest.raises(SpecError, match=r"own.toml: 'base' = .* is not one of deepspeed, hai-llm, "):
            stacks.load(str(path))


@pytest.mark.parametrize(("old", "new", "said"), [
    ("schema = 1", "schema = 2", "'schema' = 2, and this version reads 1"),
    ("attention =", "atention =", "unknown key 'flags.atention'.*did you mean 'attention'"),
    ('{ value = "unfused"', '{ value = "unfuse"', "attention = 'unfuse' must be one of flash, flash-2, unfused; did you mean 'unfused'"),
    ("tp_overlap = { value = false", 'tp_overlap = { value = "no"', "'flags.tp_overlap.value' = 'no' must be true or false"),
    ("zero_group = { value = 0", "zero_group = { value = -1", "zero_group = '-1' must be a whole number, not negative"),
    ("zero_group = { value = 0, source", "zero_group = { value = 0, because", "unknown key 'flags.zero_group.because'"),
    ("kernels = 1.17", "kernel = 1.17", "unknown coefficient 'coefficients.a100.factors.kernel'.*did you mean 'kernels'"),
    ("kernels = 1.17", "kernels = -1.0", "'coefficients.a100.factors.kernels' must be a number, not negative, not -1.0"),
    ("{ kernels = 1.17, communication = 0.9 }", "{ }", "must be a table of 1 to 5 coefficients"),
    ("n = 48", "n = 0", "'coefficients.a100.n' must be a whole number above 0"),
    ('rows = "0123456789abcdef"\n', "", "'coefficients.a100.rows' is missing"),
    ("half_width = 0.11", "half_width = -0.1", "half_width"),
])  # fmt: skip
def test_a_fault_is_a_line_that_names_it(tmp_path: Path, old: str, new: str, said: str) -> None:
    with pytest.raises(SpecError, match=said) as fault:
        stacks.load(str(_file(tmp_path, old, new, FITTED)))
    assert "own.toml" in str(fault.value)
    assert "\n" not in str(fault.value)


def test_an_unknown_stack_names_the_nearest() -> None:
    with pytest.raises(SpecError, match=r"unknown stack 'torchtitn' .*did you mean 'torchtitan'"):
        stacks.load("torchtitn")


def test_a_flag_may_be_changed_and_is_checked() -> None:
    found = stacks.load("torchtitan").changed({"tp_overlap": "on", "zero_group": "8", "elementwise": "compiled"})
    assert (found.flags["tp_overlap"], found.flags["zero_group"], found.flags["elementwise"]) == (True, 8, "compiled")
    with pytest.raises(SpecError, match=r"rows.csv:7: unknown flag 'tp_overlop'.*did you mean 'tp_overlap'"):
        stacks.load("torchtitan").changed({"tp_overlop": "on"}, "rows.csv:7")
