"""The run of a training step: goals, a batch that grows, failures, other numbers of GPUs, and what is refused in one line."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest

import simcost
from simcost.cli.app import run as command
from simcost.errors import SpecError
from simcost.result import Result
from simcost.training import goodput, run

SETS = {"plan.tp": 2, "plan.pp": 2}


@cache
def _asked(named: tuple[tuple[str, Any], ...]) -> Result:
    return simcost.train("llama-3.1-8b", "h100", global_batch=256, set=SETS, levers=False, **dict(named))


def asked(gpus: int = 32, **named: Any) -> Result:
    return _asked(tuple({"gpus": gpus, **named}.items()))


def test_deepseek_v3s_tokens_take_its_steps_and_hours_follow_the_step() -> None:
    """14.8 T tokens are 235,240 steps of 15,360 x 4,096; hours of the steps alone are what arXiv 2412.19437 table 1 counts."""
    found = simcost.train(
        "deepseek-v3", "h800", 2048, global_batch=15360, tokens="14.8T", stack="hai-llm", levers=False,
        set={"plan.pp": 16, "plan.ep": 64, "plan.schedule": "dualpipe"},
    ).metrics  # fmt: skip
    assert found["run_steps"] == 235240
    assert found["run_gpu_hours_of_steps"] == pytest.approx(235240 * found["step_s"] * 2048 / 3600.0)
    assert found["run_gpu_hours_low"] < 2.664e6 < found["run_gpu_hours_high"]
    # fp8 weights with their scales, fp32 master weights and two bf16 moments: 9 B of each of 671 and 11.5 (MTP) thousand million.
    assert found["checkpoint_bytes"] == pytest.approx(9.0 * (671.03e9 + 11.51e9), rel=2e-2)


@pytest.mark.parametrize("sets", [{}, {"plan.tp": 4}, {"plan.zero_stage": 3}, {"plan.zero_stage": 0, "plan.pp": 4}])
def test_a_checkpoint_has_each_weight_once_however_ranks_share_it(sets: dict[str, Any]) -> None:
    found = simcost.train("llama-3.1-8b", "h100", 32, tokens=1e9, set=sets, levers=False).metrics
    assert found["checkpoint_bytes"] == pytest.approx(14.0 * 8030261248)


def test_tokens_days_and_money_are_one_run() -> None:
    whole = asked(tokens=1e10).metrics
    for goal in ({"days": whole["run_s"] / 86400.0}, {"usd": whole["run_usd"]}):
        assert asked(**goal).metrics["run_steps"] == whole["run_steps"]


def test_a_batch_that_grows_takes_longer_and_ends_with_the_steps_own() -> None:
    plain, grown = asked(tokens=1e11), asked(tokens=1e11, rampup="64:64:3M")
    rows = grown.tables["batch ramp"]
    assert [row["global_batch"] for row in rows] == [64, 128, 192, 256]
    assert rows[-1]["step_s"] == plain.metrics["step_s"]
    for row in rows[:-1]:  # a third of the samples each, in whole steps
        assert row["run_steps"] == -(-1_000_000 // row["global_batch"])
    assert sum(row["run_tokens"] for row in rows) == grown.metrics["run_tokens"]
    assert sum(row["run_steps"] for row in rows) == grown.metrics["run_steps"]
    assert sum(row["run_gpu_hours"] for row in rows) == pytest.approx(grown.metrics["run_gpu_hours"])
    assert grown.metrics["run_gpu_hours"] > plain.metrics["run_gpu_hours"]
    assert asked(usd=grown.metrics["run_usd"], rampup=(64, 64, 3e6)).metrics["run_steps"] == grown.metrics["run_steps"]
    assert grown.inputs["rampup"] == "64:64:3000000"


def test_what_nobody_states_of_failures_is_said_with_its_source() -> None:
    plain = asked(tokens=1e11)
    (note,) = [str(line) for line in plain.warnings if str(line).startswith("goodput")]
    for words in ("50,677 h", "arXiv 2407.21783", "600 s", "assumed", "Daly"):
        assert words in note
    stated = asked(tokens=1e11, mtbf="1000h", restart="20min", checkpoint_rate="10 GB/s", checkpoint_interval="30min")
    kept = goodput.goodput(32.0, 14.0 * 8030261248 / 10e9, 1200.0, 3.6e6, 1800.0)
    assert stated.metrics["goodput"] == pytest.approx(kept.share)
    assert stated.metrics["mtbf_s"] == pytest.approx(3.6e6 / 32.0)
    assert stated.metrics["checkpoint_interval_s"] == 1800.0
    assert stated.metrics["run_gpu_hours"] * kept.share == pytest.approx(stated.metrics["run_gpu_hours_of_steps"])
    assert any("all its numbers were given" in str(line) for line in stated.warnings)


def test_strong_scaling_is_the_step_of_each_number_of_gpus_at_one_batch() -> None:
    found = asked(gpus=16, tokens=1e11, scaling=(8, 16, 24, 64))
    rows = {row["gpus"]: row for row in found.tables["scaling"]}
    assert "not a whole number of micro_batch x data-parallel ranks" in rows[24]["reason"]
    assert rows[8]["efficiency"] == rows[8]["speedup"] == 1.0
    for gpus in (8, 16, 64):
        alone = asked(gpus=gpus, tokens=found.metrics["run_tokens"]).metrics
        for name in ("step_s", "step_low_s", "tokens_per_s_per_gpu", "memory_peak_bytes", "run_gpu_hours", "run_usd", "goodput"):  # fmt: skip
            assert rows[gpus][name] == pytest.approx(alone[name]), name
    speedup = rows[8]["step_s"] / rows[64]["step_s"]
    assert rows[64]["speedup"] == pytest.approx(speedup)
    assert rows[64]["efficiency"] == pytest.approx(speedup / 8.0)
    assert rows[64]["efficiency"] < rows[16]["efficiency"] < 1.0


def test_without_a_goal_scaling_has_no_cost() -> None:
    found = asked(scaling=(16, 32))
    assert "run_gpu_hours" not in found.tables["scaling"][0]
    assert not [name for name in found.metrics if name.startswith("run_")]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--tokens", "1T", "--usd", "100"], "--tokens and --usd: state one of them; the others follow from it"),
        (["--rampup", "64:64:1M"], "--rampup applies to a training run: state its length by --tokens, --days or --usd"),
        (["--mtbf", "1000h"], "--mtbf applies to a training run: state its length by --tokens, --days or --usd"),
        (["--tokens", "1T", "--rampup", "64:64"], "--rampup 64:64: write first:increment:samples, as in 3072:1536:114.5M"),
        (["--tokens", "1T", "--rampup", "64:100:1M"], "a batch ramp must reach the global batch 256 from 64 in whole steps of 100"),
        (["--tokens", "1B", "--rampup", "64:64:1M"], "--rampup 64:64:1000000: the ramp alone takes 4.097e+09 tokens of 1e+09"),
        (["--tokens", "1T", "--rampup", "4:4:1M"], "--rampup 4:4:1000000: global_batch = 4 is not a whole number of micro_batch x data-parallel ranks = 1 x 8: nearest 8"),
        (["--tokens", "1T", "--mtbf", "5 years"], "--mtbf: unit 'years' in '5 years' is not a unit of duration (s, min, h, d)"),
        (["--tokens", "1T", "--checkpoint-rate", "0"], "--checkpoint-rate = 0.0 must be a number above 0"),
        (["--scaling", "8,8"], "--scaling names 8 twice"),
        (["--scaling", "8,x"], "--scaling must be a whole number, not 'x'"),
        (["--tokens", "0"], "--tokens = 0.0 must be a number above 0"),
        (["--flops-convention", "palmm"], "did you mean 'palm'?"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    line = ["train", "--model", "llama-3.1-8b", "--hw", "h100", "--gpus", "32", "--tp", "2", "--pp", "2", "--global-batch", "256"]  # fmt: skip
    assert command([*line, *words]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_the_convention_is_stated_and_one_that_does_not_define_a_mixer_is_refused() -> None:
    found = simcost.train("llama-3.1-8b", "h100", 8, levers=False, flops_convention="nemo")
    assert found.to_dict()["inputs"]["flops_convention"] == "megatron-mtp"
    assert any(line.startswith("FLOPs by convention megatron-mtp: ") for line in found.references)
    with pytest.raises(SpecError, match="flops convention 'palm' does not define GatedDeltaNet: use 'reference'"):
        simcost.train("qwen3-next-80b-a3b", "h100", 64, flops_convention="palm")


def test_megatrons_ramp_has_the_samples_it_says() -> None:
    stages = run.ramp(3072, 3072, 114.5e6, 15360, 14.8e12, 4096.0)
    assert sum(tokens for tokens, _ in stages[:-1]) == pytest.approx(114.5e6 * 4096.0)
