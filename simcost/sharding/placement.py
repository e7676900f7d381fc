"""How many layers stand on each stage of a pipeline where they are not as even as can be: by hand, as Megatron-LM
places them, or by time.

Counts go through the virtual stages in the order in which a token passes them: with pp·vpp of them, number c·pp + r is
chunk c of rank r in Megatron's interleaved schedule. The embedding stands on the first, MTP modules and the head on the
last (`pipeline.stages`), with a layer beside them or none. So they stand in Megatron-LM, unless a
`--pipeline-model-parallel-layout` says otherwise, and in DeepSeek-V3, whose DualPipe puts the first and the last stage
on one rank, where MTP shares embedding and head with the model. How many of its 61 layers stand on each of the 16
stages is not published: chunks of its trace have 4 MoE layers, and "even" has so many, with 3 on stages 0 (all three
dense ones, with the embedding), 1 and 15 (with MTP and head).

Most likely to be wrong: `by_time` takes a stage for a rank; where a rank has several chunks, what it waits for is their
sum. Sources: Megatron-LM `megatron/core/transformer/transformer_block.py` (get_num_layers_to_build),
`megatron/training/arguments.py`; DeepSeek-V3 (arXiv 2412.19437 §3.2.3); deepseek-ai/profile-data README.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from simcost.errors import Infeasible, SpecError, nearest
from simcost.frozen import frozen
from simcost.num import Array, Index
from simcost.plan import stage_layers

EVEN, LAYERS, MEGATRON, TIME = "even", "layers", "megatron", "time"
FORMS = f"{EVEN}, counts of layers such as 15,16,16,14, {MEGATRON}:first=15,last=14, {MEGATRON}:embedding,loss, {TIME}"
# Megatron-LM's options, and what is short for them.
FLAGS = {
    "first": "decoder-first-pipeline-num-layers",
    "last": "decoder-last-pipeline-num-layers",
    "embedding": "account-for-embedding-in-pipeline-split",
    "loss": "account-for-loss-in-pipeline-split",
}
_COUNTS = ("first", "last")
_KEY = "plan.stages"


@frozen
class Times:
    """What stages are balanced by: the time of every layer, of what stands on the first stage beside its layers
    (embedding), and on the last (MTP modules, head). [s]"""

    layers: tuple[float, ...]
    first: float = 0.0
    last: float = 0.0


def even(layers: int, chunks: int) -> tuple[int, ...]:
    """As even as layers allow, what is left over on the stages before the last (`plan.stage_layers`)."""
    return tuple(stage_layers(layers, chunks, index) for index in range(chunks))


def parse(text: str, layers: int, chunks: int, pp: int | None = None, times: Times | None = None) -> tuple[int, ...]:
    """Layers of each of `chunks` virtual stages of `pp` ranks (default: one on each), of a model of `layers`. `text`: a
    form of FORMS; `times`: for "time". Raises SpecError for what is no form, Infeasible for counts that do not fit
    layers and stages, with the nearest that do."""
    form, _, rest = text.strip().partition(":")
    if form == EVEN and not rest:
        return even(layers, chunks)
    if form == TIME and not rest:
        if times is None:
            raise SpecError(f"{_KEY}={text}: no times of layers are known here: state counts of layers")
        return by_time(times.layers, times.first, times.last, chunks)
    if form == MEGATRON:
        return megatron(layers, chunks if pp is None else pp, chunks, **_flags(rest, text))
    return checked(tuple(_numbers(rest if form == LAYERS else text, text)), layers, chunks)


def _numbers(listed: str, text: str) -> Iterator[int]:
    for word in listed.split(","):
        if not (word.strip().isascii() and word.strip().isdigit()):
            raise SpecError(f"{_KEY}={text}: takes {FORMS}{nearest(text, (EVEN, MEGATRON, TIME))}")
        yield int(word)


def _flags(listed: str, text: str) -> dict[str, int]:
    """Keyword arguments of `megatron`: Megatron's own options, with or without dashes before them, or the words short
    for them."""
    short = {long: name for name, long in FLAGS.items()} | {name: name for name in FLAGS}
    found: dict[str, int] = {}
    for each in filter(None, listed.split(",")):
        word, _, number = each.strip().removeprefix("--").partition("=")
        name = short.get(word.replace("_", "-"))
        if name is None:
            flags = ", ".join(f"{name} (--{long})" for name, long in FLAGS.items())
            raise SpecError(f"{_KEY}={text}: '{word}' is not one of {flags}{nearest(word, short)}")
        if name in found:
            raise SpecError(f"{_KEY}={text}: '{word}' appears twice")
        if name in _COUNTS:
            if not (number.isascii() and number.isdigit()):
                raise SpecError(f"{_KEY}={text}: '{word}' takes a number of layers: {name}=15")
            found[name] = int(number)
        elif number:
            raise SpecError(f"{_KEY}={text}: '{word}' takes no number")
        else:
            found[name] = 1
    return found


def checked(counts: tuple[int, ...], layers: int, chunks: int) -> tuple[int, ...]:
    """The counts as they are. Raises Infeasible where they are not `chunks` numbers whose sum is `layers`, or leave a
    stage between the first and the last empty."""
    said = ",".join(map(str, counts))
    if len(counts) != chunks:
        stages = f"{len(counts)} counts, but the pipeline has pp·vpp = {chunks} stages"
        raise Infeasible(f"{_KEY}={said}: {stages}: {_shown(even(layers, chunks))} is even")
    if sum(counts) != layers:
        way_out = f"the nearest is {_shown(_mended(counts, layers))}"
        raise Infeasible(f"{_KEY}={said}: the sum is {sum(counts)}, but the model has {layers} layers: {way_out}")
    if not all(counts[1:-1]):
        raise Infeasible(
            f"{_KEY}={said}: only the first and the last stage, which hold embedding and head, can have no layers: "
            f"{_shown(even(layers, chunks))} is even"
        )
    return counts


def _shown(counts: Sequence[int]) -> str:
    return ",".join(map(str, counts))


def _mended(counts: Sequence[int], layers: int) -> tuple[int, ...]:
    """The same with the right sum: single layers are taken from the fullest stage, or put on the emptiest."""
    found = [min(count, layers) for count in counts]
    while sum(found) > layers:
        found[max(range(len(found)), key=lambda i: found[i])] -= 1
    while sum(found) < layers:
        found[min(range(len(found)), key=lambda i: found[i])] += 1
    return tuple(found)


def megatron(
    layers: int,
    pp: int,
    chunks: int,
    first: int | None = None,
    last: int | None = None,
    embedding: int = 0,
    loss: int = 0,
) -> tuple[int, ...]:
    """As Megatron-LM places them: ranks have the same number of layers, where `first` and `last` do not state that of
    the first and the last rank, and each of a rank's chunks has the same. `embedding`, `loss`: 1 where it stands in
    place of a layer of the first or the last stage. Raises Infeasible for what Megatron-LM refuses."""
    assert chunks % pp == 0, "every rank has vpp chunks"
    vpp = chunks // pp
    if (first is not None or last is not None) and (embedding or loss):
        both = "Megatron-LM refuses first or last together with embedding or loss"
        raise Infeasible(f"{_KEY}={MEGATRON}: {both}: state counts of layers")
    ends = {rank: given for rank, given in ((0, first), (pp - 1, last)) if given is not None}
    if pp == 1 and len(ends) == 1 and first is not None and last is not None:
        raise Infeasible(f"{_KEY}={MEGATRON}: first and last name the same rank: pp is 1")
    left, ranks = layers + embedding + loss - sum(ends.values()), pp - len(ends)
    if left < 0 or (left % ranks if ranks else left):
        raise Infeasible(_indivisible(layers, pp, ends, embedding + loss))
    each = left // ranks if ranks else 0
    for rank in (0, pp - 1, min(1, pp - 1)):
        if ends.get(rank, each) % vpp:
            here = f"the {ends.get(rank, each)} layers of rank {rank}"
            raise Infeasible(f"{_KEY}={MEGATRON}: {here} cannot be cut into vpp = {vpp} equal chunks")
    found = [ends.get(index % pp, each) // vpp for index in range(chunks)]
    found[0] -= embedding
    found[-1] -= loss
    return checked(tuple(found), layers, chunks)


def _indivisible(layers: int, pp: int, ends: dict[int, int], beside: int) -> str:
    """Which layers Megatron-LM cannot share out, and the nearest that it could."""
    stated = sum(ends.values())
    ranks = pp - len(ends)
    if not ranks or stated > layers:
        return f"{_KEY}={MEGATRON}: first and last are {stated} layers, but the model has {layers}"
    if not ends:
        what = f"{layers} layers" + (f" and {beside} in place of a layer" if beside else "")
        return (
            f"{_KEY}={MEGATRON}: {what} cannot be shared out evenly over pp = {pp} ranks: "
            f"{_shown(even(layers, pp))} is the most even"
        )
    # One end is moved, the other stays.
    rank, given = next(iter(ends.items()))
    rest = layers - stated + given
    able = [n for n in range(rest + 1) if (rest - n) % ranks == 0]
    best = min(able, key=lambda n: abs(n - given))
    name = "last" if rank else "first"
    share = f"{layers - stated} layers are left for {ranks} ranks, and cannot be shared out evenly"
    return f"{_KEY}={MEGATRON}: {share}: the nearest {name} is {best}"


def by_time(costs: Sequence[float], first: float, last: float, pp: int) -> tuple[int, ...]:
    """Layers of each of `pp` stages, such that the longest stage is as short as it can be; of all such, the ones with
    the least sum of squares. `costs`: of every layer; `first`, `last`: what the first and the last stage have beside
    their layers [s]. Exact, by dynamic programming over the ends of stages. Raises Infeasible where a stage between the
    first and the last would be without layers, SpecError for a time below 0."""
    if any(not time >= 0.0 for time in (*costs, first, last)):
        raise SpecError("times of layers must be numbers of at least 0")
    n = len(costs)
    if n < pp - (first > 0.0) - (last > 0.0 and pp > 1):
        raise Infeasible(f"{_KEY}={TIME}: {n} layers cannot fill pp·vpp = {pp} stages: take at most {max(n, 1)}")
    sums = np.concatenate([[0.0], np.cumsum(np.asarray(costs, np.float64))])
    spans = sums[None, :] - sums[:, None]  # from row to column
    rows, columns = np.arange(n + 1)[:, None], np.arange(n + 1)[None, :]
    stage = [_stage(spans, rows, columns, index, pp, first, last) for index in range(pp)]
    longest = float(_least(stage, lambda so_far, more: np.maximum(so_far[:, None], more))[0][-1])
    # Sums of equal times differ in their last bits.
    allowed = [np.where(each <= longest * (1.0 + 1e-12), each * each, np.inf) for each in stage]
    _, from_where = _least(allowed, lambda so_far, more: so_far[:, None] + more)
    ends = [n]
    for chosen in reversed(from_where):
        ends.append(int(chosen[ends[-1]]))
    ends.reverse()
    return tuple(after - before for before, after in itertools.pairwise(ends))


def _stage(spans: Array, rows: Index, columns: Index, index: int, pp: int, first: float, last: float) -> Array:
    """Time of a stage from layer `row` up to `column`; infinite where it cannot be one. Empty stages have embedding or
    head."""
    beside = (first if index == 0 else 0.0) + (last if index == pp - 1 else 0.0)
    possible = columns >= rows if beside > 0.0 else columns > rows
    return np.where(possible, np.maximum(spans, 0.0) + beside, np.inf)


def _least(stages: Sequence[Array], joined: Callable[[Array, Array], Array]) -> tuple[Array, list[Index]]:
    """What the best stages up to every layer come to, and for each stage and end the layer that it best begins with."""
    size = len(stages[0])
    so_far = np.where(np.arange(size) == 0, 0.0, np.inf)
    chosen = []
    for stage in stages:
        every = joined(so_far, stage)
        chosen.append(np.argmin(every, axis=0))
        so_far = every.min(axis=0)
    return so_far, chosen
