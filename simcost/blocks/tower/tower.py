"""A tower beside the language model: an encoder of images or sounds and the projector that makes tokens of what it sees.

One description gives its weights and the work of an image. Every patch attends to every other one of its image; layers with windows attend to so many
patches. Most likely to be wrong: layers behind the one whose output is taken, which some engines leave out, and which are counted here; edges of an
image that do not fill a window. Source: arXiv 2010.11929 (vision transformers); the classes of Hugging Face transformers for the shapes.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from simcost.frozen import frozen
from simcost.num import Num
from simcost.ops.attention_core import Mask
from simcost.plan import Check, Plan, divides
from simcost.sharding.shard import Plain, Weight

ROLE = "tower"
_ALL = Mask(causal=False)


@frozen
class Rows:
    """Rows of an image at a place of a tower: `each` for every patch, and `more` besides, as class tokens."""

    each: float = 1.0
    more: float = 0.0

    def of(self, patches: Num) -> Num:
        """Rows of an image of so many patches."""
        return patches * self.each + self.more


PATCHES = Rows()


@frozen
class Matrix:
    """One product: the embedding of patches, or a layer of a projector."""

    name: str
    inner: Num
    out: Num
    rows: Rows = PATCHES
    bias: bool = True

    def weights(self, plan: Plan) -> tuple[Weight, ...]:
        """Whole on every rank."""
        matrix = Weight(self.name, ROLE, self.out, self.inner)
        return (matrix, Weight(f"{self.name}_bias", ROLE, self.out)) if self.bias else (matrix,)


@frozen
class Encoder:
    """`layers` that are alike: attention of `heads` and an FFN of width `inner`, with or without a gate. `vectors`: parameters of a layer in norms and
    biases; `windowed`: layers that attend to `window` patches only."""

    layers: float
    width: Num
    heads: Num
    head_dim: Num
    inner: Num
    vectors: Num
    gated: bool = False
    kv_heads: Num | None = None
    rows: Rows = PATCHES
    windowed: float = 0.0
    window: Num = 0.0

    def layer(self, plan: Plan) -> tuple[Weight, ...]:
        """The matrices of one layer, cut over tp."""
        kv = self.heads if self.kv_heads is None else self.kv_heads
        inner = self.inner / plan.tp
        return (
            Weight("qkv_proj", ROLE, (self.heads + 2.0 * kv) * self.head_dim / plan.tp, self.width),
            Weight("o_proj", ROLE, self.width, self.heads * self.head_dim / plan.tp),
            Weight("gate_up_proj" if self.gated else "up_proj", ROLE, inner * (2.0 if self.gated else 1.0), self.width),
            Weight("down_proj", ROLE, self.width, inner),
        )

    def weights(self, plan: Plan) -> tuple[Weight, ...]:
        """Those of all layers; norms and biases are whole on every rank."""
        held = tuple(replace(weight, copies=self.layers) for weight in self.layer(plan))
        return (*held, Weight("layer_vectors", ROLE, self.layers * self.vectors))


@frozen
class Tower(Plain):
    """`name`: for people; `key`: of the config's table that describes it. `parts` run in order; `beside`: parameters that no product reads: tables of
    positions, norms, heads that stay idle. `patch`: pixels of a patch's side; `multiple`: patches by which sides of an image are cut; `side`: pixels of
    every image's side, None where images keep their size; `tokens`: what an image takes of the prompt. `refuses`: why no time is given for it; `said`:
    what its images are."""

    name: str
    key: str
    parts: tuple[Matrix | Encoder, ...]
    beside: Num = 0.0
    patch: Num = 0.0
    multiple: Num = 1.0
    side: Num | None = None
    tokens: Rows = PATCHES
    refuses: str = ""
    said: str = ""
    kind: ClassVar[str] = "tower"
    source: ClassVar[str] = "arXiv 2010.11929"

    @property
    def parameters(self) -> Num:
        """All of them, with the projector."""
        return sum((weight.count for weight in self.weights(Plan())), 0.0)

    def weights(self, plan: Plan) -> tuple[Weight, ...]:
        """Those of every part, and what no product reads."""
        found = tuple(weight for part in self.parts for weight in part.weights(plan))
        return (*found, Weight("beside", ROLE, self.beside))

    def checks(self, plan: Plan) -> list[Check]:
        """tp divides the heads and the width of the FFN of every encoder."""
        found = []
        for part in self.parts:
            if isinstance(part, Encoder):
                found += [divides(part.heads, plan.tp, f"{self.name}: heads"), divides(part.inner, plan.tp, f"{self.name}: width of the FFN")]  # fmt: skip
        return found
