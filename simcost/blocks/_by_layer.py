"""What of grouped-query attention differs by the kind of a layer: heads of window layers, and the part of a head that rotates (MiMo, Step-3.5, Llama 4).

`attention_other_setting` is read as the keys that begin with swa_ (`hf.py`); a size that these leave out is that of the other layers where the config only
states other heads. Sources: Hugging Face `modeling_step3p7.py`; stepfun-ai/Step-3.5-Flash `modeling_step3p5.py`; XiaomiMiMo/MiMo-V2-Flash.
"""

from __future__ import annotations

from typing import Any

from simcost.blocks._layer_kinds import SLIDING, layer_kind, turns
from simcost.errors import NotModelled, SpecError
from simcost.hf import Reader
from simcost.num import Num, every

HANDLES = ("swa_attention_type", "swa_true_head_dim", "partial_rotary_factors")
_HEADS = "num_attention_heads"


def window_prefix(r: Reader, layers: int) -> str:
    """What begins the keys of window layers: "swa_" where they have heads of their own, else "". Raises NotModelled for a table that is of another kind of layer."""
    own = r.has("swa_num_attention_heads")
    of = r.text("swa_attention_type", SLIDING)
    if own and of != SLIDING:
        raise NotModelled(
            f"{r.where}: not modelled: attention_other_setting of layers of type {of!r}: only {SLIDING} may have heads of its own"
        )
    if own and r.has("swa_true_head_dim") and not every(r.num("swa_true_head_dim") == r.num("swa_head_dim")):
        raise NotModelled(f"{r.where}: not modelled: attention_other_setting with true_head_dim other than head_dim")
    if own:
        _agrees(r, layers)
    return "swa_" if own else ""


def _agrees(r: Reader, layers: int) -> None:
    """That heads which are stated of single layers are those of window layers, where this is one: transformers writes them so, and reads them first."""
    listed: Any = r.config.get(_HEADS)
    if not isinstance(listed, list) or r.layer is None or r.layer >= layers:
        return
    if not every(r.num(_HEADS) == r.num("swa_num_attention_heads")):
        raise NotModelled(
            f"{r.where}: not modelled: layer {r.layer} with {_HEADS} = {listed[r.layer]} of its own, other than that of {SLIDING} layers"
        )


def rotary(r: Reader, layer: int, layers: int, usual: Num) -> Num:
    """The part of a head that rotates in this layer; 0 where its positions are learned, ALiBi's or none. Raises SpecError for one that is not in (0, 1]."""
    part = r.per_layer("partial_rotary_factors", layer, layers)
    if part is not None and (isinstance(part, bool) or not isinstance(part, (int, float)) or not 0.0 < part <= 1.0):
        raise SpecError(f"{r.where}: 'partial_rotary_factors' must hold numbers in (0, 1], not {part!r}")
    if _unturned(r):
        r.ineffective("partial_rotary_factor", "no head of this model rotates")
    if not _rotates(r, layer, layers):
        return 0.0
    return usual if part is None else float(part)


def _unturned(r: Reader) -> bool:
    """Whether no layer rotates: positions are learned, ALiBi's, or none by the class."""
    alibi = r.given("alibi") and r.flag("alibi")
    return r.has("learned_positions") or alibi or r.text("rotary_layers", "all") == "none"


def _rotates(r: Reader, layer: int, layers: int) -> bool:
    """Whether any of a head rotates in a layer: by what is stated of it, else by the rule `rotary_layers` of its class (`families.toml`)."""
    if _unturned(r):
        return False
    base = r.per_layer("layer_rope_theta", layer, layers)
    if base is not None:
        return bool(base)
    rule, kind = r.text("rotary_layers", "all"), layer_kind(r, layer, layers)
    if (
        rule == "windows"
    ):  # Cohere 2, EXAONE 4 and AFMoE: layers that see all tokens have no positions, where others have windows
        return (
            kind == SLIDING
            or (r.flag("rotary_without_windows") and not r.has("sliding_window"))
            or _forced(r, layer, layers)
        )
    if rule == "fourth from last":
        return (layers - 1 - layer) % 4 != 0
    if rule == "position_embedding_type":
        return r.text("position_embedding_type") == "rope"
    return r.flag("rope") if rule == "rope" else rule == "all" and turns(r, layer, layers)


def _forced(r: Reader, layer: int, layers: int) -> bool:
    """Cohere 2 MoE: dense layers before the experts rotate too, where all of them see all tokens."""
    if not r.flag("rotary_in_dense_layers") or r.raw("prefix_dense_sliding_window_pattern", 1) != 1:
        return False
    words = r.per_layer("mlp_layer_types", layer, layers)
    return layer < r.layout("first_k_dense_replace", 0) if words is None else bool(words == "dense")
