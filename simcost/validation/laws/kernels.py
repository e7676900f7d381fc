"""Laws of single kernels and collectives over a grid of layers: formats, parts of a line, growth, light, groups.

Most likely to be wrong: a kernel that is slower on a newer part, or with more rows, because nobody tuned it there; the interval is
meant to hold that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace

import numpy as np

from simcost.calibration.family import families, kind
from simcost.calibration.speed_of_light import row_light
from simcost.calibration.tables import LARGE
from simcost.cost import calibrated
from simcost.dtypes import dtype
from simcost.frozen import frozen
from simcost.hardware import load as hardware
from simcost.hardware.profile import Device
from simcost.hardware.siblings import siblings
from simcost.num import Array, Bools
from simcost.ops.attention_core import AttentionCore
from simcost.ops.fused import Fused
from simcost.ops.work import Op
from simcost.validation.laws import grid as grids
from simcost.validation.laws.devices import bandwidth, before, largest_group, link_bandwidth, peak_rate
from simcost.validation.laws.grid import Grid
from simcost.validation.laws.times import Asked, Broken, Times, broken, times

MEASURED = 8.0  # members: tables hold no larger group
FAR = 4.0  # times the light, at large sizes
PROMISE = 0.8  # of the wide format's light: a narrower one that promises less need not keep it
CLEAR = 1.5  # factor by which bytes or arithmetic bound a kernel, where a law asks which
SOME = 10  # points: a median of fewer says nothing
PLATEAU = 1.5  # factor between the shares of their datasheets that two siblings reach at large sizes


@frozen
class Kernels:
    """Kernels of one kind on one device: `times`; `compute`, `memory`, `light`: seconds of arithmetic, of bytes, and of both with bytes
    that nothing hides, at the datasheet's rates; `where`: which are asked. All [grid]."""

    grid: Grid
    labels: Mapping[str, str]
    times: Times
    compute: Array
    memory: Array
    light: Array
    where: Bools

    @property
    def name(self) -> str:
        """Family and kind: "gemm bf16-bf16-bf16"."""
        return f"{self.grid.family} {kind(self.labels)}"


def of(hw: str, engine: str, grid: Grid, labels: Mapping[str, str]) -> Kernels | None:
    """What a device says of a grid's kernels in one format; None where it has no such arithmetic, or no curve answers."""
    device = hardware.load(hw)
    if dtype(labels["compute"]).peak not in device.peaks:
        return None
    model = calibrated.model(device, engine)
    if (
        not isinstance(model, calibrated.Calibrated)
        or calibrated.store(device).find(grid.family, labels, engine) is None
    ):
        return None
    family = families()[grid.family]
    op = family.op(grid.numbers, labels)
    found = model.as_family(op, grid.family, labels)
    assert found is not None
    terms, shape = family.terms(op, device), grid.shape
    compute, memory, bound = (
        np.broadcast_to(np.asarray(part, np.float64), shape)
        for part in (terms.compute_s, terms.memory_s, row_light(grid.family, terms))
    )
    return Kernels(grid, labels, times(found, shape), compute, memory, bound, _asked(grid))


def _asked(grid: Grid) -> Bools:
    """Points that fit a device."""
    found = np.ones(grid.shape, bool)
    if grid.family.startswith("attention"):
        decode = grid.family == "attention_decode"
        tokens = grid.numbers["batch"] * (grid.numbers["past"] if decode else grid.numbers["q_len"])
        found &= np.asarray(tokens <= (grids.CACHED if decode else grids.PROMPTED))
    return found


NARROWER = (
    ("fp8", "bf16"),
    ("fp8_block", "bf16"),
    ("nvfp4", "fp8"),
    ("nvfp4", "bf16"),
    ("mxfp4", "bf16"),
    ("int8", "bf16"),
)


def narrower(who: Asked, every: Mapping[str, Kernels]) -> Iterator[Broken]:
    """A narrower format is not slower: where bytes clearly bound the wide one (of a prefill's attention they bound the start alone), and where
    arithmetic does and the device is faster in the narrow one's. Calls below 20 us are exempt."""
    device = hardware.load(who.device)
    for thin, wide in NARROWER:
        if thin not in every or wide not in every:
            continue
        a, b = every[thin], every[wide]
        # What arithmetic and bytes promise, the quantisation of the input included: a thin layer may lose by it.
        promised = (a.light < PROMISE * b.light) & (b.times.seconds >= LARGE) & b.where
        by_bytes = (b.memory > CLEAR * b.compute) & _beyond_cache(device, a) & (b.grid.family != "attention_prefill")
        by_arithmetic = (b.compute > CLEAR * b.memory) & (_peak(device, a) > _peak(device, b))
        where = promised & (by_bytes | by_arithmetic)
        yield from broken("narrower", who, f"{a.name} over {wide}", _at(b), a.times, b.times, where, (a.grid.family,))


def _beyond_cache(device: Device, of: Kernels) -> Bools:
    """Where the narrow format's bytes do not stay in the cache either."""
    cache = 0.0 if device.l2 is None else float(np.max(np.asarray(device.l2)))
    return np.asarray(of.memory * bandwidth(device) > 2.0 * cache)


def _peak(device: Device, of: Kernels) -> float:
    return peak_rate(device, dtype(of.labels["compute"]).peak)


def newer(who: Asked, of_name: Kernels, before: str, of_before: Kernels) -> Iterator[Broken]:
    """A newer part is not slower than the one before it, where none of its rates is lower."""
    mine, theirs = hardware.load(who.device), hardware.load(before)
    lower = _peak(mine, of_name) < _peak(theirs, of_before) or bandwidth(mine) < bandwidth(theirs)
    if not lower:
        yield from broken(
            "newer",
            who,
            f"{of_name.name} after {before}",
            _at(of_name),
            of_name.times,
            of_before.times,
            of_name.where,
            ("*",),
        )


def growing(who: Asked, of: Kernels) -> Iterator[Broken]:
    """Time does not fall when rows, sequences, contexts or prompts grow. Calls below 20 us are judged by themselves: they start."""
    large = of.times.seconds >= LARGE
    for position, name in enumerate(of.grid.axes, start=1):
        yield from grown(who, of.name, name, position, of.times, of.where & large, _at(of))
        yield from grown(who, f"{of.name}, below 20 us", name, position, of.times, of.where & ~large, _at(of))


def grown(
    who: Asked, what: str, axis: str, position: int, found: Times, where: Bools, at: Mapping[str, Array]
) -> Iterator[Broken]:
    """The worst fall of time from a point to the next, the second or the third along one axis of a grid, with all points compared
    and broken; nothing where none falls."""
    worst: Broken | None = None
    points = count = 0
    for lag in range(1, min(4, found.seconds.shape[position])):
        low, high = _shifted(position, lag, found.seconds.ndim)
        for one in broken(f"grows with {axis}", who, what, _sliced(at, high, found.seconds.shape), found.take(low), found.take(high),
                          where[low] & where[high]):  # fmt: skip
            worst = one if worst is None or one.beyond > worst.beyond else worst
            count += one.broken
        points += int((where[low] & where[high]).sum())
    if worst is not None:
        yield replace(worst, points=points, broken=count)


def _shifted(position: int, lag: int, dimensions: int) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    low, high = [slice(None)] * dimensions, [slice(None)] * dimensions
    low[position], high[position] = slice(None, -lag), slice(lag, None)
    return tuple(low), tuple(high)


def _sliced(at: Mapping[str, Array], index: tuple[slice, ...], shape: tuple[int, ...]) -> Mapping[str, Array]:
    return {name: np.broadcast_to(value, shape)[index] for name, value in at.items()}


def twins(who: Asked, every: Mapping[str, Kernels]) -> Iterator[Broken]:
    """fp16 is as fast, and as certain, as bf16 where the rates are."""
    if "fp16" not in every or "bf16" not in every:
        return
    device = hardware.load(who.device)
    a, b = every["fp16"], every["bf16"]
    if _peak(device, a) != _peak(device, b):
        return
    for less, more in ((a.times, b.times), (b.times, a.times)):
        bare = [replace(one, spread={}) for one in (less, more)]
        yield from broken("fp16 is bf16", who, a.name, _at(a), bare[0], bare[1], a.where)
    wider = [replace(one, seconds=np.exp(one.sigma), spread={}) for one in (a.times, b.times)]
    yield from broken("fp16 is bf16", who, f"{a.name}: sigma", _at(a), wider[0], wider[1], a.where)


def light(who: Asked, of: Kernels) -> Iterator[Broken]:
    """No kernel is faster than its arithmetic and the bytes that no cache holds."""
    floor = replace(of.times, seconds=_floor(who.device, of), spread={})
    yield from broken("speed of light", who, of.name, _at(of), floor, replace(of.times, spread={}), of.where)


def _floor(hw: str, of: Kernels) -> Array:
    """Counted here once more, and not by `cost.light`: arithmetic at the peak; weights and caches at the bandwidth, for other layers pass
    through the cache between two uses."""
    op = families()[of.grid.family].op(of.grid.numbers, of.labels)
    kept = np.zeros(of.grid.shape)
    for part in op.parts if isinstance(op, Fused) else (op,):
        kept = kept + np.asarray(_kept(part), np.float64)
    return np.asarray(np.maximum(of.compute, kept / hardware.load(hw).bandwidth))


def _kept(op: Op) -> object:
    """Bytes of weights, and of keys and values. [B]"""
    if isinstance(op, AttentionCore):
        keys = np.asarray(op.mask.keys(op.q_len, op.past))
        width = op.d_qk if op.shared_kv else op.d_qk + op.d_v
        return op.kv.tensor_bytes(op.batch * keys * op.kv_heads * width)
    if hasattr(op, "w"):
        times_ = getattr(op, "experts", getattr(op, "batch", 1.0))
        return times_ * op.w.matrix_bytes(op.n, op.k)  # type: ignore[attr-defined]
    return 0.0


def far(who: Asked, of: Kernels) -> Iterator[Broken]:
    """No table takes more than four times its floor at large sizes."""
    if not hardware.load(who.device).tables:
        return
    for name, where in _large(of, LARGE):
        if (middle := float(np.median((of.times.seconds / of.light)[where]))) > FAR:
            yield _middling("far from its floor", who, f"{of.name}, {name}-bound", int(where.sum()), middle, FAR)


def _large(of: Kernels, least: float) -> Iterator[tuple[str, Bools]]:
    """(class, its points of at least so many seconds of light), where there are some. Prefill of attention bound by bytes is its start."""
    for name, mine in (("compute", of.compute > CLEAR * of.memory), ("memory", of.memory > CLEAR * of.compute)):
        where = np.asarray(mine & of.where & (of.light >= least))
        if int(where.sum()) >= SOME and (name, of.grid.family) != ("memory", "attention_prefill"):
            yield name, where


def _middling(law: str, who: Asked, what: str, points: int, ratio: float, most: float) -> Broken:
    return Broken(
        law, who.device, who.engine, what, points, points, "the median", (ratio,) * 3, (most,) * 3, ratio / most
    )


def plateau(of: Kernels, other: str, theirs: Kernels, who: Asked) -> Iterator[Broken]:
    """Two siblings reach similar shares of their datasheets at large sizes."""
    mine, their_own = (one.times.seconds / one.light for one in (of, theirs))
    for name, where in _large(of, 5 * LARGE):
        if (middle := float(np.median(mine[where] / their_own[where]))) > PLATEAU:
            yield _middling(
                "plateau of siblings", who, f"{of.name}, {name}-bound, over {other}", int(where.sum()), middle, PLATEAU
            )


def _at(of: Kernels) -> Mapping[str, Array]:
    """What tells the points of a grid apart."""
    return {
        name: np.asarray(v) for name, v in of.grid.numbers.items() if name not in ("load", "touched", "copies", "d_v")
    }


Priced = Callable[[str, str], Kernels | None]  # (device, format) -> its kernels


def judged(who: Asked, formats: Iterable[str], priced: Priced) -> Iterator[Broken]:
    """What breaks a law on one grid, in every format. `priced`: (device, format) -> its kernels, None where there are none."""
    every = {name: found for name in formats if (found := priced(who.device, name)) is not None}
    yield from narrower(who, every)
    yield from twins(who, every)
    for name, found in every.items():
        if name != "fp16":
            yield from growing(who, found)
            yield from light(who, found)
            yield from far(who, found)
            yield from _others(who, name, found, priced)


def _others(who: Asked, name: str, found: Kernels, priced: Priced) -> Iterator[Broken]:
    """Against the part before it, and against siblings."""
    old = before(who.device)
    if old is not None and (theirs := priced(old, name)) is not None:
        yield from newer(who, found, old, theirs)
    for other in siblings(who.device):
        if (theirs := priced(other, name)) is not None:
            yield from plateau(found, other, theirs, who)


def collectives(who: Asked) -> Iterator[Broken]:
    """Bytes and members do not make a collective cheaper, and none is faster than its links."""
    device = hardware.load(who.device)
    model = calibrated.model(device, who.engine)
    for what, (op, shape) in grids.collectives(largest_group(device)).items():
        found, good = times(model(op), shape), np.ones(shape, bool)
        at = {"group": np.asarray(op.group), "bytes": np.asarray(op.payload)}
        yield from grown(who, what, "bytes", 1, found, good, at)
        if what != "all_to_all":  # whose ranks send the same to more of them
            yield from grown(who, what, "group", 0, found, good & (np.asarray(op.group) >= MEASURED), at)
        bare = replace(found, spread={})
        yield from broken(
            "speed of light", who, what, at, replace(bare, seconds=np.maximum(found.light, 1e-12)), bare, good
        )


def newer_collectives(who: Asked) -> Iterator[Broken]:
    """A newer part's links are not slower, where their bandwidth is not lower."""
    old = before(who.device)
    if old is None:
        return
    mine, theirs = hardware.load(who.device), hardware.load(old)
    if link_bandwidth(mine) < link_bandwidth(theirs) or (mine.scaleout or 0.0) < (theirs.scaleout or 0.0):
        return
    for what, (op, shape) in grids.collectives(min(largest_group(mine), largest_group(theirs))).items():
        less, more = (times(calibrated.model(device, who.engine)(op), shape) for device in (mine, theirs))
        same = np.broadcast_to(np.asarray(mine.nodes(op.group) <= theirs.nodes(op.group)), shape)
        at = {"group": np.asarray(op.group), "bytes": np.asarray(op.payload)}
        yield from broken("newer", who, f"{what} after {old}", at, less, more, same, ("*",))
