"""A profile of the processor that this runs on, every figure measured here: so that `--hw DIR` works for a CPU.

Peaks are the best rates that large products reach with the given threads, bandwidth the best of a large copy; a CPU has no
datasheet for either. The assumed efficiencies are the same measurements at middling sizes. Most likely to be wrong: the
neighbours of a shared machine; figures are the best of several repeats for that reason. Sources: this machine; the operating system.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from time import perf_counter
from typing import Any

from simcost.frozen import frozen
from simcost.measure.machine.allocator import steady_allocator
from simcost.measure.machine.environment import record
from simcost.measure.machine.target import CPU_FORMATS, processor
from simcost.measure.machine.torch import need_torch
from simcost.units import parse, show

_LARGE = 2048  # sides of the product that states the peak
_COPY = parse("256 MiB", "bytes")
_SMALLEST = parse("1 MiB", "bytes")
_CACHED = 1.4  # a copy so much faster than from memory came from a cache
_REPEATS = 5


@frozen
class Host:
    """Rates [FLOP/s, B/s], sizes [B], shares and times [s] of this machine with `threads` threads."""

    name: str
    title: str
    vendor: str
    software: str
    threads: int
    peaks: dict[str, float]
    capacity: float
    bandwidth: float
    cache: float
    gemm: float
    attention: float
    stream: float
    launch: float


def profile_text(threads: int = 1) -> str:
    """A profile.toml of the present CPU, measured in about ten seconds. Raises SimcostError without torch."""
    return text(measured(threads))


def measured(threads: int = 1) -> Host:
    """The rates of this processor, measured now with `threads` threads; torch's own number of threads is restored. Raises
    SimcostError without torch."""
    torch = need_torch()
    steady_allocator()
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.no_grad():
            return _measured(torch, threads)
    finally:
        torch.set_num_threads(before)


def _measured(torch: Any, threads: int) -> Host:
    found = record(processor(threads))
    model, cores = str(found["device_name"]), os.cpu_count() or 1
    main = CPU_FORMATS[0]
    peaks = {name: max(_gemm(torch, name, n, n, n) for n in (_LARGE // 2, _LARGE)) for name in CPU_FORMATS}
    bandwidth = _copied(torch, _COPY)
    return Host(
        re.sub(r"[^a-z0-9]+", "-", model.lower()).strip("-") + f"-{threads}t",
        f"{model}, {threads} of {cores} cores",
        next((v for v in ("AMD", "Intel", "ARM", "Apple") if v.lower() in model.lower()), "unknown"),
        f"torch {found['torch']}, {found['cpu_capability']}",
        threads,
        peaks,
        float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")),
        bandwidth,
        _cache(torch, bandwidth),
        min(_gemm(torch, main, 256, 1024, 1024) / peaks[main], 1.0),
        min(_attention(torch, main) / peaks[main], 1.0),
        min(_added(torch) / bandwidth, 1.0),
        _launch(torch),
    )


def _best(act: Callable[[], object], repeats: int = _REPEATS) -> float:
    """Shortest of several calls after two that warm up. [s]"""
    times = []
    for _ in range(repeats + 2):
        start = perf_counter()
        act()
        times.append(perf_counter() - start)
    return min(times[2:])


def _type(torch: Any, name: str) -> Any:
    return {"fp32": torch.float32, "bf16": torch.bfloat16}[name]


def _gemm(torch: Any, name: str, m: int, n: int, k: int) -> float:
    """[FLOP/s]"""
    x, w = torch.randn(m, k).to(_type(torch, name)), torch.randn(n, k).to(_type(torch, name))
    flops = 2.0 * m * n * k
    return flops / _best(lambda: torch.nn.functional.linear(x, w))


def _attention(torch: Any, name: str, heads: int = 16, tokens: int = 512, width: int = 64) -> float:
    """A causal core. [FLOP/s]"""
    q, k, v = (torch.randn(1, heads, tokens, width).to(_type(torch, name)) for _ in range(3))
    flops = 4.0 * heads * width * tokens * (tokens + 1) / 2
    return flops / _best(lambda: torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True))


def _copied(torch: Any, size: float) -> float:
    """Bytes read and written a second by copies between two halves of `size` bytes. [B/s]"""
    source = torch.randn(int(size) // 8)
    target = torch.empty_like(source)
    turns = max(int(_COPY / size / 4), 1)

    def act() -> None:
        for _ in range(turns):
            target.copy_(source)

    moved = turns * 2.0 * float(source.numel()) * 4
    return moved / _best(act)


def _added(torch: Any) -> float:
    """The same for a sum of two large tensors. [B/s]"""
    a = torch.randn(int(_COPY) // 12)
    b, out = a.clone(), torch.empty_like(a)
    moved = 3.0 * float(a.numel()) * 4
    return moved / _best(lambda: torch.add(a, b, out=out))


def _cache(torch: Any, bandwidth: float) -> float:
    """The largest footprint whose copy is clearly faster than memory; the smallest one tried when none is. [B]"""
    size, found = _SMALLEST, _SMALLEST
    while size < _COPY:
        if _copied(torch, size) > _CACHED * bandwidth:
            found = size
        size *= 2
    return found


def _launch(torch: Any, calls: int = 200) -> float:
    """One operator of a chain that has nothing to do. [s]"""
    x = torch.zeros(8)

    def act() -> None:
        for _ in range(calls):
            x.add_(1.0)

    return _best(act) / calls


def text(host: Host) -> str:
    """A valid hwprofiles-style profile.toml."""
    run = f"by simcost on this machine, {host.software}, {host.threads} thread(s)"
    lines = [
        "schema = 1",
        f"name = {_quoted(host.name)}",
        f"title = {_quoted(host.title)}",
        f"vendor = {_quoted(host.vendor)}",
        "notes = [",
        f"  {_quoted('Peaks and bandwidth are the best that was measured here, not limits of the hardware.')},",
        f"  {_quoted('compute.l2 is the largest footprint whose copy ran clearly faster than memory: the share of the last-level cache that this machine has.')},",
        "]",
        "",
        "[sources]",
        f"measured = {_quoted(f'large products and copies, timed {run}')}",
        f"os = {_quoted('the operating system of this machine (sysconf)')}",
        "",
        "[peak]",
        *(f"{name} = {_fact(show(rate, 'flops_per_s'), 'measured')}" for name, rate in sorted(host.peaks.items())),
        "",
        "[memory]",
        f"capacity = {_fact(show(host.capacity, 'bytes'), 'os')}",
        f"bandwidth = {_fact(show(host.bandwidth, 'bytes_per_s'), 'measured')}",
        "",
        "[compute]",
        f"l2 = {_fact(show(host.cache, 'bytes'), 'measured')}",
        "",
        "[assumed]",
        *(f"{key} = {{ value = {value}, reason = {_quoted(why)} }}" for key, value, why in _assumed(host, run)),
    ]
    return "\n".join(lines) + "\n"


def _assumed(host: Host, run: str) -> list[tuple[str, str, str]]:
    launch = _quoted(show(host.launch, "seconds"))
    main = CPU_FORMATS[0]
    return [
        ("gemm_efficiency", f"{host.gemm:.3f}", f"{main} product of 256 x 1024 x 1024 against the peak, timed {run}"),
        ("attention_efficiency", f"{host.attention:.3f}", f"causal {main} attention of 512 tokens against the peak, timed {run}"),
        ("memory_efficiency", f"{host.stream:.3f}", f"sum of two large tensors against the copy, timed {run}"),
        ("kernel_overhead", launch, f"one operator of a chain without work, timed {run}"),
        ("eager_launch", launch, "the start of one kernel, timed here"),
        ("step_overhead", launch, "no serving engine was measured here: the start of one kernel stands in"),
        ("collective_latency", launch, "no collective was measured here: the start of one kernel stands in"),
    ]  # fmt: skip


def _fact(value: str, source: str) -> str:
    return f"{{ value = {_quoted(value)}, source = {_quoted(source)} }}"


def _quoted(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)
