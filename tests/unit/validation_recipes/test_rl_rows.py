"""Published steps of reinforcement learning: rows that parse, rules that decide, questions with the printed plan and lengths."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from simcost.errors import SpecError
from simcost.serving.lengths_text import parse
from simcost.validation.recipes import ask, rows, rules
from simcost.validation.recipes.rows import COLUMNS, Row


def row(name: str) -> Row:
    """The row whose id begins so."""
    return next(one for one in rows.every() if one.id.startswith(name))


def written(tmp_path: Path, **cells: str) -> Path:
    """A file of one row."""
    path = tmp_path / "runs.csv"
    given = {**dict.fromkeys(COLUMNS, ""), "id": "a", "source": "s", "framework": "verl", "kind": "step", **cells}
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, COLUMNS)
        table.writeheader()
        table.writerow(given)
    return path


def test_a_printed_row_is_carried_over() -> None:
    one = row("rl007")
    assert (one.cells["model"], one.cells["hw"], one.count("gpus")) == ("qwen3-30b-a3b", "h100", 32)
    assert (one.numbers["step_s"], one.numbers["tokens_per_s"], one.numbers["mean_total"]) == (192.0, 1102.0, 3203.0)
    assert (one.count("rollout_batch"), one.count("train_batch"), one.count("gen_tp")) == (2048, 512, 2)
    assert row("rl112").numbers["step_s"] == 630.0  # printed as 600-660
    assert len(rows.every()) == 186


def test_printed_throughput_is_prompt_and_answer_of_the_whole_step() -> None:
    """NeMo-RL's tokens/s/GPU over the printed means: 0.80 to 0.99, but for DAPO, which throws answers away."""
    shares = [
        one.numbers["mean_total"] * one.numbers["rollout_batch"] / one.numbers["step_s"] / one.numbers["gpus"] / one.numbers["tokens_per_s"]
        for one in rows.every()
        if one.cells["framework"] == "NeMo-RL" and one.cells["algorithm"] == "GRPO" and "mean_total" in one.numbers
    ]  # fmt: skip
    assert len(shares) == 55
    assert 0.79 < min(shares) < max(shares) < 1.01


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        ({"gpus": "8.5"}, "gpus = '8.5' must be a whole number"),
        ({"step_s": "fast"}, "step_s = 'fast' must be a number"),
        ({"step_s": "1-2-3"}, "step_s = '1-2-3' must be a number"),
        ({"model": "qwen9"}, "model 'qwen9' is not a name of the zoo"),
        ({"hw": "c550"}, "hw 'c550' is not a profile"),
        ({"kind": "guess"}, "kind = 'guess' is not one of"),
        ({"source": ""}, "source is empty"),
    ],
)
def test_a_bad_cell_is_one_line(tmp_path: Path, cells: dict[str, str], said: str) -> None:
    with pytest.raises(SpecError, match=r"runs\.csv:2: ") as caught:
        rows.read(written(tmp_path, **cells))
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("name", "judges"),
    [
        ("rl001", "step"), ("rl072", "step"), ("rl024", "nothing"), ("rl055", "nothing"), ("rl078", "order"), ("rl079", "nothing"),
        ("rl094", "nothing"), ("rl104", "step"), ("rl119", "nothing"), ("rl124", "nothing"), ("rl184", "nothing"), ("rl211", "order"), ("rl264", "nothing"),
        ("rl301", "held-out"), ("rl311", "held-out"),
    ],
)  # fmt: skip
def test_what_a_row_judges(name: str, judges: str) -> None:
    assert rules.shipped().of(row(name)).judges == judges


def test_every_row_is_decided_and_every_rule_decides() -> None:
    found = rules.shipped()
    used = {found.of(one).name for one in rows.every()}
    assert {rule.name for rule in found.judge} - used <= {"the rest"}


def test_printed_sizes_beat_those_of_a_rule() -> None:
    one = ask.question(row("rl006"), rules.shipped()).asked  # printed training [TP,CP,EP,PP] = [4,1,16,8]
    assert one.train == {
        "plan.tp": 4, "plan.cp": 1, "plan.ep": 16, "plan.pp": 8, "plan.recompute": "full", "plan.sequence_parallel": "on",
        "plan.stages": "megatron:first=11,last=11",
    }  # fmt: skip
    assert one.rollout == {"plan.tp": 8, "plan.pp": 1}
    assert (one.rollout_gpus, one.mode, one.staleness, one.reference) == (128, "one-step", 1, True)
    assert one.serving == {"engine.gpu_memory_utilization": 0.8, "engine.version": "0.17.1"}


def test_answers_have_the_printed_mean_once_they_are_cut() -> None:
    one = ask.question(row("rl007"), rules.shipped()).asked
    assert one.max_osl == 4096 - 150
    assert one.osl.mean == pytest.approx(3203 - 150, rel=1e-3)
    assert one.uncapped.mean > one.osl.mean
    assert (one.prompts, one.samples, one.minibatches) == (64, 32, 4)
    assert parse(ask.spread(1000.0, 0.8, 10**7), "osl").mean == pytest.approx(1000.0, rel=1e-3)
    with pytest.raises(SpecError, match="not below the cap"):
        ask.spread(4096.0, 0.8, 4096)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[[judge]]\nname = "a"\nmatch = { modl = "x" }\njudges = "step"\nwhy = "y"', "unknown column 'modl' of match; did you mean 'model'"),
        ('[[judge]]\nname = "a"\nmatch = {}\njudges = "all"\nwhy = "y"', "judges = 'all' is not one of step, held-out, order, nothing"),
        ('[[assume]]\nname = "a"\nmatch = {}\nset = { prompts = "8" }\nwhy = "y"', "prompts = '8' must be of type int"),
        ('[[assume]]\nname = "a"\nmatch = {}\nset = { promts = 8 }\nwhy = "y"', "unknown key 'promts' of set; did you mean 'prompts'"),
        ('[[story]]\nname = "a"\nmatch = {}', "a rule has a name, a match and a why"),
    ],
)  # fmt: skip
def test_a_bad_rule_is_one_line(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "rules.toml"
    path.write_text(f"schema = 1\n{text}\n", encoding="utf-8")
    with pytest.raises(SpecError) as caught:
        rules.read(path)
    assert said in str(caught.value)
