"""Every way to train on a cluster: what is tried, what ranks, what refuses, and that the best is as train itself says."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

import simcost
from simcost import metrics
from simcost.cli.app import run
from simcost.errors import SpecError
from simcost.result import Result
from simcost.search import train_search
from simcost.search.train_plans import CLOSED, EXECUTOR
from simcost.search.train_search import BEST

MODEL, HW = "llama-3.1-8b", "h100"
OPTIONS = ("schedule", "recompute", "zero_stage")


@pytest.fixture(scope="module")
def found() -> Result:
    return simcost.plans(MODEL, HW, gpus=16, phase="train", global_batch=64)


def test_every_split_of_a_node_is_a_row_once(found: Result) -> None:
    rows = found.tables["plans"]
    sizes = [(row["tp"], row["pp"], row["dp"]) for row in rows]
    powers = (1, 2, 4, 8, 16)
    assert sorted(sizes) == sorted(
        (t, p, 16 // (t * p)) for t, p in itertools.product(powers, powers) if t <= 8 and t * p <= 16
    )
    assert found.metrics["plans"] == len(rows)
    assert found.metrics["plans_feasible"] == sum(row["feasible"] for row in rows)


def test_the_best_come_first_and_the_executor_priced_them(found: Result) -> None:
    runs = [row for row in found.tables["plans"] if row["feasible"]]
    assert [row["priced_by"] for row in runs[:BEST]] == [EXECUTOR] * BEST
    assert {row["priced_by"] for row in runs} <= {EXECUTOR, CLOSED}
    speeds = [row["tokens_per_s_per_gpu"] for row in runs]
    assert speeds == sorted(speeds, reverse=True)
    assert runs[0]["probability_behind"] is None
    assert runs[0]["best_or_tied"]
    assert found.metrics["plans_tied"] == sum(bool(row.get("best_or_tied")) for row in runs) - 1
    assert all(0.5 <= row["probability_behind"] <= 1.0 for row in runs[1:BEST])


@pytest.mark.parametrize("place", [0, BEST - 1])
def test_a_row_is_as_train_says(found: Result, place: int) -> None:
    row = found.tables["plans"][place]
    plan = {f"plan.{name}": row[name] for name in ("tp", "pp", *OPTIONS)}
    plan |= {"plan.sequence_parallel": "on"} if row["tp"] > 1 else {}
    plan |= {"plan.vpp": row["vpp"]} if row["vpp"] > 1 else {}
    one = simcost.train(MODEL, HW, 16, None, row["micro_batch"], 64, set=plan, levers=False)
    for name in ("step_s", "step_low_s", "mfu", "memory_peak_bytes", "bubble_fraction"):
        assert one.metrics[name] == pytest.approx(row[name], rel=1e-12)


def test_what_is_stated_is_not_searched() -> None:
    stated = {"plan.tp": 4, "plan.schedule": "zb-h1", "plan.recompute": "full", "plan.zero_stage": 2, "plan.pp": 2}
    found = simcost.plans(MODEL, HW, gpus=16, phase="train", global_batch=64, micro_batch=2, set=stated)
    (row,) = found.tables["plans"]
    assert {name: row[name] for name in ("tp", "pp", *OPTIONS, "micro_batch")} == {
        "tp": 4, "pp": 2, "schedule": "zb-h1", "recompute": "full", "zero_stage": 2, "micro_batch": 2
    }  # fmt: skip
    assert found.metrics["points"] == 1


def test_what_cannot_run_says_why() -> None:
    found = simcost.plans("llama-3.1-70b", HW, gpus=8, phase="train", global_batch=24, cp=True)
    why = {(row["tp"], row["cp"], row["pp"]): row["reason"] for row in found.tables["plans"] if not row["feasible"]}
    assert not found.fits
    assert "short by" in why[8, 1, 1]
    assert "nearest" in why[1, 1, 1] or "short by" in why[1, 1, 1]
    assert "0 of" in found.verdict
    odd = simcost.plans(MODEL, HW, gpus=16, phase="train", global_batch=12)
    reasons = [row["reason"] for row in odd.tables["plans"] if not row["feasible"]]
    assert any("global_batch = 12 is not a whole number of micro_batch x data-parallel ranks" in one for one in reasons)


def test_experts_are_spread_too() -> None:
    found = simcost.plans("mixtral-8x7b", HW, gpus=16, phase="train", global_batch=32, set={"plan.schedule": "1f1b"})
    assert {row["ep"] for row in found.tables["plans"]} == {1, 2, 4, 8, 16}
    refused = [row["reason"] for row in found.tables["plans"] if row["ep"] == 16]
    assert all("cannot be cut" in reason for reason in refused)


def test_several_devices_are_ranked_together() -> None:
    found = simcost.plans(
        MODEL, ["h100", "h200"], gpus=[8], phase="train", global_batch=32, set={"plan.recompute": "none"}, metric="mfu"
    )
    runs = [row for row in found.tables["plans"] if row["feasible"]]
    assert {row["hw"] for row in runs} == {"h100", "h200"}
    assert [row["mfu"] for row in runs] == sorted((row["mfu"] for row in runs), reverse=True)


def test_the_default_batch_is_said(found: Result) -> None:
    usual = simcost.plans(MODEL, HW, gpus=8, phase="train", set={"plan.tp": 8})
    assert any("global_batch = 32: 4 sequences per GPU" in note for note in usual.warnings)
    assert not any("global_batch =" in note for note in found.warnings)


def test_an_answer_can_be_asked_again(found: Result) -> None:
    again = simcost.ask(found.command, found.inputs)
    assert again.verdict == found.verdict


def test_names_of_plans_are_known(found: Result) -> None:
    of_train = simcost.train(MODEL, HW, 8, levers=False, price=2.0).metrics
    names = {name for row in found.tables["plans"] for name in row} | {*found.metrics}
    assert [name for name in names - {*of_train, "global_batch"} if metrics.find(name) is None] == []


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"context": 4096}, "--context does not apply to --phase train"),
        ({"tpot": "50ms"}, "--tpot does not apply to --phase train"),
        ({"metric": "tpot"}, "--metric tpot: plans of training can be ranked by"),
        ({"set": {"plan.etp": 2}}, "plan.etp follows from tp, cp, ep"),
        ({"set": {"plan.stages": "15,17"}}, "plan.stages applies to one pipeline"),
        ({"set": {"plan.schedule": "1f1c"}}, "plan.schedule=1f1c is not one of"),
        ({"set": {"plan.schedule": "zb-v", "plan.vpp": 2}}, "plan.vpp=2 does not apply to plan.schedule=zb-v"),
        ({"set": {"plan.recompute": "ful"}}, "plan.recompute=ful"),
        ({"set": {"plan.zero_stage": 7}}, "zero_stage"),
        ({"set": {"plan.tp": 3}}, "no plan with the values of --set uses all of them"),
        ({"gpus": None}, "state how many devices there are"),
        ({"micro_batch": 0}, "micro_batch"),
        ({"metric": "usd_per_billion_tokens", "hw": "b100"}, "has no price with a source"),
        ({"phase": "trian"}, "--phase must be decode, prefill, train or serve"),
        ({"phase": "decode"}, "--global-batch does not apply to --phase decode"),
    ],
)
def test_bad_questions_are_one_line(more: dict[str, Any], said: str) -> None:
    asked: dict[str, Any] = {"hw": HW, "gpus": 8, "phase": "train", "global_batch": 32} | more
    with pytest.raises(SpecError) as refused:
        simcost.plans(MODEL, asked.pop("hw"), **asked)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_the_command_prints_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    line = f"plans --model {MODEL} --hw {HW} --gpus 8 --phase train --global-batch 32 --set plan.tp=8 --set plan.recompute=none"
    assert run(line.split()) == 0
    out = " ".join(capsys.readouterr().out.split())  # lines break by the terminal's width
    assert "best: tp=8" in out
    assert "ranked by tokens/s per GPU" in out


def test_closed_forms_name_the_executors_best(monkeypatch: pytest.MonkeyPatch, found: Result) -> None:
    """The executor reorders the best few and finds no better one further down: with twice as many priced the best is the same."""
    monkeypatch.setattr(train_search, "BEST", 2 * BEST)
    more = simcost.plans(MODEL, HW, gpus=16, phase="train", global_batch=64).tables["plans"]
    best = found.tables["plans"][0]
    assert {name: more[0][name] for name in ("tp", "pp", *OPTIONS)} == {
        name: best[name] for name in ("tp", "pp", *OPTIONS)
    }
    assert np.isclose(more[0]["step_s"], best["step_s"])


def test_a_model_with_tied_embeddings_is_planned_on_one_stage() -> None:
    """Embedding and head of one stage are summed by a group of one, whose ranks stand 0 apart."""
    found = simcost.plans("llama-3.2-1b", "h100", 2, phase="train", global_batch=8)
    assert found.fits
    assert {row["pp"] for row in found.tables["plans"]} >= {1}
