"""The device that is measured: which one, how much a point may take, how far buffers must rotate, which formats it has.

On a CPU fp8 would be emulation and is refused. Most likely to be wrong: how much data clears the last-level cache of a CPU that
shares it with other machines (the rotation is three times the largest share seen, on two machines).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from simcost.errors import SimcostError, SpecError, nearest
from simcost.frozen import frozen
from simcost.measure.machine.torch import need_torch
from simcost.pool import allowed
from simcost.units import parse

CPU_FORMATS = ("bf16", "fp32")
CUDA_FORMATS = ("bf16", "fp16", "tf32", "fp32", "fp8", "fp8_row", "fp8_block", "nvfp4", "mxfp4", "int4")
ROTATE_CPU = parse("128 MB", "bytes")
MEMORY_SHARE = 0.2  # of what is free: copies, outputs and references come on top


@frozen
class Target:
    """name: "cpu" or "cuda:0"; memory [B] that one point's tensors may take; rotate [B]; formats, main one first."""

    name: str
    threads: int
    memory: float
    rotate: float
    formats: tuple[str, ...]
    absent: Mapping[str, str]

    @property
    def cuda(self) -> bool:
        """Whether it is a CUDA device; else it is the CPU."""
        return self.name.startswith("cuda")

    @property
    def main(self) -> str:
        """The format that gets the full number of points."""
        return self.formats[0]


def processor(threads: int | None = None, formats: Sequence[str] | None = None) -> Target:
    """The CPU. Raises SpecError for a format or cores that are not there."""
    enough_cores(threads)
    wanted = wanted_formats(formats, CPU_FORMATS, "cpu")
    return Target("cpu", threads or 1, MEMORY_SHARE * _free_memory(), ROTATE_CPU, wanted, {})


def enough_cores(threads: int | None) -> None:
    """Raises SpecError for more threads than cores: threads that take turns on a core measure the scheduler."""
    if threads is not None and threads > allowed():
        raise SpecError(f"--threads {threads}: this process may use {allowed()} cores; ask for at most {allowed()}")


def wanted_formats(formats: Sequence[str] | None, known: tuple[str, ...], device: str) -> tuple[str, ...]:
    """The formats to measure, all known ones where none is named. Raises SpecError for one that the device has not."""
    for name in formats or ():
        if name in known:
            continue
        if name in CUDA_FORMATS and device == "cpu":
            raise SpecError(f"{name} is only emulated on this CPU: choose one of {', '.join(known)}")
        raise SpecError(
            f"--dtype: no format {name!r} to measure on {device} ({', '.join(known)}){nearest(name, known)}"
        )
    return tuple(dict.fromkeys(formats)) if formats else known


def _free_memory() -> float:
    """Bytes that the system could give now; half of all where it does not say."""
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            for line in file:
                if line.startswith("MemAvailable:"):
                    return parse(f"{line.split()[1]} KiB", "bytes")
    except OSError:
        pass
    return 0.5 * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def failure(act: Callable[[], object], torch: Any) -> str:
    """Runs an action and waits for the device: the first line of what it raised, "" when it worked."""
    try:
        act()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
    except Exception as error:  # whatever a build of torch says of a kernel that it has not
        return one_line(error)
    return ""


def one_line(error: BaseException) -> str:
    """An error in one line of at most 160 characters."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else ''}"[:160]


def alive(target: Target) -> None:
    """Raises SimcostError when the device no longer answers."""
    if target.cuda:
        answers(target.name)


def answers(name: str) -> None:
    """Raises SimcostError when the CUDA device `name` no longer answers; one without free memory does answer."""
    torch = need_torch()
    try:
        torch.ones(8, device=name).sum().item()
    except torch.OutOfMemoryError:
        return  # full, and there
    except RuntimeError as error:
        raise SimcostError(f"{name}: the device no longer answers ({one_line(error)}); rows are kept") from None
