"""What to do about a table that is not sound, by the reason that the rule gives: for whoever measured it.

Most likely to be wrong: a cause; a reason says what the times contradict, not what went wrong on the machine.
"""

from __future__ import annotations

from collections.abc import Mapping

_TRUST = "; until then the shipped table answers better"
VERDICTS: Mapping[str, str] = {
    "are 'seconds' in seconds": "divide the column (milliseconds by 1,000, microseconds by 1,000,000) and check again",
    "times the time of its": (
        "check whether the narrow kernel ran at all, or a fallback that widens its weights first; let the engine tune it for these shapes, then time again"
    ),
    "times its light": "check which kernel ran: an untuned default or a fallback; time again with the engine's tuned configuration"
    + _TRUST,
    "starts at": "time inside a CUDA graph: every row includes launches, Python wrappers or an allocation, which a graph does not have",
    "at half the bytes": "check whether the narrow cache was used: equal times for half the bytes mean that the wide cache was read",
    "times the time of the": "check clocks and power limit, and whether the kernel was built for this architecture"
    + _TRUST,
    "no other table of it": "look for a fused kernel of this format; without one, keep the weights in the wider format",
    "small calls take": "time inside a CUDA graph, and leave wrappers (a cast, a choice of kernel) outside of what is timed",
}
_ELSEWHERE = (
    "the same code is unsound elsewhere (a similar GPU, or a newer version with the same times): check there first"
)
FILTERS: Mapping[str, str] = {
    "below": (
        "rotate buffers so that the L2 holds none of them, check the columns of the row (a batch, a group) and 'seconds': no kernel can be faster than the datasheet allows"
    ),
    "over": "time these rows again: another process on the machine, a clock that dropped, or an autotuner that was still running",
    "a clock that fell under load": "pause between repetitions or lock the clock: in a real step a product of this size does not run for seconds without a pause",
    "another kernel than": "time all routings again after one warm-up of the autotuner: the same shape must run the same kernel",
    "groups that reach": "check peer access and NVLink between these ranks: the bytes went through the host",
    "models whose kernel": "tune the kernel for these models (vLLM, SGLang: benchmark_moe --tune), or leave them to the shipped tables",
}


def verdict(why: str) -> str:
    """Advice on the reasons of a verdict, joined by "; "; each advice once, "" where none is known."""
    found = [_ELSEWHERE if part.startswith("as ") else _first(VERDICTS, part) for part in why.split("; ")]
    return "; ".join(dict.fromkeys(text for text in found if text))


def rows(why: str) -> str:
    """Advice on rows that a filter took out for this reason; "" where none is known."""
    return _first(FILTERS, why)


def _first(table: Mapping[str, str], why: str) -> str:
    return next((text for key, text in table.items() if key in why), "")
