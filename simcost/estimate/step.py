"""The numbers of one step, prefill or decode, on scalars or arrays."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from simcost.cost import calibrated
from simcost.cost.cost import Cost
from simcost.errors import SpecError
from simcost.estimate import feasible, memo, memory, stages
from simcost.estimate.memory import Kept
from simcost.frozen import frozen
from simcost.num import Bools, Num, is_scalar, maximum, minimum
from simcost.plan import Phase, require
from simcost.program import Priced
from simcost.program import price as fold
from simcost.settings import COUNTS
from simcost.workload import Workload

CHUNKS = 2_000  # of a prefill: some milliseconds each
LAUNCHES = 0.40  # sigma of the log of the host's time for a kernel: public figures lie between 22 and 71 us (docs/theory/roofline.md)
# Sigma of the log by which kernels in a step differ from kernels timed one by one: neighbours in the L2, clocks under a whole load,
# gaps between them. With what no table knows of a kernel it makes 0.11 (docs/theory/calibration.md, "What no table knows").
TOGETHER = 0.08
_TOGETHER = "kernels in a step"
SPREAD = 0.42  # sigma of the log of the step overhead: engines differ by a factor of two either way


@frozen
class Step:
    """A priced step. `cost` includes what the engine costs per step; `slowest`: of the slowest pipeline stage alone; `kept`: its
    memory; `hops`: what one pass sends from stage to stage; `idle`: the wait of the other stages for
    the slowest, as uncertain as its kernels; `host`: the engine's own work; `launches`: what kernels wait to be launched. Of a
    prefill in chunks, programs and waits are those of the last."""

    workload: Workload
    priced: Priced[Cost]
    hops: Priced[Cost]
    idle: Cost
    host: Cost
    launches: Cost
    cost: Cost
    slowest: Cost
    kept: Kept

    @property
    def engine(self) -> Cost:
        """What the engine adds to the kernels: its own work, and waits for launches."""
        return self.host + self.launches


def checked(w: Workload) -> Step:
    """`run` of one point. Raises Infeasible with the rule that the plan breaks and the nearest plans that do not."""
    feasible.require(w)
    return run(w, checked=True)


def run(w: Workload, checked: bool = False, kernels: bool = True) -> Step:
    """Prices one step, or a prefill chunk after chunk, with its memory. Raises SpecError for a scalar plan that breaks a rule; a
    sweep checks beforehand (`feasible`). `checked`: its rules hold, nobody need look again; `kernels`: see `memo.folded`."""
    if not checked:
        _require(w)
    chunk = w.phase.chunk
    if chunk is None:
        return _one(w, kernels)
    found: Step | None = None
    for i in range(chunks(w.phase)):
        left = w.phase.q_len - i * chunk
        new = maximum(minimum(chunk, left), 1.0)
        images, frames = (w.phase.images, w.phase.video_frames) if i == 0 else (0.0, 0.0)  # they pass their tower once
        phase = replace(
            w.phase, q_len=new, past=w.phase.past + i * chunk, chunk=None, images=images, video_frames=frames
        )
        step = _one(replace(w, phase=phase, view=replace(w.view, phase=phase)), kernels)
        found = step if found is None else _after(found, step, np.asarray(left > 0.0))
    assert found is not None
    return replace(found, workload=w, kept=memory.kept(w))


def chunks(phase: Phase) -> int:
    """Chunks in which a prefill passes, one after the other; the most of all points. Raises SpecError for more than `CHUNKS`."""
    if phase.chunk is None:
        return 1
    count = int(np.max(np.ceil(np.asarray(phase.q_len / phase.chunk))))
    if count > CHUNKS:
        raise SpecError(f"chunk: {count:,} chunks of a prompt, at most {CHUNKS:,} can be priced: choose a larger chunk")
    return count


def _after(first: Step, then: Step, mask: Bools) -> Step:
    """Chunks up to `then`, which only prompts of `mask` have."""
    whole, slowest = stages.after((first.cost, first.slowest), (then.cost, then.slowest))
    return replace(then, cost=whole.where(mask, first.cost), slowest=slowest.where(mask, first.slowest))


def _require(w: Workload) -> None:
    if all(value is None or is_scalar(value) for value in (getattr(w.plan, name) for name in COUNTS)):
        # What depends on a varied device is for the sweep to say, point by point.
        require([check for check in feasible.rules_of(w) if is_scalar(check.ok)])


def _one(w: Workload, kernels: bool) -> Step:
    model = memo.Once(calibrated.model(w.device, w.engine))
    step = memo.folded(w, model, kernels)
    hops, passed = (fold(program(w), model) for program in (stages.between, stages.passed))
    whole, slowest = (cost.unsure(_TOGETHER, TOGETHER) for cost in stages.times(w, step.priced.cost, step.each, hops))
    waits = maximum(whole.seconds - step.priced.cost.seconds - passed.cost.seconds, 0.0)
    host, launches = _engine(w, step.launches, whole.seconds)
    # Every stage has a host of its own, which launches its part of the kernels.
    _, mine = _engine(w, step.launches / w.plan.pp, slowest.seconds)
    idle = slowest * (waits / slowest.seconds)
    return Step(
        w,
        step.priced,
        passed,
        idle,
        host,
        launches,
        whole + host + launches,
        slowest + host + mine,
        memory.kept(w),
    )


def _engine(w: Workload, kernels: Num, seconds: Num) -> tuple[Cost, Cost]:
    """(the host's own work on a step, what kernels wait to be launched)."""
    host = w.device.assumption("step_overhead")
    busy: Num = 0.0
    wait: Num = 0.0
    if w.plan.cuda_graph == "off":
        # The host launches kernels one by one: what the device does not hide of that is waited for.
        busy = kernels * w.device.assumption("eager_launch")
        wait = maximum(busy - seconds, 0.0)
    return (
        Cost(overhead_s=host, spread={"step overhead assumed": SPREAD * host}),
        Cost(overhead_s=wait, spread={"eager launch assumed": LAUNCHES * busy * (wait > 0.0)}),
    )
