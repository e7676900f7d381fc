"""The rows of a block as bytes: what is known of them as JSON, then the rows themselves, behind a checksum.

Nothing in a part is run when it is read: a part that was cut off or changed is worked out again. Most likely to be wrong: nothing that a
checksum shows. Source: `zlib.crc32`.
"""

from __future__ import annotations

import json
import struct
import zlib
from typing import Any

import numpy as np

from simcost.frozen import frozen
from simcost.num import Array

_HEAD = struct.Struct("<8sIIQ")  # name, checksum of the rest, bytes of the JSON, bytes of the rows
_NAME = b"simcost1"


@frozen
class Part:
    """Rows `start` to before `stop` of all. `feasible`, `fit`: how many can run, and of those fit; `reasons`: whether a row has one; `first`: the first rows that
    cannot run, by number, with their reasons; `front`: (number, first and second metric, less is better) of rows that no other of the
    part beats; `longest`: structure -> the longest context that memory allows; `seconds`: of the work; `rows`: as the output
    will hold them, compressed text of CSV without the columns that all rows share, or an Arrow stream."""

    start: int
    stop: int
    feasible: int
    fit: int
    reasons: bool
    first: dict[int, str]
    front: tuple[list[int], list[float], list[float]]
    longest: dict[int, float]
    seconds: float
    rows: bytes = b""

    @property
    def pairs(self) -> Array:
        """The metrics of the front. [rows, 2]"""
        return np.array(self.front[1:], np.float64).T.reshape(-1, 2)


def packed(part: Part) -> bytes:
    """A part as bytes."""
    known = {name: getattr(part, name) for name in Part.__dataclass_fields__ if name != "rows"}
    head = json.dumps(known).encode()
    return _HEAD.pack(_NAME, zlib.crc32(part.rows, zlib.crc32(head)), len(head), len(part.rows)) + head + part.rows


def known(data: bytes) -> Part | None:
    """A part without its rows; None for bytes that are none."""
    found = _split(data)
    return None if found is None else _read(found[0])


def whole(data: bytes) -> Part | None:
    """A part; None for bytes that are none."""
    found = _split(data)
    return None if found is None else _read(*found)


def _split(data: bytes) -> tuple[bytes, bytes] | None:
    if len(data) < _HEAD.size:
        return None
    name, checksum, head, rows = _HEAD.unpack_from(data)
    if name != _NAME or len(data) != _HEAD.size + head + rows or zlib.crc32(memoryview(data)[_HEAD.size :]) != checksum:
        return None
    end = _HEAD.size + head
    return data[_HEAD.size : end], data[end:]


def _read(head: bytes, rows: bytes = b"") -> Part:
    said: dict[str, Any] = json.loads(head)
    said["first"] = {int(i): reason for i, reason in said["first"].items()}
    said["longest"] = {int(i): value for i, value in said["longest"].items()}
    said["front"] = tuple(said["front"])
    return Part(**said, rows=rows)
