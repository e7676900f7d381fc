"""A training step: its micro-batches through the pipeline, then gradients summed, weights stepped and gathered; and what sets its time.

The executor of `makespan.py` runs the schedule; its critical path, as counts of passes by virtual stage, is a sum of costs, so that bounds, kinds of work and intervals survive. Sums of gradients run beside the last
backward passes, gathers of weights beside the first forward passes, as far as they fit. Most likely to be wrong: kernels that run slower in a step than alone, by 1.05 (vTrain, A100) to 1.45 (torchtitan, H100) times in published steps; a stack's
coefficients hold that, and without them an interval does. Source: docs/theory/training-step.md.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from simcost import makespan, shared_layers
from simcost.cost.cost import interval
from simcost.frozen import frozen
from simcost.makespan import PAIR, Timeline, Times
from simcost.num import Z90, Num, every, maximum, minimum
from simcost.ops.collective import Collective
from simcost.pipeline import Stage
from simcost.program import Call, Program, Serial, price
from simcost.schedules._order import BACKWARD, Lengths, orders_of
from simcost.schedules._order import FORWARD as F
from simcost.schedules._order import INPUT as B
from simcost.schedules._order import WEIGHT as W
from simcost.training import communication
from simcost.training.chunks import BOTH, FORWARD, INPUT, NOTHING, WEIGHT, Chunk, Part, chunks, pair, priced_parts
from simcost.training.job import Job
from simcost.training.split import DATA, OPTIMIZER, PIPELINE, Split, Stacked, stacked

TOGETHER = "kernels in a training step"
# Sigma of the log by which kernels in a training step differ from kernels timed one by one: of public steps without coefficients (docs/validation/training.md).
SPREAD = 0.2


@frozen
class Once:
    """What a rank does once a step. `gradients`, `weights`: sums and gathers, whole; `update`: the optimizer."""

    gradients: Split
    weights: Split
    update: Split


@frozen
class TrainStep:
    """A priced step. `chunks`: virtual stages in order; `timeline`: of one step, in seconds; `path`: cost of what the last pass waited for; `idle`: the share of it in which the busiest rank waits is a part of it, not beside it; `hop`: one edge between ranks; `once`: by rank;
    `exposed_gradients`, `exposed_weights`: what of the sums and gathers no pass hides; `update`: the longest; `cost`: of the whole step."""

    job: Job
    parts: dict[str, Part]
    chunks: tuple[Chunk, ...]
    timeline: Timeline
    path: Split
    hop: Split
    once: tuple[Once, ...]
    exposed_gradients: Split
    exposed_weights: Split
    update: Split
    cost: Split

    @property
    def seconds(self) -> float:
        """Time of a step. [s]"""
        return float(self.cost.seconds)

    @property
    def interval(self) -> tuple[float, float]:
        """Its 90 % interval. [s]"""
        low, high = interval(self.cost.cost)
        return float(low), float(high)

    @property
    def bubble(self) -> float:
        """Idle share of all ranks while micro-batches run."""
        busy = self.timeline.busy_s()
        return 1.0 - sum(busy) / (len(busy) * self.timeline.end_s)


def run(job: Job) -> TrainStep:
    """Prices a step."""
    model = stacked(job.device, job.engine, job.factors, job.older)
    parts = priced_parts(job)
    found = chunks(job, parts)
    hopped = hop(job, model)
    timeline, pairs = _timeline(job, found, hopped, model)
    path = _path(job, timeline, found, hopped, pairs)
    held = stages_of_ranks(job, found)
    once = _once(job, held, model)
    gradients = _exposed_gradients(job, timeline, once, held)
    weights = _exposed_weights(job, timeline, once, held)
    update = max((one.update for one in once), key=lambda one: float(one.seconds))
    if post_validates(job):
        path = path * (max(timeline.span_s()) / timeline.end_s)
    whole = path + gradients + weights + update
    cost = unsure(job, whole)
    return TrainStep(job, parts, found, timeline, path, hopped, once, gradients, weights, update, cost)


def unsure(job: Job, whole: Split) -> Split:
    """The time of passes of a job with what its kernels in a step are missed by: what the stack's own rows were missed by where it has coefficients, in place of what kernels are missed by alone."""
    fitted = job.fitted
    if fitted is None:
        return Split(whole.cost.unsure(TOGETHER, SPREAD), whole.kinds)
    spread = {f"stack {job.stack.name}": fitted.half_width / Z90 * whole.seconds}
    return Split(replace(whole.cost, spread=spread), whole.kinds)


def forward(step: TrainStep, micro_batches: int) -> Split:
    """The forward passes of so many micro-batches alone, through the pipeline: as log-probs are computed. The slowest rank sets the pace, the others are passed once."""
    job = step.job
    held = stages_of_ranks(job, step.chunks)
    through = NOTHING
    for one in step.chunks:
        through = through + one.costs[FORWARD]
    ranks = [sum((one.costs[FORWARD] for one in rank.chunks), NOTHING) for rank in held]
    slowest = max(ranks, key=lambda one: float(one.seconds))
    hops = step.hop * float(job.placed.stages - 1)
    return unsure(job, through + hops + slowest * float(max(micro_batches - 1, 0)))


def post_validates(job: Job) -> bool:
    """Whether no barrier ends the step, so that its period is the longest span of a rank: optimizers that step before the norm of all gradients is known (arXiv 2401.10241 §4)."""
    return bool(job.stack.flags["optimizer_post_validation"]) and bool(job.schedule.SPLITS) and not job.schedule.PAIRS


def hop(job: Job, model: Stacked) -> Split:
    """One edge between neighbouring ranks, the mean over edges, of which some carry more."""
    if job.pp == 1:
        return NOTHING
    carried = shared_layers.hops(job.model, job.placed.stages, job.layers)
    found = NOTHING
    for elements, count in Counter(float(each) for each in carried).items():
        found = found + edge(job, model, elements) * (count / len(carried))
    return found


def edge(job: Job, model: Stacked, elements: Num) -> Split:
    """An edge that carries so many elements of a token of a micro-batch, cut over tp, and gathered again where every rank of the group needs all of it; nothing without a pipeline. The mean over edges, of which some leave a node."""
    plan, view = job.plan, job.view
    width = view.activation.tensor_bytes(view.tokens * elements)
    scaleup = job.device.scaleup
    domain = 1.0 if scaleup is None or scaleup.domain is None else scaleup.domain
    edges = maximum(plan.pp - 1.0, 1.0)
    far = minimum(edges, job.device.nodes(plan.stage * plan.pp) - 1.0) / edges

    def cost(stride: Num) -> Split:
        parts: list[Program] = [Call(Collective("p2p", width / plan.tp, 2.0, stride), "send")]
        if not plan.shards_sequence:
            parts.append(Call(Collective("all_gather", width, plan.tp), "gather"))
        return price(Serial(tuple(parts)), model).cost.named(PIPELINE)

    near = NOTHING if every(far == 1.0) else cost(minimum(plan.stage, maximum(domain / 2.0, 1.0)))
    away = NOTHING if every(far == 0.0) else cost(maximum(plan.stage, domain))
    return (near * (1.0 - far) + away * far) * (1.0 * (plan.pp > 1.0))


Pairs = dict[tuple[int, int], Split]


def _timeline(job: Job, found: Sequence[Chunk], hop: Split, model: Stacked) -> tuple[Timeline, Pairs]:
    """The step as it runs. Where hops are not hidden they occupy their ranks, as blocking sends do."""
    blocking = 0.0 if job.stack.flags["p2p_overlap"] or job.schedule.SPLITS else float(hop.seconds)
    forward = [float(one.costs[FORWARD].seconds) + blocking for one in found]
    inputs = [float(one.costs[INPUT].seconds) for one in found]
    whole = [float(one.costs[BOTH].seconds) + blocking for one in found]
    weights = [float(one.costs[WEIGHT].seconds) for one in found]
    pairs: Pairs = {}
    kinds: dict[tuple[int, int], Split] = {}

    def beside(one: int, other: int) -> float:
        if (one, other) not in pairs:
            same = id(found[one]), id(found[other])
            if same not in kinds:
                kinds[same] = pair(found[one], found[other], float(model.multiprocessors))
            pairs[one, other] = kinds[same]
        return float(pairs[one, other].seconds)

    edge = 0.0 if blocking else float(hop.seconds)
    waits = [min(one.until_weight / one.kept, 1.0) if one.kept else 1.0 for one in found]
    orders = orders_of(job.schedule, job.pp, job.microbatches, job.vpp, Lengths(forward, inputs, weights, waits, edge))
    times = Times(forward, inputs, weights, beside if job.schedule.PAIRS else None, edge, whole)
    return makespan.run(orders, job.placed, times), pairs


def _path(job: Job, timeline: Timeline, found: Sequence[Chunk], hop: Split, pairs: Pairs) -> Split:
    """The cost of all that the last pass waited for."""
    counts, hops = timeline.critical_path()
    names = {F: FORWARD, B: INPUT, W: WEIGHT, BACKWARD: BOTH}
    total = NOTHING
    passes = 0
    for (kind, stage, behind), times in counts.items():
        one = pairs[stage, behind] if kind == PAIR else found[stage].costs[names[kind]]
        total = total + one * float(times)
        passes += times * (kind in (F, BACKWARD))
    blocking = not (job.stack.flags["p2p_overlap"] or job.schedule.SPLITS)
    return total + hop * float(passes if blocking else hops)


@frozen
class Held:
    """Virtual stages of a rank, in order, of which it has chunks; `shares_ends`: the first and the last are both here."""

    stages: tuple[int, ...]
    chunks: tuple[Chunk, ...]

    def shares_ends(self, last: int) -> bool:
        return 0 in self.stages and last in self.stages and last > 0


def stages_of_ranks(job: Job, found: Sequence[Chunk]) -> tuple[Held, ...]:
    """What every rank holds."""
    held: list[set[int]] = [set() for _ in range(job.pp)]
    for stage in range(job.placed.stages):
        for microbatch in {0, job.microbatches - 1}:
            held[job.placed.rank(stage, microbatch)].add(stage)
    return tuple(Held(tuple(sorted(stages)), tuple(found[stage] for stage in sorted(stages))) for stages in held)


def _once(job: Job, held: Sequence[Held], model: Stacked) -> tuple[Once, ...]:
    """Sums, gathers and update of every rank: of all its virtual stages."""
    known: dict[tuple[Stage, bool], Once] = {}
    last = job.placed.stages - 1

    def of(stage: Stage, shares_ends: bool) -> Once:
        key = stage, shares_ends
        if key not in known:
            sent = communication.step_program(
                job.model, stage, job.plan, job.precision, job.recipe.zero_stage, sharding=job.sharding, trained=job.recipe.trained, shares_ends=shares_ends
            )  # fmt: skip
            update = communication.optimizer_program(
                job.model, stage, job.plan, job.precision, job.optimizer, job.recipe.zero_stage, sharding=job.sharding, trained=job.recipe.trained,
                average=job.average, shares_ends=shares_ends,
            )  # fmt: skip
            sums, gathers = (
                NOTHING if one is None else price(one, model).cost.named(DATA) for one in (sent.gradients, sent.weights)
            )
            known[key] = Once(sums, gathers, price(update, model).cost.named(OPTIMIZER))
        return known[key]

    found = []
    for rank in held:
        total = Once(NOTHING, NOTHING, NOTHING)
        for index, one in zip(rank.stages, rank.chunks, strict=True):
            mine = of(one.stage, index == last and rank.shares_ends(last))
            total = Once(total.gradients + mine.gradients, total.weights + mine.weights, total.update + mine.update)
        found.append(total)
    # Both directions of DualPipe hold the same weights on mirrored ranks: each sums what its mirror has too (arXiv 2412.19437 §3.2.1: two copies of the parameters).
    return tuple(found)


def _exposed(whole: Split, window: float, layers: int, hides: bool) -> Split:
    """What outlasts a window, and in any case the part of the last layer, which has nothing to hide behind."""
    seconds = float(whole.seconds)
    if seconds <= 0.0:
        return NOTHING
    least = seconds / max(layers, 1)
    left = max(seconds - window, least) if hides else seconds
    return whole * (left / seconds)


def _exposed_gradients(job: Job, timeline: Timeline, once: Sequence[Once], held: Sequence[Held]) -> Split:
    """Of the rank that ends last: its sums run beside the last backward pass of each of its chunks, and beside its wait for the end of the step."""
    hides = bool(job.stack.flags["grad_overlap"])
    worst, latest = NOTHING, 0.0
    ends = [runs[-1].end for runs in timeline.by_rank()]
    end = max(ends)
    for rank, (mine, of) in enumerate(zip(once, held, strict=True)):
        window = sum(float(one.costs[BOTH].seconds) for one in of.chunks)
        left = _exposed(mine.gradients, window, sum(one.layers for one in of.chunks), hides)
        beyond = ends[rank] + float(left.seconds) - end
        if beyond > latest:
            latest, worst = beyond, left * (beyond / float(left.seconds))
    return worst


def _exposed_weights(job: Job, timeline: Timeline, once: Sequence[Once], held: Sequence[Held]) -> Split:
    """Of the rank that is late most: its gathers run beside the first forward pass, and beside its wait for the first micro-batch."""
    hides = bool(job.stack.flags["param_overlap"])
    worst, latest = NOTHING, 0.0
    starts = [runs[0].start for runs in timeline.by_rank()]
    for start, mine, of in zip(starts, once, held, strict=True):
        window = sum(float(one.costs[FORWARD].seconds) for one in of.chunks)
        left = _exposed(mine.weights, window, sum(one.layers for one in of.chunks), hides)
        beyond = float(left.seconds) - start
        if beyond > latest:
            latest, worst = beyond, left * (beyond / float(left.seconds))
    return worst
