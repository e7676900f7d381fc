"""`simcost serve`: what it answers, how a page reads, and what it refuses in one line."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from simcost.cli.app import run

ASK = ["serve", "--model", "llama-3.1-8b", "--hw", "h100", "--engine", "vllm", "--isl", "1k", "--osl", "256"]
POOLS = ["--prefill-pool", "1:tp=1", "--decode-pool", "2:tp=2"]


def asking(more: Sequence[str], ask: Sequence[str] = ASK) -> list[str]:
    """The question with other values of its options, of which none may stand twice."""
    said = [option for option in more if option.startswith("--")]
    kept = [ask[i : i + 2] for i in range(1, len(ask), 2) if ask[i] not in said]
    return [ask[0], *(word for pair in kept for word in pair), *more]


def printed(capsys: pytest.CaptureFixture[str], *more: str, ask: list[str] = ASK, code: int = 0) -> str:
    assert run(asking(more, ask)) == code
    return capsys.readouterr().out


def answer(capsys: pytest.CaptureFixture[str], *more: str, ask: list[str] = ASK) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(printed(capsys, *more, "--format", "json", ask=ask))
    return found


def test_a_load_is_answered_in_si_and_said_in_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    found = answer(capsys, "--concurrency", "16")
    m = found["metrics"]
    assert (found["inputs"]["isl"], found["inputs"]["osl"], found["inputs"]["concurrency"]) == (1024, 256, 16)
    assert m["requests_per_s"] * 256 == pytest.approx(m["output_tokens_per_s"])
    assert m["running"] + m["queued"] == pytest.approx(16)
    assert m["requests_per_s"] * m["e2e_s"] == pytest.approx(16)  # Little's law
    assert m["output_tokens_per_s_per_user"] == pytest.approx(1 / m["tpot_s"])
    assert found["units"]["tpot_s"] == "s"
    assert "per GPU" in found["verdict"]
    assert found["verdict"].endswith("limit: load (all users are served at once)")


def test_the_page_says_each_thing_once(capsys: pytest.CaptureFixture[str]) -> None:
    page = printed(capsys, "--concurrency", "16", "--events", "--requests", "64")
    lines = [line.strip() for line in page.splitlines()]
    heads = [line for line in lines if line in ("a request", "the fleet", "price at this load", "request by request")]
    assert heads == ["a request", "the fleet", "price at this load", "request by request"]
    assert (
        sum(line.lower().startswith("itl") for line in lines) == 1
    )  # that of the run: without drafts the other is the TPOT
    assert not any("p99" in line for line in lines if not line.startswith("figure"))  # the table has it
    assert page.count("limit:") == 1
    assert "e-0" not in page
    assert "TTFT p99" in printed(capsys, "--concurrency", "16", "--events", "--requests", "64", "--details")


def test_several_loads_are_rows_of_one_table(capsys: pytest.CaptureFixture[str]) -> None:
    page = printed(capsys, "--rate", "1/s,120/min,100000/s")
    table = [line.split() for line in page.splitlines() if line.strip()[:3] in ("1  ", "2  ", "100")]
    assert [cells[0] for cells in table] == ["1", "2", "100,000"]
    assert table[2][1] == "-"  # no TTFT beyond the capacity
    assert "beyond capacity from 100,000 requests/s" in " ".join(page.split())
    rows = list(csv.DictReader(io.StringIO(printed(capsys, "--rate", "1/s,2/s", "--format", "csv"))))
    assert [row["rate_per_s"] for row in rows] == ["1", "2"]
    assert all(float(row["tpot_s"]) > 0.0 for row in rows)


def test_beyond_the_capacity_it_says_what_waits_and_strict_fails(capsys: pytest.CaptureFixture[str]) -> None:
    page = " ".join(printed(capsys, "--rate", "100000/s", "--strict", code=3).split())
    assert "beyond capacity: 100,000 requests/s arrive" in page
    assert "accumulate; limit:" in page
    printed(capsys, "--rate", "1/s", "--strict")


def test_an_answer_of_one_token_has_no_time_between_two(capsys: pytest.CaptureFixture[str]) -> None:
    found = answer(capsys, "--concurrency", "64", "--osl", "1")
    assert (found["metrics"]["tpot_s"], found["metrics"]["itl_s"], found["metrics"]["running"]) == (None, None, 0)
    assert "TPOT" not in found["verdict"]
    assert found["metrics"]["limit"].startswith("prefill (")


def test_pools_say_what_sending_a_cache_takes(capsys: pytest.CaptureFixture[str]) -> None:
    found = answer(capsys, "--rate", "1/s", *POOLS)
    assert found["metrics"]["gpus"] == 5
    # 32 layers of 8 KV heads of 128, keys and values in bf16: 131,072 B a token, over the 50 GB/s of one rank.
    assert found["metrics"]["kv_transfer_s"] == pytest.approx(1024 * 131_072 / 50e9)
    assert found["inputs"]["prefill_pool"] == "1:tp=1"


def test_a_design_whose_module_drafts_is_not_said_to_leave_it_idle(capsys: pytest.CaptureFixture[str]) -> None:
    ask = ["serve", "--model", "deepseek-v3", "--hw", "h200", "--tp", "8", "--isl", "512", "--osl", "64"]
    more = ("--concurrency", "4", "--drafts", "1", "--acceptance", "0.85")
    notes = " ".join(answer(capsys, *more, ask=ask)["warnings"])
    assert "MTP modules are neither run" not in notes
    assert "1 MTP module of deepseek-v3: 1.455 GiB of weights per GPU and 1,152 B per token are subtracted" in notes


SILLY: list[tuple[list[str], str]] = [
    ([], "state the load with --concurrency"),
    (["--concurrency", "4", "--rate", "1"], "state the load with --concurrency"),
    (["--offline", "9", "--rate", "1"], "--offline 9 says which requests there are and when: leave out --rate"),
    (["--offline", "9", "--warmup", "0.1"], "leave out --warmup"),
    (["--offline", "3k"], "write 3Ki for 3,072, or 3000"),
    (["--offline", "-3"], "--offline = -3 is outside 1 to"),
    (["--offline", "2.5"], "--offline must be a whole number, not 2.5"),
    (["--concurrency", "4", "--set", "engine.host_request=0"], "must be a time with its unit"),
    (["--concurrency", "0"], "--concurrency = 0 is outside 1"),
    (["--concurrency", "many"], "--concurrency must be a whole number, not 'many'"),
    (["--concurrency", "20000000"], "--concurrency = 20,000,000 must be at most 10,000,000"),
    (["--rate", "0"], "--rate = 0.0 must be requests per second"),
    (["--rate", "5/fortnight"], "--rate = '5/fortnight' must be requests per second"),
    (["--rate", "nan"], "must be requests per second"),
    (["--concurrency", "4", "--isl", "0"], "--isl 0: length = 0 is out of range"),
    (["--concurrency", "4", "--isl", "1x"], "--isl 1x: unknown length"),
    (["--concurrency", "4", "--osl", "lognorml:9:1"], "did you mean 'lognormal'?"),
    (["--concurrency", "4", "--osl", "file:nowhere.csv"], "nowhere.csv: No such file or directory"),
    (["--concurrency", "4", "--engine", "vlm"], "did you mean 'vllm'?"),
    (["--concurrency", "4", "--prefix-hit", "1"], "--prefix-hit = 1.0 must be a share from 0 to below 1"),
    (["--concurrency", "4", "--prefix-from", "host"], "needs --prefix-hit"),
    (["--concurrency", "4", "--prefix-hit", "0.5", "--prefix-from", "hots"], "did you mean 'host'?"),
    (["--concurrency", "4", "--prefix-hit", "0.5", "--prefix-from", "pool:1GB"], "only host takes a size"),
    (["--concurrency", "4", "--prefix-hit", "0.5", "--prefix-from", "host:0GB"], "must be finite and greater than 0"),
    (["--concurrency", "4", "--prefix-hit", "0.5", "--prefix-from", "host", "--hw", "gaudi2"], "--set hw.links.host.bandwidth=64GB/s"),
    (["--concurrency", "4", "--acceptance", "0.5"], "--acceptance needs --drafts"),
    (["--concurrency", "4", "--drafts", "2"], "--drafts needs --acceptance"),
    (["--concurrency", "4", "--drafts", "2", "--acceptance", "0.5"], "needs a draft model (--draft-model)"),
    (["--concurrency", "4", "--draft-model", "llama-3.2-1b"], "state how many per step with --drafts"),
    (["--concurrency", "4", "--prefill-pool", "1:tp=1"], "--prefill-pool and --decode-pool must be given together"),
    (["--concurrency", "4", "--prefill-pool", "tp=1", "--decode-pool", "1:tp=1"], "write how many instances"),
    (["--concurrency", "4", "--prefill-pool", "1:tq=1", "--decode-pool", "1:tp=1"], "tq"),
    (["--concurrency", "4", *POOLS, "--gpus", "8"], "--gpus and --dp cannot be combined with pools"),
    (["--concurrency", "4", *POOLS, "--events"], "leave out --prefill-pool and --decode-pool"),
    (["--concurrency", "4", "--seed", "3"], "--seed needs --events, which simulates request by request"),
    (["--concurrency", "4", "--price", "-2"], "--price = -2 must be USD"),
    (["--concurrency", "4", "--model", "llama-3.1-70b"], "no memory for a request of 1,280 tokens"),
    (["--concurrency", "4", "--model", "llama-3.1-70b", "--hw", "h100"], "the smallest plan that fits has"),
    (["--concurrency", "4", "--isl", "600k", "--hw", "l4"], "fits with isl + osl = "),
    (["--concurrency", "4", "--isl", "9000", "--engine", "trtllm"], "TensorRT-LLM newest processes a prompt in one step of at most 8,192"),
]  # fmt: skip


@pytest.mark.parametrize(("more", "said"), SILLY, ids=[" ".join(more) or "no load" for more, _ in SILLY])
def test_what_cannot_be_is_one_line(capsys: pytest.CaptureFixture[str], more: list[str], said: str) -> None:
    assert run(asking(more)) == 2
    seen = capsys.readouterr()
    assert seen.out == ""
    (line,) = [line for line in seen.err.strip().splitlines() if "fitting curves" not in line]
    assert line.startswith("simcost: ")
    assert said in line


def test_emit_prints_the_launch_command_of_the_plan(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    line = ["serve", "--model", "llama-3.1-70b", "--hw", "h100", "--tp", "4", "--isl", "1024", "--osl", "512", "--emit"]
    assert run([*line, "vllm"]) == 0
    said = capsys.readouterr().out
    assert "vllm serve meta-llama/Llama-3.1-70B" in said
    assert "--tensor-parallel-size 4" in said
    assert "--max-model-len 1536" in said
    assert run([*line, "sglang", "-o", str(tmp_path / "serve.sh")]) == 0
    assert "--tp-size 4" in (tmp_path / "serve.sh").read_text(encoding="utf-8")
    pools = [
        "serve",
        "--model",
        "deepseek-v3",
        "--hw",
        "h200",
        "--isl",
        "2000",
        "--osl",
        "400",
        "--prefill-pool",
        "2:tp=8",
        "--decode-pool",
        "1:dp_attention=16,ep=16",
        "--emit",
        "sglang",
    ]
    assert run(pools) == 0
    said = capsys.readouterr().out
    assert "--disaggregation-mode prefill" in said
    assert "sglang_router" in said


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--emit", "tgi"], "tgi"),
        (["--emit", "torch"], "--emit must be one of sglang, trtllm, vllm"),
        (["--emit", "vllm", "--format", "json"], "--format does not apply"),
        (["--emit", "vllm", "--cp", "2"], "cp"),
        (["--emit", "vllm", "--prefix-hit", "0.5", "--prefix-from", "host"], "leave out --prefix-from"),
    ],
)
def test_emit_refuses_in_one_line(more: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["serve", "--model", "llama-3.1-8b", "--hw", "h100", "--isl", "1024", "--osl", "512", *more]) == 2
    said = capsys.readouterr().err
    assert says in said
    assert said.count("\n") == 1
