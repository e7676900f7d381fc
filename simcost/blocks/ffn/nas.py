"""An FFN whose width a search chose layer by layer (Nemotron-NAS), or none.

Most likely to be wrong: nothing of its own. Source: nvidia/Llama-3_3-Nemotron-Super-49B-v1 `modeling_decilm.py` (_ffn_mult_to_intermediate_size).
"""

from __future__ import annotations

from simcost.blocks import _block_configs as block_configs
from simcost.blocks.ffn.dense import Dense
from simcost.hf import Reader
from simcost.num import ceil, floor

HANDLES = (block_configs.KEY,)
BY_KEYS = (block_configs.KEY,)
_STEP = 256.0  # widths are multiples of it


def claims(r: Reader, layer: int, layers: int) -> int:
    """5 for each layer of a config that lists them, else 0."""
    return 5 if block_configs.given(r) else 0


def alike(r: Reader, layer: int, layers: int) -> object:
    """What of a layer `from_hf` reads, so that equal layers are read once: its multiple."""
    return block_configs.part(r, layer, layers, "ffn")


def from_hf(r: Reader, layer: int, layers: int) -> Dense | None:
    """A gated FFN of two thirds of 2 x multiple x hidden_size, up to the next multiple of 256; None where the layer has none. Raises SpecError for a missing or wrong key."""
    multiple = block_configs.part(r, layer, layers, "ffn")
    if multiple is None:
        return None
    hidden = r.num("hidden_size")
    width = ceil(floor(2.0 * multiple * hidden / 3.0) / _STEP) * _STEP
    return Dense(hidden, width, r.flag("gated_ffn", True), r.flag("mlp_bias"))
