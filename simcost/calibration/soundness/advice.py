"""What to do about a table that is not sound, by the reason that the rule gives: for whoever measured it.

Most likely to be wrong: a cause; a reason says what the times contradict, not what went wrong on the machine.
"""

from __future__ import annotations

from collections.abc import Mapping

_TRUST = "; until then the shipped table answers better"
VERDICTS: Mapping[str, str] = {
    "are 'seconds' in seconds": "divide the column (milliseconds by 1,000, microseconds by 1,000,000) and look again",
    "times the time of its": (
        "look whether the narrow kernel ran at all, or a fallback that widens its weights first; let the engine tune it for these shapes, then time again"
    ),
    "times its light": "look which kernel ran: an untuned default or a fallback; time again with the engine's tuned configuration"
    + _TRUST,
    "starts at": "time inside a CUDA graph: launches, Python wrappers or an allocation stand in every row; a graph has none of them",
    "at half the bytes": "look whether the narrow cache was in use: the same times for half the bytes mean that the wide one was read",
    "times the time of the": "look at clocks and power limit, and whether the kernel was built for this architecture"
    + _TRUST,
    "no other table of it": "look for a fused kernel of this format; without one its weights are better widened",
    "small calls take": "time inside a CUDA graph, and leave wrappers (a cast, a choice of kernel) outside of what is timed",
}
_ELSEWHERE = "the same code fell there (a sibling part, or a newer version with the same times): look there first"
FILTERS: Mapping[str, str] = {
    "below": (
        "rotate buffers so that the L2 holds none of them, look at the columns of the row (a batch, a group), and at 'seconds': no kernel outruns the datasheet"
    ),
    "over": "time these rows again: a neighbour on the machine, a clock that dropped, or an autotuner that was still trying",
    "a clock that fell under load": "pause between repetitions or lock the clock: in a step a product of this size does not run for seconds on end",
    "another kernel than": "time all routings again after one warm-up of the autotuner: the same shape must run the same kernel",
    "groups that reach": "look at peer access and NVLink between these ranks: the bytes went through the host",
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
