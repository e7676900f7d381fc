"""A swap to a repeating pattern of layers: `hybrid:3xgdn+1xgqa:8` is three layers of Gated DeltaNet, then one of GQA, over and over.

Each part is a swap of its own, with what it chooses. Two parts that need one word of `layer_types` cannot stand in one design. Most likely to be wrong: where in the
pattern a real design would put its layers of attention.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import Any, NamedTuple

from simcost.blocks._layer_kinds import FULL
from simcost.blocks.swap import Chosen, Design, Swap
from simcost.errors import SpecError, nearest

NAME, TAKES = "hybrid", "hybrid:3xgdn+1xgqa, a repeating pattern of layers"
_PART = re.compile(r"(\d{1,4})x([a-z0-9]+)(?::(.+))?\Z")
_ASKED = "asked for"


class Part(NamedTuple):
    """So many layers of one swap."""

    layers: int
    name: str
    module: ModuleType
    swap: Swap
    text: str

    @property
    def word(self) -> str:
        """What `layer_types` calls these layers."""
        return str(getattr(self.module, "LAYER_TYPES", (FULL,))[0])


def parts(text: str, known: Mapping[str, tuple[ModuleType, Swap]]) -> list[Part]:
    """The parts of "3xgdn+1xgqa:8". Raises SpecError for what is none, and for two parts that one design cannot have."""
    written = f"model.attention={NAME}:{text}"
    found = []
    for said in text.lower().split("+"):
        match = _PART.match(said.strip())
        if match is None or int(match[1]) < 1:
            raise SpecError(f"{written}: write the number of layers of each swap, as in {NAME}:3xgdn+1xgqa")
        if match[2] not in known:
            raise SpecError(f"{written}: unknown swap {match[2]} (one of {', '.join(known)}){nearest(match[2], known)}")
        found.append(Part(int(match[1]), match[2], *known[match[2]], match[3] or ""))
    for one in found:
        other = next((each for each in found if each.word == one.word and each.module is not one.module), None)
        if other is not None:
            raise SpecError(
                f"{written}: {one.name} and {other.name} are both {one.word} in layer_types: they cannot be in one design"
            )
    return found


def pattern(found: list[Part]) -> tuple[ModuleType, ...]:
    """The plug-in of each layer of one repetition."""
    return tuple(part.module for part in found for _ in range(part.layers))


def swap(found: list[Part]) -> Swap:
    """What all parts choose together."""

    def choose(design: Design, text: str) -> list[Chosen]:
        each: dict[str, Chosen] = {}
        for part in found:
            for one in part.swap.choose(design, _text(part, design)):
                each[one.key] = _both(each.get(one.key), one, text)
        return list(each.values())

    return Swap(choose, TAKES)


def _text(part: Part, design: Design) -> str:
    """A part's own text; GQA without one keeps the design's heads."""
    return part.text or (str(int(design.num_key_value_heads)) if part.name == "gqa" else "")


def _both(old: Chosen | None, new: Chosen, text: str) -> Chosen:
    """What one key becomes of what two parts choose: a value before none, what was asked for before what follows from the design."""
    if old is None or old.value == new.value or old.value is None:
        return new
    if new.value is None:
        return old
    asked = [one for one in (old, new) if one.why == _ASKED]
    if len(asked) != 1:
        raise SpecError(
            f"model.attention={NAME}:{text}: two parts choose {old.key} = {old.value} and {new.value}: layers share one value"
        )
    return asked[0]


def words(each: Iterator[bool], modules: tuple[ModuleType, ...]) -> Iterator[Any]:
    """For each layer the plug-in whose turn it is, None for one without a mixer (`each`: whether it has one)."""
    turn = 0
    for mixes in each:
        yield modules[turn % len(modules)] if mixes else None
        turn += mixes
