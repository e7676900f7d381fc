"""What a rank holds at the worst moment of a training step, and when that is.

    weights, gradients, optimizer (state.py) + activations of every micro-batch in flight + what a backward pass makes for a while + buffers; and outside what PyTorch allocates its slack and the runtime.

Activations follow the timeline: a chunk's tensors stay from the start of its forward to the end of its input gradient; those that weight gradients need, and gradients of outputs, to the end of these. Most likely to be
wrong: what an allocator keeps in pieces; buffers of NCCL, which are a part of the runtime. Sources: docs/theory/training-memory.md.
"""

from __future__ import annotations

from collections.abc import Sequence

from simcost.frozen import frozen
from simcost.lower import modules
from simcost.makespan import Run, Timeline
from simcost.num import Z90, Num, every, maximum
from simcost.ops.cross_entropy import CUT, CrossEntropy
from simcost.ops.exchange import Exchange
from simcost.ops.gemm import Gemm
from simcost.ops.grouped_gemm import GroupedGemm
from simcost.program import Program, calls
from simcost.schedules._order import BACKWARD, FORWARD, INPUT, WEIGHT
from simcost.training import state
from simcost.training.chunks import Chunk
from simcost.training.job import Job
from simcost.training.parameters import Unit, units
from simcost.training.state import State
from simcost.training.step import Held, TrainStep, stages_of_ranks

# Outside PyTorch's allocator: the context of the driver, libraries' code and workspaces, NCCL's channels. Public logs of training show 1 to 4 GB between what is allocated and what is used (Primus; torchtitan).
RUNTIME_BYTES, RUNTIME_SPREAD = 2.0e9, 1.0e9
# What the allocator reserves beyond what is allocated: SimuMax keeps 6 % for it (docs/b200), torchtitan's logs show 2 to 12 %.
SLACK, SLACK_SPREAD = 0.06, 0.04


@frozen
class Memory:
    """Of one rank, at its worst moment. [B] `state`: weights, gradients and optimizer; `activations`: tensors that stay for backward passes; `temporary`: what one pass makes for a while; `buffers`: of gradients on their way and placeholders;
    `exchanges`: buffers of a library that carries tokens to experts, outside PyTorch's allocator; `peak_s`: when. `allocated`: what PyTorch has given out; `used`: what the device shows, with its spread."""

    rank: int
    state: State
    activations: float
    temporary: float
    buffers: float
    peak_s: float
    capacity: float
    stages: tuple[int, ...] = ()
    exchanges: float = 0.0

    @property
    def allocated(self) -> float:
        """The most that PyTorch has given out at a time (`max_memory_allocated`). [B]"""
        return float(self.state.total) + self.activations + self.temporary + self.buffers

    @property
    def reserved(self) -> float:
        """The most that PyTorch keeps of the device (`max_memory_reserved`): with the allocator's slack. [B]"""
        return self.allocated * (1.0 + SLACK)

    @property
    def used(self) -> float:
        """What the device shows: with the runtime and buffers of exchanges. [B]"""
        return self.reserved + RUNTIME_BYTES + self.exchanges

    @property
    def spread(self) -> float:
        """One standard deviation of `used`. [B]"""
        return float(((SLACK_SPREAD * self.allocated) ** 2 + RUNTIME_SPREAD**2) ** 0.5)

    @property
    def low(self) -> float:
        """The low end of the 90 % interval of `used`. [B]"""
        return self.used - Z90 * self.spread

    @property
    def may_fit(self) -> bool:
        """Whether it fits at the low end: PyTorch gives back what it keeps in vain before it fails (c10 `CUDACachingAllocator.cpp`, `release_cached_blocks`)."""
        return self.low <= self.capacity

    @property
    def short(self) -> float:
        """What is missing; not positive where it fits. [B]"""
        return self.used - self.capacity


def of_ranks(step: TrainStep) -> tuple[Memory, ...]:
    """The memory of every rank of a pipeline."""
    job, timeline = step.job, step.timeline
    held = stages_of_ranks(job, step.chunks)
    states = _states(job, held)
    found = []
    made = {key: float(temporary(part.programs.forward)) for key, part in step.parts.items()}
    sent = {key: float(exchange_bytes(part.programs.forward)) for key, part in step.parts.items()}
    for rank, (mine, own, runs) in enumerate(zip(held, states, timeline.by_rank(), strict=True)):
        live, at = peak(runs, step.chunks)
        passing = max((made[key] for one in mine.chunks for key, count in one.stage.held if count), default=0.0)
        buffers = sum(_placeholders(job, one) for one in mine.chunks) + _bucket(job, mine)
        moved = max((sent[key] for one in mine.chunks for key, count in one.stage.held if count), default=0.0)
        found.append(Memory(rank, own, live, passing, buffers, at, float(job.device.capacity), mine.stages, moved))
    return tuple(found)


def worst(found: Sequence[Memory]) -> Memory:
    """The rank that holds most."""
    return max(found, key=lambda one: one.used)


def _states(job: Job, held: Sequence[Held]) -> list[State]:
    """What each rank keeps from step to step: of all its virtual stages."""
    known: dict[tuple[object, bool], State] = {}
    last = job.placed.stages - 1
    found = []
    for rank in held:
        total = State()
        for index, one in zip(rank.stages, rank.chunks, strict=True):
            key = one.stage, index == last and rank.shares_ends(last)
            if key not in known:
                known[key] = state.held(
                    job.model, one.stage, job.plan, job.precision, job.optimizer, job.recipe.zero_stage, reshard=job.recipe.reshard, sharding=job.sharding,
                    trained=job.recipe.trained, average=job.average, shares_ends=key[1],
                )  # fmt: skip
            total = total + known[key]
        found.append(total)
    return found


def curve(timeline: Timeline, rank: int, chunks: Sequence[Chunk]) -> list[tuple[float, float]]:
    """(time [s], bytes of activations that a rank keeps from then on), in order of time. What is alive only while a backward pass runs is a part of it."""
    return _levels(timeline.of_rank(rank), chunks)


def _levels(runs: Sequence[Run], chunks: Sequence[Chunk]) -> list[tuple[float, float]]:
    """`curve`, of the runs of a rank."""
    events: list[tuple[float, float]] = []
    for run in runs:
        op = run.op
        one = chunks[op.stage]
        if op.kind == FORWARD:
            events.append((run.start, one.kept))
        if op.beside is not None:
            other = chunks[op.beside[1]]
            events += [(run.start, other.live), (run.end, -other.live - other.kept)]
        elif op.kind == BACKWARD:
            events += [(run.start, one.live), (run.end, -one.live - one.kept)]
        elif op.kind == INPUT:
            events += [(run.start, one.live), (run.end, -one.live - one.kept + one.until_weight)]
        elif op.kind == WEIGHT:
            events.append((run.end, -one.until_weight))
    level, found = 0.0, []
    for time, step in sorted(events):  # what ends makes room for what starts at the same time
        level += step
        found.append((time, level))
    return found


def peak(runs: Sequence[Run], chunks: Sequence[Chunk]) -> tuple[float, float]:
    """(the most bytes of activations that a rank keeps, when). [B], [s]"""
    return max(((level, time) for time, level in _levels(runs, chunks)), default=(0.0, 0.0))


def temporary(program: Program) -> Num:
    """What one backward pass makes beside what is kept: the most that the gradient of one kernel has alive, the gradients of what it put out and of what it read; of an exchange rows as they leave and as they come; of a loss what it has beside the logits that are kept. [B]"""
    most: Num = 0.0
    unwritten = [each.op.vocabulary for each in calls(program) if isinstance(each.op, CrossEntropy) and each.op.method == CUT]  # fmt: skip
    for call in calls(program):
        op = call.op
        if isinstance(op, CrossEntropy):
            found = op.beside_bytes()
        elif isinstance(op, Gemm) and any(every(op.n == size) for size in unwritten):  # logits that stay on the chip
            found = op.saved_bytes()
        elif isinstance(op, (Gemm, GroupedGemm)):
            found = op.workspace_bytes()
        elif isinstance(op, Exchange):
            found = op.workspace_bytes() + op.sent_bytes()
        else:
            found = op.workspace_bytes() if op.peak == "vector" else 0.0
        most = maximum(most, found)
    return most


def exchange_bytes(program: Program) -> Num:
    """Buffers of the library that carries tokens to experts, one set for all layers. [B]"""
    most: Num = 0.0
    for call in calls(program):
        if isinstance(call.op, Exchange):
            most = maximum(most, call.op.buffer_bytes())
    return most


def _placeholders(job: Job, chunk: Chunk) -> float:
    """Transformer Engine's placeholders: one tensor in the activations' format for each distinct shape of a weight, of one expert (`module/base.py`, get_dummy_wgrad). [B]"""
    if not job.stack.flags["dummy_weight_gradients"]:
        return 0.0
    shapes: set[tuple[float, float]] = set()
    blocks = {module.key: module.blocks for module in modules(job.model, True)}
    for key, count in chunk.stage.held:
        for block in blocks[key] if count else ():
            for weight in block.weights(job.plan):
                if weight.inner is not None and weight.role not in ("router", "embedding"):
                    shapes.add((float(weight.out), float(weight.inner)))
    return sum(float(job.precision.activation.tensor_bytes(out * inner)) for out, inner in shapes)


def _bucket(job: Job, rank: Held) -> float:
    """A bucket of gradients on its way, in the format that it travels in where that is not the one they add up in: as many as the stack says, 0 of them: those of one layer. [B]"""
    precision, flags = job.precision, job.stack.flags
    alone = job.replicas * job.plan.cp <= 1.0
    if alone or job.recipe.zero_stage >= 2 or precision.reduced.bits == precision.gradient.bits:
        return 0.0
    size = max(float(flags["bucket_parameters"]), float(flags["bucket_parameters_per_dp"]) * job.replicas)
    last = job.placed.stages - 1
    counts = [
        (_learnt(unit), unit.count)
        for index, one in zip(rank.stages, rank.chunks, strict=True)
        for unit in units(job.model, one.stage, job.plan, job.recipe.trained, index == last and rank.shares_ends(last))
    ]
    most = max((one for one, _ in counts), default=0.0) if size == 0.0 else sum(one * times for one, times in counts)
    return min(size or most, most) * precision.reduced.bits / 8.0


def _learnt(unit: Unit) -> float:
    """Parameters of a module that get gradients."""
    return sum(float(each.part.count) for each in unit.parameters if each.learns)
