"""MLA whose queries see the last W tokens (window layers of dots.3), with sizes of its own: keys that begin with swa_, or lists of one per layer.

The cache holds min(context, W) latents. Most likely to be wrong: engines that keep the latents of all tokens. Source: Hugging Face `modeling_dots3_note.py`.
"""

from __future__ import annotations

from typing import ClassVar

from simcost.blocks._layer_kinds import SLIDING, layer_kind
from simcost.blocks.attention.mla import MLA, dimensions
from simcost.frozen import frozen
from simcost.hf import Reader
from simcost.num import Num
from simcost.ops.attention_core import Mask

HANDLES = ("swa_q_lora_rank", "swa_kv_lora_rank", "swa_qk_nope_head_dim", "swa_qk_rope_head_dim")


@frozen
class WindowMLA(MLA):
    """MLA with a view of `window` tokens."""

    window: Num = 512.0
    source: ClassVar[str] = "Hugging Face modeling_dots3_note.py"

    @property
    def mask(self) -> Mask:
        """Causal, bounded by `window`."""
        return Mask(window=self.window)


BY_KEYS: tuple[str, ...] = ()


def claims(r: Reader, layer: int, layers: int) -> int:
    """4 for a layer with a window of a family whose latent attention has windows, else 0: other classes with latents read no sliding_window."""
    return 4 if r.flag("latent_windows") and layer_kind(r, layer, layers) == SLIDING else 0


def alike(r: Reader, layer: int, layers: int) -> object:
    """What of a layer `from_hf` reads, so that equal layers are read once: nothing beside lists of one per layer."""
    return None


def from_hf(r: Reader, layer: int, layers: int) -> WindowMLA:
    """The block of a layer. Raises SpecError for a missing or wrong key."""
    listed = isinstance(r.config.get("kv_lora_rank"), list)
    prefix = "swa_" if r.has("swa_kv_lora_rank") and not listed else ""
    return WindowMLA(**dimensions(r, prefix), window=r.num("sliding_window"))  # type: ignore[arg-type]
