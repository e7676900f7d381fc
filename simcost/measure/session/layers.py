"""Whole decoder layers, and their kernels timed inside them, as rows for the calibration families.

A kernel alone in a loop and the same kernel between its neighbours are two things on some machines: on a CPU the curves are
fitted to rows of this file. Most likely to be wrong: one visit a block, so that drift between minutes stays in. Source:
docs/theory/calibration.md, "From kernels to a block"; Vidur (arXiv 2405.05465) times operators the same way.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from simcost.errors import SimcostError, SpecError
from simcost.estimate.layer import BlockSpec, random_blocks
from simcost.measure.machine.allocator import steady_allocator
from simcost.measure.machine.target import answers, one_line
from simcost.measure.machine.torch import need_torch
from simcost.measure.points.hold import undisturbed
from simcost.measure.sampling.target import find
from simcost.measure.session.event import Event
from simcost.measure.session.layers_record import EVERY, Log
from simcost.measure.session.quality import NOISY_DIRTY
from simcost.measure.timing.deadline import NEVER, Deadline, after
from simcost.measure.torch_layers.rows import read_blocks, write
from simcost.measure.torch_layers.times import BlockTime

__all__ = ["BlockTime", "measure_block", "measure_in_situ", "random_blocks"]
SECONDS = 2.0  # for one block
Say = Callable[[str], None]
RETRIES = 1  # of a block with more than NOISY_DIRTY disturbed samples


def _quiet(_: str) -> None:
    """Nobody listens."""


def measure_block(
    spec: BlockSpec,
    device: str = "cpu",
    seconds: float = SECONDS,
    threads: int = 1,
    limit: float | None = None,
    isolated: bool = True,
    until: Deadline = NEVER,
    say: Say = _quiet,
) -> list[BlockTime]:
    """Build a block and time it, forward or forward and backward. `limit` [B] of memory; `isolated`: each section alone
    too; `until`: when it must be over; `say` hears what it is at.

    Raises SpecError for a block that does not fit, cannot be built or takes too long, SimcostError without torch."""
    torch = need_torch()
    say(f"{spec.name}: building")
    if device != "cpu":
        return _on_cuda(spec, device, seconds, limit, until)
    steady_allocator()
    torch.set_flush_denormal(True)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        return _on_cpu(spec, seconds, limit, isolated, until, say)
    finally:
        torch.set_num_threads(before)
        torch.set_flush_denormal(False)


def _on_cuda(spec: BlockSpec, device: str, seconds: float, limit: float | None, until: Deadline) -> list[BlockTime]:
    """A layer that fails, or runs out of memory after all, says so in one line, and the next one has its turn."""
    torch = need_torch()
    torch.cuda.empty_cache()  # memory that earlier points gave back is free for this layer
    from simcost.measure.torch_layers import build, time_cuda

    try:
        return time_cuda.measure(build.build(spec, device, limit=limit), seconds, until)
    except SimcostError:
        raise
    except torch.OutOfMemoryError:
        raise SpecError(f"{spec.name}: the device's memory is full: choose a smaller batch, context or layer") from None
    except Exception as error:  # Triton's errors of compiling and launching are of no narrower type
        answers(device)
        raise SpecError(f"{spec.name}: {one_line(error)}") from None
    finally:
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def _on_cpu(
    spec: BlockSpec, seconds: float, limit: float | None, isolated: bool, until: Deadline, say: Say
) -> list[BlockTime]:
    """Again, on a busy machine, and the least disturbed of the tries; no try that is not over in time."""
    from simcost.measure.torch_layers import bounds, build, time_cpu

    bounds.refuse_late(spec, until)
    block = build.build(spec, limit=limit)
    found: list[BlockTime] = []
    for _ in range(1 + RETRIES):
        start = time.monotonic()
        tried = time_cpu.measure(block, seconds, isolated, until, say)
        found = min(found, tried, key=disturbed) if found else tried
        if disturbed(found) <= NOISY_DIRTY or not until.holds(time.monotonic() - start):
            break
    return found


def disturbed(found: Sequence[BlockTime]) -> float:
    """Share of disturbed samples of the worst direction."""
    return max(block.whole.dirty for block in found)


def measure_in_situ(
    device: str,
    blocks: Sequence[BlockSpec],
    out: Path,
    budget_s: float | None = None,
    resume: bool = False,
    seconds: float = SECONDS,
    threads: int = 1,
    limit: float | None = None,
    isolated: bool = False,
    asked: Mapping[str, Any] | None = None,
) -> Iterator[Event]:
    """Measure block after block; append rows to OUT/<family>/<kind>.csv and latencies to OUT/blocks.csv.

    One event before a block, one after its rows are on disk. Stops in good order when the budget is spent: every prefix of
    `random_blocks` is a valid design. `resume` skips blocks that are there; without it a folder with blocks is refused.
    `asked`: mode and seed, for the record."""
    done = {row["block"] for row in read_blocks(out)}
    if done and not resume:
        raise SpecError(f"{out / 'blocks.csv'}: blocks were measured here before; add to them with --resume")
    log = Log(out, find(device, threads if device == "cpu" else None), asked or {})
    log.write("running")
    start, taken, total, ended = time.monotonic(), 0, len(blocks), "stopped"
    until = after(budget_s)
    try:
        log.look()
        for index, spec in enumerate(blocks):
            if spec.name in done:
                yield Event(index + 1, total, "block", spec.name, note="measured before")
                continue
            spent = time.monotonic() - start
            if budget_s is not None and (until.over or (taken and spent + spent / taken > budget_s)):
                ended = "budget reached"
                yield Event(index, total, "block", "", note=f"budget spent after {taken} of {total} blocks")
                return
            yield Event(index, total, "block", spec.name, until.left_s if budget_s is not None else None)
            try:
                found = measure_block(spec, device, seconds, threads, limit, isolated, until)
            except SpecError as problem:
                log.left_out.append(str(problem))
                yield Event(index + 1, total, "block", spec.name, note=f"left out: {problem}")
                continue
            rows = write(out, found)
            taken += 1
            if taken % EVERY == 0:
                log.look()
            left = (time.monotonic() - start) / taken * (total - index - 1)
            yield Event(index + 1, total, "block", spec.name, left, _said(found, rows))
        ended = "complete"
    finally:
        if ended != "stopped" and taken:
            log.look()
        with undisturbed():
            log.write(ended)


def _said(found: Sequence[BlockTime], rows: int) -> str:
    noisy, refused = disturbed(found), ", ".join(name for block in found for name in block.refused)
    said = f"{rows} rows" + (f", {noisy:.0%} of the samples disturbed" if noisy > NOISY_DIRTY else "")
    return said + (f", faster than the device can be: {refused}" if refused else "")
