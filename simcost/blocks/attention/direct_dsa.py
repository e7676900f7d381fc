"""DeepSeek sparse attention without a latent of the queries (Mistral Large 4): queries of heads and of the indexer are projected from the hidden states, and layers may share latents.

Queries are scaled by the logarithm of their position, with a learned scale and bias a head; the indexer's input has a LayerNorm of its own. In layers without rope the whole head expands from the latent. A layer whose
`kv_source_layers` names an earlier one reads that one's latents, expands them by its own kv_b_proj, and caches only its indexer's keys. Most likely to be wrong: engines that fuse the scaling of queries with the rotation. Source: Hugging Face
`modeling_mistral_large4.py`.
"""

from __future__ import annotations

from dataclasses import fields
from typing import ClassVar

from simcost.blocks._layer_kinds import turns
from simcost.blocks.attention import dsa, mla
from simcost.blocks.attention.dsa import DSA
from simcost.blocks.attention.mla import MLA
from simcost.dtypes import Dtype
from simcost.errors import NotModelled, SpecError
from simcost.frozen import frozen
from simcost.hf import Reader
from simcost.num import Num
from simcost.ops.stream import Stream
from simcost.plan import Check, Plan
from simcost.program import Call, Program
from simcost.sharding.linear import linear
from simcost.sharding.shard import View, Weight

HANDLES = (*dsa.HANDLES, "kv_source_layers")
IGNORES = dsa.IGNORES
_EVERY = 4  # every so many layers one does not rotate, where no list says


@frozen
class DirectDSA(DSA):
    """DSA whose queries come from the hidden states; `own`: whether the layer has latents of its own, else it reads another layer's."""

    own: bool = True
    source: ClassVar[str] = "Hugging Face modeling_mistral_large4.py"

    @property
    def own_latent(self) -> bool:
        """`own`."""
        return self.own

    def checks(self, plan: Plan) -> list[Check]:
        """Those of DSA; the layer that it reads stands in its own stage, so pp is 1."""
        found = DSA.checks(self, plan)
        if not self.own:
            reason = "layers that read another layer's latents need pp = 1: pipeline stages do not send their cache"
            found.append(Check(plan.pp == 1.0, reason))
        return found

    def weights(self, plan: Plan) -> tuple[Weight, ...]:
        """As MLA, without the projection to a latent where it reads another layer's, and with scale and bias of each head of a rank; of the indexer its queries
        and keys, the LayerNorms of its input and of its keys, the weights of its heads, and their scales."""
        d, heads, width = self.hidden_size, self.index_n_heads, self.index_head_dim
        found = [w for w in MLA.weights(self, plan) if self.own or w.name not in ("kv_a_proj", "kv_a_norm", "bias")]
        if self.bias and not self.own:
            found.append(Weight("bias", "attention", d))
        found.append(Weight("q_scales", "attention", 2.0 * self.num_attention_heads / plan.tp))
        if self.indexer:
            found += [
                Weight("index_wq_b", "attention", heads * width, d),
                Weight("index_wk", "attention", width, d),
                Weight("index_k_norm", "attention", 2.0 * width),
                Weight("index_q_norm", "attention", 2.0 * d),
                Weight("index_q_scales", "attention", 2.0 * heads),
                Weight("index_weights_proj", "router", heads, d),
            ]
        return tuple(found)

    @property
    def state_formula(self) -> str:
        """That of DSA, without the latent where it is another layer's; "" where nothing is left."""
        if self.own:
            return DSA.state_formula.fget(self)  # type: ignore[attr-defined, no-any-return]
        return f"indexer's key: {self.index_head_dim:.0f}" if self.indexer else ""

    def token_elements(self, plan: Plan) -> Num:
        """A latent with its rotary key, where they are its own."""
        return self.latent if self.own else 0.0 * self.latent

    def state_elements(self, context: Num, plan: Plan) -> Num:
        """As DSA; the indexer's key alone where it reads another layer's latents."""
        if self.own:
            return DSA.state_elements(self, context, plan)
        return context * self.index_head_dim * self.indexer

    def latent_bytes(self, context: Num, kv: Dtype) -> Num:
        """As DSA; nothing where it reads another layer's. [B]"""
        return DSA.latent_bytes(self, context, kv) if self.own else 0.0 * context

    def _projections(self, view: View) -> tuple[Program, ...]:
        """Queries and, where it is its own, the latent; queries scaled by their position."""
        rows, act = view.tokens, view.activation
        width = self.num_attention_heads / view.plan.tp * self.qk_head_dim
        queries = (linear(view, self._weight(view, "q_proj"), rows),)
        made = MLA._projections(self, view) if self.own else queries
        return (*made, Call(Stream("activation", rows * width, 1.0, 1.0, 2.0, act, act), "q scaling"))

    def _index_queries(self, view: View) -> list[Program]:
        """From the hidden states, normed; scaled by their position."""
        rows, act = view.tokens, view.activation
        width = self.index_n_heads * self.index_head_dim
        return [
            Call(Stream("norm", rows * self.hidden_size, 1.0, 1.0, 7.0, act, act), "index q norm"),
            linear(view, self._weight(view, "index_wq_b"), rows),
            Call(Stream("activation", rows * width, 1.0, 1.0, 2.0, act, act), "index q scaling"),
        ]


BY_KEYS = ("kv_source_layers",)


def claims(r: Reader, layer: int, layers: int) -> int:
    """4 where the family's class projects the queries of DSA directly, or the config says whose latents layers read; else 0."""
    return 4 if r.given("direct_dsa") or r.given("kv_source_layers") else 0


def alike(r: Reader, layer: int, layers: int) -> object:
    """What of a layer `from_hf` reads, so that equal layers are read once: whether it has an indexer, rotates, and has latents of its own."""
    if not r.flag("direct_dsa"):
        return None  # which `from_hf` refuses
    return dsa.alike(r, layer, layers), turns(r, layer, layers, _EVERY), _source(r, layer, layers) == layer


def from_hf(r: Reader, layer: int, layers: int) -> DirectDSA:
    """The block of a layer. Raises SpecError for a missing or wrong key; NotModelled for a model_type whose class is not known to share latents, and for a layer that would read those of one
    that rotates otherwise."""
    if not r.flag("direct_dsa"):
        raise NotModelled(
            f"{r.where}: not modelled yet: kv_source_layers (known only for model_type mistral_large4_text)"
        )
    plain, rotates, source = mla.from_hf(r, layer, layers), turns(r, layer, layers, _EVERY), _source(r, layer, layers)
    if turns(r, source, layers, _EVERY) != rotates:
        raise NotModelled(
            f"{r.where}: not modelled: layer {layer} reads the latents of layer {source}, and only one of them rotates"
        )
    turned = plain.qk_rope_head_dim * rotates
    shape = {each.name: getattr(plain, each.name) for each in fields(plain)}
    shape |= {"qk_nope_head_dim": plain.qk_head_dim - turned, "qk_rope_head_dim": turned, "q_lora_rank": None}
    return DirectDSA(
        **shape, index_n_heads=r.num("index_n_heads"), index_head_dim=r.num("index_head_dim"), index_topk=r.num("index_topk"),
        indexer=dsa.has_indexer(r, layer, layers), own=source == layer,
    )  # fmt: skip


def _source(r: Reader, layer: int, layers: int) -> int:
    """The layer whose latents a layer reads: its own, or an earlier one's that has its own. Raises SpecError for another one."""
    source = r.per_layer("kv_source_layers", layer, layers)
    if source is None:
        return layer
    if type(source) is not int or not 0 <= source <= layer or r.per_layer("kv_source_layers", source, layers) != source:
        raise SpecError(
            f"{r.where}: 'kv_source_layers' of layer {layer} must name it or an earlier layer with latents of its own, not {source!r}"
        )
    return source
