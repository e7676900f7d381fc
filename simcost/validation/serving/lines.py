"""Rows of `silicon_sample.csv` as they stand: cells checked, numbers read, the parts of a source's note by name.

Most likely to be wrong: a column that the package renames; a missing one is an error. Source:
`systems/silicon_sample.csv` of aiconfigurator-core 0.12 (ai-dynamo/aiconfigurator, Apache-2.0).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from simcost.calibration.importers.aiconfigurator import SYSTEMS
from simcost.errors import SpecError, nearest
from simcost.texts import csv_dicts, text
from simcost.units import parse
from simcost.validation import csv_cells

PLAN = ("tp_size", "pp_size", "attention_dp_size", "moe_tp_size", "moe_ep_size")
POOLS = ("prefill", "decode")
POOL = ("batch_size", "num_workers", *PLAN)
_NEEDED = {"isl": "isl", "osl": "osl", "ttft": "silicon_ttft_ms", "tpot": "silicon_tpot_ms"}
MILLISECOND = parse("1 ms", "seconds")
MODES, ENGINES = ("agg", "disagg"), ("vllm", "sglang", "trtllm")
COLUMNS = (
    "id", "silicon_data_source", "backend", "backend_version", "model_path", "system", "precision", "mode", "isl",
    "osl", "gemm_quant_mode", "moe_quant_mode", "batch_size", *PLAN,
    *(f"{pool}_{name}" for pool in POOLS for name in POOL),
    "silicon_ttft_ms", "silicon_tpot_ms",
)  # fmt: skip


def is_sample(columns: Sequence[str]) -> bool:
    """Whether a file with these columns is meant as a sample of silicon: it has its measured ones."""
    return {"silicon_ttft_ms", "silicon_tpot_ms"} <= set(columns)


def lines(path: Path) -> Iterator[dict[str, Any]]:
    """Rows of the file by short names. Raises SpecError naming file, line and column."""
    columns, read = csv_dicts(text(path), path.name)
    if missing := [name for name in COLUMNS if name not in columns]:
        raise SpecError(f"{path.name}: missing columns {', '.join(missing)}")
    for number, line in read:
        yield _line(line, f"{path.name}:{number}")


def _line(cells: Mapping[str, str], at: str) -> dict[str, Any]:
    mode, engine, system = cells["mode"], cells["backend"], cells["system"]
    for name, value, words in (
        ("mode", mode, MODES),
        ("backend", engine, ENGINES),
        ("system", system, SYSTEMS),
    ):
        if value not in words:
            raise SpecError(f"{at}: {name} = {value!r} is not one of {', '.join(words)}{nearest(value, words)}")
    note = _note(cells["silicon_data_source"])
    needed = {short: _number(cells[name], at, name) for short, name in _NEEDED.items()}
    if missing := [name for name, value in needed.items() if not value]:
        raise SpecError(f"{at}: {missing[0]} is empty or 0")
    concurrency = _number(note.get("silicon_concurrency", ""), at, "silicon_concurrency")
    return {
        "id": cells["id"], "mode": mode, "engine": engine, "system": system, "version": cells["backend_version"],
        "path": cells["model_path"], "precision": cells["precision"], "gemm": cells["gemm_quant_mode"], **needed,
        "concurrency": "" if concurrency is None else concurrency, "source": _source(note),
        "image": note.get("image", ""), "day": note.get("measured", "")[:10], "config": note.get("config_id", ""),
        "plan": tuple(_number(cells[name], at, name) for name in PLAN),
        "pools": tuple(tuple(_number(cells[f"{pool}_{name}"], at, name) for name in POOL) for pool in POOLS),
    }  # fmt: skip


def _note(text: str) -> dict[str, str]:
    """Parts of a source's note by key: a dump's name first, an image without a key."""
    found: dict[str, str] = {}
    for part in (piece.strip() for piece in text.split(";")):
        key, equals, value = part.partition("=")
        if equals:
            found[key] = value
        elif part.startswith("db-dump"):
            found["source_file"] = part.removeprefix("db-dump/")
        elif part:
            found["image"] = part
    found["image"] = found.get("image", "").replace("#", "/")
    return found


def _source(note: Mapping[str, str]) -> str:
    """The file that a row is from, without the folders of the machine that joined them."""
    return note.get("source_file", "").rpartition("/data/")[2]


def _number(text: str, at: str, column: str) -> float | None:
    return csv_cells.number(text, at, column) if text else None
