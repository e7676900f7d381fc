"""Sliding-window and chunked attention: GQA whose queries see the last W tokens, or their own chunk of C.

Which layers slide is read from `layer_types`, a pattern, or a family's rule. The cache holds min(context, W) tokens.
Most likely to be wrong: engines that keep the full context for sliding layers hold more memory. Sources: arXiv 2004.05150,
Mistral 7B (arXiv 2310.06825), Llama 4 chunks (Hugging Face `modeling_llama4.py`), gpt-oss, Gemma 2 and 3 reports.
"""

from __future__ import annotations

from typing import ClassVar

from simcost.blocks import _by_layer as by_layer
from simcost.blocks._layer_kinds import CHUNKED, SLIDING, layer_kind
from simcost.blocks.attention.gqa import GQA, dimensions, plain_heads
from simcost.blocks.swap import Chosen, Design, Swap, whole
from simcost.errors import SpecError
from simcost.frozen import frozen
from simcost.hf import Reader
from simcost.num import Num
from simcost.ops.attention_core import Mask

HANDLES = by_layer.HANDLES
LAYER_TYPES = (SLIDING, CHUNKED)  # values of `layer_types` that this block reads


@frozen
class SlidingWindow(GQA):
    """GQA with a bounded view; exactly one of `window` and `chunk` [tokens]."""

    window: Num | None = None
    chunk: Num | None = None
    source: ClassVar[str] = "arXiv 2310.06825"

    @property
    def mask(self) -> Mask:
        """Causal, bounded by `window` or `chunk`."""
        return Mask(window=self.window, chunk=self.chunk)


def _swa(design: Design, text: str) -> list[Chosen]:
    """A window on every layer, at the heads of the layers that have none."""
    if not text:
        raise SpecError("model.attention=swa: state the tokens of the window, as in swa:4096")
    window = whole(text, "the window", f"model.attention=swa:{text}")
    own = [key for key in design.config if key.startswith("swa_") and design.config[key] is not None]
    return [
        Chosen("sliding_window", window, "asked for"),
        *plain_heads(design, int(design.num_key_value_heads), "of the design"),
        *(Chosen(key, None, "all layers have one shape") for key in own),
    ]


BY_KEYS: tuple[str, ...] = ()
SWAPS = {"swa": Swap(_swa, "swa:<tokens of the window>")}


def claims(r: Reader, layer: int, layers: int) -> int:
    """2 for a layer with a window or chunks, else 0."""
    return 2 if layer_kind(r, layer, layers) in LAYER_TYPES else 0


def alike(r: Reader, layer: int, layers: int) -> object:
    """What of a layer `from_hf` reads, so that equal layers are read once: its kind, and the part of a head that rotates."""
    return layer_kind(r, layer, layers), by_layer.rotary(r, layer, layers, 1.0)


def from_hf(r: Reader, layer: int, layers: int) -> SlidingWindow:
    """The block of a layer with a window or chunks; it has dimensions of its own where the config has keys that begin with swa_. Raises SpecError for a
    missing or wrong key."""
    chunked = layer_kind(r, layer, layers) == CHUNKED
    shape = dimensions(r, by_layer.window_prefix(r, layers))
    shape["rotary"] = by_layer.rotary(r, layer, layers, shape["rotary"])  # type: ignore[arg-type]
    return SlidingWindow(
        **shape,  # type: ignore[arg-type]
        sinks=r.flag("attention_sinks") or r.flag("add_swa_attention_sink_bias"),
        window=None if chunked else r.num("sliding_window"),
        chunk=r.num("attention_chunk_size") if chunked else None,
    )
