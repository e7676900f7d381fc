"""The nearest numbers that a kernel really runs: whole counts, rows that start where kernels want them, loads that add up.

What is measured is what the row says, so a wish is rounded before it is built. Most likely to be wrong: a width that is no
multiple of 16 bytes is rounded up here, where a library would pad it in place.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import lru_cache

from simcost.measure.points.point import Kind

Numbers = Mapping[str, float]
_NARROW = {"fp8": 16, "fp8_block": 128, "nvfp4": 64, "mxfp4": 64, "int4": 128}
WIDEST_ROW = 4096  # a stream kernel's row, where the op does not say how wide it is


def whole(value: float, step: int = 1) -> int:
    """The nearest positive multiple of step."""
    return max(round(value / step), 1) * step


def realised(kind: Kind, numbers: Numbers) -> tuple[float, ...] | None:
    """Numbers in the family's order; None where no kernel of ours runs such a point."""
    found = RULES[kind.family](kind, numbers)
    return None if found is None else tuple(float(v) for v in found)


def _gemm(kind: Kind, x: Numbers) -> tuple[int, ...]:
    step = max(_NARROW.get(name, 8) for _, name in kind.labels)
    rows = step if kind.table.get("what") == "weight" else 1
    return whole(x["batch"]), whole(x["m"], rows), whole(x["n"], step), whole(x["k"], step)


def _attention(kind: Kind, x: Numbers) -> tuple[int, ...] | None:
    heads, kv = whole(x["heads"]), whole(x["kv_heads"])
    q, past, window = whole(x["q_len"]), round(x["past"]), round(x["window"])
    if window >= past + q:
        window = 0  # nothing is hidden
    if window and q == 1:
        past, window = window - 1, 0  # one query sees only the window: the same kernel over fewer keys
    if kind.table["layout"] == "window" and not window:
        return None  # it is the kernel of another kind
    return whole(x["batch"]), q, past, math.ceil(heads / kv) * kv, kv, whole(x["d_qk"], 8), whole(x["d_v"], 8), window


@lru_cache(maxsize=256)
def loaded(copies: int, touched: int, held: int, load: float, most: int) -> tuple[int, ...]:
    """Rows of each touched expert, busiest first: it has `load` times the mean of all `held` experts, as queries say it
    (`routing.load.busiest_expert`), as far as whole rows and at most `most` an expert allow; the others fall like a power
    law. The load that comes out, put in again, gives the same rows."""
    mean = -(-copies // touched)
    busiest = min(max(round(load * copies / held), mean), most, copies - touched + 1)
    others, rest = touched - 1, copies - busiest
    if others == 0:
        return (copies,)
    exponent = _exponent(busiest / copies, touched)
    shares = [(i + 2.0) ** -exponent for i in range(others)]
    exact = [1.0 + (rest - others) * share / sum(shares) for share in shares]
    counts = [min(int(value), busiest) for value in exact]
    left = rest - sum(counts)
    while left > 0:
        for i in range(others):
            if left > 0 and counts[i] < busiest:
                counts[i] += 1
                left -= 1
    return (busiest, *counts)


def _exponent(share: float, touched: int) -> float:
    """The power law over `touched` experts whose first has this share of all."""
    low, high = 0.0, 8.0
    for _ in range(40):
        middle = (low + high) / 2.0
        first = 1.0 / sum((i + 1.0) ** -middle for i in range(touched))
        low, high = (middle, high) if first < share else (low, middle)
    return low


def _experts(kind: Kind, x: Numbers) -> tuple[float, ...] | None:
    tokens, experts = whole(x["tokens"]), whole(x["experts"])
    top_k = min(whole(x["copies"] / tokens), experts)
    copies = tokens * top_k
    touched = min(max(whole(x["touched"]), top_k), experts, copies)
    counts = loaded(copies, touched, experts, x["load"], tokens)
    step = max(_NARROW.get(name, 8) for _, name in kind.labels)
    return (
        tokens, copies, touched, experts, whole(x["hidden"], step), whole(x["width"], step),
        max(counts) * experts / copies,
    )  # fmt: skip


def _grouped(kind: Kind, x: Numbers) -> tuple[float, ...]:
    rows, experts = whole(x["rows"]), whole(x["experts"])
    touched = min(whole(x["touched"]), experts, rows)
    counts = loaded(rows, touched, experts, x["load"], rows)
    step = max(_NARROW.get(name, 8) for _, name in kind.labels)
    return rows, touched, experts, whole(x["n"], step), whole(x["k"], step), max(counts) * experts / rows


def _weight_grad(kind: Kind, x: Numbers) -> tuple[int, ...]:
    rows = whole(x["rows"], 8)
    touched = min(whole(x["touched"]), max(rows // 8, 1))
    return rows, touched, whole(x["n"], 8), whole(x["k"], 8)


def _router(kind: Kind, x: Numbers) -> tuple[int, ...]:
    groups = whole(x["groups"])
    experts = whole(x["experts"], groups)
    open_groups = min(whole(x["topk_groups"]), groups)
    return whole(x["tokens"]), experts, min(whole(x["top_k"]), experts * open_groups // groups), groups, open_groups


def _permute(kind: Kind, x: Numbers) -> tuple[int, ...]:
    tokens = whole(x["tokens"])
    return tokens, tokens * whole(x["copies"] / tokens), whole(x["width"], 8)


def _stream(kind: Kind, x: Numbers) -> tuple[float, ...]:
    return whole(x["elements"], 128), x["reads"], x["writes"], x["flops"]


def _gather(kind: Kind, x: Numbers) -> tuple[int, ...]:
    return whole(x["rows"]), whole(x["width"], 8)


def row_width(elements: int) -> int:
    """Width of a row of a stream kernel: the widest power of two up to WIDEST_ROW that divides the elements."""
    return math.gcd(elements, WIDEST_ROW)


RULES: Mapping[str, Callable[[Kind, Numbers], tuple[float, ...] | None]] = {
    "gemm": _gemm,
    "batched_gemm": _gemm,
    "gemm_variant": _gemm,
    "attention_prefill": _attention,
    "attention_decode": _attention,
    "attention_backward": _attention,
    "experts": _experts,
    "grouped_gemm": _grouped,
    "grouped_weight_grad": _weight_grad,
    "router": _router,
    "permute": _permute,
    "stream": _stream,
    "gather": _gather,
}
