"""calibrate memory: one start-up log against what simcost says of the same start, term by term, and what each difference may come from.

Most likely to be wrong: settings that the log does not print; --set states them. Source: the log.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from simcost.errors import SpecError
from simcost.estimate.memory import kept
from simcost.hardware import engines
from simcost.query import workload
from simcost.result import Result, Row
from simcost.scenarios import inputs, memory
from simcost.validation import startup_logs
from simcost.validation.memory import TERMS, predicted, query_of
from simcost.validation.memory_logs import Log, formats, model_of, plan_of
from simcost.validation.startup_logs import Startup

_SMALL = 0.03  # relative differences below which a term agrees
_SETTINGS = {
    "vllm": ("gpu_memory_utilization", "max_num_batched_tokens", "max_num_seqs"),
    "sglang": ("mem_fraction_static", "chunked_prefill_size", "max_running_requests"),
}
_SIZES = {"tp": "tensor_parallel_size", "pp": "pipeline_parallel_size", "dp": "data_parallel_size", "ep": "ep_size"}
_REASONS = {
    "weights": "another format than the config's or --set plan.weight_dtype, padding of experts, a tower or an adapter that is not counted",
    "activations": "another release's sampler, {tokens} or {sequences} other than printed, an encoder, LoRA",
    "non_torch": "NCCL, all-reduce and All2All buffers: they differ between machines and releases",
    "graphs": "other captured sizes",
    "pool": "what the terms above add up to, and the total that this GPU shows: --set hw.memory.capacity=...",
    "tokens": "the pool, or another cache format",
    "concurrency": "the pool, or windows that this release holds otherwise",
}


def result(path: Path, hw: str, model: str | None, sets: Mapping[str, Any]) -> Result:
    """The memory terms that a start-up log prints beside predicted ones. `model`: where the log's own is none that simcost finds."""
    found = startup_logs.read(path)
    named = model or model_of(found.settings.get("model", ""))
    if named is None:
        raise SpecError(
            f"{path}: its model {found.settings.get('model', '(not printed)')!r} is not known here: say --model"
        )
    if sets.get("engine", found.engine) != found.engine:
        raise SpecError(
            f"{path}: a log of {engines.title(found.engine)}; --set engine={sets['engine']} asks of another"
        )
    log = _log(path, found, hw, named, sets)
    said = predicted(log)
    w = workload(query_of(log))
    names = {key: f"engine.{name}" for key, name in w.memory.names.items()}
    rows: dict[str, list[Row]] = {"sizes": [], "counts": []}
    for term in TERMS:
        printed = found.printed.get(term)
        if printed is None:
            continue
        table, unit = ("counts", "") if term in ("tokens", "concurrency") else ("sizes", "_bytes_per_gpu")
        error = said[term] / printed - 1.0 if printed else None
        agrees = error is not None and abs(error) <= _SMALL
        rows[table].append(
            {
                "term": term.replace("_", " "), f"printed{unit}": printed, f"predicted{unit}": said[term], "error": error,
                "may_come_from": "" if agrees else _REASONS[term].format(**names),
            }
        )  # fmt: skip
    terms = [row for table in rows.values() for row in table]
    far = [row["term"] for row in terms if row["may_come_from"]]
    sentence = f"{engines.title(log.engine)} {log.version or ''}".strip() + f" prints {len(terms)} terms: "
    sentence += f"{', '.join(far)} differ by more than {_SMALL:.0%}" if far else f"all within {_SMALL:.0%}"
    return Result(
        "calibrate memory", {"log": str(path), **inputs.inputs(query_of(log), w)}, {"terms": len(terms), "terms_apart": len(far)}, {name: table for name, table in rows.items() if table},
        (*_not_printed(found, sets), *memory.warnings(kept(w))), (), sentence, not far,
    )  # fmt: skip


def _log(path: Path, found: Startup, hw: str, model: str, sets: Mapping[str, Any]) -> Log:
    """The question of a log; what `sets` says wins."""
    stated = found.settings
    asked: dict[str, Any] = {"engine": found.engine, **_plan(path, found, model)}
    for name in _SETTINGS[found.engine]:
        if name in stated:
            asked[f"engine.{name}"] = float(stated[name])
    if stated.get("version", "")[:1].isdigit():
        asked["engine.version"] = stated["version"]
    if stated.get("enforce_eager") == "True":
        asked["plan.cuda_graph"] = "off"
    if "total" in found.printed:
        asked["hw.memory.capacity"] = f"{found.printed['total']:.0f} B"
    spelled = " ".join(stated.get(name, "").replace("None", "") for name in ("model", "quantization"))
    asked |= formats(model, spelled, stated.get("kv_cache_dtype", ""))
    length = int(stated.get("max_model_len", "4096").replace(",", ""))
    return Log(
        path.name, str(path), found.engine, stated.get("version", ""), model, hw, {**asked, **sets}, length, found.printed, ""
    )  # fmt: skip


def _plan(path: Path, found: Startup, model: str) -> dict[str, Any]:
    """Sizes of the groups, as a question states them."""
    stated = found.settings
    sizes = {key: int(stated.get(name, 1)) for key, name in _SIZES.items()}
    for key, size in sizes.items():
        if size < 1:
            raise SpecError(f"{path}: {_SIZES[key]} = {size} must be at least 1")
    if stated.get("enable_expert_parallel") == "True":  # vLLM: over all ranks of a stage
        sizes["ep"] = sizes["tp"] * sizes["dp"]
    if found.engine == "sglang" and sizes["dp"] > 1:
        if stated.get("enable_dp_attention") != "True":
            return {"plan.dp": sizes.pop("dp"), **plan_of(model, **sizes)}
        sizes["tp"] //= sizes["dp"]  # whose tp_size counts all ranks
    return plan_of(model, **sizes)


def _not_printed(found: Startup, sets: Mapping[str, Any]) -> list[str]:
    """A note for what sets the terms and the log does not say."""
    needed = ("version", *_SETTINGS[found.engine][: 3 if found.engine == "vllm" else 2])
    missing = [name for name in needed if name not in found.settings and f"engine.{name}" not in sets]
    if not missing:
        return []
    return [f"not printed, so the engine's defaults: {', '.join(missing)} (--set engine.<name>=... states them)"]
