"""What a block sees of the outside: its shard, the phase, the number formats; and how it names its weights.

A weight is declared once; parameters, bytes, shards and GEMMs all follow from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, replace
from typing import ClassVar, Protocol

from simcost.dtypes import Dtype
from simcost.frozen import frozen
from simcost.num import Num, ceil, every, maximum, where
from simcost.ops.attention_core import Mask
from simcost.plan import Check, Phase, Plan, busiest
from simcost.program import Program
from simcost.routing.router import Router, Routing
from simcost.sharding.share import Share
from simcost.sharding.shared import Sharing, Unshared

BESIDE = "prompt "  # what the tags of kernels of a prompt beside a decode step begin with
ROLES = ("attention", "ffn", "experts", "shared_experts", "router", "embedding", "head", "norm", "tower")


@frozen
class Weight:
    """`copies` matrices [out, inner], or vectors when `inner` is None (norms, biases: never quantised).
    `active` = share of the copies that one token uses. `padded`: equal parts of `out` (positive) or of `inner` (negative) that
    engines pad to whole blocks of a format's scales each, where the plan cuts them; 0: a part of a block is refused. `uses`: how often a token passes it, of weights that
    several layers share and the first one holds. `parts`: widths of the matrices that it joins along `out`, in the order in which code that joins none multiplies by them; (): it joins none."""

    name: str
    role: str
    out: Num
    inner: Num | None = None
    copies: Num = 1.0
    active: Num = 1.0
    padded: Num = 0.0
    uses: Num = 1.0
    parts: tuple[Num, ...] = ()

    @property
    def count(self) -> Num:
        """Elements of all copies, without scales."""
        return self.copies * self.out * (1.0 if self.inner is None else self.inner)

    def whole(self, kind: Dtype) -> Weight:
        """As a rank holds it in this format: in whole blocks where it is padded. Scales along one row come as they are cut."""
        rows, columns = kind.block
        if self.inner is None or rows <= 1 or every(self.padded == 0.0):
            return self
        parts = maximum(maximum(self.padded, -self.padded), 1.0)
        out = where(self.padded > 0.0, ceil(self.out / parts / rows) * rows * parts, self.out)
        inner = where(self.padded < 0.0, ceil(self.inner / parts / columns) * columns * parts, self.inner)
        return replace(self, out=out, inner=inner)

    def stored_bytes(self, storage: Mapping[str, Dtype]) -> Num:
        """Bytes with block scales and what pads them. [B]"""
        if self.inner is None:
            return storage["norm"].tensor_bytes(self.count)
        held = self.whole(storage[self.role])
        assert held.inner is not None
        return held.copies * storage[self.role].matrix_bytes(held.out, held.inner)


@frozen
class View:
    """One rank's view of one step. `shares`: of modules (`lower.Module.key`) that mix formats within a role, whose mean `storage` has."""

    plan: Plan
    phase: Phase
    activation: Dtype
    kv: Dtype
    storage: Mapping[str, Dtype]
    compute: Mapping[str, Dtype]
    core_compute: Dtype | None = None
    shares: Mapping[str, tuple[Share, ...]] = field(default_factory=dict)

    @property
    def core(self) -> Dtype:
        """Format in which the attention core computes."""
        return self.core_compute or self.activation

    @property
    def groups(self) -> tuple[View, ...]:
        """The same of each group of tokens alone: what an attention core sees."""
        return tuple(replace(self, phase=phase) for phase in self.phase.groups) if self.phase.beside else (self,)

    @property
    def batch(self) -> Num:
        """Sequences of a micro-batch on the busiest attention replica, of the first group."""
        return busiest(self.phase.batch, self.plan.replicas * self.plan.copies * self.phase.microbatches)

    @property
    def tokens(self) -> Num:
        """Rows that a linear layer of one rank sees; context parallelism shares them out."""
        if self.phase.beside:
            return sum((group.tokens for group in self.groups[1:]), self.groups[0].tokens)
        return ceil(self.batch * self.phase.q_len / self.plan.cp)

    @property
    def head_rows(self) -> Num:
        """Rows of which the head makes logits; of a training step those of the residual stream that a rank keeps."""
        if self.phase.loss:
            return self.own_tokens
        if self.phase.beside:
            return sum((group.head_rows for group in self.groups[1:]), self.groups[0].head_rows)
        return self.batch * self.phase.logits

    @property
    def own_tokens(self) -> Num:
        """Rows of the residual stream that a rank keeps: a part of them under sequence parallelism."""
        return ceil(self.tokens / self.plan.tp) if self.plan.shards_sequence else self.tokens

    @property
    def all_tokens(self) -> Num:
        """Tokens of a micro-batch of all replicas of one copy together: what the experts see."""
        if self.phase.beside:
            return sum((group.all_tokens for group in self.groups[1:]), self.groups[0].all_tokens)
        return busiest(self.phase.batch, self.plan.copies * self.phase.microbatches) * self.phase.q_len

    @property
    def routing(self) -> Routing:
        """How tokens choose their experts."""
        return self.phase.routing

    @property
    def unpacked(self) -> bool:
        """Whether a pass of its own dequantises packed weights before a product."""
        return self.plan.dequantise == "separate"

    def quantised_input(self, role: str) -> Dtype:
        """Format in which activations enter a GEMM of this role."""
        compute = self.compute[role]
        return compute if compute.bits < self.activation.bits else self.activation


class Block(Sharing["Block"], Protocol):
    """What every variant answers; `plan` is the shard, Plan() the whole. `Plain` has the answers of a block that keeps nothing, attends to
    nothing and routes nothing, so that a variant states what is its own."""

    kind: ClassVar[str]
    source: ClassVar[str]

    def weights(self, plan: Plan) -> tuple[Weight, ...]:
        """Weights that one rank holds."""
        ...

    def program(self, view: View) -> Program:
        """Kernels and collectives of one rank in one step, in running order."""
        ...

    def checks(self, plan: Plan) -> list[Check]:
        """Rules that a plan must keep for this block, elementwise."""
        ...

    @property
    def mask(self) -> Mask | None:
        """Which cached tokens a query sees; None where the state does not grow with them, or there is none."""
        ...

    @property
    def core_width(self) -> Num:
        """heads x (d_qk + d_v) of a core over pairs of tokens, un-absorbed; 0 where there is none."""
        ...

    @property
    def absorbed_core_width(self) -> Num:
        """The same of an absorbed form; 0 where there is none."""
        ...

    def core_flops(self, q_len: Num, past: Num) -> Num:
        """FLOPs of the attention core of one sequence: `q_len` new tokens after `past` cached ones. [FLOP]"""
        ...

    @property
    def rotary_width(self) -> Num:
        """Elements of a head that rotate: the width of the table of cosines and sines."""
        ...

    @property
    def forms(self) -> tuple[str, ...]:
        """Forms of equal result that a plan may choose from."""
        ...

    def state_elements(self, context: Num, plan: Plan) -> Num:
        """Elements that one sequence of `context` tokens keeps on one rank."""
        ...

    def state_bytes(self, context: Num, plan: Plan, kv: Dtype) -> Num:
        """The same in the format that they are kept in: `kv`, or one of the block's own. [B]"""
        ...

    def token_bytes(self, plan: Plan, kv: Dtype) -> Num:
        """What a further token adds to a sequence's state on one rank; 0 where it does not grow. [B]"""
        ...

    def fixed_bytes(self, context: Num, plan: Plan, kv: Dtype) -> Num:
        """What one rank keeps of a sequence beside what grows with its tokens. [B]"""
        ...

    @property
    def state_formula(self) -> str:
        """What a sequence keeps, in words and sizes: behind the colon elements of a token, or of a state that does not grow; "" for nothing."""
        ...

    def token_elements(self, plan: Plan) -> Num:
        """Elements of keys and values, or of their latent, that one rank writes for a token; keys by which others are picked apart."""
        ...

    @property
    def router(self) -> Router | None:
        """How tokens choose among its experts; None where it has none."""
        ...

    @property
    def has_shared(self) -> bool:
        """Whether experts stand beside the routed ones that every token passes."""
        ...

    def held_experts(self, plan: Plan) -> Num:
        """Experts on a rank, copies of busy ones included."""
        ...

    def peak_elements(self, plan: Plan) -> Num:
        """Elements of a token that stand at once inside the block on one rank, its input and the residual stream apart; those of
        routed experts stand in `expert_elements`."""
        ...

    def expert_elements(self, plan: Plan, routing: Routing, tokens: Num) -> tuple[Num, Num]:
        """Of routed experts, for each of the `tokens` of a replica: (elements in their buffers on the busiest rank, in the activations'
        format; elements of the copies that enter them in the format in which experts compute)."""
        ...

    def expanded_elements(self, plan: Plan) -> Num:
        """Elements of a cached token that a prefill in chunks expands anew on one rank."""
        ...

    def exchanged_experts(self, plan: Plan) -> Num:
        """Experts, copies of busy ones included, to which tokens may travel; 0 where none do."""
        ...

    def absorbed_elements(self, plan: Plan, merged: bool) -> Num:
        """Products of weights that engines keep beside them on one rank; `merged`: folded into the projections before and after."""
        ...

    @property
    def plain_heads(self) -> tuple[Num, Num, Num, Num] | None:
        """(query heads, KV heads, head_dim, v_head_dim) that plain attention has in its place; None where heads say nothing of it."""
        ...


class Plain(Unshared):
    """Answers of a block without a state, a core, experts or buffers of its own."""

    __slots__ = ()

    @property
    def mask(self) -> Mask | None:
        """No mask."""
        return None

    @property
    def core_width(self) -> Num:
        """No core over pairs of tokens."""
        return 0.0

    @property
    def absorbed_core_width(self) -> Num:
        """No absorbed form."""
        return 0.0

    def core_flops(self, q_len: Num, past: Num) -> Num:
        """2 FLOP for each pair and element of `core_width`; 0 without a mask. [FLOP]"""
        return 0.0 if self.mask is None else 2.0 * self.core_width * self.mask.pairs(q_len, past)

    @property
    def rotary_width(self) -> Num:
        """Nothing rotates."""
        return 0.0

    @property
    def forms(self) -> tuple[str, ...]:
        """No forms to choose from."""
        return ()

    def state_elements(self, context: Num, plan: Plan) -> Num:
        """No state."""
        return 0.0

    def token_bytes(self, plan: Plan, kv: Dtype) -> Num:
        """The state of one token where a mask says which are kept. [B]"""
        return 0.0 if self.mask is None else self.state_bytes(1.0, plan, kv)

    def fixed_bytes(self, context: Num, plan: Plan, kv: Dtype) -> Num:
        """All of the state where there is no mask. [B]"""
        return self.state_bytes(context, plan, kv) if self.mask is None else 0.0

    @property
    def state_formula(self) -> str:
        """Nothing."""
        return ""

    def token_elements(self, plan: Plan) -> Num:
        """The state of one token."""
        return self.state_elements(1.0, plan)

    def state_bytes(self, context: Num, plan: Plan, kv: Dtype) -> Num:
        """The state in the format `kv`. [B]"""
        return kv.tensor_bytes(self.state_elements(context, plan))

    @property
    def router(self) -> Router | None:
        """No router."""
        return None

    @property
    def has_shared(self) -> bool:
        """No shared experts."""
        return False

    def held_experts(self, plan: Plan) -> Num:
        """No experts."""
        return 0.0

    def peak_elements(self, plan: Plan) -> Num:
        """No buffers."""
        return 0.0

    def expert_elements(self, plan: Plan, routing: Routing, tokens: Num) -> tuple[Num, Num]:
        """No buffers of routed experts."""
        return 0.0, 0.0

    def expanded_elements(self, plan: Plan) -> Num:
        """No cached token is expanded."""
        return 0.0

    def exchanged_experts(self, plan: Plan) -> Num:
        """No token travels to experts."""
        return 0.0

    def absorbed_elements(self, plan: Plan, merged: bool) -> Num:
        """No products of weights."""
        return 0.0

    @property
    def plain_heads(self) -> tuple[Num, Num, Num, Num] | None:
        """No heads."""
        return None
