"""What the readers of `aiconfigurator-core` share: finding a table, reading it, and turning a frame into a candidate."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from simcost import units
from simcost.calibration.rows import Rows
from simcost.errors import SpecError
from simcost.num import Array

PACKAGE = "aiconfigurator-core"
BAD = {
    "vllm 0.24.0 gemm fp8_block": "eager, launch-bound: 55 us and more a call (ai-dynamo/aiconfigurator issue 1414)",
    "trtllm 1.0.0 attention": "A100 1.0.0 tables stand above the memory bandwidth",
    "trtllm 1.3.0rc10 attention": "H100 rc10 tables are broken",
}


@dataclass(frozen=True, slots=True)
class Candidate:
    """Rows of one kind before thinning. `table`: where they stood; `kernels`: what ran; `dropped`: rows left out, by reason;
    `excluded`: those of them whose work is known, so that a report can say what they would have done."""

    family: str
    labels: Mapping[str, str]
    numbers: Mapping[str, Array]
    seconds: Array
    table: str
    kernels: tuple[str, ...]
    dropped: Mapping[str, int]
    excluded: Rows | None = None


def newest(root: Path, op: str, engine: str, table: str, dtype: str = "") -> Path | None:
    """The newest version's table that is not in BAD; of a MoE format, the newest that holds more than a few models."""
    found = [p for p in root.glob(f"{op}/{engine}/*/{table}_perf.parquet") if _usable(engine, p, op)]
    for path in sorted(found, key=lambda p: order(p.parent.name), reverse=True):
        if not dtype or dtype in _FEW:
            return path
        frame = read_table(path, ("moe_dtype", "num_experts"))
        if frame[frame["moe_dtype"] == dtype]["num_experts"].nunique() >= 4:
            return path
    return None


def _usable(engine: str, path: Path, op: str) -> bool:
    return f"{engine} {path.parent.name} {op}" not in BAD


_FEW = ("w4a16_mxfp4", "int4_wo")


def order(text: str) -> tuple[tuple[int, str], ...]:
    parts = text.replace("rc", ".").split(".")
    return tuple((int(part), "") if part.isdigit() else (-1, part) for part in parts)


def read_table(path: Path, needed: tuple[str, ...]) -> Any:
    import pandas as pd

    try:
        frame = pd.read_parquet(path)
    except (OSError, ValueError, ImportError) as error:
        raise SpecError(f"{path}: {str(error).splitlines()[0]}") from None
    missing = [name for name in (*needed, "latency") if name not in frame.columns]
    if missing:
        raise SpecError(f"{path}: not a table of {PACKAGE}: no column '{missing[0]}'")
    return frame


def plain_table(path: Path, needed: tuple[str, ...]) -> Any:
    """A table without a `latency` column of its own."""
    import pandas as pd

    frame = pd.read_parquet(path)
    missing = [name for name in needed if name not in frame.columns]
    if missing:
        raise SpecError(f"{path}: not a table of {PACKAGE}: no column '{missing[0]}'")
    return frame


def _where(path: Path) -> str:
    return "/".join(path.parts[-5:])


def candidate(
    family: str,
    labels: Mapping[str, str],
    frame: Any,
    columns: Callable[[Any], Mapping[str, Any]],
    path: Path,
    dropped: Mapping[str, int] = MappingProxyType({}),
    bad: Any = None,
) -> Candidate:
    """One kind from a frame; `columns`: the family's numbers of a frame; `bad`: left-out rows."""
    rows = _rows(frame, columns)
    kernels = tuple(sorted(map(str, frame["kernel_source"].unique()))) if "kernel_source" in frame else ()
    excluded = _rows(bad, columns) if bad is not None and len(bad) else None
    return Candidate(family, labels, rows.numbers, rows.seconds, _where(path), kernels, dict(dropped), excluded)


def _rows(frame: Any, columns: Callable[[Any], Mapping[str, Any]]) -> Rows:
    """Rows of one shape become their median; milliseconds become seconds."""
    import pandas as pd

    found = columns(frame)
    numbers = pd.DataFrame({name: np.broadcast_to(np.asarray(v, float), (len(frame),)) for name, v in found.items()})
    numbers["seconds"] = frame["latency"].to_numpy(float) * units.parse("1 ms", "seconds")
    merged = numbers.groupby(list(found), as_index=False)["seconds"].median()
    return Rows({name: merged[name].to_numpy(float) for name in found}, merged["seconds"].to_numpy(float))


def kept(
    frame: Any, drops: Mapping[str, Callable[[Any], Any]], unknown: Sequence[str] = ()
) -> tuple[Any, dict[str, int], Any]:
    """(rows that stay, counts of the others by reason, the others but for reasons that leave their work `unknown`)."""
    dropped, start = {}, frame
    lost = frame.index[:0]
    for reason, test in drops.items():
        bad = test(frame)
        if int(bad.sum()):
            dropped[reason] = int(bad.sum())
            lost = lost.union(frame.index[bad]) if reason not in unknown else lost
            frame = frame[~bad]
    return frame, dropped, start.loc[lost]
