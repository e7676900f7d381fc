"""torchtitan's recomputation by operators (`plan.recompute=op`): a layer keeps its input and what a list of operators
put out, and runs all others again.

The list: every other matrix product of a layer in running order, from the first on (of Llama: queries, values, gate and
down, not keys, output and up); the attention core; sums over tensor-parallel ranks that scatter, and exchanges of
tokens. A router's product and grouped products of experts are not in it. What the list names stays, whether a gradient
reads it or not. Most likely to be wrong: products in fp8, which count as the others; what torch.compile keeps besides.
Source: pytorch/torchtitan, `distributed/activation_checkpoint.py` (selective_ac_option = op).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from simcost.num import Num, every
from simcost.ops.attention_core import AttentionCore
from simcost.ops.collective import Collective
from simcost.ops.exchange import Exchange
from simcost.ops.gemm import Gemm
from simcost.passes.saved import CORE, Saved
from simcost.plan import Plan
from simcost.program import Call, Choice, Program, Serial
from simcost.sharding.shard import Block

OPERATORS = "op"


class _Counter:
    """Products of a layer so far: every other one stays."""

    def __init__(self) -> None:
        self.count = 0

    def stays(self) -> bool:
        self.count += 1
        return self.count % 2 == 1


def parted(
    blocks: Sequence[Block], named: Sequence[tuple[str, Program]], plan: Plan, entry: Num
) -> tuple[tuple[Saved, ...], Program | None]:
    """(what a layer keeps, what its backward pass runs again), of its blocks' forward programs. `entry`: bytes of its
    input."""
    counter, kept, again = _Counter(), [Saved(entry, "input of the layer")], []
    for block, (_, program) in zip(blocks, named, strict=True):
        split = _Split(block, plan, counter, kept)
        found = split.rest(program, 1.0)
        again += [] if found is None else [found]
    return tuple(kept), Serial(tuple(again)) if again else None


class _Split:
    """One block, whose kernels are taken in running order."""

    def __init__(self, block: Block, plan: Plan, counter: _Counter, kept: list[Saved]) -> None:
        # Grouped products of experts may have the sides of a shared expert's.
        self.weights = [one for one in block.weights(plan) if one.inner is not None and one.role != "experts"]
        self.counter, self.kept = counter, kept

    def rest(self, program: Program, times: Num) -> Program | None:
        """What runs again of a program; what stays of it is added to `kept`."""
        if isinstance(program, Call):
            return self._call(program, times)
        if isinstance(program, Choice):
            return self.rest(program.options[-1][1], times)
        inner = times * program.repeat if isinstance(program, Serial) else times
        parts = tuple(found for part in program.parts if (found := self.rest(part, inner)) is not None)
        if not parts:
            return None
        if isinstance(program, Serial):
            if program.kernel == "linear" and not any(isinstance(part, Call) and _product(part) for part in parts):
                return None  # a cast for a product that stays
            same = len(parts) == len(program.parts) and all(a is b for a, b in zip(parts, program.parts, strict=True))
            return replace(program, parts=parts, kernel=program.kernel if same else "")
        return replace(program, parts=parts) if len(parts) == len(program.parts) else Serial(parts)

    def _call(self, call: Call, times: Num) -> Call | None:
        op = call.op
        repeat = times * call.repeat
        if isinstance(op, AttentionCore):
            _, o, sums = op.saved_parts()
            self._keep((o + sums) * repeat, call)
            return None
        if isinstance(op, Exchange):
            rows = op.rows() if op.direction == "dispatch" else op.tokens * op.router.top_k
            self._keep(rows * op.width_bytes * repeat, call)
            return None
        if isinstance(op, Collective) and op.kind == "reduce_scatter":
            self._keep(op.payload / op.group * repeat, call)
            return None
        return self._multiplied(call, op, repeat) if isinstance(op, Gemm) and _product(call) else call

    def _multiplied(self, call: Call, op: Gemm, repeat: Num) -> Call | None:
        """A product, or those that it joins one by one: what of it runs again."""
        mine = [one for one in self.weights if every(one.out == op.n) and every(one.inner == op.k)]
        if mine and mine[0].role == "router":
            return call
        again: Num = 0.0
        for width in (mine[0].parts if mine else ()) or (op.n,):
            if self.counter.stays():
                self._keep(op.out.tensor_bytes(op.batch * op.m * width) * repeat, call)
            else:
                again = again + width
        if every(again == op.n):
            return call
        return None if every(again == 0.0) else replace(call, op=replace(op, n=again))

    def _keep(self, size: Num, call: Call) -> None:
        self.kept.append(Saved(size, f"{call.tag} output"))


def _product(call: Call) -> bool:
    """A product with weights, of a layer's own or of an adapter."""
    return isinstance(call.op, Gemm) and call.module != CORE
