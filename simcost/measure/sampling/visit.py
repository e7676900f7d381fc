"""One visit of one point: build it, prove it right, time it; and what becomes of kinds that fail.

A kind is proved on its smallest point before it is timed at all, and every small point again. A wrong result drops its point,
and has every other point of its kind checked, large ones too; the third drops the kind with one line. No wrong point leaves a
row. Most likely to be wrong: an error that only large shapes have; their checks look at samples.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from simcost.errors import SimcostError
from simcost.measure.kernels.kernel import Kernel, Unsupported, builder
from simcost.measure.machine.target import alive, one_line
from simcost.measure.points.design import footprint
from simcost.measure.points.point import Kind, Point
from simcost.measure.sampling.probe import time_kernel
from simcost.measure.timing.buffers import Bench
from simcost.measure.timing.cpu import Timing
from simcost.ops.work import Op

COPIES_CPU, COPIES_CUDA = 128, 32  # of a kernel's buffers, at most
_CHECKED = {False: 5e8, True: 2e11}  # FLOP of a point, on a CPU and on CUDA, up to which every visit is checked
_UNSTEADY = "the clock moved by more than a tenth, or was low"
_PATIENT = 2.0  # times the mode's limit of one call, before a point of a slow kind is passed over
_OUTLASTED = 25.0  # the same, when the kind has no point to spare
_PATIENCE = 3  # failures of a kind that has no success before it is given up
_WRONG = 3  # wrong points of a kind before nothing of it is believed


class Wrong(SimcostError):
    """A kernel gave a wrong result."""


class SlowPath(Wrong):
    """Another kernel ran than the one that the kind is measured for: true of all of its points."""


@dataclass
class Visits:
    """State of a run's kinds. `guess_s`: seconds of a call, roughly; `spare`: points of a kind that may be passed over;
    `dropped`: kind -> why; `kernels`: what ran; `skipped`: reason -> visits."""

    bench: Bench
    visit_s: float
    call_s: float
    guess_s: Callable[[Op], float]
    spare: dict[Kind, int] = field(default_factory=dict)
    dropped: dict[Kind, str] = field(default_factory=dict)
    kernels: dict[Kind, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    skipped: Counter[str] = field(default_factory=Counter)
    dirty: list[float] = field(default_factory=list)
    _proved: set[Kind] = field(default_factory=set)
    _checked: set[Point] = field(default_factory=set)
    _timed: set[Point] = field(default_factory=set)
    _unfit: set[Point] = field(default_factory=set)
    _failures: Counter[Kind] = field(default_factory=Counter)
    _wrong: dict[Kind, set[Point]] = field(default_factory=lambda: defaultdict(set))
    _slower: dict[Kind, float] = field(default_factory=dict)

    def prove(self, point: Point) -> str:
        """Builds and checks a kind at this point: "" when it is right or there was no memory, else what went wrong."""
        try:
            self._build(point, check=True)
            self._proved.add(point.kind)
            return ""
        except torch.OutOfMemoryError:
            pass  # the visit tries again, and counts
        except Exception as error:
            return self._failed(point, error)
        self.bench.release()
        return ""

    def time(self, point: Point) -> tuple[Timing | None, str]:
        """(time, note) of a visit; no time when the point could not be built, was passed over, or the device slowed down under
        it."""
        if point.kind in self.dropped or point in self._unfit:
            return None, ""
        guess = self.guess_s(point.op)
        if self._too_long(point, guess):
            return None, ""
        done, said = self._tried(point)
        if done is None:
            return None, said
        kernel, timing, how = done
        if _unsteady(timing, how):
            self.skipped[_UNSTEADY] += 1
            return None, f"{point}: dropped, {_UNSTEADY}"
        self._proved.add(point.kind)
        # A slow kind is learned at once, forgotten slowly: one lucky small point must not let a long one through.
        self._slower[point.kind] = max(timing.seconds / guess, 0.7 * self._slower.get(point.kind, 1.0))
        self.kernels[point.kind][kernel.backend if how == "loop" else f"{kernel.backend}, {how}"] += 1
        self.dirty.append(timing.dirty)
        self._timed.add(point)
        return timing, ""

    def _tried(self, point: Point) -> tuple[tuple[Kernel, Timing, str] | None, str]:
        """(what was built and timed, note); again with the memory given back where there was none."""
        for _ in range(2):
            try:
                return self._once(point), ""
            except torch.OutOfMemoryError:
                self._checked.discard(point)
            except Exception as error:
                return None, self._failed(point, error)
            self.bench.release()  # outside of the handler, which keeps the tensors of the failed try alive
        self.skipped["out of device memory"] += 1
        return None, ""

    def _once(self, point: Point) -> tuple[Kernel, Timing, str]:
        kernel = self._build(point, check=self._worth_checking(point))
        return (kernel, *self._timing(kernel, point.kind))

    def _timing(self, kernel: Kernel, kind: Kind) -> tuple[Timing, str]:
        """(time, how), once more when the clock did not hold."""
        timing, how = time_kernel(kernel, self.bench, self.visit_s, kind)
        return time_kernel(kernel, self.bench, self.visit_s, kind) if _unsteady(timing, how) else (timing, how)

    def _too_long(self, point: Point, guess: float) -> bool:
        """Whether a point is passed over: a kind that turned out slow keeps enough of them for a curve, unless they would take
        far too long."""
        expected = guess * self._slower.get(point.kind, 1.0) / self.call_s
        if expected < _PATIENT:
            return False
        if point in self._timed:
            return True  # it has its row; another visit costs more than it says
        if expected < _OUTLASTED and self.spare.get(point.kind, 0) <= 0:
            return False
        self.skipped["a call takes too long for this mode, by what its kind has shown"] += 1
        self.spare[point.kind] = self.spare.get(point.kind, 0) - 1
        return True

    def _worth_checking(self, point: Point) -> bool:
        """Once a point, where the reference is cheap."""
        if point.kind not in self._proved:
            return True
        new = point not in self._checked
        self._checked.add(point)
        cheap = float(point.op.work().flops) < _CHECKED[self.bench.cuda]
        return new and (cheap or bool(self._wrong.get(point.kind)))

    def _build(self, point: Point, check: bool) -> Kernel:
        size = footprint(point.op)
        most = COPIES_CUDA if self.bench.cuda else COPIES_CPU
        copies = max(1, min(most, math.ceil(self.bench.target.rotate / max(size, 1.0))))
        self.bench.begin(size * copies)  # a copy that shares bytes with another finds them in the cache
        kernel = build(point, self.bench, copies)
        if check:
            with kernel.context():
                error = kernel.error()
            if not error <= kernel.tolerance:
                raise Wrong(
                    f"{point}: {kernel.backend} is wrong (relative error {error:.2g}, allowed {kernel.tolerance:g})"
                )
            if kernel.expects and point.kind not in self._proved:
                self._expect(point, kernel)
        return kernel

    def _expect(self, point: Point, kernel: Kernel) -> None:
        """The fast path must have run, by the names of the kernels on the device."""
        from simcost.measure.timing.kernel_names import kernel_names

        names = kernel_names(kernel.calls[0])
        if names and not any(kernel.expects in name for name in names):
            raise SlowPath(
                f"{point}: the fast path did not run (no kernel named *{kernel.expects}*, but {names[0][:60]})"
            )

    def _failed(self, point: Point, error: Exception) -> str:
        """Count a failure; give the kind up when it is wrong several times, or never works. Raises when the device is
        gone."""
        if isinstance(error, Unsupported):
            self._unfit.add(point)
            self.spare[point.kind] = self.spare.get(point.kind, 0) - 1
            self.skipped[str(error)] += 1
            return ""
        alive(self.bench.target)
        text = str(error) if isinstance(error, SimcostError) else one_line(error)
        wrong = self._wrong[point.kind]
        if isinstance(error, Wrong):
            wrong.add(point)
            self._unfit.add(point)  # another pass would say the same
        self.skipped["wrong result" if isinstance(error, Wrong) else "failed"] += 1
        self._failures[point.kind] += 1
        final = isinstance(error, SlowPath) or len(wrong) >= _WRONG
        hopeless = point.kind not in self.kernels and self._failures[point.kind] >= _PATIENCE
        if final or hopeless:
            self.dropped[point.kind] = text
            return f"{point.kind}: dropped: {text}"
        return f"{point}: {text}"


def _unsteady(timing: Timing, how: str) -> bool:
    """Whether every sample was taken under a clock that did not hold; on a CPU dirty samples are the scheduler's."""
    return how != "loop" and timing.dirty >= 1.0


def build(point: Point, bench: Bench, copies: int) -> Kernel:
    """The kernel of a point, with `copies` calls. Raises Unsupported for a shape that no kernel here takes."""
    return builder(point.kind.family).build(point.op, bench, copies)
