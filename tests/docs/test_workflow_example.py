"""The workflow of docs/howto/workflows: it is YAML as GitHub reads it, its simcost lines run on two configs, and a design that does not fit ends it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "docs" / "howto" / "workflows" / "cost-of-a-change.yml"
WORKFLOW: dict[Any, Any] = yaml.safe_load(FILE.read_text(encoding="utf-8"))
STEPS = WORKFLOW["jobs"]["cost"]["steps"]


def ran(name: str, home: Path, **more: str) -> subprocess.CompletedProcess[str]:
    """A step of the workflow as GitHub runs it: bash -eo pipefail, with the workflow's env and `simcost` on the path."""
    (step,) = [each for each in STEPS if each.get("name") == name]
    program = home / "bin" / "simcost"
    program.parent.mkdir(exist_ok=True)
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m simcost "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    given = {
        **os.environ,
        **WORKFLOW["env"],
        "PYTHONPATH": str(ROOT),
        "PATH": f"{program.parent}:{os.environ['PATH']}",
        "GITHUB_STEP_SUMMARY": str(home / "summary.md"),
    }
    return subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]], cwd=home, env={**given, **more}, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A repository before and after a change that halves the heads of the cache."""
    for side, heads in (("before", 8), ("after", 4)):
        folder = tmp_path / side / "model"
        folder.mkdir(parents=True)
        config = json.loads((ROOT / "workloads" / "models" / "llama-3.1-8b.json").read_text(encoding="utf-8"))
        (folder / "config.json").write_text(json.dumps({**config, "num_key_value_heads": heads}), encoding="utf-8")
        (folder / "plan.toml").write_text('[plan]\ntp = 2\n\n[phase]\nbatch = 64\ncontext = "8k"\n', encoding="utf-8")
    return tmp_path


def test_it_has_the_form_of_a_workflow() -> None:
    on = WORKFLOW.get("on", WORKFLOW.get(True))  # YAML 1.1 takes the word for true
    assert set(on["pull_request"]["paths"]) == {WORKFLOW["env"]["CONFIG"], WORKFLOW["env"]["PLAN"]}
    assert WORKFLOW["permissions"]["pull-requests"] == "write"
    assert [step["with"]["path"] for step in STEPS if step.get("uses", "").startswith("actions/checkout@")] == [
        "before",
        "after",
    ]
    assert all(("uses" in step) != ("run" in step) for step in STEPS)


def test_its_lines_price_the_change(home: Path) -> None:
    done = ran("Price both", home)
    assert done.returncode == 0, done.stderr
    comment = (home / "cost.md").read_text(encoding="utf-8")
    assert comment == (home / "summary.md").read_text(encoding="utf-8")
    assert comment.startswith("What this change costs on h200:\n```\nsimcost compare: ")
    assert comment.endswith("```\n")
    assert max(map(len, comment.splitlines())) <= 100
    assert len(comment) < 65_536  # characters of a comment at most
    rows = {
        row["design"]: row
        for row in json.loads((home / "cost.json").read_text(encoding="utf-8"))["rows"]
        if row["table"] == "designs"
    }
    before, after = rows["before/model/config.json"], rows["after/model/config.json"]
    assert after["kv_bytes_per_token"] == before["kv_bytes_per_token"] / 2
    assert after["tpot_s"] < before["tpot_s"]


def test_a_design_that_does_not_fit_ends_it(home: Path) -> None:
    assert ran("Refuse what does not fit", home).returncode == 0
    shutil.copy(ROOT / "workloads" / "models" / "llama-3.1-405b.json", home / "after" / "model" / "config.json")
    done = ran("Refuse what does not fit", home)
    assert done.returncode == 3
    assert "does not fit" in done.stderr.lower()
