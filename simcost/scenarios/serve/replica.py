"""What `serving` is given for a plan: step times of one attention replica, the room of its pool, and the engine's policy.

Most likely to be wrong: drafts of speculative decoding, which engines overlap with sampling. Source: docs/theory/serving.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from simcost.errors import SpecError
from simcost.estimate import feasible, memory, step_table
from simcost.estimate.memory import Kept
from simcost.estimate.step_table import StepTable
from simcost.frozen import frozen
from simcost.model.spec import ModelSpec
from simcost.num import Num, is_scalar, maximum, plain
from simcost.plan import Phase
from simcost.serving.point import Room
from simcost.serving.policy import Policy
from simcost.workload import Draft, Workload


@frozen
class Bounds:
    """The largest numbers that a table of step times must cover: sequences of a replica, tokens of a context, of a chunk, and before a chunk; and the least of a context
    and of a chunk, below which nothing is asked."""

    batch: Num
    context: Num
    chunk: Num
    past: Num
    least_context: float = 1.0
    least_chunk: float = 1.0

    def table(self, w: Workload, drafts: float = 0.0) -> StepTable:
        """The table of a workload that covers them."""
        batch, context, chunk, past = (float(each) for each in (self.batch, self.context, self.chunk, self.past))
        return step_table.table(w, batch, context, chunk, past, drafts, self.least_context, self.least_chunk)


@frozen
class Replica:
    """One attention replica, or [plans, 1] of them. policy: how its scheduler batches, its tokens those of all micro-batches of a pipeline, each of which takes `chunk`
    at most; `drafts`: tokens that a step verifies beside its own; `draft`: times of the model that proposes them, one per pass."""

    workload: Workload
    policy: Policy
    chunk: Num
    table: StepTable
    draft: StepTable | None = None
    drafts: float = 0.0

    def __call__(self, batch: Num, context: Num, tokens: Num, past: Num) -> Num:
        """As `serving.step_times.StepTimes`: a draft model passes prompts too. [s]"""
        if is_scalar(tokens) and tokens == 0.0:
            seconds = self.table(batch, context, 0.0, 0.0)
            return seconds if self.draft is None else seconds + self.drafts * self.draft(batch, context, 0.0, 0.0)
        chunks = maximum(tokens / self.chunk, 1.0)
        alone = self(batch, context, 0.0, 0.0)
        part = tokens / chunks
        past = past + (tokens - part) / 2.0  # what a token sees on average does not depend on how the step is cut
        each = self.table.beside(batch, part, past)
        if self.draft is not None:
            each = each + self.draft(0.0, context, part, past) * (np.asarray(tokens) > 0.0)
        return alone + chunks * each

    def lag(self, tokens: Num, past: Num) -> Num:
        """Seconds from the first pipeline stage to the last beyond those on the slowest, of a chunk. [s]"""
        return maximum(self.table.prompt(tokens, past) - self.table(0.0, 1.0, tokens, past), 0.0)

    def kept(self, context: Num) -> Kept:
        """The memory of a sequence of so many tokens per replica."""
        return memory.kept(_decoding(self.workload, context))

    def rank_bytes(self, tokens: Num) -> Num:
        """The cache of a sequence of so many tokens on the rank that holds most of it. [B]"""
        kept = self.kept(tokens)
        return kept.held.sequence(kept.workload, tokens) / maximum(kept.held.batches, 1.0)

    def link_s(self, tokens: Num) -> Num:
        """Seconds from the host's memory to the ranks of so many cached tokens: each rank loads what it holds. Raises
        SpecError for a device of which no link is known."""
        device = self.workload.device
        if device.host is None:
            raise SpecError(
                f"{device.where}: no link to the host's memory (links.host): set it with --set hw.links.host.bandwidth=64GB/s --set hw.assumed.host_efficiency=0.8"
            )
        return self.rank_bytes(tokens) / (device.host * device.assumption("host_efficiency"))

    def room(self, held: Num) -> Room:
        """How many sequences of a replica may run that each hold `held` tokens of its pool on average."""
        w = self.workload
        each = w.plan.replicas * w.plan.copies
        pools = memory.max_batch(self.kept(held))
        return Room(plain(pools / each), self.policy.sequences)


Steps = tuple[StepTable, StepTable | None]  # of a design, and of what drafts


def steps_of(w: Workload, bounds: Bounds, drafts: int = 0) -> Steps:
    """The step times of one replica up to some bounds."""
    return bounds.table(w, drafts), None if w.draft is None else bounds.table(w.draft.workload)


def build(
    w: Workload, policy: Policy, bounds: Bounds, drafts: int = 0, steps: Callable[[Workload, Bounds, int], Steps] = steps_of
) -> Replica:  # fmt: skip
    """The replica of a workload's plan, checked, whose `draft` proposes so many tokens per step. `steps`: prices them.
    Raises SpecError and Infeasible for a plan
    that cannot run."""
    w = _decoding(w, 1.0)
    feasible.require(w)
    return of_table(w, policy, *steps(w, bounds, drafts), drafts)


def stacked(w: Workload, policy: Policy, bounds: Bounds) -> Replica:
    """The replicas of a workload's plans, whose sizes are numbers or [plans, 1] arrays, and none of which breaks a
    rule."""
    w = _decoding(w, 1.0)
    table = bounds.table(w)
    if not is_scalar(w.plan.tp):  # every plan asks its own times
        table = table.of(np.arange(len(table.decode))[:, None])
    return of_table(w, policy, table)


def of_table(w: Workload, policy: Policy, table: StepTable, draft: StepTable | None = None, drafts: int = 0) -> Replica:
    """The replicas of plans whose steps are timed already."""
    whole = replace(policy, tokens=plain(policy.tokens * w.plan.pp))
    return Replica(w, whole, policy.tokens, table, draft, float(drafts))


def with_drafts(w: Workload, own: Workload | None = None) -> Workload:
    """A workload to which a model of its `own` proposes tokens, or the design's MTP modules. Raises SpecError for a
    design without them."""
    if own is not None:
        return replace(w, draft=Draft(own))
    module = replace(w, model=draft_of(w.model))
    return replace(w, draft=Draft(module, float(len(w.model.mtp)), shared=True))


def draft_of(model: ModelSpec) -> ModelSpec:
    """The model of one MTP module: its joining projection and layer, between the embedding and the head that it shares. Raises SpecError for a design
    without one."""
    if not model.mtp:
        raise SpecError(
            f"{model.name} has no MTP module (num_nextn_predict_layers): speculative decoding needs a draft model (--draft-model)"
        )
    module = model.mtp[0]
    return replace(model, stacks=((1, (module.join, *module.layer)),), order=(0,), mtp=(), towers=(), uncounted=())


def _decoding(w: Workload, context: Num) -> Workload:
    """The workload as a decode step of one sequence a replica."""
    phase = Phase(
        w.plan.replicas * w.plan.copies, 1.0, context, microbatches=w.plan.pp, routing=w.phase.routing, decode=True
    )
    return replace(w, phase=phase, view=replace(w.view, phase=phase))
