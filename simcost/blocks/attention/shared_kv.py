"""Gemma 3n's and Gemma 4's attention: the last layers read the keys and values of an earlier layer, and full layers may have heads of their own shape.

A layer that reads another's cache has no k_proj and v_proj, writes nothing and keeps nothing; its core reads what that layer wrote. `attention_k_eq_v`: values are the
keys before their norm and rotation, so that the full layers have no v_proj and still cache both. Most likely to be wrong: engines that let a prompt skip the
layers that read (vLLM `--kv-sharing-fast-prefill`, off unless asked for) do less than is counted here. Sources: Hugging Face `modeling_gemma3n.py`,
`modeling_gemma4.py` and their configurations; vLLM `model_executor/models/gemma3n.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from simcost.blocks._layer_kinds import FULL, SLIDING, gemma_kind, reads_cache_of_another
from simcost.blocks.attention.gqa import GQA, dimensions
from simcost.errors import NotModelled, SpecError
from simcost.frozen import frozen
from simcost.hf import Reader
from simcost.num import Num, num
from simcost.ops.attention_core import Mask
from simcost.ops.stream import Stream
from simcost.plan import Plan
from simcost.program import Call, Program, Serial
from simcost.sharding.linear import enter, leave, linear
from simcost.sharding.shard import BESIDE, View, Weight

HANDLES = ("global_head_dim", "num_global_key_value_heads", "attention_k_eq_v", "per_layer_config", "shared_kv")
KEPT = ("num_kv_shared_layers", "last_layer_is_full")  # the FFN reads them too: no swap of attention takes them away
LAYER_TYPES = (FULL, SLIDING)
_OF_A_LAYER = ("head_dim", "num_key_value_heads")  # what per_layer_config may state


@frozen
class SharedKV(GQA):
    """`own`: whether it has keys and values of its own; `k_eq_v`: its values are its keys; `window` [tokens], None for a full layer."""

    own: bool = True
    k_eq_v: bool = False
    window: Num | None = None
    source: ClassVar[str] = "Hugging Face modeling_gemma4.py"

    @property
    def reads_cache(self) -> bool:
        """Where nothing is its `own`."""
        return not self.own

    @property
    def mask(self) -> Mask:
        """Causal, bounded by `window` where there is one."""
        return Mask(window=self.window)

    def weights(self, plan: Plan) -> tuple[Weight, ...]:
        """q_proj, with k_proj and v_proj where it has them, and their norms and biases; the norm of values has no weights."""
        h, kv = self.heads(plan)
        d, qk, v = self.hidden_size, self.head_dim, self.v_head_dim
        width, name = h * qk, "q_proj"
        if self.own:
            width, name = width + kv * (qk + (0.0 if self.k_eq_v else v)), "qk_proj" if self.k_eq_v else "qkv_proj"
        found = [Weight(name, "attention", width, d), Weight("o_proj", "attention", d, h * v)]
        if self.qkv_bias:
            found.append(Weight("qkv_bias", "attention", width))
        if self.o_bias:
            found.append(Weight("o_bias", "attention", d))
        found.append(Weight("qk_norm", "attention", qk * (2.0 if self.own else 1.0)))
        return tuple(found)

    def state_elements(self, context: Num, plan: Plan) -> Num:
        """As GQA; nothing where it reads another layer's."""
        return GQA.state_elements(self, context, plan) if self.own else 0.0 * context

    def program(self, view: View) -> Program:
        """Projections and norms of what is its own, rope, cache write and core of each group of tokens, o_proj; collectives of the plan around them."""
        h, kv = self.heads(view.plan)
        rows, act, weights = view.tokens, view.activation, self.weights(view.plan)
        own = kv if self.own else 0.0
        normed = Stream("norm", rows * ((h + own) * self.head_dim + own * self.v_head_dim), 1.0, 1.0, 4.0, act, act)
        rope = Stream("rope", rows * (h + own) * self.head_dim * self.rotary, 1.0, 1.0, 3.0, act, act)
        parts = (
            *enter(view, self.hidden_size),
            linear(view, weights[0], rows),
            Call(normed, "qkv_norm"),
            Call(rope, "rope"),
            *(self._core(group, BESIDE if i else "") for i, group in enumerate(view.groups)),
            linear(view, weights[1], rows),
            leave(view, self.hidden_size),
        )
        return Serial(parts, "attention")


BY_KEYS: tuple[str, ...] = ()
BY_FACTS = ("shared_kv",)  # of a class that gives its layers to this block: a swap switches them off
_KEYS = ("num_kv_shared_layers", "global_head_dim", "attention_k_eq_v")


def claims(r: Reader, layer: int, layers: int) -> int:
    """3 for a layer of a family whose class shares keys and values, or of a config with a key of it, else 0."""
    if r.off("shared_kv"):
        return 0
    return 3 if r.given("shared_kv") or any(r.given(key) for key in _KEYS) else 0


def alike(r: Reader, layer: int, layers: int) -> object:
    """What of a layer `from_hf` reads, so that equal layers are read once: its kind, whether it shares, and what is stated of it alone."""
    if not r.flag("shared_kv"):
        return None  # which `from_hf` refuses
    return gemma_kind(r, layer, layers), reads_cache_of_another(r, layer, layers), str(_stated(r, layer))


def from_hf(r: Reader, layer: int, layers: int) -> SharedKV:
    """The block of a layer. Raises SpecError for a missing or wrong key, NotModelled for a model_type whose class is not known to share keys and values."""
    if not r.flag("shared_kv"):
        key = next(key for key in _KEYS if r.given(key))
        raise NotModelled(
            f"{r.where}: not modelled yet: {key} (known only for model_type gemma3n_text and gemma4_text)"
        )
    kind, shape = gemma_kind(r, layer, layers), dimensions(r)
    full, k_eq_v = kind == FULL, r.flag("attention_k_eq_v")
    stated = _stated(r, layer)
    wide, few = (
        r.num(key) if r.given(key) else shape[own]
        for key, own in (("global_head_dim", "head_dim"), ("num_global_key_value_heads", "num_key_value_heads"))
    )
    if full and stated is None:
        shape |= {"head_dim": wide, "v_head_dim": wide}
        shape |= {"num_key_value_heads": few} if k_eq_v else {}
    for key, value in (stated or {}).items():
        shape |= {key: _count(r, layer, key, value)}
    shape["v_head_dim"] = shape["head_dim"]
    r.divisible(
        shape["num_attention_heads"], shape["num_key_value_heads"],  # type: ignore[arg-type]
        f"layer {layer}: num_attention_heads must be a multiple of its heads of keys (num_key_value_heads, num_global_key_value_heads)",
    )  # fmt: skip
    own = not reads_cache_of_another(r, layer, layers)
    return SharedKV(**shape, own=own, k_eq_v=full and k_eq_v, window=None if full else r.num("sliding_window"))  # type: ignore[arg-type]


def _stated(r: Reader, layer: int) -> Mapping[str, Any] | None:
    """What per_layer_config says of a layer, {} where it says nothing of it; None where the config has no such table, and the keys of full layers count."""
    table = r.raw("per_layer_config")
    if table is None:
        return None
    if not isinstance(table, Mapping) or not all(isinstance(part, Mapping) for part in table.values()):
        raise SpecError(f"{r.where}: 'per_layer_config' must be a table of tables")
    found = [part for number, part in table.items() if str(number).isdecimal() and int(number) == layer]
    return found[0] if found else {}


def _count(r: Reader, layer: int, key: str, value: Any) -> Num:
    if key not in _OF_A_LAYER:
        raise NotModelled(f"{r.where}: not modelled: per_layer_config states {key!r} of layer {layer}")
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not 1 <= value <= 1e8:
        raise SpecError(f"{r.where}: per_layer_config, layer {layer}: {key} must be a whole number, not {value!r}")
    return num(value)
