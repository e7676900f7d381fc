"""How tokens choose experts: the law of their popularity, and the choice that a token makes.

Most likely to be wrong: real routers, whose skew differs by layer and text. Derivation: docs/theory/routing.md.
"""

from __future__ import annotations

from dataclasses import replace

from simcost.errors import SpecError
from simcost.frozen import frozen
from simcost.num import Num

# Experts of a layer and picks of a token: loads are drawn expert by expert, and picks compared with each other. Switch-C has 2,048 experts.
MOST, MOST_PICKS = 4_096, 128


@frozen
class Routing:
    """How tokens choose. `parameter`: exponent of zipf, concentration of dirichlet. `shares`: of measured counts, for each
    layer the share of every expert; `places`: file and line of each."""

    kind: str = "random"
    parameter: float = 0.0
    shares: tuple[tuple[float, ...], ...] = ()
    places: tuple[str, ...] = ()

    @property
    def uniform(self) -> bool:
        """Whether all experts have the same popularity."""
        return self.kind in ("balanced", "random")

    def __str__(self) -> str:
        return f"{self.kind}:{self.parameter:g}" if self.kind in ("zipf", "dirichlet") else self.kind


@frozen
class Router:
    """The choice that a token makes: `top_k` of `experts`; from `limit` of `groups` groups, chosen at `random`, by their best
    score ("max", DeepSeek-V2) or by the sum of their best two ("top2", DeepSeek-V3)."""

    experts: Num
    top_k: float
    groups: int = 1
    limit: int = 1
    rule: str = "random"

    @property
    def limited(self) -> bool:
        """Whether a token may choose from some groups of experts only."""
        return self.groups > 1 and self.limit < self.groups


def check_layers(routing: Routing, layers: int) -> None:
    """Raises SpecError for measured counts that are neither one line, for all layers alike, nor a line for each of `layers`
    layers with experts."""
    lines = len(routing.shares)
    if layers > 0 and lines not in (0, 1, layers):
        name = routing.places[0].rpartition(":")[0] if routing.places else "routing"
        raise SpecError(f"{name}: {lines} lines; give one for all layers, or {layers}, one per layer with experts")


def by_layer(routing: Routing) -> list[Routing]:
    """A routing for each line of measured counts; else the routing itself."""
    if len(routing.shares) <= 1:
        return [routing]
    places = routing.places or ("",) * len(routing.shares)
    return [
        replace(routing, shares=(share,), places=(place,) if place else ())
        for share, place in zip(routing.shares, places, strict=True)
    ]
