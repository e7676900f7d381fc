"""The vision tower that a multimodal checkpoint brings, with its projector: how many parameters an engine loads beside the language model.

Only families whose count is known to equal the class's are read; of others nothing is said here. Most likely to be wrong: pooling heads that
a config does not mention. Sources: Hugging Face `modeling_siglip.py`, `modeling_pixtral.py`, `modeling_llama4.py`, MoonViT of Kimi-VL, each
counted on the meta device.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from simcost.errors import SpecError
from simcost.frozen import frozen
from simcost.num import Num, num

_PATCH = 14.0


@frozen
class Tower:
    """parameters: with the projector into the language model; unused: keys of its table that change nothing here."""

    parameters: Num
    unused: tuple[str, ...]


def tower(vision: Any, hidden_size: Num, where: str) -> Tower | None:
    """The tower of a `vision_config` for a language model of `hidden_size`, which may be an array; None for no tower, and for one of an unknown family. Raises
    SpecError for a key of a known family that is missing or no number."""
    if not isinstance(vision, Mapping):
        return None
    family = _FAMILIES.get(str(vision.get("model_type")))
    if family is None:
        return None
    used = {"model_type"}

    def read(key: str, default: float | None = None) -> float:
        used.add(key)
        value = vision.get(key, default)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or value <= 0:
            raise SpecError(f"{where}: 'vision_config.{key}' must be a number above 0, not {value!r}")
        return float(value)

    count = family(read, num(hidden_size))
    return Tower(count, tuple(sorted(str(key) for key in vision if key not in used)))


Read = Callable[..., float]


def _plain_block(v: float, g: float) -> float:
    """Four projections and two matrices with biases, two LayerNorms."""
    return 4.0 * v * v + 4.0 * v + 2.0 * v * g + g + v + 4.0 * v


def _siglip(read: Read, d: Num) -> Num:
    """Gemma 3: a table of positions, a final LayerNorm, a norm and one matrix as projector."""
    v, patch = read("hidden_size"), read("patch_size", _PATCH)
    blocks = read("num_hidden_layers") * _plain_block(v, read("intermediate_size"))
    positions = (read("image_size") // patch) ** 2 * v
    return blocks + 3.0 * patch * patch * v + v + positions + 2.0 * v + v * d + v


def _moonvit(read: Read, d: Num) -> Num:
    """Kimi-VL: learned positions of 64 x 64, four patches merged before two matrices."""
    v, patch = read("hidden_size"), read("patch_size", _PATCH)
    blocks = read("num_hidden_layers") * _plain_block(v, read("intermediate_size"))
    projector = 2.0 * v + (4.0 * v) ** 2 + 4.0 * v + 4.0 * v * d + d
    return blocks + 3.0 * patch * patch * v + v + 64.0 * 64.0 * v + 2.0 * v + projector


def _pixtral(read: Read, d: Num) -> Num:
    """Mistral Small 3.1: gated blocks without biases, rotary positions, four patches merged."""
    v, patch = read("hidden_size"), read("patch_size", _PATCH)
    block = 4.0 * v * v + 3.0 * v * read("intermediate_size") + 2.0 * v
    return read("num_hidden_layers") * block + 3.0 * patch * patch * v + v + v + 4.0 * v * v + v * d + d * d


def _llama4(read: Read, d: Num) -> Num:
    """Llama 4: a linear patch embedding, a class token, an adapter of two matrices, one into the language model."""
    v, g, patch = read("hidden_size"), read("intermediate_size"), read("patch_size", _PATCH)
    out = read("vision_output_dim", 4096)
    tokens = (read("image_size") // patch) ** 2 + 1.0
    blocks = read("num_hidden_layers") * _plain_block(v, g)
    return blocks + 3.0 * patch * patch * v + tokens * v + v + 4.0 * v + 5632.0 * out + out * out + out * d


_FAMILIES: dict[str, Callable[[Read, Num], Num]] = {
    "siglip_vision_model": _siglip, "moonvit": _moonvit, "pixtral": _pixtral, "llama4_vision_model": _llama4,
}  # fmt: skip
