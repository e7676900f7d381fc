"""In which order a quick run takes its kinds: those that make a step's time first, a few at a time, in the main format first.

A curve needs `calibration.store.LEAST` rows and a judgement `calibration.judge.LEAST`: a minute spread over every kind gives
neither. Most likely to be wrong: which kernels matter to a design with attention or experts of another sort.
"""

from __future__ import annotations

from collections.abc import Iterable

from simcost.measure.machine.target import CPU_FORMATS, Target
from simcost.measure.points.point import Kind

# (family, one of its labels or "" for all) of a stage; what is named nowhere comes last.
_STAGES: tuple[tuple[tuple[str, str], ...], ...] = (
    (("gemm", ""), ("attention_decode", "gqa"), ("attention_prefill", "gqa")),
    (("experts", ""), ("stream", "norm"), ("stream", "activation")),
    (("stream", "rope"), ("stream", "cache_write"), ("stream", "residual"), ("gather", "")),
    (("router", "softmax"), ("grouped_gemm", ""), ("permute", "")),
    (("attention_decode", "latent"), ("attention_prefill", "mla"), ("batched_gemm", ""), ("router", "sigmoid")),
)
_WIDE = ("fp16", "tf32", *CPU_FORMATS)


def stages(wanted: Iterable[Kind], target: Target) -> list[list[Kind]]:
    """All kinds, by stage: the main format's, then narrower ones, in which models are served, then other wide ones."""
    found: dict[tuple[int, int], list[Kind]] = {}
    for kind in wanted:
        found.setdefault((_format(kind, target), _stage(kind)), []).append(kind)
    return [found[key] for key in sorted(found)]


def _stage(kind: Kind) -> int:
    names = kind.table.values()
    for number, stage in enumerate(_STAGES):
        if any(kind.family == family and label in ("", *names) for family, label in stage):
            return number
    return len(_STAGES)


def _format(kind: Kind, target: Target) -> int:
    """0 the main format, 1 a narrow one, 2 another wide one; a kind without a format goes with the main one."""
    named = set(kind.table.values()) & {*target.formats, "fp32", "int4"}
    if not named - {target.main}:
        return 0
    return 2 if named <= set(_WIDE) else 1
