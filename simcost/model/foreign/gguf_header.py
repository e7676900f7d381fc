"""The header of a GGUF file: its metadata and what it says of every tensor. No weight is read.

Lists of words (vocabularies, merges) are passed over, of long lists only the length is kept, so that a hostile file costs neither memory nor time. Most likely to be
wrong: a tensor type that is newer than this table; it is refused. Source: ggml, docs/gguf.md; gguf-py, constants.py (GGML_QUANT_SIZES).
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from simcost.errors import SpecError
from simcost.frozen import frozen

MAGIC = b"GGUF"
_NUMBERS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
_STRING, _ARRAY = 8, 9
_KEYS, _TENSORS, _PARTS = 1 << 12, 1 << 17, 1 << 10  # more than any file has
_TEXT, _KEPT, _WORDS = 1 << 16, 1 << 12, 1 << 21  # bytes of a name, numbers of a list that are kept, words of a list
# Number of a type -> name, elements of a block, its bytes.
TYPES: Mapping[int, tuple[str, int, int]] = {
    0: ("fp32", 1, 4), 1: ("fp16", 1, 2), 2: ("q4_0", 32, 18), 3: ("q4_1", 32, 20), 6: ("q5_0", 32, 22), 7: ("q5_1", 32, 24), 8: ("q8_0", 32, 34), 9: ("q8_1", 32, 40),
    10: ("q2_k", 256, 84), 11: ("q3_k", 256, 110), 12: ("q4_k", 256, 144), 13: ("q5_k", 256, 176), 14: ("q6_k", 256, 210), 15: ("q8_k", 256, 292),
    16: ("iq2_xxs", 256, 66), 17: ("iq2_xs", 256, 74), 18: ("iq3_xxs", 256, 98), 19: ("iq1_s", 256, 50), 20: ("iq4_nl", 32, 18), 21: ("iq3_s", 256, 110),
    22: ("iq2_s", 256, 82), 23: ("iq4_xs", 256, 136), 29: ("iq1_m", 256, 56), 30: ("bf16", 1, 2), 34: ("tq1_0", 256, 54), 35: ("tq2_0", 256, 66),
    39: ("gguf_mxfp4", 32, 17), 40: ("gguf_nvfp4", 64, 36),
}  # fmt: skip


@frozen
class Tensor:
    """shape: as GGUF states it, the width that is contiguous first; kind: the name of its type; size: in bytes."""

    name: str
    shape: tuple[int, ...]
    kind: str
    size: float

    @property
    def elements(self) -> int:
        """Weights of the tensor."""
        return math.prod(self.shape)


@frozen
class Header:
    """metadata: by key; a list of words as its length."""

    metadata: Mapping[str, Any]
    tensors: tuple[Tensor, ...]


def read(path: Path) -> Header:
    """The header of a file, with the tensors of all its parts. Raises SpecError for what is no GGUF file, or is cut off."""
    first = _read_part(path)
    parts = first.metadata.get("split.count", 0)
    if not isinstance(parts, int) or isinstance(parts, bool) or parts <= 1:
        return first
    tail = f"-of-{parts:05d}"
    if parts > _PARTS or not path.stem.endswith(tail):
        raise SpecError(f"{path}: it is one of {parts} parts, and its name does not end in -00001{tail}.gguf")
    start = path.stem[: -len(tail)].rpartition("-")[0]
    files = [path.with_name(f"{start}-{number + 1:05d}{tail}.gguf") for number in range(parts)]
    missing = next((file.name for file in files if not file.is_file()), None)
    if missing is not None:
        raise SpecError(f"{path}: it is one of {parts} parts, and {missing} is not in the same folder")
    read_ = [_read_part(file) for file in files]
    return Header(read_[0].metadata, tuple(tensor for part in read_ for tensor in part.tensors))


def _read_part(path: Path) -> Header:
    try:
        with path.open("rb") as file:
            return _parsed(_Reader(file, path))
    except OSError as error:
        raise SpecError(f"{path}: {error.strerror or error}") from None


class _Reader:
    """Numbers and names from an open file, never past its end."""

    def __init__(self, file: BinaryIO, path: Path) -> None:
        self.file, self.path, self.left = file, path, path.stat().st_size

    def fail(self, why: str) -> SpecError:
        return SpecError(f"{self.path}: not a GGUF file that can be read: {why}")

    def bytes(self, count: int) -> bytes:
        if count > self.left:
            raise self.fail("it is cut off")
        self.left -= count
        return self.file.read(count)

    def skip(self, count: int) -> None:
        if count > self.left:
            raise self.fail("it is cut off")
        self.left -= count
        self.file.seek(count, 1)

    def number(self, form: str) -> Any:
        return struct.unpack(form, self.bytes(struct.calcsize(form)))[0]

    def count(self, most: int, what: str) -> int:
        found = int(self.number("<Q"))
        if found > most:
            raise self.fail(f"{found} {what}")
        return found

    def text(self) -> str:
        return self.bytes(self.count(_TEXT, "bytes of a name")).decode("utf-8", "replace")


def _parsed(r: _Reader) -> Header:
    if r.bytes(4) != MAGIC:
        raise r.fail("it does not begin with GGUF")
    version = r.number("<I")
    if version not in (2, 3):
        raise r.fail(f"version {version} (2 and 3 are read, in little-endian order)")
    tensors, keys = r.count(_TENSORS, "tensors"), r.count(_KEYS, "keys")
    metadata: dict[str, Any] = {}
    for _ in range(keys):
        key = r.text()
        metadata[key] = _value(r, r.number("<I"))
    return Header(metadata, tuple(_tensor(r) for _ in range(tensors)))


def _value(r: _Reader, kind: int) -> Any:
    if kind in _NUMBERS:
        return r.number(_NUMBERS[kind])
    if kind == _STRING:
        length = int(r.number("<Q"))  # a chat template may be long
        if length <= _TEXT:
            return r.bytes(length).decode("utf-8", "replace")
        r.skip(length)
        return ""
    if kind != _ARRAY:
        raise r.fail(f"a value of type {kind}")
    inner, count = r.number("<I"), int(r.number("<Q"))
    if inner in _NUMBERS:
        width = struct.calcsize(_NUMBERS[inner])
        if count <= _KEPT:
            return [r.number(_NUMBERS[inner]) for _ in range(count)]
        r.skip(count * width)
        return count
    if inner != _STRING or count > _WORDS:
        raise r.fail(f"a list of {count} values of type {inner}")
    for _ in range(count):
        r.skip(int(r.number("<Q")))
    return count


def _tensor(r: _Reader) -> Tensor:
    name, dimensions = r.text(), int(r.number("<I"))
    if not 1 <= dimensions <= 4:
        raise r.fail(f"tensor {name[:60]!r} has {dimensions} dimensions")
    shape = tuple(int(r.number("<Q")) for _ in range(dimensions))
    kind = r.number("<I")
    r.skip(8)  # where it stands
    if kind not in TYPES:
        raise r.fail(f"tensor {name[:60]!r} is of type {kind}, which is not known here")
    called, block, size = TYPES[kind]
    if not all(1 <= side < 1 << 40 for side in shape) or shape[0] % block:
        raise r.fail(f"tensor {name[:60]!r} of type {called} has the shape {shape}")
    return Tensor(name, shape, called, math.prod(shape) / block * size)
