"""Rollout routing replay: the experts that the engine chose, kept token by token and layer by layer, sent with the
samples and used again by the trainer.

    bytes = (tokens - 1) · MoE layers · k · width, width 1 up to 256 experts, else 2

The last token of a sequence has no forward pass in the engine. Only the choice is replayed: the trainer still computes
the router's logits, since gate weights come from its own. Most likely to be wrong: engines that keep 4-byte ids.
Sources: arXiv 2510.11370; vLLM `routed_experts`; prime-rl pull request 2808 (uint8, uint16).
"""

from __future__ import annotations

from simcost.frozen import frozen

NARROW = 256  # experts that one byte tells apart


@frozen
class Routed:
    """A design's choices. `layers`: with routed experts; `top_k`, `experts` of each."""

    layers: int
    top_k: int
    experts: int

    @property
    def width(self) -> int:
        """Bytes of an expert's number. [B]"""
        return 1 if self.experts <= NARROW else 2

    @property
    def token_bytes(self) -> int:
        """Of one token. [B]"""
        return self.layers * self.top_k * self.width

    def sequence_bytes(self, tokens: float) -> float:
        """Of a sequence of `tokens`, prompt and answer. [B]"""
        return max(tokens - 1.0, 0.0) * self.token_bytes
