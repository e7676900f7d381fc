"""Values of a metric on an axis: the unit that keeps their digits few, and the words beside it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from simcost import metrics, units
from simcost.report.cells import title

_WORDS = {
    "tpot_s": "time per output token, TPOT", "ttft_s": "time to first token, TTFT", "itl_s": "inter-token latency, ITL", "e2e_s": "end-to-end latency", "step_s": "time of a step",
    "output_tokens_per_s_per_gpu": "output tokens/s per GPU", "output_tokens_per_s_per_user": "output tokens/s per user", "output_tokens_per_s": "output tokens/s",
    "input_tokens_per_s_per_gpu": "input tokens/s per GPU", "tokens_per_s_per_gpu": "tokens/s per GPU", "requests_per_s": "requests/s", "concurrency": "concurrency [requests]",
    "usd_per_million_output_tokens": "$ per million output tokens", "usd_per_million_input_tokens": "$ per million input tokens", "usd_per_billion_tokens": "$ per billion tokens",
    "batch": "batch [sequences]", "context": "context [tokens]", "isl": "prompt [tokens]", "osl": "answer [tokens]", "rate_per_s": "load [requests/s]", "global_batch": "global batch [sequences]",
    "micro_batch": "micro-batch [sequences]", "seq": "sequence [tokens]", "mfu": "MFU [%]", "gpus": "GPUs",
}  # fmt: skip
_STEPS = {"seconds": ("us", "ms", "s"), "duration": ("s", "min", "h", "d"), "bytes": ("kB", "MB", "GB", "TB")}


class Scale(NamedTuple):
    """SI values are divided by `factor`; `label` names what the axis shows, with its unit."""

    factor: float
    unit: str
    label: str

    @property
    def brief(self) -> str:
        """The label where there is little room: "TPOT [ms]"."""
        return self.label.rpartition(", ")[2]

    def of(self, value: float) -> float:
        return float(value) / self.factor

    def shown(self, value: float, digits: int = 3) -> str:
        """A value in the axis' unit."""
        size = self.of(value)
        text = f"{size:,.0f}" if abs(size) >= 10.0**digits else f"{size:,.{digits}g}"
        return f"{text}{' ' if self.unit not in ('', '%') else ''}{self.unit}"


def scale(name: str, values: Iterable[Any]) -> Scale:
    """By the unit of a metric and its largest value."""
    largest = max((abs(float(value)) for value in values if value is not None), default=0.0)
    factor, unit = _unit(metrics.unit(name), largest)
    words = _WORDS.get(name, title(name))
    return Scale(factor, unit, words if not unit or "[" in words or "$" in words else f"{words} [{unit}]")


def _unit(dimension: str, largest: float) -> tuple[float, str]:
    if dimension in ("memory", "bytes") and largest >= units.parse("1 MiB", "bytes"):
        unit = "GiB" if largest >= units.parse("1 GiB", "bytes") else "MiB"
        return units.parse(f"1 {unit}", "bytes"), unit
    if dimension in ("fraction", "change", "probability"):
        return units.parse("1 %", "fraction"), "%"
    if dimension in _STEPS:
        kind = "bytes" if dimension == "bytes" else dimension
        known = [(units.parse(f"1 {unit}", kind), unit) for unit in _STEPS[dimension]]
        return next(((factor, unit) for factor, unit in reversed(known) if largest >= factor), known[0])
    return 1.0, "" if dimension in ("rate", "usd") else units.symbol(dimension) if dimension in ("joules", "watts") else ""  # fmt: skip
