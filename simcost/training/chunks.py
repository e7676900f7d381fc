"""What one virtual stage takes and keeps for a micro-batch: its passes priced, its tensors counted.

Most likely to be wrong: launches of kernels that the device waits for, of stacks that fuse or replay them. Source: docs/theory/training-step.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from simcost import pipeline
from simcost.cost.cost import Cost
from simcost.frozen import frozen
from simcost.lower import Module, modules
from simcost.num import Num, every, maximum
from simcost.ops.exchange import Exchange
from simcost.passes.contention import HELD, slowed
from simcost.passes.saved import kept_bytes
from simcost.pipeline import Stage
from simcost.program import Program, calls, longer, price, runs, without
from simcost.training import communication
from simcost.training.job import Job
from simcost.training.passes import Passes, entry_bytes, of_layer, parted
from simcost.training.split import DATA, HOST, Split, Stacked, stacked

FORWARD, INPUT, WEIGHT, BOTH = "forward", "input gradients", "weight gradients", "gradients"
NOTHING = Split()
# Host time of a kernel's launch in PyTorch's eager mode, forward or backward: Python, dispatcher and driver. Public traces of Megatron and torchtitan steps show 5 to 15 us.
LAUNCH_S = 10e-6
LAUNCH_SPREAD = 0.5  # sigma of its log


@frozen
class Part:
    """One of a module: its passes priced, and bytes of a rank for a micro-batch. `rest`, `wire`: of forward and both gradients, by pass, what is no exchange of tokens, and that exchange beside it; `whole`: what stays without
    recomputation; `entry`: its input alone; `kept`: what stays; `until_weight`: of it, and gradients of outputs, what stays until weight gradients have run; `layer`: whether pipelines share it out."""

    key: str
    name: str
    layer: bool
    costs: Mapping[str, Split]
    rest: Mapping[str, Split]
    wire: Mapping[str, Split]
    whole: Num
    kept: Num
    entry: Num
    until_weight: Num
    again: Split
    programs: Passes


@frozen
class Chunk:
    """A virtual stage: `costs` by pass, `kept` bytes of a micro-batch from its forward to its input gradient, `until_weight` to its weight gradient; `live`: bytes that stay once while its backward pass runs."""

    stage: Stage
    costs: Mapping[str, Split]
    rest: Mapping[str, Split]
    wire: Mapping[str, Split]
    kept: float
    until_weight: float
    live: float
    layers: int


Alone = dict[int, tuple[Program, Split]]  # times of programs, whatever stands beside them, by their identity
Moved = tuple[Program | None, Program | None]  # (exchanges of tokens, all else) of a pass
Known = dict[str, tuple[Passes, dict[str, Moved], Alone]]  # by key of a module


def priced_parts(job: Job, model: Stacked | None = None, known: Known | None = None) -> dict[str, Part]:
    """Every module of the model, one of it, by key. `model`: of costs, in place of the stack's own. `known`: by key the passes and their times of a job that differs in what data-parallel ranks send alone; it
    learns those that it lacks."""
    model = model or stacked(job.device, job.engine, job.factors, job.older)
    known = {} if known is None else known
    return {module.key: _part(job, module, model, known) for module in modules(job.model, True)}


def _part(job: Job, module: Module, model: Stacked, known: Known) -> Part:
    if module.key not in known:
        passes = of_layer(module.blocks, job.view_of(module.key), job.how_of(module.key), module.layer)
        known[module.key] = passes, _moved(passes), {}
    found, moved, once = known[module.key]
    ahead, again, after = communication.layer_programs(
        module.blocks, job.plan, job.precision.of(module.key), job.recipe.zero_stage, job.recipe.reshard, sharding=job.sharding, trained=job.recipe.trained
    )  # fmt: skip
    overlapped = bool(job.stack.flags["param_overlap"])
    floor = _floor(job)

    def alone(program: Program | None) -> Split:
        if program is None:
            return NOTHING
        if id(program) not in once:
            once[id(program)] = program, floor(price(program, model).cost, program)
        return once[id(program)][1]

    def cost(program: Program | None, *beside: Program | None) -> Split:
        seconds = alone(program)
        for wire in beside if program is not None else ():
            if wire is not None:
                moved = price(wire, model).cost.named(DATA)
                seconds = _hidden(seconds, moved, model) if overlapped else seconds + moved
        return seconds

    forward = cost(found.forward, ahead)
    both = cost(found.both, again, after)
    costs = {FORWARD: forward, INPUT: cost(found.input, again), WEIGHT: cost(found.weight, after), BOTH: both}
    rest, wire = _apart(
        moved, model, lambda name, others: cost(others, *{FORWARD: (ahead,), BOTH: (again, after)}[name])
    )
    view = job.view
    names = job.how.recompute.modules if module.layer else ()
    whole, kept = kept_bytes(found.kept), found.stays(names)
    entry = entry_bytes(module.blocks, view) if module.layer else 0.0
    until = found.gradients + sum(
        one.bytes for one in found.kept if one.product and not set(names).intersection(one.made_by)
    )
    return Part(
        module.key, module.name, module.layer, costs, rest, wire, whole, kept, entry, until, alone(found.forward), found
    )  # fmt: skip


def _hidden(seconds: Split, moved: Split, model: Stacked) -> Split:
    """A pass beside what gathers the next layer's weights, or sums the last one's gradients."""
    slow = without(HELD, model.multiprocessors)
    return seconds.slowed(longer(seconds.seconds, moved.seconds, slow)).beside(moved)


def _floor(job: Job) -> Callable[[Split, Program], Split]:
    """A pass waits for its launches where the host takes longer for them than the device for the kernels."""
    if job.plan.cuda_graph == "off" or job.stack.flags["cuda_graphs"] == "none":
        factor = job.factors.get("host", 1.0)

        def wait(cost: Split, program: Program) -> Split:
            busy = factor * LAUNCH_S * sum(times for _, times in runs(program))
            missing = maximum(busy - cost.seconds, 0.0)
            if every(missing == 0.0):
                return cost
            waits = Cost(overhead_s=missing, spread={"launches assumed": (missing > 0.0) * LAUNCH_SPREAD * busy})
            return cost + Split(waits, {HOST: missing})

        return wait
    return lambda cost, program: cost


def _moved(found: Passes) -> dict[str, Moved]:
    """Forward and both gradients, where there are any, parted into exchanges of tokens and all else."""
    programs = ((FORWARD, found.forward), (BOTH, found.both))
    return {
        name: parted(program, lambda call: isinstance(call.op, Exchange))
        for name, program in programs
        if program is not None
    }


def _apart(
    moved: Mapping[str, Moved], model: Stacked, cost: Callable[[str, Program | None], Split]
) -> tuple[dict[str, Split], dict[str, Split]]:
    """(forward and both gradients without the exchange of tokens, that exchange as long as it takes beside other kernels)."""
    rest, wire = {FORWARD: NOTHING, BOTH: NOTHING}, {FORWARD: NOTHING, BOTH: NOTHING}
    for name, (moves, others) in moved.items():
        rest[name] = cost(name, others)
        if moves is not None:
            for call in calls(slowed(moves)):
                wire[name] = wire[name] + model(call.op) * (call.repeat * call.slow)
    return rest, wire


def pair(one: Chunk, other: Chunk, multiprocessors: float) -> Split:
    """A forward of `one` chunk beside both gradients of the `other`, whose exchanges hide behind each other's kernels: DualPipe's overlap."""
    rest, wire = side_by_side(one, other, multiprocessors)
    return rest if float(wire.seconds) == 0.0 else rest.beside(wire)


def side_by_side(one: Chunk, other: Chunk, multiprocessors: float) -> tuple[Split, Split]:
    """(what computes in a pair, its exchanges), each as long as it takes beside the other."""
    rest, wire = one.rest[FORWARD] + other.rest[BOTH], one.wire[FORWARD] + other.wire[BOTH]
    if float(wire.seconds) == 0.0:
        return rest, wire
    slow = float(without(HELD, multiprocessors))
    return rest.slowed(longer(rest.seconds, wire.seconds, slow)), wire


def chunk(job: Job, stage: Stage, parts: Mapping[str, Part]) -> Chunk:
    """A virtual stage from the modules that stand on it."""
    costs: dict[str, Split] = dict.fromkeys((FORWARD, INPUT, WEIGHT, BOTH), NOTHING)
    rest, wire = {FORWARD: NOTHING, BOTH: NOTHING}, {FORWARD: NOTHING, BOTH: NOTHING}
    kept: Num = 0.0
    until: Num = 0.0
    live: Num = 0.0
    layers = sum(stage.layers)
    again = job.how.recompute.layers(float(layers))
    for key, count in stage.held:
        part = parts[key]
        for name in costs:
            costs[name] = costs[name] + part.costs[name] * float(count)
        for name in rest:
            rest[name] = rest[name] + part.rest[name] * float(count)
            wire[name] = wire[name] + part.wire[name] * float(count)
        if not part.layer:
            kept, until = kept + count * part.kept, until + count * part.until_weight
            continue
        if not count:
            continue
        share = count / layers  # layers of several kinds are recomputed in proportion
        if again:
            rerun = part.again * (again * share)
            costs[INPUT], costs[BOTH] = costs[INPUT] + rerun, costs[BOTH] + rerun
            rest[BOTH] = rest[BOTH] + part.rest[FORWARD] * (again * share)
            wire[BOTH] = wire[BOTH] + part.wire[FORWARD] * (again * share)
            kept = kept + job.how.recompute.kept_bytes(float(layers), part.whole, part.entry) * share
            live = maximum(live, job.how.recompute.live_bytes(part.whole))
            until = until + part.until_weight * (count - again * share)
        else:
            kept, until = kept + count * part.kept, until + count * part.until_weight
            live = maximum(live, part.whole - part.kept)
    found = Chunk(stage, costs, rest, wire, float(kept), float(until), float(live), layers)
    hides = job.stack.flags["ep_overlap"] and not job.schedule.PAIRS and float(wire[FORWARD].seconds) > 0.0
    return _hiding(found, float(job.device.multiprocessors)) if hides else found


def _hiding(one: Chunk, multiprocessors: float) -> Chunk:
    """A chunk whose exchanges run beside another micro-batch's kernels, as 1F1B's steady state pairs a forward with gradients (Megatron Core, overlap_moe_expert_parallel_comm): both together as `pair`, in
    their own proportion."""
    together = pair(one, one, multiprocessors)
    shares = {name: float(one.costs[name].seconds) for name in (FORWARD, BOTH)}
    whole = sum(shares.values())
    changed = {name: together * (seconds / whole) for name, seconds in shares.items()}
    return replace(one, costs={**one.costs, **changed})


def chunks(job: Job, parts: Mapping[str, Part]) -> tuple[Chunk, ...]:
    """All virtual stages, in order; equal ones once."""
    found = pipeline.stages(job.model, job.placed.stages, True, layers=job.layers)
    known: dict[Stage, Chunk] = {}
    for stage in found:
        if stage not in known:
            known[stage] = chunk(job, stage, parts)
    return tuple(known[stage] for stage in found)
