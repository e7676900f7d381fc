"""Layers of cross-attention between the others (Llama 3.2 Vision): queries of the text, keys and values of images, two gates of one number.

A text without images passes none of them: they are loaded, cost no time and keep nothing. With images each keeps keys and values of every image token, and none of the text.
Most likely to be wrong: engines that run these layers on zeros for a batch in which another sequence has an image. Source: Hugging Face `modeling_mllama.py`.
"""

from __future__ import annotations

from dataclasses import replace

from simcost.blocks.norm.loop import Looped, looped
from simcost.blocks.norm.residual_gate import ResidualGate
from simcost.errors import NotModelled, SpecError
from simcost.hf import Reader
from simcost.plan import Check, Plan
from simcost.provenance import Kind
from simcost.sharding.shard import Block, Weight

KEY = "cross_attention_layers"
HANDLES = (KEY,)


class Skipped(Looped):
    """A block that a text passes zero times: no token uses its weights, and it keeps nothing."""

    __slots__ = ()

    def checks(self, plan: Plan) -> list[Check]:
        """Those of the block, whose weights are cut as any others."""
        return self.block.checks(plan)

    def weights(self, plan: Plan) -> tuple[Weight, ...]:
        """Those of the block; no token uses them."""
        return tuple(replace(w, active=0.0) for w in self.block.weights(plan))

    @property
    def state_formula(self) -> str:
        """Nothing is kept."""
        return ""


def has(r: Reader, layer: int) -> bool:
    """Whether a layer is one of those that the config lists. Raises SpecError for an entry that is no number of a layer."""
    listed = r.items(KEY) or []
    wrong = [each for each in listed if isinstance(each, bool) or not isinstance(each, int) or each < 0]
    if wrong:
        raise SpecError(f"{r.where}: '{KEY}' must list layers, counted from 0, not {wrong[0]!r}")
    return layer in listed


def of(r: Reader, layer: tuple[Block, ...]) -> tuple[Block, ...]:
    """The blocks of such a layer: norms of queries and keys by head, a gate behind attention and one behind the FFN. Raises NotModelled where its attention has no keys and values of heads."""
    attention = next((block for block in layer if block.kind == "attention" and hasattr(block, "qk_norm")), None)
    if attention is None:
        raise NotModelled(f"{r.where}: not modelled: '{KEY}' beside attention that is not grouped-query attention")
    kept = attention.state_elements(1.0, Plan())
    r.note(f"layers of cross-attention ({KEY}) are loaded, and a text passes none of them: with images each would keep {kept:,.0f} elements of every image token", Kind.SCOPE)  # fmt: skip
    found = [replace(block, qk_norm="head") if block is attention else block for block in layer]  # type: ignore[type-var]
    gates = (ResidualGate(f"{name}_gate", 1.0) for name in ("attention", "ffn"))
    return tuple(looped(block, 0.0, Skipped) for block in (*found, *gates))
