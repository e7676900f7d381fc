"""A published trace of kernels as rows: `workloads/traces/<name>.toml` -> coefficients of the stack that it is of.

A trace of one forward beside both gradients (DualPipe's pair) says how long all compute kernels, and all exchanges, of
so many layers run in a step, each slowed by the other. Coefficients multiply kernels as they run alone, so those are
sought by which the predicted pair takes as long: one for products, attention, experts and elementwise kernels, whose
shares a trace of fused kernels does not tell apart, and one for communication. Its span from first to last kernel makes
nothing, and says how far the pair is missed. Most likely to be wrong: that what waits for other ranks, in exchanges,
waits as long in hops and sums. Source: each term of a file has its own.
"""

from __future__ import annotations

from collections.abc import Mapping

from simcost.errors import SpecError
from simcost.frozen import frozen
from simcost.hardware import load as hardware
from simcost.model import load as models
from simcost.num import Z90
from simcost.pipeline import Stage
from simcost.plan import Plan
from simcost.routing.read import parse as routing
from simcost.training import terms
from simcost.training.chunks import chunk, pair, priced_parts, side_by_side
from simcost.training.job import Recipe, build
from simcost.training.step import SPREAD
from simcost.validation.training.judge import Fit
from simcost.validation.training.split import Split, fingerprint

COMPUTE = ("kernels", "experts", "elementwise")
WIRES = ("communication", "network")
KIND = "trace"
TURNS, STEADY = 50, 1e-9
_TERMS: Mapping[str, terms.Reader] = {
    **dict.fromkeys(("model", "hw", "stack", "precision", "recompute", "routing"), terms.text),
    **dict.fromkeys(("ep", "seq", "micro_batch", "layers", "compute_s", "wire_s", "span_s"), terms.number),
}


@frozen
class Trace:
    """A pair of chunks of `layers` of the model's last stack, each, on `ep` ranks of one `hw` each. compute_s, wire_s:
    of its kernels beside each other; span_s: from the first to the last [s]; stack: that takes the coefficients."""

    name: str
    model: str
    hw: str
    stack: str
    precision: str
    recompute: str
    routing: str
    ep: float
    seq: float
    micro_batch: float
    layers: float
    compute_s: float
    wire_s: float
    span_s: float


def load(name: str) -> Trace:
    """A trace by name, or by the path of a file. Raises SpecError for an unknown name and a malformed file."""
    file = terms.file("traces", terms.find("traces", name))
    values, _ = terms.read(file.table, _TERMS, {}, file.where)
    return Trace(file.name, **values)


def every() -> list[Trace]:
    """The traces that ship."""
    return [load(name) for name in terms.names("traces")]


def predicted(trace: Trace, factors: Mapping[str, float]) -> tuple[float, float, float]:
    """(compute kernels, exchanges, the pair) as they run beside each other at some factors. [s]"""
    job = build(
        models.load(trace.model),
        hardware.load(trace.hw),
        Plan(ep=trace.ep, gpus=trace.ep),
        Recipe(
            micro_batch=int(trace.micro_batch),
            seq=int(trace.seq),
            recompute=trace.recompute,
            precision=trace.precision,
            stack=trace.stack,
            factors=factors,
            routing=routing(trace.routing),
        ),
    )
    last = len(job.model.stacks) - 1
    one = chunk(job, Stage(((f"stack {last}", int(trace.layers)),)), priced_parts(job))
    rest, wire = side_by_side(one, one, float(job.device.multiprocessors))
    return float(rest.seconds), float(wire.seconds), float(pair(one, one, float(job.device.multiprocessors)).seconds)


def factors_of(trace: Trace) -> dict[str, float]:
    """Coefficients by which the kernels of the predicted pair take as long as those of the trace. Raises SpecError
    where nothing of it travels."""
    compute = wire = 1.0
    for _ in range(TURNS):
        kernels, moved, _ = predicted(trace, _named(compute, wire))
        if moved <= 0.0:
            raise SpecError(f"traces/{trace.name}.toml: no token of {trace.model} travels on ep = {trace.ep:.0f}")
        off = trace.compute_s / kernels, trace.wire_s / moved
        compute, wire = compute * off[0], wire * off[1]
        if max(abs(each - 1.0) for each in off) < STEADY:
            break
    return _named(compute, wire)


def _named(compute: float, wire: float) -> dict[str, float]:
    return {**dict.fromkeys(COMPUTE, compute), **dict.fromkeys(WIRES, wire)}


def fitted(trace: Trace) -> Fit:
    """What a stack keeps of a trace. Its error is of the span, which made nothing; its interval is that of steps
    without coefficients, as one trace says of no other step how far it is missed."""
    factors = factors_of(trace)
    figures = [trace.compute_s, trace.wire_s]
    return Fit(
        trace.name,
        trace.hw,
        trace.stack,
        Split(KIND, (trace.name,), (), len(factors)),
        factors,
        len(figures),
        abs(predicted(trace, factors)[2] / trace.span_s - 1.0),
        Z90 * SPREAD,
        fingerprint(["compute_s", "wire_s"], figures),
    )
