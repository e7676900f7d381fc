"""N-gram embeddings (Qwen4's PLE): before some layers a token's last n-grams are hashed to rows of a table of their own, and what they say is added to every residual stream.

Of each order from 2 to `ngram_size` there are `heads_per_ngram` hashes, each with a prime number of rows of its own; a token reads one row of each, joined to `ple_embed_dim`. A product makes a key for every stream, another a value; the normed streams
gate the value, and a convolution over tokens that lie `ngram_size` apart adds to it. Most likely to be wrong: where an engine keeps the table, which may stand in host memory; here it is in the device's. Source: Hugging Face
`modeling_qwen4_exp.py` (NGramEmbedding, PLELayer).
"""

from __future__ import annotations

from functools import cache
from math import ceil, isqrt
from typing import ClassVar

import numpy as np

from simcost.blocks._layer_kinds import LINEAR, layer_kind
from simcost.dtypes import Dtype, dtype
from simcost.errors import NotModelled, SpecError
from simcost.frozen import frozen
from simcost.hf import Reader
from simcost.num import Num
from simcost.ops.collective import Collective
from simcost.ops.gather import Gather
from simcost.ops.recurrent import CausalConv
from simcost.ops.stream import Stream
from simcost.plan import Check, Plan, divides
from simcost.program import Call, Program, Serial
from simcost.sharding.linear import linear
from simcost.sharding.shard import BESIDE, Plain, View, Weight

_OF_TABLE = ("ngram_size", "heads_per_ngram", "ngram_vocab_size_base", "make_ngram_vocab_size_divisible_by")
HANDLES = ("ple_layer_ids", "ple_embed_dim", "ple_conv_kernel_size", *_OF_TABLE)
TABLE = "ngram_embedding"
_ID = 8.0  # B: the id of a token
_HEADS = 1_024  # of all layers: the rows of each are a prime number that is looked for


@frozen
class NGramInput(Plain):
    """A table of `rows` x `row_width`, of which a token reads `heads`; `streams` residual streams of `hidden_size`; a convolution of `kernel` tokens that lie `ngram_size` apart. The table's columns are cut over tp; the rest is
    whole on every rank, over the rank's own rows."""

    hidden_size: Num
    streams: float
    rows: Num
    row_width: Num
    heads: float
    ngram_size: float
    kernel: float
    columns: Dtype
    kind: ClassVar[str] = "per_layer"
    source: ClassVar[str] = "Hugging Face modeling_qwen4_exp.py"

    @property
    def _wide(self) -> Num:
        """All streams of a token."""
        return self.streams * self.hidden_size

    @property
    def _joined(self) -> Num:
        """Elements of all rows that a token reads."""
        return self.heads * self.row_width

    def checks(self, plan: Plan) -> list[Check]:
        """tp divides the width of a row; a sequence stands on one rank."""
        reason = "n-grams and their convolution read earlier tokens, so a sequence cannot be split over devices (cp must be 1)"
        return [divides(self.row_width, plan.tp, "ple_embed_dim / n-gram heads"), Check(plan.cp == 1.0, reason)]

    def weights(self, plan: Plan) -> tuple[Weight, ...]:
        """The table, the products to keys and to the value, norms of keys, of streams and before the convolution, and the convolution."""
        return (
            Weight(TABLE, "embedding", self.rows, self.row_width / plan.tp),
            Weight("ngram_key_proj", "ffn", self._wide, self._joined),
            Weight("ngram_value_proj", "ffn", self.hidden_size, self._joined),
            Weight("ngram_norms", "norm", 3.0 * self._wide),
            Weight("ngram_conv", "norm", self._wide * self.kernel),
        )

    def peak_elements(self, plan: Plan) -> Num:
        """Rows of the table, keys, the value, the gated value before and after its norm."""
        return self._joined + self.hidden_size + 3.0 * self._wide

    @property
    def _kept(self) -> Num:
        """Columns of the convolution: it reaches over (kernel - 1) x ngram_size tokens."""
        return (self.kernel - 1.0) * self.ngram_size

    @property
    def state_formula(self) -> str:
        """Columns of the convolution."""
        return f"columns of the convolution: {self._wide:.0f} channels x {self._kept:.0f}"

    def state_elements(self, context: Num, plan: Plan) -> Num:
        """The columns, whatever the context."""
        return self._wide * self._kept + 0.0 * context

    def state_bytes(self, context: Num, plan: Plan, kv: Dtype) -> Num:
        """The columns in the model's format, and the ids of the tokens before. [B]"""
        return self.columns.tensor_bytes(self.state_elements(context, plan)) + _ID * (self.ngram_size - 1.0)

    def program(self, view: View) -> Program:
        """Look-up, key and value, the gate of every stream, the convolution of each group of tokens, and the sum with the streams."""
        act, rows, plan = view.activation, view.own_tokens, view.plan
        weight = {w.name: w for w in self.weights(plan)}
        looked_up = Gather(view.tokens * self.heads, self.row_width / plan.tp, view.storage["embedding"], act)
        joined = Collective("all_gather", act.tensor_bytes(view.tokens * self._joined), plan.tp)
        gated = Stream("activation", rows * self._wide, 2.0 + 1.0 / self.streams, 2.0, 9.0, act, act)
        convolved = [
            Call(
                CausalConv(group.batch, group.phase.q_len, self._wide, self.kernel, act, self.columns),
                f"{BESIDE if index else ''}n-gram conv",
            )
            for index, group in enumerate(view.groups)
        ]
        parts: tuple[Program, ...] = (
            Call(looked_up, TABLE),
            Call(joined, "gather n-grams"),
            linear(view, weight["ngram_key_proj"], rows),
            linear(view, weight["ngram_value_proj"], rows),
            Call(Stream("norm", rows * self._wide, 2.0, 2.0, 8.0, act, act), "n-gram norms"),
            Call(gated, "n-gram gate"),
            *convolved,
            Call(Stream("residual", rows * self._wide, 3.0, 1.0, 2.0, act, act), "add n-grams"),
        )
        return Serial(parts, "n-grams")


def of_layer(r: Reader, layer: int, layers: int) -> tuple[NGramInput, ...]:
    """The n-gram embedding before a layer, where it has one: `ple_layer_ids` counts layers from one. Raises SpecError for a missing or wrong key, NotModelled for one before a layer that is not of linear attention."""
    ids = _layers(r, layers)
    if r.given("hc_count") and not ids:  # its class has the keys whether or not a layer has a table
        r.used.update(HANDLES)
    if layer + 1 not in ids:
        return ()
    if layer_kind(r, layer, layers) != LINEAR:
        raise NotModelled(f"{r.where}: not modelled: 'ple_layer_ids' names layer {layer + 1}, which is not of {LINEAR}")
    order, each, base, multiple = (r.layout(key, least=1) for key in _OF_TABLE)
    heads = (order - 1) * each
    if not heads:
        raise SpecError(f"{r.where}: 'ngram_size' = {order} with 'ple_layer_ids': it must be 2 or more")
    width = r.num("ple_embed_dim", r.num("hidden_size"))
    r.divisible(width, heads, "ple_embed_dim must be a multiple of the heads, (ngram_size - 1) x heads_per_ngram")
    first = ids.index(layer + 1) * heads
    if len(ids) * heads > _HEADS:
        raise SpecError(
            f"{r.where}: 'ngram_size' and 'heads_per_ngram' make {len(ids) * heads:,} heads of all layers, at most {_HEADS:,}"
        )
    rows = ceil(sum(_primes(base, first + heads)[first:]) / multiple) * multiple
    base_dtype = dtype((r.text("torch_dtype") or "bf16").removeprefix("torch."), f"{r.where}: 'torch_dtype'")
    return (
        NGramInput(
            r.num("hidden_size"), float(r.layout("hc_count", least=2)), float(rows), width / heads, float(heads), float(order),
            float(r.layout("ple_conv_kernel_size", least=1)), base_dtype,
        ),
    )  # fmt: skip


def _layers(r: Reader, layers: int) -> list[int]:
    """Layers with a table, counted from one, in order."""
    ids = r.items("ple_layer_ids") or []
    if any(type(one) is not int or not 1 <= one <= layers for one in ids):
        raise SpecError(f"{r.where}: 'ple_layer_ids' must hold numbers from 1 to {layers}, not {ids}")
    return sorted(set(ids))


@cache
def _primes(base: int, count: int) -> tuple[int, ...]:
    """The first `count` prime numbers from `base` on."""
    found: list[int] = []
    number = max(base, 2)
    while len(found) < count:
        divisors = np.arange(2, isqrt(number) + 1)
        if not np.any(number % divisors == 0):
            found.append(number)
        number += 1
    return tuple(found)
