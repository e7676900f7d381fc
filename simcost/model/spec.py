"""From a config to a ModelSpec: which block each layer is, what every weight is stored in, and what was not used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, fields
from types import ModuleType
from typing import Any

import numpy as np

from simcost import settings
from simcost.blocks.embed.embed import Embedding, Head
from simcost.blocks.embed.mtp import MTP
from simcost.blocks.norm.norm import Norm
from simcost.dtypes import Dtype, dtype
from simcost.errors import NotModelled, SpecError
from simcost.frozen import frozen
from simcost.hf import Reader, flatten, outer_keys
from simcost.model import keys, quant, rotary, ties, unknown_type
from simcost.model import unused as unused_keys
from simcost.model.family import defaults, families, implied, superseded, uncounted, uncovered
from simcost.model.family import words as family_words
from simcost.model.spellings import plain
from simcost.model.tower import tower
from simcost.num import Num, every, is_scalar
from simcost.plan import Plan
from simcost.provenance import Kind, Note
from simcost.registry import discover
from simcost.sharding.shard import ROLES, Block

Layer = tuple[Block, ...]
KINDS = ("attention", "ffn")  # folders of blocks that claim layers


@frozen
class Change:
    """A config key of a design that a swap or `iso` chose: the value before and after (None: absent), why, and the value that takes it back: the size that
    the design had where the key was absent and its block derives one."""

    key: str
    before: Any
    after: Any
    why: str
    back: Any


@frozen
class ModelSpec:
    """A design. `stacks` = (how many layers, their blocks); `order` = the stack of each layer, first to last; `tower`: parameters of a
    vision tower that engines load beside it; `family`: model_type; `rotary_rows`: positions of every rotary table that they keep; `read`: config keys that
    were used; `changes`: what swaps chose."""

    name: str
    hidden_size: Num
    vocab_size: Num
    embedding: Embedding
    stacks: tuple[tuple[int, Layer], ...]
    order: tuple[int, ...]
    head: Head
    mtp: tuple[MTP, ...]
    base: Dtype
    storage: Mapping[str, Dtype]
    quantisation: quant.Quantisation | None
    max_positions: float | None
    tower: Num
    family: str
    rotary_rows: tuple[float, ...]
    notes: tuple[Note, ...] = ()
    unused: tuple[str, ...] = ()
    scalar_keys: frozenset[str] = field(default_factory=frozenset)
    read: frozenset[str] = field(default_factory=frozenset)
    changes: tuple[Change, ...] = ()

    @property
    def has_tower(self) -> bool:
        """Whether engines load a vision tower beside the model."""
        return not every(np.asarray(self.tower) == 0.0)

    def blocks(self) -> list[tuple[float, Block]]:
        """Every block with how often it stands in the model, MTP apart."""
        inner = [(float(n), block) for n, layer in self.stacks for block in layer]
        return [(1.0, self.embedding), *inner, (1.0, self.head)]


def known_keys() -> set[str]:
    """Config keys that some block or table knows, for naming the nearest to a typo."""
    named = {*settings.spelled("model")} | family_words() | set(keys.IRRELEVANT) | keys.structural()
    return named | _declared("HANDLES")


def from_config(config: Mapping[str, Any], name: str, where: str) -> ModelSpec:
    """The model of a config. Raises SpecError for what is wrong, NotModelled for what is not modelled yet; both name file and
    key."""
    if not isinstance(config, Mapping):
        raise SpecError(f"{where}: a model config must be a JSON object")
    flat = flatten(ties.settled(config, where), where)
    family = str(flat.get("model_type", ""))
    refused = uncovered(family, flat)
    if refused:
        raise NotModelled(f"{where}: {refused}")
    flat = plain(family, flat, where)
    r = Reader(flat, implied(family, flat), where)
    early = keys.unmodelled(flat, _declared("HANDLES"), _declared("LAYER_TYPES"), frozenset(families()))
    if early is not None:
        raise NotModelled(f"{where}: not modelled yet: {early[0]} ({early[1]})")
    if family not in families():
        unknown_type.check(r, known_keys())
    projected = r.raw("word_embed_proj_dim")
    if projected is not None and not every(np.asarray(flat.get("hidden_size")) == projected):
        raise NotModelled(
            f"{where}: not modelled yet: word_embed_proj_dim other than hidden_size (projected embeddings)"
        )
    layers = r.layout("num_hidden_layers", least=1)
    if layers > 2000:
        raise SpecError(f"{where}: 'num_hidden_layers' = {layers} is outside 1 to 2000")
    built = _layers(r, layers)
    stacks, order = _group(built)
    if (r.has("sliding_window") or r.flag("use_sliding_window")) and not any(
        b.mask is not None and b.mask.bounded for layer in built for b in layer
    ):
        idle = ("sliding_window", "use_sliding_window", "max_window_layers")
        r.note(f"no layer slides: {idle[0]}, {idle[1]} and {idle[2]} have no effect", Kind.UNUSED, *idle)
    if r.has("parallel_attn") and r.flag("new_decoder_architecture"):
        r.note("parallel_attn has no effect: new_decoder_architecture fixes the norms", Kind.UNUSED, "parallel_attn")
    r.used |= {*superseded(family, flat)}
    return _spec(r, name, stacks, order, built[-1], outer_keys(config))


def _declared(name: str) -> frozenset[str]:
    """Everything that the discovered blocks declare under a module constant."""
    modules = [module for kind in KINDS for module in discover(f"simcost.blocks.{kind}").values()]
    return frozenset(word for module in modules for word in getattr(module, name, ()))


def _layers(r: Reader, layers: int) -> list[Layer]:
    """The blocks of every layer; equal layers are one object, read once."""
    norms = _norms(r)
    built: dict[tuple[int, int], Layer] = {}
    known: dict[object, Block | None] = {}
    found = []
    for layer in range(layers):
        r.layer = layer
        attention, ffn = (_block(f"simcost.blocks.{kind}", r, layer, layers, known) for kind in KINDS)
        key = id(attention), id(ffn)
        if key not in built:
            built[key] = _normed(r, attention, ffn, norms)
        if not built[key]:
            raise SpecError(f"{r.where}: layer {layer}: nothing mixes tokens, and there is no FFN")
        found.append(built[key])
    r.layer = None
    return found


def _block(package: str, r: Reader, layer: int, layers: int, known: dict[object, Block | None]) -> Block | None:
    """The block of a layer, None where its module says that there is none (a mixer without an FFN); where it says what it reads of a layer, one
    for all that are alike."""
    module = _claimed(package, r, layer, layers)
    if not hasattr(module, "alike"):
        found: Block | None = module.from_hf(r, layer, layers)
        known[object()] = found  # two blocks that are alive have two ids
        return found
    key = module, module.alike(r, layer, layers), r.entries()
    if key not in known:
        known[key] = module.from_hf(r, layer, layers)
    return known[key]


def _norms(r: Reader) -> int:
    """Norms of a layer."""
    count = r.layout("norms_per_layer", 4 if r.flag("use_post_norm") else 2, least=0)
    if r.flag("parallel_attn") and not r.flag("new_decoder_architecture"):
        count = 1  # Falcon-7B: attention and FFN share one norm
    if r.raw("num_ln_in_parallel_attn") is not None:
        count = r.layout("num_ln_in_parallel_attn", least=1)
    if r.flag("use_parallel_residual") and r.has("parallel_norms"):
        count = r.layout("parallel_norms")
    return count


def _normed(r: Reader, attention: Block | None, ffn: Block | None, count: int) -> Layer:
    """Attention and FFN with the norms around them; one of them alone with its own."""
    width, vectors = r.num("hidden_size"), float(r.layout("norm_vectors", 1))
    if attention is None or ffn is None:
        alone = attention or ffn
        return () if alone is None else (Norm("norm", width, vectors), alone)
    if count == 4:
        return (
            Norm("attention_norm", width, vectors), attention, Norm("post_attention_norm", width, vectors, False),
            Norm("ffn_norm", width, vectors), ffn, Norm("post_ffn_norm", width, vectors, False),
        )  # fmt: skip
    if count == 1:  # attention and FFN side by side behind one norm
        return Norm("norm", width, vectors), attention, ffn
    return Norm("attention_norm", width, vectors), attention, Norm("ffn_norm", width, vectors), ffn


def _claimed(package: str, r: Reader, layer: int, layers: int) -> ModuleType:
    """The plug-in with the most specific claim on this layer."""
    bids = [(module.claims(r, layer, layers), name, module) for name, module in discover(package).items()]
    best = max(bid for bid, _, _ in bids)
    winners = [(name, module) for bid, name, module in bids if bid == best]
    if best == 0:
        raise SpecError(f"{r.where}: layer {layer}: no block fits ({package})")
    if len(winners) > 1:
        claimed = " and ".join(f"{name} (by {_why(module, r, layer, layers)})" for name, module in winners)
        raise SpecError(f"{r.where}: layer {layer}: {claimed} claim the {package.rpartition('.')[2]}: no block is both")
    return winners[0][1]


def _why(module: ModuleType, r: Reader, layer: int, layers: int) -> str:
    """The keys of the config that a plug-in looks at when it bids."""
    r.asked.clear()
    module.claims(r, layer, layers)
    return ", ".join(sorted(key for key in r.asked if r.has(key))) or "default"


def identity(block: Block) -> tuple[Any, ...]:
    """What two blocks that are alike share: class and values."""
    values = [getattr(block, f.name) for f in fields(block)]  # type: ignore[arg-type]
    return type(block), *(v.tobytes() if isinstance(v, np.ndarray) else v for v in values)


def _group(layers: list[Layer]) -> tuple[tuple[tuple[int, Layer], ...], tuple[int, ...]]:
    seen: dict[tuple[Any, ...], int] = {}
    kinds: list[Layer] = []
    order = []
    distinct = {id(layer): layer for layer in layers}
    keys = {number: tuple(identity(block) for block in layer) for number, layer in distinct.items()}
    for layer in layers:
        key = keys[id(layer)]
        if key not in seen:
            seen[key] = len(kinds)
            kinds.append(layer)
        order.append(seen[key])
    return tuple((order.count(i), kind) for i, kind in enumerate(kinds)), tuple(order)


def _spec(
    r: Reader, name: str, stacks: tuple[tuple[int, Layer], ...], order: tuple[int, ...], last: Layer, outer: set[str]
) -> ModelSpec:
    hidden, vocab = r.num("hidden_size"), r.num("vocab_size")
    vectors = float(r.layout("norm_vectors", 1))
    if not r.has("tie_word_embeddings") and r.config.get("model_type"):
        r.note("tie_word_embeddings is absent: untied, as most model classes default to", Kind.ASSUMED)
    positions: Num = 0.0
    if r.has("learned_positions"):
        positions = r.num("max_position_embeddings") + r.num("learned_positions", least=0)
    elif r.flag("learned_pos_emb") and not r.flag("alibi") and not r.flag("rope"):
        positions = r.num("max_position_embeddings")
    embedding = Embedding(hidden, vocab, positions, vectors if r.flag("embedding_norm") else 0.0)
    head = Head(hidden, vocab, r.flag("tie_word_embeddings"), r.flag("lm_head_bias"), vectors)
    base, storage, quantisation = _storage(r, _holding(stacks, order) if r.has("quantization_config") else {})
    mtp = tuple(MTP(hidden, last) for _ in range(r.layout("num_nextn_predict_layers", 0)))
    if r.has("num_mtp_modules"):
        said = [key for key in ("num_mtp_modules", "use_mtp", "mtp_transformer_layers") if r.has(key)]
        r.used |= {*said}
        r.note(f"{', '.join(said)}: MTP weights are not in the public checkpoint and are not counted", Kind.SCOPE)
    # Tables of positions and notes are of one limit: a swept one is asked value by value.
    limit = r.config.get("max_position_embeddings")
    if isinstance(limit, float) and not np.isfinite(limit):
        raise SpecError(f"{r.where}: 'max_position_embeddings' must be an integer, not {limit!r}")
    r.scalar.add("max_position_embeddings")
    r.used |= {"max_position_embeddings", "vision_config"}
    vision = tower(r.config.get("vision_config"), hidden, r.where)
    if vision is not None:
        count = f"{vision.parameters:,.0f} " if is_scalar(vision.parameters) else ""
        r.note(f"the vision tower's {count}parameters are loaded by engines, and in no other figure", Kind.SCOPE)
        if vision.unused:
            r.note(f"vision_config: no effect here: {', '.join(vision.unused)}", Kind.UNUSED, "vision_config")
    elif r.config.get("vision_config"):
        r.note(
            "vision_config: the tower is of a family that is not counted: engines load it beside what is counted here",
            Kind.MISSING,
        )
    for key in (key for key in keys.BESIDE if r.config.get(key)):
        r.used.add(key)
        r.note(
            f"{key}: what it describes is not counted: the checkpoint holds it beside what is counted here",
            Kind.MISSING,
        )
    _note_class(r, str(r.config.get("model_type", "")))
    unused = unused_keys.report(r, known_keys(), outer)
    return ModelSpec(
        name, hidden, vocab, embedding, stacks, order, head, mtp, base, storage, quantisation,
        float(limit) if isinstance(limit, (int, float)) and limit else None, 0.0 if vision is None else vision.parameters,
        str(r.config.get("model_type", "")), rotary.rows(r.config),
        tuple(r.notes), tuple(unused), frozenset(r.scalar), frozenset(r.used),
    )  # fmt: skip


def _holding(stacks: tuple[tuple[int, Layer], ...], order: tuple[int, ...]) -> dict[str, frozenset[int]]:
    """Which layers hold weights of a role."""
    roles = [{weight.role for block in layer for weight in block.weights(Plan())} for _, layer in stacks]
    return {role: frozenset(i for i, kind in enumerate(order) if role in roles[kind]) for role in ROLES}


def _storage(r: Reader, layers: quant.Layers) -> tuple[Dtype, dict[str, Dtype], quant.Quantisation | None]:
    stated = r.text("torch_dtype")
    if not stated:
        r.note("torch_dtype is absent: bf16 assumed", Kind.ASSUMED)
    base = dtype(stated.removeprefix("torch.") or "bf16", f"{r.where}: 'torch_dtype'")
    quantisation = quant.read(r.raw("quantization_config"), r.where, layers)
    storage = dict.fromkeys(ROLES, base)
    if quantisation is not None:
        storage |= dict.fromkeys(quantisation.roles, quantisation.weights)
        for note in quantisation.notes:
            r.note(note, note.kind, *note.about)
    return base, storage, quantisation


def _note_class(r: Reader, family: str) -> None:
    """Says which defaults of the class were used, and what of its weights is not counted."""
    taken = {key: value for key, value in defaults(family).items() if key not in r.config and key in r.used}
    if taken:
        said = ", ".join(f"{key} = {value}" for key, value in taken.items())
        r.note(f"class defaults of {family} used: {said}", Kind.ASSUMED)
    if uncounted(family):
        r.note(f"not counted, below 0.5 % of the weights: {uncounted(family)}", Kind.MISSING)
