"""The published JSON Schemas: real answers of commands and real plan files are valid, wrong ones are not, and docs/schema holds what the command prints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

import simcost
from simcost import metrics
from simcost.api.schemas import NAMES, schema
from simcost.cli import plan_file
from simcost.cli.app import run
from simcost.errors import SpecError

ROOT = Path(__file__).resolve().parents[2]
RESULT, PLAN = Draft202012Validator(schema("result")), Draft202012Validator(schema("plan"))


@pytest.mark.parametrize("name", NAMES)
def test_the_docs_hold_what_the_command_prints(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["schema", name]) == 0
    printed = json.loads(capsys.readouterr().out)
    Draft202012Validator.check_schema(printed)
    assert printed == json.loads((ROOT / "docs" / "schema" / f"{name}.json").read_text(encoding="utf-8"))


def test_an_unknown_schema_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["schema", "results"]) == 2
    assert "no schema 'results' (one of result, plan); did you mean 'result'?" in capsys.readouterr().err


@pytest.mark.parametrize("line", [
    "decode --model llama-3.1-8b --hw h200 --tp 2 --batch 64", "decode --hw h100 --vary model=llama-3.1-8b,mixtral-8x7b --vary batch=1,100000 --context 512",
    "prefill --model mixtral-8x7b --hw mi300x --set model.attention=mla --tp 8", "explain --model llama-3.1-8b --hw h100", "compare llama-3.1-8b mixtral-8x7b --hw h200 --tp 8",
    "plans --model llama-3.1-8b --hw h100,h200 --gpus 2", "crossover --model llama-3.1-8b", "train --model llama-3-8b --hw h100 --gpus 8 --tp 2",
    "serve --model llama-3.1-8b --hw h200 --isl 512 --osl 64 --rate 1", "show model llama-3.1-8b", "show hardware h200", "show memory deepseek-v3 --hw h200 --tp 8", "list hardware",
    "list engines", "list scaling-laws", "loss --model llama-3.1-8b --tokens 1T", "schedule 1f1b --pp 4 --microbatches 8", "keys plan",
])  # fmt: skip
def test_answers_are_valid(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*line.split(), "--format", "json"]) in (0, 3)
    answer = json.loads(capsys.readouterr().out)
    assert [(error.json_path, error.message[:200]) for error in RESULT.iter_errors(answer)] == []
    assert answer["metrics"] or answer["rows"]


@pytest.mark.parametrize(("path", "value"), [
    (("metrics", "tpot_s"), "8 ms"), (("schema_version",), 2), (("fits",), None), (("notes",), [{"kind": "rumour", "text": "x"}]), (("units", "tpot_s"), "ms"),
    (("more",), 1), (("inputs", "vary"), {"batch": []}), (("rows",), [1]), (("warnings",), [1]),
])  # fmt: skip
def test_wrong_answers_are_not(path: tuple[str, ...], value: Any) -> None:
    answer = json.loads(json.dumps(simcost.decode("llama-3.1-8b", "h200", set={"plan.tp": 2}).to_dict()))
    assert RESULT.is_valid(answer)
    inner = answer
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    assert not RESULT.is_valid(answer)


def test_every_metric_stands_in_the_schema() -> None:
    known = schema("result")["$defs"]["values"]["properties"]
    assert {one.name for section in metrics.SECTIONS for one in section.metrics if "*" not in one.name} <= set(known)
    assert known["tpot_s"] == {"type": ["number", "null"], "description": f"{metrics.find('tpot_s').meaning} [s]"}  # type: ignore[union-attr]


def read(home: Path, given: dict[str, Any]) -> bool:
    """Whether simcost takes a plan file."""
    path = home / "plan.json"
    path.write_text(json.dumps(given), encoding="utf-8")
    try:
        plan_file.read(path)
    except SpecError:
        return False
    return True


GOOD: list[dict[str, Any]] = [
    {"plan": {"tp": 8, "ep": "8", "overlap": "two_batch", "weight_dtype": "fp8", "overlap_p2p_comm": True}},
    {"plan": {"tensor_parallel_size": 4}}, {"phase": {"context": "64k", "batch": "1Ki", "routing": "balanced"}}, {"engine": {"engine": "vllm", "gpu_memory_utilization": 0.9, "max_num_batched_tokens": "8k", "version": "0.19.0"}},
    {"engine": {"schedule_conservativeness": 0.5, "host_step": "3 ms", "enable_mixed_chunk": True}}, {"engine": {"capacity_scheduler_policy": "max_utilization"}},
    {"hw": {"memory": {"bandwidth": "6 TB/s"}, "links.scaleup.bandwidth": "x2"}}, {"hw": {"memory.capacity": "192 GiB"}},
    {"model": {"kv_lora_rank": 1024, "hidden_size": "x2", "num_hidden_layers": 4, "attention": "mla", "unknown_key": 3, "tie_word_embeddings": False}},
    {"stack": {"fp8": True}}, {},
]  # fmt: skip
BAD: list[dict[str, Any]] = [
    {"plan": {"tp": 0}}, {"plan": {"tp": 2.5}}, {"plan": {"tq": 2}}, {"plan": {"overlap": "twice"}}, {"plan": {"tp": "64k"}}, {"plan": {"tp": [1, 2]}}, {"plan": 8},
    {"phase": {"context": "long"}}, {"plans": {"tp": 8}}, {"phase": {"batch": 10_000_000_000}}, {"engine": {"gpu_memory": 0.5}},
    {"engine": {"enable_mixed_chunk": "yes"}}, {"engine": {"gpu_memory_utilization": "much"}},
]  # fmt: skip


@pytest.mark.parametrize("given", GOOD, ids=json.dumps)
def test_plan_files_that_are_taken_are_valid(given: dict[str, Any], tmp_path: Path) -> None:
    assert read(tmp_path, given)
    assert [error.message for error in PLAN.iter_errors(given)] == []


@pytest.mark.parametrize("given", BAD, ids=json.dumps)
def test_plan_files_that_are_refused_are_not(given: dict[str, Any], tmp_path: Path) -> None:
    assert not read(tmp_path, given)
    assert not PLAN.is_valid(given)
