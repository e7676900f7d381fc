"""Which kinds of kernels a run measures on a device, and how many points each deserves.

The main format of a device gets the full number, the others half: their curves share the physics. Kernels that only stream
memory need few: theirs is a curve of one variable. None gets so few that a lost point leaves it without a curve
(`calibration.store.LEAST`), and in a standard run the main format's can be judged too (`calibration.judge.LEAST`). Most likely
to be wrong: sixty points as the knee, on a device with odd tiles.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from simcost.calibration.family import families
from simcost.errors import SpecError, nearest
from simcost.measure.machine.target import Target
from simcost.measure.points.point import Kind, kind_of
from simcost.measure.points.rounding import RULES
from simcost.units import parse

MODES = ("quick", "standard", "full")
TRAINING = ("gemm_variant", "attention_backward", "grouped_weight_grad")
_STREAMS = ("norm", "rope", "activation", "residual", "cache_write", "sample", "copy")
VISIT_CUDA = parse("20 ms", "seconds")
_PLAIN = ("fp32", "tf32", "bf16", "fp16")


@dataclass(frozen=True, slots=True)
class Mode:
    """Points of a main kind, of GEMM, and at least of any kind in the main format and in another; passes over all points;
    seconds of one visit; seconds that one call may take."""

    points: int
    gemm: int
    least: int
    least_other: int
    passes: int
    visit_s: float
    call_s: float


SIZES = {
    "quick": Mode(24, 24, 24, 24, 1, 0.03, 0.02),
    "standard": Mode(60, 80, 24, 16, 3, 0.05, 0.1),
    "full": Mode(150, 150, 40, 24, 3, 0.08, 1.0),
}


def mode(name: str) -> Mode:
    """The mode by name. Raises SpecError naming the nearest."""
    if name not in SIZES:
        raise SpecError(f"--mode must be one of {', '.join(MODES)}, not {name!r}{nearest(name, MODES)}")
    return SIZES[name]


def sized(name: str, cuda: bool) -> Mode:
    """The mode as a device takes it: samples between stamps of a CUDA device need no longer visit than that of fifteen
    samples of a millisecond, and a pass over all points must fit into a run of ten minutes."""
    found = mode(name)
    return replace(found, visit_s=min(found.visit_s, VISIT_CUDA)) if cuda else found


def chosen(names: Sequence[str] | None) -> tuple[str, ...]:
    """Families that a run measures. Raises SpecError for one that it cannot."""
    for name in names or ():
        if name not in RULES:
            known = ", ".join(RULES)
            why = (
                "runs under torchrun (simcost.measure.session.collectives)"
                if name in ("collective", "p2p")
                else "is unknown"
            )
            raise SpecError(f"--family: {name!r} {why}; one of {known}{nearest(name, RULES)}")
    return tuple(name for name in families() if name in RULES and (names is None or name in names))


def kinds(target: Target, mode_name: str, names: Sequence[str] | None = None) -> dict[Kind, int]:
    """Points to measure of each kind, for the formats of a target and the families in `names` (None: all; gradients not in a
    quick run)."""
    size = mode(mode_name)
    wanted = chosen(names)
    training = mode_name != "quick"
    found: dict[Kind, int] = {}
    for format_ in target.formats:
        main = format_ == target.main
        for kind, share in _of_format(format_, target):
            if kind.family not in wanted or (kind.family in TRAINING and not training and names is None):
                continue
            base = size.gemm if kind.family == "gemm" else size.points
            least = size.least if main else size.least_other
            found[kind] = max(round(base * share * (1.0 if main else 0.5)), least)
    if "router" in wanted:
        for scoring in ("softmax", "sigmoid"):
            found[kind_of("router", scoring=scoring)] = max(round(size.points * 0.4), size.least)
    return found


def _of_format(name: str, target: Target) -> list[tuple[Kind, float]]:
    if name not in _PLAIN:
        return _narrow(name, target)
    x = "fp32" if name == "tf32" else name
    product = {"x": x, "w": x, "compute": name}
    found = [(kind_of("gemm", **product), 1.0)]
    if name == "tf32" or (name in ("fp32", "fp16") and target.cuda):
        return found  # the rest of a step in these formats behaves as in bf16
    core = {"x": x, "kv": x, "compute": x}
    found += [
        (kind_of("attention_prefill", **core, layout="gqa", scope="core"), 1.0),
        (kind_of("attention_prefill", **core, layout="window", scope="core"), 0.25),
        (kind_of("attention_prefill", **core, layout="mla", scope="core"), 0.4),
        (kind_of("attention_prefill", **core, layout="latent", scope="core"), 0.4),
        (kind_of("attention_decode", **core, layout="gqa", scope="core"), 1.0),
        (kind_of("attention_decode", **core, layout="latent", scope="core"), 1.0),
        (kind_of("attention_decode", **core, layout="mla", scope="core"), 0.4),
        (kind_of("experts", **product, gated="gated"), 1.0),
        (kind_of("grouped_gemm", **product), 1.0),
        (kind_of("batched_gemm", **product), 0.4),
        (kind_of("gather", w=x, out=x), 0.25),
        (kind_of("permute", what="permute", x=x), 0.25),
        (kind_of("permute", what="combine", x=x), 0.25),
    ]
    found += [(kind_of("stream", what=what, x=x, out=x), 0.25) for what in _STREAMS]
    found += [
        (kind_of("gemm_variant", what="input", **product), 0.4),
        (kind_of("gemm_variant", what="weight", **product), 0.4),
        (kind_of("attention_backward", **core, layout="gqa"), 0.4),
        (kind_of("grouped_weight_grad", x=x, out=x, compute=x), 0.4),
    ]
    if name in ("fp32", target.main):
        found += [(kind_of("stream", what=f"adamw_{how}", x="fp32", out="fp32"), 0.25) for how in ("fused", "foreach")]
    return found


def _narrow(name: str, target: Target) -> list[tuple[Kind, float]]:
    """Formats below 16 bits: their products, and the cast that feeds them."""
    if name == "fp8_row":
        return [(kind_of("gemm_variant", what="row", x="fp8", w="fp8", compute="fp8"), 1.0)]
    if name == "int4":
        return [(kind_of("gemm", x="bf16", w="int4", compute="bf16"), 1.0)]
    product = {"x": name, "w": name, "compute": name}
    found = [(kind_of("gemm", **product), 1.6)]
    if name in ("fp8", "fp8_block"):
        found.append((kind_of("stream", what="quantise", x="bf16", out=name), 0.5))
        found.append((kind_of("permute", what="permute", x=name), 0.5))
    if name == "fp8_block":
        found += _by_blocks()
    if name == "fp8" and "fp8_block" in target.absent:
        found += _by_blocks()  # torch has block-scaled products on one architecture, our kernel wherever there is fp8
        found.append((kind_of("stream", what="quantise", x="bf16", out="fp8_block"), 0.5))
    return found


def _by_blocks() -> list[tuple[Kind, float]]:
    """Experts under fp8 with block scales, by our own kernel."""
    product = {"w": "fp8_block", "compute": "fp8_block"}
    return [
        (kind_of("grouped_gemm", x="fp8_block", **product), 1.6),
        (kind_of("experts", x="bf16", gated="gated", **product), 1.6),
    ]
