"""Every command: answers, files, exit codes, and one clear line for whatever a user gets wrong."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys

import pytest

from simcost.cli.app import run
from simcost.hardware import engines

DECODE = [
    "decode",
    "--model",
    "deepseek-v3",
    "--hw",
    "h200",
    "--batch",
    "64",
    "--context",
    "4096",
    "--set",
    "plan.tp=8",
]
COMMANDS = {
    "list models": ["list", "models"],
    "list hardware": ["list", "hardware"],
    "list engines": ["list", "engines"],
    "list scaling-laws": ["list", "scaling-laws"],
    "show scaling-law": ["show", "scaling-law", "krajewski-2024"],
    "loss": ["loss", "--model", "llama-3.2-1b", "--tokens", "100B"],
    "show model": ["show", "model", "deepseek-v3"],
    "show hardware": ["show", "hardware", "h200"],
    "decode": DECODE,
    "prefill": ["prefill", "--model", "llama-3.1-8b", "--hw", "h100", "--isl", "4096"],
    "sweep": [*DECODE[:5], *DECODE[7:], "--vary", "batch=1,8,64", "--vary", "plan.ep=1,8,3"],
    "compare": ["compare", "deepseek-v3", "llama-3.1-405b", "mixtral-8x22b", "--hw", "h200", "--set", "plan.tp=8"],
    "explain": ["explain", "--model", "mixtral-8x7b", "--hw", "h200"],
    "crossover": ["crossover", "--model", "deepseek-v3"],
    "calibrate report": ["calibrate", "report", "h200", "--family", "collective"],
    "calibrate transfer": ["calibrate", "transfer", "l40s", "--from", "h100"],
    "validate kernels": ["validate", "kernels", "h800"],
}
KEYS = [
    "schema_version", "command", "verdict", "fits", "inputs", "metrics", "units", "rows", "warnings", "notes", "references",
]  # fmt: skip


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("style", ["console", "csv", "markdown", "json"])
def test_every_command_answers_in_every_format(name, style, capsys):
    assert run([*COMMANDS[name], "--format", style]) == 0
    out = capsys.readouterr().out
    assert out.strip()
    if style == "json":
        document = json.loads(out)
        assert list(document) == [*KEYS, *(("terms",) if name in ("decode", "prefill") else ())]
        assert document["schema_version"] == 1
    if style == "csv":
        rows = list(csv.reader(io.StringIO(out)))
        assert len(rows) >= 2
        assert len({len(row) for row in rows}) == 1
    if style == "markdown":
        assert out.startswith(f"# simcost {name if name != 'sweep' else 'decode'}")


def answer(arguments, capsys):
    assert run([*arguments, "--format", "json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_engines_are_listed_as_they_may_be_asked_for(capsys):
    rows = {row["engine"]: row for row in answer(COMMANDS["list engines"], capsys)["rows"]}
    assert tuple(rows) == engines.choices()
    assert rows["vllm"]["stands_for"] == "vLLM"
    assert rows["vllm"]["stand_ins"] == "sglang, trtllm"
    assert rows["vllm"]["versions"].startswith("0.1.dev19262, 0.14.0, ")
    assert "h200" in rows["vllm"]["hardware"].split(", ")
    assert "versions" not in rows["torch"]


def test_show_model_has_the_documented_metrics(capsys):
    metrics = answer(COMMANDS["show model"], capsys)["metrics"]
    assert metrics["params_total"] == 671026419200
    assert metrics["kv_elements_per_token"] == 35136
    assert metrics["kv_bytes_per_token"] == 70272
    for name in (
        "params_mtp",
        "params_active_all",
        "params_active_no_embedding",
        "params_active_no_embedding_no_head",
        "weight_bytes",
    ):
        assert metrics[name] > 0


@pytest.mark.parametrize("name", ["show model", "decode", "compare"])
def test_a_repository_answers_as_the_model_it_stands_for(name, capsys):
    short = ["deepseek-v3", "qwen2.5-7b"]
    asked = {"deepseek-v3": "deepseek-ai/DeepSeek-V3-Base", "qwen2.5-7b": "qwen/QWEN2-7b-instruct"}
    words = {
        "show model": ["show", "model", short[0]],
        "decode": DECODE,
        "compare": ["compare", *short, "--hw", "h200"],
    }
    assert answer([asked.get(word, word) for word in words[name]], capsys) == answer(words[name], capsys)


def test_metrics_hold_no_echo_of_inputs(capsys):
    document = answer(DECODE, capsys)
    for echo in ("batch", "context", "model", "hw", "plan.tp"):
        assert echo not in document["metrics"]
    assert document["inputs"]["batch"] == 64


def test_every_default_format_is_said(capsys):
    said = " ".join(answer(DECODE, capsys)["warnings"])
    for key in ("weight_dtype=fp8_block", "compute_dtype=fp8_block", "kv_dtype=bf16", "activation_dtype=bf16"):
        assert f"plan.{key}" in said


def test_a_sweep_is_the_product_of_its_axes_and_bad_points_say_why(capsys):
    rows = answer(COMMANDS["sweep"], capsys)["rows"]
    assert [(r["batch"], r["plan.ep"]) for r in rows] == [(b, e) for b in (1, 8, 64) for e in (1, 8, 3)]
    for row in rows:
        assert row["feasible"] == (row["plan.ep"] != 3)
        assert bool(row.get("reason")) == (row["plan.ep"] == 3)


def test_a_sweep_row_equals_the_single_answer(capsys):
    rows = answer([*DECODE[:-2], "--vary", "plan.tp=4,8"], capsys)["rows"]
    single = answer(DECODE, capsys)["metrics"]
    assert {k: rows[1][k] for k in single if k != "mla_form"} == {k: v for k, v in single.items() if k != "mla_form"}


def test_strict_fails_with_three_when_it_does_not_fit(capsys):
    alone = ["decode", "--model", "deepseek-v3", "--hw", "h200"]
    assert run(alone) == 0
    assert "DOES NOT FIT" in capsys.readouterr().out
    assert run([*alone, "--strict"]) == 3
    assert "short by" in capsys.readouterr().err


def test_what_if_moves_the_answer(capsys):
    base = answer(DECODE, capsys)["metrics"]
    wide = answer([*DECODE, "--set", "model.kv_lora_rank=1024"], capsys)["metrics"]
    fast = answer([*DECODE, "--set", "hw.memory.bandwidth=x2"], capsys)["metrics"]
    named = answer([*DECODE, "--set", "hw.memory.bandwidth=9.6 TB/s"], capsys)["metrics"]
    assert wide["kv_bytes_per_gpu"] > base["kv_bytes_per_gpu"]
    assert fast["tpot_s"] < base["tpot_s"]
    assert fast == named


def test_packed_weights_are_computed_wider_on_a_device_without_fp8(capsys):
    plan = ["decode", "--model", "deepseek-v3", "--hw", "a100", "--set", "plan.tp=16"]
    assert run(plan) == 2
    assert "plan.compute_dtype=bf16" in capsys.readouterr().err
    fused = answer([*plan, "--set", "plan.compute_dtype=bf16"], capsys)["metrics"]
    apart = answer([*plan, "--set", "plan.compute_dtype=bf16", "--set", "plan.dequantise=separate"], capsys)["metrics"]
    assert apart["tpot_s"] > fused["tpot_s"]
    assert apart["weight_bytes_per_gpu"] == fused["weight_bytes_per_gpu"]


def test_explain_shares_sum_to_one(capsys):
    rows = answer(COMMANDS["explain"], capsys)["rows"]
    assert sum(row["share"] for row in rows if "share" in row) == pytest.approx(1.0, rel=1e-12)
    assert {"shape", "flops", "bytes", "intensity", "bound", "time_s", "share", "basis", "formula", "source"} <= set(
        rows[0]
    )


def test_compare_terms_come_largest_first(capsys):
    rows = answer(COMMANDS["compare"], capsys)["rows"]
    spread = [row["spread_s"] for row in rows if row["table"] == "terms"]
    assert spread == sorted(spread, reverse=True)
    assert [row["design"] for row in rows if row["table"] == "designs"] == [
        "deepseek-v3",
        "llama-3.1-405b",
        "mixtral-8x22b",
    ]


BAD = {
    "unknown model": (["decode", "--model", "deepsek-v3", "--hw", "h200"], "deepseek-v3"),
    "unknown hardware": (["decode", "--model", "deepseek-v3", "--hw", "h20o"], "did you mean"),
    "unknown option": (["decode", "--modle", "x"], "--model"),
    "unknown command": (["decod"], "decod"),
    "missing option": (["decode"], "--model"),
    "not a number": ([*DECODE[:5], "--batch", "many"], "batch must be a whole number, not 'many'"),
    "negative batch": ([*DECODE[:5], "--batch", "-4"], "batch = -4"),
    "zero context": ([*DECODE[:5], "--context", "0"], "context = 0"),
    "absurd batch": ([*DECODE[:5], "--batch", "9" * 30], "batch = 999"),
    "unknown path": ([*DECODE, "--set", "plan.tpp=8"], "tp"),
    "unknown root": ([*DECODE, "--set", "foo.bar=8"], "foo.bar"),
    "unknown model key": ([*DECODE, "--set", "model.kv_lora_rnk=8"], "kv_lora_rank"),
    "unknown hardware key": ([*DECODE, "--set", "hw.memory.bandwith=8 TB/s"], "hw.memory.bandwith"),
    "no unit": ([*DECODE, "--set", "hw.memory.bandwidth=8"], "unit"),
    "wrong unit": ([*DECODE, "--set", "hw.memory.bandwidth=8 GB"], "GB"),
    "no value": ([*DECODE, "--set", "plan.tp"], "path=value"),
    "empty axis": ([*DECODE, "--vary", "plan.pp=1,,2"], "empty"),
    "fraction of a head": ([*DECODE[:-1], "plan.tp=3"], "num_attention_heads"),
    "no such measurement run": ([*DECODE, "--set", "hw.measurements=nun"], "nun"),
    "a device without rows": (["calibrate", "report", "gaudi2"], "no measurements"),
    "a device with a sibling's rows": (
        ["calibrate", "report", "h800"],
        "its times are estimated from h100; 90 % of such estimates are within a factor of 1.09",
    ),
    "a stand-in without rows": (["calibrate", "transfer", "h200", "--from", "gaudi2"], "gaudi2"),
    "an unknown family": (["calibrate", "report", "h200", "--family", "gem"], "gem"),
    "an unknown system": (["calibrate", "import", "aiconfigurator", "--system", "h200"], "h200_sxm"),
    "a table that is not there": (
        [
            "calibrate",
            "import",
            "csv",
            "none.csv",
            "--family",
            "gemm",
            "--hw",
            "h200",
            "--run",
            "r/measurements/m",
            "--title",
            "t",
            "--source",
            "s",
        ],
        "none.csv",
    ),
    "a budget without a unit": (["calibrate", "run", "-o", "r", "--budget", "8"], "8m"),
    "an unknown mode": (["calibrate", "run", "-o", "r", "--mode", "fast"], "fast"),
    "fp8 on a CPU": (["validate", "blocks", "--hw", "h200", "--dtype", "fp8", "--blocks", "1"], "fp8"),
    "a GPU's profile on a CPU": (
        ["validate", "blocks", "--hw", "h200", "--device", "cpu", "--blocks", "1"],
        "is not a CPU",
    ),
    "a device that is none": (
        ["validate", "blocks", "--hw", "h200", "--device", "gpu", "--blocks", "1"],
        "must be cpu",
    ),
    "more threads than cores": (["calibrate", "run", "-o", "r", "--threads", "9999"], "--threads 9999"),
    "half a GPU": ([*DECODE[:-1], "plan.tp=1.5"], "plan.tp"),
    "experts in a dense model": (["decode", "--model", "llama-3.1-8b", "--hw", "h200", "--set", "plan.ep=8"], "ep"),
    "unknown dtype": ([*DECODE, "--set", "plan.kv_dtype=fp9"], "fp8"),
    "unknown form": ([*DECODE, "--set", "plan.mla_form=absorb"], "absorbed"),
    "narrow compute": (
        ["decode", "--model", "llama-3.1-8b", "--hw", "h200", "--set", "plan.compute_dtype=fp8"],
        "plan.weight_dtype",
    ),
    "a length of the other phase": (["explain", "--model", "dbrx", "--hw", "h200", "--isl", "128"], "--phase prefill"),
    "an engine without a name": ([*DECODE, "--engine", ""], "not ''"),
    "an unknown engine": ([*DECODE, "--engine", "VLMM"], "did you mean 'vllm'"),
    "an engine twice": (
        [*DECODE, "--engine", "sglang", "--set", "engine=vllm"],
        "--engine sglang and --set engine=vllm",
    ),
    "an engine as a plan": ([*DECODE, "--set", "plan.engine=vllm"], "did you mean 'engine'"),
    "unknown format": ([*DECODE, "--format", "xml"], "--format"),
    "unwritable output": ([*DECODE, "-o", "/nowhere/at/all.json"], "/nowhere/at/all.json"),
    "bad price": ([*DECODE, "--price", "-1"], "--price"),
    "one design": (["compare", "deepseek-v3", "--hw", "h200"], "two"),
    "bad phase": (["explain", "--model", "deepseek-v3", "--hw", "h200", "--phase", "train"], "--phase"),
    "no fp8": (["decode", "--model", "deepseek-v3", "--hw", "a100"], "plan.compute_dtype"),
    "foreign path": (["show", "model", "deepseek-v3", "--set", "plan.tp=8"], "plan.tp"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_clear_line_and_exit_two(name, capsys):
    arguments, clue = BAD[name]
    assert run(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert captured.err.startswith("simcost: ")
    assert clue in captured.err


@pytest.mark.parametrize(
    ("text", "clue"),
    [
        ("", "not valid JSON"),
        ("{", "line 1"),
        ("[]", "JSON object"),
        ('{"model_type": "llama"}', "hidden_size"),
        ('{"model_type": "hyena", "num_hidden_layers": 2, "lru_width": 3}', "not modelled yet: lru_width"),
        ('{"model_type": "x", "kv_reuse_group": 4}', "not modelled yet: kv_reuse_group"),
    ],
)
def test_malformed_model_files_name_file_and_key(text, clue, tmp_path, capsys):
    path = tmp_path / "config.json"
    path.write_text(text)
    assert run(["show", "model", str(path)]) == 2
    err = capsys.readouterr().err
    assert "config.json" in err
    assert clue in err
    assert err.count("\n") == 1


def test_output_is_whole_or_not_at_all(tmp_path, capsys):
    target = tmp_path / "answer.json"
    assert run([*DECODE, "--format", "json", "-o", str(target)]) == 0
    assert json.loads(target.read_text())["metrics"]["gpus"] == 8
    before = target.read_text()
    assert run([*DECODE, "--set", "plan.tp=3", "-o", str(target)]) == 2
    assert target.read_text() == before
    assert os.listdir(tmp_path) == ["answer.json"]


def test_plot_is_a_picture(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    for name, magic in (("a.png", b"\x89PNG"), ("a.svg", b"<?xml")):
        assert run(["crossover", "--model", "deepseek-v3", "--plot", str(tmp_path / name)]) == 0
        assert (tmp_path / name).read_bytes().startswith(magic)
    assert run(["crossover", "--model", "deepseek-v3", "--plot", str(tmp_path / "a.doc")]) == 2


def test_help_and_queries_load_no_heavy_package():
    probe = "import sys; from simcost.cli.app import run; run(sys.argv[1:]); sys.stderr.write(str(sorted({'torch','pandas','matplotlib'} & set(sys.modules))))"
    for arguments in (["--help"], DECODE, COMMANDS["compare"]):
        done = subprocess.run([sys.executable, "-c", probe, *arguments], capture_output=True, text=True, check=True)
        assert done.stderr == "[]"


def test_python_api_gives_frames():
    pytest.importorskip("pandas")
    import simcost

    result = simcost.decode("deepseek-v3", "h200", batch=64, set={"plan.tp": 8}, vary={"context": [1024, 4096]})
    frame = result.to_frame()
    assert list(frame["context"]) == [1024, 4096]
    assert frame["tpot_s"].is_monotonic_increasing


def test_names_complete_in_the_shell():
    from simcost.cli.options import hardware_names, model_names

    assert "deepseek-v3" in model_names("deepseek")
    assert hardware_names("h2") == ["h20", "h20-141gb", "h200"]
    environment = {
        **os.environ,
        "_SIMCOST_COMPLETE": "complete_bash",
        "COMP_WORDS": "simcost decode --model deepseek-v",
        "COMP_CWORD": "3",
    }
    done = subprocess.run(
        [sys.executable, "-c", "from simcost.cli.app import main; main()"],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert "deepseek-v3" in done.stdout


def test_energy_is_labelled_assumed(capsys):
    document = answer(DECODE, capsys)
    assert document["metrics"]["joules_per_output_token_assumed"] > 0
    assert any("energy is assumed" in line for line in document["warnings"])


JUDGING = [["calibrate", "report", "h200"], ["calibrate", "transfer"], ["validate", "kernels"]]


@pytest.mark.parametrize("command", JUDGING, ids=" ".join)
def test_strict_is_only_asked_where_a_design_can_fail_to_fit(command, capsys):
    assert run([*command, "--strict"]) == 2
    assert "--strict" in capsys.readouterr().err


def test_a_csv_leaves_its_notes_on_stderr(tmp_path, capsys):
    said = answer(DECODE, capsys)["warnings"]
    assert run([*DECODE, "--format", "csv", "-o", str(tmp_path / "a.csv")]) == 0
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("simcost: note: ")]
    assert [line.removeprefix("simcost: note: ") for line in lines] == [" ".join(line.split()) for line in said]
    assert run([*DECODE, "--format", "markdown"]) == 0
    assert "simcost: note" not in capsys.readouterr().err


@pytest.mark.parametrize(("style", "name"), [("console", "report.md"), ("csv", "report.csv"), ("json", "report.json")])
def test_a_calibration_leaves_its_report_beside_its_rows(style, name, tmp_path, capsys, monkeypatch):
    from simcost.measure.session import session

    def measured(job):
        (job.out / "gather").mkdir(parents=True)
        (job.out / "run.toml").write_text('schema = 1\nkind = "measured"\ntitle = "made"\n')
        (job.out / "gather" / "bf16-bf16.csv").write_text("rows,width,seconds\n1,2,3e-6\n")
        yield from ()

    monkeypatch.setattr(session, "measured", measured)
    assert run(["calibrate", "run", "-o", str(tmp_path / "r"), "--format", style]) == 0
    text = (tmp_path / "r" / name).read_text()
    assert "gather bf16-bf16" in text
    if style == "console":
        assert text.startswith("# simcost calibrate run")
    else:
        assert text == capsys.readouterr().out


def test_a_format_that_is_none_is_refused_before_anything_is_measured(tmp_path, capsys):
    assert run(["calibrate", "run", "-o", str(tmp_path / "r"), "--format", "xml"]) == 2
    assert "--format" in capsys.readouterr().err
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize("command", [
    ["calibrate", "report", "h200"], ["calibrate", "transfer", "h200"], ["validate", "blocks", "--hw", "h200"],
    ["calibrate", "import", "csv", "no.csv", "--family", "gemm", "--hw", "h200", "--run", "a/measurements/b", "--title", "t", "--source", "s"],
])  # fmt: skip
def test_a_file_that_cannot_be_written_is_said_before_long_work(command, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for out in (tmp_path / "no" / "such.csv", tmp_path):
        assert run([*command, "-o", str(out)]) == 2
        said = capsys.readouterr().err
        assert said.count("\n") == 1
        assert f"{out}" in said
    assert not list(tmp_path.iterdir())


def test_hardware_says_what_rows_it_answers_from(capsys):
    own = [r for r in answer(["show", "hardware", "h200"], capsys)["rows"] if r["table"] == "measurements"]
    engines = {r["rows_from"].partition("/")[0] for r in own}
    assert engines == {"deepep", "nccl", "sglang", "trtllm", "vllm"}
    assert {r["kind"] for r in own} == {"table"}
    rows = sum(r["rows"] for r in own)
    assert rows > 20_000
    borrowed = [r for r in answer(["show", "hardware", "mi300x"], capsys)["rows"] if r["table"] == "measurements"]
    assert (borrowed[0]["rows_from"], borrowed[0]["spread"]) == ("like = h200", 0.45)
    assert borrowed[0]["rows"] == rows
    assert borrowed[0]["source"].startswith("another architecture")
    for command in (["gaudi2"], ["h200", "--set", "hw.measurements=none"]):
        nothing = [r for r in answer(["show", "hardware", *command], capsys)["rows"] if r["table"] == "measurements"]
        assert [r["rows_from"] for r in nothing] == ["none"]
    listed = {row["hardware"]: row for row in answer(["list", "hardware"], capsys)["rows"]}
    assert listed["h200"]["measured_rows"] == rows
    assert listed["h200"]["engines"] == "deepep, nccl, sglang, trtllm, vllm"
    assert listed["h200"]["like"] is None
    assert (listed["h800"]["measured_rows"], listed["h800"]["like"]) == (None, "h100")
    assert run(["list", "hardware"]) == 0
    assert "like" in capsys.readouterr().out


@pytest.mark.parametrize(("words", "said"), [
    (["plans", "--model", "deepseek-v3", "--hw", "h800"], "--gpus or --nodes"),
    (["plans", "--model", "deepseek-v3", "--hw", "h800", "--gpus", "8", "--tpot", "-1"], "above 0"),
    (["plans", "--model", "deepseek-v3", "--hw", "h800", "--gpus", "8", "--ttft", "1"], "does not apply to decode"),
    (["plans", "--model", "deepseek-v3", "--hw", "h800", "--gpus", "8", "--metric", "ttft"], "not a metric"),
    (["plans", "--model", "deepseek-v3", "--hw", "h800", "--gpus", "8", "--nodes", "1"], "not both"),
    (["plans", "--model", "deepseek-v3", "--hw", "h800", "--gpus", "100000"], "ways to split"),
    (["decode", "--model", "deepseek-v3", "--hw", "h800", "--gpus", "4", "--set", "plan.ep=8"], "the cluster has 4"),
    (["decode", "--model", "deepseek-v3", "--hw", "h800", "--set", "plan.dp_attention=4", "--set", "plan.ep=8"], "must divide"),
    (["decode", "--model", "deepseek-v3", "--hw", "h800", "--set", "routing=zipff:1"], "did you mean"),
    (["explain", "--model", "llama-3.1-8b", "--hw", "h200", "--phase", "prefill", "--set", "chunk=512"], "takes one chunk"),
])  # fmt: skip
def test_clusters_and_plans_refuse_in_one_line(words: list[str], said: str, capsys) -> None:
    assert run(words) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if "on first use" not in line]
    assert said in lines[0]
    assert len(lines) == 1


def test_a_routing_without_experts_says_that_it_does_nothing(capsys) -> None:
    found = answer(["decode", "--model", "llama-3.1-8b", "--hw", "h200", "--set", "routing=zipf:0.5"], capsys)
    assert any("routing has no effect" in note for note in found["warnings"])
