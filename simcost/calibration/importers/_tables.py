"""What the readers of `aiconfigurator-core` share: finding a table, reading it, and turning a frame into a candidate."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from simcost import units
from simcost.calibration.candidate import Candidate
from simcost.calibration.rows import Rows
from simcost.errors import SpecError
from simcost.hardware.engines import version_order
from simcost.num import Array

PACKAGE = "aiconfigurator-core"
ENGINES = ("vllm", "sglang", "trtllm")
_WORDS = ("op_name", "kernel_source", "phase", "distribution", "score_mode")  # and names that end in `_dtype`
_OPTIONAL = ("window_size", "kernel_source")


def versions(root: Path, op: str, engine: str, table: str) -> list[Path]:
    """Every version's table of an engine, or of a library, the newest first."""
    found = root.glob(f"{op}/{engine}/*/{table}_perf.parquet")
    return sorted(found, key=lambda path: version_order(path.parent.name), reverse=True)


def read_table(path: Path, needed: tuple[str, ...]) -> Any:
    """A table with one time a row, in `latency`. Raises SpecError for an unreadable one, and for a column that is missing."""
    return plain_table(path, (*needed, "latency"))


def plain_table(path: Path, needed: tuple[str, ...]) -> Any:
    """A table that has its times in columns of other names than `latency`. Raises SpecError as `read_table` does."""
    import pandas as pd

    try:
        frame = pd.read_parquet(path)
    except (
        Exception
    ) as error:  # pyarrow and fastparquet raise errors of their own, and MemoryError for sizes that a header makes up
        raise SpecError(f"{path}: cannot be read: {str(error).strip() or type(error).__name__}") from None
    missing = [name for name in needed if name not in frame.columns]
    if missing:
        raise SpecError(f"{path}: not a table of {PACKAGE}: no column '{missing[0]}'")
    for name in (*needed, *(name for name in frame.columns if name in _OPTIONAL)):
        _checked(path, frame[name])
    return frame


def _checked(path: Path, column: Any) -> None:
    """Raises SpecError where a column of words or of numbers holds anything else: readers compare and divide them."""
    from pandas.api.types import is_bool_dtype, is_numeric_dtype

    if column.name in _WORDS or column.name.endswith("_dtype"):
        if not all(isinstance(value, str) for value in column.array):
            raise SpecError(f"{path}: column '{column.name}': not all values are words")
        return
    plain = is_numeric_dtype(column.dtype) and not is_bool_dtype(column.dtype) and column.dtype.kind != "c"
    values = np.asarray(column, np.float64) if plain and not column.hasnans else np.array([np.nan])
    if not (np.isfinite(values) & (values >= 0.0)).all():
        raise SpecError(f"{path}: column '{column.name}': not all values are numbers from 0")


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
    variant: Callable[[Any], Any] | None = None,
    library: str = "",
) -> Candidate:
    """One kind from a frame; `columns`: the family's numbers of a frame; `bad`: left-out rows; `variant`: of every row of one;
    `library`: whose kernels they are, where it is not the engine in the table's path."""
    try:
        rows, kinds = _rows(frame, columns, variant)
    except (ValueError, TypeError, OverflowError) as error:
        raise SpecError(f"{_where(path)}: no table of numbers: {error}") from None
    if (rows.seconds <= 0.0).any():
        raise SpecError(f"{_where(path)}: a row that stays has a time of 0")
    kernels = tuple(sorted(map(str, frame["kernel_source"].unique()))) if "kernel_source" in frame else ()
    excluded = _rows(bad, columns, variant)[0] if bad is not None and len(bad) else None
    engine, version = path.parts[-3:-1]
    return Candidate(
        family, labels, rows.numbers, rows.seconds, _where(path), kernels, dict(dropped), excluded, library or engine, version, kinds
    )  # fmt: skip


def _rows(
    frame: Any, columns: Callable[[Any], Mapping[str, Any]], variant: Callable[[Any], Any] | None
) -> tuple[Rows, Array | None]:
    """Rows of one shape become their median, of two kernels at one shape the faster; milliseconds become seconds."""
    import pandas as pd

    found = columns(frame)
    numbers = pd.DataFrame({name: np.broadcast_to(np.asarray(v, float), (len(frame),)) for name, v in found.items()})
    numbers["seconds"] = frame["latency"].to_numpy(float) * units.parse("1 ms", "seconds")
    by = list(found)
    if variant is not None:
        numbers["variant"] = np.asarray(variant(frame), float)
        by.append("variant")
    numbers["kernel"] = frame["kernel_source"].astype(str).to_numpy() if "kernel_source" in frame else ""
    each = numbers.groupby([*by, "kernel"], as_index=False)["seconds"].median()
    merged = each.groupby(by, as_index=False)["seconds"].min()
    rows = Rows({name: merged[name].to_numpy(float) for name in found}, merged["seconds"].to_numpy(float))
    return rows, None if variant is None else merged["variant"].to_numpy(float)


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
