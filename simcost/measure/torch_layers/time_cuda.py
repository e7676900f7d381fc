"""Times a torch block on a CUDA device: eager, as a replayed CUDA graph, and section by section.

The graph holds one pass over all copies, so that weights are cold and no launch gaps remain; sections lie between
stamps that are queued while the device sleeps. The profiler is not asked: kernels outside of torch's own operators
(Triton's) belong to no range of it. Most likely to be wrong: everything here was written against the manual and has run
on no device yet; where a section asks the host, its block has no graph and no section times. Source:
torch.cuda.CUDAGraph, torch.cuda.Event.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import pairwise

import torch
from torch.nn.attention import sdpa_kernel

from simcost.measure import torch_ops as ops
from simcost.measure.kernels.attention import ORDER
from simcost.measure.kernels.grouped import capturable
from simcost.measure.machine.environment import Gauge, gauge
from simcost.measure.machine.target import one_line
from simcost.measure.timing.cpu import Timing
from simcost.measure.timing.cuda import elapsed, sampled, stamp, unsteady, warmed
from simcost.measure.timing.cuda_graph import Uncapturable, captured
from simcost.measure.timing.deadline import NEVER, Deadline
from simcost.measure.torch_layers import bounds
from simcost.measure.torch_layers.build import TorchBlock
from simcost.measure.torch_layers.section import SDPA, Tensor, Tensors
from simcost.measure.torch_layers.time_cpu import LEAST, MOST, Book, assembled, backward_time, cut
from simcost.measure.torch_layers.times import BlockTime, Sample, timing
from simcost.units import parse

WARM_UP = 3  # passes of a training step
_TRIES = 3  # at a graph under a steady clock
SLEEP, _LONGEST = parse("2 ms", "seconds"), parse("50 ms", "seconds")  # of the device, while the host queues sections
_CYCLES = parse("2 GHz", "hertz")  # in which torch counts sleep; under a lower clock it is longer
_EMPTY = 9  # stamps without work
Event = torch.cuda.Event


def measure(block: TorchBlock, seconds: float, until: Deadline = NEVER) -> list[BlockTime]:
    """Forward, and for a training step backward too, under one attention backend, as rows are. What is late is left
    out: the sections first, then the graph."""
    with torch.cuda.device(block.device), pinned(block):
        if block.spec.backward:
            return _training(block, until)
        with torch.no_grad():
            board = gauge(str(block.device))
            whole = _eager(block, seconds, until)
            graph = None if until.over else _graph(block, seconds, until)
            times = {} if until.over else _sections(block, board, until)
            found = assembled(block, whole, times, {}, graph)
            return [bounds.credible(found, bounds.rates(str(block.device), block.spec.dtype))]


@contextmanager
def pinned(block: TorchBlock) -> Iterator[None]:
    """The first attention backend that runs the whole block, forward and backward where it trains, for all that is
    timed within. A layer has one attention; one whose core is no SDPA runs as it is."""
    said = ""
    for backend in ORDER:
        with sdpa_kernel([backend]):
            try:
                _once(block)
            except torch.OutOfMemoryError:
                raise
            except RuntimeError as error:  # "no available kernel", or a shape that a backend refuses
                said = one_line(error)
                continue
            if block.kit.core == SDPA:
                block.kit.core = f"{SDPA} {backend.name.removesuffix('_ATTENTION').lower()}"
            yield
            return
    raise RuntimeError(f"no attention backend runs this layer: {said}")


def _once(block: TorchBlock) -> None:
    """One copy, as it will run."""
    if not block.spec.backward:
        with torch.no_grad():
            block.forward(0, block.inputs())
    else:
        block.forget(0)
        block.backward(block.forward(0, block.inputs()))
        block.forget(0)
    torch.cuda.synchronize()


def _pass(block: TorchBlock) -> list[Event]:
    """All copies in turn; stamps around each, the first behind a pass that keeps the device busy until then."""
    s: Tensors | None = block.forward(len(block.copies) - 1, block.inputs())
    stamps = [stamp()]
    for copy in range(len(block.copies)):
        s = block.forward(copy, block.inputs(s))
        stamps.append(stamp())
    return stamps


def _eager(block: TorchBlock, seconds: float, until: Deadline = NEVER) -> Timing:
    board = gauge(str(block.device))
    warmed(partial(_forward, block), board)
    samples = []
    rounds = max(-(-MOST // len(block.copies)), LEAST)
    spent, before = 0.0, board.clock()
    for _ in range(rounds):
        stamps = _pass(block)
        torch.cuda.synchronize()
        found = [elapsed(a, b) for a, b in pairwise(stamps)]
        clock = board.clock()
        samples += [(value, unsteady(before, clock, board.top())) for value in found]
        spent += sum(found)
        if spent > seconds or until.over:
            break
        before = clock
    return timing(samples)


def _graph(block: TorchBlock, seconds: float, until: Deadline = NEVER) -> float | None:
    """Seconds of one block when all copies are replayed as one graph; None when it cannot be captured, or the clock
    never held."""
    if not _capturable(block):
        return None
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        _forward(block)
    torch.cuda.current_stream().wait_stream(stream)
    try:
        graph, _ = captured(
            partial(_forward, block),
            f"{block.spec.kind} block, {block.spec.stage}, {block.spec.dtype}, {block.kit.core}",
        )
    except Uncapturable:
        return None
    for _ in range(_TRIES):
        found = sampled(graph.replay, len(block.copies), seconds / _TRIES, gauge(str(block.device)))
        if found.dirty < 1.0:
            return found.seconds
        if until.over:
            break
    return None


def _capturable(block: TorchBlock) -> bool:
    """Whether no section asks the host for anything: experts do where torch has no grouped product for them."""
    experts = [w for key, w in block.copies[0].items() if key.endswith((".experts_up", ".experts_down"))]
    return all(capturable(block.device, block.spec.dtype) and ops.takes_groups(w[0], w) for w in experts)


def _forward(block: TorchBlock) -> None:
    s: Tensors | None = None
    for copy in range(len(block.copies)):
        s = block.forward(copy, block.inputs(s))


def _sections(block: TorchBlock, board: Gauge, until: Deadline = NEVER) -> dict[str, Timing]:
    """Every section inside the running block; none where the host never got ahead of the device."""
    book: dict[str, list[Sample]] = defaultdict(list)
    sleep = SLEEP
    for _ in range(max(-(-MOST // len(block.copies)), LEAST)):
        s: Tensors | None = None
        for w in block.copies:
            s = block.inputs(s)
            before = board.clock()
            found, late = _queued(block, w, s, sleep)
            dirty = late or unsteady(before, board.clock(), board.top())
            sleep = min(2.0 * sleep, _LONGEST) if late else sleep
            for section, seconds in zip(block.sections, found, strict=True):
                book[section.name].append((seconds, dirty))
        if until.over:
            break
    times = {name: timing(samples) for name, samples in book.items()}
    return {name: one for name, one in times.items() if one.dirty < 1.0}


def _queued(block: TorchBlock, w: Tensors, s: Tensors, sleep: float) -> tuple[list[float], bool]:
    """(seconds of every section, whether the device woke up too early). All is queued while the device sleeps, so that
    kernels follow each other as in a graph; what two stamps without work are apart is taken off."""
    torch.cuda.synchronize()
    torch.cuda._sleep(int(sleep * _CYCLES))  # type: ignore[no-untyped-call]
    stamps = [stamp()]
    for section in block.sections:
        section.run(w, s)
        stamps.append(stamp())
    stamps += [stamp() for _ in range(_EMPTY)]
    late = bool(stamps[0].query())  # type: ignore[no-untyped-call]
    torch.cuda.synchronize()
    gaps = [elapsed(a, b) for a, b in pairwise(stamps)]
    cost = sorted(gaps[-_EMPTY:])[_EMPTY // 2]
    return [max(gap - cost, 0.0) for gap in gaps[:-_EMPTY]], late


def _training(block: TorchBlock, until: Deadline = NEVER) -> list[BlockTime]:
    """Events at the borders of the sections; launch gaps of an eager step are part of what they bound."""
    book = Book()
    for turn in range(WARM_UP + LEAST):
        scratch = Book() if turn < WARM_UP else book
        s: Tensors | None = None
        for copy in range(len(block.copies)):
            s = block.inputs(s)
            _step(block, copy, s, scratch)
        if until.over and turn >= WARM_UP:
            break
    times = {name: timing(samples) for name, samples in book.situ.items()}
    return [assembled(block, times[""], times, {}), backward_time(block, book)]


def _step(block: TorchBlock, copy: int, s: Tensors, book: Book) -> None:
    block.forget(copy)
    marks: dict[str, Event] = {}
    inner: dict[str, Event] = {}

    def between(name: str) -> None:
        inner[name] = stamp()

    block.kit.stamp = between
    block.sections[0].run(block.copies[copy], dict(s))  # the device is busy when the first stamp is due
    stamps = [stamp()]
    for section in block.sections:
        known = set(s)
        section.run(block.copies[copy], s)
        stamps.append(stamp())
        for key in set(s) - known:
            if s[key].requires_grad:
                s[key].register_hook(_mark(marks, section.name))  # type: ignore[no-untyped-call]
    start = stamp()
    block.backward(s)
    end = stamp()
    block.kit.stamp = None
    torch.cuda.synchronize()
    block.forget(copy)
    for section, (a, b) in zip(block.sections, pairwise(stamps), strict=True):
        book.situ[section.name].append((elapsed(a, b), False))
    book.situ[""].append((elapsed(stamps[0], stamps[-1]), False))
    book.back[""].append((elapsed(start, end), False))
    at = {name: (elapsed(start, event), 0) for name, event in marks.items()}
    cut(at, {name: elapsed(start, event) for name, event in inner.items()}, (elapsed(start, end), 0), book)


def _mark(marks: dict[str, Event], name: str) -> Callable[[Tensor], None]:
    def hook(_: Tensor) -> None:
        if name not in marks:
            marks[name] = stamp()

    return hook
