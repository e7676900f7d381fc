"""From a config to a ModelSpec: which block each layer is, what every weight is stored in, and what was not used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, fields
from functools import cache
from typing import Any

import numpy as np

from simcost import settings
from simcost.blocks import _layer_kinds
from simcost.blocks.embed.embed import Embedding, Head
from simcost.blocks.embed.mtp import MTP
from simcost.blocks.embed.per_layer import embedding as with_per_layer
from simcost.blocks.norm import block_residual
from simcost.blocks.norm.altup import AltUpHead, streams_of
from simcost.blocks.norm.attention_residual import AttentionResidualHead, copies
from simcost.blocks.norm.gated_residual import MixedHead
from simcost.blocks.tower.tower import Tower
from simcost.dtypes import Dtype, dtype
from simcost.errors import NotModelled, SpecError
from simcost.frozen import frozen
from simcost.hf import MISSING, WRAPPER, Reader, flatten, outer_keys, shadowed
from simcost.model import keys, layers, quant, rotary, tower, unknown_type
from simcost.model import unused as unused_keys
from simcost.model.classes import heads, ties, wrappers
from simcost.model.classes.family import (
    by_architecture,
    defaults,
    families,
    implied,
    inside,
    superseded,
    uncounted,
    uncovered,
)
from simcost.model.classes.family import words as family_words
from simcost.model.classes.spellings import plain
from simcost.model.layers import KINDS as KINDS
from simcost.model.layers import Layer as Layer
from simcost.num import Num, every, is_scalar
from simcost.plan import Plan
from simcost.provenance import Kind, Note
from simcost.sharding.shard import ROLES, Block, Weight

_LAYERS = 2_000  # of a design, and modules of multi-token prediction: they are built one by one


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
    """A design. `stacks` = (how many layers, their blocks); `order` = the stack of each layer, first to last; `towers`: models beside it that its
    config determines; `uncounted`: those that it does not, each with the reason; `family`: model_type; `rotary_rows`: positions of every rotary table that they keep; `read`: config keys that
    were used; `changes`: what swaps chose; `idle`: sizes of a structure that no layer has, which a file may not state (`overrides.complete`)."""

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
    towers: tuple[Tower, ...]
    uncounted: tuple[str, ...]
    family: str
    rotary_rows: tuple[float, ...]
    notes: tuple[Note, ...] = ()
    unused: tuple[str, ...] = ()
    scalar_keys: frozenset[str] = field(default_factory=frozenset)
    read: frozenset[str] = field(default_factory=frozenset)
    changes: tuple[Change, ...] = ()
    idle: tuple[str, ...] = ()

    @property
    def has_tower(self) -> bool:
        """Whether engines load a tower for images beside the model."""
        return any(tower.key == "vision_config" for tower in self.towers)

    def blocks(self) -> list[tuple[float, Block]]:
        """Every block with how often it stands in the model, MTP apart."""
        inner = [(float(n), block) for n, layer in self.stacks for block in layer]
        return [(1.0, self.embedding), *inner, (1.0, self.head)]


def known_keys() -> frozenset[str]:
    """Config keys that some block or table knows, for naming the nearest to a typo."""
    return _with_tables(layers.handled())


@cache
def _with_tables(handled: frozenset[str]) -> frozenset[str]:
    named = family_words().union(settings.spelled("model"), keys.IRRELEVANT, keys.structural())
    return named.union(handled, ("model_type", *rotary.KEYS))


def from_config(config: Mapping[str, Any], name: str, where: str) -> ModelSpec:
    """The model of a config. Raises SpecError for what is wrong, NotModelled for what is not modelled yet; both name file and
    key."""
    if not isinstance(config, Mapping):
        raise SpecError(f"{where}: a model config must be a JSON object")
    config = wrappers.typed(config)
    flat, tied = ties.settled(flatten(ties.stated(config), where), where)
    flat = by_architecture(flat)
    flat, headed = heads.read(config, flat, where)
    family = str(flat.get("model_type", ""))
    refused = uncovered(family, flat)
    if refused:
        raise NotModelled(f"{where}: {refused}")
    beaten = superseded(family, flat)
    flat = plain(family, {key: value for key, value in flat.items() if key not in beaten}, where)
    flat = rotary.with_part(flat)
    r = Reader(flat, implied(family, flat), where)
    early = keys.unmodelled(flat, layers.handled(), layers.layer_types(), frozenset(families()))
    if early is not None:
        raise NotModelled(f"{where}: not modelled yet: {early[0]} ({early[1]})")
    if tied:
        r.note(tied, Kind.ASSUMED)
    if headed:
        r.note(headed, Kind.SAID)
    for key, by in beaten.items():
        r.note(f"{key} has no effect: {by} is stated", Kind.UNUSED, *(() if r.has(key) else (key,)))
    for key in shadowed(config):
        r.note(
            f"{key} has no effect: the language model's own table, or the model's size, is used instead", Kind.UNUSED
        )
    beside = tower.read(flat, r.num("hidden_size"), where, r.flag("has_towers"))
    r.used |= {*beside.used, WRAPPER}
    for note in beside.notes:
        r.note(note, note.kind, *note.about)
    if family not in families():
        unknown_type.check(r, known_keys())
    projected = r.raw("word_embed_proj_dim")
    if projected is not None and not every(np.asarray(flat.get("hidden_size")) == projected):
        raise NotModelled(
            f"{where}: not modelled yet: word_embed_proj_dim other than hidden_size (projected embeddings)"
        )
    count = r.layout("num_hidden_layers", _layer_kinds.stated_layers(r) or MISSING, least=1) * _layer_kinds.halves(r)
    if count > _LAYERS:
        raise SpecError(f"{where}: 'num_hidden_layers' = {count} is outside 1 to {_LAYERS}")
    built = layers.built(r, count)
    stacks, order = _group(built)
    _note_windows(r, built)
    return _spec(r, name, stacks, order, layers.draft(r, built), built, beside, outer_keys(config))


def _note_windows(r: Reader, built: list[Layer]) -> None:
    """Says which keys of windows and of norms side by side mean nothing here."""
    asked = r.has("sliding_window") or r.flag("use_sliding_window")
    window = r.config.get("sliding_window")
    read = "sliding_window" in r.used and not (is_scalar(window) and window == -1)
    if asked and not read and not any(b.mask is not None and b.mask.bounded for layer in built for b in layer):
        idle = ("sliding_window", "use_sliding_window", "max_window_layers")
        r.note(f"no layer slides: {idle[0]}, {idle[1]} and {idle[2]} have no effect", Kind.UNUSED, *idle)
    if r.has("parallel_attn") and r.flag("new_decoder_architecture"):
        r.note("parallel_attn has no effect: new_decoder_architecture fixes the norms", Kind.UNUSED, "parallel_attn")


def identity(block: Block) -> tuple[Any, ...]:
    """What two blocks that are alike share: class and values."""
    values = [getattr(block, f.name) for f in fields(block)]  # type: ignore[arg-type]
    return type(block), *(_value(v) for v in values)


def _value(value: Any) -> Any:
    """Something hashable of a field: of a block that stands in another one its identity."""
    if isinstance(value, np.ndarray):
        return value.tobytes()
    return identity(value) if hasattr(value, "weights") else value


def _group(each: list[Layer]) -> tuple[tuple[tuple[int, Layer], ...], tuple[int, ...]]:
    seen: dict[tuple[Any, ...], int] = {}
    kinds: list[Layer] = []
    order = []
    distinct = {id(layer): layer for layer in each}
    keys = {number: tuple(identity(block) for block in layer) for number, layer in distinct.items()}
    for layer in each:
        key = keys[id(layer)]
        if key not in seen:
            seen[key] = len(kinds)
            kinds.append(layer)
        order.append(seen[key])
    return tuple((order.count(i), kind) for i, kind in enumerate(kinds)), tuple(order)


def _spec(
    r: Reader,
    name: str,
    stacks: tuple[tuple[int, Layer], ...],
    order: tuple[int, ...],
    draft: Layer,
    built: list[Layer],
    beside: tower.Found,
    outer: set[str],
) -> ModelSpec:
    hidden, vocab = r.num("hidden_size"), r.num("vocab_size")
    vectors = float(r.layout("norm_vectors", 1))
    if not r.has("tie_word_embeddings") and r.config.get("model_type"):
        r.note("tie_word_embeddings is absent: untied, as most model classes default to", Kind.ASSUMED)
    positions: Num = 0.0
    if r.has("learned_positions"):
        positions = r.num("max_position_embeddings") + r.num("learned_positions", least=0)
    elif r.flag("learned_pos_emb"):
        if r.flag("alibi") or r.flag("rope"):
            r.ineffective("learned_pos_emb", "positions are ALiBi's or rotary")
        else:
            positions = r.num("max_position_embeddings")
    # Moshi's table has a row for the start of a stream, which its head does not.
    rows = (
        vocab + r.layout("embedding_rows_beyond_vocab", 0, least=0) if r.has("embedding_rows_beyond_vocab") else vocab
    )
    scales = r.num("qk_rope_head_dim") / 2.0 if r.flag("learned_rotary_scales") else 0.0
    plain = Embedding(hidden, rows, positions, vectors if r.flag("embedding_norm") else 0.0, scales)
    altup = streams_of(built)
    embedding = with_per_layer(r, plain, built, altup)
    streams = float(r.layout("hc_mult", 1, least=1))
    head = _head(r, built, vectors, streams, altup)
    base, storage, quantisation = _storage(
        r, _holding(stacks, order, (embedding, head)) if r.has("quantization_config") else {}
    )
    mtp = tuple(MTP(hidden, draft) for _ in range(r.layout("num_nextn_predict_layers", 0, most=_LAYERS)))
    if r.has("num_mtp_modules"):
        said = [key for key in ("num_mtp_modules", "use_mtp", "mtp_transformer_layers") if r.has(key)]
        r.used |= {*said}
        r.note(f"{', '.join(said)}: MTP weights are not in the public checkpoint and are not counted", Kind.SCOPE)
    # Tables of positions and notes are of one limit: a swept one is asked value by value.
    limit = r.config.get("max_position_embeddings")
    if isinstance(limit, float) and not np.isfinite(limit):
        raise SpecError(f"{r.where}: 'max_position_embeddings' must be an integer, not {limit!r}")
    r.scalar.add("max_position_embeddings")
    r.used |= {"model_type", "max_position_embeddings", *tower.parts(r.config)}
    tables = _rotary(r)
    if beside.towers and quantisation is not None:
        r.note(f"towers are taken to stay in {base.name}, as most quantised checkpoints leave them", Kind.ASSUMED)
    _note_class(r, str(r.config.get("model_type", "")))
    unused = sorted([*unused_keys.report(r, known_keys, outer, built), *tables.idle, *beside.idle])
    return ModelSpec(
        name, hidden, vocab, embedding, stacks, order, head, mtp, base, storage, quantisation,
        float(limit) if isinstance(limit, (int, float)) and limit else None, beside.towers, beside.uncounted,
        str(r.config.get("model_type", "")), tables.rows,
        tuple(r.notes), tuple(unused), frozenset(r.scalar), frozenset(r.used), idle=tuple(unused_keys.idle_sizes(r, built)),
    )  # fmt: skip


def _head(r: Reader, built: list[Layer], vectors: float, streams: float, altup: float) -> Head:
    """The final norm and the head, with what makes one residual stream of several."""
    hidden, vocab = r.num("hidden_size"), r.num("vocab_size")
    head = Head(
        hidden,
        r.num("head_vocab_size", vocab),
        r.flag("tie_word_embeddings"),
        r.flag("lm_head_bias"),
        vectors if r.flag("final_norm", True) else 0.0,
        streams,
        hc_weighted=not r.flag("hc_mean_head"),
    )
    if altup > 1.0:
        head = AltUpHead(hidden, head.vocab_size, head.tied, head.bias, vectors, streams, streams=altup)
    held = copies(r, len(built), False)
    if held is not None:
        head = AttentionResidualHead(hidden, head.vocab_size, head.tied, head.bias, vectors, streams, copies=held)
    head = block_residual.head(r, head, len(built))
    if r.given("hc_count"):
        mixed = {"streams": float(r.layout("hc_count", least=2)), "rank": r.num("hc_lowrank")}
        head = MixedHead(hidden, vocab, head.tied, head.bias, 0.0, **mixed)  # type: ignore[arg-type]
    return head


def _holding(
    stacks: tuple[tuple[int, Layer], ...], order: tuple[int, ...], ends: tuple[Block, ...]
) -> dict[str, dict[int, tuple[Weight, ...]]]:
    """The matrices of every role, layer by layer; those of the ends stand in layer 0."""
    whole = Plan()
    kinds = [[w for block in layer for w in block.weights(whole) if w.inner is not None] for _, layer in stacks]
    held: dict[str, dict[int, tuple[Weight, ...]]] = {role: {} for role in ROLES}
    for layer, kind in enumerate(order):
        for weight in kinds[kind]:
            held[weight.role][layer] = (*held[weight.role].get(layer, ()), weight)
    for weight in (w for block in ends for w in block.weights(whole) if w.inner is not None):
        held[weight.role][0] = (*held[weight.role].get(0, ()), weight)
    return held


def _storage(r: Reader, held: quant.Held) -> tuple[Dtype, dict[str, Dtype], quant.Quantisation | None]:
    stated = r.text("torch_dtype")
    if not stated:
        r.note("torch_dtype is absent: bf16 assumed", Kind.ASSUMED)
    base = dtype(stated.removeprefix("torch.") or "bf16", f"{r.where}: 'torch_dtype'")
    quantisation = quant.read(r.raw("quantization_config"), r.where, held, base)
    storage = dict.fromkeys(ROLES, base)
    if quantisation is not None:
        storage |= {role: each.dtype for role, each in quantisation.formats.items()}
        for note in quantisation.notes:
            r.note(note, note.kind, *note.about)
    if r.has("expert_dtype") and quantisation is not None and quantisation.names_experts:
        r.ineffective("expert_dtype", "quantization_config names the format of the experts")
    elif r.has("expert_dtype"):
        named = r.text("expert_dtype")
        storage["experts"] = dtype("mxfp4" if named == "fp4" else named, f"{r.where}: 'expert_dtype'")
    return base, storage, quantisation


def _rotary(r: Reader) -> rotary.Tables:
    """Tables of rotary positions. What decides them counts as used; keys whose number decides nothing are noted."""
    tables = rotary.read(r.config)
    r.used |= tables.used
    for key, what in tables.said.items():
        r.note(f"{key} has no effect by {what}", Kind.UNUSED, key)
    if rotary.PART not in r.used and r.config.get(rotary.PART) is not None:
        r.used.add(rotary.PART)
        about = (rotary.PART, *(f"{table}.{rotary.PART}" for table in rotary.TABLES))
        r.note(f"{rotary.PART} has no effect: no layer rotates only part of a head", Kind.UNUSED, *about)
    for key in rotary.unread_parts(r.config):
        r.note(f"{key}: not counted: all of each head is taken to rotate", Kind.MISSING, key)
    return tables


def _note_class(r: Reader, family: str) -> None:
    """Says which defaults of the class were used, and what of its weights is not counted."""
    of_class = inside(family) if WRAPPER in r.config else defaults(family)
    taken = {key: value for key, value in of_class.items() if key not in r.config and key in r.used}
    if taken:
        said = ", ".join(f"{key} = {value}" for key, value in taken.items())
        r.note(f"class defaults of {family} used: {said}", Kind.ASSUMED)
    if uncounted(family):
        r.note(f"not counted, below 0.5 % of the weights: {uncounted(family)}", Kind.MISSING)
