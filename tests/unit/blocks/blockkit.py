"""What the tests of blocks share: models by name, one rank's view, and the kernels of a program by tag."""

from __future__ import annotations

from functools import cache
from typing import Any

from simcost.dtypes import dtype
from simcost.model import load
from simcost.model.spec import ModelSpec
from simcost.ops.attention_core import AttentionCore
from simcost.ops.collective import Collective
from simcost.ops.gemm import Gemm
from simcost.ops.work import Op
from simcost.plan import Phase, Plan
from simcost.program import Program, calls
from simcost.routing.router import Routing
from simcost.sharding.shard import ROLES, Block, View, Weight

NARROW = ("attention", "ffn", "experts", "shared_experts")


@cache
def model(name: str) -> ModelSpec:
    return load.load(name)


def block(name: str, kind: str, stack: int = 0) -> Block:
    """The attention or the FFN of a stack of a model."""
    return next(one for one in model(name).stacks[stack][1] if one.kind == kind)


def view(batch: float, q_len: float, past: float, plan: Plan | None = None, form: str = "bf16", **more: Any) -> View:
    """All in bf16; with another `form` linear layers and experts are stored, and multiply, in it. Experts are even."""
    bf16, kind = dtype("bf16"), dtype(form)
    roles = {role: kind if role in NARROW else bf16 for role in ROLES}
    phase = Phase(batch, q_len, past, routing=Routing("balanced"), **more)
    return View(plan or Plan(), phase, bf16, bf16, roles, roles)


def ops(program: Program) -> dict[str, Op]:
    """Op by tag, in running order; the second by a tag is "tag 2"."""
    found: dict[str, Op] = {}
    for call in calls(program):
        assert f"{call.tag} 2" not in found
        found[f"{call.tag} 2" if call.tag in found else call.tag] = call.op
    return found


def products(program: Program) -> dict[str, tuple[float, ...]]:
    """(batch, m, n, k) of every dense product, by tag."""
    return {tag: (op.batch, op.m, op.n, op.k) for tag, op in ops(program).items() if isinstance(op, Gemm)}  # type: ignore[misc]


def moves(program: Program) -> dict[str, tuple[str, float, float, float]]:
    """(kind, payload, group, stride) of every collective, by tag."""
    return {
        tag: (op.kind, float(op.payload), float(op.group), float(op.stride))
        for tag, op in ops(program).items()
        if isinstance(op, Collective)
    }


def the_core(program: Program) -> AttentionCore:
    (found,) = (call.op for call in calls(program) if isinstance(call.op, AttentionCore))
    return found


def shapes(found: tuple[Weight, ...]) -> dict[str, tuple[float, ...]]:
    """(out, inner) of matrices and (length,) of vectors, by name; copies first where there are several."""
    return {
        w.name: tuple(
            float(v) for v in ((w.copies,) if w.copies != 1.0 else ()) + ((w.out,) if w.inner is None else (w.out, w.inner))
        )
        for w in found
    }  # fmt: skip


def broken(found: Block, plan: Plan) -> list[str]:
    """Reasons of the rules that a plan breaks."""
    return [check.reason for check in found.checks(plan) if not check.ok]
