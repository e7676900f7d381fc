"""The time and the memory of a training step of many plans: their schedules by closed forms.

    path = micro-batches · slope(busiest rank) + intercept(mean rank)

of the schedule's closed form, a line in micro-batches: the busiest rank sets the steady state, all of them the way in
and out. Sums of gradients, gathers of weights and the optimizer follow as in `training/step.py`, where the executor
says when ranks
start and end; here a rank ends later than the first one by the backward passes of the stages before it. Memory is exact
but for rounding. Most likely to be wrong: pipelines of few micro-batches with uneven stages; the closed forms' own
error
(EXACT of each schedule). Source: docs/theory/training-plans.md, which states the error against the executor.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import Any

import numpy as np

from simcost import pipeline, shared_layers
from simcost.frozen import frozen
from simcost.lower import EMBEDDING, modules
from simcost.num import Array, Bools, Index, maximum
from simcost.passes.contention import HELD
from simcost.program import longer, without
from simcost.schedules import gpipe
from simcost.schedules._order import Durations
from simcost.training.chunks import BOTH, FORWARD, INPUT, WEIGHT
from simcost.training.closed_form import in_flight
from simcost.training.closed_form import modules as of
from simcost.training.closed_form.grid import Asked, Grid, distinct
from simcost.training.closed_form.modules import Modules, largest
from simcost.training.job import Job, known_schedules
from simcost.training.memory import RUNTIME_BYTES, SLACK
from simcost.training.recompute import parse
from simcost.training.state import Whole, gathered


@frozen
class Steps:
    """Of every plan [plans]: time of a step [s]; memory of the fullest rank [B]."""

    seconds: Array
    memory: Array


def steps(asked: Asked, grid: Grid) -> Steps:
    """Priced plans of a grid, none of which breaks a rule. Raises as `build` for what all plans share."""
    job = asked.job(grid.row(0))
    found = of.priced(asked, grid, job)
    micro = grid.microbatches(asked.gpus, int(job.global_batch))
    answer = Steps(*(np.zeros(len(grid)) for _ in range(2)))
    _, at = distinct([grid["schedule"], grid["pp"], grid["vpp"]])
    order = np.argsort(at, kind="stable")
    for mine in np.split(order, np.flatnonzero(np.diff(at[order])) + 1):
        row = grid.row(int(mine[0]))
        group = Group(job, found, known_schedules()[row["schedule"]], row["pp"], row["vpp"])
        again = grid["recompute"][mine].astype(int)
        answer.seconds[mine], answer.memory[mine] = group.steps(grid, mine, micro[mine], again)
    return answer


class Group:
    """Plans of one schedule, so many ranks and virtual stages: what stands where is the same for all."""

    def __init__(self, job: Job, found: Modules, schedule: ModuleType, pp: int, vpp: int) -> None:
        self.job, self.found, self.schedule, self.pp = job, found, schedule, pp
        self.vpp = int(schedule.PER_RANK or vpp)
        placed = schedule.placement(pp, 2 * pp, self.vpp)
        self.stages = pipeline.stages(job.model, placed.stages, True)
        hops = [float(each) for each in shared_layers.hops(job.model, placed.stages)]
        self.carried = (
            sum(hops) / max(len(hops), 1) / float(job.model.hidden_size)
        )  # an edge takes as long as what it carries
        self.held = [
            sorted({stage for stage in range(placed.stages) for m in (0, 2 * pp - 1) if placed.rank(stage, m) == rank})
            for rank in range(pp)
        ]
        kinds = list(dict.fromkeys(self.stages))
        self.kinds = kinds
        self.kind = np.array([kinds.index(stage) for stage in self.stages])
        self.counts = np.array([[stage.count(key) for key in found.keys] for stage in kinds], np.float64)
        layer = np.array([module.layer for module in modules(job.model, True)])
        self.of_layers = self.counts * layer
        self.layers = self.of_layers.sum(axis=1)
        # How many chunks of each kind a rank has, and how many of the micro-batches run through each.
        self.chunks = np.array(
            [np.bincount(self.kind[list(held)], minlength=len(kinds)) for held in self.held], np.float64
        )
        self.passes = placed.stages / sum(map(len, self.held))

    def steps(self, grid: Grid, mine: Index, micro: Array, again: Array) -> tuple[Array, Array]:
        """(seconds, memory) of plans [plans]."""
        at, once_at = self.found.at[mine], self.found.once_at[mine]
        x = {name: table[:, self.found.structure[mine], at] for name, table in self.found.kernels.items()}
        once = {name: table[:, once_at] for name, table in self.found.once.items()}
        chunks = self._chunks(x, [parse(name) for name in grid.recomputes], again)
        hop = self.found.hop[at] * self.carried
        seconds = self._path(chunks, hop, micro) + self._after(chunks, hop, once)
        return seconds, self._memory(chunks, once, once_at, micro, grid.taken(mine))

    def _chunks(self, x: Mapping[str, Array], options: list[Any], again: Array) -> dict[str, Array]:
        """As `chunks.chunk`: what a virtual stage of each kind takes and keeps [kinds, plans]."""
        rerun = np.array([[one.layers(float(n)) for one in options] for n in self.layers])[:, again]
        entries = np.array([[one.kept_bytes(float(n), 0.0, 1.0) for one in options] for n in self.layers])[:, again]
        every = np.array([one.every for one in options], np.float64)[again]
        share = self.of_layers / np.maximum(self.layers, 1.0)[:, None]
        found = {name: self.counts @ x[name] for name in (*of.PASSES, *_BESIDE, of.UNTIL)}
        for name, what in (
            (INPUT, of.AGAIN),
            (BOTH, of.AGAIN),
            (of.REST + BOTH, of.REST + FORWARD),
            (of.WIRE + BOTH, of.WIRE + FORWARD),
        ):
            found[name] = found[name] + rerun * (share @ x[what])
        found[of.UNTIL] = found[of.UNTIL] - rerun * (share @ x[of.UNTIL])
        whole, entry = share @ x[of.WHOLE], share @ x[of.ENTRY]
        some = (self.layers[:, None] - rerun) * whole + entries * entry
        ends = (self.counts - self.of_layers) @ x[of.KEPT]
        found[of.KEPT] = ends + np.where(rerun > 0.0, some, self.of_layers @ x[of.KEPT])
        present = self.of_layers > 0
        found["live"] = np.array(
            [
                np.where(
                    rerun[kind] > 0.0,
                    every * largest(x[of.WHOLE], present[kind]),
                    largest(x[of.WHOLE] - x[of.KEPT], present[kind]),
                )
                for kind in range(len(self.kinds))
            ]
        )
        if self.job.stack.flags["ep_overlap"] and not self.schedule.PAIRS:
            found |= self._hiding(found)
        for name in (of.TEMPORARY, of.MOVED):
            found[name] = np.array([largest(x[name], self.counts[kind] > 0) for kind in range(len(self.kinds))])
        return found

    def _hiding(self, chunks: Mapping[str, Array]) -> dict[str, Array]:
        """As `chunks._hiding`."""
        slow = float(without(HELD, float(self.job.device.multiprocessors)))
        together = np.array([_pair(chunks, kind, kind, slow) for kind in range(len(self.kinds))])
        alone = chunks[FORWARD] + chunks[BOTH]
        hidden = (chunks[of.WIRE + FORWARD] > 0.0) * (together / np.maximum(alone, 1e-30) - 1.0)
        return {name: chunks[name] * (1.0 + hidden) for name in (FORWARD, BOTH)}

    def _path(self, chunks: Mapping[str, Array], hop: Array, micro: Array) -> Array:
        """Seconds of all micro-batches."""
        schedule = self.schedule
        blocking = 0.0 * hop if self.job.stack.flags["p2p_overlap"] or schedule.SPLITS else hop
        forward = chunks[FORWARD] + blocking
        apart = schedule.SPLITS and not schedule.PAIRS  # DualPipe runs most gradients together
        inputs = chunks[INPUT] if apart else chunks[BOTH] - chunks[WEIGHT] + blocking
        weight = chunks[WEIGHT]
        busy = self.passes * self.chunks @ (forward + inputs + weight)  # [ranks, plans], of a micro-batch
        pairs = self._pairs(chunks) if schedule.PAIRS else None
        load = busy if pairs is None else pairs
        most = np.argmax(load, axis=0)
        each = self.chunks.sum(axis=1, keepdims=True)
        edge = np.where(blocking > 0.0, 0.0, hop)

        def line(rank: Any) -> Durations:
            def of_rank(values: Array) -> Array:
                means = self.chunks @ values / each
                return np.asarray(means.mean(axis=0) if rank is None else np.take_along_axis(means, rank[None], 0)[0])

            pair = 0.0 if pairs is None else pairs.mean(axis=0) if rank is None else pairs.max(axis=0)
            return Durations(of_rank(forward), of_rank(inputs), of_rank(weight), pair, edge)

        def path(m: Any, t: Durations) -> Array:
            return np.asarray(schedule.closed_form(float(self.pp), m, float(self.vpp), t))

        steady, ends = line(most), line(None)
        slope = path(micro + 1.0, steady) - path(micro, steady)
        mean = path(micro + 1.0, ends) - path(micro, ends)
        return path(micro, ends) + micro * (slope - mean)

    def _pairs(self, chunks: Mapping[str, Array]) -> Array:
        """A forward beside both gradients of another chunk of the rank, the mean of both ways [ranks, plans]."""
        slow = float(without(HELD, float(self.job.device.multiprocessors)))
        found = []
        for held in self.held:
            one, other = (self.kind[stage] for stage in (held[0], held[-1]))
            each = [_pair(chunks, a, b, slow) for a, b in ((one, other), (other, one))]
            found.append((each[0] + each[1]) / 2.0)
        return np.array(found)

    def _after(self, chunks: Mapping[str, Array], hop: Array, once: Mapping[str, Array]) -> Array:
        """What follows once a step."""
        units = self._units()
        flags = self.job.stack.flags
        layers = np.maximum(self.chunks @ self.layers, 1.0)[:, None]
        backward = chunks[INPUT if self.schedule.SPLITS else BOTH][self.kind] + hop
        ahead = chunks[FORWARD][self.kind] + hop
        first = [held[0] for held in self.held]
        first = [min(stage, self.pp - 1 - stage) for stage in first] if self.passes < 1.0 else first
        late, early = (np.array([passes[:stage].sum(axis=0) for stage in first]) for passes in (backward, ahead))
        found = (units @ once[of.UPDATE]).max(axis=0)
        for name, of_pass, hides, waits in (
            (of.SUMS, BOTH, flags["grad_overlap"], late),
            (of.GATHERS, FORWARD, flags["param_overlap"], early),
        ):
            whole = units @ once[name]
            left = np.maximum(whole - self.chunks @ chunks[of_pass], whole / layers) if hides else whole
            found = found + np.maximum(left - waits, 0.0).max(axis=0)
        return np.asarray(found)

    def _units(self) -> Array:
        """How many of each unit a rank has [ranks, units]."""
        names, last = self.found.units, len(self.stages) - 1
        found = np.zeros((self.pp, len(names)))
        for rank, held in enumerate(self.held):
            for stage in held:
                found[rank] += self._of_stage(stage, (0 in held and stage == last) or last == 0)
        return found

    def _of_stage(self, stage: int, ends: bool) -> Array:
        found = np.zeros(len(self.found.units))
        for key, count in self.stages[stage].held:
            if key.startswith("stack "):
                found[self.found.units.index(key)] = count
        for one in self.stages[stage].shared:
            if one.stack is not None and one.copied:
                found[self.found.units.index(f"{of.COPY}{one.stack}")] = 1.0
        first, last = stage == 0, stage == len(self.stages) - 1
        for there, name in ((first, EMBEDDING), (last, of.TAIL)):
            mark = "*" if ends and (name == of.TAIL or last) else ""
            found[self.found.units.index(name + mark)] = float(there)
        return found

    def _memory(
        self, chunks: Mapping[str, Array], once: Mapping[str, Array], at: Index, micro: Array, plans: Grid
    ) -> Array:
        """Of the fullest rank."""
        units = self._units()
        fixed = units @ once[of.STATE]
        only = len(self.stages) == 1
        sizes = [self._of_stage(self.stages.index(stage), only) for stage in self.kinds]
        more = np.array([self._gathered(row, once) + self._placeholders(row > 0, at) for row in sizes])[self.kind]
        passing, moved = (
            np.array([chunks[name][self.kind][held].max(axis=0) for held in self.held])
            for name in (of.TEMPORARY, of.MOVED)
        )
        buffers = np.array([more[held].sum(axis=0) for held in self.held]) + self._bucket(
            units @ once[of.GRADIENTS], plans
        )
        held = fixed + buffers + passing + self._activations(chunks, micro)
        return np.asarray((held * (1.0 + SLACK) + RUNTIME_BYTES + moved).max(axis=0))

    def _activations(self, chunks: Mapping[str, Array], micro: Array) -> Array:
        """The most that a rank keeps for backward passes [ranks, plans]."""
        each = np.stack([chunks[of.KEPT], chunks[of.UNTIL], chunks["live"]])
        found = np.zeros((self.pp, len(micro)))
        few = np.minimum(micro, in_flight.SETTLED * self.pp) if self.schedule.NAME != gpipe.NAME else micro
        for number in set(few.tolist()):
            mine = np.flatnonzero(few == number)
            states, first = self._states(int(micro[mine[0]]))
            found[:, mine] = np.maximum.reduceat(states @ each[..., mine].reshape(-1, len(mine)), first, axis=0)
        return found

    def _gathered(self, sizes: Array, once: Mapping[str, Array]) -> Array:
        """As `state.gathered`, of a virtual stage of so many units."""
        found = np.zeros(once[of.STATE].shape[1])
        for part in of.PARTS:
            most, every, gradients = (once[f"{name} {part}"] for name in of.GATHERED)
            there = Whole(largest(most, sizes > 0), sizes @ every, largest(gradients, sizes > 0))
            parted, summed = (once[f"{name} {part}"][0] for name in of.PARTED)
            found = found + gathered(there, parted, summed, self.job.recipe.reshard, self.job.sharding)
        return found

    def _states(self, micro: int) -> tuple[Array, list[int]]:
        """(what every rank may keep at a time, by kinds of virtual stages [states, 3 * kinds], the first row of each
        rank)."""
        rows: list[Array] = []
        first: list[int] = []
        kinds = np.eye(len(self.kinds))[self.kind]
        for held in in_flight.states(self.schedule.NAME, self.pp, micro, self.vpp):
            first.append(sum(len(each) for each in rows))
            found = held.states.reshape(len(held.states), 3, -1) @ kinds[list(held.stages)]
            rows.append(found.reshape(len(found), -1))
        return np.concatenate(rows), first

    def _placeholders(self, present: Bools, at: Index) -> Array:
        """As `memory._placeholders`."""
        shapes: dict[Any, Array] = {}
        for name in np.asarray(self.found.units)[present]:
            shapes |= self.found.placeholders[str(name)]
        return sum((size[at] for size in shapes.values()), np.zeros(len(at)))

    def _bucket(self, gradients: Array, plans: Grid) -> Array:
        """As `memory._bucket` [ranks, plans]."""
        formats, flags = self.job.precision, self.job.stack.flags
        replicas = plans.replicas(float(self.job.plan.devices))
        sends = (
            (replicas * plans["cp"] > 1.0) & (plans["zero_stage"] < 2) & (formats.reduced.bits != formats.gradient.bits)
        )
        every = gradients / (formats.gradient.bits / 8.0)
        size = np.maximum(float(flags["bucket_parameters"]), float(flags["bucket_parameters_per_dp"]) * replicas)
        return np.asarray(sends * np.minimum(np.where(size > 0.0, size, every), every) * formats.reduced.bits / 8.0)


_BESIDE = (of.REST + FORWARD, of.REST + BOTH, of.WIRE + FORWARD, of.WIRE + BOTH)


def _pair(chunks: Mapping[str, Array], one: int, other: int, slow: float) -> Array:
    """As `chunks.pair`."""
    rest = chunks[of.REST + FORWARD][one] + chunks[of.REST + BOTH][other]
    wire = chunks[of.WIRE + FORWARD][one] + chunks[of.WIRE + BOTH][other]
    return np.asarray(maximum(rest * longer(rest, wire, np.where(wire > 0.0, slow, 1.0)), wire))
