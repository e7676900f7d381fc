"""Per-layer embeddings (Gemma 3n, Gemma 4): a second table with a vector for every token and layer, which enters each layer through a gate.

The model: a table of `vocab_size_per_layer_input` rows of layers x width, of which a step reads the rows of its tokens alone; a projection of the embedding to the
same width, a norm, their sum. A layer: a product to the width, an activation times the layer's vector, a product back, a norm. Most likely to be wrong: where an engine
keeps the table; it may stand in host memory, here it is in the device's. Sources: Hugging Face `modeling_gemma3n.py`, `modeling_gemma4.py`; sharding: vLLM
`model_executor/models/gemma3n.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from simcost.blocks.embed.embed import Embedding
from simcost.frozen import frozen
from simcost.hf import Reader
from simcost.num import Num, ceil
from simcost.ops.collective import Collective
from simcost.ops.gather import Gather
from simcost.ops.stream import Stream
from simcost.plan import Check, Plan, divides
from simcost.program import Call, Program, Serial
from simcost.sharding.linear import enter, leave, linear
from simcost.sharding.shard import Block, Plain, View, Weight

HANDLES = ("hidden_size_per_layer_input", "vocab_size_per_layer_input")
TABLE = "embed_tokens_per_layer"


@frozen
class PerLayerEmbedding(Embedding):
    """The token table, and beside it the per-layer one: `rows` x (`layers` x `width`). `streams`: residual streams, to each of which but the first the embedding
    is projected (Gemma 3n; 1: none)."""

    rows: Num = 0.0
    layers: Num = 1.0
    width: Num = 0.0
    streams: float = 1.0
    source: ClassVar[str] = "Hugging Face modeling_gemma3n.py"

    @property
    def _wide(self) -> Num:
        return self.layers * self.width

    def checks(self, plan: Plan) -> list[Check]:
        """tp divides the projections' outputs."""
        found = [divides(self._wide, plan.tp, "num_hidden_layers x hidden_size_per_layer_input")]
        return [*found, divides(self.hidden_size, plan.tp, "hidden_size")] if self.streams > 1.0 else found

    def weights(self, plan: Plan) -> tuple[Weight, ...]:
        """Both tables, cut over their vocabularies and rounded up; the projections, cut by their outputs; the norm, whole on every rank."""
        d = self.hidden_size
        found = [
            *Embedding.weights(self, plan),
            Weight(TABLE, "embedding", ceil(self.rows / plan.tp), self._wide),
            Weight("per_layer_model_projection", "ffn", self._wide / plan.tp, d),
            Weight("per_layer_projection_norm", "norm", self.width),
        ]
        if self.streams > 1.0:
            found.append(Weight("altup_projections", "ffn", d / plan.tp, d, self.streams - 1.0))
        return tuple(found)

    @property
    def carried_elements(self) -> Num:
        """The vectors of all layers, which the first stage makes and every hop passes on."""
        return self._wide

    def peak_elements(self, plan: Plan) -> Num:
        """The vectors of all layers, and the streams beside the first."""
        return self._wide + (self.streams - 1.0) * self.hidden_size

    def program(self, view: View) -> Program:
        """Look-up of a row in each table; the embedding's projections, joined over tp; norm and sum."""
        act, rows, plan = view.activation, view.tokens, view.plan
        weight = {w.name: w for w in self.weights(plan)}
        looked_up = Call(Gather(rows, self._wide, view.storage["embedding"], act), TABLE)
        summed = Stream("norm", rows * self._wide, 2.0, 1.0, 7.0, act, act)
        parts: list[Program] = [
            Embedding.program(self, view),
            looked_up,
            leave(view, self._wide),
            *enter(view, self.hidden_size),
            linear(view, weight["per_layer_model_projection"], rows),
            Call(Collective("all_gather", act.tensor_bytes(rows * self._wide), plan.tp), "gather per-layer inputs"),
            Call(summed, "per-layer norm"),
        ]
        if self.streams > 1.0:
            size = rows * self.hidden_size * (self.streams - 1.0)
            parts += [
                linear(view, weight["altup_projections"], rows),
                Call(Collective("all_gather", act.tensor_bytes(size), plan.tp), "gather streams"),
                Call(Stream("norm", size, 1.0, 1.0, 4.0, act, act), "magnitude of streams"),
            ]
        return Serial(tuple(parts), "embedding")


@frozen
class PerLayerInput(Plain):
    """What a layer does with its vector of `width`; the result is added to `targets` residual streams. Whole on every rank, over the rank's own rows."""

    hidden_size: Num
    width: Num
    targets: float = 1.0
    kind: ClassVar[str] = "per_layer"
    source: ClassVar[str] = "Hugging Face modeling_gemma3n.py"

    def checks(self, plan: Plan) -> list[Check]:
        """No rules: it is whole on every rank."""
        return []

    def weights(self, plan: Plan) -> tuple[Weight, ...]:
        """The gate [width, d], the projection back [d, width] and its norm."""
        return (
            Weight("per_layer_input_gate", "ffn", self.width, self.hidden_size),
            Weight("per_layer_projection", "ffn", self.hidden_size, self.width),
            Weight("post_per_layer_input_norm", "norm", self.hidden_size),
        )

    def program(self, view: View) -> Program:
        """Product, activation times the layer's vector, product back; norm and sum with the streams."""
        rows, act, (gate, back, _) = view.own_tokens, view.activation, self.weights(view.plan)
        added = Stream("norm", rows * self.hidden_size, 1.0 + self.targets, self.targets, 4.0 + self.targets, act, act)
        parts = (
            linear(view, gate, rows),
            Call(Stream("activation", rows * self.width, 2.0, 1.0, 5.0, act, act), "activation"),
            linear(view, back, rows),
            Call(added, "per-layer norm"),
        )
        return Serial(parts, "per-layer input")


def embedding(r: Reader, plain: Embedding, layers: Sequence[Sequence[Block]], streams: float) -> Embedding:
    """The embedding of a model: `plain`, with the per-layer table beside it where its layers take inputs from one. Raises SpecError for a missing or wrong key."""
    inputs = [block for layer in layers for block in layer if isinstance(block, PerLayerInput)]
    if not inputs:
        return plain
    return PerLayerEmbedding(
        plain.hidden_size, plain.vocab_size, plain.positions, plain.norm_vectors, plain.rotary_scales,
        r.num("vocab_size_per_layer_input"), float(len(layers)), inputs[0].width, streams,
    )  # fmt: skip
