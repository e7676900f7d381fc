"""Pipeline stages in serving: how long a batch takes through them, and the worst rank's memory.

Which stage holds what: `pipeline.py`. Decode keeps pp micro-batches in flight: a token takes pp times the
slowest stage. A prefill passes all stages once, in chunks that follow each other like the jobs of a flow shop; with a stream of
prompts the slowest stage sets the throughput. Every hop sends the residual streams (`shared_layers.hops`: what a hop carries may differ by where it is), of most models what the last layer made apart
from the stream that it is added to (`stage_tensors` of an engine), cut over tp and gathered again; with `overlap_p2p_comm` a stage of a stream computes
the next prompt meanwhile. Most likely to be wrong: bubbles when the queue runs dry; several tensors of a hop are one message here. Source: vLLM
`distributed/parallel_state.py` (send_tensor_dict), `sequence.py` (IntermediateTensors).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

import numpy as np

from simcost import pipeline, shared_layers
from simcost.cost.cost import Cost, joined
from simcost.frozen import frozen
from simcost.model import cache, loaded
from simcost.model.loaded import Loaded
from simcost.num import Bools, Num, every, is_scalar, maximum, minimum, occurring, where
from simcost.ops.collective import RING, Collective
from simcost.pipeline import Stage
from simcost.plan import busiest
from simcost.program import Call, Priced, Serial, longer, without
from simcost.sharding.shard import Block
from simcost.workload import Draft, Workload


def sizes(w: Workload) -> list[int]:
    """The numbers of stages that occur in a plan, whole ones that its layers allow; one where a rule refuses all there are."""
    return [int(pp) for pp in occurring(w.plan.pp) if pp >= 1 and pp == int(pp) and pp <= len(w.model.order)] or [1]


def sequences(w: Workload, batch: Num | None = None) -> Num:
    """Sequences whose caches a rank keeps: those of the busiest replica, in all its micro-batches. `batch`: over all replicas,
    the asked one by default."""
    return busiest(w.phase.batch if batch is None else batch, w.plan.replicas * w.plan.copies)


def after(first: tuple[Cost, Cost], then: tuple[Cost, Cost]) -> tuple[Cost, Cost]:
    """(all stages, the slowest stage) of chunks one after the other: all pass the slowest stage in turn, and the one that takes
    longest elsewhere passes the others too. Exact for equal stages, at most too long for others."""
    whole = (first[0] + then[1]).beside(first[1] + then[0])
    return whole, first[1] + then[1]


def times(w: Workload, whole: Cost, each: Mapping[str, Cost], hops: Priced[Cost]) -> tuple[Cost, Cost]:
    """(the time of the step, the time of the slowest stage): of decode pp times that stage, of prefill the sum of them all. `whole`: all of one
    pass; `each`: one of every module, by its key; `hops`: the priced program of `between`."""
    if every(w.plan.pp == 1.0):
        return whole, whole
    through: Cost | None = None
    dearest = []
    for hop, (near, far) in zip(_hops(w), _pairs([part.cost for part in hops.parts]), strict=True):
        dearest.append(far.beside(near).where(np.asarray(hop.far > 0.0), near))  # of a stage that leaves its node
        part = near * hop.near + far * hop.far
        through = part if through is None else through + part
    assert through is not None
    slow = _slowest(w, dearest, each)
    passed = slow * w.plan.pp if w.phase.decode else whole + through
    single = np.asarray(w.plan.pp == 1.0)
    return whole.where(single, passed), whole.where(single, slow)


def _pairs(costs: Sequence[Cost]) -> Iterator[tuple[Cost, Cost]]:
    return zip(costs[::2], costs[1::2], strict=True)


def _slowest(w: Workload, hops: Sequence[Cost], each: Mapping[str, Cost]) -> Cost:
    """The slowest stage of every plan, of the costs of hops of each width and of one of every module."""
    (first, *others), places = sizes(w), _widths(w)[1]
    all_, pp = w.device.multiprocessors, np.asarray(w.plan.pp)
    if not others:
        return _slowest_of(w, first, places[first], hops, each, all_)
    costs = (*hops, *each.values())
    shape = np.broadcast_shapes(pp.shape, np.shape(all_), *(cost.shape for cost in costs))
    masks = [~np.isin(pp, others), *(pp == float(size) for size in others)]
    here = [np.broadcast_to(mask, shape) for mask in masks]
    found = []
    for size, mask in zip((first, *others), here, strict=True):  # each plan has one size of the many in a list of plans

        def taken(value: Num, mask: Bools = mask) -> Num:
            return value if is_scalar(value) else np.asarray(np.broadcast_to(value, shape)[mask])

        mine = {key: cost.each(taken) for key, cost in each.items()}
        sent = [hop.each(taken) for hop in hops]
        found.append(_slowest_of(w, size, places[size], sent, mine, taken(all_)))

    def spread(values: list[Num]) -> Num:
        grid = np.empty(shape)
        for mask, value in zip(here, values, strict=True):
            grid[mask] = value
        return grid

    return joined(found, spread)


def _slowest_of(
    w: Workload, pp: int, places: tuple[int, ...], hops: Sequence[Cost], each: Mapping[str, Cost], all_: Num
) -> Cost:
    """The same of plans of so many stages: each sends what its hop carries, and the last has received as much as it would send."""
    hidden = w.plan.overlap_p2p_comm == "on"
    found = zip(pipeline.stages(w.model, pp, images=w.phase.sees), (*places, *places[-1:]) or (0,), strict=True)
    worst: Cost | None = None
    for stage, place in dict.fromkeys(found):
        hop = hops[place]
        cost = hop if pp > 1 and not hidden else hop * 0.0
        for key, count in stage.held:
            cost = cost + each[key] * float(count)
        cost = _beside(cost, hop, all_) if pp > 1 and hidden else cost
        worst = cost if worst is None else worst.beside(cost)
    assert worst is not None
    return worst


def _beside(stage: Cost, hop: Cost, all_: Num) -> Cost:
    """A stage that computes the next prompt while it sends."""
    return stage.slowed(longer(stage.seconds, hop.seconds, without(RING, all_))).beside(hop)


@frozen
class _Hop:
    """Hops that carry `elements` of a token: how many stay inside a domain, and how many leave it."""

    elements: Num
    near: Num
    far: Num


def _widths(w: Workload) -> tuple[list[Num], dict[int, tuple[int, ...]]]:
    """(what hops carry, each width once; for every number of stages the place among these of each hop, first to last)."""
    widths: list[Num] = []
    places: dict[int, tuple[int, ...]] = {}
    for pp in sizes(w):
        here = []
        for width in shared_layers.hops(w.model, pp, tensors=w.memory.stage_tensors):
            place = next((i for i, other in enumerate(widths) if np.array_equal(width, other)), len(widths))
            widths += [width] if place == len(widths) else []
            here.append(place)
        places[pp] = tuple(here)
    return widths or [w.model.hidden_size], places


def _hops(w: Workload) -> list[_Hop]:
    """The hops of every plan by what they carry. Of each width the same part leaves the domain."""
    (widths, places), plan, crossing = _widths(w), w.plan, _crossings(w)
    counts: list[Num] = [
        sum((where(np.asarray(plan.pp == float(pp)), float(here.count(i)), 0.0) for pp, here in places.items()), 0.0)
        for i in range(1, len(widths))
    ]
    counts.insert(0, plan.pp - 1.0 - sum(counts, 0.0))
    far = [crossing * (count / maximum(plan.pp - 1.0, 1.0)) for count in counts]
    return [_Hop(width, n - out, out) for width, n, out in zip(widths, counts, far, strict=True)]


def between(w: Workload) -> Serial:
    """What crosses from one stage to the next: the residual streams and what later layers need beside them, cut over tp and gathered again. Of each width two hops,
    inside a domain and out of it; how often each is taken is `passed`. A hop that no stage takes sends nothing: a device without
    a network has no time for it."""
    plan, scaleup = w.plan, w.device.scaleup
    domain = 1.0 if scaleup is None or scaleup.domain is None else scaleup.domain
    inside, outside = minimum(plan.stage, maximum(domain / 2.0, 1.0)), maximum(plan.stage, domain)

    def send(hop: _Hop, tag: str, stride: Num, times: Num) -> Serial:
        size = w.view.activation.tensor_bytes(w.view.tokens * hop.elements)
        pair, ranks = where(times > 0.0, 2.0, 1.0), where(times > 0.0, plan.tp, 1.0)
        moved = Call(Collective("p2p", size / plan.tp, pair, stride), tag)
        return Serial((moved, Call(Collective("all_gather", size, ranks), "gather")))

    found = []
    for hop in _hops(w):
        found.append(send(hop, "send inside the domain", inside, hop.near))
        found.append(send(hop, "send", outside, hop.far))
    return Serial(tuple(found))


def passed(w: Workload) -> Serial:
    """The hops of one prompt or micro-batch, as a part of the step."""
    times = [count for hop in _hops(w) for count in (hop.near, hop.far)]
    parts = (Serial((hop,), "", count) for hop, count in zip(between(w).parts, times, strict=True))
    return Serial((Serial(tuple(parts), "pipeline"),), "step")


def _crossings(w: Workload) -> Num:
    """Hops that leave a scale-up domain."""
    plan = w.plan
    return minimum(plan.pp - 1.0, w.device.nodes(plan.stage * plan.pp) - 1.0)


@frozen
class Held:
    """The rank that holds most: its weights as loaded, its layers of every stack, the index of its stage, 1 where it samples;
    `batches` of a stream of prompts whose caches it keeps, as they have passed it and not yet the last stage (decode: one, of all
    micro-batches)."""

    loaded: Loaded
    layers: tuple[Num, ...]
    stage: Num
    samples: Num
    batches: Num

    @property
    def all_layers(self) -> Num:
        """Layers of all stacks on it."""
        return sum(self.layers, 0.0)

    def kinds(self, w: Workload) -> tuple[cache.Kind, ...]:
        """Its layers by what they keep of a request."""
        return cache.kinds(w.model, w.plan, self.layers, w.view.kv, w.memory)

    def sequence(self, w: Workload, context: Num, kinds: Sequence[cache.Kind] | None = None) -> Num:
        """Bytes of its pool for one sequence of `context` tokens, times the batches it keeps. [B] kinds: its own, where they are
        at hand."""
        paged = cache.request_bytes(self.kinds(w) if kinds is None else kinds, context, w.memory)
        whole = paged + cache.fixed_bytes(w.model, w.plan, self.layers, context, w.view.kv, w.memory)
        if w.draft is not None:
            whole = whole + self.samples * _alone(w.draft).sequence(w.draft.workload, context) * w.draft.modules
        return whole * self.batches

    def token_bytes(self, w: Workload) -> Num:
        """Bytes of its pool for every token that an engine's log counts. [B]"""
        each = cache.token_bytes(self.kinds(w), w.memory)
        if w.draft is not None:
            each = each + self.samples * _alone(w.draft).token_bytes(w.draft.workload) * w.draft.modules
        return each * self.batches


def _alone(draft: Draft) -> Held:
    """What a rank holds of a draft model: all its layers, whatever the pipeline of the design; without what it
    shares."""
    v = draft.workload

    def bytes_of(blocks: Iterable[Block]) -> Loaded:
        return loaded.of_blocks(blocks, v.plan, v.view.storage, v.view.activation, v.memory)

    own = Loaded() if draft.shared else loaded.rotary(v.model) + bytes_of((v.model.embedding, v.model.head))
    layers = sum((bytes_of(layer) * float(n) for n, layer in v.model.stacks), Loaded())
    counts = tuple(float(n) for n, _ in v.model.stacks)
    return Held(own + layers * draft.modules, counts, 0.0, 0.0, 1.0)


@frozen
class Rank:
    """A rank of one kind of stage, of a pipeline of `pp`."""

    pp: int
    stage: Stage
    held: Held


def ranks(w: Workload) -> tuple[Rank, ...]:
    """One of every kind of stage, of every number of stages that occurs, with what it holds."""

    def bytes_of(*blocks: Block) -> Loaded:
        return loaded.of_blocks(blocks, w.plan, w.view.storage, w.view.activation, w.memory)

    tables, tower = loaded.rotary(w.model), loaded.tower(w.model, w.plan)
    first, last = bytes_of(w.model.embedding), bytes_of(w.model.head)
    if w.draft is not None:
        last = last + _alone(w.draft).loaded
    layers = [bytes_of(*layer) for _, layer in w.model.stacks]
    found = []
    for deep, (index, stage) in ((pp, each) for pp in sizes(w) for each in pipeline.kinds(w.model, pp)):
        held = tables
        if stage.first:
            held = held + first + tower
        if stage.last:
            held = held + last
        for n, layer in zip(stage.layers, layers, strict=True):
            held = held + layer * float(n)
        if copied := pipeline.copies(w.model, stage):  # shared blocks, and the table of a tied head
            held = held + bytes_of(*copied)
        stream = 1.0 if w.phase.decode else float(deep - index)
        counts = tuple(float(n) for n in stage.layers)
        found.append(Rank(deep, stage, Held(held, counts, float(index), 1.0 * stage.last, stream)))
    return tuple(found)


def fullest(w: Workload, found: tuple[Rank, ...], short: Callable[[Held], Num]) -> Held:
    """In every plan the rank for which `short` [B] is largest: it lacks most bytes, or has the fewest to spare."""

    def most(here: list[Held]) -> Held:
        one, least = here[0], short(here[0]) if len(here) > 1 else 0.0
        for other in here[1:]:
            lacks = short(other)
            mask = np.asarray(lacks > least)
            one, least = _choose(mask, other, one), where(mask, lacks, least)
        return one

    return _by_size(w, found, most, _choose)


def least(w: Workload, found: tuple[Rank, ...], of: Callable[[Held], Num]) -> Num:
    """In every plan the smallest value of `of` over its ranks: what all of them can do."""
    return _by_size(w, found, lambda here: functools.reduce(minimum, map(of, here)), where)


T = TypeVar("T")


def _by_size(
    w: Workload, found: tuple[Rank, ...], of: Callable[[list[Held]], T], choose: Callable[[Bools, T, T], T]
) -> T:
    """What `of` says of the ranks of each plan's own number of stages."""
    by_pp = [(pp, of([rank.held for rank in found if rank.pp == pp])) for pp in sizes(w)]
    one = by_pp[0][1]
    for pp, other in by_pp[1:]:
        one = choose(np.asarray(w.plan.pp == float(pp)), other, one)
    return one


def _choose(mask: Bools, one: Held, other: Held) -> Held:
    return Held(
        one.loaded.choose(mask, other.loaded),
        tuple(where(mask, mine, theirs) for mine, theirs in zip(one.layers, other.layers, strict=True)),
        *(where(mask, getattr(one, name), getattr(other, name)) for name in ("stage", "samples", "batches")),
    )
