"""Five hundred questions of all commands and what simcost answered: python tests/replay/queries/record.py

Writes `queries.jsonl` beside this file, a line a question: its words, its metrics, and a digest of its rows; refusals are answers too. `--check`
compares instead: bit for bit, metric by metric (`--near` 1e-5 for another kind of processor). A change inside must leave every number as it is;
what moves on purpose is recorded anew, with a reason in CHANGELOG, Numbers.
"""

from __future__ import annotations

import hashlib
import json
import math
import random
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from simcost import api, grammar
from simcost.errors import SimcostError
from simcost.hardware import load as hardware
from simcost.model import load as models
from simcost.result import Result

PATH = Path(__file__).with_name("queries.jsonl")
COUNTS = {
    "decode": 160, "prefill": 110, "explain": 60, "show memory": 40, "compare": 40, "plans": 30, "crossover": 15, "show model": 25, "show hardware": 20,
}  # fmt: skip
NEAR = 1e-5  # curves are fitted on each machine, in other last digits
MODELS = (
    "llama-3.1-8b", "llama-3.1-70b", "llama-3.1-405b", "qwen3-32b", "gemma-3-27b", "gpt-oss-120b", "gpt-oss-20b", "mixtral-8x7b", "qwen3-235b-a22b", "deepseek-v3",
    "deepseek-v2-lite", "kimi-k2", "llama-4-scout", "glm-4.5", "minimax-m2", "mimo-v2-flash", "mistral-7b-v0.1", "opt-30b", "falcon-40b", "phi-3.5-moe",
)  # fmt: skip
DEVICES = (
    "h100",
    "h200",
    "b200",
    "gb200",
    "a100",
    "l40s",
    "h800",
    "h20",
    "mi300x",
    "b300",
    "rtx-4090",
    "tpu-v5e",
    "gaudi2",
)


def _plan(rng: random.Random) -> dict[str, Any]:
    """A plan that may or may not run."""
    sets: dict[str, Any] = {"plan.tp": rng.choice([1, 2, 4, 8])}
    for path, values, share in (
        ("plan.pp", [2, 4], 0.15), ("plan.ep", [4, 8, 16, 32], 0.25), ("plan.cp", [2], 0.05), ("plan.dp", [2], 0.1), ("plan.dp_attention", [2, 4], 0.1),
        ("plan.weight_dtype", ["fp8", "int8", "int4", "bf16"], 0.25), ("plan.kv_dtype", ["fp8"], 0.15), ("plan.sequence_parallel", ["on"], 0.05),
        ("plan.overlap", ["two_batch", "shared_experts"], 0.06), ("plan.cuda_graph", ["off"], 0.05), ("plan.all_to_all", ["low_latency", "normal"], 0.05),
        ("plan.redundant_experts", [32], 0.03), ("routing", ["zipf:0.8", "balanced"], 0.08), ("engine", ["vllm", "sglang", "trtllm"], 0.3),
        ("hw.measurements", ["none"], 0.06), ("hw.memory.bandwidth", ["x1.5"], 0.04),
    ):  # fmt: skip
        if rng.random() < share:
            sets[path] = rng.choice(values)
    return sets


def _question(rng: random.Random, command: str) -> dict[str, Any]:
    model, hw, sets = rng.choice(MODELS), rng.choice(DEVICES), _plan(rng)
    batch, length = rng.choice([1, 4, 16, 64, 256]), rng.choice([128, 1024, 4096, 16_384, 100_000])
    if command in ("decode", "prefill"):
        asked = {
            "model": model,
            "hw": hw,
            "batch": batch,
            ("context" if command == "decode" else "isl"): length,
            "set": sets,
        }
        if rng.random() < 0.15:
            asked["vary"] = {"batch": [1, 8, 64], "plan.tp": [2, 8]}
            sets.pop("plan.tp"), asked.pop("batch")
        return asked
    if command == "explain":
        return {"model": model, "hw": hw, "phase": rng.choice(["decode", "prefill"]), "batch": batch, "set": sets}
    if command == "show memory":
        return {
            "model": model,
            "hw": hw,
            "batch": batch,
            "context": length,
            "set": {k: v for k, v in sets.items() if not k.startswith("hw.")},
        }
    if command == "compare":
        return {"models": rng.sample(MODELS, 2), "hw": hw, "batch": batch, "context": length, "isl": 2048, "set": sets}
    if command == "plans":
        return {
            "model": model,
            "hw": hw,
            "gpus": rng.choice([4, 8, 16]),
            "batch": [8, 64],
            "phase": rng.choice(["decode", "prefill"]),
        }
    if command == "crossover":
        return {"model": model, "hw": hw}
    return {"name": rng.choice(models.names() if command == "show model" else hardware.names())}


def questions() -> list[tuple[str, dict[str, Any]]]:
    """(command, arguments) of all questions; the same on every machine."""
    rng = random.Random(14)
    return [(command, _question(rng, command)) for command, count in COUNTS.items() for _ in range(count)]


def answer(command: str, asked: dict[str, Any]) -> dict[str, Any]:
    """metrics and a digest of the rows, or the refusal."""
    ask: Callable[..., Result] = getattr(api, command.replace(" ", "_"))
    try:
        found = ask(**{key: _sets(value) if key == "set" else value for key, value in asked.items()})
    except SimcostError as error:
        return {"refused": str(error)}
    return {
        "metrics": found.metrics,
        "rows": {name: [dict(row) for row in rows] for name, rows in found.tables.items()},
    }


def _sets(sets: dict[str, Any]) -> dict[str, Any]:
    return {grammar.full(path): value for path, value in sets.items()}


def recorded(found: dict[str, Any]) -> dict[str, Any]:
    """An answer as it is kept: of the rows what numbers they hold, column by column."""
    if "refused" in found:
        return found
    sums: dict[str, dict[str, Any]] = {}
    for name, rows in found["rows"].items():
        columns = {key for row in rows for key, value in row.items() if _is_number(value)}
        sums[name] = {
            key: math.fsum(float(row[key]) for row in rows if _is_number(row.get(key))) for key in sorted(columns)
        }
        texts = json.dumps(
            [[value for value in row.values() if isinstance(value, str)] for row in rows], sort_keys=True
        )
        sums[name]["rows"] = len(rows)
        sums[name]["text"] = hashlib.blake2b(texts.encode(), digest_size=6).hexdigest()
    return {"metrics": found["metrics"], "sums": sums}


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def lines() -> list[dict[str, Any]]:
    with PATH.open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def differences(old: dict[str, Any], near: float = 0.0) -> list[str]:
    """What of one question is another answer now, in words."""
    now = json.loads(json.dumps(recorded(answer(old["command"], old["asked"]))))
    return list(_apart(old["answer"], now, "", near))


def _apart(old: Any, new: Any, path: str, near: float) -> Iterable[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted({*old, *new}):
            yield from _apart(old.get(key), new.get(key), f"{path}.{key}".lstrip("."), near)
    elif _is_number(old) and _is_number(new):
        if abs(old - new) > near * max(abs(old), abs(new)):
            yield f"{path}: {old!r} -> {new!r}"
    elif old != new and not (near and path.endswith(".text")):
        yield f"{path}: {old!r} -> {new!r}"


def main(words: list[str]) -> int:
    if "--check" in words:
        near, moved = (NEAR if "--near" in words else 0.0), 0
        for number, line in enumerate(lines(), 1):
            found = differences(line, near)
            moved += bool(found)
            for text in found[:4]:
                print(f"{number} {line['command']} {line['asked']}: {text}")
        print(f"{moved} of {sum(COUNTS.values())} questions are answered otherwise")
        return int(moved > 0)
    with PATH.open("w", encoding="utf-8") as file:
        for command, asked in questions():
            file.write(
                json.dumps({"command": command, "asked": asked, "answer": recorded(answer(command, asked))}) + "\n"
            )
    print(f"{sum(COUNTS.values())} questions in {PATH.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
