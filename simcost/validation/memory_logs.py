"""What engines print of memory when they start, one row a start: `workloads/validation/memory.csv`, or a file of the same columns.

Sizes in GiB per GPU, as printed. `model` is a zoo name, a Hugging Face repository or a config, `config` the path of one where
`model` is none; formats that a repository's name states are taken from it (fp8-dynamic, w4a16); `set` holds what else the
question needs, `hw` the profile where `gpu` does not name it. Most likely to be wrong: settings that a log does not print and
that are then the engine's defaults. Source: the column `source`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from simcost import lower
from simcost.errors import SimcostError, SpecError, nearest
from simcost.files import folder
from simcost.frozen import frozen
from simcost.grammar import assignments
from simcost.hardware import engines
from simcost.hardware import load as hardware
from simcost.hardware.engine_file import numbers, setting_names
from simcost.model import load as models
from simcost.texts import csv_dicts, exists, number_or_nan, text
from simcost.units import parse

STAND_IN = "rtx-4090"  # for a GPU without a profile whose total a log prints: PCIe, no NVLink
SHARE = "gpu_memory_utilization_or_mem_fraction_static"
SIZES = {
    "total": "total_gpu_memory_gib", "weights": "weights_gib_per_gpu", "non_torch": "non_torch_gib",
    "activations": "activation_peak_gib", "graphs": "cuda_graph_gib", "graph_estimate": "cuda_graph_estimate_gib",
    "pool": "kv_cache_gib_per_gpu",
}  # fmt: skip
COUNTS = {"tokens": "kv_cache_tokens", "concurrency": "max_concurrency"}
_WHOLE = ("tp", "pp", "dp", "ep", "max_model_len", "max_num_batched_tokens", "max_num_seqs", COUNTS["tokens"])
_FIRST_V1 = (0, 8)  # release of vLLM from which V1 is the default
_LAST_V0 = "0.7.9"
_ASKED = (
    "id",
    "source",
    "engine",
    "engine_version",
    "model",
    "gpu",
    "tp",
    SHARE,
    "max_model_len",
    *SIZES.values(),
    *COUNTS.values(),
)
_MORE = (
    "model_config_note", "n_gpus", "pp", "dp", "ep", "max_num_batched_tokens", "max_num_seqs", "kv_cache_dtype", "cuda_graphs",
    "config", "free_before_load_gib", "free_after_load_gib", "free_after_pool_gib", "check", "notes", "set", "hw", "story",
)  # fmt: skip
_FORMATS = (
    (r"nvfp4", "nvfp4"), (r"(qwen3|deepseek|glm).*-fp8", "fp8_block"), (r"fp8", "fp8"), (r"w8a8|int8", "int8"),
    (r"w4a16|awq|gptq|int4|bnb|4[-_]?bit", "int4"),
)  # fmt: skip
_DECORATION = re.compile(
    r"[-_.](instruct|chat|it|hf|base|v\d+:\w+|fp8(-dynamic|_dynamic)?|quantized|w8a8|w4a16|awq|gptq|int[48]|bnb|4bit|unsloth|\d{4})(?=[-_.]|$)"
)


@frozen
class Log:
    """One start. printed: sizes [B] and counts by name, of those that the log prints; sets: what the question sets; context: tokens of
    a request that the concurrency is of."""

    id: str
    source: str
    engine: str
    version: str
    model: str
    hw: str
    sets: Mapping[str, Any]
    context: int
    printed: Mapping[str, float]
    story: str
    stands_in_for: str = ""  # the GPU that a log names, where no profile is of it


@frozen
class Unread:
    """A start that no question can be made of, and why."""

    id: str
    model: str
    reason: str


def read(path: Path | None = None) -> tuple[list[Log | Unread], list[str]]:
    """(all rows of a file, default the shipped one; notes on columns that are not read). Raises SpecError naming file, line and column."""
    where = path or folder("workloads") / "validation" / "memory.csv"
    columns, rows = csv_dicts(text(where), str(where))
    unread = [name for name in columns if name not in (*_ASKED, *_MORE)]
    notes = [f"{where}: column '{name}' is not read{nearest(name, (*_ASKED, *_MORE))}" for name in unread]
    missing = [name for name in _ASKED if name not in columns]
    if missing:
        raise SpecError(f"{where}: missing columns {', '.join(missing)}")
    return [_at(row, f"{where}:{number}") for number, row in rows], notes


def _at(row: Mapping[str, str], at: str) -> Log | Unread:
    """A row, or its first fault with where it stands."""
    if None in row:
        raise SpecError(f"{at}: more cells than columns")
    try:
        return _row({name: cell or "" for name, cell in row.items()}, at)
    except SimcostError as fault:
        raise SpecError(str(fault) if str(fault).startswith(at) else f"{at}: {fault}") from None


def _row(row: Mapping[str, str], at: str) -> Log | Unread:
    name, text = row["model"], f"{row['model']} {row.get('model_config_note', '')}"
    engine = engine_of(row["engine"], at)
    if not engine:
        return Unread(row["id"], name, f"{row['engine']} is not an engine that simcost has")
    model = model_of(row.get("config") or name)
    if model is None:
        return Unread(row["id"], name, "no config: neither a name of the zoo nor a repository that it lists")
    hw, missing = row.get("hw", "") or device_of(row["gpu"]), ""
    if not hw and _number(row, SIZES["total"], at):
        hw, missing = STAND_IN, row["gpu"]
    if not hw:
        return Unread(row["id"], name, f"no profile for '{row['gpu']}'")
    sets: dict[str, Any] = {"engine": engine, **_plan(row, model, at), **_settings(row, engine, at)}
    version = version_of(row["engine"], row["engine_version"])
    if version:
        sets["engine.version"] = version
    sets |= formats(model, text, row.get("kv_cache_dtype", ""))
    if row.get("cuda_graphs") == "eager":
        sets["plan.cuda_graph"] = "off"
    printed = {
        key: parse(f"{value} GiB", "bytes")
        for key, column in SIZES.items()
        if (value := _number(row, column, at)) is not None and value > 0
    }
    printed |= {key: value for key, column in COUNTS.items() if (value := _number(row, column, at)) is not None}
    if "total" in printed:
        sets["hw.memory.capacity"] = f"{row[SIZES['total']]} GiB"
    sets |= assignments(row.get("set", "").split())
    length = _number(row, "max_model_len", at)
    return Log(
        row["id"], row["source"], engine, row["engine_version"], model, hw, sets, int(length or 4096), printed,
        row.get("story", ""), missing,
    )  # fmt: skip


def _number(row: Mapping[str, str], column: str, at: str) -> float | None:
    """A cell; None where it is empty. Raises SpecError for what the column cannot hold."""
    text = row.get(column, "").strip()
    if not text or text.lower() == "nan":
        return None
    value = number_or_nan(text)
    if not math.isfinite(value):
        raise SpecError(f"{at}: {column} = {text!r} must be a number")
    if column in _WHOLE and (value < 0 or value != int(value)):
        raise SpecError(f"{at}: {column} = {text!r} must be a whole number, not negative")
    return value


def _plan(row: Mapping[str, str], model: str, at: str) -> dict[str, Any]:
    found = {key: int(_number(row, key, at) or 1) for key in ("tp", "pp", "dp", "ep")}
    return plan_of(model, **found)


def plan_of(model: str, tp: int = 1, pp: int = 1, dp: int = 1, ep: int = 1) -> dict[str, Any]:
    """What a question sets of an engine's sizes; tp: of one data-parallel rank. Data parallelism copies a dense model; with experts it repeats
    the attention alone, and the experts are shared out over all ranks."""
    replicas = "plan.dp_attention" if lower.has_experts(models.load(model)) else "plan.dp"
    sizes = {"plan.tp": tp, "plan.pp": pp, replicas: dp, "plan.ep": ep}
    return {path: size for path, size in sizes.items() if size > 1}


def _settings(row: Mapping[str, str], engine: str, at: str) -> dict[str, Any]:
    names = setting_names(engine)
    columns = {"share": SHARE, "tokens": "max_num_batched_tokens", "sequences": "max_num_seqs"}
    found = {f"engine.{names[key]}": _number(row, column, at) for key, column in columns.items()}
    return {path: value for path, value in found.items() if value is not None}


def engine_of(text: str, at: str) -> str:
    """ "vllm" of "vLLM V1"; "" of an engine that simcost has not."""
    word = (text or "").split()[0].lower() if (text or "").strip() else ""
    if not word:
        raise SpecError(f"{at}: engine is empty")
    return next((name for name in engines.names() if engines.title(name).lower() == word or name == word), "")


def version_of(engine: str, text: str) -> str:
    """The release whose terms hold: "0.20" of "0.2x (2026-08)"; the last before V1 of a V0 engine; "" where none is said."""
    found = re.match(r"\d+(\.\d+)*x?", text)
    stated = found[0] if found and not re.match(r"20\d\d-", text) else ""
    if stated.endswith("x"):
        stated = stated[:-1] + "0"
    if engine.split()[-1].upper() == "V0" and (not stated or numbers(stated) >= _FIRST_V1):
        return _LAST_V0
    return stated


def model_of(text: str) -> str | None:
    """The zoo name, or the path of a config, that a log's model stands for; None where none does."""
    plain = re.sub(r"\s*\(.*\)\s*$", "", text.strip())
    if not plain or plain.lower() == "nan":
        return None
    known = {repository.lower(): name for repository, name in models.repositories().items()}
    if plain.lower() in known:
        return known[plain.lower()]
    if exists(plain) or plain.lower() in models.names():
        return plain
    bare = {_bare(repository): name for repository, name in models.repositories().items()} | {
        _bare(n): n for n in models.names()
    }
    return bare.get(_bare(plain))


def _bare(repository: str) -> str:
    """The name of a repository without its owner, its formats and what it was tuned for."""
    name = repository.rpartition("/")[2].lower().replace("meta-llama-", "llama-")
    while (shorter := _DECORATION.sub("", name)) != name:
        name = shorter
    return name


def formats(model: str, text: str, cache: str) -> dict[str, Any]:
    """Formats that a name or a note states and the model's config does not."""
    if re.search(r"float32|fp32", text.lower()):
        return {"plan.weight_dtype": "fp32", "plan.activation_dtype": "fp32", "plan.kv_dtype": "fp32"}
    found: dict[str, Any] = {"plan.kv_dtype": "fp8"} if cache.startswith("fp8") else {}
    if "quantization_config" not in models.load_config(model)[2]:
        stated = next((name for pattern, name in _FORMATS if re.search(pattern, text.lower())), "")
        if stated:
            found["plan.weight_dtype"] = stated
    return found


def device_of(text: str) -> str:
    """The profile that a printed name of a GPU stands for; "" where none does."""
    words = set(re.findall(r"[a-z0-9]+", (text or "").lower()))
    found = [name for name in hardware.names() if set(name.split("-")) <= words]
    if "40gb" in words and "a100" in words:
        return "a100-40gb"
    return max(found, key=len, default="")
