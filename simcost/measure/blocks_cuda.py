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
from simcost.measure.kernels.grouped import capturable
from simcost.measure.timing import Timing
from simcost.units import parse

WARM_UP = 3
_MILLISECOND, _MICROSECOND = parse("1 ms", "seconds"), parse("1 us", "seconds")
Event = torch.cuda.Event


def measure(block: TorchBlock, seconds: float) -> list[BlockTime]:
    """Forward, and for a training step backward too."""
    with torch.cuda.device(block.device):
        if block.spec.backward:
            return _training(block)
        with torch.no_grad():
            whole = _eager(block, seconds)
            graph = _graph(block)
            return [assembled(block, whole, _kernels(block), {}, graph)]


def _stamp() -> Event:
    event = Event(enable_timing=True)  # type: ignore[no-untyped-call]
    event.record()
    return event


def _elapsed(start: Event, end: Event) -> float:
    return float(start.elapsed_time(end)) * _MILLISECOND


def _pass(block: TorchBlock) -> list[Event]:
    """All copies in turn; stamps around each."""
    s: Tensors | None = None
    stamps = [_stamp()]
    for copy in range(len(block.copies)):
        s = block.forward(copy, block.inputs(s))
        stamps.append(_stamp())
    return stamps


def _eager(block: TorchBlock, seconds: float) -> Timing:
    samples = []
    for _ in range(WARM_UP):
        _pass(block)
    torch.cuda.synchronize()
    rounds = max(-(-MOST // len(block.copies)), LEAST)
    spent = 0.0
    for _ in range(rounds):
        stamps = _pass(block)
        torch.cuda.synchronize()
        found = [_elapsed(a, b) for a, b in pairwise(stamps)]
        samples += [(value, False) for value in found]
        spent += sum(found)
        if spent > seconds:
            break
    return timing(samples)


def _graph(block: TorchBlock) -> float | None:
    """Seconds of one block when all copies are replayed as one graph; None when it cannot be captured."""
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
    for _ in range(WARM_UP):
        graph.replay()
    times = []
    for _ in range(max(MOST // 4, LEAST)):
        start = _stamp()
        graph.replay()
        end = _stamp()
        torch.cuda.synchronize()
        times.append((_elapsed(start, end), False))
    return timing(times).seconds / len(block.copies)


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
        inner[name] = _stamp()

    block.kit.stamp = between
    stamps = [_stamp()]
    for section in block.sections:
        known = set(s)
        section.run(block.copies[copy], s)
        stamps.append(_stamp())
        for key in set(s) - known:
            if s[key].requires_grad:
                s[key].register_hook(_mark(marks, section.name))  # type: ignore[no-untyped-call]
    start = _stamp()
    block.backward(s)
    end = _stamp()
    block.kit.stamp = None
    torch.cuda.synchronize()
    block.forget(copy)
    for section, (a, b) in zip(block.sections, pairwise(stamps), strict=True):
        book.situ[section.name].append((_elapsed(a, b), False))
    book.situ[""].append((_elapsed(stamps[0], stamps[-1]), False))
    book.back[""].append((_elapsed(start, end), False))
    at = {name: (_elapsed(start, event), 0) for name, event in marks.items()}
    cut(at, {name: _elapsed(start, event) for name, event in inner.items()}, (_elapsed(start, end), 0), book)


def _mark(marks: dict[str, Event], name: str) -> Callable[[Tensor], None]:
    def hook(_: Tensor) -> None:
        if name not in marks:
            marks[name] = _stamp()

    return hook
