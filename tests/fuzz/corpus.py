"""Cases of the fuzz tests, drawn from a seed: a command line with junk in its options and settings, and the files that it names, mutated.

A case is the same for the same seed and number on every machine. `SIMCOST_FUZZ=10000` asks for so many (tests/fuzz/test_commands.py).
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from simcost import settings
from simcost.hardware import load as hardware
from simcost.model import load as models

SEED = 19
PLANTED = "zzz_planted"  # a key that nothing reads: an answer must name it
MODELS = ("llama-3.1-8b", "deepseek-v3", "gpt-oss-20b", "mixtral-8x7b", "gemma-3-27b", "qwen2.5-7b")
DEVICE = "h100"
JUNK: tuple[Any, ...] = (
    -1, 0, 1, 2, 3, 7, 64, 4096, 2**31, 10**9, 10**12, 10**30, 0.5, 1e-300, 1e308, -0.0, True, False, None, "", " ", "auto", "none", "fp8", "bf16", "nan", "inf", "-inf", "x2", "x-1", "1e400",
    "64k", "1e3", "0x10", "١", "\u202eevil", "\x1b[31mred", "a" * 300, "8 TB/s", "-1 B", "../x", "[", "(.*)*x", "re:(.*)*x", "%s", "{}", "\n", [], [1, 2], [[]], {}, {"a": {"b": [None]}}, {"value": "1 GB", "source": []},
)  # fmt: skip
LIKELY = ("1", "2", "4", "8", "16", "64", "128", "1k", "4096", "8192")
SCALARS = tuple(str(one) for one in JUNK if not isinstance(one, (list, dict)) and "\n" not in str(one))
OPTIONS: dict[str, tuple[str, ...]] = {
    "decode": ("batch", "context", "prefill-tokens", "prefill-past", "engine", "price", "gpus", "nodes", "tp", "ep", "pp", "iso", "vary", "solve"),
    "prefill": ("isl", "batch", "past", "images", "engine", "price", "gpus", "nodes", "tp", "cp", "dp", "vary"),
    "serve": ("isl", "osl", "concurrency", "rate", "gpus", "prefix-hit", "drafts", "acceptance", "price", "engine", "seed"),
    "train": ("gpus", "micro-batch", "global-batch", "seq", "stack", "tokens", "days", "usd", "flops-convention", "tp", "pp", "price"),
    "explain": ("phase", "batch", "context", "isl", "past", "order", "engine", "gpus", "op", "top"),
    "show memory": ("batch", "context", "engine", "gpus"),
    "plans": ("gpus", "nodes", "phase", "batch", "context", "metric", "tpot", "engine", "price"),
    "sweep": ("phase", "pareto", "batch", "context", "vary", "engine"),
    "crossover": ("engine", "set"),
    "rl": ("prompts", "samples", "isl", "osl", "gpus", "max-osl", "algorithm", "placement", "async", "rollout", "train", "epochs", "minibatches", "reward", "turns", "tool-wait", "drafts", "kept", "steps", "sync"),
    "think": ("isl", "osl", "levels", "sigma", "budget", "max-osl", "answer", "concurrency", "rate", "usd-per-million", "parallel", "gpus", "law"),
    "distill": ("isl", "osl", "samples", "tokens", "epochs", "kept", "texts", "top-k", "layers", "seq", "global-batch", "storage-price", "teacher-plan"),
}  # fmt: skip
NEEDED = {
    "serve": ["--isl", "256", "--osl", "32", "--concurrency", "4"], "plans": ["--gpus", "2"], "sweep": ["--vary", "batch=1,2"],
    "rl": ["--prompts", "8", "--samples", "4", "--isl", "64", "--osl", "128", "--gpus", "8", "--no-levers"], "think": ["--isl", "256", "--osl", "512", "--concurrency", "4"],
    "distill": ["--student", "llama-3.2-1b", "--isl", "256", "--osl", "512", "--samples", "1000", "--gpus", "8"],
}  # fmt: skip
ALONE: tuple[tuple[str, ...], ...] = (
    ("loss", "--model", "llama-3.2-1b", "--tokens", "?"), ("loss", "--training-flops", "?"), ("loss", "--model", "?", "--tokens", "1T"), ("schedule", "?", "--pp", "4", "--microbatches", "8", "--forward", "1"),
    ("schedule", "1f1b", "zb-v", "--pp", "?", "--microbatches", "8", "--forward", "1"), ("schedule", "interleaved", "--pp", "2", "--microbatches", "?", "--forward", "?"), ("schedule", "1f1b", "--pp", "2", "--microbatches", "4", "--hop", "?"),
    ("show", "model", "?"), ("show", "hardware", "?"), ("show", "scaling-law", "?"), ("keys", "?"), ("compare", "llama-3.1-8b", "?", "--hw", DEVICE), ("decode", "--model", "?", "--hw", DEVICE),
    ("decode", "--model", "llama-3.1-8b", "--hw", "?"), ("?",), ("list", "?"), ("calibrate", "report", "?"), ("calibrate", "import", "?"), ("calibrate", "memory", "?"), ("validate", "kernels", "?"), ("recipe", "?"),
    ("cite", "?"), ("cite", "decode", "--model", "llama-3.1-8b", "--hw", "?"), ("diff", "?", "?"),
)  # fmt: skip


class Case(NamedTuple):
    """`argv`; `files`: their names and bytes; `planted`: whether a file holds `PLANTED`."""

    argv: list[str]
    files: dict[str, bytes]
    planted: bool = False


def case(number: int) -> Case:
    """The case of a number."""
    draw = random.Random(f"{SEED}:{number}")
    kinds: tuple[tuple[Callable[[random.Random], Case], int], ...] = (
        (_of_settings, 6), (_of_options, 6), (_alone, 3), (_of_config, 3), (_of_profile, 3), (_of_plan_file, 3), (_of_table, 2),
    )  # fmt: skip
    return draw.choices([kind for kind, _ in kinds], [weight for _, weight in kinds])[0](draw)


def _asked(draw: random.Random, command: str = "", model: str = "", hw: str = DEVICE) -> list[str]:
    command = command or draw.choices(tuple(OPTIONS), (8, 6, 2, 3, 2, 4, 1, 1, 1, 1, 1, 1))[0]
    model = model or draw.choice(MODELS)
    named = {"show memory": [model], "distill": ["--teacher", model]}.get(command, ["--model", model])
    return [*command.split(), *named, "--hw", hw, *NEEDED.get(command, [])]


def _of_settings(draw: random.Random) -> Case:
    """One or two settings."""
    said = []
    for _ in range(draw.randint(1, 2)):
        one = draw.choice(settings.EVERY)
        likely = one.choices or (("true", "false") if one.kind == settings.FLAG else LIKELY)
        value = draw.choice(likely) if draw.random() < 0.6 else draw.choice(SCALARS)
        said += ["--set", f"{one.path.replace('<format>', 'bf16')}={value}"]
    return Case([*_asked(draw, draw.choice(("decode", "decode", "prefill", "train", "serve", "explain"))), *said], {})


def _of_options(draw: random.Random) -> Case:
    """One or two options of a command."""
    argv = _asked(draw)
    command = " ".join(argv[:2]) if argv[0] == "show" else argv[0]
    for option in draw.sample(OPTIONS[command], draw.randint(1, 2)):
        value = draw.choice(LIKELY if draw.random() < 0.5 else SCALARS)
        pairs = {
            "vary": f"{draw.choice(settings.EVERY).path}={value},2",
            "set": f"{draw.choice(settings.EVERY).path}={value}",
        }
        at = argv.index(f"--{option}") if f"--{option}" in argv else None
        if at is None:
            argv += [f"--{option}={pairs.get(option, value)}"]
        else:
            argv[at : at + 2] = [f"--{option}={pairs.get(option, value)}"]
    return Case(argv, {})


def _alone(draw: random.Random) -> Case:
    """A command that asks about no step."""
    return Case([draw.choice(SCALARS) if word == "?" else word for word in draw.choice(ALONE)], {})


def mutated(draw: random.Random, table: Any) -> tuple[Any, bool]:
    """(A copy with one to three deletions, replacements or new keys at any depth, or none; whether `PLANTED` was added at the top.)"""
    out = json.loads(json.dumps(table))
    for _ in range(draw.randint(0, 3)):
        inner = out
        while True:
            keys = list(inner) if isinstance(inner, dict) else list(range(len(inner)))
            if not keys:
                break
            key = draw.choice(keys)
            if isinstance(inner[key], (dict, list)) and inner[key] and draw.random() < 0.7:
                inner = inner[key]
                continue
            if draw.random() < 0.2:
                del inner[key]
            elif isinstance(inner[key], int) and not isinstance(inner[key], bool) and draw.random() < 0.6:
                inner[key] = draw.choice((inner[key] * 2, inner[key] // 2, inner[key] + 1, 0, 1))
            else:
                inner[key] = draw.choice(JUNK)
            break
    planted = draw.random() < 0.3
    if planted:
        out[PLANTED] = 1
    return out, planted


def _bytes(draw: random.Random, data: bytes) -> tuple[bytes, bool]:
    """A file as it is, or seldom with bytes that are lost, doubled or others; whether it is as it was."""
    if draw.random() < 0.85 or not data:
        return data, True
    found = bytearray(data)
    at = draw.randrange(len(found))
    kind = draw.randrange(4)
    if kind == 0:
        del found[at:]
    elif kind == 1:
        found[at : at + 1] = draw.choice((b"\x00", b"\xff", b"\xed\xa0\x80", b"[" * 2000, b"\x1b]0;x\x07"))
    elif kind == 2:
        found[at:at] = found[: min(len(found), 500)]
    else:
        found[:0] = b"\xef\xbb\xbf"
    return bytes(found), False


def _of_config(draw: random.Random) -> Case:
    """The config of a model."""
    name = draw.choice(MODELS)
    table, planted = mutated(draw, models.load_config(name)[2])
    data, whole = _bytes(draw, json.dumps(table).encode())
    command = draw.choice(("decode", "decode", "prefill", "show model"))
    argv = ["show", "model", "config.json"] if command == "show model" else _asked(draw, command, "config.json")
    return Case(argv, {"config.json": data}, planted and whole)


def toml(value: Any) -> str:
    """A value as TOML writes it; null, which it lacks, as an empty text."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {toml(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    if value is None:
        return '""'
    return json.dumps(value) if isinstance(value, (str, bool)) else repr(value)


def document(table: dict[str, Any]) -> bytes:
    """A table as a TOML file."""
    return "".join(f"{json.dumps(key)} = {toml(value)}\n" for key, value in table.items()).encode("utf-8", "replace")


def _of_profile(draw: random.Random) -> Case:
    """The profile of a device."""
    table, planted = mutated(draw, hardware.read(draw.choice(("h100", "l4", "mi300x")))[1])
    data, whole = _bytes(draw, document(table))
    argv = ["show", "hardware", "p.toml"] if draw.random() < 0.3 else _asked(draw, "decode", "llama-3.1-8b", "p.toml")
    return Case(argv, {"p.toml": data}, planted and whole)


def _of_plan_file(draw: random.Random) -> Case:
    """A file of settings, as TOML or JSON."""
    plan = {"plan": {"tp": 2, "ep": 1, "kv_dtype": "fp8"}, "phase": {"batch": 4}, "hw": {"memory": {"bandwidth": "x1.5"}}, "model": {"num_hidden_layers": 8}, "engine": {"engine": "vllm"}}  # fmt: skip
    table, planted = mutated(draw, plan)
    name = draw.choice(("plan.toml", "plan.json"))
    data, whole = _bytes(draw, document(table) if name.endswith("toml") else json.dumps(table).encode())
    return Case([*_asked(draw, "decode", "llama-3.1-8b"), "--plan", name], {name: data}, planted and whole)


def _of_table(draw: random.Random) -> Case:
    """A CSV that an option names: counts of routing, lengths of prompts, durations of stages."""
    rows = [
        [draw.choice(("1", "2", "16", "256", "0.5", *SCALARS[:12])) for _ in range(draw.randint(1, 9))]
        for _ in range(draw.randint(0, 5))
    ]
    head = draw.choice(("tokens", "isl,osl", "stage,F,B,W", "", PLANTED))
    data, _ = _bytes(draw, "\n".join([head, *(",".join(row) for row in rows)]).encode("utf-8", "replace"))
    argv = draw.choice((
        [*_asked(draw, "decode", "mixtral-8x7b"), "--set", "routing=t.csv"],
        ["serve", "--model", "llama-3.1-8b", "--hw", DEVICE, "--isl", "file:t.csv", "--osl", "32", "--concurrency", "4"],
        ["schedule", "1f1b", "--pp", "2", "--microbatches", "4", "--stage-times", "t.csv"],
        ["calibrate", "import", "csv", "t.csv"],
    ))  # fmt: skip
    return Case(list(argv), {"t.csv": data})


def written(one: Case, home: Path) -> None:
    """The files of a case, in a folder."""
    for name, data in one.files.items():
        (home / name).write_bytes(data)
