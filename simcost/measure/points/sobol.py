"""Off-grid points: scrambled Sobol numbers in log space, each family in its own range.

At least half of all points must lie off the grid: curves fitted on powers of two alone are off by a third at real lengths.
Ranges are those of inference and training steps on one device. Most likely to be wrong: what a model outside these ranges
does; its rows stand alone there. Source: Sobol numbers from torch.quasirandom (Owen scrambling).
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeVar

from simcost.calibration.families.attention_prefill import FEW
from simcost.measure.machine.torch import need_torch
from simcost.measure.points.point import Kind, Point
from simcost.measure.points.rounding import realised

Unit = Sequence[float]
T = TypeVar("T")
_DIMENSIONS = 8
_WIDE = 131072.0  # context of long decode steps
_NARROW = 64.0  # keys of the narrowest window drawn: models have 128 and more
_HEADS = (64, 128, 128, 256)
SKEWS = (1.0, 2.0, 4.0, 8.0)  # the busiest expert over the mean of those touched: balanced, and three skews


def log_between(u: float, low: float, high: float) -> float:
    """The number a share u of the way from low to high, even in the logarithm."""
    return float(low * (high / low) ** u)


def one_of(u: float, options: Sequence[T]) -> T:
    """The option at the share u of the list, for u in [0, 1]; all have the same chance."""
    return options[min(int(u * len(options)), len(options) - 1)]


def space(kind: Kind, large: bool, seed: int) -> Iterator[Point]:
    """Endless off-grid points of a kind, the same for the same seed. `large`: ranges of a datacentre device, else of a CPU.
    Raises SimcostError without torch."""
    torch = need_torch()
    own = zlib.crc32(str(kind).encode())  # every kind has its own sequence
    engine = torch.quasirandom.SobolEngine(_DIMENSIONS, scramble=True, seed=(seed + own) % 2**31)
    draw = _DRAWS[kind.family]
    while True:
        for unit in engine.draw(64).tolist():
            numbers = realised(kind, draw(kind, unit, large))
            if numbers is not None:
                yield Point(kind, numbers)


def _gemm(kind: Kind, u: Unit, large: bool) -> Mapping[str, float]:
    widest = 20000.0 if large else 6000.0
    m = log_between(u[0], 1.0, 16384.0 if large else 2048.0)
    n, k = log_between(u[1], 128.0, widest), log_between(u[2], 128.0, widest)
    if kind.table.get("what") == "weight":
        return {"batch": 1.0, "m": k, "n": n, "k": max(m, 16.0)}
    return {"batch": 1.0, "m": m, "n": n, "k": k}


def _batched(kind: Kind, u: Unit, large: bool) -> Mapping[str, float]:
    return {
        "batch": log_between(u[0], 8.0, 128.0), "m": log_between(u[1], 1.0, 4096.0 if large else 512.0),
        "n": log_between(u[2], 64.0, 512.0), "k": log_between(u[3], 64.0, 512.0),
    }  # fmt: skip


def _layout(kind: Kind, u: Unit) -> dict[str, float]:
    """Heads and widths: grouped queries, or the two forms of MLA with DeepSeek's widths."""
    layout = kind.table["layout"]
    if layout in ("gqa", "window"):
        kv, width = log_between(u[0], 1.0, 16.0), float(one_of(u[2], _HEADS))
        kv = float(round(kv))
        return {"kv_heads": kv, "heads": kv * round(log_between(u[1], 1.0, 12.0)), "d_qk": width, "d_v": width}
    heads = float(round(log_between(u[0], 8.0, 128.0)))
    if layout == "latent":
        return {"kv_heads": 1.0, "heads": heads, "d_qk": 576.0, "d_v": 512.0}
    return {"kv_heads": heads, "heads": heads, "d_qk": 192.0, "d_v": 128.0}


def _prefill(kind: Kind, u: Unit, large: bool) -> Mapping[str, float]:
    # Narrower windows hide nothing; fewer queries over a latent are the decode kernel's.
    least = {"window": 2.0 * _NARROW, "latent": FEW + 1.0}.get(kind.table["layout"], 2.0)
    q = log_between(u[3], least, 16384.0 if large else 4096.0)
    past = log_between((u[4] - 0.75) * 4.0, 64.0, 16384.0 if large else 4096.0) if u[4] > 0.75 else 0.0
    batch = log_between(u[5], 1.0, 32.0 if large else 8.0)
    window = log_between(u[6], _NARROW, max(q + past, _NARROW)) if kind.table["layout"] == "window" else 0.0
    return {**_layout(kind, u), "batch": batch, "q_len": q, "past": past, "window": window}


def _decode(kind: Kind, u: Unit, large: bool) -> Mapping[str, float]:
    past = log_between(u[3], 64.0, _WIDE if large else 16384.0)
    batch = log_between(u[4], 1.0, 512.0 if large else 64.0)
    return {**_layout(kind, u), "batch": batch, "q_len": 1.0, "past": past, "window": 0.0}


def _backward(kind: Kind, u: Unit, large: bool) -> Mapping[str, float]:
    return {**_prefill(kind, u, large), "past": 0.0, "q_len": log_between(u[3], 16.0, 8192.0 if large else 1024.0)}


def _experts(kind: Kind, u: Unit, large: bool) -> Mapping[str, float]:
    tokens = log_between(u[0], 1.0, 8192.0 if large else 1024.0)
    experts = round(log_between(u[1], 8.0, 256.0 if large else 64.0))
    top_k = round(log_between(u[2], 1.0, 8.0))
    drawn = 1.0 - (1.0 - min(top_k / experts, 1.0)) ** max(round(tokens), 1)
    touched = max(drawn * experts, 1.0)
    return {
        "tokens": tokens, "copies": round(tokens) * top_k, "experts": experts, "touched": touched,
        "hidden": log_between(u[3], 512.0, 8192.0 if large else 2048.0),
        "width": log_between(u[4], 128.0, 8192.0 if large else 1024.0), "load": one_of(u[5], SKEWS) * experts / touched,
    }  # fmt: skip


def _grouped(kind: Kind, u: Unit, large: bool) -> Mapping[str, float]:
    x = _experts(kind, u, large)
    n, k = (x["width"], x["hidden"]) if u[6] < 0.5 else (x["hidden"], x["width"])
    return {
        "rows": max(x["copies"], 1.0), "touched": x["touched"], "experts": x["experts"], "n": n, "k": k, "load": x["load"]
    }  # fmt: skip


def _router(kind: Kind, u: Unit, large: bool) -> Mapping[str, float]:
    experts, top_k = log_between(u[1], 8.0, 512.0), log_between(u[2], 1.0, 8.0)
    limited = kind.table["scoring"] == "sigmoid" and u[3] > 0.5 and experts > 64.0
    groups, opened = (8.0, 4.0) if limited else (1.0, 1.0)
    tokens = log_between(u[0], 1.0, 16384.0 if large else 4096.0)
    return {"tokens": tokens, "experts": experts, "top_k": top_k, "groups": groups, "topk_groups": opened}


def _permute(kind: Kind, u: Unit, large: bool) -> Mapping[str, float]:
    tokens = round(log_between(u[0], 1.0, 8192.0 if large else 2048.0))
    return {
        "tokens": tokens,
        "copies": tokens * round(log_between(u[1], 1.0, 8.0)),
        "width": log_between(u[2], 512.0, 8192.0),
    }


# Tensors read and written and operations an element, as the ops of simcost/blocks have them; several where they differ.
_PASSES: Mapping[str, tuple[tuple[float, float, float], ...]] = {
    "norm": ((1.0, 1.0, 4.0), (2.0, 2.0, 5.0), (2.0, 1.0, 5.0)),
    "rope": ((1.0, 1.0, 3.0),),
    "activation": ((2.0, 1.0, 5.0), (1.0, 1.0, 5.0)),
    "residual": ((2.0, 1.0, 1.0),),
    "cache_write": ((1.0, 1.0, 0.0),),
    "sample": ((1.0, 0.0, 5.0),),
    "copy": ((1.0, 1.0, 0.0),),
    "quantise": ((1.0, 1.0, 3.0),),
    "adamw_fused": ((4.0, 3.0, 12.0),),
    "adamw_foreach": ((4.0, 3.0, 12.0),),
}


def _stream(kind: Kind, u: Unit, large: bool) -> Mapping[str, float]:
    what = kind.table["what"]
    options = _PASSES[what]
    reads, writes, flops = one_of(u[1], options)
    most = 268435456.0 if large else 16777216.0  # elements: a quarter of a billion is 32k tokens of width 8192
    least = 2048.0 if what == "sample" else 256.0
    return {"elements": log_between(u[0], least, most), "reads": reads, "writes": writes, "flops": flops}


def _gather(kind: Kind, u: Unit, large: bool) -> Mapping[str, float]:
    return {"rows": log_between(u[0], 1.0, 32768.0 if large else 8192.0), "width": log_between(u[1], 512.0, 16384.0)}


_DRAWS: Mapping[str, Callable[[Kind, Unit, bool], Mapping[str, float]]] = {
    "gemm": _gemm,
    "gemm_variant": _gemm,
    "batched_gemm": _batched,
    "attention_prefill": _prefill,
    "attention_decode": _decode,
    "attention_backward": _backward,
    "experts": _experts,
    "grouped_gemm": _grouped,
    "grouped_weight_grad": _grouped,
    "router": _router,
    "permute": _permute,
    "stream": _stream,
    "gather": _gather,
}
