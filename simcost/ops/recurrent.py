"""The core of a layer with a recurrent state: linear attention (Gated DeltaNet, KDA, lightning) and state-space layers (Mamba-1, Mamba-2).

A head keeps a matrix of d_k x d_v that every token reads and writes. One token a sequence is one step of the recurrence; of more, kernels multiply
inside chunks and pass the state from chunk to chunk. The state is read and written once a step, whatever the context. Most likely to be wrong: kernels
that mask a chunk's upper triangle multiply all of it, which is counted; the copies of the state between chunks, which some write to memory, are not.
Sources: Gated DeltaNet (arXiv 2412.06464), Mamba-2 (arXiv 2405.21060 §6), Mamba (arXiv 2312.00752), Kimi Linear (arXiv 2510.26692), lightning attention
(arXiv 2401.04658).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import ClassVar, NamedTuple

from simcost.dtypes import Dtype
from simcost.frozen import frozen
from simcost.num import Num, where
from simcost.ops.work import INPUT, Coords, Op, Work


class Heads(NamedTuple):
    """`heads` states of `d_k` x `d_v`; `key_heads` queries and keys (Mamba-2: groups of B and C)."""

    heads: Num
    key_heads: Num
    d_k: Num
    d_v: Num

    @property
    def state(self) -> Num:
        """Elements of all states of one sequence."""
        return self.heads * self.d_k * self.d_v


class Rule(NamedTuple):
    """How a state changes. `step`: FLOPs of one token as a recurrence; `chunked`: those of one token in a chunk of C tokens; `gates`: elements that enter
    a token beside queries, keys and values; `products`: whether chunks are matrix products."""

    step: Callable[[Heads], Num]
    chunked: Callable[[Heads, Num], Num]
    gates: Callable[[Heads], Num]
    products: bool = True


def _delta(h: Heads, c: Num) -> Num:
    """Key products and their triangular inverse, its products with keys and values, queries against keys, scores against values; three products with the state."""
    inside = 2.0 * c * (3.0 * h.d_k + 2.0 * h.d_v) + 2.0 / 3.0 * c * c
    return h.heads * (inside + 6.0 * h.d_k * h.d_v)


def _ssd(h: Heads, c: Num) -> Num:
    """Scores of a group, scores against values; into the state and out of it; the state from chunk to chunk."""
    width = h.heads * h.d_v
    return 2.0 * c * h.d_k * h.key_heads + 2.0 * c * width + 4.0 * h.d_k * width + 2.0 * h.d_k * width / c


def _lightning(h: Heads, c: Num) -> Num:
    """The causal half of queries against keys and of scores against values; into the state and out of it."""
    return h.heads * (c * (h.d_k + h.d_v) + 4.0 * h.d_k * h.d_v)


RULES: Mapping[str, Rule] = {
    "gated_delta": Rule(lambda h: 7.0 * h.state, _delta, lambda h: 2.0 * h.heads),
    "kda": Rule(lambda h: 7.0 * h.state, _delta, lambda h: h.heads * (h.d_k + 1.0)),
    "ssd": Rule(lambda h: 6.0 * h.state, _ssd, lambda h: h.heads),
    # A channel is a head of width 1: elementwise throughout, and the gate of the output is inside the kernel.
    "selective_scan": Rule(lambda h: 9.0 * h.state, lambda h, c: 9.0 * h.state, lambda h: 2.0 * h.heads, False),
    "lightning": Rule(lambda h: 5.0 * h.state, _lightning, lambda h: 0.0 * h.heads),
}


@frozen
class RecurrentCore:
    """`batch` sequences, `q_len` new tokens each. `rule`: a key of RULES; `chunk`: tokens that a kernel takes at once; `x`: format of what enters and leaves;
    `state`: of the states."""

    rule: str
    batch: Num
    q_len: Num
    heads: Num
    key_heads: Num
    d_k: Num
    d_v: Num
    chunk: Num
    x: Dtype
    state: Dtype
    gradient: str = ""
    family: ClassVar[str] = "recurrent"
    formula: ClassVar[str] = (
        "a token: one step over heads·d_k·d_v, or its share of a chunk's products; states read and written once"
    )
    source: ClassVar[str] = "arXiv 2412.06464; arXiv 2405.21060 §6"

    @property
    def peak(self) -> str:
        """The rate of the format of its inputs where chunks are matrix products, else that of plain arithmetic ("vector"). One step is bound by its state."""
        return self.x.peak if RULES[self.rule].products else "vector"

    @property
    def shape(self) -> Heads:
        """Its heads."""
        return Heads(self.heads, self.key_heads, self.d_k, self.d_v)

    @property
    def tokens(self) -> Num:
        """Tokens of all sequences."""
        return self.batch * self.q_len

    def flops(self) -> Num:
        """Forward. [FLOP]"""
        rule = RULES[self.rule]
        chunked = rule.chunked(self.shape, self.chunk)  # kernels compute whole chunks, also of fewer tokens
        return self.tokens * where(self.q_len <= 1.0, rule.step(self.shape), chunked)

    def _state_bytes(self) -> Num:
        return self.state.tensor_bytes(self.batch * self.shape.state)

    def _in_bytes(self) -> Num:
        each = 2.0 * self.key_heads * self.d_k + self.heads * self.d_v + RULES[self.rule].gates(self.shape)
        return self.x.tensor_bytes(self.tokens * each)

    def _out_bytes(self) -> Num:
        return self.x.tensor_bytes(self.tokens * self.heads * self.d_v)

    def work(self) -> Work:
        """Forward: inputs and states are read, outputs and states written. Gradient: the forward's products anew, since states between chunks are not kept, and
        two for each of them; inputs, the output's gradient and that of the states come in, gradients of the inputs and states go out."""
        state, entering, leaving = self._state_bytes(), self._in_bytes(), self._out_bytes()
        if not self.gradient:
            return Work(self.flops(), entering + state, leaving + state)
        return Work(3.0 * self.flops(), entering + leaving + state, entering + state)

    def coords(self) -> Coords:
        """Rule, sequences, tokens of each, heads, widths and formats."""
        return {
            "op": self.rule, "b": self.batch, "q": self.q_len, "h": self.heads, "h_k": self.key_heads, "d_k": self.d_k,
            "d_v": self.d_v, "dtype": f"{self.x.name} (state {self.state.name})",
        }  # fmt: skip

    def workspace_bytes(self) -> Num:
        """Inputs and outputs; states are cache. Of a gradient the same twice. [B]"""
        return (self._in_bytes() + self._out_bytes()) * (2.0 if self.gradient else 1.0)

    def saved_bytes(self) -> Num:
        """The inputs. [B]"""
        return self._in_bytes()

    def input_grad(self) -> tuple[Op, ...]:
        """Of everything that entered, together."""
        return (replace(self, gradient=INPUT),)

    def weight_grad(self, sums: Dtype | None = None) -> tuple[Op, ...]:
        """None: gradients of the few decay parameters are not counted."""
        return ()


@frozen
class CausalConv:
    """A causal convolution of each channel over its last `width` tokens, with its activation; `width` - 1 columns of every channel stay in the cache."""

    batch: Num
    q_len: Num
    channels: Num
    width: Num
    x: Dtype
    state: Dtype
    gradient: str = ""
    family: ClassVar[str] = "stream"
    formula: ClassVar[str] = (
        "tokens·channels·(2·width + 5) FLOP; tokens·channels in and out, (width - 1)·channels a sequence read and written"
    )
    source: ClassVar[str] = "arXiv 2312.00752 §3.4; Dao-AILab/causal-conv1d"

    @property
    def peak(self) -> str:
        """The rate of plain arithmetic ("vector"): it has no matrix products."""
        return "vector"

    def _elements(self) -> Num:
        return self.batch * self.q_len * self.channels

    def _state_bytes(self) -> Num:
        return self.state.tensor_bytes(self.batch * self.channels * (self.width - 1.0))

    def work(self) -> Work:
        """Forward: channels and cached columns are read and written. Gradient: twice the operations; input and output gradient in, input gradient out."""
        moved, flops = self.x.tensor_bytes(self._elements()), self._elements() * (2.0 * self.width + 5.0)
        if self.gradient:
            return Work(2.0 * flops, 2.0 * moved, moved)
        return Work(flops, moved + self._state_bytes(), moved + self._state_bytes())

    def coords(self) -> Coords:
        """Sequences, tokens of each, channels, width and format."""
        return {
            "op": "causal conv",
            "b": self.batch,
            "q": self.q_len,
            "channels": self.channels,
            "width": self.width,
            "dtype": self.x.name,
        }

    def workspace_bytes(self) -> Num:
        """Input and output. [B]"""
        return 2.0 * self.x.tensor_bytes(self._elements())

    def saved_bytes(self) -> Num:
        """The input. [B]"""
        return self.x.tensor_bytes(self._elements())

    def input_grad(self) -> tuple[Op, ...]:
        """One convolution the other way."""
        return (replace(self, gradient=INPUT),)

    def weight_grad(self, sums: Dtype | None = None) -> tuple[Op, ...]:
        """None: gradients of the kernels, a few elements a channel, are not counted."""
        return ()
