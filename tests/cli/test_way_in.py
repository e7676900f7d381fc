"""Sizes of a plan as options, a file of settings, and one value for one thing however it is said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from simcost.cli.app import run
from simcost.settings import SIZES

LLAMA = ["--model", "llama-3.1-70b", "--hw", "h200"]
DECODE = ["decode", *LLAMA]
COMMANDS = {
    "decode": DECODE, "prefill": ["prefill", *LLAMA], "explain": ["explain", *LLAMA], "show memory": ["show", "memory", "llama-3.1-70b", "--hw", "h200"],
    "compare": ["compare", "llama-3.1-70b", "qwen2.5-72b", "--hw", "h200"], "plans": ["plans", *LLAMA, "--gpus", "8"],
}  # fmt: skip
FILE = """
[plan]
tp = 8
kv_cache_dtype = "FP8"
[phase]
batch = 64
context = "16k"
isl = 2048
routing = "random"
[engine]
engine = "vLLM"
max_num_batched_tokens = "8k"
[hw.memory]
bandwidth = "6 TB/s"
[hw]
"price.usd_per_hour" = "3 USD/h"
[model]
num_hidden_layers = 40
"""
SAME = [
    "--set", "plan.tp=8", "--set", "plan.kv_dtype=fp8", "--batch", "64", "--context", "16384", "--engine", "vllm", "--set", "engine.max_num_batched_tokens=8192",
    "--set", "hw.memory.bandwidth=6 TB/s", "--set", "hw.price.usd_per_hour=3 USD/h", "--set", "model.num_hidden_layers=40",
]  # fmt: skip


def answer(words: list[str], capsys: pytest.CaptureFixture[str]) -> Any:
    assert run([*words, "--format", "json"]) == 0
    return json.loads(capsys.readouterr().out)


def refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert run(words) == 2
    found = capsys.readouterr()
    assert found.out == ""
    assert found.err.count("\n") == 1
    return found.err.removeprefix("simcost: ").rstrip("\n")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.toml"
    path.write_text(FILE, encoding="utf-8")
    return path


@pytest.mark.parametrize("name", COMMANDS)
def test_an_option_of_the_plan_is_its_setting(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = COMMANDS[name]
    assert answer([*words, "--tp", "4", "--pp", "2"], capsys) == answer(
        [*words, "--set", "plan.tp=4", "--set", "plan.pp=2"], capsys
    )


def test_every_size_has_its_option(capsys: pytest.CaptureFixture[str]) -> None:
    given = {"tp": 2, "pp": 2, "ep": 4, "dp": 2, "cp": 2, "etp": 2, "dp-attention": 2}
    assert {name.replace("-", "_") for name in given} == set(SIZES)
    options = [word for name, size in given.items() for word in (f"--{name}", str(size))]
    plan = answer(["decode", "--model", "deepseek-v3", "--hw", "h200", *options], capsys)["inputs"]["plan"]
    assert {name: plan[name] for name in SIZES} == {name.replace("-", "_"): size for name, size in given.items()}


@pytest.mark.parametrize("name", COMMANDS)
def test_help_shows_the_plan_in_one_place(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = COMMANDS[name]
    assert run([*words[: 2 if name == "show memory" else 1], "--help"]) == 0
    text = capsys.readouterr().out
    plan = text.partition("\nPlan and swaps:\n")[2]
    assert plan.split()[:2] == ["--tp,", "--pp,"]
    assert "--dp-attention <count>" in plan
    assert "--plan <path>" in plan
    assert text.count("--tp,") == 1
    assert "Options:\n" in text.partition("\nPlan and swaps:\n")[0]


def test_a_command_without_a_plan_takes_none(capsys: pytest.CaptureFixture[str]) -> None:
    for command in (["crossover", "--model", "dbrx"], ["show", "model", "dbrx"], ["list", "models"]):
        assert "--tp" in refused([*command, "--tp", "2"], capsys)


def test_plans_keeps_its_own_cp(capsys: pytest.CaptureFixture[str]) -> None:
    rows = answer([*COMMANDS["plans"], "--cp", "--tp", "2"], capsys)["rows"]
    assert {row["tp"] for row in rows} == {2}
    assert {row["cp"] for row in rows} == {1, 2, 4}


@pytest.mark.parametrize(("words", "said"), [
    ("--batch 64 --vary batch=1,2", "'batch' is given twice: --batch 64 and --vary batch=1,2"),
    ("--batch 64 --set batch=2", "'batch' is given twice: --batch 64 and --set batch=2"),
    ("--context 128 --set context_length=256", "'context' is given twice: --context 128 and --set context_length=256"),
    ("--tp 8 --set plan.tp=4", "'plan.tp' is given twice: --tp 8 and --set plan.tp=4"),
    ("--tp 8 --vary plan.tp_size=4,8", "'plan.tp' is given twice: --tp 8 and --vary plan.tp_size=4,8"),
    ("--dp-attention 2 --set plan.dp_attention=2", "'plan.dp_attention' is given twice: --dp-attention 2 and --set plan.dp_attention=2"),
    ("--price 2 --set hw.price.usd_per_hour=3", "'hw.price.usd_per_hour' is given twice: --price 2 and --set hw.price.usd_per_hour=3"),
    ("--price 2 --vary hw.price.usd_per_hour=3,4", "'hw.price.usd_per_hour' is given twice: --price 2 and --vary hw.price.usd_per_hour=3,4"),
    ("--gpus 8 --set plan.gpus=8", "'plan.gpus' is given twice: --gpus 8 and --set plan.gpus=8"),
    ("--nodes 1 --set plan.gpus=8", "'plan.gpus' is given twice: --nodes 1 and --set plan.gpus=8"),
    ("--gpus 8 --nodes 1", "state --gpus or --nodes, not both"),
    ("--engine vllm --vary engine=vllm,sglang", "'engine' is given twice: --engine vllm and --vary engine=vllm,sglang"),
    ("--set hw.compute.sm_count=4 --set hw.compute.sm_count=4", "'hw.compute.sm_count' is given twice: --set hw.compute.sm_count=4 and --set hw.compute.sm_count=4"),
    ("--set batch=2 --vary phase.batch=1,2", "'batch' is given twice: --set batch=2 and --vary phase.batch=1,2"),
    ("--prefill-tokens 8 --set prefill_tokens=9", "'prefill_tokens' is given twice: --prefill-tokens 8 and --set prefill_tokens=9"),
    ("--tp 8 --tp 8", "--tp is given twice: it takes one value"), ("--dp-attention 4,8", "--dp-attention 4,8: it takes one value (--vary plan.dp_attention=4,8 tries each)"),
    ("--tp x", "plan.tp must be a whole number, not 'x'"), ("--tp 0", "plan.tp = 0 is outside 1 to 1,000,000,000"),
])  # fmt: skip
def test_one_thing_has_one_value(words: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert refused([*DECODE, *words.split()], capsys) == said


def test_prefill_and_plans_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        refused([*COMMANDS["prefill"], "--isl", "128", "--set", "isl=256"], capsys)
        == "'isl' is given twice: --isl 128 and --set isl=256"
    )
    assert (
        refused([*COMMANDS["plans"], "--batch", "8,16", "--set", "batch=4"], capsys)
        == "'batch' is given twice: --batch 8,16 and --set batch=4"
    )


def test_defaults_are_not_typed(capsys: pytest.CaptureFixture[str]) -> None:
    assert answer([*DECODE, "--set", "batch=8", "--set", "context=64"], capsys) == answer(
        [*DECODE, "--batch", "8", "--context", "64"], capsys
    )
    assert len(answer([*COMMANDS["prefill"], "--vary", "isl=64,128"], capsys)["rows"]) == 2


def test_a_file_says_what_options_would(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found, same = answer([*DECODE, "--plan", str(file)], capsys), answer([*DECODE, *SAME], capsys)
    assert found["metrics"] == same["metrics"]
    assert found["inputs"] == same["inputs"] | {"routing": "random"}
    assert [line for line in found["warnings"] if line not in same["warnings"]] == [
        f"isl = 2048 of {file} is ignored: decode does not use it"
    ]


def test_json_says_the_same(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import tomllib

    path = tmp_path / "mine.json"
    path.write_text(json.dumps(tomllib.loads(FILE)), encoding="utf-8")
    assert (
        answer([*DECODE, "--plan", str(path)], capsys)["inputs"]
        == answer([*DECODE, "--plan", str(file)], capsys)["inputs"]
    )


def test_the_line_overrides_the_file_and_says_so(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        "--tp",
        "4",
        "--batch",
        "32",
        "--engine",
        "sglang",
        "--set",
        "hw.memory.bandwidth=x2",
        "--price",
        "5",
        "--vary",
        "context=64,128",
    ]
    path = file.with_name("less.toml")
    path.write_text(FILE.replace('max_num_batched_tokens = "8k"\n', ""), encoding="utf-8")
    found = answer([*DECODE, "--plan", str(path), *words], capsys)
    assert [row["context"] for row in found["rows"]] == [64, 128]
    assert (found["inputs"]["batch"], found["inputs"]["engine"], found["inputs"]["usd_per_hour"]) == (32, "sglang", 5.0)
    assert found["inputs"]["set"] == {
        "model.num_hidden_layers": 40,
        "hw.memory.bandwidth": "x2",
        "plan.tp": 4,
        "plan.kv_dtype": "fp8",
    }
    said = [line.removesuffix(f" of {path}") for line in found["warnings"] if " overrides " in line]
    assert said == [
        "--tp 4 overrides plan.tp = 8", "--batch 32 overrides batch = 64", "--vary context=64,128 overrides context = 16384", '--engine sglang overrides engine = "vllm"',
        '--set hw.memory.bandwidth=x2 overrides hw.memory.bandwidth = "6 TB/s"', '--price 5 overrides hw.price.usd_per_hour = "3 USD/h"',
    ]  # fmt: skip


def test_one_file_serves_every_command(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lengths = {
        "decode": ("context", 16_384),
        "prefill": ("isl", 2048),
        "explain": ("context", 16_384),
        "show memory": ("context", 16_384),
        "plans": ("context", 16_384),
    }
    for name, (key, value) in lengths.items():
        found = answer([*COMMANDS[name], "--plan", str(file)], capsys)
        assert found["inputs"][key] == value
        left = [line for line in found["warnings"] if "is ignored" in line]
        assert len(left) == 1
        other = "isl = 2048" if key == "context" else "context = 16384"
        assert left == [
            f"{other} of {file} is ignored: {'decode' if name in ('explain', 'plans') else name} does not use it"
        ]
    both = answer([*COMMANDS["compare"], "--plan", str(file)], capsys)
    assert (both["inputs"]["context"], both["inputs"]["isl"], both["inputs"]["batch"]) == (16_384, 2048, 64)
    assert not [line for line in both["warnings"] if "is ignored" in line]
    assert answer([*COMMANDS["plans"], "--plan", str(file)], capsys)["inputs"]["batches"] == [64]
    prompt = answer([*COMMANDS["explain"], "--phase", "prefill", "--plan", str(file)], capsys)
    assert prompt["inputs"]["isl"] == 2048
    assert f"context = 16384 of {file} is ignored: prefill does not use it" in prompt["warnings"]


@pytest.mark.parametrize(("text", "said"), [
    ("[plan]\ntpp = 8", "unknown path 'plan.tpp' (plan has tp, cp"), ("[plan]\ntp = 'x'", "plan.tp must be a whole number, not 'x'"), ("[plan]\ntp = true", "plan.tp must be a whole number, not True"),
    ("[plan]\ntp = 2\ntensor_parallel_size = 4", "'plan.tp' appears twice"), ("[plann]\ntp = 2", "unknown table 'plann' (one of model, plan, phase, engine, hw, stack); did you mean 'plan'?"),
    ("plan = 8", "'plan' must be a table, not 8"), ("[plan", "not valid TOML"), ("[phase]\nbatch = '8k'", "batch: 'k' in '8k' may mean multiples of 1,000 or of 1,024"), ("[phase]\nbatch = 0", "batch = 0 is outside"),
    ("[plan]\nkv_dtype = 'fp9'", "plan.kv_dtype: unknown dtype 'fp9'"), ("[plan]\nkv_dtype = 8", "plan.kv_dtype must be a name, not 8"), ("[plan]\noverlap = 'some'", "plan.overlap must be one of none"),
    ("[engine]\nengine = 'vlm'", "engine must be one of"), ("[engine]\nmax_seqs = 8", "unknown path 'engine.max_seqs'"), ("[engine]\nmax_num_seqs = 'x'", "engine.max_num_seqs must be a whole number"),
    ("[engine]\ngpu_memory_utilization = 'x'", "engine.gpu_memory_utilization must be a number, not 'x'"), ("[hw]\n'memory.bandwith' = '1 TB/s'", "no hardware key 'memory.bandwith'; did you mean"),
    ("[hw.memory]\nbandwidth = 6", "hw.memory.bandwidth: '6' has no unit"), ("[hw.memory]\nbandwidth = [6]", "hw.memory.bandwidth must be a quantity with its unit"),
    ("[model]\nfoo = 2024-01-01", "model.foo = 2024-01-01: a date or a time is not allowed"), ("[model]\nfoo = [{a = 07:32:00}]", "a date or a time is not allowed"),
    ("[hw]\nmeasurements = 1", "hw.measurements must be a name, not 1"), ("[model]\nhidden_size = 'x'", "model.hidden_size must be a whole number"), ("[model]\nqk_norm = 3", "model.qk_norm must be true, false, not 3"),
])  # fmt: skip
def test_a_file_that_is_wrong_is_one_line_with_file_and_key(
    text: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(text, encoding="utf-8")
    found = refused([*DECODE, "--plan", str(path)], capsys)
    assert found.startswith(f"{path}: ")
    assert said in found


@pytest.mark.parametrize(("name", "text", "said"), [
    ("bad.json", "{", "not valid JSON"), ("bad.json", "[]", "must hold tables, not list"), ("bad.json", '{"plan": {"tp": 1, "tp": 2}}', "'tp' is stated twice in one object"), ("bad.yaml", "", "must end in .toml or .json"),
    ("none.toml", None, "No such file"), ("none.json", None, "No such file"),
])  # fmt: skip
def test_a_file_that_cannot_be_read_is_one_line(
    name: str, text: str | None, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if text is not None:
        (tmp_path / name).write_text(text, encoding="utf-8")
    found = refused([*DECODE, "--plan", str(tmp_path / name)], capsys)
    assert found.startswith(f"{tmp_path / name}: ")
    assert said in found


def test_notes_of_one_command_are_not_those_of_the_next(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert any("is ignored" in line for line in answer([*DECODE, "--plan", str(file)], capsys)["warnings"])
    assert not any("is ignored" in line for line in answer(DECODE, capsys)["warnings"])


def test_idle_gpus_are_in_the_verdict(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*DECODE, "--gpus", "12", "--tp", "8"]) == 0
    fits = capsys.readouterr().out.splitlines()[1]
    assert fits.endswith("per GPU; uses 8 of 12 GPUs, 4 idle")
    assert run([*DECODE, "--gpus", "16", "--tp", "8"]) == 0
    assert "idle" not in capsys.readouterr().out.splitlines()[0]


def test_names_go_in_any_case_and_by_usual_aliases(capsys: pytest.CaptureFixture[str]) -> None:
    short = answer(
        [
            "decode",
            "--model",
            "deepseek-v3",
            "--hw",
            "h100",
            "--tp",
            "16",
            "--engine",
            "trtllm",
            "--set",
            "plan.kv_dtype=fp8",
        ],
        capsys,
    )
    usual = answer(
        ["decode", "--model", "deepseek-ai/DeepSeek-V3", "--hw", "H100 SXM5", "--tp", "16", "--engine", "TensorRT-LLM", "--set", "plan.kv_dtype=FP8"], capsys
    )  # fmt: skip
    assert usual["inputs"] == short["inputs"]
    assert usual["metrics"] == short["metrics"]
    assert "can be a100 (" in refused(["decode", "--model", "dbrx", "--hw", "A100-80GB"], capsys)


def test_a_bare_limit_asks_for_its_unit(capsys: pytest.CaptureFixture[str]) -> None:
    assert refused([*COMMANDS["plans"], "--tpot", "50"], capsys) == "--tpot 50 has no unit: write 50ms or 50s"


def test_plans_name_devices_by_their_profiles(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["plans", "--model", "llama-3.1-8b", "--gpus", "2", "--batch", "1,8", "--hw"]
    usual = answer([*words, "H100 SXM5,H200"], capsys)
    assert usual["rows"] == answer([*words, "h100,h200"], capsys)["rows"]
    assert {row["hw"] for row in usual["rows"]} == {"h100", "h200"}
    assert refused([*words, "H100-SXM,h100"], capsys) == "--hw names h100 twice"


@pytest.mark.parametrize("words", [
    ["decode", "deepseek-v3", "--hw", "h200"], ["loss", "deepseek-v3"], ["decode", "--model", "llama-3.1-8b", "--hw", "h200", "--set", "hw.memory.bandwidth=6", "TB/s"],
])  # fmt: skip
def test_a_stray_word_is_told_where_it_belongs(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(words) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "--model NAME, and put a value that has spaces in quotes" in said


def test_the_list_of_commands_says_each_in_a_whole_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    said = capsys.readouterr().out.partition("One step:\n")[2].partition("Examples:\n")[0]
    listed = [line for line in said.splitlines() if line.startswith("  ")]
    assert listed[0].split()[0] == "decode"
    assert len(listed) > 20
    assert all(line.endswith(".") and not line.endswith("...") for line in listed)


@pytest.mark.parametrize("command", ["decode", "compare", "plans"])
def test_help_of_a_question_names_the_swaps(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([command, "--help"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "--set model.attention=... A swap: every layer gets mha, gqa:8, mqa, mla, " in said
    assert "--set model.ffn=... A swap: every layer gets dense, or moe:E/k/shared/width" in said


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["decode", "--context", "0x10"], "context must be a whole number, not '0x10'"),
        (["prefill", "--isl", "0x10"], "isl must be a whole number, not '0x10'"),
        (["prefill", "--isl", "64", "--past", "1e"], "past must be a whole number, not '1e'"),
        (["decode", "--set", "plan.tp=x"], "tp must be a whole number, not 'x'"),
    ],
)
def test_a_length_that_is_no_number_is_one_line_beside_a_swap_too(argv, said, capsys):
    assert run([*argv, "--model", "gemma-3-27b", "--hw", "h100", "--iso", "parameters"]) == 2
    assert said in capsys.readouterr().err
