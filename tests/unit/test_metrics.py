"""Every printed name stands in simcost/metrics once, with a unit that its name says, and with a sentence."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import pytest

import simcost
from simcost import metrics, units
from simcost.result import Result
from simcost.scenarios.calibrate import doctor
from simcost.validation import kernels, memory

REPLAY = Path(__file__).resolve().parents[1] / "replay" / "queries" / "queries.jsonl"
EVERY = [one for section in metrics.SECTIONS for one in section.metrics]
ENDINGS = {
    "_tokens_per_s": "rate", "_tokens_per_s_per_gpu": "rate", "_tokens_per_s_per_user": "rate", "requests_per_s": "rate", "queries_per_s": "rate", "rate_per_s": "rate", "_flops_per_s": "flops_per_s", "_bytes_per_s": "bytes_per_s",
    "_bytes_per_gpu": "memory", "_error": "fraction", "_share": "fraction", "_coverage": "fraction", "_bias": "fraction",
}  # fmt: skip


def names(result: Result) -> set[str]:
    """Metrics and columns; the axes of a sweep, which are the user's words, are not among them."""
    return {*result.metrics, *(name for rows in result.tables.values() for row in rows for name in row)}


def unknown(found: Iterable[str]) -> list[str]:
    return sorted(name for name in found if metrics.find(name) is None)


def test_each_name_stands_once_with_a_unit_and_a_sentence() -> None:
    found = [one.name for one in EVERY]
    assert len(found) == len(set(found))
    for one in EVERY:
        assert one.meaning[:1] not in ("", " ")
        assert not one.meaning.endswith(".")
        assert one.unit in (metrics.TEXT, metrics.FLAG, metrics.NUMBER) or units.symbol(one.unit), one
        assert one.error == "" or one.better, one
        assert not one.plans or one.better, one


def test_the_unit_is_the_one_that_the_name_says() -> None:
    for one in EVERY:
        said = [dimension for ending, dimension in ENDINGS.items() if one.name.endswith(ending)]
        if said and one.unit not in (metrics.TEXT, metrics.NUMBER):
            assert one.unit in said, one
        elif one.name.endswith("_s") and one.unit != metrics.TEXT:
            assert one.unit in ("seconds", "duration"), one


def test_recorded_questions_print_known_names() -> None:
    found: set[str] = set()
    for line in REPLAY.read_text(encoding="utf-8").splitlines():
        answer = json.loads(line)["answer"]
        found |= answer.get("metrics", {}).keys()
        for table, columns in answer.get("sums", {}).items():
            found |= columns.keys() if table != "sweep" else set()
    assert unknown(found - {"rows", "text"}) == []


def test_every_command_prints_known_names() -> None:
    plan = {"plan.tp": 8}
    models = ["deepseek-v3", "mixtral-8x7b"]
    results = [
        simcost.decode(models[0], "h200", set=plan, prefill_tokens=512), simcost.prefill(models[0], "h200", set=plan),
        simcost.explain(models[0], "h200", set=plan), simcost.compare(models, "h200", set=plan), simcost.plans(models[1], "h200", gpus=4, batch=[8]),
        simcost.plans("llama-3.1-8b", "h200", gpus=1, phase="serve", isl=512, osl=64, rate=1),
        simcost.crossover(models[0]), simcost.show_model(models[0]), simcost.show_hardware("h200"), simcost.show_memory(models[0], "h200", set=plan),
        simcost.sensitivity(models[0], "h200", set=plan), simcost.solve(models[0], "h200", "batch", "tpot=20ms", set=plan),
        simcost.solve(models[0], "h200", "hw.memory.bandwidth", "tpot=1ms", set=plan), simcost.solve(models[0], "h200", "plan.ep", "tpot=34.5ms", batch=64, set=plan),
        simcost.train("llama-3-8b", "h100", gpus=8, set={"plan.tp": 2, "plan.pp": 2}, tokens=1e12, price=2),
        simcost.rl(
            "qwen3-30b-a3b", "h100", 32, prompts=16, samples=8, isl=256, osl=1000, placement="disaggregated:16", asynchrony="one-step", routing_replay=True, steps=10,
            rollout="tp=2", train="ep=16,recompute=full", price=2,
        ),
        simcost.think("llama-3.1-8b", "h100", isl=100, osl="lognormal:900:0.5", budget="512,1k", concurrency=4), simcost.distill("qwen3-8b", "qwen3-0.6b", "h100", 100, 400, 1000, gpus=8),
        simcost.list_models(), simcost.list_hardware(), simcost.list_engines(), simcost.list_scaling_laws(),
        simcost.show_scaling_law("krajewski-2024"), simcost.loss(models[1], "1T", range="published"), simcost.loss("llama-3.1-8b", 1e11), simcost.loss(training_flops=1e20), doctor.doctored("l40s", "gemm"), memory.result(), kernels.reference("h800"),
    ]  # fmt: skip
    found = set.union(*map(names, results))
    assert unknown(found) == []


def test_json_says_the_unit_of_each_name() -> None:
    document = simcost.decode("llama-3.1-8b", "h100", vary={"batch": [1, 2]}).to_dict()
    assert document["units"]["tpot_s"] == "s"
    assert document["units"]["memory_used_bytes_per_gpu"] == "B"
    assert "fits" not in document["units"]
    assert set(document["units"]) <= {*document["metrics"], *(name for row in document["rows"] for name in row)}


@pytest.mark.parametrize(
    ("name", "unit"),
    [("falcon-40b_s", "seconds"), ("peak_design_s", "seconds"), ("peak_fp8", "flops_per_s"), ("flops_per_token_at_777", "flops"), ("plan.tp", "")],
)  # fmt: skip
def test_patterns(name: str, unit: str) -> None:
    assert metrics.unit(name) == unit


def test_the_ends_of_an_interval_have_the_unit_of_their_number() -> None:
    for name, want in (
        ("usd_per_million_output_tokens", "usd"),
        ("output_tokens_per_s_per_gpu", "rate"),
        ("mfu", "fraction"),
    ):
        for end in ("low", "high"):
            found = metrics.find(f"{name}_{end}")
            assert found is not None
            assert (found.unit, found.error) == (want, metrics.error(name))
    assert metrics.find("max_batch_low") is None  # exact
