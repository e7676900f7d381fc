"""Looped layers (Inkling 2 Mini): layers that a token passes several times, with the same weights, and a message of one pass to the next.

Weights count once; work, keys, values and columns of convolutions count once a pass, since every pass has a cache of its own. From the second pass on every layer retrieves four messages
from the block states of the pass before (as an attention residual) and mixes them into the inputs of its queries, keys, values and FFN by gates of low rank. Most likely to be wrong: the
gates run as separate small kernels in an engine; here the mix is one pass over the states. Source: Hugging Face `modeling_inkling2_loop.py`.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any, ClassVar, cast

from simcost.blocks.norm.block_residual import PERIOD, BlockResidual
from simcost.dtypes import Dtype
from simcost.errors import NotModelled, SpecError
from simcost.frozen import frozen
from simcost.hf import Reader
from simcost.num import Num
from simcost.ops.stream import Stream
from simcost.plan import Check, Plan
from simcost.program import Call, Program, Serial
from simcost.sharding.linear import linear
from simcost.sharding.shard import Block, Plain, View, Weight

START, END, PASSES, RANK = "loop_layer_index_start", "loop_layer_index_end", "loop_num_passes", "loop_gate_rank"
HANDLES = (START, END, PASSES, RANK, "looped_layers")
_MESSAGES = 4.0  # to the inputs of queries, keys, values and the FFN
_STAGES = "layers that run several times need pp = 1: every pass would go through all stages again"


@frozen
class Looped:
    """A block that a token passes `passes` times: what it keeps and computes is so often that of the block, its weights are held once. Everything else is the block's."""

    block: Block
    passes: float

    def __getattr__(self, name: str) -> Any:
        """What is not stated here is the block's."""
        if name.startswith("__") or name in ("block", "passes"):
            raise AttributeError(name)
        return getattr(self.block, name)

    def checks(self, plan: Plan) -> list[Check]:
        """Those of the block; pp is 1."""
        return [*self.block.checks(plan), Check(plan.pp == 1.0, _STAGES)]

    def weights(self, plan: Plan) -> tuple[Weight, ...]:
        """Those of the block, each passed so often."""
        return tuple(replace(w, uses=w.uses * self.passes) for w in self.block.weights(plan))

    def program(self, view: View) -> Program:
        """The block's, once a pass."""
        return Serial((self.block.program(view),), "", self.passes)

    @property
    def core_width(self) -> Num:
        """Of all passes."""
        return self.passes * self.block.core_width

    @property
    def absorbed_core_width(self) -> Num:
        """Of all passes."""
        return self.passes * self.block.absorbed_core_width

    def core_flops(self, q_len: Num, past: Num) -> Num:
        """Of all passes. [FLOP]"""
        return self.passes * self.block.core_flops(q_len, past)

    def state_elements(self, context: Num, plan: Plan) -> Num:
        """A cache for each pass."""
        return self.passes * self.block.state_elements(context, plan)

    def state_bytes(self, context: Num, plan: Plan, kv: Dtype) -> Num:
        """A cache for each pass. [B]"""
        return self.passes * self.block.state_bytes(context, plan, kv)

    def token_bytes(self, plan: Plan, kv: Dtype) -> Num:
        """Of all passes. [B]"""
        return self.passes * self.block.token_bytes(plan, kv)

    def fixed_bytes(self, context: Num, plan: Plan, kv: Dtype) -> Num:
        """Of all passes. [B]"""
        return self.passes * self.block.fixed_bytes(context, plan, kv)

    def token_elements(self, plan: Plan) -> Num:
        """Of all passes."""
        return self.passes * self.block.token_elements(plan)

    @property
    def state_formula(self) -> str:
        """That of the block, once a pass."""
        words, _, sizes = self.block.state_formula.partition(": ")
        return f"{words}: {self.passes:.0f} passes x ({sizes})" if sizes else ""


@cache
def _named(how: type[Any], kind: type[Block]) -> type[Any]:
    """The class of blocks of a kind that are passed in this way, under its name and of its module, by which answers speak of it."""
    return type(f"{how.__name__}{kind.__name__}", (how,), {"__slots__": (), "__module__": kind.__module__})


def looped(block: Block, passes: float, how: type[Any] = Looped) -> Block:
    """`block`, passed so often."""
    return cast(Block, _named(how, type(block))(block, passes))  # type: ignore[arg-type]


@frozen
class MessageGate(Plain):
    """The gates of a looped layer, of rank `rank`, which mix four messages into its inputs in `runs` passes. `norms`: norms of inputs that a pass with messages has more than one without."""

    width: Num
    rank: Num
    runs: float
    norms: float
    kind: ClassVar[str] = "norm"
    source: ClassVar[str] = "Hugging Face modeling_inkling2_loop.py"

    def checks(self, plan: Plan) -> list[Check]:
        """No rules: it is whole on every rank."""
        return []

    def weights(self, plan: Plan) -> tuple[Weight, ...]:
        """Of every gate the product of input and message to its rank, and two back: fp32 in checkpoints, as a router."""
        active = min(self.runs, 1.0)
        return (
            Weight("message_gate_down", "router", self.rank, 2.0 * self.width, _MESSAGES, active, uses=self.runs),
            Weight("message_gate_up", "router", 2.0 * self.width, self.rank, _MESSAGES, active, uses=self.runs),
        )

    def peak_elements(self, plan: Plan) -> Num:
        """The messages, and both gates of each."""
        return 3.0 * _MESSAGES * self.width

    def program(self, view: View) -> Program:
        """Norms of inputs and messages, the products, the mixes of inputs and messages by their gates, and norms of inputs that are now apart."""
        act, rows = view.activation, view.own_tokens
        down, up = self.weights(view.plan)
        elements = rows * self.width * _MESSAGES
        parts = [
            Call(Stream("norm", 2.0 * elements, 1.0, 1.0, 4.0, act, act), "message norms"),
            linear(view, down, rows),
            linear(view, up, rows),
            Call(Stream("message mix", elements, 4.0, 1.0, 16.0, act, act), "message mix"),
        ]
        if self.norms:
            parts.append(
                Call(Stream("norm", rows * self.width * self.norms, 1.0, 1.0, 4.0, act, act), "norms of inputs")
            )
        return Serial(tuple(parts), "messages", self.runs)


def passes(r: Reader, layer: int, layers: int) -> float | None:
    """How often a token passes a layer; None for one outside the loop. Raises SpecError for a loop that is none, NotModelled for one that ends behind the last layer."""
    if not r.flag("looped_layers"):
        return None
    start, end, period = r.layout(START, least=1), r.layout(END, least=1), r.layout(PERIOD, least=1)
    if start % period or end % period or end <= start:
        raise SpecError(
            f"{r.where}: '{START}' = {start} and '{END}' = {end} must be multiples of {PERIOD} = {period}, the second the larger"
        )
    if end > layers:
        raise NotModelled(
            f"{r.where}: not modelled: '{END}' = {end} behind the last of {layers} layers: parts of its messages would never run"
        )
    return float(r.layout(PASSES, least=1)) if start <= layer < end else None


def of(r: Reader, layer: tuple[Block, ...], often: float) -> tuple[Block, ...]:
    """A layer of the loop: its blocks, passed so often, and what retrieves and mixes the messages of every pass but the first."""
    width, blocks = r.num("hidden_size"), (r.layout(END) - r.layout(START)) / r.layout(PERIOD)
    more = 0.0 if any(getattr(block, "apart", False) for block in layer) else 2.0
    messages = (
        BlockResidual("message_input", width, blocks, _MESSAGES, often - 1.0),
        MessageGate(width, r.num(RANK), often - 1.0, more),
    )
    return (*messages, *(looped(block, often) for block in layer))
