"""compare and plans of training with --tokens: the run of each row is the run that train prices alone."""

from __future__ import annotations

import shlex
from functools import cache
from typing import Any

import pytest

import simcost
from simcost import metrics
from simcost.cli.app import run
from simcost.report import again
from simcost.report.text import as_console
from simcost.result import Result, Row
from simcost.scenarios.train.run import IN_ROWS
from simcost.search.train_plans import CLOSED, EXECUTOR

MODEL, HW, TOKENS = "llama-3.1-8b", "h100", "1.23456789T"
PRICED = (*IN_ROWS, "run_usd_price_low", "run_usd_price_high")


@cache
def plans(tokens: str | None = TOKENS) -> Result:
    few = {"plan.schedule": "1f1b", "plan.vpp": 1}  # one way a split for the executor
    return simcost.plans(MODEL, HW, gpus=16, phase="train", micro_batch=1, global_batch=64, set=few, tokens=tokens)


@cache
def compared(tokens: Any = TOKENS) -> Result:
    variants = ["attention=gqa:2", "plan.tp=2,hw=h200", "plan.tp=16,plan.pp=8"]
    return simcost.compare(MODEL, HW, gpus=64, phase="train", global_batch=256, variants=variants, tokens=tokens)


def alone(row: Row) -> Row:
    """Metrics of train for the plan of a row."""
    plan = {f"plan.{name}": row[name] for name in ("tp", "pp", "schedule", "recompute", "zero_stage")}
    plan |= {"plan.sequence_parallel": "on"} if row["tp"] > 1 else {}
    return simcost.train(MODEL, HW, 16, None, row["micro_batch"], 64, tokens=TOKENS, set=plan, levers=False).metrics


def test_a_design_has_the_run_that_train_prices() -> None:
    rows = compared().tables["designs"]
    asked: list[dict[str, Any]] = [{"hw": HW}, {"hw": HW, "set": {"model.attention": "gqa:2"}}, {"hw": "h200", "tp": 2}]
    for row, question in zip(rows, asked, strict=False):
        one = simcost.train(MODEL, gpus=64, global_batch=256, tokens=TOKENS, levers=False, **question).metrics
        assert {name: row[name] for name in PRICED} == {name: one[name] for name in PRICED}
        assert row["run_gpu_hours_low"] < row["run_gpu_hours"] < row["run_gpu_hours_high"]
        assert row["run_usd_price_low"] < row["run_usd"] < row["run_usd_price_high"]
    assert "reason" in rows[3]
    assert not set(PRICED) & set(rows[3])


def test_a_plan_has_the_run_that_train_prices() -> None:
    rows = [row for row in plans().tables["plans"] if row["feasible"]]
    for row in (rows[0], rows[9]):
        one = alone(row)
        assert row["priced_by"] == EXECUTOR
        assert {name: row[name] for name in PRICED} == pytest.approx({name: one[name] for name in PRICED}, rel=1e-12)
    for row in rows:  # a closed form has no interval, and neither has its run
        assert ("run_usd_low" in row) == ("run_gpu_hours_high" in row) == (row["priced_by"] == EXECUTOR)
        assert row["run_gpu_hours"] == pytest.approx(row["run_s"] * 16 / 3600, rel=1e-12)
        # Whole steps of 64 x 4,096 tokens, over the goodput.
        steps = -(-1.23456789e12 // (64 * 4096))
        assert row["run_s"] == pytest.approx(steps * row["step_s"] / row["goodput"], rel=1e-12)
        assert 0.9 < row["goodput"] < 1.0
    assert {row["priced_by"] for row in rows} == {EXECUTOR, CLOSED}


def test_the_run_changes_nothing_else() -> None:
    for with_run, without, table in ((plans(), plans(None), "plans"), (compared(), compared(None), "designs")):
        mine = [{k: v for k, v in row.items() if k not in PRICED} for row in with_run.tables[table]]
        assert mine == without.tables[table]
        assert with_run.metrics == without.metrics
        assert "tokens" not in without.inputs
        assert with_run.inputs["tokens"] == 1.23456789e12
    for name in PRICED:
        assert metrics.find(name) is not None, name


def test_assumptions_of_the_run_are_said_once() -> None:
    for found in (plans(), compared()):
        (note,) = [note for note in found.warnings if "--mtbf" in note]
        assert note.startswith("runs of 1.235 T tokens as simcost train prices them")
        assert all(word in note for word in ("50,677 h", "600 s", "122.1 MB/s per GPU", "Daly"))
    assert not [note for found in (plans(None), compared(None)) for note in found.warnings if "--mtbf" in note]


def test_pages_of_eighty_columns_show_what_a_run_costs() -> None:
    for found in (plans(), compared()):
        page = as_console(found, 80)
        assert max(map(len, page.splitlines())) <= 80
        assert "a run of 1.235 T tokens" in " ".join(page.split())
        assert any("run USD" in line for line in page.splitlines() if "not shown" not in line)
    lines = as_console(compared(), 80).splitlines()
    assert len([line for line in lines if line.startswith(" run GPU hours low–high")]) <= 2  # two designs a table


def test_the_question_can_be_asked_again() -> None:
    for found in (plans(), compared()):
        assert simcost.ask(found.command, found.inputs).tables == found.tables
    command = again.command(plans())
    assert float(command[command.index("--tokens") + 1]) == 1.23456789e12


@pytest.mark.parametrize("command", [f"compare {MODEL}", f"plans --model {MODEL}"])
@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("--phase train --tokens 0", "--tokens = 0.0 must be a number above 0"),
        ("--phase train --tokens -1T", "--tokens: '-1T' must be finite and greater than 0"),
        ("--phase train --tokens lots", "--tokens: cannot read 'lots'"),
        ("--phase train --tokens 3GB", "--tokens: unit 'GB' in '3GB' is not a unit of tokens"),
        ("--tokens 10T", "--tokens does not apply to"),
    ],
)
def test_tokens_that_are_none_and_other_phases_are_refused(
    command: str, more: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(shlex.split(f"{command} --hw {HW} --gpus 16 {more}")) == 2
    out = capsys.readouterr()
    assert said in out.err
    assert len(out.err.splitlines()) == 1
    assert not out.out
