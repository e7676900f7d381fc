"""A user's benchmark is read as it was measured: CSV by documented columns, JSON as vLLM and SGLang write it."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from simcost import metrics
from simcost.cli.app import run
from simcost.errors import SpecError
from simcost.validation.serving import own
from simcost.validation.serving.own import COLUMNS, Given
from simcost.validation.serving.point import Prediction, ServingPoint

HEAD = "model,hw,engine,version,tp,kv_dtype,concurrency,rate,isl,osl,ttft_ms,tpot_ms,output_tokens_per_s"
ROW = "llama-3.1-8b,h100,vllm,0.11.0,2,fp8,16,,1024,256,60,8.5,1800"
# Fields as `vllm bench serve --save-result` of 0.11 and `sglang.bench_serving --output-file` of 0.5 write them.
VLLM: dict[str, Any] = {
    "date": "20251101-101112", "backend": "openai-chat", "endpoint_type": "openai-chat", "model_id": "meta-llama/Llama-3.1-8B-Instruct",
    "num_prompts": 320, "request_rate": "inf", "burstiness": 1.0, "max_concurrency": 32, "duration": 28.2, "completed": 319,
    "total_input_tokens": 319 * 1000, "total_output_tokens": 319 * 200, "request_throughput": 11.3, "output_throughput": 2262.0,
    "total_token_throughput": 13572.0, "mean_ttft_ms": 120.5, "median_ttft_ms": 99.0, "mean_tpot_ms": 13.5, "p99_tpot_ms": 20.0,
}  # fmt: skip
SGLANG: dict[str, Any] = {
    "backend": "sglang", "dataset_name": "random", "request_rate": 8.0, "max_concurrency": None, "random_range_ratio": 1.0,
    "completed": 100, "total_input_tokens": 51200, "total_output_tokens": 12800, "total_output_tokens_retokenized": 12790,
    "output_throughput": 1000.0, "mean_e2e_latency_ms": 2000.0, "mean_ttft_ms": 50.0, "mean_tpot_ms": 9.0, "concurrency": 15.2,
}  # fmt: skip


def written(home: Path, text: str, name: str = "mine.csv") -> Path:
    path = home / name
    path.write_text(text, encoding="utf-8")
    return path


def test_a_row_is_a_question_and_what_was_measured(tmp_path: Path) -> None:
    text = (
        f"id,{HEAD},requests,shortest,prefix_hit,drafts,note,set:plan.cuda_graph\nfirst,{ROW},160,0.8,0.5,2,quiet,off\n"
    )
    (row,) = own.read(written(tmp_path, text), Given())
    assert row.measured == pytest.approx({"ttft": 0.06, "tpot": 0.0085, "output": 1800.0})
    assert (row.id, row.load) == ("first", "16 users")
    assert row.point == ServingPoint(
        "llama-3.1-8b", "h100", "vllm", "0.11.0", {"plan.tp": 2, "plan.kv_dtype": "fp8", "plan.cuda_graph": "off"},
        16.0, 1024.0, 256.0, 0.8, 160.0, 0.5, 2,
    )  # fmt: skip


def test_options_state_what_rows_leave_empty(tmp_path: Path) -> None:
    path = written(tmp_path, "hw,engine,tp,concurrency,rate,isl,osl,tpot_ms\nh200,,4,inf,,8,9,1\n,sglang,,,2.5,8,9,1\n")
    given = Given("llama-3.1-8b", "h100", {"engine": "vllm", "engine.version": "0.11.0", "plan.tp": 2})
    offline, open_load = (row.point for row in own.read(path, given))
    assert offline is not None
    assert open_load is not None
    assert (offline.model, offline.hw, offline.engine, offline.version) == ("llama-3.1-8b", "h200", "vllm", "0.11.0")
    assert (offline.sets, offline.concurrency, offline.rate) == ({"plan.tp": 4}, math.inf, 0.0)
    assert (open_load.hw, open_load.engine, open_load.sets) == ("h100", "sglang", {"plan.tp": 2})
    assert open_load.rate == 2.5


def test_results_of_vllm_and_sglang(tmp_path: Path) -> None:
    vllm = own.read(written(tmp_path, json.dumps(VLLM), "a.json"), Given(hw="h100"))[0]
    assert vllm.measured == pytest.approx({"ttft": 0.1205, "tpot": 0.0135, "output": 2262.0})
    assert vllm.point is not None
    assert (vllm.point.model, vllm.point.engine) == (VLLM["model_id"], "any")  # openai-chat is a client
    assert (vllm.point.concurrency, vllm.point.isl, vllm.point.osl) == (32.0, 1000.0, 200.0)
    assert vllm.point.requests == 320.0
    lines = "\n".join(json.dumps(one) for one in (SGLANG, {**SGLANG, "request_rate": math.inf}))
    given = Given("llama-3.1-8b", "h100")
    first, second = own.read(written(tmp_path, lines, "b.jsonl"), given)
    assert first.point is not None
    assert second.point is not None
    assert (first.id, first.load, first.point.rate, first.point.engine) == ("b.jsonl:1", "8/s", 8.0, "sglang")
    assert (second.load, second.point.users, second.point.isl) == ("100 users", 100.0, 512.0)
    named = own.read(written(tmp_path, json.dumps([SGLANG]), "c.json"), Given("llama-2-7b", "h100", {"engine": "vllm"}))
    assert named[0].point is not None
    assert (named[0].id, named[0].point.model, named[0].point.engine) == ("c.json, run 1", "llama-2-7b", "vllm")


def test_a_rate_under_a_limit_of_concurrency_is_a_row_with_its_reason(tmp_path: Path) -> None:
    path = written(tmp_path, json.dumps({**VLLM, "request_rate": 4.0}), "a.json")
    (row,) = own.read(path, Given(hw="h100"))
    assert row.point is None
    assert "neither a closed loop nor an open one" in row.reason


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"{HEAD},tpot\n{ROW},1\n", r"mine.csv: column 'tpot' is unknown .*did you mean 'tp"),
        (f"{HEAD},tp\n{ROW},1\n", "mine.csv: column 'tp' appears twice"),
        (f"{HEAD}\n{ROW},7\n", "mine.csv:2: not as many cells as the header"),
        (f"{HEAD}\n{ROW}\n{ROW.replace('1024', 'long')}\n", "mine.csv:3: isl = 'long' must be a number above 0"),
        (f"{HEAD}\n{ROW.replace('0.11.0,2', '0.11.0,two')}\n", "mine.csv:2: tp = 'two' must be a whole number above 0"),
        (f"{HEAD}\n{ROW.replace(',16,,', ',16,4,')}\n", "mine.csv:2: state either concurrency or rate"),
        (f"{HEAD}\n{ROW.replace(',16,,', ',,,')}\n", "mine.csv:2: state either concurrency or rate"),
        (f"{HEAD}\n{ROW.replace('h100', '')}\n", "mine.csv:2: hw is empty: fill the column, or add --hw"),
        (f"{HEAD}\n{ROW.replace('60,8.5,1800', ',,')}\n", "mine.csv:2: nothing is measured"),
        (f"{HEAD}\n{ROW.replace('vllm', 'vlm')}\n", "mine.csv:2: engine must be one of .*did you mean 'vllm'"),
        (f"{HEAD},set:plan.tpp\n{ROW},8\n", "mine.csv:2: unknown path 'plan.tpp'"),
        (f"{HEAD},drafts\n{ROW},9\n", "mine.csv:2: drafts = '9' is not one of 0, 1, 2, 3"),
        (f"{HEAD},prefix_hit\n{ROW},1\n", "mine.csv:2: prefix_hit = '1' must be a share"),
        (f"{HEAD},shortest\n{ROW},2\n", "mine.csv:2: shortest = '2' must be a number above 0, at most 1"),
        (f"{HEAD}\n", "holds no run"),
        ('{"completed": 4', "mine.csv:1: not valid JSON"),
        ("[3]", "mine.csv, run 1: a run must be a JSON object"),
        (json.dumps({**VLLM, "completed": 0}), "mine.csv: completed = 0 must be a number above 0"),
        (json.dumps({**VLLM, "request_rate": "fast"}), "mine.csv: request_rate = 'fast' must be"),
    ],
)
def test_what_is_malformed_is_one_line_with_its_place(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=said):
        own.read(written(tmp_path, text), Given())


def test_the_report_counts_errors_and_keeps_rows_that_cannot_be_predicted(tmp_path: Path) -> None:
    def predict(points: Sequence[ServingPoint]) -> list[Prediction]:
        return [Prediction(0.12, 0.017, 0.008, 0.02, 900.0), Prediction(reason="no such model")]

    path = written(tmp_path, f"{HEAD}\n{ROW}\n{ROW}\n")
    result = own.result(path, Given(), predict)
    assert result.metrics == {"rows": 2, "refused": 1}
    assert result.verdict.startswith("1 of 2 runs answered; the predictions are off, by the median: ")
    found = {line["quantity"]: line for line in result.tables["errors"]}
    assert [found[name]["bias"] for name in ("ttft", "tpot", "output")] == pytest.approx([1.0, 1.0, -0.5])
    assert [found[name]["answered"] for name in found] == [0.5] * 3
    assert (found["tpot"]["coverage"], found["ttft"]["coverage"]) == (1.0, None)
    first, second = result.tables["tpot"]
    assert (first["predicted_s"], first["covered"]) == (0.017, True)
    assert second["why"] == "no such model"
    names = {name for table in result.tables.values() for line in table for name in line}
    assert [name for name in sorted(names) if metrics.find(name) is None] == []


def test_the_command_tells_a_benchmark_from_the_sample(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path, "concurrency,isl,osl,tpot_ms\n1,128,8,20\n")
    asked = ["validate", "serving", str(path), "--model", "llama-2-7b", "--hw", "a40", "--tp", "2"]
    assert run([*asked, "--format", "json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert next(row for row in rows if row["table"] == "tpot")["predicted_s"] > 0.0
    for wrong, said in (
        ([*asked, "--peer", "python"], "--peer has no effect for a benchmark of your own"),
        (["validate", "serving", str(tmp_path / "none.csv")], "none.csv: No such file"),
        (["validate", "serving", "--model", "llama-2-7b"], "--model has no effect without a benchmark of your own"),
        (["validate", "serving", "--no-sample", "--no-published"], "leaves nothing to compare with"),
        (["validate", "serving", "--no-sample", "--plot", "a.png"], "--plot has no effect without the silicon sample"),
    ):
        assert run(wrong) == 2
        assert said in capsys.readouterr().err


def test_the_how_to_names_every_column() -> None:
    page = Path(__file__).resolve().parents[3] / "docs" / "howto" / "validate-on-your-own-benchmark.md"
    text = page.read_text(encoding="utf-8")
    assert [name for name in (*COLUMNS, own.SET) if f"`{name}" not in text] == []
