"""What all mixers with a recurrent state share: a state of its own format, the convolution before it, and the core.

The state does not grow with the context, is read and written every step, and cannot be cut over tokens: context parallelism is refused, but for variants
whose heads are swapped for tokens (`swaps`). Most likely to be
wrong: the format that an engine gives the state where the config names none (docs/theory/gated_deltanet.md).
"""

from __future__ import annotations

from typing import ClassVar

from simcost.dtypes import Dtype, dtype
from simcost.frozen import frozen
from simcost.hf import Reader
from simcost.num import Num
from simcost.ops.recurrent import CausalConv, Heads, RecurrentCore
from simcost.plan import Check, Plan
from simcost.program import Call, Program
from simcost.provenance import Kind
from simcost.sharding.shard import BESIDE, Plain, View

STATE_KEY = "mamba_ssm_dtype"  # of configs: the format of the state


@frozen
class States:
    """Formats of what a sequence keeps: the recurrent `state`, and the columns of the convolution."""

    state: Dtype
    columns: Dtype

    def of(self, plan: Plan) -> Dtype:
        """The state's format in a plan."""
        return self.state if plan.state_dtype is None else dtype(plan.state_dtype, "plan.state_dtype")


class Recurrent(Plain):
    """A mixer with a recurrent state, whose fields are `states`, `conv_kernel` (tokens that its convolution sees; 1 where it has none, and `convolves` is False) and `chunk_size` (tokens that
    a kernel takes at once). A variant states `rule`, `shape` and `channels`."""

    __slots__ = ()
    rule: ClassVar[str]
    convolves: ClassVar[bool] = True
    swaps: ClassVar[bool] = False  # whether context parallelism may give each rank all tokens of some heads
    states: States
    conv_kernel: Num
    chunk_size: Num

    def shape(self, plan: Plan) -> Heads:
        """Heads of one rank and their states."""
        raise NotImplementedError

    def channels(self, plan: Plan) -> Num:
        """Channels of the convolution on one rank."""
        raise NotImplementedError

    def unsplit(self, plan: Plan) -> Check:
        """The rule that no rank has a part of a sequence's tokens while the state passes over them."""
        how = "cp must be 1, or cp_method=ulysses, which swaps tokens for heads" if self.swaps else "cp must be 1"
        reason = f"{type(self).__name__} passes its state from token to token, so a sequence cannot be split over devices ({how})"
        return Check(True if self.swaps and plan.cp_method == "ulysses" else plan.cp == 1.0, reason)

    @property
    def state_formula(self) -> str:
        """States of the heads, and columns of the convolution."""
        whole = Plan()
        heads = self.shape(whole)
        columns = f" + {self.channels(whole):.0f} channels x {self.conv_kernel - 1.0:.0f}" if self.convolves else ""
        words = "state + columns of the convolution" if columns else "state"
        return f"{words}: {heads.heads:.0f} heads x {heads.d_k:.0f} x {heads.d_v:.0f}{columns}"

    def state_elements(self, context: Num, plan: Plan) -> Num:
        """The states of the heads of one rank, and the columns of its convolution, whatever the context."""
        return self.shape(plan).state + self._columns(plan) + 0.0 * context

    def state_bytes(self, context: Num, plan: Plan, kv: Dtype) -> Num:
        """States and columns in their own formats; the format of the cache of keys and values says nothing of them. [B]"""
        states, columns = self.states.of(plan), self.states.columns
        return states.tensor_bytes(self.shape(plan).state) + columns.tensor_bytes(self._columns(plan)) + 0.0 * context

    def _columns(self, plan: Plan) -> Num:
        return self.channels(plan) * (self.conv_kernel - 1.0)

    def core_flops(self, q_len: Num, past: Num) -> Num:
        """FLOPs of the core of one sequence of `q_len` new tokens, whatever came before. [FLOP]"""
        return self._core(Plan(), 1.0, q_len, self.states.columns).flops() + 0.0 * past

    def _core(self, plan: Plan, batch: Num, q_len: Num, x: Dtype) -> RecurrentCore:
        return RecurrentCore(
            self.rule, batch, q_len, *self.shape(plan), self.chunk_size, x, self.states.of(plan)
        )  # fmt: skip

    def mixed(self, view: View) -> tuple[Program, ...]:
        """Convolution and core of each group of tokens."""
        found: list[Program] = []
        for index, group in enumerate(view.groups):
            batch, q_len, whose, act = group.batch, group.phase.q_len, BESIDE if index else "", view.activation
            if self.convolves:
                conv = CausalConv(batch, q_len, self.channels(view.plan), self.conv_kernel, act, self.states.columns)
                found.append(Call(conv, f"{whose}causal conv"))
            found.append(Call(self._core(view.plan, batch, q_len, act), f"{whose}core"))
        return tuple(found)


def states(r: Reader) -> States:
    """The formats that a config states; the state is fp32 where it states none, as the model's own code keeps it. Raises SpecError for an unknown format."""
    base = dtype((r.text("torch_dtype") or "bf16").removeprefix("torch."), f"{r.where}: 'torch_dtype'")
    if r.has(STATE_KEY):
        return States(dtype(r.text(STATE_KEY), f"{r.where}: '{STATE_KEY}'"), base)
    r.note(
        "recurrent states are kept in fp32, as the model's own code does: the config names no format (plan.state_dtype sets one)",
        Kind.ASSUMED,
    )
    return States(dtype("fp32"), base)
