"""The batch of a training step: how many micro-batches a replica has, and what stands in for a batch that nobody states.

Most likely to be wrong: a batch that a run grows into (`--rampup`). Source: docs/theory/training-step.md.
"""

from __future__ import annotations

from types import ModuleType

from simcost.errors import Infeasible
from simcost.plan import Plan
from simcost.provenance import Kind, Note
from simcost.schedules._order import few

FILL = 4  # micro-batches of a replica for each pipeline stage where nobody states a batch


def cut(
    plan: Plan, micro_batch: int, global_batch: int | None, module: ModuleType, vpp: int, notes: list[Note]
) -> tuple[int, int]:
    """(sequences of a step, micro-batches of a replica). `global_batch`: None where nobody states it, which `notes` then
    say. Raises Infeasible for a batch that cannot be cut, and for a number of micro-batches that the schedule
    refuses."""
    ranks, pp = int(plan.replicas * plan.copies), int(plan.pp)
    each = micro_batch * ranks
    if global_batch is None:
        counts = range(FILL * pp, 16 * FILL * pp + 1)
        micro = next((m for m in counts if all(rule.holds for rule in module.rules(pp, m, vpp))), FILL * pp)
        require_rules(module, pp, micro, vpp, ranks)
        notes.append(
            Note(
                f"global_batch = {each * micro:,}: {micro} micro-batches of a replica, {FILL} for each pipeline stage",
                Kind.ASSUMED,
            )
        )
        return each * micro, micro
    if global_batch % each:
        near = sorted({max(global_batch // each, 1) * each, -(-global_batch // each) * each})
        raise Infeasible(
            f"global_batch = {global_batch:,} is not a whole number of micro_batch x data-parallel ranks = {micro_batch} x {ranks}: nearest {' or '.join(f'{one:,}' for one in near)}"
        )
    micro = global_batch // each
    require_rules(module, pp, micro, vpp, ranks)
    return global_batch, micro


def require_rules(module: ModuleType, pp: int, micro: int, vpp: int, ranks: int) -> None:
    """Raises Infeasible with the first rule of a schedule that numbers break."""
    for rule in (*module.rules(pp, micro, vpp), few(pp, micro, vpp)):
        if not rule.holds:
            said = rule.says.replace("--microbatches", "micro-batches of a replica")
            of = f" (global_batch / (micro_batch x {ranks} data-parallel ranks))" if said != rule.says else ""
            raise Infeasible(f"{module.NAME}: {said}{of}")
