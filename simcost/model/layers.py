"""Which blocks each layer of a config has: every plug-in bids for it, the most specific one builds it, and norms stand around what it built."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import cache
from types import ModuleType

from simcost.blocks import _filter, _layer_kinds
from simcost.blocks.embed import ngram
from simcost.blocks.embed.per_layer import PerLayerInput
from simcost.blocks.norm import block_residual, cross_attention, gated_residual, loop
from simcost.blocks.norm.altup import AltUp, Laurel
from simcost.blocks.norm.attention_residual import AttentionResidual, copies
from simcost.blocks.norm.gated_norm import GatedNorm
from simcost.blocks.norm.hyper_connection import HyperConnection
from simcost.blocks.norm.norm import Norm
from simcost.blocks.norm.residual_gate import ResidualGate
from simcost.errors import NotModelled, SpecError
from simcost.hf import Reader
from simcost.num import Num
from simcost.registry import discover
from simcost.sharding.shard import Block

Layer = tuple[Block, ...]
Blocks = tuple[Block, ...]
KINDS = ("attention", "ffn")  # folders of blocks that claim layers
AROUND = ("norm", "embed")  # folders of those that stand around them, which may have keys of their own


def modules() -> list[ModuleType]:
    """Every plug-in of every kind, and the modules of what stands around them."""
    return [module for kind in (*KINDS, *AROUND) for module in discover(f"simcost.blocks.{kind}").values()]


def declared(name: str) -> frozenset[str]:
    """Everything that the plug-ins declare under a module constant."""
    return _declared(name, tuple(modules()))


@cache
def _declared(name: str, plugins: tuple[ModuleType, ...]) -> frozenset[str]:
    return frozenset(word for module in plugins for word in getattr(module, name, ()))


def handled() -> frozenset[str]:
    """Config keys that plug-ins read, or know to mean nothing, beside those of `settings`."""
    return declared("HANDLES") | declared("IGNORES") | declared("KEPT") | {*_layer_kinds.HANDLES}


def layer_types() -> frozenset[str]:
    """Words of `layer_types` that are modelled."""
    return declared("LAYER_TYPES") | {*_layer_kinds.ALONE}


def of_others(key: str, layers: list[Layer]) -> str:
    """The plug-ins that a key belongs to, in words, where none of them has a block in these layers; "" elsewhere."""
    mine = {type(block).__module__ for layer in layers for block in layer}
    owners = [
        module for module in modules() if key in (*getattr(module, "HANDLES", ()), *getattr(module, "IGNORES", ()))
    ]
    if key in _layer_kinds.HANDLES:
        owners += [module for module in modules() if _layer_kinds.LINEAR in getattr(module, "LAYER_TYPES", ())]
    if any(module.__name__ in mine for module in owners):
        return ""
    return " or ".join(module.__name__.rpartition(".")[2] for module in owners)


def built(r: Reader, layers: int) -> list[Layer]:
    """The blocks of every layer; equal layers are one object, read once. Raises SpecError and NotModelled, which name the layer or key."""
    return _built(r, range(layers), layers)


def _built(r: Reader, which: Iterable[int], layers: int) -> list[Layer]:
    norms = _norms(r)
    made: dict[object, Layer] = {}
    known: dict[object, Blocks] = {}
    found = []
    for layer in which:
        r.layer = layer // _layer_kinds.halves(r)
        attention, ffn = (_blocks(kind, r, layer, layers, known) for kind in KINDS)
        copied = tuple(copies(r, layer, half) for half in (False, True))
        inputs, often = _inputs(r, layer, layers), loop.passes(r, layer, layers)
        states, grams = (one.states for part in inputs or () for one in part), ngram.of_layer(r, layer, layers)
        sees = cross_attention.has(r, layer)
        key = id(attention), id(ffn), copied, often, sees, *states, layer if grams else None
        if key not in made:
            plain = (*grams, *_arranged(r, attention, ffn, norms, copied, inputs))
            plain = plain if often is None else loop.of(r, plain, often)
            made[key] = cross_attention.of(r, plain) if sees else plain
        if not made[key]:
            raise SpecError(f"{r.where}: layer {layer}: the layer has neither attention nor FFN")
        found.append(made[key])
    r.layer = None
    return found


def _blocks(kind: str, r: Reader, layer: int, layers: int, known: dict[object, Blocks]) -> Blocks:
    """The blocks of a kind in a layer: one, none where its module says so (a mixer without an FFN), or several side by side behind one norm; where the module
    says what it reads of a layer, the same for all that are alike."""
    if not _layer_kinds.has_part(r, kind, layer, layers):
        return ()
    module = _claimed(f"simcost.blocks.{kind}", r, layer, layers)
    if not hasattr(module, "alike"):
        found = _as_tuple(module.from_hf(r, layer, layers))
        known[object()] = found  # two blocks that are alive have two ids
        return found
    key = module, module.alike(r, layer, layers), r.entries()
    if key not in known:
        known[key] = _as_tuple(module.from_hf(r, layer, layers))
    return known[key]


def _as_tuple(found: Block | Blocks | None) -> Blocks:
    return found if isinstance(found, tuple) else () if found is None else (found,)


def draft(r: Reader, layers: list[Layer]) -> Layer:
    """The blocks of a module of multi-token prediction: layers of the model of the kinds that the config names, a further layer where a list goes on past the last, else one like
    the last. Raises NotModelled for a kind that no layer of the model is."""
    count = len(layers)
    if _layer_kinds.lists_more(r, count):
        return _built(r, [count], count)[0]
    like = _layer_kinds.mtp_layer(
        r, [(_layer_kinds.layer_kind(r, at, count), any(b.router for b in layer)) for at, layer in enumerate(layers)]
    )
    if like is not None:
        return _drafting(r, layers[like])
    found: list[Block] = []
    for kind in _layer_kinds.mtp_kinds(r):
        same = [at for at in range(len(layers)) if _layer_kinds.layer_kind(r, at, len(layers)) == kind]
        if not same:
            raise NotModelled(
                f"{r.where}: not modelled: multi-token prediction has a layer of kind {kind!r}, and the model has none"
            )
        found += layers[same[0]]
    return tuple(found) or layers[-1]


def _drafting(r: Reader, layer: Layer) -> Layer:
    """The layer as a module of multi-token prediction has it: with a mix of its streams of its own, or on one residual stream, without hyper-connections, where its norms add to it."""
    if r.given("hc_count"):
        return (*layer, gated_residual.last(r))
    if not r.flag("mtp_single_stream"):
        return layer
    plain = (block for block in layer if not isinstance(block, HyperConnection))
    return tuple(replace(block, residual=True) if isinstance(block, Norm) else block for block in plain)


def _norms(r: Reader) -> int:
    """Norms of a layer."""
    count = r.layout("norms_per_layer", 4 if r.flag("use_post_norm") else 2, least=0)
    if r.flag("parallel_attn") and not r.flag("new_decoder_architecture"):
        count = 1  # Falcon-7B: attention and FFN share one norm
    if r.raw("num_ln_in_parallel_attn") is not None:
        count = r.layout("num_ln_in_parallel_attn", least=1)
    if r.flag("use_parallel_residual") and r.has("parallel_norms"):
        count = r.layout("parallel_norms")
    elif r.has("use_parallel_residual"):
        r.ineffective("use_parallel_residual", "attention and FFN have a norm each either way")
    return count


Inputs = tuple[tuple[block_residual.BlockResidual, ...], ...]


def _inputs(r: Reader, layer: int, layers: int) -> Inputs | None:
    """What a layer with attention residuals has before its attention and before its FFN; None for one without."""
    if not block_residual.has(r):
        return None
    width = r.num("hidden_size")
    queries = 3.0 if _layer_kinds.layer_kind(r, layer, layers) == _layer_kinds.FULL else 1.0
    return (
        block_residual.before(r, "attention", width, layer, queries),
        block_residual.before(r, "ffn", width, layer),
    )


def _arranged(
    r: Reader, attention: Blocks, ffn: Blocks, norms: int, copied: tuple[float | None, ...], inputs: Inputs | None
) -> Layer:
    """Attention and FFN with what stands around them: norms, or what sums the residual stream of earlier layers."""
    if inputs is not None:
        return _retrieved(r, attention, ffn, inputs)
    return _normed(r, attention, ffn, norms) if copied[0] is None else _residual(r, attention, ffn, copied)


def _retrieved(r: Reader, attention: Blocks, ffn: Blocks, inputs: Inputs) -> Layer:
    """Attention and FFN, each behind the mean that is its input and a norm; where queries, keys and values have an input each, a norm of each."""
    width = r.num("hidden_size")
    apart = 3.0 if any(getattr(block, "apart", False) for block in attention) else 1.0
    return (
        *inputs[0], Norm("attention_norm", apart * width, 1.0, False), *attention, *_filter.after(r, "attention_conv", width),
        *inputs[1], Norm("ffn_norm", width), *ffn, *_filter.after(r, "ffn_conv", width),
    )  # fmt: skip


def _normed(r: Reader, attention: Blocks, ffn: Blocks, count: int) -> Layer:
    """Attention and FFN with the norms around them; one of them alone with its own."""
    width, vectors = r.num("hidden_size"), float(r.layout("norm_vectors", 1))
    if not attention or not ffn:
        alone = attention or ffn
        return (Norm("norm", width, vectors), *alone) if alone else ()
    if r.given("hc_count"):
        sides = (gated_residual.halves(r, name) for name in ("attention_hc", "ffn_hc"))
        (enter, leave), (into, out) = sides
        return enter, *attention, leave, into, *ffn, out
    if r.given("hc_mult"):
        return _connected(r, attention, ffn, width)
    attention = (*attention, *_filter.after(r, "attention_conv", width))
    ffn = (*ffn, *_filter.after(r, "ffn_conv", width))
    if r.flag("residual_gates"):
        return _gated(width, attention, "attention", 0.0) + _gated(width, ffn, "ffn", vectors)
    if count == 4:
        return _streamed(r, width, (
            Norm("attention_norm", width, vectors), *attention, Norm("post_attention_norm", width, vectors, False), *_laurel(r, width),
            Norm("ffn_norm", width, vectors), *ffn, Norm("post_ffn_norm", width, vectors, False),
        ))  # fmt: skip
    if count == 1:  # attention and FFN side by side behind one norm
        return Norm("norm", width, vectors), *attention, *ffn
    experts = any(block.router for block in ffn)
    if r.given("gated_norm_rank"):  # A.X-K2: of a dense FFN the norm is plain
        rank = r.num("gated_norm_rank")
        first = GatedNorm("attention_norm", width, vectors, rank=rank)
        second = GatedNorm("ffn_norm", width, vectors, rank=rank) if experts else Norm("ffn_norm", width, vectors)
        return first, *attention, second, *ffn
    after = (Norm("post_moe_norm", width, vectors, False),) if experts and r.flag("post_moe_norm") else ()
    return Norm("attention_norm", width, vectors), *attention, Norm("ffn_norm", width, vectors), *ffn, *after


def _residual(r: Reader, attention: Blocks, ffn: Blocks, read: tuple[float | None, ...]) -> Layer:
    """Attention and FFN, each behind a norm of the stream and of so many copies of it."""
    width, (first, second) = r.num("hidden_size"), (held or 0.0 for held in read)
    before = AttentionResidual("attention_norm", width, copies=first)
    return before, *attention, AttentionResidual("ffn_norm", width, copies=second), *ffn


def _gated(width: Num, blocks: Blocks, name: str, vectors: float) -> Layer:
    """A sublayer between two norms, the second with as many vectors as said, whose output a gate adds to the residual stream."""
    before, after = Norm(f"{name}_norm", width, 1.0, False), Norm(f"post_{name}_norm", width, vectors, False)
    return before, *blocks, after, ResidualGate(f"{name}_residual_gate", width)


def _laurel(r: Reader, width: Num) -> Layer:
    """The residual of low rank beside the attention, where the config has one."""
    return (Laurel(width, r.num("laurel_rank")),) if r.given("laurel_rank") else ()


def _streamed(r: Reader, width: Num, layer: Layer) -> Layer:
    """A layer with its per-layer input, and between the halves of AltUp, where the config has them."""
    streams = float(r.layout("altup_num_inputs", 1, least=1))
    found = list(layer)
    if streams > 1.0:
        found = [AltUp("altup_predict", width, streams, True), *found, AltUp("altup_correct", width, streams, False)]
    if r.given("hidden_size_per_layer_input"):
        found.append(PerLayerInput(width, r.num("hidden_size_per_layer_input"), max(streams - 1.0, 1.0)))
    return tuple(found)


def _connected(r: Reader, attention: Blocks, ffn: Blocks, width: Num) -> Layer:
    """Attention and FFN between hyper-connections, which add to the residual streams in place of a norm."""
    found: list[Block] = []
    for name, blocks in (("attention", attention), ("ffn", ffn)):
        before, after = (
            HyperConnection(
                f"{name}_hc", width, float(r.layout("hc_mult", least=1)), first, r.flag("hc_mixes_streams", True)
            )
            for first in (True, False)
        )
        found += [before, Norm(f"{name}_norm", width, 1.0, False), *blocks, after]
    return tuple(found)


def _claimed(package: str, r: Reader, layer: int, layers: int) -> ModuleType:
    """The plug-in with the most specific claim on this layer."""
    bids = [(module.claims(r, layer, layers), name, module) for name, module in discover(package).items()]
    best = max(bid for bid, _, _ in bids)
    winners = [(name, module) for bid, name, module in bids if bid == best]
    if best == 0:
        kind = _layer_kinds.layer_kind(r, layer, layers)
        raise NotModelled(f"{r.where}: not modelled yet: layer {layer} ({kind} without the keys of any known kind)")
    if len(winners) > 1:
        claimed = " and ".join(f"{name} (by {_why(module, r, layer, layers)})" for name, module in winners)
        raise SpecError(f"{r.where}: layer {layer}: {claimed} claim the {package.rpartition('.')[2]}: no block is both")
    return winners[0][1]


def _why(module: ModuleType, r: Reader, layer: int, layers: int) -> str:
    """The keys of the config that a plug-in looks at when it bids."""
    r.asked.clear()
    r.kinds.clear()
    module.claims(r, layer, layers)
    return ", ".join(sorted(key for key in r.asked if r.has(key))) or "default"
