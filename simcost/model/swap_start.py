"""What a swap starts from: the heads of a design, those that one without heads gets, and the facts of its class that a swap must switch off.

Heads are those of the first layer that sees all tokens, of any where none does. Most likely to be wrong: the heads of a design that has none (pure Mamba): as many of 128 as
make `hidden_size`, as Llama has them; state `model.num_attention_heads` for others.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from simcost.blocks.swap import STEP, Chosen, Design
from simcost.errors import SpecError
from simcost.model.classes.family import families, filled, implied
from simcost.model.layers import declared
from simcost.model.spec import ModelSpec

HEADS = "num_attention_heads"
_WIDTHS = (128, 64)  # of a head, first that divides hidden_size
NO_FFN = "no_ffn"
_WIDTH = "intermediate_size"


def without_none(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config without its nulls."""
    return {key: value for key, value in config.items() if value is not None}


def has_heads(model: ModelSpec) -> bool:
    """Whether any layer has heads that a swap could start from."""
    return any(block.plain_heads is not None for _, block in model.blocks())


def design(model: ModelSpec, config: Mapping[str, Any], stated: Mapping[str, Any]) -> Design:
    """What a swap starts from. `stated`: config keys that the user sets, of which a design without heads takes its own. Raises SpecError where no heads make its width."""
    blocks = [block for _, block in model.blocks() if block.plain_heads is not None]
    whole = [block for block in blocks if block.mask is not None and not block.mask.bounded]
    given = {**implied(model.family, config), **without_none(config)}
    if not blocks:
        return Design(given, model.hidden_size, *_heads_of_none(model, stated))
    heads = (whole or blocks)[0].plain_heads
    assert heads is not None
    return Design(given, model.hidden_size, *heads)


def _heads_of_none(model: ModelSpec, stated: Mapping[str, Any]) -> tuple[float, float, float, float]:
    hidden = float(model.hidden_size)
    width = next((one for one in _WIDTHS if hidden % one == 0), 0)
    heads = stated.get(HEADS) or (hidden / width if width else 0)
    if type(heads) not in (int, float) or not heads or hidden % heads:
        raise SpecError(
            f"{model.name}: no layer has heads that a swap could start from: set model.{HEADS} to a divisor of hidden_size = {hidden:.0f}"
        )
    return (float(heads), float(heads), hidden / heads, hidden / heads)


def heads_anew(before: ModelSpec, now: Design, stated: Mapping[str, Any]) -> list[Chosen]:
    """The heads that a design without any gets, unless they are stated."""
    if has_heads(before) or stated.get(HEADS) is not None:
        return []
    why = f"the first design has no heads: as many of {now.head_dim:.0f} as make hidden_size"
    return [Chosen(HEADS, int(now.num_attention_heads), why)]


def gone(key: str, family: str) -> bool | None:
    """The value by which a key is taken away: False for a fact by which the class gives layers to a block, else None, which leaves it out."""
    return False if key in declared("BY_FACTS") and families().get(family, {}).get(key) is True else None


def ffns(before: ModelSpec, now: Design, kinds: set[str]) -> list[Chosen]:
    """What a class whose layers have no FFN of their own needs: nothing to read as its width, or with a swap of the FFN one in every layer. Raises SpecError where its FFNs
    stand in blocks that layers share, and attention keeps them."""
    if families().get(before.family, {}).get(NO_FFN) is not True:
        return []
    if "ffn" not in kinds:
        return [Chosen(_WIDTH, None, "no layer of the new design has an FFN")] if _WIDTH in now.config else []
    found = [Chosen(NO_FFN, False, "every layer gets an FFN, unlike the layers of the first design")]
    if "attention" not in kinds:
        if any(block.borrows or block.lent is not None for _, block in before.blocks()):
            raise SpecError(
                f"{before.name}: its FFNs stand inside transformer blocks that several layers share, and no layer has one of its own to swap: "
                "swap model.attention too, which takes the shared blocks away"
            )
        found += _instead(before)
    return [*found, Chosen(_WIDTH, STEP, "until it is solved for")]


def _instead(before: ModelSpec) -> list[Chosen]:
    """The sizes that mixers without an FFN read of the key that is now the FFN's width, by the keys that say them elsewhere."""
    found = {}
    for _, block in before.blocks():
        key = getattr(sys.modules[type(block).__module__], "INSTEAD", {}).get(_WIDTH)
        if key is not None:
            found[key] = Chosen(key, int(getattr(block, key)), f"what {_WIDTH} set for the mixer")
    return list(found.values())


def otherwise(family: str) -> set[str]:
    """Keys that mean something else in the files of a class, which calls its sizes by other names, and those that it has whatever its files say; none elsewhere."""
    renamed = families().get(family, {}).get("renamed", {})
    return {*renamed, *filled(family)} if renamed else set()
