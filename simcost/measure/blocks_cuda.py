"""Times a torch block on a CUDA device: eager, as a replayed CUDA graph, and kernel by kernel.

The graph holds one pass over all copies, so that weights are cold and no launch gaps remain; sections are sums of kernel
times that the profiler attributes to their ranges. Most likely to be wrong: everything here was written against the
manual and has run on no device yet; kernels that synchronise cannot be captured, their blocks are reported eager.
Source: torch.cuda.CUDAGraph, torch.cuda.Event, torch.profiler manual pages.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from functools import partial
from itertools import pairwise

import torch
from torch.profiler import ProfilerActivity, profile, record_function

from simcost.measure import blocks_ops as ops
from simcost.measure.blocks import TorchBlock
from simcost.measure.blocks_section import Tensor, Tensors
from simcost.measure.blocks_time import LEAST, MOST, Book, assembled, backward_time, cut
from simcost.measure.blocks_timing import BlockTime, timing
from simcost.measure.capture import Uncapturable, captured
from simcost.measure.cuda_timing import elapsed, sampled, stamp, unsteady, warmed
from simcost.measure.environment import gauge
from simcost.measure.kernels.grouped import capturable
from simcost.measure.timing import Timing
from simcost.units import parse

WARM_UP = 3  # passes of a training step
_TRIES = 3  # at a graph under a steady clock
_MICROSECOND = parse("1 us", "seconds")
Event = torch.cuda.Event


def measure(block: TorchBlock, seconds: float) -> list[BlockTime]:
    """Forward, and for a training step backward too."""
    with torch.cuda.device(block.device):
        if block.spec.backward:
            return _training(block)
        with torch.no_grad():
            whole = _eager(block, seconds)
            graph = _graph(block, seconds)
            return [assembled(block, whole, _kernels(block), {}, graph)]


def _pass(block: TorchBlock) -> list[Event]:
    """All copies in turn; stamps around each, the first behind a pass that keeps the device busy until then."""
    s: Tensors | None = block.forward(len(block.copies) - 1, block.inputs())
    stamps = [stamp()]
    for copy in range(len(block.copies)):
        s = block.forward(copy, block.inputs(s))
        stamps.append(stamp())
    return stamps


def _eager(block: TorchBlock, seconds: float) -> Timing:
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
        if spent > seconds:
            break
        before = clock
    return timing(samples)


def _graph(block: TorchBlock, seconds: float) -> float | None:
    """Seconds of one block when all copies are replayed as one graph; None when it cannot be captured, or the clock never
    held."""
    if not _capturable(block):
        return None
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        _forward(block)
    torch.cuda.current_stream().wait_stream(stream)
    try:
        graph, _ = captured(
            partial(_forward, block), f"{block.spec.kind} block, {block.spec.stage}, {block.spec.dtype}"
        )
    except Uncapturable:
        return None
    for _ in range(_TRIES):
        found = sampled(graph.replay, len(block.copies), seconds / _TRIES, gauge(str(block.device)))
        if found.dirty < 1.0:
            return found.seconds
    return None


def _capturable(block: TorchBlock) -> bool:
    """Whether no section asks the host for anything: experts do where torch has no grouped product for them."""
    experts = [w for key, w in block.copies[0].items() if key.endswith((".experts_up", ".experts_down"))]
    return all(capturable(block.device, block.spec.dtype) and ops.takes_groups(w[0], w) for w in experts)


def _forward(block: TorchBlock) -> None:
    s: Tensors | None = None
    for copy in range(len(block.copies)):
        s = block.forward(copy, block.inputs(s))


def _kernels(block: TorchBlock) -> dict[str, Timing]:
    """Sum of a section's kernels, mean over the copies, by the profiler."""
    names = {section.name for section in block.sections}
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as record:
        s: Tensors | None = None
        for w in block.copies:
            s = block.inputs(s)
            for section in block.sections:
                with record_function(section.name):
                    section.run(w, s)
        torch.cuda.synchronize()
    found: dict[str, list[tuple[float, bool]]] = defaultdict(list)
    for event in record.events() or ():
        if event.name in names and event.device_type.name == "CPU":
            found[event.name].append((float(event.device_time_total) * _MICROSECOND, False))
    return {name: timing(samples) for name, samples in found.items() if any(value > 0 for value, _ in samples)}


def _training(block: TorchBlock) -> list[BlockTime]:
    """Events at the borders of the sections; launch gaps of an eager step are part of what they bound."""
    book = Book()
    for turn in range(WARM_UP + LEAST):
        scratch = Book() if turn < WARM_UP else book
        s: Tensors | None = None
        for copy in range(len(block.copies)):
            s = block.inputs(s)
            _step(block, copy, s, scratch)
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
