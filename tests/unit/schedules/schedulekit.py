"""What the tests of schedules share: runs by name, and a second executor that knows nothing of the first."""

from __future__ import annotations

from typing import NamedTuple

from simcost.makespan import Timeline, Times, run
from simcost.scenarios.schedule import known
from simcost.schedules._order import BACKWARD, FORWARD, INPUT, WEIGHT, Lengths, Op, Orders, Placement, orders_of

NAMES = tuple(known())


class Case(NamedTuple):
    """A schedule with numbers that it takes."""

    name: str
    pp: int
    microbatches: int
    vpp: int = 2

    @property
    def placement(self) -> Placement:
        found: Placement = known()[self.name].placement(self.pp, self.microbatches, self.vpp)
        return found

    @property
    def orders(self) -> Orders:
        return orders_of(known()[self.name], self.pp, self.microbatches, self.vpp)

    def times(self, forward: float = 1.0, backward: float = 1.0, weight: float = 1.0, pair: float | None = None, hop: float = 0.0) -> Times:  # fmt: skip
        n = self.placement.stages
        return Times((forward,) * n, (backward,) * n, (weight,) * n, pair, hop)

    def ordered(self, times: Times) -> Orders:
        """The order of these times, where the schedule is searched."""
        every = Lengths(times.forward, times.backward, times.weight, (1.0,) * len(times.forward), times.hop)
        return orders_of(known()[self.name], self.pp, self.microbatches, self.vpp, every)

    def run(self, times: Times | None = None) -> Timeline:
        return run(self.ordered(times or self.times()), self.placement, times or self.times())


def sized(name: str, pp: int, microbatches: int, vpp: int = 2) -> Case:
    """The nearest numbers upwards that the schedule takes."""
    if name == "dualpipe":
        pp += pp % 2
    if name in ("dualpipe", "dualpipev"):
        microbatches = max(microbatches, 2 * pp)
    if name == "interleaved":
        microbatches = -(-microbatches // pp) * pp
    return Case(name, pp, microbatches + (microbatches % 2 if name == "dualpipe" else 0), vpp)


def ends(case: Case, times: Times) -> dict[tuple[str, int, int], float]:
    """When each pass ends, by fixed point: start times grow until nothing that is needed ends later. Independent of `makespan.py` but for the orders."""
    place, done = case.placement, dict[tuple[str, int, int], float]()
    changed = True
    while changed:
        changed = False
        for rank, order in enumerate(case.ordered(times)):
            free = 0.0
            for op in order:
                start = max([free, *(_ready(done, place, times, rank, each) for each in _passes(op))])
                free = start + times.of(op)
                for each in _passes(op):
                    for kind in (INPUT, WEIGHT) if each.kind == BACKWARD else (each.kind,):
                        key = (kind, each.stage, each.microbatch)
                        if done.get(key) != free:
                            done[key], changed = free, True
    return done


def _passes(op: Op) -> list[Op]:
    return [op] if op.beside is None else [op._replace(beside=None), Op(BACKWARD, *op.beside)]


def _ready(done: dict[tuple[str, int, int], float], place: Placement, times: Times, rank: int, op: Op) -> float:
    needs = []
    if op.kind == FORWARD and op.stage:
        needs.append((FORWARD, op.stage - 1))
    if op.kind in (INPUT, BACKWARD):
        needs.append((FORWARD, op.stage))
        if op.stage + 1 < place.stages:
            needs.append((INPUT, op.stage + 1))
    if op.kind == WEIGHT:
        needs.append((INPUT, op.stage))
    away = [times.hop * (place.rank(stage, op.microbatch) != rank) for _, stage in needs]
    return max([done.get((kind, stage, op.microbatch), 0.0) + hop for (kind, stage), hop in zip(needs, away, strict=True)], default=0.0)  # fmt: skip
