"""`simcost train`: what it answers, in which units, and what it refuses in one line."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

import simcost
from simcost.cli.app import run
from simcost.errors import SimcostError

ASK = ["train", "--model", "llama-3-8b", "--hw", "h100", "--gpus", "8", "--tp", "2"]
METRICS = (
    "step_s", "step_low_s", "step_high_s", "mfu", "hfu", "tokens_per_s_per_gpu", "bubble_fraction", "exposed_communication", "memory_peak_bytes", "fits",
    "usd_per_billion_tokens",
)  # fmt: skip


def answer(capsys: pytest.CaptureFixture[str], *more: str, ask: list[str] = ASK) -> dict[str, Any]:
    assert run([*ask, *more, "--format", "json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def refusal(capsys: pytest.CaptureFixture[str], *more: str, ask: list[str] = ASK) -> str:
    assert run([*ask, *more]) == 2
    seen = capsys.readouterr()
    assert seen.out == ""
    lines = [line for line in seen.err.strip().splitlines() if "fitting curves" not in line]
    assert len(lines) == 1, lines
    assert lines[0].startswith("simcost: ")
    return lines[0]


def test_metrics_agree_with_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    found = answer(capsys, "--pp", "2", "--global-batch", "64")
    m = found["metrics"]
    assert set(METRICS) <= set(m)
    assert m["step_low_s"] < m["step_s"] < m["step_high_s"]
    assert m["tokens_per_step"] == 64 * 4096
    assert m["tokens_per_s_per_gpu"] == pytest.approx(64 * 4096 / m["step_s"] / 8)
    assert m["flops_per_s_per_gpu"] == pytest.approx(m["training_flops_per_token"] * m["tokens_per_s_per_gpu"])
    assert m["mfu"] == pytest.approx(m["flops_per_s_per_gpu"] / 989.4e12, rel=1e-3)
    assert m["hfu"] == m["mfu"]
    shares = [value for name, value in m.items() if name.startswith("share_")]
    assert sum(shares) == pytest.approx(1.0)
    goes = [row for row in found["rows"] if row["table"] == "where the step goes"]
    assert sum(row["time_s"] for row in goes) == pytest.approx(m["step_s"])
    ranks = [row for row in found["rows"] if row["table"] == "pipeline ranks"]
    assert max(row["memory_peak_bytes"] for row in ranks) == m["memory_peak_bytes"]
    assert found["units"]["memory_peak_bytes"] == "B"
    assert found["units"]["tokens_per_s_per_gpu"] == "1/s"


def test_a_run_is_so_many_steps(capsys: pytest.CaptureFixture[str]) -> None:
    m = answer(capsys, "--tokens", "1T", "--price", "2", "--no-levers")["metrics"]
    assert m["run_steps"] == math.ceil(1e12 / m["tokens_per_step"])
    assert m["run_tokens"] >= 1e12
    assert m["run_s"] == pytest.approx(m["run_steps"] * m["step_s"] / m["goodput"])
    assert m["run_gpu_hours"] == pytest.approx(m["run_s"] / 3600.0 * 8)
    assert m["run_usd"] == pytest.approx(2.0 * m["run_gpu_hours"])
    assert m["run_gpu_hours_of_steps"] == pytest.approx(m["run_gpu_hours"] * m["goodput"])
    for options in (["--days", "30"], ["--usd", "100000", "--price", "2"]):
        other = answer(capsys, *options, "--no-levers")["metrics"]
        assert other["run_tokens"] % other["tokens_per_step"] == 0
    assert other["run_usd"] <= 100000


def test_levers_say_what_a_change_does(capsys: pytest.CaptureFixture[str]) -> None:
    found = answer(capsys)
    before = found["metrics"]["step_s"]
    levers = {row["change"]: row for row in found["rows"] if row["table"] == "levers"}
    full = levers["plan.recompute=full"]
    assert full["change_of_step"] == pytest.approx(full["step_s"] / before - 1.0)
    told = answer(capsys, "--set", "plan.recompute=full", "--no-levers")["metrics"]
    assert told["step_s"] == pytest.approx(full["step_s"])
    assert told["memory_peak_bytes"] == pytest.approx(full["memory_peak_bytes"])
    assert told["hfu"] > told["mfu"]


def test_a_step_that_fits_at_the_low_end_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    """LoRA of a 13B model needs 4 % more than an RTX 5090 has, which the interval of the allocator's slack covers (docs/theory/training-memory.md)."""
    ask = ["train", "--model", "llama-2-13b", "--hw", "rtx-5090", "--gpus", "1", "--seq", "2048", "--no-levers"]  # fmt: skip
    sets = ["--set", "plan.lora_rank=16", "--set", "plan.recompute=full"]
    found = answer(capsys, *sets, "--micro-batch", "2", ask=ask)
    assert found["fits"] is False
    assert "; may not fit: pipeline rank 0 needs 32.7" in found["verdict"]
    assert "30.29 GiB at the low end of its 90 % interval, which fits" in found["verdict"]
    assert "; does not fit: pipeline rank 0" in answer(capsys, *sets, "--micro-batch", "4", ask=ask)["verdict"]


def test_a_step_that_does_not_fit_names_the_nearest_that_does(capsys: pytest.CaptureFixture[str]) -> None:
    ask = ["train", "--model", "llama-3-70b", "--hw", "h100", "--gpus", "16", "--tp", "8", "--pp", "2"]
    found = answer(capsys, ask=ask)
    assert found["fits"] is False
    assert "does not fit: pipeline rank" in found["verdict"]
    assert any("nearest change that fits" in note or "no single change" in note for note in found["warnings"])
    assert run([*ask, "--strict", "--format", "json"]) == 3


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--set", "plan.precision=fp9"], "bf16"),
        (["--set", "plan.optimizer=adam"], "adamw"),
        (["--set", "plan.schedule=1f1c"], "1f1b"),
        (["--set", "plan.recompute=ful"], "full"),
        (["--set", "plan.zero_stage=4"], "0, 1, 2, 3"),
        (["--set", "plan.mla_form=absorbed"], "training runs MLA expanded"),
        (["--set", "plan.kv_dtype=fp8"], "plan.precision"),
        (["--set", "plan.cuda_graph=off"], "stack.cuda_graphs"),
        (["--set", "engine.gpu_memory_utilization=0.9"], "stack.<flag>"),
        (["--set", "stack.atention=flash"], "attention"),
        (["--set", "stack.attention=slow"], "unfused"),
        (["--set", "batch=8"], "micro_batch, global_batch, seq"),
        (["--set", "seq=100", "--seq", "200"], "given twice"),
        (["--stack", "megatron"], "megatron-core-te"),
        (["--global-batch", "6"], "nearest 4 or 8"),
        (["--pp", "3"], "nearest 6 or 12"),
        (["--pp", "2", "--set", "plan.vpp=2", "--set", "plan.schedule=zb-v"], "plan.schedule=interleaved"),
        (["--pp", "2", "--set", "plan.stages=1,2,3"], "stages"),
        (["--tokens", "1T", "--days", "3"], "one of them"),
        (["--tokens", "many"], "many"),
        (["--days", "-3"], "above 0"),
        (["--price", "0"], "above 0"),
        (["--flops-convention", "pal"], "palm"),
        (["--timeline", "step.bmp"], ".svg"),
        (["--micro-batch", "0"], "micro_batch"),
    ],
)  # fmt: skip
def test_refusals_are_a_line(capsys: pytest.CaptureFixture[str], more: list[str], says: str) -> None:
    assert says in refusal(capsys, *more)


def test_a_device_without_a_format_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    ask = ["train", "--model", "llama-3-8b", "--hw", "a100", "--gpus", "8", "--set", "plan.precision=fp8-block"]
    assert "has no rate for fp8" in refusal(capsys, ask=ask)


def test_settings_of_a_training_step_are_refused_elsewhere(capsys: pytest.CaptureFixture[str]) -> None:
    ask = ["decode", "--model", "llama-3-8b", "--hw", "h100"]
    assert "simcost train" in refusal(capsys, "--set", "plan.schedule=1f1b", ask=ask)
    assert "simcost train" in refusal(capsys, "--set", "stack.attention=flash", ask=ask)


def test_a_file_of_settings(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "plan.toml"
    path.write_text('[plan]\npp = 2\nschedule = "zb-h1"\nrecompute = "layernorm"\n[phase]\nglobal_batch = 64\n[stack]\nattention = "unfused"\n')  # fmt: skip
    found = answer(capsys, "--plan", str(path), "--no-levers")
    assert found["inputs"]["plan"]["schedule"] == "zb-h1"
    assert found["inputs"]["set"]["stack.attention"] == "unfused"
    assert found["metrics"]["global_batch"] == 64
    path.write_text("[stack]\nattention = [1]\n")
    assert "stack.attention" in refusal(capsys, "--plan", str(path))


def test_keys_say_which_are_of_a_training_step(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["keys", "plan", "--format", "json"]) == 0
    rows = {row["key"]: row["needs"] for row in json.loads(capsys.readouterr().out)["rows"]}
    for key in (
        "schedule",
        "stages",
        "recompute",
        "zero_stage",
        "zero_group",
        "precision",
        "optimizer",
        "lora_rank",
        "frozen",
        "ema",
    ):
        assert "a step of train" in rows[f"plan.{key}"]
    assert "train" not in rows["plan.tp"]


@pytest.mark.parametrize("suffix", [".trace.json", ".svg"])
def test_a_timeline_is_written(capsys: pytest.CaptureFixture[str], tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"step{suffix}"
    answer(capsys, "--pp", "2", "--timeline", str(path), "--no-levers")
    text = path.read_text(encoding="utf-8")
    if suffix == ".svg":
        assert "<svg" in text
    else:
        assert json.loads(text)["traceEvents"]


@pytest.mark.parametrize("width", [80, 130])
def test_the_page_says_the_answer_first_and_equal_ranks_once(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    assert run(["train", "--model", "llama-3.1-70b", "--hw", "h100", "--gpus", "128", "--tp", "8", "--pp", "16", "--set", "plan.schedule=gpipe", "--tokens", "1T", "--no-levers"]) == 0  # fmt: skip
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("simcost train: a step takes")
    assert max(map(len, lines)) <= width
    text = "\n".join(lines)
    assert text.index("where the step goes") < text.index("memory peak") < text.index("the run") < text.index("pipeline ranks")  # fmt: skip
    assert " days" in text
    assert "e+" not in text
    table = text[text.index("pipeline ranks") :]
    assert "GiB" in table
    assert "–14" in table


# One of each kind: dense, GQA with windows, MoE, MLA with MTP, sparse attention, hybrids, shared blocks and caches, towers, several residual streams.
ZOO = {
    "gemma-3-4b": {}, "gpt-oss-20b": {"plan.ep": 8}, "deepseek-v3": {"plan.ep": 8, "plan.pp": 4, "plan.gpus": 64}, "deepseek-v3.2": {"plan.ep": 8, "plan.pp": 4, "plan.gpus": 64},
    "jamba-v0.1": {"plan.ep": 8}, "zamba2-7b": {"plan.tp": 2}, "qwen3-next-80b-a3b": {"plan.ep": 8}, "falcon-mamba-7b": {}, "gemma-3n-e4b": {"plan.tp": 2}, "llama-4-scout": {"plan.ep": 8},
    "minimax-text-01": {"plan.ep": 8, "plan.pp": 4, "plan.gpus": 64}, "longcat-flash": {"plan.ep": 8}, "bloom-176b": {"plan.tp": 8, "plan.pp": 4, "plan.gpus": 64},
}  # fmt: skip


@pytest.mark.parametrize("name", ZOO)
def test_models_of_every_kind_train(name: str) -> None:
    found = simcost.train(name, "h200", seq=2048, levers=False, set={"plan.gpus": 8, **ZOO[name]})
    assert 0.05 < found.metrics["mfu"] < 0.8
    assert found.metrics["memory_peak_bytes"] > 0


@pytest.mark.parametrize(
    ("name", "plan", "says"),
    [
        ("gemma-4-e2b", {"plan.pp": 2, "plan.gpus": 8}, "use pp = 1"),
        ("falcon-mamba-7b", {"plan.cp": 2, "plan.gpus": 8}, "cp must be 1"),
        ("deepseek-v3.2", {"plan.cp": 2, "plan.ep": 8, "plan.gpus": 16}, "cp must be 1"),
        ("phi-4", {"plan.tp": 8, "plan.gpus": 8}, "num_key_value_heads = 10"),
    ],
)
def test_what_a_model_cannot_do_is_said(name: str, plan: dict[str, Any], says: str) -> None:
    with pytest.raises(SimcostError, match=says):
        simcost.train(name, "h200", set=plan)
