"""What a rank keeps at a time, in micro-batches of its virtual stages: from the order of its ops alone, since it runs
them one after the other.

A rank's memory peaks at the start of one of its ops. What it keeps then is so many micro-batches of each virtual stage
up to their input gradients, so many up to their weight gradients, and what a
backward pass makes of one. Those states that no other one exceeds are all that a peak can be. Most likely to be wrong:
schedules that let more micro-batches pile up after `SETTLED` rounds than before.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np

from simcost.frozen import frozen
from simcost.num import Array
from simcost.schedules._order import BACKWARD, FORWARD, INPUT, WEIGHT, Op, orders_of
from simcost.training.job import known_schedules

SETTLED = 3  # micro-batches a pipeline rank from which on a schedule repeats itself


@frozen
class Held:
    """Of one rank: its virtual `stages`, and the `states` [states, 3 * stages]: of each stage micro-batches that keep
    all, then those that wait for their weight gradients, then in whose backward pass the rank is."""

    stages: tuple[int, ...]
    states: Array


def states(schedule: str, ranks: int, microbatches: int, vpp: int) -> tuple[Held, ...]:
    """Of every rank. Of a rank that settles, those of fewer micro-batches; one of a single stage that runs all forwards first keeps one more
    for each further micro-batch when its first backward starts, which is all of its peak."""
    module = known_schedules()[schedule]
    many = range(min(microbatches, SETTLED * ranks), microbatches + 1)
    few = next(m for m in many if all(rule.holds for rule in module.rules(ranks, m, vpp)))
    piles, found = _states(schedule, ranks, few, vpp)
    if any(pile and len(held.stages) > 1 for pile, held in zip(piles, found, strict=True)):
        return _states(schedule, ranks, microbatches, vpp)[1]
    further = microbatches - few
    return tuple(_more(held, further) if pile and further else held for pile, held in zip(piles, found, strict=True))


def _more(held: Held, further: int) -> Held:
    """With so many further micro-batches, of a rank of one stage that runs all forwards first."""
    return replace(held, states=held.states + further * np.array([1.0, 0.0, 0.0]))


@cache
def _states(schedule: str, ranks: int, microbatches: int, vpp: int) -> tuple[tuple[bool, ...], tuple[Held, ...]]:
    """(whether each rank runs all forwards first, the states)."""
    orders = orders_of(known_schedules()[schedule], ranks, microbatches, vpp)
    return tuple(_all_ahead(order) for order in orders), tuple(_held(order) for order in orders)


def _all_ahead(order: list[Op]) -> bool:
    """Whether all forwards of a rank come before its first backward."""
    first = next(i for i, op in enumerate(order) if op.kind != FORWARD or op.beside is not None)
    return first > 1 and all(op.kind != FORWARD for op in order[first:])


def _held(order: list[Op]) -> Held:
    """What a rank keeps at the start of its ops, as far as no other state exceeds it."""
    stages = tuple(sorted({op.stage for op in order}))
    place = {stage: i for i, stage in enumerate(stages)}
    many = len(stages)
    starts, ends = np.zeros((2, len(order), 3 * many))
    for i, (kind, _, stage, beside) in enumerate(order):
        own = place[stage]
        if kind == FORWARD:
            starts[i, own] = 1.0
        if kind == WEIGHT:
            ends[i, many + own] = -1.0
        behind = own if kind in (BACKWARD, INPUT) else None if beside is None else place[beside[1]]
        if behind is not None:
            starts[i, 2 * many + behind], ends[i, 2 * many + behind], ends[i, behind] = 1.0, -1.0, -1.0
        if kind == INPUT:
            ends[i, many + own] = 1.0
    before = np.cumsum(starts + ends, axis=0) - ends
    return Held(stages, _greatest(before))


def _greatest(found: Array) -> Array:
    """Those that no other one exceeds: the one of the greatest sum is one of them, and what it exceeds is none."""
    kept = []
    while len(found):
        most = found[np.argmax(found.sum(axis=1))]
        kept.append(most)
        found = found[(found > most).any(axis=1)]
    return np.array(kept)
