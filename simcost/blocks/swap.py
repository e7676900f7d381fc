"""What a block answers when a design is to have it instead of its own: the config keys that it chooses, each with its reason.

A module of a block declares `SWAPS`, its swaps by name, and `BY_KEYS`, the config keys whose presence gives it a layer. `model.attention=mla:512` asks the
swap "mla" with the text "512". Most likely to be wrong: what a designer would choose beside the stated number; every choice is printed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from simcost.errors import SpecError
from simcost.frozen import frozen
from simcost.num import Num

STEP = 64  # widths and ranks are multiples of it


@frozen
class Design:
    """What a swap starts from: the keys that are set, with those that the family implies, and the heads that plain attention has in the place of the
    first unbounded layer."""

    config: Mapping[str, Any]
    hidden_size: Num
    num_attention_heads: Num
    num_key_value_heads: Num
    head_dim: Num
    v_head_dim: Num


class Chosen(NamedTuple):
    """A config key that a swap sets, or drops (None), and why."""

    key: str
    value: Any
    why: str


class Swap(NamedTuple):
    """`choose`: (design, text after the colon) -> what is set; `takes`: how it is written; `cache_key`: the config key by which `iso=kv` solves, "" where the
    cache has no free size, and `states_cache`: whether this text states it; `width_key`: that of the FFN's width, and `states_width`: the same of it."""

    choose: Callable[[Design, str], list[Chosen]]
    takes: str
    cache_key: str = ""
    states_cache: Callable[[str], bool] = bool
    width_key: str = ""
    states_width: Callable[[str], bool] = bool


def whole(text: str, what: str, written: str, least: int = 1) -> int:
    """A whole number of at least `least`. Raises SpecError that says how the swap is written."""
    if not text.isascii() or not text.isdigit() or len(text) > 9 or int(text) < least:
        raise SpecError(f"{written}: {what} must be a whole number from {least} to 999,999,999, not {text!r}")
    return int(text)


def none(text: str, name: str) -> None:
    """Raises SpecError where a swap that takes no number has one."""
    if text:
        raise SpecError(f"model.attention={name}:{text}: {name} takes no number")


def multiple(value: float, step: int = STEP) -> int:
    """The nearest multiple, at least one."""
    return max(int(value / step + 0.5), 1) * step
