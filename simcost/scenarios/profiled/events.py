"""What of a trace counts: kernels with their stream, operators of the CPU with the time of their own, annotations, and the device.

Kernels are events of the categories kernel, gpu_memcpy and gpu_memset; where there is none the trace is of a CPU, and an operator's own time, without those that it calls, stands
for a kernel's. Times in seconds. Most likely to be wrong: a kernel's operator, found by `External id`, in traces of CUDA graphs, which have none.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from simcost import units
from simcost.errors import SpecError
from simcost.frozen import frozen
from simcost.scenarios.profiled.stream import events

MOST = 6_000_000  # kernels, or operators of a CPU: 60 B of memory each
MOST_NAMES = 20_000  # kinds of them
LONGEST_NAME = 2_000  # characters
_GPU = ("kernel", "gpu_memcpy", "gpu_memset")
_LAUNCHES = ("cuda_runtime", "cuda_driver", "runtime")  # of ROCm too
_MARKS = {"user_annotation": False, "gpu_user_annotation": True}
_DEVICES = ("deviceProperties", "computeProperties")  # the second until PyTorch 1.9
STEP = "ProfilerStep#"  # until PyTorch 1.9 an operator, since then an annotation
_MICROSECOND = units.parse("1 us", "seconds")
_PRODUCTS = (
    "aten::mm",
    "aten::addmm",
    "aten::bmm",
    "aten::baddbmm",
    "aten::linear",
    "aten::matmul",
    "aten::_scaled_mm",
)
Floats = npt.NDArray[np.float64]
Whole = npt.NDArray[np.int64]
Shape = tuple[int, int, int]


@frozen
class Mark:
    """An annotation: its name, when it began and ended [s], and whether it stands on the GPU's timeline."""

    name: str
    start: float
    end: float
    on_gpu: bool


@frozen
class Trace:
    """Kernels in the order of their start: `name` numbers `names`; `own` is the time that counts for its work [s], of a kernel all of it; `lane` a stream or a thread; `shape` numbers
    `shapes`, of a product (m, n, k) where the file has it, else -1. `launches`: when the CPU launched kernels [s]."""

    names: tuple[str, ...]
    name: Whole
    start: Floats
    end: Floats
    own: Floats
    lane: Whole
    device: Whole
    shape: Whole
    shapes: tuple[Shape, ...]
    marks: tuple[Mark, ...]
    launches: Floats
    on_gpu: bool
    title: str
    rank: str


class _Kept:
    """Columns that grow."""

    def __init__(self, where: str, what: str) -> None:
        self.where, self.what = where, what
        self.names: dict[str, int] = {}
        self.name, self.lane, self.device, self.outer = (array("q") for _ in range(4))
        self.start, self.time = array("d"), array("d")

    def add(self, event: dict[str, Any], lane: int, device: int, outer: int) -> None:
        if len(self.name) >= MOST:
            raise SpecError(f"{self.where}: more than {MOST:,} {self.what}: record fewer steps")
        name = str(event.get("name", ""))[:LONGEST_NAME]
        self.name.append(self.names.setdefault(name, len(self.names)))
        if len(self.names) > MOST_NAMES:
            raise SpecError(f"{self.where}: more than {MOST_NAMES:,} names of {self.what}")
        self.start.append(_time(event, "ts", self.where))
        self.time.append(_time(event, "dur", self.where))
        for column, value in ((self.lane, lane), (self.device, device), (self.outer, outer)):
            column.append(value)


def read(path: Path, heard: Callable[[int], None] = lambda _: None) -> Trace:
    """A trace of torch.profiler. Raises SpecError as `stream.events`, for an event that is none, and for a file without kernels and operators."""
    where = str(path)
    gpu, cpu = _Kept(where, "kernels"), _Kept(where, "operators")
    marks: list[Mark] = []
    launches = array("d")
    shapes: dict[int, Shape] = {}
    lanes: dict[str, int] = {}
    title = rank = ""
    for key, found in events(path, heard):
        if key in _DEVICES and isinstance(found, list) and found and isinstance(found[0], dict):
            title = str(found[0].get("name", ""))[:LONGEST_NAME]
        elif key == "distributedInfo" and isinstance(found, dict):
            rank = str(found.get("rank", ""))[:20]
        if key != "event" or not isinstance(found, dict) or found.get("ph") != "X":
            continue
        kind = str(found.get("cat", "")).lower()
        if kind == "operator" and str(found.get("name", "")).startswith(STEP):
            kind = "user_annotation"
        args = found["args"] if isinstance(found.get("args"), dict) else {}
        if kind in _GPU:
            stream = lanes.setdefault(f"{args.get('device')}/{args.get('stream', found.get('tid'))}", len(lanes))
            gpu.add(found, stream, _whole(args.get("device")), _whole(args.get("External id", args.get("external id"))))
        elif kind in ("cpu_op", "operator"):
            outer = _whole(args.get("External id", args.get("external id")))
            cpu.add(found, lanes.setdefault(f"{found.get('pid')}:{found.get('tid')}", len(lanes)), -1, outer)
            shape = _product(found.get("name"), args.get("Input Dims", args.get("Input dims")))
            if shape is not None and outer >= 0:
                shapes[outer] = shape
        elif kind in _LAUNCHES and "launch" in str(found.get("name", "")).lower() and len(launches) < MOST:
            launches.append(_time(found, "ts", where))
        elif kind in _MARKS and len(marks) < MOST:
            start = _time(found, "ts", where)
            name = str(found.get("name", ""))[:LONGEST_NAME]
            marks.append(Mark(name, start, start + _time(found, "dur", where), _MARKS[kind]))
    if not gpu.name and not cpu.name:
        raise SpecError(f"{path}: has no kernel and no operator: record it with torch.profiler and export_chrome_trace")
    return _trace(gpu if gpu.name else cpu, shapes, marks, np.array(launches), bool(gpu.name), title, rank)


def _trace(
    kept: _Kept, shapes: dict[int, Shape], marks: list[Mark], launches: Floats, on_gpu: bool, title: str, rank: str
) -> Trace:
    start, time = np.frombuffer(kept.start), np.frombuffer(kept.time)
    order = np.lexsort((-time, start))  # what begins together: the outer one first
    name, lane, device, outer = (
        np.frombuffer(column, np.int64)[order] for column in (kept.name, kept.lane, kept.device, kept.outer)
    )
    start, time = start[order], time[order]
    known = {shape: place for place, shape in enumerate(dict.fromkeys(shapes.values()))}
    of = np.fromiter((known[shapes[each]] if each in shapes else -1 for each in outer.tolist()), np.int64, len(outer))
    own = time if on_gpu else _own(start, time, lane)
    return Trace(
        tuple(kept.names), name, start, start + time, own, lane, device, of, tuple(known), tuple(marks), np.sort(launches), on_gpu, title, rank,
    )  # fmt: skip


def _own(start: Floats, time: Floats, lane: Whole) -> Floats:
    """Time of each operator without those that it calls on its thread. [s]"""
    own = time.copy()
    for thread in np.unique(lane):
        around: list[tuple[float, int]] = []
        for at in np.flatnonzero(lane == thread).tolist():
            while around and around[-1][0] <= start[at]:
                around.pop()
            if around:
                own[around[-1][1]] -= time[at]
            around.append((start[at] + time[at], at))
    return np.maximum(own, 0.0)


def _time(event: dict[str, Any], key: str, where: str) -> float:
    """A time of an event. [s] Raises SpecError for what is none."""
    value = event.get(key)
    try:
        seconds = float(value) * _MICROSECOND  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        seconds = math.nan
    if isinstance(value, bool) or not math.isfinite(seconds) or (key == "dur" and seconds < 0.0):
        raise SpecError(f"{where}: event {str(event.get('name'))[:60]!r} has {key} = {value!r}, which is not a time")
    return seconds


def _whole(value: Any) -> int:
    """A number of a stream, a device or an operator; -1 for what is none."""
    if isinstance(value, str):
        value = int(value) if value.isdecimal() and len(value) < 18 else -1
    return value if isinstance(value, int) and not isinstance(value, bool) and -1 <= value < 1 << 62 else -1


def _product(name: Any, sizes: Any) -> Shape | None:
    """(m, n, k) of an operator that multiplies matrices, by the sizes of its inputs; None of another one, or where they do not say it."""
    if name not in _PRODUCTS or not isinstance(sizes, list):
        return None
    pair = [each for each in sizes[:3] if isinstance(each, list) and len(each) >= 2]
    pair = pair[-2:] if name in ("aten::addmm", "aten::baddbmm") else pair[:2]
    if len(pair) < 2 or not all(isinstance(size, int) for each in pair for size in each):
        return None
    (*rows, k), second = pair
    n = second[0] if name == "aten::linear" else second[-1]
    return math.prod(rows), n, k
