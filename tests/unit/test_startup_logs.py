"""Start-up logs, as text and as rows: what they print, which question they stand for, and what differs."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from simcost.cli.app import run
from simcost.errors import SpecError
from simcost.files import folder
from simcost.hardware.engine_terms import terms
from simcost.hardware.load import load as device
from simcost.plan import Plan
from simcost.validation import memory, memory_fit, memory_logs, startup, startup_logs

GIB = 2.0**30
V1 = """
INFO 09-12 10:01:02 [core.py:74] Initializing a V1 LLM engine (v0.11.0) with config: model='meta-llama/Llama-3.1-8B-Instruct', dtype=torch.bfloat16, max_seq_len=16000, tensor_parallel_size=1, pipeline_parallel_size=1, quantization=None, enforce_eager=False, kv_cache_dtype=auto
INFO 09-12 10:01:03 [scheduler.py:222] Chunked prefill is enabled with max_num_batched_tokens=8192.
INFO 09-12 10:01:40 [gpu_model_runner.py:2653] Model loading took 14.9889 GiB and 21.3 seconds
DEBUG 09-12 10:02:01 [gpu_worker.py:283] Memory profiling takes 20.1 seconds. Total non KV cache memory: 19.88GiB; torch peak memory increase: 4.76GiB; non-torch forward increase memory: 0.13GiB; weights memory: 14.99GiB.
INFO 09-12 10:02:01 [gpu_worker.py:298] Available KV cache memory: 51.38 GiB
INFO 09-12 10:02:02 [kv_cache_utils.py:1087] GPU KV cache size: 420,912 tokens
INFO 09-12 10:02:02 [kv_cache_utils.py:1091] Maximum concurrency for 16,000 tokens per request: 26.31x
INFO 09-12 10:02:22 [gpu_model_runner.py:3480] Graph capturing finished in 19 secs, took 0.50 GiB
"""
V0 = """
INFO 01-20 llm_engine.py:234] Initializing a V0 LLM engine (v0.6.6) with config: model='meta-llama/Llama-3.1-8B', tensor_parallel_size=1, max_seq_len=8192
INFO 01-20 worker.py:241] the current vLLM instance can use total_gpu_memory (79.14GiB) x gpu_memory_utilization (0.90) = 71.22GiB
INFO 01-20 worker.py:241] model weights take 14.99GiB; non_torch_memory takes 0.12GiB; PyTorch activation peak memory takes 1.19GiB; the rest of the memory reserved for KV Cache is 54.93GiB.
INFO 01-20 gpu_executor.py:76] # GPU blocks: 28123, # CPU blocks: 2048
"""
SGLANG = """
[2025-01-05 10:00:01] server_args=ServerArgs(model_path='meta-llama/Llama-3.1-8B-Instruct', mem_fraction_static=0.88, tp_size=1, chunked_prefill_size=8192, max_running_requests=2048, kv_cache_dtype='auto')
[2025-01-05 10:00:10 TP0] Load weight begin. avail mem=78.81 GB
[2025-01-05 10:00:20 TP0] Load weight end. type=LlamaForCausalLM, dtype=torch.bfloat16, avail mem=63.72 GB, mem usage=15.09 GB.
[2025-01-05 10:00:21 TP0] KV Cache is allocated. #tokens: 444500, K size: 27.13 GB, V size: 27.13 GB
[2025-01-05 10:00:30 TP0] Capture cuda graph end. Time elapsed: 6.55 s. mem usage=0.61 GB. avail mem=8.10 GB
"""


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "server.log"
    path.write_text(V1, encoding="utf-8")
    return path


def test_lines_of_vllm_are_read(log: Path) -> None:
    found = startup_logs.read(log)
    assert found.engine == "vllm"
    assert found.settings["version"] == "0.11.0"
    assert found.settings["model"] == "meta-llama/Llama-3.1-8B-Instruct"
    assert (found.settings["max_num_batched_tokens"], found.settings["max_model_len"]) == ("8192", "16000")
    sizes = {
        name: round(size / GIB, 2) for name, size in found.printed.items() if name not in ("tokens", "concurrency")
    }
    assert sizes == {"weights": 14.99, "activations": 4.76, "non_torch": 0.13, "pool": 51.38, "graphs": 0.5}
    assert (found.printed["tokens"], found.printed["concurrency"]) == (420_912, 26.31)


def test_lines_of_older_releases_and_of_sglang_are_read(log: Path) -> None:
    log.write_text(V0, encoding="utf-8")
    old = startup_logs.read(log)
    assert {name: round(old.printed[name] / GIB, 2) for name in ("total", "weights", "pool", "activations", "non_torch")} == {
        "total": 79.14, "weights": 14.99, "pool": 54.93, "activations": 1.19, "non_torch": 0.12,
    }  # fmt: skip
    assert (old.settings["version"], old.settings["gpu_memory_utilization"], old.printed["tokens"]) == (
        "0.6.6",
        "0.90",
        28123 * 16,
    )
    log.write_text(SGLANG, encoding="utf-8")
    other = startup_logs.read(log)
    assert other.engine == "sglang"
    assert other.printed["pool"] == pytest.approx(54.26 * GIB)
    assert (other.settings["mem_fraction_static"], other.printed["tokens"]) == ("0.88", 444_500)


@pytest.mark.parametrize(("text", "extra", "near"), [
    (V1, ["--set", "engine.gpu_memory_utilization=0.9"], {"weights": 0.002, "activations": 0.01, "pool": 0.005, "tokens": 0.005, "concurrency": 0.005}),
    (V0, [], {"weights": 0.002, "pool": 0.005, "activations": 0.06}),
    (SGLANG, ["--set", "engine.version=0.4.1"], {"weights": 0.01, "pool": 0.01, "tokens": 0.01}),
])  # fmt: skip
def test_a_log_meets_its_prediction(
    text: str, extra: list[str], near: dict[str, float], log: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log.write_text(text, encoding="utf-8")
    assert run(["calibrate", "memory", str(log), "--hw", "h100", *extra, "--format", "json"]) == 0
    rows = {row["term"]: row for row in json.loads(capsys.readouterr().out)["rows"]}
    for term, most in near.items():
        assert abs(rows[term]["error"]) <= most, term
        assert bool(rows[term]["may_come_from"]) == (abs(rows[term]["error"]) > 0.03), term


def test_data_parallel_ranks_are_replicas_of_attention_or_copies(log: Path) -> None:
    def plan(text: str, model: str | None = None) -> dict[str, float]:
        log.write_text(text, encoding="utf-8")
        return startup.result(log, "h200", model, {}).inputs["plan"]

    wide = V1.replace("tensor_parallel_size=1", "tensor_parallel_size=2, data_parallel_size=4")
    assert (plan(wide)["dp"], plan(wide)["dp_attention"], plan(wide)["tp"]) == (4, 1, 2)
    experts = plan(wide.replace("quantization=None", "enable_expert_parallel=True"), "qwen3-30b-a3b")
    assert (experts["tp"], experts["dp_attention"], experts["ep"], experts["dp"]) == (2, 4, 8, 1)
    other = SGLANG.replace("tp_size=1", "tp_size=8, dp_size=4, enable_dp_attention=True, ep_size=8")
    shared = plan(other, "qwen3-30b-a3b")
    assert (shared["tp"], shared["dp_attention"], shared["ep"]) == (2, 4, 8)
    copies = plan(other.replace("enable_dp_attention=True", "enable_dp_attention=False"), "qwen3-30b-a3b")
    assert (copies["tp"], copies["dp"], copies["ep"]) == (8, 4, 8)


def test_a_log_in_utf_16_and_a_banner_are_read(log: Path) -> None:
    log.write_text(
        V1.replace("LLM engine (v0.11.0)", "LLM engine") + "INFO  █   ▄█  version 0.14.0\nCUDA version 12.8\n",
        encoding="utf-16",
    )
    found = startup_logs.read(log)
    assert (found.settings["version"], found.settings["max_model_len"]) == ("0.14.0", "16000")


def test_what_a_log_does_not_print_is_said(log: Path) -> None:
    notes = startup.result(log, "h100", None, {}).warnings
    assert any("not printed, so the engine's defaults: gpu_memory_utilization, max_num_seqs" in note for note in notes)
    stated = startup.result(
        log, "h100", None, {"engine.gpu_memory_utilization": 0.9, "engine.max_num_seqs": 256}
    ).warnings
    assert not any("not printed" in note for note in stated)


@pytest.mark.parametrize(("text", "words", "said"), [
    ("hello\n", [], "no line of vLLM or SGLang that tells of memory"),
    (V1.replace("meta-llama/Llama-3.1-8B-Instruct", "/data/my-model"), [], "its model '/data/my-model' is not known here: say --model"),
    (None, [], "No such file"), (V1, ["--set", "engine=sglang"], "a log of vLLM; --set engine=sglang asks of another"),
    (V1.replace("tensor_parallel_size=1", "tensor_parallel_size=0"), [], "tensor_parallel_size = 0 must be at least 1"),
    (V1.replace("tensor_parallel_size=1", "tensor_parallel_size=3"), [], "plan: "),
])  # fmt: skip
def test_a_log_that_tells_nothing_is_one_line(
    text: str | None, words: list[str], said: str, log: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if text is None:
        log.unlink()
    else:
        log.write_text(text, encoding="utf-8")
    assert run(["calibrate", "memory", str(log), "--hw", "h100", *words]) == 2
    found = capsys.readouterr()
    assert said in found.err
    assert found.err.count("\n") == 1


@pytest.mark.parametrize(("text", "name"), [
    ("meta-llama/Llama-3.1-8B-Instruct", "llama-3.1-8b"), ("RedHatAI/Llama-3.3-70B-Instruct-fp8-dynamic", "llama-3.1-70b"),
    ("RedHatAI/Meta-Llama-3.1-8B-Instruct-quantized.w4a16", "llama-3.1-8b"), ("unsloth/Qwen2.5-0.5B-Instruct-bnb-4bit", "qwen2.5-0.5b"),
    ("Qwen/Qwen3-235B-A22B-Instruct-2507-FP8", "qwen3-235b-a22b"), ("openai/gpt-oss-20b", "gpt-oss-20b"), ("gpt-oss-20b", "gpt-oss-20b"),
    ("Qwen/Qwen3-Next-80B-A3B-Instruct", "qwen3-next-80b-a3b"), ("(model not named)", None), ("", None),
])  # fmt: skip
def test_a_repository_stands_for_a_model(text: str, name: str | None) -> None:
    assert memory_logs.model_of(text) == name


def test_formats_devices_and_releases_are_read_from_what_logs_say() -> None:
    assert memory_logs.formats("llama-3.1-70b", "Llama-3.3-70B-Instruct-fp8-dynamic", "auto") == {
        "plan.weight_dtype": "fp8"
    }
    assert memory_logs.formats("qwen3-8b", "Qwen/Qwen3-8B-FP8", "fp8_e4m3") == {
        "plan.kv_dtype": "fp8",
        "plan.weight_dtype": "fp8_block",
    }
    assert memory_logs.formats("deepseek-v3", "deepseek-ai/DeepSeek-V3 fp8", "auto") == {}  # its config says so
    assert memory_logs.formats("llama-3.1-8b", "Llama-3.1-8B float32", "")["plan.kv_dtype"] == "fp32"
    devices = {
        "H100 80GB SXM": "h100",
        "A100 40GB": "a100-40gb",
        "RTX 4090 24GB": "rtx-4090",
        "L40S 48GB": "l40s",
        "Cray-1": "",
    }
    assert {text: memory_logs.device_of(text) for text in devices} == devices
    releases = {
        ("vLLM V1", "0.2x (2026-08)"): "0.20",
        ("vLLM V0", "0.8.x"): "0.7.9",
        ("vLLM V0", "0.6.x"): "0.6",
        ("SGLang", "2026-07"): "",
        ("vLLM V1", "0.19.0"): "0.19.0",
        ("vLLM V0", "0.10.1"): "0.7.9",
        ("vLLM V0", "0.6.6"): "0.6.6",
    }
    assert {key: memory_logs.version_of(*key) for key in releases} == releases


def test_the_logs_that_ship_meet_the_bars() -> None:
    """The bars of `simcost validate memory`, and which terms carry them."""
    found = memory.result()
    assert found.fits, found.verdict
    figures = {(row["term"], row["engine"]): row for row in found.tables["terms"]}
    assert figures["pool", "vLLM"]["n"] >= 60
    assert figures["weights", "vLLM"]["median_abs_error"] < 0.001
    assert figures["pool", "vLLM"]["median_abs_error"] < 0.005
    assert figures["concurrency", "vLLM"]["p90_abs_error"] < 0.05
    assert all(row["story"] for row in found.tables["worst"] if abs(row["error"]) > 0.03)


def test_logs_that_miss_by_far_are_among_them() -> None:
    """A log is carried for its settings, not for its error: of one no setting says the fraction, of one no profile is there."""
    worst = [row["id"] for row in memory.result().tables["worst"]]
    assert worst[:2] == ["ml155", "ml156"]


def test_a_gpu_without_a_profile_is_named_with_what_stands_in(tmp_path: Path) -> None:
    found = memory.result(_rows(tmp_path, {"gpu": "RTX 2060 12GB", "total_gpu_memory_gib": "11.6", "hw": ""}))
    (note,) = (text for text in found.warnings if "no profile" in text)
    assert "RTX 2060 12GB (ml003): rtx-4090 stands in, with the total that the log prints" in note
    assert not any("no profile" in text for text in memory.result(_rows(tmp_path, {})).warnings)


def test_fitted_terms_are_those_of_the_logs() -> None:
    """`workloads/engines/vllm.toml` holds what the rows give, rounded."""
    sampler, graphs = memory_fit.fits(memory.logs()[0])
    new, old = (terms("vllm", {"version": version}, device("h100"), Plan()) for version in ("0.19", "0.16"))
    np.testing.assert_allclose(sampler.values[:2], [old.logit_bytes, new.logit_bytes], rtol=2e-3)
    assert sampler.values[2] == pytest.approx(new.sequence_bytes, rel=0.02)
    np.testing.assert_allclose(
        graphs.values, [new.graph_bytes, new.graph_layer_bytes, new.graph_experts_bytes], rtol=0.01
    )
    assert sampler.unseen < 0.02


def _rows(tmp_path: Path, change: dict[str, str], drop: str = "", extra: str = "") -> Path:
    with (folder("workloads") / "validation" / "memory.csv").open(encoding="utf-8") as file:
        table = csv.DictReader(file)
        rows, columns = list(table)[:3], [name for name in table.fieldnames or [] if name != drop]
    rows[1] |= change
    path = tmp_path / "logs.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        out = csv.DictWriter(file, [*columns, *([extra] if extra else [])], extrasaction="ignore")
        out.writeheader()
        out.writerows(rows)
    return path


@pytest.mark.parametrize(("change", "drop", "said"), [
    ({"tp": "two"}, "", ":3: tp = 'two' must be a number"), ({"tp": "1.5"}, "", ":3: tp = '1.5' must be a whole number"), ({"kv_cache_gib_per_gpu": "inf"}, "", ":3: kv_cache_gib_per_gpu = 'inf'"),
    ({"max_num_seqs": "-1"}, "", ":3: max_num_seqs = '-1' must be a whole number, not negative"), ({"set": "plan.tp"}, "", ":3: "), ({}, "model", "missing columns model"), ({"engine": ""}, "", ":3: engine is empty"),
])  # fmt: skip
def test_a_broken_table_of_logs_is_named(change: dict[str, str], drop: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=said):
        memory_logs.read(_rows(tmp_path, change, drop))


def test_rows_that_no_question_can_be_made_of_are_left_out_with_their_reason(tmp_path: Path) -> None:
    found = memory.result(_rows(tmp_path, {"model": "someone/unknown-9b"}, extra="weather"))
    assert found.metrics["logs"] == 2
    assert found.tables["left out"][0]["reason"].startswith("no config")
    assert any("weather" in note for note in found.warnings)
    assert "all bars hold" not in found.verdict or "concurrency" in found.verdict
    with pytest.raises(SpecError, match="no row that a question can be made of"):
        memory.logs(_one(_rows(tmp_path, {"engine": "LMDeploy"})))


def _one(path: Path) -> Path:
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join([lines[0], lines[2]]), encoding="utf-8")
    return path
