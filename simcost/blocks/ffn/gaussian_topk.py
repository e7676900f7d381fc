"""Gemma 3n's FFN: a gated dense layer with a width of its own in each layer, of whose gate the leading ones keep a share of the elements.

The cutoff is the mean of a row plus a multiple of its deviation: one more pass over the gate, no weights, and no product is smaller for it. Most likely to be wrong: an engine
that skips the products of what is cut. Sources: Spark Transformer (arXiv 2506.06644); Hugging Face `modeling_gemma3n.py` (`_gaussian_topk`).
"""

from __future__ import annotations

from typing import ClassVar

from simcost.blocks.ffn.dense import Dense, activation
from simcost.errors import SpecError
from simcost.frozen import frozen
from simcost.hf import Reader
from simcost.ops.stream import Stream
from simcost.program import Call, Program, Serial
from simcost.provenance import Kind
from simcost.sharding.linear import enter, leave, linear
from simcost.sharding.shard import View

HANDLES = ("activation_sparsity_pattern", "gaussian_topk")
_LEADING, _SPARSE = 10, 0.95  # layers, share: the class's default for models of more layers than that


@frozen
class GaussianTopK(Dense):
    """A dense layer whose gate loses all but its largest elements."""

    source: ClassVar[str] = "arXiv 2506.06644"

    def program(self, view: View) -> Program:
        """As a dense layer, with the cutoff between product and activation. Under tp each rank cuts its own part of a row."""
        up, down = self.weights(view.plan)[:2]
        rows, act = view.tokens, view.activation
        width = rows * self.intermediate_size / view.plan.tp
        parts = (
            *enter(view, self.hidden_size),
            linear(view, up, rows),
            Call(Stream("norm", width, 2.0, 1.0, 7.0, act, act), "gaussian top-k"),
            activation(view, width, self.gated),
            linear(view, down, rows),
            leave(view, self.hidden_size),
        )
        return Serial(parts, "ffn")


BY_KEYS = ("activation_sparsity_pattern",)
BY_FACTS = ("gaussian_topk",)  # of a class that gives its layers to this block: a swap switches them off


def claims(r: Reader, layer: int, layers: int) -> int:
    """3 for a family or config with sparse activations, else 0."""
    if r.off("gaussian_topk"):
        return 0
    return 3 if r.given("gaussian_topk") or _some(r) else 0


def _some(r: Reader) -> bool:
    """Whether a config says of any layer that it is sparse."""
    stated = r.config.get("activation_sparsity_pattern")
    return any(bool(share) for share in stated) if isinstance(stated, list) else bool(stated)


def alike(r: Reader, layer: int, layers: int) -> object:
    """What of a layer `from_hf` reads, so that equal layers are read once: its width and its sparsity."""
    return str(_width(r, layer, layers)), _sparse(r, layer, layers)


def from_hf(r: Reader, layer: int, layers: int) -> Dense:
    """The block of a layer. Raises SpecError for a missing or wrong key, and for a list of another length than the layers."""
    hidden, gated = r.num("hidden_size"), r.flag("gated_ffn", True)
    width = _width(r, layer, layers)
    if width is not None and (isinstance(width, bool) or not isinstance(width, int) or not 1 <= width <= 1e8):
        raise SpecError(f"{r.where}: 'intermediate_size' of layer {layer} must be a whole number, not {width!r}")
    wide = r.num("intermediate_size") if width is None else float(width)
    return (GaussianTopK if _sparse(r, layer, layers) else Dense)(hidden, wide, gated)


def _width(r: Reader, layer: int, layers: int) -> object:
    """The entry of a list of widths; None where there is one for all layers."""
    return (
        r.per_layer("intermediate_size", layer, layers) if isinstance(r.config.get("intermediate_size"), list) else None
    )


def _sparse(r: Reader, layer: int, layers: int) -> bool:
    share = r.per_layer("activation_sparsity_pattern", layer, layers)
    key = "activation_sparsity_pattern"
    r.note(f"{key} has no effect by its shares: no product is smaller; 0 leaves the cutoff out", Kind.UNUSED)
    if share is None:
        return layers > _LEADING and layer < _LEADING and _SPARSE > 0.0
    if isinstance(share, bool) or not isinstance(share, (int, float)) or not 0.0 <= share < 1.0:
        raise SpecError(f"{r.where}: 'activation_sparsity_pattern' of layer {layer} must be from 0 to 1, not {share!r}")
    return share > 0.0
