"""Swaps: a design with another attention or FFN, at equal something if asked; every key that changes is kept with its reason.

Order: keys that the user states, the swap, keys that the user states of those that the swap chooses, then `iso`. Keys that the new blocks do not read
are dropped. The values before are the way back: set as `model.<key>=value` they return the first design.
Sources: the blocks' modules, which choose (`SWAPS`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from types import ModuleType
from typing import Any

from simcost.blocks import _layer_kinds
from simcost.blocks.swap import Chosen, Design, Swap
from simcost.errors import NotModelled, SpecError, nearest
from simcost.frozen import frozen
from simcost.hf import canonical, flatten
from simcost.model import equal, hybrid
from simcost.model.classes.family import families, filled
from simcost.model.classes.spellings import plain
from simcost.model.equal import Losses, Question
from simcost.model.load import overridden
from simcost.model.spec import KINDS, Change, Layer, ModelSpec, from_config, identity
from simcost.model.swap_notes import beside
from simcost.model.swap_start import HEADS, NO_FFN, design, ffns, gone, has_heads, heads_anew, otherwise, without_none
from simcost.num import every
from simcost.registry import discover
from simcost.sharding.shard import Block

KEYS = (*KINDS, "iso")  # of `model`, beside the config's
_UNREAD, _ANOTHER = "no block of the new design reads it", "it has another meaning for the "  # reasons to drop a key
_LAYERS = {"attention": "layer_types", "ffn": "mlp_layer_types"}  # the key that says what each layer is


@frozen
class Asked:
    """A swap by name: its kind, the modules of the blocks that layers get in turn (one: all get it), the swap, and the text after the colon."""

    kind: str
    modules: tuple[ModuleType, ...]
    swap: Swap
    text: str
    written: str


def known(kind: str) -> dict[str, tuple[ModuleType, Swap]]:
    """Every swap of "attention" or "ffn" by name."""
    modules = discover(f"simcost.blocks.{kind}").values()
    return {name: (module, swap) for module in modules for name, swap in getattr(module, "SWAPS", {}).items()}


def asked(kind: str, value: Any) -> Asked:
    """The swap that a value of model.attention or model.ffn asks for. Raises SpecError naming those that there are."""
    every_ = known(kind)
    name, _, text = str(value).partition(":")
    name = name.strip()
    if kind == "attention" and isinstance(value, str) and name.lower() == hybrid.NAME:
        parts = hybrid.parts(text.strip(), every_)
        return Asked(kind, hybrid.pattern(parts), hybrid.swap(parts), text.strip(), f"model.{kind}={value}")
    if not isinstance(value, str) or name.lower() not in every_:
        takes = [swap.takes for _, swap in every_.values()] + ([hybrid.TAKES] if kind == "attention" else [])
        written = ", ".join(takes)
        raise SpecError(f"model.{kind}={value}: unknown swap (one of {written}){nearest(name, every_)}")
    module, swap = every_[name.lower()]
    return Asked(kind, (module,), swap, text.strip(), f"model.{kind}={value}")


def applied(
    config: Mapping[str, Any], wishes: Mapping[str, Any], stated: Mapping[str, Any], question: Question, name: str, where: str, by_loss: Losses,
) -> ModelSpec:  # fmt: skip
    """The model of a config with swaps, as `config_of`, and a note on what blocks have beside their sizes where that is another."""
    now, changes = config_of(config, wishes, stated, question, name, where, by_loss)
    before, after = from_config(config, name, where), from_config(now, name, where)
    notes = (note for kind in KINDS if kind in wishes for note in beside(before, after, kind))
    return replace(after, changes=changes, notes=(*after.notes, *notes))


def config_of(
    config: Mapping[str, Any], wishes: Mapping[str, Any], stated: Mapping[str, Any], question: Question, name: str, where: str, by_loss: Losses,
) -> tuple[dict[str, Any], tuple[Change, ...]]:  # fmt: skip
    """(config with swaps, what they chose). `wishes`: what "attention", "ffn" and "iso" are set to; `stated`: config keys that the user sets; `question`: what `iso` reads of
    it. Raises SpecError for a swap that there is not, that contradicts itself, or that the design does not allow."""
    first = flatten(config, where)
    family = str(first.get("model_type", ""))
    first = plain(family, first, where) if "renamed" in families().get(family, {}) else first
    before = from_config(config, name, where)
    swaps = [asked(kind, wishes[kind]) for kind in KINDS if kind in wishes]
    stated = {canonical(key): value for key, value in stated.items()}
    iso = equal.goal(wishes.get("iso"), [(one.kind, one.swap, one.text, one.written) for one in swaps], stated)
    swaps = [_sized(one, stated) for one in swaps]
    if iso is not None and iso.cache_key:  # any size will do until it is solved for
        swaps = [replace(one, text=one.text or "1") if one.swap.cache_key else one for one in swaps]
    chosen = _chosen(swaps, design(before, first, stated), before, stated)
    late = _late(stated, swaps, chosen)
    early = {key: value for key, value in stated.items() if key not in late}
    start = flatten(overridden(first, early, where), where) if early else first
    if early and swaps:
        stated_ = from_config(start, name, where)
        chosen = _chosen(swaps, design(stated_, start, stated), stated_, stated)
        late = _late(stated, swaps, chosen)
    now = _dropped({**start, **{one.key: one.value for one in chosen}}, family)
    if not has_heads(before) and HEADS not in from_config(now, name, where).read:
        chosen = [one for one in chosen if one.key != HEADS]  # no block of the swap has any
        now = {key: value for key, value in now.items() if key != HEADS or key in start}
    if swaps and not late:
        _verify(from_config(now, name, where), swaps)
    now = _dropped({**now, **late}, family)
    if late:
        new = {one.key: late.get(one.key, one.value) for one in chosen if one.key in first or one.key not in late}
        kept = [key for key, value in new.items() if value != first.get(key)]  # none: this is the way back
        if kept:
            _check_beside(from_config(now, name, where), swaps, chosen, late)
    reasons = {one.key: one.why for one in chosen if one.key not in late}
    if iso is not None:
        key, value, why = equal.solved(iso, before, now, stated, question, name, where, by_loss)
        now, reasons = {**now, key: value}, {**reasons, key: why}
    after = from_config(now, name, where)
    fixed = {one.key for one in chosen if one.value is False}  # facts of the class, which would come back
    idle = sorted((before.read & now.keys()) - after.read - stated.keys() - filled(family) - fixed)
    now = {key: value for key, value in now.items() if key not in idle}
    reasons |= dict.fromkeys(idle, _UNREAD)
    return now, tuple(_changes(before, first, now, reasons))


def _late(stated: Mapping[str, Any], swaps: list[Asked], chosen: list[Chosen]) -> dict[str, Any]:
    """What the user states of keys that swaps choose, or of what each layer is."""
    own = {one.key for one in chosen} | {_LAYERS[one.kind] for one in swaps}
    return {key: value for key, value in stated.items() if key in own}


def _sized(one: Asked, stated: Mapping[str, Any]) -> Asked:
    """A swap that leaves the size of its cache out, with the one that stands beside it."""
    beside = stated.get(one.swap.cache_key)
    return replace(one, text=str(beside)) if not one.text and type(beside) is int else one


def _changes(
    model: ModelSpec, before: Mapping[str, Any], after: Mapping[str, Any], reasons: Mapping[str, str]
) -> Iterator[Change]:
    """Every choice, also of a value that the design had; what the user stated is none."""
    for key, why in reasons.items():
        if key in before or key in after:
            yield Change(key, before.get(key), after.get(key), why, before.get(key, _derived(model, key)))


def _derived(model: ModelSpec, key: str) -> Any:
    """The size by this name of a block whose config leaves it out; None where no block has it."""
    sizes = [getattr(block, key) for _, block in model.blocks() if isinstance(getattr(block, key, None), float)]
    return int(sizes[0]) if sizes else None


def _dropped(config: Mapping[str, Any], family: str) -> dict[str, Any]:
    """The config without its nulls, but for those in the place of what the class would take."""
    kept = filled(family)
    return {key: value for key, value in config.items() if value is not None or key in kept}


def _chosen(swaps: list[Asked], design: Design, before: ModelSpec, stated: Mapping[str, Any]) -> list[Chosen]:
    """What all swaps choose, and what they must drop or set so that every layer gets them."""
    found: list[Chosen] = []
    kinds = {one.kind for one in swaps}
    if "attention" in kinds:
        found += heads_anew(before, design, stated)
    found += ffns(before, design, kinds)
    for one in swaps:
        mine = one.swap.choose(design, one.text)
        keys = {each.key for each in mine} | {word for module in one.modules for word in _words(module)}
        others = (m for m in discover(f"simcost.blocks.{one.kind}").values() if m not in one.modules)
        theirs = [key for module in others for key in _words(module)]
        if one.kind == "attention":
            # What each layer is: the key that gives all of them to the block says it anew.
            theirs += [key for key in _layer_kinds.HANDLES if key != NO_FFN]
        dropped = [key for key in dict.fromkeys(theirs) if key not in keys and key in design.config]
        found += mine
        found += [Chosen(key, gone(key, before.family), _ANOTHER + one.kind) for key in dropped]
        found += _everywhere(one, design, before)
    return found


def _words(module: ModuleType) -> tuple[str, ...]:
    """Config keys that only a plug-in reads, or that its models carry."""
    return tuple(key for name in ("BY_KEYS", "HANDLES", "IGNORES") for key in getattr(module, name, ()))


def _everywhere(one: Asked, design: Design, before: ModelSpec) -> list[Chosen]:
    """The key that gives all layers to the block, where the design's layers differ or are bounded."""
    each = [before.stacks[kind][1] for kind in before.order]
    blocks = list({identity(block): block for _, block in before.blocks() if block.kind == one.kind}.values())
    key = _LAYERS[one.kind]
    if one.kind == "attention":
        word = _word(one.modules[0])
        differ = len(blocks) > 1 or any(block.mask is not None and block.mask.bounded for block in blocks)
        alone = not all({*KINDS} <= {block.kind for block in layer} for layer in each)
        needed = key in design.config or differ or alone or word == _layer_kinds.LINEAR
        needed = needed or (word != _layer_kinds.FULL and bool(_bounds(design)))
    else:
        word = one.modules[0].LAYER_TYPE
        needed = len(blocks) > 1 and "n_routed_experts" in design.config and word != "dense"
    if not needed and len(one.modules) == 1:
        return []
    if one.kind == "ffn":
        return [Chosen(key, [word] * len(each), "a swap is of every layer")]
    turns = hybrid.words((any(block.kind == one.kind for block in layer) for layer in each), one.modules)
    words = [_ffn_alone(layer) if module is None else _word(module) for layer, module in zip(each, turns, strict=True)]
    return [Chosen(key, words, "a swap is of every layer")]


def _word(module: ModuleType) -> str:
    """What `layer_types` calls layers with a plug-in's blocks."""
    return str(getattr(module, "LAYER_TYPES", (_layer_kinds.FULL,))[0])


def _ffn_alone(layer: Layer) -> str:
    """The word of `layer_types` for a layer that is an FFN."""
    return _layer_kinds.MOE if any(block.router is not None for block in layer) else _layer_kinds.MLP


def _bounds(design: Design) -> list[str]:
    """Keys of the design by which only some layers would get a window, or none."""
    keys = (
        "use_sliding_window", "sliding_window_pattern", "max_window_layers", "hybrid_layer_pattern", "no_rope_layer_interval",
    )  # fmt: skip
    return [key for key in keys if key in design.config]


def _verify(model: ModelSpec, swaps: list[Asked]) -> None:
    """Raises SpecError where a layer did not get the block that was asked for: a key that no swap knows decides."""
    for one in swaps:
        classes = {type(b).__name__ for _, b in model.blocks() if b.kind == one.kind and not _of(b, one.modules)}
        if classes:
            raise SpecError(
                f"{model.name}: {one.written}: some layers stay {', '.join(sorted(classes))}: this design cannot be swapped"
            )


def _check_beside(model: ModelSpec, swaps: list[Asked], chosen: list[Chosen], late: Mapping[str, Any]) -> None:
    """Raises SpecError where keys that the user states beside a swap ask for another block, or leave no layer with its own."""
    for one in swaps:
        other = {each.key for each in chosen if each.why == _ANOTHER + one.kind and late.get(each.key) is not None}
        if other or not any(_of(block, one.modules) for _, block in model.blocks()):
            names = ", ".join(f"model.{key}={json.dumps(late[key], default=str)}" for key in sorted(other or late))
            raise SpecError(f"{one.written} contradicts {names}, which asks for another {one.kind}: leave one out")


def _of(block: Block, modules: tuple[ModuleType, ...]) -> bool:
    return type(block).__module__ in {module.__name__ for module in modules}


def swappable(one: str) -> str:
    """The swap that chooses every dimension of the block that a config key belongs to, as it is written; "" for a key of none."""
    for kind in KINDS:
        for module, swap in known(kind).values():
            if one in getattr(module, "BY_KEYS", ()):
                return f"model.{kind}={swap.takes}"
    return ""


def checked(
    before: ModelSpec, config: Mapping[str, Any], stated: Mapping[str, Any], name: str, where: str
) -> ModelSpec:
    """The model of a config with keys that the user stated, which no swap asked for. Raises SpecError where they leave a dimension undefined, naming the swap
    that chooses it."""
    try:
        after = from_config(config, name, where)
    except SpecError as error:
        swap = next(
            (swap for key, value in stated.items() if value is not None and (swap := swappable(canonical(key)))), ""
        )
        if swap and not isinstance(error, NotModelled):
            raise SpecError(f"{error}; {swap} chooses every dimension") from None
        raise
    stated = {canonical(key): value for key, value in stated.items()}
    _check_stated(before, after, without_none(flatten(config, where)), stated, where)
    return after


def _check_stated(
    before: ModelSpec, after: ModelSpec, config: Mapping[str, Any], stated: Mapping[str, Any], where: str
) -> None:
    """Raises SpecError where keys that the user states give layers another kind of block, and leave dimensions of the design without a meaning."""
    for kind in KINDS:
        pairs = list(_classes(before, after, kind))
        had = {old for old, _ in pairs} if not any(value is None for value in stated.values()) else set()
        strange = [new for old, new in pairs if not (issubclass(old, new) or issubclass(new, old) or new in had)]
        idle = sorted((before.read & config.keys()) - after.read - stated.keys() - otherwise(before.family))
        if strange and idle:
            names = ", ".join(f"model.{key}={json.dumps(value, default=str)}" for key, value in stated.items())
            written = " or ".join(
                f"model.{kind}={swap.takes}"
                for m, swap in known(kind).values()
                if any(one.__module__ == m.__name__ for one in strange)
            )
            raise SpecError(
                f"{where}: {names} makes the {kind} {strange[0].__name__} and leaves {', '.join(idle)} without a meaning: "
                f"{written} chooses every dimension"
            )
        _check_undefined(before, after, kind, stated, where)


def _classes(before: ModelSpec, after: ModelSpec, kind: str) -> Iterator[tuple[type[Block], type[Block]]]:
    """The class of the block of a kind of every layer that both designs have, before and after."""

    def of(layer: Layer) -> type[Block] | None:
        return next((type(block) for block in layer if block.kind == kind), None)

    for i, j in zip(before.order, after.order, strict=False):
        old, new = of(before.stacks[i][1]), of(after.stacks[j][1])
        if old is not None and new is not None:
            yield old, new


def _check_undefined(before: ModelSpec, after: ModelSpec, kind: str, stated: Mapping[str, Any], where: str) -> None:
    """Raises SpecError for a size that is taken away where the block still has it: another one would be derived in silence."""
    for key in (key for key, value in stated.items() if value is None):
        for (_, old), (_, new) in zip(before.blocks(), after.blocks(), strict=False):
            was, now = getattr(old, key, None), getattr(new, key, None)
            if (
                old.kind == kind
                and type(old) is type(new)
                and was is not None
                and now is not None
                and not every(was == now)
            ):
                raise SpecError(f"{where}: model.{key}=null leaves {key} undefined ({was:.0f} before): state it")


def is_idle(why: str) -> bool:
    """Whether a key with this reason was dropped because it says nothing of the new design, and not by a choice of the swap."""
    return why == _UNREAD or why.startswith(_ANOTHER)


def undo(change: Change) -> str:
    """The value of `--set` that takes a change back; "" where the value stayed, unless it was solved for: stated, it is not solved for again."""
    return (
        ""
        if change.before == change.after and not equal.is_solved(change.why)
        else f"model.{change.key}={json.dumps(change.back)}"
    )
