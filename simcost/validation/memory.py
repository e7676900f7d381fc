"""Start-up logs of engines against what simcost says of their memory, term by term.

Each log is judged with its own release's terms and the settings that it prints. Most likely to be wrong: towers of multimodal models, which no
config of a language model counts; memory outside PyTorch in groups of ranks. Source: `workloads/validation/memory.csv` (column `source`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from simcost.errors import Infeasible, SimcostError, SpecError, watched
from simcost.estimate import feasible, memory
from simcost.frozen import frozen
from simcost.hardware import engines
from simcost.hardware import load as hardware
from simcost.hardware.engine_file import numbers
from simcost.query import Query, make, workload
from simcost.result import Result, Row
from simcost.units import parse
from simcost.validation.memory_logs import STAND_IN, Log, Unread, read
from simcost.validation.score import error, grouped

BARS = {"pool": (0.03, 0.10), "concurrency": (0.05, 0.20), "weights": (0.01, 0.01)}  # median, P90
NEAR = parse("1 GiB", "bytes")  # a pool this near counts as within its P90
WORST = 12
TERMS = ("weights", "activations", "non_torch", "graphs", "pool", "tokens", "concurrency")
_SIZES = ("weights", "activations", "non_torch", "graphs", "pool")


@frozen
class Judged:
    """A log with what simcost says of it, by the same names."""

    log: Log
    predicted: Mapping[str, float]


def predicted(log: Log) -> dict[str, float]:
    """Sizes [B] and counts of a start, by the names of its printed ones. Raises SimcostError where no question can be made of it."""
    w = workload(query_of(log))
    if said := feasible.broken(w, advise=False):
        raise Infeasible(f"plan: {said}")
    kept = memory.kept(w)
    found = memory.metrics(kept)
    return {
        "weights": _one(kept.memory.weights),
        "activations": _one(kept.memory.activations),
        "non_torch": _one(kept.memory.non_torch),
        "graphs": _one(kept.memory.graphs),
        "pool": _one(kept.memory.pool),
        "tokens": _one(found["kv_pool_tokens"]),
        "concurrency": _one(found["max_concurrency"] / (w.plan.replicas * w.plan.copies)),
    }


def _one(value: Any) -> float:
    return float(np.asarray(value))


def query_of(log: Log) -> Query:
    """The question of a log; weights in a format that the device cannot compute in are widened, as engines do."""
    phase = {"batch": 1, "context": log.context}
    ask = make(log.model, log.hw, True, phase, log.sets, {}, None)
    try:
        workload(ask)
    except SpecError as fault:
        if "cannot compute in" not in str(fault):
            raise
        wide = {"plan.compute_dtype": "bf16"}
        if "bf16" not in hardware.load(log.hw).peaks:  # Volta and Turing: engines run in fp16
            wide = dict.fromkeys(("plan.compute_dtype", "plan.activation_dtype"), "fp16")
        ask = make(log.model, log.hw, True, phase, {**log.sets, **wide}, {}, None)
    return ask


def logs(path: Path | None = None) -> tuple[list[Judged], list[Unread], list[str]]:
    """(logs that a question can be made of, the rest with why, notes on the file). Raises SpecError where there is none of the
    first."""
    found: list[Judged] = []
    left: list[Unread] = []
    rows, notes = read(path)
    for row in watched(rows, "start-up logs"):
        if isinstance(row, Unread):
            left.append(row)
            continue
        try:
            found.append(Judged(row, predicted(row)))
        except SimcostError as fault:
            left.append(Unread(row.id, row.model, str(fault)))
    if not found:
        raise SpecError(f"{path}: no row that a question can be made of ({left[0].reason if left else 'it is empty'})")
    return found, left, notes


def result(path: Path | None = None) -> Result:
    """The report on start-up logs: errors term by term, engine by engine and release by release. Raises SpecError as `logs`."""
    judged, left, notes = logs(path)
    rows = [row for one in judged for row in _rows(one)]
    terms = grouped(rows, lambda row: (row["term"], row["engine"]), ("term", "engine"), _summary)
    pools = [row for row in rows if row["term"] == "pool"]
    pools.sort(key=lambda row: (row["engine"] != "vLLM", row["engine"], numbers(row["release"])))
    releases = grouped(pools, lambda row: (row["engine"], row["release"]), ("engine", "release"), _summary)
    worst = sorted(pools, key=lambda row: -abs(row["error"]))[:WORST]
    tables: dict[str, Sequence[Row]] = {"terms": terms, "pool by release": releases, "worst": worst}
    if left:
        tables["left out"] = [{"id": one.id, "model": one.model, "reason": one.reason} for one in left]
    missed = _missed(rows)
    return Result(
        "validate memory",
        {"logs": str(path) if path else "shipped"},
        {"logs": len(judged), "left_out": len(left), **_figures(rows)},
        tables,
        (*notes, *_stand_ins(judged)),
        tuple(dict.fromkeys(one.log.source for one in judged)),
        _sentence(rows, missed),
        not missed,
    )


def _stand_ins(judged: Sequence[Judged]) -> list[str]:
    """Logs of GPUs without a profile: whose terms judge them."""
    found = [f"{one.log.stands_in_for} ({one.log.id})" for one in judged if one.log.stands_in_for]
    if not found:
        return []
    return [f"no profile for {'; '.join(found)}: {STAND_IN} stands in, with the total that the log prints"]


def _rows(one: Judged) -> list[Row]:
    log = one.log
    found: list[Row] = []
    for term in TERMS:
        if term not in log.printed or log.printed[term] <= 0.0:
            continue
        printed, said = log.printed[term], one.predicted[term]
        unit = "_bytes_per_gpu" if term in _SIZES else ""
        found.append(
            {
                "id": log.id, "term": term, "engine": engines.title(log.engine), "release": _release(log), "model": log.model, "hw": log.hw,
                "tp": int(log.sets.get("plan.tp", 1)), f"printed{unit}": printed, f"predicted{unit}": said, "error": error(said, printed),
                "off_bytes_per_gpu": said - printed, "story": log.story,
            }
        )  # fmt: skip
    return found


def _release(log: Log) -> str:
    """ "0.19" of "0.19.0": the release whose terms judge a log."""
    return ".".join(str(log.sets.get("engine.version", "not said")).split(".")[:2])


def _summary(rows: Sequence[Row]) -> dict[str, Any]:
    errors = np.asarray([row["error"] for row in rows])
    found: dict[str, Any] = {
        "n": len(rows), "median_abs_error": float(np.median(np.abs(errors))), "p90_abs_error": float(np.quantile(np.abs(errors), 0.9)),
        "bias": float(np.median(errors)),
    }  # fmt: skip
    if rows[0]["term"] in _SIZES:
        off = np.asarray([row["off_bytes_per_gpu"] for row in rows])
        found |= {
            "median_off_bytes_per_gpu": float(np.median(np.abs(off))),
            "p90_off_bytes_per_gpu": float(np.quantile(np.abs(off), 0.9)),
        }
    return found


def _figures(rows: Sequence[Row]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for term in BARS:
        mine = [row for row in rows if row["term"] == term]
        if mine:
            found |= {
                f"{term}_{name}": value
                for name, value in _summary(mine).items()
                if name in ("n", "median_abs_error", "p90_abs_error")
            }
    return found


def _missed(rows: Sequence[Row]) -> list[str]:
    """Bars that do not hold, in words."""
    found = []
    for term, (median, high) in BARS.items():
        errors = _errors(rows, term)
        if errors.size and float(np.median(errors)) > median:
            found.append(f"{term}: median {float(np.median(errors)):.1%}, bar {median:.0%}")
        if errors.size and float(np.quantile(errors, 0.9)) > high:
            found.append(f"{term}: P90 {float(np.quantile(errors, 0.9)):.1%}, bar {high:.0%}")
    return found


def _errors(rows: Sequence[Row], term: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Sizes of the errors of a term; of a pool within a GiB at most its bar."""
    mine = [row for row in rows if row["term"] == term]
    errors = np.asarray([abs(row["error"]) for row in mine], np.float64)
    if term != "pool" or not mine:
        return errors
    near = np.asarray([abs(row["off_bytes_per_gpu"]) <= NEAR for row in mine])
    return np.where(near, np.minimum(errors, BARS[term][1]), errors)


def _sentence(rows: Sequence[Row], missed: Sequence[str]) -> str:
    """The score of every term with a bar, that of pools by engine, and which bars hold."""
    said, empty = [], []
    for term in BARS:
        mine = [row for row in rows if row["term"] == term]
        if not mine:
            empty.append(term)
            continue
        said.append(f"{term} of {_score(mine)}")
        by_engine = {row["engine"]: [one for one in mine if one["engine"] == row["engine"]] for row in mine}
        if term == "pool" and len(by_engine) > 1:
            said[-1] += f" ({', '.join(f'{engine} {_score(part)}' for engine, part in by_engine.items())})"
    if missed:
        said.append(f"OUTSIDE: {'; '.join(missed)}")
    else:
        said.append("all bars hold" if not empty else f"the bars of these hold; no log prints {' or '.join(empty)}")
    return "; ".join(said)


def _score(rows: Sequence[Row]) -> str:
    figures = _summary(rows)
    logs = f"{figures['n']} log{'s' if figures['n'] > 1 else ''}"
    return f"{logs} {figures['median_abs_error']:.1%} median, {figures['p90_abs_error']:.1%} P90"
