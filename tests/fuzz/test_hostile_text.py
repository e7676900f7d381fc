"""Every file that a command reads, in every way that a text can be wrong: one line that drives no terminal, exit code 2; and nothing half-written.

A loader is a line of `LOADERS`, a way to be wrong a line of `WRONG`: each way is tried on each loader that reads its format.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest

from simcost.cli import app
from simcost.files import folder
from simcost.texts import DEEPEST

BIG, DEEP = "9" * 5000, "[" * 3000 + "]" * 3000
CONFIG = {
    "model_type": "llama", "hidden_size": 256, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 512, "vocab_size": 1000,
    "torch_dtype": "bfloat16",
}  # fmt: skip
ANSWER = {
    "schema_version": 1, "command": "decode", "inputs": {"model": "llama-3.1-8b", "hw": "h200"}, "metrics": {"tpot_s": 0.01}, "rows": [], "references": ["MLA: arXiv 2405.04434", "tables: h200 vllm/0.24.0"],
    "terms": [{"term": "moe / experts", "share": 1.0}],
}  # fmt: skip
RUN = {
    "model_id": "llama-3.1-8b",
    "completed": 4,
    "total_input_tokens": 400,
    "total_output_tokens": 40,
    "max_concurrency": 1,
    "mean_ttft_ms": 20.0,
}
GEMM = "batch,m,n,k,x,w,compute,seconds\n1,128,128,128,bf16,bf16,bf16,1e-5\n"
ASK = ["--model", "llama-3.1-8b", "--hw", "h200"]
RL = ["--prompts", "8", "--samples", "4", "--isl", "128", "--osl", "256", "--gpus", "8", "--no-levers"]
THINK = [
    "--model",
    "llama-3.1-8b",
    "--isl",
    "128",
    "--osl",
    "512",
    "--usd-per-million",
    "0.1:0.4",
    "--budget",
    "256,512",
]
IMPORT = ["--family", "gemm", "--hw", "h200"]


class Loader(NamedTuple):
    """A file that a command reads. kind: its format; good: a text that is taken, without its last line end; home: the file's name."""

    kind: str
    good: str
    argv: list[str]
    home: str
    beside: Mapping[str, str] = MappingProxyType({})


def _shipped(*parts: str) -> str:
    return folder(parts[0]).joinpath(*parts[1:]).read_text(encoding="utf-8")


def _rows(name: str, count: int) -> str:
    return "".join(_shipped("workloads", "validation", *name.split("/")).splitlines(keepends=True)[:count])


PROFILE = _shipped("hwprofiles", "h200", "profile.toml")
MINE = {"profile.toml": PROFILE.replace('name = "h200"', 'name = "mine"')}
LOADERS = {
    "config": Loader("json", json.dumps(CONFIG), ["show", "model", "@"], "config.json"),
    "config of a step": Loader("json", json.dumps(CONFIG), ["decode", "--hw", "h200", "--model", "@"], "a.json"),
    "quantisation beside it": Loader("json", '{"quant_method": "fp8"}', ["show", "model", "config.json"], "hf_quant_config.json", {"config.json": json.dumps(CONFIG)}),
    "answer": Loader("json", json.dumps(ANSWER), ["cite", "@"], "answer.json"),
    "two answers": Loader("json", json.dumps(ANSWER), ["diff", "@", "@"], "answer.json"),
    "settings": Loader("json", '{"plan": {"tp": 1}}', ["decode", *ASK, "--plan", "@"], "plan.json"),
    "trace": Loader("json", '{"traceEvents": [{"ph": "X", "cat": "kernel", "name": "nvjet_tst", "ts": 1, "dur": 2}]}', ["trace", "@", *ASK, "--steps", "1"], "trace.json"),
    "rules of a trace": Loader(
        "toml", 'schema = 1\n[[kernel]]\nclass = "experts"\nany = ["mine"]\nwhy = "ours"', ["trace", "trace.json", *ASK, "--steps", "1", "--rules", "@"], "rules.toml",
        {"trace.json": '[{"ph": "X", "cat": "kernel", "name": "nvjet_tst", "ts": 1, "dur": 2}]'},
    ),
    "benchmark": Loader("json", json.dumps(RUN), ["validate", "serving", "@", "--hw", "h200"], "bench.json"),
    "settings in TOML": Loader("toml", "[plan]\ntp = 1", ["decode", *ASK, "--plan", "@"], "plan.toml"),
    "profile": Loader("toml", PROFILE, ["show", "hardware", "@"], "profile.toml"),
    "profile of a step": Loader("toml", PROFILE, ["decode", "--model", "llama-3.1-8b", "--hw", "@"], "profile.toml"),
    "law": Loader("toml", _shipped("workloads", "scaling_laws", "abnar-2025.toml"), ["show", "scaling-law", "@"], "abnar-2025.toml"),
    "stack": Loader("toml", _shipped("workloads", "stacks", "megatron-core-te.toml"), ["train", *ASK, "--gpus", "8", "--no-levers", "--stack", "@"], "mine.toml"),
    "recipe": Loader("toml", _shipped("workloads", "recipes", "deepseek-r1-zero.toml"), ["recipe", "@", "--no-ranges"], "mine.toml"),
    "framework": Loader("toml", _shipped("workloads", "rl-stacks", "plain.toml"), ["rl", *ASK, *RL, "--framework", "@"], "plain.toml"),
    "record of a run": Loader("toml", 'schema = 1\nkind = "imported"', ["show", "hardware", "."], "measurements/m/run.toml", {**MINE, "measurements/m/gemm/bf16-bf16-bf16.csv": ""}),
    "lengths": Loader("csv", "tokens,weight\n128,1", ["serve", *ASK, "--isl", "file:@", "--osl", "16", "--concurrency", "4"], "lengths.csv"),
    "accuracy": Loader("csv", "budget,accuracy\n256,0.5", ["think", *THINK, "--accuracy", "@"], "shares.csv"),
    "prices": Loader("csv", "device,usd_per_hour\nh200,2.5", ["decode", *ASK, "--price", "@"], "prices.csv"),
    "routing": Loader("csv", "1,1,1,1,1,1,1,1", ["decode", "--model", "mixtral-8x7b", "--hw", "h200", "--set", "routing=@"], "routing.csv"),
    "durations": Loader("csv", "stage,F,B,W\n0,1,1,1", ["schedule", "gpipe", "--pp", "1", "--microbatches", "2", "--stage-times", "@"], "stages.csv"),
    "rows to import": Loader("csv", GEMM, ["calibrate", "import", "csv", "@", *IMPORT, "--run", "out/measurements/m", "--title", "t", "--source", "s"], "rows.csv"),
    "rows to doubt": Loader("csv", GEMM, ["calibrate", "doctor", "@", *IMPORT], "rows.csv"),
    "memory logs": Loader("csv", _rows("memory.csv", 2), ["validate", "memory", "@"], "logs.csv"),
    "own benchmark": Loader("csv", "model,hw,concurrency,isl,osl,tpot_ms\nllama-3.1-8b,h200,1,64,8,20", ["validate", "serving", "@"], "own.csv"),
    "measured rows": Loader(
        "csv", "batch,m,n,k,seconds\n1,128,128,128,1e-5\n", ["calibrate", "report", ".", "--family", "gemm"], "measurements/m/gemm/bf16-bf16-bf16.csv",
        {**MINE, "measurements/m/run.toml": 'schema = 1\nkind = "imported"\n'},
    ),
    "sources of training": Loader(
        "csv", _rows("training/sources.csv", 2), ["validate", "training", "--folder", "."], "sources.csv", {"models.csv": _rows("training/models.csv", 2)},
    ),
}  # fmt: skip


def _inside(text: str) -> Callable[[str], str]:
    """A JSON object with one more pair."""
    return lambda good: f"{good.rstrip()[:-1]}, {text}}}"


def _first(text: str) -> Callable[[str], str]:
    return lambda good: f"{text}\n{good}"


def _last(cell: str) -> Callable[[str], str]:
    """A CSV with another last cell."""
    return lambda good: f"{good.rstrip().rpartition(',')[0]},{cell}\n"


WRONG: dict[str, dict[str, Callable[[str], str | bytes]]] = {
    "every": {
        "UTF-16": lambda good: good.encode("utf-16"), "Latin-1": lambda good: good.encode() + b"\xe9\n", "binary": lambda good: bytes(range(256)), "zeroes": lambda good: b"\0" * 64,
    },
    "json": {
        "5,000 digits": _inside(f'"a": {BIG}'), "10**400": _inside(f'"a": 1{"0" * 400}'), "1e400": _inside('"a": -1e400'), "3,000 lists": _inside(f'"a": {DEEP}'),
        "500 tables": lambda good: '{"text_config": ' * 500 + good + "}" * 500, "a key twice": _inside('"a": 1, "a": 2'), "a key twice inside": _inside('"a": [{"b": 1, "b": 2}]'),
        "cut off": lambda good: good[:-3], "more behind": lambda good: f"{good} x", "nothing": lambda good: "", "a list": lambda good: "[1]", "a line end in a text": _inside('"a": "\n"'),
    },
    "toml": {
        "5,000 digits": _first(f"a = {BIG}"), "hexadecimal digits": _first(f"a = 0x{'f' * 5000}"), "1e400": _first("a = 1e400"), "nan": _first("a = nan"), "3,000 lists": _first(f"a = {DEEP}"),
        "key of 3,000 parts": _first(f"{'.'.join('a' * 3000)} = 1"), "table of 3,000 parts": lambda good: f"{good}\n[{'.'.join('a' * 3000)}]\nb = 1\n", "a key twice": _first("a = 1\na = 2"),
        "an escape": _first('a = "\x1b[2J"'), "an unknown key": _first('"\\u001b[2J" = 1'), "cut off": lambda good: good.rstrip()[:-1] + "\n[",
    },
    "csv": {
        "cell of 200,000": _last("x" * 200_000), "cell of 100,000": _last("x" * 100_000), "an open quote": _last('"1'), "an escape": _last("\x1b[2J"), "a zero byte": _last("a\0b"),
        "half a word": _last("\u202e1"), "one_000": _last("1_0"), "5,000 digits": _last(f"-{BIG}"), "nan": _last("nan"), "minus": _last("-1"), "a cell less": lambda good: f"{good.rstrip().rpartition(',')[0]}\n",
        "a cell more": lambda good: f"{good.rstrip()},1\n", "a column twice": lambda good: "\n".join(f"{line},{line.rpartition(',')[2]}" for line in good.rstrip().splitlines()) + "\n",
    },
}  # fmt: skip
# What of these a loader takes: keys of a trace that nothing reads, free text, a value that is not there, columns that make no difference to a routing without names.
TAKEN = {
    ("memory logs", name) for name in ("cell of 100,000", "an escape", "a zero byte", "half a word", "one_000", "5,000 digits", "nan", "minus")
} | {("trace", name) for name in ("10**400", "1e400", "a key twice", "a key twice inside")} | {("sources of training", name) for name in WRONG["csv"]} | {("benchmark", "a list"), ("record of a run", "an unknown key"), ("routing", "5,000 digits"), ("routing", "a cell less"), ("routing", "a cell more"), ("routing", "a column twice")}  # fmt: skip
CASES = [
    (name, wrong) for name, loader in LOADERS.items() for wrong in (*WRONG["every"], *WRONG[loader.kind]) if (name, wrong) not in TAKEN
]  # fmt: skip


def asked(loader: Loader, text: str | bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """Exit code of the loader's command on a file of this text."""
    for name, beside in {**loader.beside, loader.home: text}.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(beside if isinstance(beside, bytes) else beside.encode())
    monkeypatch.chdir(tmp_path)
    here = {".": str(tmp_path), "config.json": str(tmp_path / "config.json")}
    return app.run([here.get(word, word.replace("@", str(tmp_path / loader.home))) for word in loader.argv])


@pytest.mark.parametrize(("name", "wrong"), CASES, ids=[" - ".join(case) for case in CASES])
def test_what_is_wrong_with_a_text_is_one_line(
    name: str, wrong: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    loader = LOADERS[name]
    make = WRONG["every"].get(wrong) or WRONG[loader.kind][wrong]
    code = asked(loader, make(loader.good), tmp_path, monkeypatch)
    said = capsys.readouterr()
    assert (code, said.out) == (2, "")
    assert said.err.count("\n") == 1
    assert said.err[:-1].isprintable()
    assert len(said.err) < 1500
    assert not (tmp_path / "out").exists()


STRICT = (  # long to answer; written by programs; of folders whose other files would be missing
    "recipe",
    "framework",
    "sources of training",
    "measured rows",
    "record of a run",
)


@pytest.mark.parametrize("name", [name for name in LOADERS if name not in STRICT])
def test_a_mark_of_order_and_other_line_ends_change_nothing(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    loader = LOADERS[name]
    assert asked(loader, f"{loader.good.rstrip()}\n", tmp_path, monkeypatch) == 0
    plain = capsys.readouterr().out
    for text in (f"\ufeff{loader.good}\n", loader.good.rstrip().replace("\n", "\r\n") + "\r\n"):
        (tmp_path / loader.home).unlink()
        assert asked(loader, text, tmp_path, monkeypatch) == 0
        assert capsys.readouterr().out.partition("note:")[0] == plain.partition("note:")[0]


def test_tables_inside_each_other_are_taken_as_deep_as_real_ones_are(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps({**CONFIG, "a": json.loads("[" * (DEEPEST - 3) + "]" * (DEEPEST - 3))}))
    assert app.run(["show", "model", str(path)]) == 0


SAID = [
    "9" * 5000, "1" + "0" * 400, "1e400", "NaN", "[" * 5000, "[" * 300 + "]" * 300, '{"a": 1, "a": 2}', "\x1b[31m", "\udce9", "x" * 50_000, "a\0b", "\u202e1",
]  # fmt: skip
PATHS = [
    "batch", "plan.tp", "plan.weight_dtype", "model.hidden_size", "model.quantization_config", "hw.memory.bandwidth", "engine.version", "routing", "model.attention", "stack.a", "plan.\x1b", "\udce9",
]  # fmt: skip


@pytest.mark.parametrize(("path", "value"), [
    (path, value) for path in PATHS for value in SAID if (path, value) != ("engine.version", "1e400")  # a version is words behind a number
], ids=repr)  # fmt: skip
def test_what_is_wrong_with_a_setting_is_one_line(path: str, value: str, capsys: Any) -> None:
    option = ("--set", "--vary")[(PATHS.index(path) + SAID.index(value)) % 2]
    code = app.run(["decode", *ASK, option, f"{path}={value}"])
    said = capsys.readouterr()
    assert (code, said.out, said.err.count("\n"), said.err[:-1].isprintable()) == (2, "", 1, True)
    assert len(said.err) < 1500


@pytest.mark.parametrize("text", [
    'model.rope_scaling={"factor":1}', 'model.quantization_config={"quant_method":"fp8"}', "model.layer_types=[1]", "batch={}", "plan.tp=[1]",
])  # fmt: skip
def test_a_table_or_a_list_can_be_varied_or_is_refused(text: str, capsys: Any) -> None:
    assert app.run(["sweep", *ASK, "--vary", text]) in (0, 2)
    assert all(line.isprintable() for line in capsys.readouterr().err.split("\n"))


NAMES = [
    "9" * 5000, "\x1b[31m", "\udce9", "n" * 300, "[red]x[/red]", "a\0b", "\u202e", "x\ny",
]  # fmt: skip
ASKING = [
    ["show", "model", "@"], ["decode", "--hw", "h200", "--model", "@"], ["decode", "--model", "llama-3.1-8b", "--hw", "@"], ["show", "hardware", "@"], ["show", "scaling-law", "@"],
    ["plans", "--model", "llama-3.1-8b", "--hw", "@"], ["train", *ASK, "--gpus", "8", "--stack", "@"], ["calibrate", "report", "@"], ["calibrate", "doctor", "@"], ["validate", "memory", "@"],
    ["validate", "serving", "@"], ["validate", "training", "--folder", "@"], ["schedule", "gpipe", "--pp", "2", "--microbatches", "2", "--stage-times", "@"], ["keys", "@"], ["decode", *ASK, "--plan", "@"],
    ["decode", *ASK, "--engine", "@"], ["decode", *ASK, "--format", "@"], ["decode", *ASK, "--batch", "@"], ["decode", *ASK, "--solve", "@", "--for", "tpot=1ms"], ["@"], ["decode", "--@"],
    ["calibrate", "import", "csv", "@", *IMPORT, "--run", "out/measurements/m", "--title", "t", "--source", "s"], ["serve", *ASK, "--isl", "@", "--osl", "1", "--concurrency", "1"],
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES, ids=[repr(name[:12]) for name in NAMES])
@pytest.mark.parametrize("argv", ASKING, ids=" ".join)
def test_a_name_that_is_none_is_one_line(
    argv: list[str], name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    code = app.run([word.replace("@", name) for word in argv])
    said = capsys.readouterr()
    assert (code, said.out, said.err.count("\n"), said.err[:-1].isprintable()) == (2, "", 1, True)
    assert len(said.err) < 1500
    assert "cannot write" not in said.err
    assert not list(tmp_path.iterdir())


FILES = [
    "q[fp8]", "[bold red]", "a\x1b[31mb", "a\u202eb", "a\nb", "=1+1", "a|b<i>", "a$\\frac{b", "a\udce9b", "a'b\"c;$(touch x)`y`",
]  # fmt: skip


@pytest.mark.parametrize("name", FILES, ids=map(repr, FILES))
def test_the_name_of_a_file_drives_nothing(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / f"{name}.json").write_text(json.dumps(CONFIG))
    ask = ["decode", "--model", f"{name}.json", "--hw", "h200"]
    for argv in (
        ["show", "model", f"{name}.json"],
        *([*ask, "--format", style] for style in ("console", "csv", "markdown", "json")),
    ):
        assert app.run(argv) == 0
        said = capsys.readouterr()
        assert all(line.isprintable() for line in (said.out + said.err).split("\n"))
        assert not name.isprintable() or "$" in name or "|" in name or name in said.out
    assert app.run([*ask, "-o", "out.csv"]) == 0
    assert app.run(["serve", *ask[1:], "--isl", "64", "--osl", "8", "--concurrency", "1", "--emit", "vllm"]) in (0, 2)
    assert all(line.isprintable() for line in "".join(capsys.readouterr()).split("\n"))
