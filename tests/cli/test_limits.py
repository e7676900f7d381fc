"""Questions that would take for ever, or all memory: a line that names the limit, or an answer in no time."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from simcost.blocks.ffn.moe import MOST as EXPERTS
from simcost.cli.app import run
from simcost.estimate.step import CHUNKS
from simcost.model import load
from simcost.model.quantisation.patterns import STEPS
from simcost.query.points import MOST, STRUCTURES
from simcost.scenarios.serve.simulated import MOST as REQUESTS
from simcost.schedules._order import PASSES
from simcost.search.splits import MOST as SPLITS

DECODE = ["decode", "--model", "deepseek-v3", "--hw", "h100"]
PREFILL = ["prefill", "--model", "llama-3.1-8b", "--hw", "h100"]
TRAIN = ["train", "--model", "llama-3.1-8b", "--hw", "h100", "--gpus", "8"]
RL = [
    "rl",
    "--model",
    "qwen3-8b",
    "--hw",
    "h200",
    "--gpus",
    "8",
    "--prompts",
    "64",
    "--samples",
    "8",
    "--isl",
    "512",
    "--osl",
    "2000",
    "--no-levers",
]
THINK = [
    "think",
    "--model",
    "m",
    "--isl",
    "512",
    "--osl",
    "8k",
    "--budget",
    "1k,8k",
    "--usd-per-million",
    "0.1:0.4:0.05",
]
REFUSED = {
    "chunks": ([*PREFILL, "--isl", "32k", "--set", "chunk=1"], "32,768 chunks of a prompt, at most 2,000"),
    "chunks of a sweep": ([*PREFILL, "--isl", "2000", "--set", "chunk=1", "--vary", "batch=1..1001"], "2,002,000 chunks; at most 2,000,000"),
    "points": ([*PREFILL, "--vary", "batch=1..2000", "--vary", "past=0..1000"], "2,002,000 points together; at most 2,000,000"),
    "structures": ([*DECODE, "--vary", "model.num_hidden_layers=1..1001"], "model.num_hidden_layers: 1,001 designs, each of which is built on its own; at most 1,000"),
    "passes": ([*TRAIN, "--global-batch", "1000000000"], "125,000,000 passes"),
    "schedules": (["schedule", "1f1b", "gpipe", "--pp", "8", "--microbatches", "20000", "--forward", "1"], "at most 400,000"),
    "ranks": (["schedule", "zb-v", "--pp", "1000", "--microbatches", "16", "--forward", "1"], "4,000,000 passes"),
    "splits": (["plans", "--model", "deepseek-v3", "--hw", "h100", "--gpus", "735134400"], "more than 20,000 ways to split them"),
    "splits to train": (["plans", "--phase", "train", "--model", "deepseek-v3", "--hw", "h100", "--gpus", "735134400"], "more than 20,000 ways"),
    "splits to serve": (["plans", "--phase", "serve", "--model", "deepseek-v3", "--hw", "h100", "--gpus", "735134400", "--isl", "1k", "--osl", "1k"], "more than 20,000 ways"),
    "requests": (["serve", *PREFILL[1:], "--isl", "64", "--osl", "8", "--concurrency", "4", "--events", "--requests", "500000"], "500,000 requests of one replica: at most 400,000"),
    "experts": ([*DECODE, "--set", "model.n_routed_experts=1000000"], "'n_routed_experts' = 1000000 is outside 1 to 4,096"),
    "picks": ([*DECODE, "--set", "model.num_experts_per_tok=200"], "'num_experts_per_tok' = 200 is outside 1 to 128"),
    "GPUs of reinforcement learning": (["rl", "--model", "qwen3-8b", "--hw", "h100", "--gpus", "1000000000", "--prompts", "8", "--samples", "8", "--isl", "64", "--osl", "64"], "rl takes at most 1,000,000"),
    "answers of reinforcement learning": (["rl", "--model", "qwen3-8b", "--hw", "h100", "--gpus", "8", "--prompts", "8", "--samples", "8", "--isl", "64", "--osl", "64", "--rollout-batch", "1000000"], "200,000"),
    "answers that a filter throws away": ([*RL, "--algorithm", "dapo", "--kept", "1e-9"], "5.12e+11 answers are written for 512 that are kept; at most 200,000"),
    "a share that is none": (["distill", "--teacher", "qwen3-32b", "--student", "qwen3-8b", "--hw", "h200", "--gpus", "16", "--isl", "512", "--osl", "2000", "--samples", "100000", "--kept", "1e-300"], "--kept = 1e-300 must be at least 1e-06"),
    "hits beside a price list": ([*THINK, "--prefix-hit", "nan"], "--prefix-hit = nan must be a share from 0 to below 1"),
    "a range of laws that is none": ([*THINK, "--law-range", "nan"], "range must be fitted or published, not 'nan'"),
    "a range of laws that nothing asks for": ([*THINK, "--law-range", "published"], "--law-range needs a longer pre-training"),
    "training in a variant": (["compare", "llama-3.1-8b", "--hw", "h200", "--variant", "plan.recompute=x"], "'plan.recompute' applies to a training step only"),
    "rows": ([*DECODE[:2], "llama-3.1-8b", *DECODE[3:], "--vary", "batch=1..200001", "--format", "csv"], "200,001 rows as csv: at most 200,000"),
    "modules of MTP": ([*DECODE, "--set", "model.num_nextn_predict_layers=1000000"], "is outside 0 to 2,000"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_question_beyond_a_limit_is_refused_with_the_limit(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    argv, says = REFUSED[name]
    assert run(argv) == 2
    said = capsys.readouterr()
    assert says in said.err
    assert not said.out


@pytest.mark.parametrize("argv", [
    [*DECODE, "--gpus", "1000000000", "--tp", "3"],
    [*DECODE, "--gpus", "1000000000"],
    ["plans", "--model", "llama-3.1-8b", "--hw", "h100", "--gpus", "99999989"],
    ["plans", "--phase", "train", *TRAIN[1:], "--global-batch", "1000000000"],
])  # fmt: skip
def test_a_large_number_takes_no_more_than_a_small_one(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(argv) in (0, 2)  # an array of 1e9 GPUs has 24 GB, and divisors sought one by one take minutes
    assert "Traceback" not in capsys.readouterr().err


def test_a_config_of_keys_that_mean_nothing_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = {**load.load_config("llama-3.1-8b")[2], **{f"junk_{i}": i for i in range(20_000)}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert run(["show", "model", str(tmp_path / "config.json")]) == 2
    assert "keys have no effect here, at most 500" in capsys.readouterr().err


def test_the_page_on_security_states_the_limits() -> None:
    page = (Path(__file__).parents[2] / "docs" / "SECURITY.md").read_text(encoding="utf-8")
    for limit in (EXPERTS, CHUNKS, STEPS, MOST, STRUCTURES, PASSES, SPLITS, REQUESTS):
        assert f"{limit:,}" in page
