"""Times a torch block on a CPU: whole, section by section inside the running block, and each section alone.

The three take turns, so that drift of the machine hits all alike. The backward pass is cut at the moments when the gradient
of a section's output is known. Most likely to be wrong: stamps cost a microsecond a section, which the sum contains and
the whole does not. Source: docs/theory/calibration.md, "From kernels to a block".
"""

from __future__ import annotations

import math
import resource
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import torch

from simcost.errors import SpecError
from simcost.estimate.layer import Listed, adjoints, fused, listed
from simcost.frozen import frozen
from simcost.measure.timing.cpu import Timing
from simcost.measure.timing.deadline import NEVER, Deadline
from simcost.measure.torch_layers.build import TorchBlock
from simcost.measure.torch_layers.section import SDPA, Tensor, Tensors
from simcost.measure.torch_layers.times import BlockTime, OpTime, Sample, timing, total
from simcost.ops.fused import Fused
from simcost.ops.grouped_gemm import GroupedGemm
from simcost.ops.work import Op
from simcost.units import parse, show

Mark = tuple[float, int]  # when, and after how many switches
Marks = Mapping[str, Mark]
LEAST, MOST = 5, 40  # samples of a section
SECONDS = 2.0  # for one block, when nobody says
WARM_UPS = 2
_LONG = parse("1 s", "seconds")  # a pass this long is warm after one
Say = Callable[[str], None]


def now() -> float:
    """Seconds of the clock that all times here are read from."""
    return time.perf_counter()


def switches() -> int:
    """Involuntary context switches of the process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw


@dataclass(slots=True)
class Book:
    """Samples by section: `whole` under the empty name."""

    situ: dict[str, list[Sample]] = field(default_factory=lambda: defaultdict(list))
    alone: dict[str, list[Sample]] = field(default_factory=lambda: defaultdict(list))
    back: dict[str, list[Sample]] = field(default_factory=lambda: defaultdict(list))


def timed(act: Callable[[], object]) -> Sample:
    """(seconds of the action, whether the scheduler took the processor away meanwhile)."""
    before, start = switches(), now()
    act()
    end = now()
    return end - start, switches() != before


def quiet(_: str) -> None:
    """Says nothing."""


def measure(
    block: TorchBlock, seconds: float = SECONDS, isolated: bool = True, until: Deadline = NEVER, say: Say = quiet
) -> list[BlockTime]:
    """Forward, and for a training step backward too. `seconds`: time to spend on it, at least LEAST samples as far as
    `until` allows. Raises SpecError when not even one of each fits."""
    book = Book()
    if block.spec.backward:
        _repeat(block, seconds, [_Turn(lambda: _train_pass(block, book)), _Turn(lambda: _split_pass(block, book))],
                until, say)  # fmt: skip
        return [_forward_time(block, book), backward_time(block, book)]
    passes = [_Turn(lambda: _whole_pass(block, book)), _Turn(lambda: _situ_pass(block, book))]
    if isolated:
        copies = len(block.copies)
        passes.append(_Turn(lambda: _alone_pass(block, book), (min(copies, 4) + copies + 1) / copies, False))
    with torch.no_grad():
        _repeat(block, seconds, passes, until, say)
    return [_forward_time(block, book)]


@frozen
class _Turn:
    """A pass over all copies; how many times as long as a plain one it takes; whether a time is nothing without it."""

    run: Callable[[], None]
    cost: float = 1.0
    needed: bool = True


def _repeat(block: TorchBlock, seconds: float, passes: list[_Turn], until: Deadline, say: Say) -> None:
    """Two warm-up rounds over all copies, then as many as fit into `seconds`, or into what is left."""
    one = _warmed(block, until, say)
    kept = [turn for turn in passes if turn.needed or until.holds(one * sum(each.cost for each in passes))]
    each = one * sum(turn.cost for turn in kept)
    if not until.holds(each):
        raise SpecError(
            f"{block.spec.name}: a round takes {show(each, 'seconds')}, {show(until.left_s, 'seconds')} are left"
        )
    copies = len(block.copies)
    least, most = math.ceil(LEAST / copies), math.ceil(MOST / copies)
    rounds = min(max(int(seconds / (len(kept) * one)), least), most)
    for done in range(rounds):
        if done and not until.holds(each):
            return
        if each > _LONG:
            say(f"{block.spec.name}: round {done + 1} of {rounds}, {show(each, 'seconds')} each")
        for turn in kept:
            turn.run()


def _warmed(block: TorchBlock, until: Deadline, say: Say) -> float:
    """Seconds of a warm round."""
    scratch, one = Book(), 0.0
    say(f"{block.spec.name}: built, {len(block.copies)} copies; warming up")
    for _ in range(WARM_UPS):
        start = now()
        if block.spec.backward:
            _split_pass(block, scratch)
        else:
            _whole_pass(block, scratch)
        one = now() - start
        if one > _LONG or not until.holds(one):
            break
    return one


def _whole_pass(block: TorchBlock, book: Book) -> None:
    s: Tensors | None = None
    for copy in range(len(block.copies)):
        s = block.inputs(s)
        book.situ[""].append(timed(lambda copy=copy, s=s: block.forward(copy, s)))  # type: ignore[misc]


def _situ_pass(block: TorchBlock, book: Book) -> None:
    s: Tensors | None = None
    for w in block.copies:
        s = block.inputs(s)
        for section in block.sections:
            before, start = switches(), now()
            section.run(w, s)
            end = now()
            book.situ[section.name].append((end - start, switches() != before))


def _alone_pass(block: TorchBlock, book: Book) -> None:
    """Each section over all copies before the next; its inputs are a copy's own while that is affordable."""
    states: list[Tensors] = []
    for copy in range(min(len(block.copies), 4)):
        states.append(block.forward(copy, block.inputs(states[-1] if states else None)))
    for section in block.sections:
        section.run(block.copies[-1], states[-1])
        for copy, w in enumerate(block.copies):
            s = states[copy % len(states)]
            book.alone[section.name].append(timed(lambda w=w, s=s: section.run(w, s)))  # type: ignore[misc] # noqa: B023


def _train_pass(block: TorchBlock, book: Book) -> None:
    s: Tensors | None = None
    for copy in range(len(block.copies)):
        block.forget(copy)
        s = block.inputs(s)
        book.situ[""].append(timed(lambda copy=copy, s=s: block.forward(copy, s)))  # type: ignore[misc]
        book.back[""].append(timed(lambda s=s: block.backward(s)))  # type: ignore[misc]
        block.forget(copy)


@dataclass(slots=True)
class _Marks:
    """When, and after how many switches, the gradient of each section's output was first known."""

    at: dict[str, Mark] = field(default_factory=dict)
    inner: dict[str, float] = field(default_factory=dict)

    def start(self, name: str) -> Callable[[Tensor], None]:
        def hook(_: Tensor) -> None:
            if name not in self.at:
                self.at[name] = now(), switches()

        return hook

    def between(self, name: str) -> None:
        self.inner[name] = now()


def _split_pass(block: TorchBlock, book: Book) -> None:
    s: Tensors | None = None
    for copy, w in enumerate(block.copies):
        block.forget(copy)
        s, marks = block.inputs(s), _Marks()
        block.kit.stamp = marks.between
        for section in block.sections:
            known = set(s)
            before, start = switches(), now()
            section.run(w, s)
            end = now()
            book.situ[section.name].append((end - start, switches() != before))
            for key in set(s) - known:
                if s[key].requires_grad:
                    s[key].register_hook(marks.start(section.name))  # type: ignore[no-untyped-call]
        block.backward(s)
        end_mark = now(), switches()
        block.kit.stamp = None
        block.forget(copy)
        cut(marks.at, marks.inner, end_mark, book)


def cut(at: Marks, inner: Mapping[str, float], end: Mark, book: Book) -> None:
    """Files the samples of one backward pass in `book.back`: each section lasts until the next one starts, and is cut in two
    where its input gradient was done (`inner`)."""
    order = sorted(at.items(), key=lambda item: item[1][0])
    stops = [mark for _, mark in order[1:]] + [end]
    for (name, (start, before)), (stop, after) in zip(order, stops, strict=True):
        dirty = after != before
        middle = inner.get(name)
        if middle is not None and start <= middle <= stop:
            book.back[f"{name}:input_grad"].append((middle - start, dirty))
            book.back[f"{name}:weight_grad"].append((stop - middle, dirty))
        else:
            book.back[name].append((stop - start, dirty))


def as_run(block: TorchBlock) -> tuple[float, float]:
    """(experts touched, rows of the busiest over the mean) of the first copy; (0, 0) without experts."""
    with torch.no_grad():
        s = block.forward(0, block.inputs())
    ends = next((value for key, value in s.items() if key.endswith(".ends")), None)
    if ends is None:
        return 0.0, 0.0
    counts = torch.diff(ends, prepend=ends.new_zeros(1)).double()
    return float((counts > 0).sum()), float(counts.max() / counts.mean())


def run_op(op: Op, touched: float, load: float) -> Op:
    """The op with the experts that really ran."""
    if isinstance(op, GroupedGemm):
        return replace(op, experts=touched, load=load)
    if isinstance(op, Fused):
        return Fused(op.kernel, tuple(run_op(part, touched, load) for part in op.parts))
    return op


def _forward_time(block: TorchBlock, book: Book) -> BlockTime:
    times = {name: timing(samples) for name, samples in book.situ.items()}
    alone = {name: timing(samples).seconds for name, samples in book.alone.items()}
    return assembled(block, times[""], times, alone)


def backend_of(block: TorchBlock) -> str:
    """What ran the attention core, on a CPU torch's one fast path, and the recurrent core."""
    core = "sdpa flash (CPU)" if block.kit.core == SDPA else block.kit.core
    return " + ".join(part for part in (core, block.kit.recurrent) if part)


def assembled(
    block: TorchBlock, whole: Timing, times: dict[str, Timing], alone: dict[str, float], graph_s: float | None = None
) -> BlockTime:
    """A forward pass from the times of its sections."""
    touched, load = as_run(block)
    found = tuple(
        OpTime(item.name, run_op(item.op, touched, load), times[item.name], isolated_s=alone.get(item.name))
        for item in listed(block.spec)
        if item.name in times
    )
    joined = []
    for item in fused(block.spec):
        members = [op.time for op in found if op.name.startswith(item.name + "/")]
        if len(members) == len(_fused_parts(item)):
            joined.append(OpTime(item.name, run_op(item.op, touched, load), total(members)))
    return BlockTime(block.spec, "forward", whole, found, tuple(joined), graph_s, backend=backend_of(block))


def _fused_parts(item: Listed) -> tuple[Op, ...]:
    assert isinstance(item.op, Fused)
    return tuple(part for part in item.op.parts if float(part.work().bytes) > 0)


def backward_time(block: TorchBlock, book: Book) -> BlockTime:
    """A backward pass from its samples: the last op first, both gradients of a section apart where they were told apart."""
    times = {name: timing(samples) for name, samples in book.back.items()}
    touched, load = as_run(block)
    found: list[OpTime] = []
    for item in reversed(listed(block.spec)):
        found += _adjoint_times(replace(item, op=run_op(item.op, touched, load)), times)
    return BlockTime(block.spec, "backward", times[""], tuple(found), backend=backend_of(block))


def _adjoint_times(item: Listed, times: dict[str, Timing]) -> list[OpTime]:
    """Both gradients apart where they were told apart, else under the section's name."""
    inputs, weights = adjoints(item)
    parts = [(what, each) for what, listing in (("input", inputs), ("weight", weights)) for each in listing]
    apart = [OpTime(each.name, each.op, times[each.name], what) for what, each in parts if each.name in times]
    if apart or item.name not in times or not parts:
        return apart
    if len(parts) == 1:
        what, each = parts[0]
        return [OpTime(each.name, each.op, times[item.name], what)]
    return [OpTime(item.name, parts[0][1].op, times[item.name], "both", parts[1][1].op)]
