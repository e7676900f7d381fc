"""What the law suites share: the zoo, its blocks, and one step's work."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache
from typing import Any

import unshipped

from simcost import query
from simcost.dtypes import dtype
from simcost.estimate import answer
from simcost.estimate import step as steps
from simcost.lower import step
from simcost.model import load
from simcost.model.spec import ModelSpec, from_config
from simcost.num import Num
from simcost.ops.work import Work
from simcost.plan import Phase, Plan
from simcost.program import Call, Choice, Program
from simcost.routing.router import Routing
from simcost.sharding.shard import ROLES, Block, View

ZOO = load.names()
# One of each structure: dense, MoE, MLA, windows, chunks, tied, quantised, K and V of other widths.
SOME = [
    "llama-3.1-8b", "mixtral-8x7b", "deepseek-v3", "deepseek-v2-lite", "gpt-oss-120b", "gemma-3-27b", "llama-4-scout",
    "qwen3-235b-a22b", "bloom-176b", "mimo-v2-flash", "glm-4.5",
]  # fmt: skip
BF16 = dtype("bf16")
MATRICES = ("gemm", "grouped_gemm", "attention", "index", "recurrent")


@cache
def model(name: str) -> ModelSpec:
    if name in unshipped.CONFIGS:
        return from_config(unshipped.CONFIGS[name], name, name)
    return load.load(name)


def view(batch: Num, q_len: Num, past: Num, plan: Plan | None = None, logits: Num = 1.0) -> View:
    """A plain bf16 view; MLA absorbed unless the plan says otherwise; every expert takes its exact share."""
    every = dict.fromkeys(ROLES, BF16)
    plan = replace(plan or Plan(mla_form="absorbed"), all_to_all="normal")
    phase = Phase(batch, q_len, past, logits, routing=Routing("balanced"))
    return View(plan, phase, BF16, BF16, every, every)


def weighted(program: Program, times: float = 1.0) -> Iterator[tuple[Call, float]]:
    """Every call and how often it runs; no Choice may be left."""
    if isinstance(program, Call):
        yield program, times * float(program.repeat)
        return
    assert not isinstance(program, Choice)
    repeat = float(getattr(program, "repeat", 1.0))
    for part in program.parts:
        yield from weighted(part, times * repeat)


def work(program: Program) -> Work:
    total = Work()
    for call, times in weighted(program):
        total = total + call.op.work() * times
    return total


def family_flops(program: Program) -> Counter[str]:
    found: Counter[str] = Counter()
    for call, times in weighted(program):
        found[call.op.family] += float(call.op.work().flops) * times  # type: ignore[assignment]
    return found


def model_work(name: str, at: View) -> Work:
    return work(step(model(name), at))


def blocks() -> list[tuple[str, Block]]:
    """One of every (type, dimensions) in the zoo and in models of classes beside it, MTP included."""
    seen: dict[str, tuple[str, Block]] = {}
    for name in (*ZOO, *unshipped.CONFIGS):
        spec = model(name)
        for block in [*(b for _, b in spec.blocks()), *spec.mtp]:
            seen.setdefault(repr(block), (f"{name}-{type(block).__name__}", block))
    return list(seen.values())


ROOFLINE = {"hw.measurements": "none"}  # the laws of the roofline; test_calibrated_laws.py has those of the curves


def run(
    name: str, hw: str, decode: bool, phase: Mapping[str, Any], sets: Mapping[str, Any] | None = None
) -> steps.Step:
    return steps.run(query.workload(query.make(name, hw, decode, phase, {**ROOFLINE, **(sets or {})}, {}, None)))


def metrics(
    name: str, hw: str, decode: bool, phase: Mapping[str, Any], sets: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    return dict(answer.metrics(run(name, hw, decode, phase, sets), decode, 1.0))
