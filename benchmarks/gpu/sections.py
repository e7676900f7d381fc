"""What nobody knew before the first run on a GPU, one section a question; each yields lines for the report.

Which attention backend takes what; which formats there are; whether the grouped fast path runs, and its step at 128 tokens an
expert; which block-scaled shapes are accepted; tiles of our own MLA kernel against fp64; rotated graphs against the usual
benchmark loop. Most likely to be wrong: a section that was only ever run on a CPU. Source: docs/gpu-runs.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

from torch.nn.attention import SDPBackend, sdpa_kernel

from benchmarks.gpu.bench import Lab, core, gemm, rate, tried
from simcost.measure import torch_ops as ops
from simcost.measure.kernels import attention
from simcost.measure.kernels.kernel import Kernel, no_context
from simcost.measure.machine.environment import record
from simcost.measure.machine.torch import optional
from simcost.measure.points.point import Point, kind_of
from simcost.measure.timing.buffers import tolerance
from simcost.measure.timing.kernel_names import kernel_names
from simcost.ops.attention_core import AttentionCore
from simcost.units import parse, show

_MILLI = parse("1 ms", "seconds")  # what do_bench answers in
_TILE_COPIES = 4  # of queries and latents, by which a tile is judged


def environment(lab: Lab) -> Iterator[str]:
    """Device, software, clocks, formats."""
    for key, value in record(lab.target).items():
        shown = ", ".join(str(v) for v in value) if isinstance(value, list) else value
        yield f"{key}: {shown}"


def backends(lab: Lab) -> Iterator[str]:
    """Every attention case by every backend: time, or why not. Eagerly: a capture that fails here could cost the rows
    theirs, and these kernels take longer than their launch."""
    scale = 32 if lab.dry else 1
    cases = {
        "GQA prefill, 32 heads on 8, 128 wide": core("gqa", "bf16", 1, 4096 // scale, 0, 32, 8, 128, 128),
        "GQA decode, batch 32, 8192 keys": core("gqa", "bf16", 32 // scale, 1, 8191 // scale, 32, 8, 128, 128),
        "MHA prefill, 64 wide": core("gqa", "bf16", 1, 4096 // scale, 0, 16, 16, 64, 64),
        "GQA prefill, 256 wide": core("gqa", "bf16", 1, 2048 // scale, 0, 16, 8, 256, 256),
        "MLA prefill, 192 and 128 wide": core("mla", "bf16", 1, 2048 // scale, 0, 32, 32, 192, 128),
        "MLA absorbed decode, batch 32": core("latent", "bf16", 32 // scale, 1, 4095 // scale, 128, 1, 576, 512),
    }
    for name, backend in lab.each([(name, backend) for name in cases for backend in (*attention.ORDER, None)]):
        word = "chosen by torch" if backend is None else backend.name.removesuffix("_ATTENTION").lower()
        yield f"{name}: {word}: {tried(partial(_backend, lab, cases[name], backend))}"


def _backend(lab: Lab, point: Point, backend: SDPBackend | None) -> str:
    op = point.op
    assert isinstance(op, AttentionCore)
    s = attention.shape(op)
    lab.bench.begin(float(op.work().bytes) * 2.0)
    q, k, v = attention.tensors(s, lab.bench)
    call = partial(ops.attention, q, k, v, None, s.q_len > 1, s.scale)
    context = no_context if backend is None else partial(sdpa_kernel, [backend])
    with context():
        error = attention.wrong(s, call(), q, k, v)
    if error > 0.02:
        return f"wrong result, relative error {error:.2g}"
    timing, how = lab.time(Kernel([call], lambda: error, 1.0, "", context, graph=False), point.kind)
    return f"{rate(point, timing.seconds)} ({how})"


def formats(lab: Lab) -> Iterator[str]:
    """One product a format, eagerly; what ran, by kernel name."""
    m, n, k = (256, 512, 512) if lab.dry else (4096, 8192, 8192)
    for name in lab.each(lab.target.formats):
        yield f"{name}: {tried(partial(_product, lab, gemm(name, m, n, k), False))}"
    for name, why in lab.target.absent.items():
        yield f"{name}: no: {why}"


def _product(lab: Lab, point: Point, graph: bool = True) -> str:
    kernel, timing, how = lab.point(point, graph=graph)
    with kernel.context():
        names = kernel_names(kernel.calls[0])
    return f"{rate(point, timing.seconds)} ({how}; {names[0][:70] if names else 'no kernel seen'})"


def grouped(lab: Lab) -> Iterator[str]:
    """Time of a grouped product around 128 rows an expert, where the fast path changes its tile."""
    experts, n, k = (4, 128, 128) if lab.dry else (64, 2048, 4096)
    kind = kind_of("grouped_gemm", x="bf16", w="bf16", compute="bf16")
    for each in lab.each((8, 64, 120, 128, 136, 256)):
        point = Point(kind, tuple(float(v) for v in (each * experts, experts, experts, n, k, 1)))
        yield f"{each} rows an expert: {tried(partial(_product, lab, point))}"


def block_scales(lab: Lab) -> Iterator[str]:
    """Which shapes the block-scaled fp8 product takes; right or wrong by fp64."""
    if "fp8_block" not in lab.target.formats:
        yield "fp8_block: not on this device"
        return
    layers = ((7168, 2048), (576, 7168), (2112, 7168), (24576, 1536))
    for m, n, k in lab.each([(m, n, k) for m in (1, 3, 4, 17, 128, 1000) for n, k in layers]):
        yield f"{m} x {n} x {k}: {tried(partial(_product, lab, gemm('fp8_block', m, n, k)))}"


def mla(lab: Lab) -> Iterator[str]:
    """Our MLA decode kernel: tiles and parts of the keys, against fp64; then whatever `latent` takes by itself."""
    batch, keys, heads = (1, 48, 16) if lab.dry else (64, 4096, 128)
    point = core("latent", "bf16", batch, 1, keys - 1, heads, 1, 576, 512)
    if optional("triton") is None or not lab.bench.cuda:
        yield "triton: not here"
    else:
        from simcost.measure.triton_kernels import mla_decode as own

        tiles = (own.LARGE, own.MIDDLE, own.SMALL)
        for use in lab.each([replace(tile, splits=splits) for splits in (0, 4, 8, 16, 32) for tile in tiles]):
            yield f"{use.rows}x{use.keys}, {use.splits or 'chosen'} parts: {tried(partial(_tile, lab, point, use))}"
    yield f"as measured: {tried(partial(_latent, lab, point))}"


def _latent(lab: Lab, point: Point) -> str:
    kernel, timing, how = lab.point(point)
    return f"{kernel.backend}: {rate(point, timing.seconds)} ({how})"


def _tile(lab: Lab, point: Point, use: Any) -> str:
    from simcost.measure.triton_kernels import mla_decode as own

    op = point.op
    assert isinstance(op, AttentionCore)
    s = attention.shape(op)
    lab.bench.begin(float(op.work().bytes) * _TILE_COPIES)
    calls, sets = [], []
    for _ in range(_TILE_COPIES):
        q = lab.bench.take((s.batch, s.q_len, s.heads, s.d_qk), s.name).transpose(1, 2)
        latent_ = lab.bench.take((s.batch, s.keys, s.d_qk), s.name)
        sets.append((q, latent_))
        calls.append(partial(own.attend, q, latent_, s.d_v, s.scale, use))
    q, keys = sets[0][0], sets[0][1].unsqueeze(1)
    error = attention.wrong(s, calls[0](), q, keys, keys[..., : s.d_v])
    if error > tolerance(s.name):
        return f"wrong result, relative error {error:.2g}"
    timing, how = lab.time(Kernel(calls, lambda: error, 1.0, str(use)), point.kind)
    return f"{rate(point, timing.seconds)} ({how})"


def methods(lab: Lab) -> Iterator[str]:
    """Rotated buffers in a graph, one hot buffer in a graph, and Triton's do_bench: how far they are apart."""
    shapes = [
        (1, 4096, 4096),
        (16, 8192, 1024),
        (64, 4096, 14336),
        (256, 1024, 8192),
        (1024, 4096, 4096),
        (4096, 4096, 4096),
    ]
    if lab.dry:
        shapes = [(1, 256, 256), (64, 256, 256)]
    testing = optional("triton.testing") if lab.bench.cuda else None
    for m, n, k in lab.each(shapes):
        point = gemm("bf16", m, n, k)
        cold, hot = (lab.point(point, copies)[1].seconds for copies in (32, 1))
        line = f"{m} x {n} x {k}: rotated {show(cold, 'seconds', 3)}, one buffer {show(hot, 'seconds', 3)}"
        if testing is not None:
            call = lab.point(point, 1)[0].calls[0]
            for mode in ("mean", "median"):
                seconds = testing.do_bench(call, return_mode=mode) * _MILLI
                line += f", do_bench {mode} {show(seconds, 'seconds', 3)}"
        yield line


class Drift:
    """Thirty points at the start and again at the end."""

    def __init__(self) -> None:
        self.first: list[float] = []

    def points(self, lab: Lab) -> list[Point]:
        if lab.dry:
            return [gemm("bf16", m, 256, 256) for m in (1, 16, 64)]
        shapes = ((4096, 4096), (8192, 1024), (1024, 8192), (14336, 4096), (7168, 2048))
        return [gemm("bf16", m, n, k) for n, k in shapes for m in (1, 16, 64, 256, 1024, 4096)]

    def start(self, lab: Lab) -> Iterator[str]:
        self.first = [lab.point(point, 8)[1].seconds for point in lab.each(self.points(lab))]
        yield f"{len(self.first)} points timed; again at the end"

    def end(self, lab: Lab) -> Iterator[str]:
        known = self.points(lab)[: len(self.first)]
        again = [lab.point(point, 8)[1].seconds for point in lab.each(known)]
        if not again:
            yield "not timed at the start, or no time for it at the end"
            return
        ratios = sorted(b / a for a, b in zip(self.first, again, strict=False))
        far = sorted(abs(r - 1.0) for r in ratios)
        yield (
            f"end over start: median {ratios[len(ratios) // 2]:.3f}, 90 % within {far[int(0.9 * (len(far) - 1))]:.1%}, "
            f"worst {far[-1]:.1%}"
        )
