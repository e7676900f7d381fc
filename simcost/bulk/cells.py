"""Columns of a block as cells of CSV, byte for byte what `simcost.report.text.as_csv` writes of the same rows, a column at a time.

Most likely to be wrong: a kind of value that a metric has never had. Source: `simcost.result.number`; the csv module of Python.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

import numpy as np

from simcost.report.text import csv_cell

_EXACT = 2.0**53  # from here on a float is no count
Cells = Any  # an array of texts


def text_of(value: Any) -> str:
    """One value as a cell, quoted where it must be."""
    out = io.StringIO()
    csv.writer(out, lineterminator="").writerow(["", csv_cell(value)])
    return out.getvalue()[1:]


def labels(values: Sequence[Any]) -> Cells:
    """Values of an axis. [values]"""
    return _boxed([text_of(value) for value in values])


def numbers(value: Any) -> Cells:
    """Numbers or flags, of any shape: counts without a point, nothing for what is no number."""
    given = np.asarray(value)
    if given.dtype.kind == "b":
        return np.where(given, "True", "False").astype(object)
    flat = given.astype(np.float64).ravel()
    finite = np.isfinite(flat)
    counts = finite & (np.abs(flat) < _EXACT)
    counts[counts] = flat[counts] == np.trunc(flat[counts])
    if counts.all():
        found = _boxed(list(map(str, flat.astype(np.int64).tolist())))
    else:
        found = _boxed(list(map(repr, flat.tolist())))
        if counts.any():
            found[counts] = list(map(str, flat[counts].astype(np.int64).tolist()))
        found[~finite] = ""
    return found.reshape(given.shape)


def _boxed(texts: list[str]) -> Cells:
    found = np.empty(len(texts), object)
    found[:] = texts
    return found


def lines(columns: Sequence[Cells]) -> bytes:
    """Rows of columns of one length, as bytes of UTF-8 that end a line each."""
    joined = "\n".join(map(",".join, zip(*(column.tolist() for column in columns), strict=True)))
    return f"{joined}\n".encode("utf-8", "backslashreplace")


def cells_of(line: bytes) -> list[str]:
    """The cells of a line, read."""
    return next(csv.reader([line.decode()]))


def line_of(cells: Sequence[str]) -> bytes:
    """Cells that were read as a line without its end."""
    out = io.StringIO()
    csv.writer(out, lineterminator="").writerow(cells)
    return out.getvalue().encode("utf-8", "backslashreplace")
