"""A tower beside the language model: an encoder of images or sounds and the projector that makes tokens of what it sees.

One description gives its weights and the work of an image. Every patch attends to every other one of its image; layers with windows attend to so many
patches. Most likely to be wrong: layers behind the one whose output is taken, which some engines leave out, and which are counted here; edges of an
image that do not fill a window. Source: arXiv 2010.11929 (vision transformers); the classes of Hugging Face transformers for the shapes.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar, Protocol

from simcost.blocks.tower._tiles import Tiles
from simcost.frozen import frozen
from simcost.num import Num, ceil, every, floor
from simcost.ops.attention_core import AttentionCore, Mask
from simcost.ops.collective import Collective
from simcost.ops.stream import Stream
from simcost.plan import Check, Phase, Plan, divides
from simcost.program import Call, Program, Serial
from simcost.sharding.linear import linear
from simcost.sharding.shard import Plain, View, Weight

ROLE = "tower"
ALL = Mask(causal=False)


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
    """One product: the embedding of patches, or a layer of a projector. `cut`: over tp, by its outputs, which are gathered again."""

    name: str
    inner: Num
    out: Num
    rows: Rows = PATCHES
    bias: bool = True
    cut: bool = True

    def weights(self, plan: Plan) -> tuple[Weight, ...]:
        """A rank's part of the matrix, and of its bias."""
        out = self.out / plan.tp if self.cut else self.out
        matrix = Weight(self.name, ROLE, out, self.inner)
        return (matrix, Weight(f"{self.name}_bias", ROLE, out)) if self.bias else (matrix,)

    def checks(self, plan: Plan, name: str) -> list[Check]:
        """No rules."""
        return []

    def flops(self, patches: Num) -> Num:
        """Of an image of so many patches. [FLOP]"""
        return 2.0 * self.rows.of(patches) * self.inner * self.out

    def program(self, view: View, images: Num, patches: Num) -> Program:
        """One product for all images of the rank."""
        rows = images * self.rows.of(patches)
        product = linear(view, self.weights(view.plan)[0], rows)
        if not self.cut:
            return product
        payload = view.activation.tensor_bytes(rows * self.out)
        return Serial((product, Call(Collective("all_gather", payload, view.plan.tp), "all-gather")), self.name)


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

    def checks(self, plan: Plan, name: str) -> list[Check]:
        """tp divides the heads and the width of the FFN; `name`: of the tower."""
        return [
            divides(self.heads, plan.tp, f"{name}: heads"),
            divides(self.inner, plan.tp, f"{name}: width of the FFN"),
        ]

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

    def flops(self, patches: Num) -> Num:
        """Of an image of so many patches, norms and activations left out. [FLOP]"""
        rows = self.rows.of(patches)
        products = self.layers * sum((2.0 * rows * weight.count for weight in self.layer(Plan())), 0.0)
        seen = (self.layers - self.windowed) * rows + self.windowed * self.window
        return products + 4.0 * rows * seen * self.heads * self.head_dim

    def program(self, view: View, images: Num, patches: Num) -> Program:
        """Layers that see the whole image, then those with windows: each costs the same wherever it stands."""
        rows = self.rows.of(patches)
        kinds = [("layers", self.layers - self.windowed, images, rows)]
        if self.windowed:
            kinds.append(("layers with windows", self.windowed, images * rows / self.window, self.window))
        parts = [
            Serial(self._layer(view, images * rows, sequences, length), tag, count)
            for tag, count, sequences, length in kinds
            if count
        ]
        return Serial(tuple(parts), "encoder")

    def _layer(self, view: View, rows: Num, sequences: Num, length: Num) -> tuple[Program, ...]:
        """Norm, attention and FFN over `rows`; the core sees `sequences` of `length` patches that attend to each other."""
        qkv, o, up, down = self.layer(view.plan)
        act, tp = view.activation, view.plan.tp
        heads = self.heads / tp
        kv = heads if self.kv_heads is None else self.kv_heads / tp
        core = AttentionCore(sequences, length, 0.0, heads, kv, self.head_dim, self.head_dim, ALL, act, act, act)
        norm = Stream("norm", rows * self.width, 2.0, 2.0, 5.0, act, act)
        gate = Stream("activation", rows * self.inner / tp, 2.0 if self.gated else 1.0, 1.0, 5.0, act, act)
        join = Call(Collective("all_reduce", act.tensor_bytes(rows * self.width), tp), "all-reduce")
        attention = (Call(norm, "norm"), linear(view, qkv, rows), Call(core, "core"), linear(view, o, rows), join)
        return (*attention, Call(norm, "norm"), linear(view, up, rows), Call(gate, "activation"), linear(view, down, rows), join)  # fmt: skip


class Part(Protocol):
    """What a tower runs: a product, an encoder, a resampler."""

    def weights(self, plan: Plan) -> tuple[Weight, ...]:
        """A rank's weights."""

    def checks(self, plan: Plan, name: str) -> list[Check]:
        """What tp must divide; `name`: of the tower."""

    def flops(self, patches: Num) -> Num:
        """Of an image of so many patches. [FLOP]"""

    def program(self, view: View, images: Num, patches: Num) -> Program:
        """Of all images of a rank."""


@frozen
class Video:
    """How a tower sees a video of each sequence: `joined` frames make a patch, and pass it as one image does; `tokens` of the prompt that they take, None as many as an image; `more`: of
    the whole video."""

    joined: float = 1.0
    tokens: float | None = None
    more: float = 0.0


@frozen
class Tower(Plain):
    """`name`: for people; `key`: of the config's table that describes it. `parts` run in order; `beside`: parameters that no product reads: tables of
    positions, norms, heads that stay idle. `patch`: pixels of a patch's side; `multiple`: patches by which sides of an image are cut; `side`: pixels of
    every image's side, None where images keep their size; `tokens`: what an image takes of the prompt; `tiles`: how pictures are cut into such images; `largest`: pixels of a side that an image may have, 0 where the config names no limit; `video`: how it sees frames, None where no rule is known. `refuses`: why no time is given for it; `said`:
    what its images are."""

    name: str
    key: str
    parts: tuple[Part, ...]
    beside: Num = 0.0
    patch: Num = 0.0
    multiple: Num = 1.0
    side: Num | None = None
    tokens: Rows = PATCHES
    refuses: str = ""
    said: str = ""
    tiles: Tiles | None = None
    largest: Num = 0.0
    video: Video | None = None
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
        """tp divides the heads and the width of the FFN of every part."""
        return [check for part in self.parts for check in part.checks(plan, self.name)]

    @property
    def by_shape(self) -> bool:
        """Whether the work of a picture depends on its height and width."""
        return self.side is None or self.tiles is not None

    def patches(self, phase: Phase) -> Num:
        """Patches of an image, of the sides that the tower fixes or the phase states."""
        if self.side is not None:
            return floor(self.side / self.patch) * floor(self.side / self.patch)
        return phase.image_height / self.patch * (phase.image_width / self.patch)

    def squares(self, phase: Phase) -> Num:
        """Images that a picture is cut into."""
        return 1.0 if self.tiles is None else self.tiles.count(phase)

    def taken(self, phase: Phase) -> Num:
        """Tokens that a picture takes of the prompt."""
        return self.tokens.of(self.patches(phase)) if self.tiles is None else self.tiles.tokens(phase)

    def groups(self, phase: Phase) -> Num:
        """Groups of joined frames of a sequence's video; the last is filled up."""
        return 0.0 if self.video is None else ceil(phase.video_frames / self.video.joined)

    def images(self, phase: Phase) -> Num:
        """Images that pass the tower of one sequence: squares of its pictures, and groups of frames."""
        pictures = 0.0 if every(phase.images == 0.0) else phase.images * self.squares(phase)
        return pictures + self.groups(phase)

    def prompt_tokens(self, phase: Phase) -> Num:
        """Tokens that the pictures and the video of a sequence take of its prompt."""
        pictures = 0.0 if every(phase.images == 0.0) else phase.images * self.taken(phase)
        if self.video is None or every(phase.video_frames == 0.0):
            return pictures
        each = self.tokens.of(self.patches(phase)) if self.video.tokens is None else self.video.tokens
        return pictures + self.groups(phase) * each + self.video.more * (phase.video_frames > 0.0)

    def flops(self, phase: Phase) -> Num:
        """Of the pictures and the video of one sequence. [FLOP]"""
        return self.images(phase) * sum((part.flops(self.patches(phase)) for part in self.parts), 0.0)

    def program(self, view: View) -> Program:
        """All pictures and frames of the sequences of a rank, part after part."""
        images, patches = view.batch * self.images(view.phase), self.patches(view.phase)
        return Serial(tuple(part.program(view, images, patches) for part in self.parts), self.name)
