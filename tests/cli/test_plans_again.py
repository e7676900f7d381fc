"""The command below plans asks about the best of them, and answers with the same number."""

from __future__ import annotations

import json
from typing import Any

import pytest

import simcost
from simcost.cli.app import run
from simcost.report import again
from simcost.report.text import as_console

SERVED = {"isl": 512, "osl": 64, "rate": 10.0, "slo": "ttft=1s,tpot=30ms", "phase": "serve", "prefix_hit": 0.25}
ASKED: dict[str, dict[str, Any]] = {
    "decode": {"gpus": [1, 2], "tpot": "30ms", "metric": "usd", "price": "low"},
    "prefill": {"gpus": 2, "phase": "prefill", "isl": 2048, "set": {"plan.kv_dtype": "fp8"}},
    "train": {"gpus": 8, "phase": "train", "seq": 8192, "global_batch": 32, "set": {"plan.pp": 2}},
    "fleet": {**SERVED, "set": {"plan.tp": 2}},
}


@pytest.mark.parametrize("name", ASKED)
def test_the_command_asks_about_the_best_plan(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = simcost.plans("llama-3.1-8b", ["h100", "h200"], **ASKED[name])
    best, line = found.tables["plans"][0], again.command(found)
    assert run([*(each for each in line if each != "--events"), "--format", "json"]) == 0
    metrics = json.loads(capsys.readouterr().out)["metrics"]
    time = next(each for each in ("step_s", "tpot_s", "ttft_s") if each in best)
    assert metrics[time] == pytest.approx(best[time], rel=1e-6)


def test_pools_are_named_as_serve_takes_them() -> None:
    found = simcost.plans("llama-3.1-8b", "h100", **SERVED)
    pools = next(row for row in found.tables["plans"] if row.get("mode") == "disaggregated")
    line = list(again._words(found.inputs, pools))
    assert {f"--prefill-pool {pools['prefill_pool']}", f"--decode-pool {pools['decode_pool']}"} <= set(line)
    assert "--events" not in line  # which runs no pools


def test_the_command_can_be_copied_from_a_narrow_page() -> None:
    found = simcost.plans("llama-3.1-8b", "h100", **ASKED["train"])
    page = as_console(found, 80).splitlines()
    start = next(at for at, line in enumerate(page) if line.startswith("  simcost train"))
    lines = [each for each in page[start:] if each.startswith("  ")]
    assert all(each.rstrip().endswith("\\") for each in lines[:-1])
    assert " ".join(each.rstrip().rstrip("\\").strip() for each in lines).split() == ["simcost", *again.command(found)]
    assert sum("tokens/s per" in each for each in page) >= 2  # what ranks plans stands on the page


def test_devices_of_training_have_a_row_each() -> None:
    asked = {**ASKED["train"], "set": {"plan.tp": 2, "plan.pp": 1}}
    rows = simcost.plans("llama-3.1-8b", ["h100", "h200"], **asked).tables["best per device"]
    assert {row["hw"] for row in rows} == {"h100", "h200"}
    assert all(row["step_low_s"] < row["step_s"] and row["plan"].startswith("tp=2") for row in rows)
