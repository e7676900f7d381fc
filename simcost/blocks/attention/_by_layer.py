"""What of grouped-query attention differs by the kind of a layer: heads of window layers, and the part of a head that rotates (MiMo, Step-3.5).

`attention_other_setting` is read as the keys that begin with swa_ (`hf.py`); a size that these leave out is that of the other layers where the config only
states other heads. Sources: Hugging Face `modeling_step3p7.py`; stepfun-ai/Step-3.5-Flash `modeling_step3p5.py`; XiaomiMiMo/MiMo-V2-Flash.
"""

from __future__ import annotations

from typing import Any

from simcost.blocks._layer_kinds import SLIDING, layer_kind
from simcost.errors import NotModelled, SpecError
from simcost.hf import Reader
from simcost.num import Num, every

HANDLES = ("swa_attention_type", "swa_true_head_dim", "per_layer_config", "partial_rotary_factors")
_HEADS = "num_attention_heads"


def window_prefix(r: Reader, layers: int) -> str:
    """What begins the keys of window layers: "swa_" where they have heads of their own, else "". Raises NotModelled for a table that is of another kind of layer, or
    that says more of single layers than their heads."""
    own = r.has("swa_num_attention_heads")
    of = r.text("swa_attention_type", SLIDING)
    if own and of != SLIDING:
        raise NotModelled(
            f"{r.where}: not modelled: attention_other_setting of layers of type {of!r}: only {SLIDING} has heads of its own"
        )
    if own and r.has("swa_true_head_dim") and not every(r.num("swa_true_head_dim") == r.num("swa_head_dim")):
        raise NotModelled(f"{r.where}: not modelled: attention_other_setting with true_head_dim other than head_dim")
    _agrees(r, layers, own)
    return "swa_" if own else ""


def _agrees(r: Reader, layers: int, own: bool) -> None:
    """That `per_layer_config`, which transformers derives from those heads, says the same."""
    stated: Any = r.raw("per_layer_config")
    if not stated:
        return
    usual = r.raw(_HEADS)
    heads = r.raw("swa_num_attention_heads") if own else usual
    try:
        found = {int(layer): dict(said) for layer, said in dict(stated).items()}
    except (TypeError, ValueError):
        raise SpecError(f"{r.where}: 'per_layer_config' must be a table of tables by layer, not {stated!r}") from None
    kinds = {layer: layer_kind(r, layer, layers) for layer in range(layers)}
    same = all(
        found.get(layer, {}).get(_HEADS, usual) == (heads if kind == SLIDING else usual)
        for layer, kind in kinds.items()
    )
    if not same or not set(found) <= set(kinds) or any(set(said) - {_HEADS} for said in found.values()):
        raise NotModelled(
            f"{r.where}: not modelled: 'per_layer_config' that says more than num_attention_heads = {heads} of each {SLIDING} layer"
        )


def rotary(r: Reader, layer: int, layers: int, usual: Num) -> Num:
    """The part of a head that rotates in this layer. Raises SpecError for one that is not in (0, 1]."""
    part = r.per_layer("partial_rotary_factors", layer, layers)
    if part is None:
        return usual
    if isinstance(part, bool) or not isinstance(part, (int, float)) or not 0.0 < part <= 1.0:
        raise SpecError(f"{r.where}: 'partial_rotary_factors' must hold numbers in (0, 1], not {part!r}")
    return float(part)
